"""The doctor's parts: Hamming search, hashes, clustering, label facts, groups."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from doctor_faults import jpeg, picture

from arcface_paddle import images
from arcface_paddle.doctor import clustering, duplicates, labels
from arcface_paddle.doctor.crop_embeddings import unit_rows
from arcface_paddle.doctor.doctor_settings import AFFINITIES, LINKAGES, DoctorSettings
from arcface_paddle.doctor.examination import choose_images
from arcface_paddle.doctor.findings import KINDS, Finding, Ledger
from arcface_paddle.doctor.scan import missing_rows
from arcface_paddle.errors import ConfigError
from arcface_paddle.pipeline import copies, hamming
from arcface_paddle.pipeline import picture_hashes as hashing


def clustered_codes(seed: int, count: int = 300) -> np.ndarray:
    """Return codes that lie near a few centres, so that every distance from 0 to 12 occurs."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(rng.integers(0, 2**64, 12, dtype=np.uint64), count)
    for _ in range(4):
        flip = rng.random(count) < 0.4
        codes = np.where(flip, codes ^ (np.uint64(1) << rng.integers(0, 64, count, dtype=np.uint64)), codes)
    return codes


def slow_distance(first: int, second: int) -> int:
    return bin(int(first) ^ int(second)).count("1")


@pytest.fixture(params=["direct", "buckets"])
def way(request, monkeypatch) -> None:
    """Small inputs are compared directly, large ones by way of buckets; the tests are small."""
    monkeypatch.setattr(hamming, "_PAIRS_PER_PASS", 1 << 18 if request.param == "direct" else -1)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("radius", [0, 1, 3, 4, 7, 8])
def test_near_pairs_are_those_of_the_double_loop(radius):
    codes = clustered_codes(radius)
    expected = [
        [i, j]
        for i in range(len(codes))
        for j in range(i + 1, len(codes))
        if slow_distance(codes[i], codes[j]) <= radius
    ]
    assert len(expected) > 5
    assert hamming.near_pairs(codes, radius).tolist() == expected


@pytest.mark.usefixtures("way")
def test_join_of_two_lists_with_blocks_smaller_than_the_work(monkeypatch):
    monkeypatch.setattr(hamming, "_PAIRS_PER_STEP", 7)
    probes, codes = clustered_codes(1, 60), clustered_codes(1, 90)
    expected = [[i, j] for i in range(60) for j in range(90) if slow_distance(probes[i], codes[j]) <= 3]
    assert expected and hamming.hamming_join(probes, codes, radius=3).tolist() == expected


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("probes, codes", [(0, 5), (5, 0), (0, 0)])
def test_join_with_nothing(probes, codes):
    empty = hamming.hamming_join(np.zeros(probes, np.uint64), np.zeros(codes, np.uint64), radius=3)
    assert empty.shape == (0, 2)


@pytest.mark.parametrize("radius", [-1, 12])
def test_join_refuses_other_radii(radius):
    with pytest.raises(ValueError, match="allowed: 0 to 11"):
        hamming.hamming_join(np.zeros(1, np.uint64), np.zeros(1, np.uint64), radius=radius)


def test_distance_of_extremes():
    ones = np.array([2**64 - 1, 0, 2**63], dtype=np.uint64)
    assert hamming.hamming_distance(ones, np.zeros(3, np.uint64)).tolist() == [64, 0, 1]


def test_bits_counted_without_numpy_2():
    values = clustered_codes(0)
    assert hamming.count_bits(values).tolist() == [slow_distance(value, 0) for value in values]


def code_of(image: np.ndarray) -> int:
    return hashing.perceptual_hash(hashing.gray_thumbnail(image))


@pytest.mark.parametrize("person", range(6))
def test_perceptual_hash_survives_reencoding_and_light_but_tells_pictures_apart(person):
    image = picture(person, 0)
    reencoded = images.decode_crop(jpeg(image, quality=50))
    brighter = cv2.add(image, (7, 7, 7, 0))
    smaller = cv2.resize(image, (80, 80), interpolation=cv2.INTER_AREA)
    for copy in (reencoded, brighter, smaller):
        assert slow_distance(code_of(image), code_of(copy)) <= 3
        assert hashing.correlation(hashing.gray_thumbnail(image), hashing.gray_thumbnail(copy)) >= 0.98
    other = picture(person, 1)
    assert hashing.correlation(hashing.gray_thumbnail(image), hashing.gray_thumbnail(other)) < 0.95
    assert slow_distance(code_of(image), code_of(picture(person + 100, 0))) > 12


@pytest.mark.parametrize("person", range(4))
def test_hash_of_the_mirror_image_follows_from_the_hash(person):
    image = picture(person, 0)
    mirrored = np.ascontiguousarray(image[:, ::-1])
    expected = hashing.mirrored_hash(np.array([code_of(image)], dtype=np.uint64))[0]
    assert slow_distance(code_of(mirrored), expected) <= 1


