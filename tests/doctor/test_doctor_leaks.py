"""Synthetic people near real ones: planted leaks are found, clean sets are not accused, and the search is exact."""

from __future__ import annotations

import json
import math
from statistics import NormalDist

import numpy as np
import pytest
from doctor_faults import Writer, embedder, jpeg, picture

from arcface_paddle.cli.main import run_module
from arcface_paddle.data.kinds import open_dataset
from arcface_paddle.doctor.crop_embeddings import EmbeddingCache, unit_rows
from arcface_paddle.doctor.leak_report import leak_document, leak_text, write_leak_page, write_without_leaks
from arcface_paddle.doctor.leaks import COPY_SIMILARITY, LeakSettings, check_leaks, nearest_rows
from arcface_paddle.doctor.stranger_tail import SimilarityCounts, rate_of_each, similarity_at_rate, strictest
from arcface_paddle.errors import ConfigError, DataError

REAL, SYNTHETIC, SHOTS = 40, 12, 3
SAME_PERSON, ONE_PICTURE = 4, 7  # synthetic people who are planted, and how


def write_sets(root):
    real, clean, leaky = Writer(root / "real"), Writer(root / "clean"), Writer(root / "leaky")
    for person in range(REAL):
        for shot in range(SHOTS):
            real.add(jpeg(picture(person, shot)), person)
    for person in range(SYNTHETIC):
        for shot in range(SHOTS):
            own = jpeg(picture(1000 + person, shot))
            clean.add(own, person)
            # Other pictures of real person 21; a recompressed and mirrored picture of real person 33.
            leaky.add(jpeg(picture(21, 50 + shot)) if person == SAME_PERSON else own, person)
    leaky.add(jpeg(np.ascontiguousarray(picture(33, 1)[:, ::-1]), quality=60), ONE_PICTURE)
    leaky.add(b"not a picture", ONE_PICTURE)
    for writer in (real, clean, leaky):
        writer.finish()


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    root = tmp_path_factory.mktemp("leaks")
    write_sets(root)
    return root


def checked(sets, name, **changes):
    cache = changes.pop("cache", None)
    settings = LeakSettings(workers=1, **changes)
    return check_leaks(open_dataset(sets / name), open_dataset(sets / "real"), settings, embedder=embedder, cache=cache)


@pytest.fixture(scope="module")
def leaky(sets):
    return checked(sets, "leaky")


def test_planted_leaks_are_found_and_nobody_else(leaky):
    assert sorted(leaky.people[leaky.leaks]) == [SAME_PERSON, ONE_PICTURE]
    by_mean, by_picture = leaky.people[leaky.by_mean], leaky.people[leaky.by_picture]
    assert by_mean.tolist() == [SAME_PERSON] and ONE_PICTURE in by_picture
    assert leaky.real_people[leaky.mean.row[SAME_PERSON]] == 21
    assert leaky.real.labels[leaky.picture.row[ONE_PICTURE]] == 33
    assert leaky.own_picture[ONE_PICTURE] == SYNTHETIC * SHOTS
    assert leaky.unreadable == (1, 0) and leaky.compared == (SYNTHETIC * SHOTS + 1, REAL * SHOTS)
    assert leaky.mean_threshold.comparisons == SYNTHETIC * REAL


def test_a_clean_set_has_no_leak(sets):
    report = checked(sets, "clean", false_alarm=0.2)
    assert not len(report.leaks)
    assert report.mean.similarity.max() < report.mean_threshold.similarity


def test_best_pairs_equal_a_slow_search(leaky):
    def embedded(dataset, index):
        return embedder(dataset.read_image(index)[None])[0]

    mine = {index: embedded(leaky.synthetic, index) for index in range(0, SYNTHETIC * SHOTS + 1)}
    theirs = np.stack([embedded(leaky.real, index) for index in range(REAL * SHOTS)])
    for row, person in enumerate(leaky.people):
        own = [index for index in mine if leaky.synthetic.labels[index] == person]
        similarity = np.stack([mine[index] for index in own]) @ theirs.T
        assert leaky.picture.similarity[row] == pytest.approx(similarity.max(), abs=2e-3)  # kept in half precision
        assert leaky.mean.similarity[row] == pytest.approx(
            max(
                float(unit_rows(np.stack([mine[index] for index in own]).sum(0)[None])[0] @ mean)
                for mean in unit_rows(theirs.reshape(REAL, SHOTS, -1).sum(axis=1))
            ),
            abs=2e-3,
        )
    means = unit_rows(theirs.reshape(REAL, SHOTS, -1).sum(axis=1))
    others = means @ means.T - 3 * np.eye(REAL)
    np.testing.assert_allclose(leaky.real_nearest, others.max(axis=1), atol=2e-3)


