"""Doubtful labels by sub-centres: the rule against a slow loop, the cosines, the list, the page, the cleaned labels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from doctor_faults import write_clean

from arcface_paddle.data.kinds import open_dataset
from arcface_paddle.doctor.noise_report import write_list, write_page, write_without
from arcface_paddle.doctor.subcentres import NoiseRule, judge_subcentres, subcentre_cosines
from arcface_paddle.errors import ConfigError, DataError


def slow_verdicts(cosines, labels, num_classes, limit_deg):
    """Return (nearest, dominant, angle), picture by picture and class by class."""
    nearest = [max(range(len(row)), key=lambda k: row[k]) for row in cosines]
    dominant = []
    for label in range(num_classes):
        votes = [nearest[index] for index in range(len(labels)) if labels[index] == label]
        dominant.append(max(range(len(cosines[0])), key=lambda k: (votes.count(k), -k)))
    angles = [math.degrees(math.acos(row[dominant[label]])) for row, label in zip(cosines, labels)]
    return nearest, dominant, angles


@pytest.mark.parametrize("nondominant", [False, True])
def test_verdicts_are_those_of_the_slow_loop(nondominant):
    random = np.random.default_rng(0)
    cosines = random.uniform(-1, 1, (60, 3)).astype(np.float32)
    labels = random.integers(0, 7, 60)
    labels[labels == 5] = 4  # a class without pictures
    report = judge_subcentres(cosines, labels, num_classes=7, rule=NoiseRule(70.0, nondominant))
    nearest, dominant, angles = slow_verdicts(cosines.astype(float), labels, 7, 70.0)
    assert report.nearest.tolist() == nearest and report.dominant.tolist() == dominant
    np.testing.assert_allclose(report.angle_deg, angles, rtol=1e-5)
    expected = [
        angle > 70.0 or (nondominant and near != dominant[label]) for angle, near, label in zip(angles, nearest, labels)
    ]
    assert report.doubted.tolist() == expected
    worst = report.worst_first()
    assert sorted(worst) == np.flatnonzero(expected).tolist() and (np.diff(report.angle_deg[worst]) <= 0).all()
    centres = random.normal(size=(7, 3, 2))
    np.testing.assert_array_equal(report.dominant_centres(centres), [centres[c, k] for c, k in enumerate(dominant)])


def test_a_picture_that_cannot_be_read_is_neither_judged_nor_counted():
    cosines = np.array([[0.9, 0.1], [np.nan, np.nan], [0.2, 0.8], [0.9, 0.0]], np.float32)
    report = judge_subcentres(cosines, np.zeros(4, int), num_classes=1, rule=NoiseRule(75.0))
    assert report.unreadable == 1 and report.doubted.tolist() == [False, False, True, False]
    assert report.nearest.tolist() == [0, -1, 1, 0] and np.isnan(report.angle_deg[1])


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Six people of five pictures; one picture is broken, two have another's label."""
    root = tmp_path_factory.mktemp("noisy") / "set"
    write_clean(root)
    lines = [line for line in (root / "label.txt").read_text().splitlines() if line[:1] not in ("", "#")]
    for index in (3, 17):
        path, label = lines[index].split("\t")
        lines[index] = f"{path}\t{(int(label) + 1) % 6}"
    (root / "label.txt").write_text("\n".join(lines) + "\n")
    (root / lines[9].split("\t")[0]).write_bytes(b"broken")
    return open_dataset(str(root))


def true_people(dataset) -> np.ndarray:
    """Return whose picture each is: wrong labels are known."""
    people = dataset.labels.copy()
    people[[3, 17]] = (people[[3, 17]] - 1) % 6
    return people


def embedder_of(dataset):
    """Return an embedder that knows every picture: its person's axis, with a little of its own."""
    known = {}
    for index in range(len(dataset)):
        if index != 9:
            own = np.eye(7)[true_people(dataset)[index]] + 0.02 * np.random.default_rng(index).normal(size=7)
            known[dataset.read_image(index).tobytes()] = own
    return lambda crops: np.stack([known[crop.tobytes()] for crop in crops]).astype(np.float32)


@pytest.fixture(scope="module")
def report(faces):
    centres = np.stack([np.eye(7)[:6], np.tile(np.eye(7)[6], (6, 1))], axis=1) * 3.0  # the person, and nobody
    cosines = subcentre_cosines(faces, embedder_of(faces), centres=centres, batch_size=4, workers=2)
    assert np.isnan(cosines[9]).all() and np.isfinite(np.delete(cosines, 9, 0)).all()
    return judge_subcentres(cosines, faces.labels, num_classes=6, rule=NoiseRule())


def test_wrong_labels_are_doubted_by_their_angle(report):
    assert np.flatnonzero(report.doubted).tolist() == [3, 17]
    assert report.angle_deg[[3, 17]].min() > 80 and np.nanmax(np.delete(report.angle_deg, [3, 17])) < 10


def test_list_page_and_cleaned_labels(faces, report, tmp_path):
    write_list(faces, report, tmp_path / "noisy.tsv")
    header, *rows = (tmp_path / "noisy.tsv").read_text().splitlines()
    assert header.split("\t")[:5] == ["# index", "line", "path", "label", "angle_deg"]
    assert {int(row.split("\t")[0]) for row in rows} == {3, 17}
    assert all(float(row.split("\t")[4]) > 75 for row in rows)

    write_page(faces, report, tmp_path / "noisy.html", pictures=1)
    page = (tmp_path / "noisy.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 4  # one doubted, three of its class
    assert "2 of 30 images are doubted" in page and "and 1 more" in page

    result = write_without(faces, report, tmp_path / "clean.txt")
    assert (result.kept, result.identities) == (28, 6)
    assert result.removed == {"far from the dominant sub-centre": 2}
    cleaned = open_dataset(faces.name, label_file=str(tmp_path / "clean.txt"))
    kept = np.delete(np.arange(30), [3, 17])
    assert [cleaned.paths[at] for at in range(28)] == [faces.paths[at] for at in kept.tolist()]
    with pytest.raises(ConfigError, match="exists already"):
        write_without(faces, report, tmp_path / "clean.txt")


def test_centres_of_other_data_are_refused(faces):
    with pytest.raises(DataError, match="has 6 classes, the classifier 5"):
        subcentre_cosines(faces, embedder_of(faces), centres=np.ones((5, 2, 7)))
    with pytest.raises(DataError, match="length 7, the centres 4"):
        subcentre_cosines(faces, embedder_of(faces), centres=np.ones((6, 2, 4)))
