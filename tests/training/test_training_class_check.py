"""Labels from which nothing can be learned: refused, or said in one line."""

from __future__ import annotations

import numpy as np
import pytest

from arcface_paddle.errors import DataError
from arcface_paddle.training.class_check import check_classes


def said_of(labels, num_classes) -> list[str]:
    said: list[str] = []
    check_classes(np.array(labels), num_classes, name="faces", say=said.append)
    return said


@pytest.mark.parametrize(("labels", "num_classes"), [([0, 1], 2), ([2, 1, 0, 0], 3), (list(range(100)) * 2, 100)])
def test_data_without_gaps_is_passed_in_silence(labels, num_classes):
    assert said_of(labels, num_classes) == []


@pytest.mark.parametrize(
    ("labels", "num_classes", "words"),
    [
        ([0, 2], 3, "1 of 3 classes have no sample (labels 1): "),
        ([0, 1], 4, "2 of 4 classes have no sample (labels 2, 3): "),
        ([5, 9], 10, "8 of 10 classes have no sample (labels 0, 1, 2, 3, 4, …): "),
        ([0, 6], 7, "5 of 7 classes have no sample (labels 1, 2, 3, 4, 5): "),
    ],
)
def test_empty_classes_are_counted_and_the_first_ones_named(labels, num_classes, words):
    (line,) = said_of(labels, num_classes)
    assert line.startswith(f"faces: {words}")
    assert "\n" not in line and line.endswith("number the labels without gaps, or check --num_classes")


@pytest.mark.parametrize(("labels", "num_classes"), [([0], 1), ([0, 0, 0], 1), ([3, 3], 4), ([0, 0], 50)])
def test_one_class_is_refused_whatever_the_size_of_the_classifier(labels, num_classes):
    with pytest.raises(DataError, match=rf"faces: all {len(labels)} samples have label {labels[0]}; .* at least two"):
        said_of(labels, num_classes)


def test_the_labels_of_a_large_dataset_take_no_time():
    labels = np.random.default_rng(0).integers(0, 85_742, 5_000_000)
    said: list[str] = []
    check_classes(labels, 85_742, name="faces", say=said.append)
    assert said == []


def test_classes_with_fewer_samples_than_subcentres_are_counted():
    said: list[str] = []
    labels = np.repeat([0, 1, 2], [3, 2, 1])
    check_classes(labels, 3, name="faces", say=said.append, subcentres=3)
    (line,) = said
    assert line.startswith("faces: 2 of 3 classes have fewer samples than sub-centres (3): ")
    check_classes(labels, 3, name="faces", say=said.append)
    assert len(said) == 1


def test_an_empty_class_is_not_a_small_one():
    said: list[str] = []
    check_classes(np.array([0, 0, 1]), 3, name="faces", say=said.append, subcentres=2)
    assert [line.split(" classes")[0] for line in said] == ["faces: 1 of 3", "faces: 1 of 3"]
