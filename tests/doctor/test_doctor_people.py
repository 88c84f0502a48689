"""Doubts by embedding on made-up vectors whose answers are known, and the scan's measures against NumPy."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from doctor_faults import jpeg, picture

from arcface_paddle import images
from arcface_paddle.data.kinds import open_dataset
from arcface_paddle.doctor import identities, scan
from arcface_paddle.doctor.clustering import agglomerate, divide
from arcface_paddle.doctor.crop_embeddings import EmbeddingStore
from arcface_paddle.doctor.doctor_settings import DoctorSettings
from arcface_paddle.doctor.findings import Ledger
from arcface_paddle.doctor.identities import IdentityFacts, examine_identities, find_mislabelled, find_same_person
from arcface_paddle.doctor.labels import examine_labels
from arcface_paddle.doctor.scan import ColorFacts, ScanFacts, Status, mean_chroma, read_checked
from arcface_paddle.errors import DataError


def directions(*angles_deg: float) -> np.ndarray:
    angles = np.radians(angles_deg)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def store_of(vectors: np.ndarray, indices: np.ndarray) -> EmbeddingStore:
    store = EmbeddingStore(indices)
    store.begin(vectors)
    store.finish(vectors.shape[1])
    return store


@pytest.mark.skipif(os.name == "nt", reason="Windows locks in another way")
def test_two_doctors_do_not_use_one_cache(tmp_path):
    first, path = directions(0, 10), tmp_path / "embeddings.f16"
    with EmbeddingStore(np.arange(4), cached_at=path) as one:
        one.begin(first)
        one.append(directions(20, 30))
        one.finish(2)
        with EmbeddingStore(np.arange(4), cached_at=path) as other, pytest.raises(DataError, match="another doctor"):
            other.begin(directions(50, 60))  # of another model: it would cut the file off
        np.testing.assert_allclose(one.take(np.arange(4)), directions(0, 10, 20, 30), atol=2e-3)
    with EmbeddingStore(np.arange(4), cached_at=path) as again:
        assert again.begin(first) == 4


def people(*angles_by_person: tuple[float, ...]) -> tuple[EmbeddingStore, np.ndarray]:
    """Return embeddings in the plane, given by angle, and their labels 0, 1, ..."""
    labels = np.repeat(np.arange(len(angles_by_person)), [len(angles) for angles in angles_by_person])
    vectors = np.concatenate([directions(*angles) for angles in angles_by_person])
    return store_of(vectors, np.arange(len(labels))), labels


def examined(
    *angles_by_person: tuple[float, ...], **changes
) -> tuple[IdentityFacts, Ledger, EmbeddingStore, np.ndarray]:
    store, labels = people(*angles_by_person)
    ledger = Ledger(100)
    facts = examine_identities(store, labels, settings=DoctorSettings(**changes), ledger=ledger)
    return facts, ledger, store, labels


def test_identity_is_described_by_its_main_cluster():
    facts, ledger, _, _ = examined((0, 10, -10, 120), (40,))
    np.testing.assert_allclose(facts.centroids[0], [1, 0], atol=2e-3)
    assert facts.medoids.tolist() == [0, 4]
    assert facts.rejected.tolist() == [False, False, False, True, False]
    assert facts.cluster.tolist() == [0, 0, 0, 1, 0]
    (finding,) = ledger.listed("cluster_reject")
    assert (finding.samples, finding.labels, finding.references) == ((3,), (0,), (0,))
    assert finding.score == pytest.approx(np.cos(np.radians(120)), abs=2e-3)


def test_similarity_to_oneself_does_not_count():
    """Catches a centroid that holds the image which is compared with it."""
    facts, *_ = examined((0, 30))
    assert facts.own_similarity.tolist() == pytest.approx([np.cos(np.radians(30))] * 2, abs=2e-3)
    alone, *_ = examined((0,), (90, 95))
    assert np.isnan(alone.own_similarity[0]) and not np.isnan(alone.own_similarity[1:]).any()


def test_split_identity_has_no_centroid_and_its_clusters_are_told():
    facts, ledger, _, _ = examined((0, 5, 100, 105))
    assert facts.split.all() and not facts.rejected.any()
    assert not facts.centroids.any() and np.isnan(facts.own_similarity).all()
    (finding,) = ledger.listed("split_identity")
    assert finding.samples == (0, 1, 2, 3) and finding.groups == (2, 2)
    assert finding.detail.startswith("4 images fall into 2 clusters of 2, 2;")


def test_one_person_under_two_labels_is_found_once_and_most_similar_first():
    facts, ledger, *_ = examined((0, 2), (90, 92), (8, 10), (80, 82), merge_similarity=0.95)
    find_same_person(facts, DoctorSettings(merge_similarity=0.95), ledger=ledger)
    found = ledger.listed("same_person")
    assert [finding.labels for finding in found] == [(0, 2), (1, 3)]
    assert found[0].score > found[1].score >= 0.95


def test_pairs_of_identities_do_not_depend_on_the_size_of_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    angles = tuple((float(angle), float(angle) + 1) for angle in rng.uniform(0, 360, 30))
    facts, *_ = examined(*angles)
    results = []
    for values in (1 << 24, 70):
        monkeypatch.setattr(identities, "_BLOCK_VALUES", values)
        ledger = Ledger(1000)
        find_same_person(facts, DoctorSettings(merge_similarity=0.97), ledger=ledger)
        results.append([finding.labels for finding in ledger.listed("same_person")])
    similar = np.triu(facts.centroids @ facts.centroids.T >= 0.97, k=1)
    assert results[0] == results[1] and len(results[0]) == similar.sum() > 5


def mislabelled(*angles_by_person, **changes):
    facts, ledger, store, labels = examined(*angles_by_person, cluster_distance=2.0, **changes)
    settings = DoctorSettings(cluster_distance=2.0, **changes)
    find_mislabelled(store, labels, facts=facts, settings=settings, ledger=ledger)
    return {finding.samples[0]: finding for finding in ledger.listed("mislabelled")}


def test_image_nearer_to_another_identity_is_found():
    found = mislabelled((0, 4, 8, 88), (85, 90, 95))
    assert set(found) == {3}
    finding = found[3]
    assert finding.labels == (0, 1) and finding.references[1] in (4, 5, 6)
    assert finding.score == pytest.approx(np.cos(np.radians(2)), abs=3e-3)


@pytest.mark.parametrize(("stray", "is_found"), [(88, True), (50, False)])
def test_other_identity_must_lead_by_the_margin(stray, is_found):
    """At 50 degrees both identities are about equally far."""
    found = mislabelled((0, 4, 8, stray), (85, 90, 95), match_similarity=0.7, mislabel_margin=0.2)
    assert (3 in found) == is_found


@pytest.mark.parametrize(("angle", "is_found"), [(88, True), (60, False)])
def test_single_images_need_the_similarity_of_one_person(angle, is_found):
    found = mislabelled((angle,), (85, 90, 95), merge_similarity=0.95)
    assert (0 in found) == is_found
    if is_found:
        assert "nothing to compare with in its own" in found[0].detail


def slow_agglomerate(embeddings: np.ndarray, max_distance: float) -> np.ndarray:
    """Merge the closest pair again and again."""
    clusters = [[index] for index in range(len(embeddings))]
    distances = 1 - embeddings.astype(np.float64) @ embeddings.T
    while len(clusters) > 1:
        means = {
            (a, b): distances[np.ix_(clusters[a], clusters[b])].mean()
            for a in range(len(clusters))
            for b in range(a + 1, len(clusters))
        }
        (a, b), least = min(means.items(), key=lambda item: item[1])
        if least > max_distance:
            break
        clusters[a] += clusters.pop(b)
    owner = np.empty(len(embeddings), dtype=int)
    for number, members in enumerate(sorted(clusters, key=min)):
        owner[members] = number
    return owner


@pytest.mark.parametrize("seed", range(8))
def test_average_linkage_is_merging_the_closest_pair_again_and_again(seed):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(int(rng.integers(1, 16)), 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    distance = float(rng.uniform(0.2, 1.1))
    np.testing.assert_array_equal(
        agglomerate(vectors.astype(np.float32), distance), slow_agglomerate(vectors, distance)
    )


def test_clusters_are_numbered_by_size():
    division = divide(directions(100, 0, 5, 104, 3, 200), DoctorSettings(), rng=np.random.default_rng(0))
    assert division.cluster.tolist() == [1, 0, 0, 1, 0, 2]


def test_hardly_anything_joins_a_cluster_of_a_sample_that_it_is_far_from():
    settings = DoctorSettings(cluster_cap=4)
    angles = [0.0, 1, 2, 3, 4, 5, 6, 7, 150, 151]
    division = divide(directions(*angles), settings, rng=np.random.default_rng(1))
    assert division.in_main[:8].all() and not division.in_main[8:].any()


def test_colour_sums_of_parts_are_those_of_the_whole():
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (9, 7 + number, 3), dtype=np.uint8) for number in range(5)]
    whole, first, second = ColorFacts(), ColorFacts(), ColorFacts()
    for number, image in enumerate(pictures):
        whole.add(image, colored=True)
        (first if number < 2 else second).add(image, colored=True)
    first.merge(second)
    pixels = np.concatenate([image.reshape(-1, 3) for image in pictures]).astype(np.float64)
    for facts in (whole, first):
        mean, std = facts.mean_std()
        np.testing.assert_allclose(mean, pixels.mean(axis=0))
        np.testing.assert_allclose(std, pixels.std(axis=0))
        assert facts.red_wins + facts.blue_wins == 5
    assert np.isnan(ColorFacts().mean_std()[0]).all()


def test_only_the_middle_of_coloured_pictures_votes_on_the_order_of_channels():
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, :, 2] = 200
    image[10:30, 10:30] = [200, 0, 0]
    facts = ColorFacts()
    facts.add(image, colored=False)
    assert (facts.red_wins, facts.blue_wins) == (0, 0)
    facts.add(image, colored=True)
    facts.add(np.ascontiguousarray(image[:, :, ::-1]), colored=True)
    assert (facts.red_wins, facts.blue_wins) == (1, 1)


def test_chroma_is_the_mean_range_of_the_channels():
    image = np.random.default_rng(1).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    assert mean_chroma(image) == pytest.approx(np.ptp(image.astype(int), axis=2).mean())
    assert mean_chroma(np.full((5, 5, 3), 90, np.uint8)) == 0


def write_set(root: Path, contents: dict[str, bytes | None]):
    """Write pictures of one person (None: listed, but missing) and open the dataset."""
    root.mkdir()
    for name, content in contents.items():
        if content is not None:
            (root / name).write_bytes(content)
    (root / "label.txt").write_text("".join(f"{name}\t0\n" for name in contents))
    return open_dataset(root)


def test_every_kind_of_damage_has_its_name(tmp_path):
    whole = jpeg(picture(0, 0))
    png = images.encode_image(picture(0, 1), suffix=".png")
    damaged = bytearray(png)
    damaged[len(png) // 2] ^= 255
    contents = {
        "whole.jpg": whole,
        "none.jpg": None,
        "text.jpg": b"hello" * 40,
        "cut.jpg": whole[: len(whole) // 2],
        "cut.png": png[: len(png) // 2],
        "flipped.png": bytes(damaged),
        "folder.jpg": None,
    }
    dataset = write_set(tmp_path / "set", contents)
    (tmp_path / "set" / "folder.jpg").mkdir()
    kinds = {}
    for index, name in enumerate(contents):
        _, _, finding = read_checked(dataset, index)
        kinds[name] = finding.kind if finding else "good"
        if finding:
            assert finding.samples == (index,) and str(tmp_path) not in finding.detail, "the report names the path"
    assert kinds == {
        "whole.jpg": "good",
        "none.jpg": "missing",
        "text.jpg": "unreadable",
        "cut.jpg": "truncated",
        "cut.png": "truncated",
        "flipped.png": "truncated",  # Pillow cannot tell damage from a missing end
        "folder.jpg": "unreadable",
    }


@pytest.mark.parametrize(
    ("level", "kinds"),
    [(4, ["near_black"]), (8, ["near_black"]), (12, ["grayscale"]), (240, ["grayscale"]), (250, ["near_white"])],
)
def test_flat_pictures_are_black_white_or_grey_but_one_of_them_only(tmp_path, level, kinds):
    content = images.encode_image(np.full((112, 112, 3), level, np.uint8), suffix=".png")
    dataset, ledger = write_set(tmp_path / "set", {"flat.png": content}), Ledger(10)
    facts = scan.scan(dataset, np.arange(1), settings=DoctorSettings(), ledger=ledger)
    assert [kind.key for kind in ledger.kinds_found()] == kinds
    assert facts.status.tolist() == [Status.GOOD], "they can be read"


def test_images_outside_of_the_sample_are_not_read(tmp_path):
    contents = {f"{number}.jpg": jpeg(picture(0, number)) for number in range(3)}
    dataset, ledger = write_set(tmp_path / "set", {**contents, "none.jpg": None}), Ledger(10)
    facts = scan.scan(dataset, np.array([0, 2]), settings=DoctorSettings(), ledger=ledger)
    assert facts.status.tolist() == [Status.GOOD, Status.NOT_EXAMINED, Status.GOOD, Status.NOT_EXAMINED]
    assert facts.good().tolist() == [0, 2] and not ledger.counts
    assert facts.encoded_bytes.tolist() == [len(contents["0.jpg"]), 0, len(contents["2.jpg"]), 0]
    assert ScanFacts.empty(3).good().tolist() == []


@pytest.mark.parametrize("chunk", [1, 3, 128])
def test_findings_come_in_the_order_of_the_dataset_whatever_the_chunks(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(scan, "_CHUNK", chunk)
    dataset = write_set(tmp_path / "set", {f"{number}.jpg": b"broken" for number in range(8)})
    ledger = Ledger(100)
    scan.scan(dataset, np.arange(8), settings=DoctorSettings(workers=3), ledger=ledger)
    assert [finding.samples[0] for finding in ledger.listed("unreadable")] == list(range(8))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([1, 1, 2], [("1", 2), ("2", 1)]),
        ([4, 5, 9, 10], [("1", 0), ("2", 0), ("3-4", 1), ("5-9", 2), ("10-19", 1)]),
        (
            [1500],
            [
                *((name, 0) for name in ("1", "2", "3-4", "5-9", "10-19", "20-49", "50-99")),
                ("100-199", 0),
                ("200-499", 0),
                ("500-999", 0),
                ("1000+", 1),
            ],
        ),
    ],
    ids=str,
)
def test_histogram_of_images_per_identity(sizes, expected):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    assert examine_labels(labels, len(sizes), ledger=Ledger(10)).histogram() == expected


def test_labels_beyond_the_number_of_classes_are_no_gap_of_their_own():
    ledger = Ledger(10)
    facts = examine_labels(np.array([0, 0, 9, 9]), 3, ledger=ledger)
    assert facts.unused == ((1, 8),) and facts.images == 4
    (gap,) = ledger.listed("label_gap")
    assert gap.score == 8.0 and gap.detail == "labels 1 to 8 have no image"