def test_pixel_digest_sees_shape_and_every_pixel():
    image = picture(0, 0)
    changed = image.copy()
    changed[5, 6, 1] ^= 1
    reshaped = image.reshape(56, 224, 3)
    digests = {hashing.pixel_digest(array) for array in (image, changed, reshaped, image.copy())}
    assert len(digests) == 3


def test_correlation_of_flat_pictures():
    flat, darker = np.full((32, 32), 100, np.float32), np.full((32, 32), 90, np.float32)
    textured = hashing.gray_thumbnail(picture(0, 0))
    assert hashing.correlation(flat, flat + 1) == hashing.correlation(flat, flat + 2) == 1
    assert hashing.correlation(flat, flat + 2.5) == 0
    assert hashing.correlation(flat, darker) == 0
    assert hashing.correlation(flat, textured) == 0
    assert hashing.correlation(textured, 255 - textured) == pytest.approx(-1, abs=1e-5)


def test_missing_rows_of_jpeg_only():
    image = picture(0, 0)
    image[90:] = 128
    assert missing_rows(b"\xff\xd8", image) == 22
    assert missing_rows(b"\x89PNG", image) == 0
    assert missing_rows(b"\xff\xd8", np.full_like(image, 128)) == 0
    image[90:110] = 5
    assert missing_rows(b"\xff\xd8", image) == 0


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("linkage", LINKAGES)
@pytest.mark.parametrize("affinity", AFFINITIES)
def test_clustering_equals_scikit_learn(seed, linkage, affinity):
    cluster = pytest.importorskip("sklearn.cluster")
    rng = np.random.default_rng(seed)
    count, distance = int(rng.integers(2, 60)), float(rng.uniform(0.05, 1.0))
    centres = rng.standard_normal((int(rng.integers(1, 6)), 16))
    points = centres[rng.integers(0, len(centres), count)] + rng.uniform(0.1, 1.5) * rng.standard_normal((count, 16))
    embeddings = unit_rows(points.astype(np.float32))
    twin = cluster.AgglomerativeClustering(
        n_clusters=None, distance_threshold=distance, linkage=linkage, metric=affinity
    )
    expected = twin.fit_predict(embeddings.astype(np.float64))
    found = clustering.agglomerate(embeddings, distance, affinity=affinity, linkage=linkage)
    assert np.array_equal(found[:, None] == found, expected[:, None] == expected)
    assert list(dict.fromkeys(found.tolist())) == list(range(found.max() + 1))


def directions(*angles_deg: float) -> np.ndarray:
    angles = np.radians(angles_deg)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_division_keeps_the_largest_cluster():
    division = clustering.divide(directions(0, 5, 100, 10), DoctorSettings(), rng=np.random.default_rng(0))
    assert division.in_main.tolist() == [True, True, False, True]
    assert not division.is_split and set(division.cluster.tolist()) == {0, 1}
    assert (division.in_main == (division.cluster == 0)).all()


def test_division_without_a_largest_cluster_is_a_split():
    division = clustering.divide(directions(0, 5, 100, 110), DoctorSettings(), rng=np.random.default_rng(0))
    assert division.is_split and division.in_main.all()


def test_linkage_and_affinity_decide_where_a_chain_of_images_parts():
    chain = directions(0, 40, 80, 120, 160)  # neighbours 0.23 apart as cosines, 0.68 as distances
    found = {
        linkage: agglomerated.max() + 1
        for linkage in LINKAGES
        for agglomerated in [clustering.agglomerate(chain, 0.7, linkage=linkage)]
    }
    assert found["single"] == 1 and found["complete"] >= found["average"] > 1
    assert clustering.agglomerate(chain, 0.7, affinity="euclidean", linkage="single").max() == 0
    assert clustering.agglomerate(chain, 0.6, affinity="euclidean", linkage="single").max() == 4


def test_single_image_is_its_own_main_cluster():
    division = clustering.divide(directions(0), DoctorSettings(), rng=np.random.default_rng(0))
    assert division.in_main.all() and not division.is_split


@pytest.mark.parametrize("linkage", LINKAGES)
@pytest.mark.parametrize("affinity", AFFINITIES)
def test_capped_identity_judges_the_images_that_were_not_clustered(linkage, affinity):
    rng = np.random.default_rng(3)
    angles = np.where(np.arange(200) % 10 == 0, 120.0, 0.0) + rng.uniform(-8, 8, 200)
    settings = DoctorSettings(cluster_cap=30, linkage=linkage, affinity=affinity)
    division = clustering.divide(directions(*angles), settings, rng=np.random.default_rng(0))
    assert np.array_equal(division.in_main, np.arange(200) % 10 != 0)


