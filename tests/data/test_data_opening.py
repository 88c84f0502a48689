"""Which layout a path is, and samples of a container that a label file selects."""

import numpy as np
import pytest
from published_layouts import face_jpeg, write_bin_set, write_image_set, write_rec_set

from arcface_paddle.data import DatasetSpec, open_dataset
from arcface_paddle.data.kinds import KINDS, detect_kind
from arcface_paddle.data.label_file import complaint_about_path, read_label_file
from arcface_paddle.data.packed import pack_dataset
from arcface_paddle.data.selection import SelectedDataset, lists_numbers
from arcface_paddle.errors import ConfigError, DataError

LABELS = [0, 0, 1, 2]


@pytest.fixture
def packed(tmp_path):
    pictures = write_bin_set(tmp_path / "bin", LABELS)
    pack_dataset(open_dataset(tmp_path / "bin"), tmp_path / "packed")
    return tmp_path / "packed", pictures


def test_every_layout_is_told(tmp_path, packed):
    write_image_set(tmp_path / "image", LABELS)
    write_rec_set(tmp_path / "rec", LABELS)
    (tmp_path / "folder/anna").mkdir(parents=True)
    (tmp_path / "folder/anna/1.jpg").write_bytes(face_jpeg(0))
    expected = {"bin": "listed", "image": "listed", "folder": "folder", "rec": "recordio", "packed": "packed"}
    assert {name: detect_kind(DatasetSpec(tmp_path / name)) for name in expected} == expected
    assert detect_kind(DatasetSpec(tmp_path / "rec/train.rec")) == "recordio"
    # A label file beside the folders means the list, one beside a container that lists paths means these.
    (tmp_path / "folder/label.txt").write_text("anna/1.jpg\t0\n")
    assert detect_kind(DatasetSpec(tmp_path / "folder")) == "listed"
    assert detect_kind(DatasetSpec(packed[0], tmp_path / "folder/label.txt")) == "listed"
    (tmp_path / "numbers.txt").write_text("0\t0\n")
    assert detect_kind(DatasetSpec(packed[0], tmp_path / "numbers.txt")) == "packed"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "none: no such folder"),
        ("file", "neither a folder nor a .rec or TFRecord file"),
        ("empty", "no dataset found"),
    ],
)
def test_what_is_no_dataset(tmp_path, name, message):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/.hidden").mkdir()
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path / name)


def test_wrong_kinds(tmp_path):
    with pytest.raises(ConfigError, match=f"dataset kind 'zip'; allowed: {', '.join(KINDS)}"):
        open_dataset(tmp_path, kind="zip")
    with pytest.raises(ConfigError, match="a folder per identity names the labels"):
        open_dataset(tmp_path, kind="folder", label_file=tmp_path / "label.txt")


def test_a_selection_takes_samples_in_its_order_with_its_labels(tmp_path, packed):
    root, pictures = packed
    (tmp_path / "clean.txt").write_text("3\t0\n1\t1\n# the others are duplicates\n1\t4\n")
    dataset = open_dataset(root, label_file=tmp_path / "clean.txt")
    assert isinstance(dataset, SelectedDataset) and len(dataset) == 3 and dataset.num_classes == 5
    assert dataset.labels.tolist() == [0, 1, 4]
    assert [dataset.read_encoded(index) for index in range(3)] == [pictures[3], pictures[1], pictures[1]]
    whole = open_dataset(root)
    assert [dataset.path_of(index) for index in range(3)] == [whole.path_of(3), whole.path_of(1), whole.path_of(1)]
    np.testing.assert_array_equal(dataset.read_image(0), whole.read_image(3))
    with pytest.raises(DataError, match="num_classes is 4"):
        open_dataset(root, label_file=tmp_path / "clean.txt", num_classes=4)


@pytest.mark.parametrize("number", ["4", "99999999999999999999", "-1", "1.5", "a.jpg", "\u0661"])
def test_a_selection_of_what_is_not_there(tmp_path, packed, number):
    (tmp_path / "clean.txt").write_text(f"0\t0\n{number}\t1\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"clean\.txt: .* is not the number of a sample of .*; allowed: 0 to 3"):
        open_dataset(packed[0], label_file=tmp_path / "clean.txt")


@pytest.mark.parametrize(("first", "expected"), [("7", True), ("07", True), ("a/7", False), ("\u0661", False)])
def test_numbers_are_told_from_paths_by_the_first_line(tmp_path, first, expected):
    (tmp_path / "label.txt").write_text(f"{first}\t0\n", encoding="utf-8")
    assert lists_numbers(read_label_file(tmp_path / "label.txt")) is expected


@pytest.mark.parametrize("name", ["", "#a.jpg", "a\tb.jpg", "a\nb.jpg", "a\rb.jpg", "a\udcff.jpg"])
def test_paths_that_no_label_file_can_hold(name):
    assert complaint_about_path(name).startswith("cannot stand in a label file")
    assert complaint_about_path("a b#c/Jos\u00e9.jpg") == ""