def test_nearest_rows_in_blocks_equal_one_product(monkeypatch):
    monkeypatch.setattr("arcface_paddle.doctor.leaks._QUERY_ROWS", 7)
    rng = np.random.default_rng(2)
    queries, rows = unit_rows(rng.standard_normal((30, 8))), unit_rows(rng.standard_normal((50, 8)))
    rows[40] = rows[3]  # of equal ones the first wins
    found = nearest_rows(queries, iter(np.split(rows, [11, 12, 31])))
    np.testing.assert_array_equal(found.row, (queries @ rows.T).argmax(axis=1))
    np.testing.assert_allclose(found.similarity, (queries @ rows.T).max(axis=1), rtol=1e-6)


def test_tail_of_counts_equals_the_sorted_values():
    values = np.random.default_rng(3).normal(0.1, 0.15, 100_000).clip(-1, 1)
    counts = SimilarityCounts()
    for part in np.split(values, 10):
        counts.add(part.reshape(100, 100))
    assert counts.total == len(values)
    ordered = np.sort(values)[::-1]
    for rate, similarity in counts.tail():
        allowed = round(rate * len(values))
        assert ordered[allowed] - 1e-4 <= similarity <= ordered[allowed - 1] + 1e-4
    assert counts.tail()[-1][0] == pytest.approx(3e-4)  # 20 of 100,000 are at 2e-4
    assert SimilarityCounts().tail() == ()


def test_beyond_the_tail_a_normal_distribution_is_continued():
    normal = NormalDist(0.05, 0.1)
    tail = [(rate, normal.inv_cdf(1 - rate)) for rate in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)]
    for rate in (1e-6, 1e-8, 1e-10):
        true = normal.inv_cdf(1 - rate)
        assert true - 0.005 < similarity_at_rate(tail, rate) < true + 0.05
    assert similarity_at_rate(tail, 0.5) == tail[0][1]
    assert tail[1][1] < similarity_at_rate(tail, 3e-3) < tail[2][1]
    assert strictest([None, (), tail], 1e-3) == pytest.approx(tail[2][1])
    assert strictest([(), ((0.1, 0.3),)], 1e-3) is None
    assert math.isclose(1 - (1 - rate_of_each(0.05, 1000)) ** 1000, 0.05, rel_tol=1e-6)


def test_the_false_alarm_rate_holds_for_random_people():
    """Of 300 checks of 30 people who are nobody against 60 others, hardly more than the stated share finds a leak."""
    rng = np.random.default_rng(4)
    alarms = 0
    for _ in range(300):
        real, synthetic = unit_rows(rng.standard_normal((60, 24))), unit_rows(rng.standard_normal((30, 24)))
        counts = SimilarityCounts()
        counts.add((real @ real.T)[np.triu_indices(60, 1)])
        threshold = similarity_at_rate(counts.tail(), rate_of_each(0.05, 30 * 60))
        alarms += bool((synthetic @ real.T).max() >= threshold)
    assert alarms <= 24  # 15 expected, 24 with two deviations of chance


def test_document_text_page_and_cleaned_list(leaky, sets, tmp_path):
    document = json.loads(json.dumps(leak_document(leaky)))
    assert document["leak_count"] == 2 and document["false_alarm_rate"] == 0.01
    by_label = {leak["label"]: leak for leak in document["leaks"]}
    assert by_label[SAME_PERSON]["real_label_by_mean"] == 21 and "mean" in by_label[SAME_PERSON]["by"]
    assert by_label[ONE_PICTURE]["by"] == ["picture"] and by_label[ONE_PICTURE]["real_label_by_picture"] == 33
    assert by_label[ONE_PICTURE]["real_picture"].endswith("images/0100.jpg")
    text = leak_text(leaky, rows=1)
    assert "2 of 12 synthetic people are near a real person" in text and "... and 1 more" in text
    write_leak_page(leaky, tmp_path / "page.html", shown=3)
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/jpeg;base64") > 20 and "real 21, nearest by mean" in page and "://" not in page
    result = write_without_leaks(leaky, tmp_path / "clean.txt")
    assert (result.identities, result.kept) == (SYNTHETIC - 2, (SYNTHETIC - 2) * SHOTS)
    cleaned = open_dataset(sets / "leaky", label_file=tmp_path / "clean.txt")
    kept = [person for person in range(SYNTHETIC) if person not in (SAME_PERSON, ONE_PICTURE)]
    first = cleaned.read_encoded(int(np.flatnonzero(cleaned.labels == kept.index(8))[0]))
    assert first == jpeg(picture(1008, 0))
    removed = (tmp_path / "clean.txt.removed.tsv").read_text().splitlines()
    assert len(removed) == 1 + 2 * SHOTS + 2 and "real person 33" in removed[-1]


