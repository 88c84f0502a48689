"""Entries as JSON has them: what is taken, and what no gallery may hold."""

from __future__ import annotations

from typing import Any

import pytest

from arcface_paddle.pipeline.gallery import GalleryEntry
from arcface_paddle.pipeline.gallery.documents import entry_of_json

ADA = {"name": "Ada", "path": "a.jpg"}


@pytest.mark.parametrize("score", [None, 0, 0.0, 0.5, 1, 1.0])
def test_scores_that_are_read(score: Any) -> None:
    assert entry_of_json({**ADA, "detection_score": score}) == GalleryEntry("Ada", "a.jpg", detection_score=score)


@pytest.mark.parametrize("score", [-0.001, 1.001, 1.5, 2, True, "0.5", float("nan"), [1]])
def test_scores_that_are_none(score: Any) -> None:
    with pytest.raises(ValueError, match=r"detection_score is .*; allowed: 0 to 1, or null"):
        entry_of_json({**ADA, "detection_score": score})


def test_boxes_are_four_finite_numbers() -> None:
    assert entry_of_json({**ADA, "box_xyxy": [1, 2, 3, "4"]}).box_xyxy == (1.0, 2.0, 3.0, 4.0)
    for box in ([1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, float("inf")], [float("nan"), 2, 3, 4]):
        with pytest.raises(ValueError):
            entry_of_json({**ADA, "box_xyxy": box})


@pytest.mark.parametrize(
    "value",
    [["Ada", "a.jpg"], {**ADA, "name": 1}, {**ADA, "path": None}, {**ADA, "sha256": 1}, {**ADA, "created": 1.5}],
)
def test_texts_are_texts(value: Any) -> None:
    with pytest.raises(TypeError):
        entry_of_json(value)
