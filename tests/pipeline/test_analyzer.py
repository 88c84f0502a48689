from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np
import pytest

from arcface_paddle.errors import ConfigError, ImageError
from arcface_paddle.pipeline import Analyzer, Recognizer, RuntimeOptions, build_detector, build_recognizer
from arcface_paddle.pipeline.detection.base import Detector
from arcface_paddle.pipeline.gallery import Gallery, GalleryEntry
from arcface_paddle.types import UNKNOWN, Candidate

OPTIONS = RuntimeOptions(threads=1)
with np.load(Path(__file__).parent.parent / "fixtures" / "model_references.npz") as _archive:
    SCENE, FACES = _archive["scene"], _archive["faces"]
EMPTY = np.full((120, 90, 3), 90, np.uint8)


@dataclass(frozen=True)
class Answer:
    name: str
    similarity: Optional[float]
    candidates: tuple[Candidate, ...]


class OnePersonGallery:
    """Knows one embedding; records what it was asked."""

    def __init__(self, embedding: np.ndarray) -> None:
        self.embedding = embedding
        self.asked: list[tuple[int, float]] = []
        self.comparisons = 1

    def identify(self, embeddings: np.ndarray, *, top_k: int, threshold: float) -> list[Answer]:
        self.asked.append((top_k, threshold))
        similarities = [float(one @ self.embedding) for one in embeddings]
        return [
            Answer("Eileen" if value >= threshold else UNKNOWN, value, (Candidate("Eileen", value),))
            for value in similarities
        ]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return build_detector(options=OPTIONS)


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return build_recognizer("MobileFace", options=OPTIONS)


def test_many_pictures_are_each_as_if_alone(detector: Detector, recognizer: Recognizer) -> None:
    analyzer = Analyzer(detector, recognizer)
    pictures = [SCENE, EMPTY, np.concatenate([SCENE, SCENE], axis=1)]
    together = analyzer.analyze_many(pictures, sources=["a", "b", "c"])
    assert [result.source for result in together] == ["a", "b", "c"]
    assert [len(result.faces) for result in together] == [1, 0, 2]
    assert [result.size_wh for result in together] == [(256, 256), (90, 120), (512, 256)]
    for picture, result in zip(pictures, together):
        for alone, face in zip(analyzer.analyze(picture).faces, result.faces):
            np.testing.assert_array_equal(alone.detection.box_xyxy, face.detection.box_xyxy)
            np.testing.assert_allclose(alone.embedding, face.embedding, atol=1e-5)
            assert alone.feature_norm == pytest.approx(face.feature_norm, rel=1e-4)
            assert face.name is None and face.similarity is None and face.candidates == ()


def test_nothing_in_nothing_out(detector: Detector, recognizer: Recognizer) -> None:
    assert Analyzer(detector, recognizer).analyze_many([]) == []


def test_the_gallery_names_faces_above_the_threshold_of_the_card(detector: Detector, recognizer: Recognizer) -> None:
    embedding = Analyzer(detector, recognizer).analyze(SCENE).faces[0].embedding
    assert embedding is not None
    gallery = OnePersonGallery(embedding)
    assert recognizer.card.recognizer is not None and recognizer.card.recognizer.calibration is not None
    by_card = Analyzer(detector, recognizer, gallery, top_k=3)
    [face] = by_card.analyze(SCENE).faces
    assert face.name == "Eileen" and face.similarity == pytest.approx(1, abs=1e-5)
    assert face.candidates[0].name == "Eileen"
    assert gallery.asked == [(3, dict(recognizer.card.recognizer.calibration.tail)[1e-2])]  # one comparison, FPIR .01
    stranger = Analyzer(detector, recognizer, OnePersonGallery(-embedding), threshold=0.3).analyze(SCENE).faces[0]
    assert stranger.name == UNKNOWN and stranger.similarity == pytest.approx(-1, abs=1e-5)  # the sign is kept


def test_it_names_its_parts(detector: Detector, recognizer: Recognizer) -> None:
    gallery = Gallery([GalleryEntry("Ada", "a.jpg")], np.eye(1, recognizer.embedding_size, dtype=np.float32))
    parts = ", ".join(repr(part) for part in (detector, recognizer, gallery))
    assert repr(Analyzer(detector, recognizer, gallery, threshold=0.4)) == f"Analyzer({parts}, threshold=0.400)"


def test_detection_only_gives_no_embeddings(detector: Detector) -> None:
    [face] = Analyzer(detector).analyze(SCENE).faces
    assert face.embedding is None and face.feature_norm is None and face.name is None


def test_recognition_only_takes_the_whole_picture_as_the_crop(recognizer: Recognizer) -> None:
    analyzer = Analyzer(recognizer=recognizer)
    [face] = analyzer.analyze(FACES[0]).faces
    np.testing.assert_array_equal(face.detection.box_xyxy, [0, 0, 112, 112])
    np.testing.assert_allclose(face.embedding, recognizer.embed(FACES[:1]).vectors[0], atol=1e-6)
    [scaled] = analyzer.analyze(np.repeat(np.repeat(FACES[0], 2, axis=0), 2, axis=1)).faces
    np.testing.assert_allclose(scaled.embedding, face.embedding, atol=1e-5)


def test_alignment_makes_two_sizes_of_a_picture_alike(detector: Detector, recognizer: Recognizer) -> None:
    analyzer = Analyzer(detector, recognizer)
    large = np.repeat(np.repeat(SCENE, 3, axis=0), 3, axis=1)
    first, second = (analyzer.analyze(picture).faces[0].embedding for picture in (SCENE, large))
    assert first is not None and second is not None and float(first @ second) > 0.9


def test_combinations_that_cannot_work(detector: Detector, recognizer: Recognizer) -> None:
    with pytest.raises(ConfigError, match="detector, a recogniser, or both"):
        Analyzer()
    with pytest.raises(ConfigError, match="a gallery needs a recogniser"):
        Analyzer(detector, None, OnePersonGallery(np.zeros(192)))
    with pytest.raises(ConfigError, match="threshold is 45"):
        Analyzer(detector, recognizer, OnePersonGallery(np.zeros(192)), threshold=45)
    with pytest.raises(ConfigError, match="top_k is 0"):
        Analyzer(detector, recognizer, top_k=0)
    with pytest.raises(ConfigError, match="1 pictures but 2 sources"):
        Analyzer(detector).analyze_many([SCENE], sources=["a", "b"])
    with pytest.raises(ImageError, match="allowed: uint8"):
        Analyzer(recognizer=recognizer).analyze(SCENE[:, :, 0])