def test_settings_cache_and_samples(sets, tmp_path):
    calls = []

    def counting(crops):
        calls.append(len(crops))
        return embedder(crops)

    synthetic, real = open_dataset(sets / "leaky"), open_dataset(sets / "real")
    cache = EmbeddingCache(tmp_path, "painted")
    settings = LeakSettings(pictures_per_person=1, similarity=0.999, workers=1)
    first = check_leaks(synthetic, real, settings, embedder=counting, cache=cache)
    assert first.compared == (SYNTHETIC, REAL) and not len(first.leaks)
    assert first.picture_threshold.reason == "given"
    calls.clear()
    again = check_leaks(synthetic, real, settings, embedder=counting, cache=cache)
    assert calls == [12, 40]  # a first batch each, to see that the cache is of this embedder
    np.testing.assert_array_equal(again.mean.similarity, first.mean.similarity)
    tail = ((1e-2, 0.5), (1e-3, 0.9))
    report = check_leaks(synthetic, real, LeakSettings(workers=1), embedder=embedder, card_tail=tail)
    assert report.picture_threshold.similarity == COPY_SIMILARITY and "only copies" in report.picture_threshold.reason


def test_few_real_people_without_a_card_are_refused(sets, tmp_path):
    writer = Writer(tmp_path / "few")
    for person in range(3):
        writer.add(jpeg(picture(person, 0)[:, : 112 - person]), person)
    writer.finish()
    few = open_dataset(tmp_path / "few")
    with pytest.raises(DataError, match="3 people are too few to tell how similar strangers are"):
        check_leaks(open_dataset(sets / "clean"), few, LeakSettings(workers=1), embedder=embedder)
    tail = ((1e-1, 0.5), (1e-2, 0.6))
    report = check_leaks(open_dataset(sets / "clean"), few, LeakSettings(workers=1), embedder=embedder, card_tail=tail)
    assert report.mean_threshold.similarity is None and not report.by_mean.any()
    assert report.resized == (0, 2) and "resized: 0 and 2 pictures" in leak_text(report)
    assert "not judged: too few real people" in leak_text(report)


@pytest.mark.parametrize(
    "changes",
    [{"false_alarm": 0}, {"false_alarm": 1.0}, {"similarity": 2}, {"pictures_per_person": 0}, {"strangers": 1}],
    ids=str,
)
def test_bad_settings(changes):
    with pytest.raises(ConfigError):
        LeakSettings(**changes)


def run_command(*arguments):
    return run_module("data_leaks", [str(argument) for argument in arguments], prog="data leaks")


def test_command_with_the_shipped_recogniser(sets, tmp_path, capsys):
    for name, lines in (("leaky", [0, 21, 22, 36, 37]), ("real", range(90, 102))):  # a few, which is quicker
        listed = [line for line in (sets / name / "label.txt").read_text().splitlines() if line.startswith("images")]
        (tmp_path / f"{name}.txt").write_text("".join(f"{listed[line]}\n" for line in lines))
    arguments = [sets / "leaky", sets / "real", "--similarity", "0.97", "--pictures_per_person", "4"]
    arguments += ["--label_file", tmp_path / "leaky.txt", "--real_label_file", tmp_path / "real.txt"]
    arguments += ["--json", tmp_path / "leaks.json", "--html", tmp_path / "leaks.html", "--pictures", "2"]
    assert run_command(*arguments, "--fix", tmp_path / "label.txt") == 1
    text = capsys.readouterr().out
    assert "left out: 1 and 0 pictures that cannot be read" in text and "near a real person" in text
    document = json.loads((tmp_path / "leaks.json").read_text())
    by_label = {leak["label"]: leak for leak in document["leaks"]}
    assert by_label[ONE_PICTURE]["real_label_by_picture"] == 33
    assert len(document["thresholds"]["pictures"]["card_tail"]) == 6
    assert (tmp_path / "label.txt").exists() and (tmp_path / "leaks.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--pictures", "3"], "--pictures is about the page"),
        (["--similarity", "0.5", "--false_alarm", "0.1"], "both say what counts"),
        (["--false_alarm", "0"], "false_alarm is 0"),
        (["--rec_model", "FaceFusion"], "does not take single crops"),
    ],
)
def test_wrong_use_is_one_line(sets, capsys, flags, message):
    assert run_command(sets / "clean", sets / "real", *flags) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_set_is_not_compared_with_itself(sets, capsys):
    assert run_command(sets / "real", sets / "real") == 2
    assert "given twice" in capsys.readouterr().err