def test_label_facts():
    ledger = Ledger(100)
    facts = labels.examine_labels(np.array([5, 2, 2, 7, 7, 7]), 10, ledger=ledger)
    assert facts.unused == ((0, 1), (3, 4), (6, 6), (8, 9))
    assert facts.histogram() == [("1", 1), ("2", 1), ("3-4", 1)]
    assert [finding.detail for finding in ledger.listed("label_gap")][::2] == [
        "labels 0 to 1 have no image",
        "label 6 has no image",
    ]
    assert [(finding.samples, finding.labels) for finding in ledger.listed("single_image")] == [((0,), (5,))]


def test_contiguous_labels_have_no_gap():
    ledger = Ledger(100)
    labels.examine_labels(np.repeat(np.arange(4), 1500), 4, ledger=ledger)
    assert not ledger.counts


def test_equal_groups_among_the_chosen_only():
    keys = np.array([7, 1, 7, 2, 1, 7], dtype=np.uint64)
    groups = duplicates.equal_groups(keys, np.array([0, 1, 3, 4, 5]))
    assert [group.tolist() for group in groups] == [[0, 5], [1, 4]]


def test_copies_that_share_an_image_make_one_group():
    pictures = {index: hashing.compared_picture(picture(index in (5, 6, 7), 0)) for index in (1, 2, 5, 6, 7, 9)}
    links = copies.Links(pictures.__getitem__, 0.98)
    for one, other in ((5, 6), (1, 2), (2, 9), (6, 7), (1, 9), (1, 5)):
        links.compare(one, other, mirrored=False)
    assert [group.tolist() for group, _, _ in links.groups()] == [[1, 2, 9], [5, 6, 7]]
    assert links.are_linked(1, 9) and not links.are_linked(1, 5)


@pytest.mark.parametrize("person", range(6))
def test_copies_are_told_from_other_pictures_of_the_person(person):
    image = picture(person, 0)
    turn, shift = cv2.getRotationMatrix2D((56, 56), 2, 1), np.array([[1, 0, 2], [0, 1, -1]], dtype=np.float32)
    moved = [cv2.warpAffine(image, move, (112, 112), borderMode=cv2.BORDER_REPLICATE) for move in (turn, shift)]
    first = hashing.compared_picture(image)
    for copy in (cv2.resize(image[2:-2, 2:-2], (112, 112)), *moved):
        assert hashing.copy_similarity(first, hashing.compared_picture(copy), threshold=0.98) >= 0.98
    for shot in range(1, 8):
        other = hashing.compared_picture(picture(person, shot))
        assert hashing.copy_similarity(first, other, threshold=0.98) < 0.95


def test_ledger_counts_more_than_it_lists():
    ledger = Ledger(2)
    for index in range(5):
        ledger.add(Finding("missing", "gone", (index,)))
    ledger.add(Finding("grayscale", "grey", (9,)))
    assert ledger.counts["missing"] == 5
    assert [finding.samples for finding in ledger.listed("missing")] == [(0,), (1,)]
    assert ledger.problem_count() == 5
    assert ledger.problem_count(frozenset({"missing"})) == 0
    assert set(KINDS) >= {"missing", "grayscale"}


def test_ledger_keeps_the_most_doubtful():
    ledger = Ledger(3)
    for index, score in enumerate([0.5, 0.1, 0.9, 0.1, 0.3, 0.2]):
        ledger.add(Finding("cluster_reject", "low is worse", (index,), score=score))
        ledger.add(Finding("mislabelled", "high is worse", (index,), score=score))
    assert [finding.samples[0] for finding in ledger.listed("cluster_reject")] == [1, 3, 5]
    assert [finding.samples[0] for finding in ledger.listed("mislabelled")] == [2, 0, 4]


def test_sample_takes_whole_identities_and_is_repeatable():
    owners = np.random.default_rng(0).permutation(np.repeat(np.arange(50), 4))
    chosen = choose_images(owners, DoctorSettings(sample=41, seed=5))
    assert len(chosen) == 41 and (np.diff(chosen) > 0).all()
    assert sorted(np.bincount(owners[chosen], minlength=50).tolist())[-11:] == [1] + [4] * 10
    assert np.array_equal(chosen, choose_images(owners, DoctorSettings(sample=41, seed=5)))
    assert not np.array_equal(chosen, choose_images(owners, DoctorSettings(sample=41, seed=6)))


@pytest.mark.parametrize(
    "values",
    [
        {"near_radius": 12},
        {"sample": 0},
        {"workers": 0},
        {"cluster_distance": -0.1},
        {"linkage": "ward"},
        {"affinity": "l1"},
        {"dark_mean": 250},
    ],
)
def test_settings_out_of_range_are_refused(values):
    with pytest.raises(ConfigError, match="allowed"):
        DoctorSettings(**values)
