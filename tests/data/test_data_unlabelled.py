"""Faces without labels: pictures as they lie in a folder, records beside them, and sets whose labels are not read."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from arcface_paddle.data import open_dataset, write_verification_set
from arcface_paddle.data.bin_record import encode_record
from arcface_paddle.data.layouts import convert_dataset
from arcface_paddle.data.unlabelled import open_unlabelled
from arcface_paddle.errors import DataError


def encoded(value: int) -> bytes:
    return bytes(cv2.imencode(".png", np.full((112, 112, 3), value, np.uint8))[1])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "b.png").write_bytes(encoded(20))
    (tmp_path / "deep" / "a.png").write_bytes(encoded(30))
    (tmp_path / "deep" / "er" / "c.bin").write_bytes(encode_record("c.png", encoded(40)))
    (tmp_path / "notes.txt").write_text("no picture")
    write_verification_set(tmp_path / "val.bin", [encoded(1), encoded(2)], [True])
    return tmp_path


def test_all_pictures_and_records_below_a_folder_count_and_a_verification_set_does_not(folder):
    dataset = open_unlabelled(folder)
    assert [dataset.paths[index] for index in range(len(dataset))] == ["b.png", "deep/a.png", "deep/er/c.bin"]
    assert [int(dataset.read_image(index)[0, 0, 0]) for index in range(3)] == [20, 30, 40]
    assert dataset.labels.tolist() == [0, 0, 0]


def test_a_folder_per_person_is_read_with_what_lies_beside_the_folders(folder):
    assert len(open_dataset(folder)) == 1  # the labelled reader looks into the folders, for pictures
    assert len(open_unlabelled(folder)) == 3


def test_sets_that_have_a_layout_are_opened_as_ever(folder, tmp_path_factory):
    (folder / "label.txt").write_text("b.png\t0\ndeep/a.png\t1\n")
    assert len(open_unlabelled(folder, kind="image")) == 2
    packed = tmp_path_factory.mktemp("packed")
    convert_dataset(open_dataset(folder, kind="image"), packed, layout="packed")
    assert type(open_unlabelled(packed)).__name__ == "PackedDataset"


def test_nothing_to_learn_from(tmp_path):
    with pytest.raises(DataError, match="no pictures; expected face crops"):
        open_unlabelled(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        open_unlabelled(tmp_path / "nowhere")
