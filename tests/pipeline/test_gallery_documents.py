"""Entries as JSON has them: what is taken, and what no gallery may hold."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from arcface_paddle.pipeline.cards import SimilaritySpec
from arcface_paddle.pipeline.gallery import GalleryEntry, ModelIdentity
from arcface_paddle.pipeline.gallery.documents import entry_of_json, json_of_model, model_of_json, parameters_of_json

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


def test_a_plain_cosine_is_left_unsaid_and_another_similarity_is_kept() -> None:
    plain = ModelIdentity("net", 4, "a", "b", mirrored=True)
    other = dataclasses.replace(plain, similarity=SimilaritySpec(offset=0.25, scale=0.5))
    assert "similarity" not in json_of_model(plain)
    assert json_of_model(other)["similarity"] == {"offset": 0.25, "scale": 0.5}
    assert [model_of_json(json_of_model(one)) for one in (plain, other)] == [plain, other]


@pytest.mark.parametrize(
    "change",
    [
        {"name": 1},
        {"weights_sha256": None},
        {"preprocessing_sha256": 5},
        {"mirrored": 1},
        {"embedding_size": 4.0},
        {"embedding_size": 0},
        {"embedding_size": 1 << 20},
        {"similarity": {"scale": 0}},
        {"similarity": {"offset": 1.5}},
    ],
)
def test_what_is_no_identity(change: dict[str, Any]) -> None:
    good = json_of_model(ModelIdentity("net", (1 << 20) - 1, "a", "b", mirrored=True))
    assert model_of_json(good).embedding_size == (1 << 20) - 1
    with pytest.raises((TypeError, ValueError)):
        model_of_json({**good, **change})
    with pytest.raises(TypeError):
        model_of_json([good])


def test_parameters_are_what_can_be_written_again() -> None:
    assert parameters_of_json({"threshold": 0.5}) == {"threshold": 0.5}
    with pytest.raises(ValueError):
        parameters_of_json({"threshold": float("nan")})
    with pytest.raises(TypeError):
        parameters_of_json([0.5])
