"""What a dataset is, in numbers."""

import pytest
from published_layouts import face_jpeg, write_bin_set, write_image_set

from arcface_paddle.data import open_dataset
from arcface_paddle.data.facts import DatasetFacts, StoredPicture, dataset_facts, stored_picture
from arcface_paddle.errors import DataError, ImageError


def test_facts(tmp_path):
    write_bin_set(tmp_path, [0, 0, 0, 0, 2, 5, 5])
    facts = dataset_facts(open_dataset(tmp_path))
    first = str(tmp_path / "images/00000000.bin")
    assert facts == DatasetFacts(
        reader="BinFileDataset", samples=7, identities=3, classes=6, fewest=1, most=4, median=2.0, first_sample=first
    )
    assert facts.unused_labels == 3


def test_more_classes_than_labels(tmp_path):
    write_image_set(tmp_path, [0, 1])
    assert dataset_facts(open_dataset(tmp_path, num_classes=10)).unused_labels == 8


def test_what_a_picture_holds(tmp_path):
    content = face_jpeg(0, side=96)
    write_image_set(tmp_path, [0, 1, 2], [content, b"text", b""])
    dataset = open_dataset(tmp_path)
    assert stored_picture(dataset, 0) == StoredPicture((96, 96), ".jpg", len(content))
    with pytest.raises(ImageError, match=r"00000001\.jpg"):
        stored_picture(dataset, 1)
    with pytest.raises(DataError, match=r"00000002\.jpg: the file is empty"):
        stored_picture(dataset, 2)
