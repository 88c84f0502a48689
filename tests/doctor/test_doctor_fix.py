"""Cleaning: what the cleaned label file leaves out and why, and that no image is touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from doctor_faults import Planted, embedder, jpeg, picture, write_clean, write_planted

from arcface_paddle import image_headers, images
from arcface_paddle.data.kinds import open_dataset
from arcface_paddle.data.layouts import convert_dataset
from arcface_paddle.data.packed import pack_dataset
from arcface_paddle.data.recordio_writing import export_recordio
from arcface_paddle.data.verification_set import read_verification_set
from arcface_paddle.doctor.doctor_settings import DoctorSettings
from arcface_paddle.doctor.examination import examine
from arcface_paddle.doctor.fix import copy_rejected, write_cleaned
from arcface_paddle.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Planted:
    return write_planted(tmp_path_factory.mktemp("planted"))


def rows_of(path: Path) -> list[list[str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    return [line.split("\t") for line in lines[1:]]


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*.*")) if path.is_file()}


def test_cleaned_file_leaves_out_exactly_the_broken_doubled_and_rejected(planted, tmp_path):
    before = content_of(planted.root)
    dataset = open_dataset(planted.root)
    result = write_cleaned(examine(dataset, embedder=embedder), tmp_path / "clean.txt")
    assert content_of(planted.root) == before

    broken = {sample for kind in ("missing", "unreadable", "truncated") for (sample,) in planted.expected[kind]}
    rejected = {sample for (sample,) in planted.expected["cluster_reject"]}
    ((first, copy),) = planted.expected["exact_duplicate_same"]
    removed = rows_of(result.removed_file)
    reasons = {int(row[0]): row[4] for row in removed}
    assert {index for index, reason in reasons.items() if reason == "missing, unreadable or truncated"} == broken
    assert {index for index, reason in reasons.items() if reason == "apart from its identity"} == rejected
    assert {index for index, reason in reasons.items() if reason == "exact duplicate"} == {copy}
    for index, line, path, label, _, instead in removed:
        assert int(line) == planted.lines[int(index)]
        assert path == dataset.paths[int(index)] and int(label) == dataset.labels[int(index)]
        assert instead == (dataset.paths[first] if int(index) == copy else "")
    assert result.removed == {
        "missing, unreadable or truncated": len(broken),
        "exact duplicate": 1,
        "apart from its identity": len(rejected),
    }

    cleaned = open_dataset(planted.root, label_file=result.label_file)
    kept = [index for index in range(len(dataset)) if index not in reasons]
    assert [cleaned.paths[at] for at in range(len(cleaned))] == [dataset.paths[index] for index in kept]
    old_to_new = {int(old): int(new) for old, new, _ in rows_of(result.map_file)}
    assert [old_to_new[label] for label in dataset.labels[kept].tolist()] == cleaned.labels.tolist()
    assert np.unique(cleaned.labels).tolist() == list(range(result.identities)) == list(old_to_new.values())
    assert [int(row[2]) for row in rows_of(result.map_file)] == np.bincount(cleaned.labels).tolist()


def test_cleaned_dataset_is_healthy(tmp_path):
    write_clean(tmp_path / "set")
    label_file = tmp_path / "set" / "label.txt"
    label_file.write_text(label_file.read_text() + "images/0000.jpg\t0\nimages/none.jpg\t9\n")
    dataset = open_dataset(tmp_path / "set")
    write_cleaned(examine(dataset, embedder=embedder), tmp_path / "clean.txt")
    report = examine(open_dataset(tmp_path / "set", label_file=tmp_path / "clean.txt"), embedder=embedder)
    assert not report.ledger.kinds_found() and report.examined == 30


def test_copy_that_fits_its_identity_stays(tmp_path):
    """The first of two equal files carries the wrong label; embeddings decide for the second."""
    stray = jpeg(picture(1, 9))
    images_of = {0: [jpeg(picture(0, shot)) for shot in range(3)], 1: [jpeg(picture(1, shot)) for shot in range(3)]}
    lines = []
    for label, contents in ((0, [stray, *images_of[0]]), (1, [stray, *images_of[1]])):
        for number, content in enumerate(contents):
            (tmp_path / f"{label}_{number}.jpg").write_bytes(content)
            lines.append(f"{label}_{number}.jpg\t{label}\n")
    (tmp_path / "label.txt").write_text("".join(lines))
    # The stray stays inside of its cluster by a generous distance, so that only the choice of the copy decides.
    settings = DoctorSettings(cluster_distance=2.0)
    dataset = open_dataset(tmp_path)
    with_embedder = write_cleaned(examine(dataset, settings, embedder=embedder), tmp_path / "with.txt")
    without = write_cleaned(examine(dataset, settings), tmp_path / "without.txt")
    assert [row[2] for row in rows_of(with_embedder.removed_file)] == ["0_0.jpg"]
    assert [row[2] for row in rows_of(without.removed_file)] == ["1_0.jpg"]


def test_sample_cannot_be_cleaned(tmp_path):
    write_clean(tmp_path / "set")
    report = examine(open_dataset(tmp_path / "set"), DoctorSettings(sample=10))
    with pytest.raises(ConfigError, match="whole dataset"):
        write_cleaned(report, tmp_path / "clean.txt")


def test_nothing_is_overwritten(tmp_path):
    write_clean(tmp_path / "set")
    report = examine(open_dataset(tmp_path / "set"))
    for name in ("set/label.txt", "taken.txt"):
        (tmp_path / "taken.txt.map.tsv").write_text("mine")
        with pytest.raises(ConfigError, match="exists already"):
            write_cleaned(report, tmp_path / name)
    assert (tmp_path / "taken.txt.map.tsv").read_text() == "mine"
    assert not (tmp_path / "taken.txt").exists()


@pytest.mark.parametrize("kind", ["packed", "recordio"])
def test_containers_are_cleaned_by_the_numbers_of_their_samples(tmp_path, kind):
    write_clean(tmp_path / "set")
    label_file = tmp_path / "set" / "label.txt"
    label_file.write_text(label_file.read_text() + "images/0007.jpg\t8\n")
    source = open_dataset(tmp_path / "set")
    export = pack_dataset if kind == "packed" else export_recordio
    export(source, tmp_path / "container")
    dataset = open_dataset(tmp_path / "container")
    result = write_cleaned(examine(dataset), tmp_path / "clean.txt")
    (removed,) = rows_of(result.removed_file)
    assert (int(removed[0]), removed[4]) == (30, "exact duplicate")
    assert removed[2] == dataset.path_of(30) and removed[5] == dataset.path_of(7)

    cleaned = open_dataset(tmp_path / "container", label_file=result.label_file)
    assert cleaned.num_classes == 6 and not examine(cleaned).ledger.kinds_found()
    export(cleaned, tmp_path / "written_out")
    written = open_dataset(tmp_path / "written_out")
    assert [written.read_encoded(index) for index in range(30)] == [source.read_encoded(index) for index in range(30)]
    assert written.labels.tolist() == source.labels[:30].tolist()
    again = write_cleaned(examine(cleaned), tmp_path / "again.txt")  # a cleaned container can be cleaned again
    assert again.label_file.read_text() == result.label_file.read_text()


def test_images_of_a_verification_set_are_left_out(planted, tmp_path):
    sets = [read_verification_set(planted.verification)]
    report = examine(open_dataset(planted.root), verification_sets=sets)
    result = write_cleaned(report, tmp_path / "clean.txt")
    left_out = {(int(row[0]),) for row in rows_of(result.removed_file) if row[4] == "in a verification set"}
    assert left_out == planted.expected["verification_image"]
    cleaned = open_dataset(planted.root, label_file=result.label_file)
    assert not examine(cleaned, verification_sets=sets).ledger.counts["verification_image"]


def test_nothing_left_is_an_error(tmp_path):
    (tmp_path / "label.txt").write_text("a.jpg\t0\n")
    with pytest.raises(DataError, match="no image would be left"):
        write_cleaned(examine(open_dataset(tmp_path)), tmp_path / "clean.txt")


def test_rejected_images_are_copied_byte_for_byte(planted, tmp_path):
    dataset = open_dataset(planted.root)
    (split,) = planted.expected["split_identity"]
    rejected = [*(sample for (sample,) in planted.expected["cluster_reject"]), *split]
    assert copy_rejected(examine(dataset, embedder=embedder), tmp_path / "aside") == len(rejected) > len(split)
    copies = {path: path.read_bytes() for path in (tmp_path / "aside").rglob("*.*") if path.is_file()}
    found = {int(path.stem.split("_")[1]): content for path, content in copies.items()}
    assert found == {index: dataset.read_encoded(index) for index in rejected}
    cluster_of = {int(path.stem.split("_")[1]): path.name.split("_")[0] for path in copies}
    assert [cluster_of[index] for index in split] == ["000", "000", "001", "001"]
    assert {cluster_of[index] for index in set(rejected) - set(split)} <= {"001", "002", "003"}
    for path, content in copies.items():
        index = int(path.stem.split("_")[1])
        assert path.parent.name == str(dataset.labels[index])
        assert image_headers.suffix_by_content(content) == path.suffix


@pytest.mark.parametrize(
    ("linkage", "affinity", "distance"),
    [("average", "cosine", 0.7), ("complete", "cosine", 0.7), ("single", "euclidean", 1.18)],
)
def test_clean_and_rejected_sets_share_out_the_dataset_as_facerec_did(tmp_path, linkage, affinity, distance):
    """Egcode/facerec: cluster each person, keep the largest cluster, copy a clean and a rejected set."""
    planted = write_planted(tmp_path / "set")
    dataset = open_dataset(planted.root)
    settings = DoctorSettings(affinity=affinity, linkage=linkage, cluster_distance=distance)
    report = examine(dataset, settings, embedder=embedder)
    write_cleaned(report, tmp_path / "clean.txt")
    count = copy_rejected(report, tmp_path / "rejected")
    clean = open_dataset(planted.root, label_file=tmp_path / "clean.txt")
    convert_dataset(clean, tmp_path / "clean", layout="folder")
    reasons = {int(row[0]): row[4] for row in rows_of(tmp_path / "clean.txt.removed.tsv")}
    apart = {index for index, reason in reasons.items() if reason == "apart from its identity"}
    copied = {int(path.stem.split("_")[1]) for path in (tmp_path / "rejected").rglob("*_*.*")}
    assert apart and apart <= copied and len(copied) == count
    kept = list((tmp_path / "clean").glob("*/*.*"))
    assert len(kept) == len(clean) == len(dataset) - len(reasons)
    strangers = {sample for (sample,) in planted.expected["cluster_reject"]}
    assert apart == strangers


def test_copying_needs_embeddings(planted, tmp_path):
    with pytest.raises(ConfigError, match="needs a recogniser"):
        copy_rejected(examine(open_dataset(planted.root)), tmp_path / "aside")


def test_folder_dataset_gets_a_label_file(tmp_path):
    for name in ("anna", "bert"):
        for shot in range(3):
            images.write_image(tmp_path / "people" / name / f"{shot}.jpg", picture(len(name) + ord(name[0]), shot))
    (tmp_path / "people/anna/9.jpg").write_bytes(b"broken")
    result = write_cleaned(examine(open_dataset(tmp_path / "people")), tmp_path / "clean.txt")
    cleaned = open_dataset(tmp_path / "people", label_file=result.label_file)
    assert [cleaned.paths[at] for at in (0, 5)] == ["anna/0.jpg", "bert/2.jpg"] and len(cleaned) == 6
    assert not examine(cleaned).ledger.kinds_found()


def test_failure_leaves_nothing_behind(tmp_path):
    """A file name that a label file cannot hold stops the writing after the other two files."""
    images.write_image(tmp_path / "people/anna/a\tb.jpg", picture(0, 0))
    report = examine(open_dataset(tmp_path / "people"))
    with pytest.raises(DataError, match="cannot stand in a label file"):
        write_cleaned(report, tmp_path / "clean.txt")
    assert [entry.name for entry in tmp_path.iterdir()] == ["people"]
