"""What a cosine is worth: applied wherever a similarity is shown or decided on, and carried by galleries."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle import Analyzer, Gallery
from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline import build_recognizer, cards, comparison
from arcface_paddle.pipeline.gallery import GalleryEntry, ModelIdentity, find_suspicions, identity_of
from arcface_paddle.pipeline.recognition import Embeddings, Recognizer

SPEC = cards.SimilaritySpec(offset=0.857, scale=0.12)
MODEL = ModelIdentity("net", 4, "a" * 64, "b" * 64, mirrored=False, similarity=SPEC)


def at_cosine(*cosines: float) -> np.ndarray:
    """Return unit vectors (N, 4) with these cosines to the first axis."""
    rows = [[c, np.sqrt(1 - c * c), 0, 0] for c in cosines]
    return np.array(rows, np.float32)


def gallery_of(*cosines: float, model: ModelIdentity = MODEL) -> Gallery:
    entries = [GalleryEntry(f"person {number}", f"{number}.jpg") for number in range(len(cosines))]
    return Gallery(entries, at_cosine(*cosines), model=model)


PROBE = np.array([[1, 0, 0, 0]], np.float32)


@pytest.mark.parametrize("cosine", [-1.0, 0.0, 0.737, 0.857, 0.917, 0.977, 1.0])
def test_one_cosine_and_many_are_worth_the_same_and_stay_within_bounds(cosine: float) -> None:
    expected = max(-1.0, min(1.0, (cosine - 0.857) / 0.12))
    assert SPEC.similarity_of(cosine) == pytest.approx(expected, abs=1e-12)
    assert SPEC.of_cosine(np.array([cosine], np.float32))[0] == pytest.approx(expected, abs=2e-6)
    assert SPEC.cosine_of((cosine - 0.857) / 0.12) == pytest.approx(cosine)


def test_a_gallery_reports_and_decides_in_similarities() -> None:
    [found] = gallery_of(0.857, 0.917, 0.893).identify(PROBE, top_k=3, threshold=0.49)
    assert [(c.name, round(c.similarity, 3)) for c in found.candidates] == [
        ("person 1", 0.5), ("person 2", 0.3), ("person 0", 0.0),
    ]  # fmt: skip
    assert (found.name, round(found.similarity or 0, 3)) == ("person 1", 0.5)
    assert gallery_of(0.857, 0.917).identify(PROBE, top_k=1, threshold=0.51)[0].name == "unknown"


def test_the_order_is_that_of_cosines_where_similarities_are_cut_off() -> None:
    [found] = gallery_of(0.98, 0.999, 0.99).identify(PROBE, top_k=3, threshold=0.5)
    assert [c.name for c in found.candidates] == ["person 1", "person 2", "person 0"]
    assert {c.similarity for c in found.candidates} == {1.0}


def test_a_file_keeps_the_similarity_and_earlier_files_have_plain_cosines(tmp_path: Path) -> None:
    gallery_of(0.9).save(tmp_path / "new.index")
    assert Gallery.load(tmp_path / "new.index").model == MODEL
    assert Gallery.load(tmp_path / "new.index").similarity == SPEC
    plain = dataclasses.replace(MODEL, similarity=cards.SimilaritySpec())
    gallery_of(0.9, model=plain).save(tmp_path / "plain.index")
    with zipfile.ZipFile(tmp_path / "plain.index") as archive:  # as written before similarities were recorded
        assert "similarity" not in json.loads(archive.read("gallery.json"))["model"]
    assert Gallery.load(tmp_path / "plain.index").model == plain


@pytest.mark.parametrize("damage", [{"offset": "x"}, {"scale": -1}, {"slope": 1}, 7])
def test_a_damaged_similarity_in_a_gallery_is_one_clear_error(damage: object, tmp_path: Path) -> None:
    gallery_of(0.9).save(tmp_path / "good.index")
    with zipfile.ZipFile(tmp_path / "good.index") as archive:
        header, array = json.loads(archive.read("gallery.json")), archive.read("embeddings.npy")
    header["model"]["similarity"] = damage
    with zipfile.ZipFile(tmp_path / "bad.index", "w") as archive:
        archive.writestr("gallery.json", json.dumps(header))
        archive.writestr("embeddings.npy", array)
    with pytest.raises(GalleryError, match="damaged gallery header"):
        Gallery.load(tmp_path / "bad.index")


def test_a_gallery_is_judged_by_the_model_as_it_is_now() -> None:
    now = dataclasses.replace(MODEL, similarity=cards.SimilaritySpec(0.8, 0.2))
    [found] = gallery_of(0.9).judged_by(now).identify(PROBE, top_k=1, threshold=0)
    assert found.similarity == pytest.approx(0.5, abs=1e-6)
    with pytest.raises(GalleryError, match="another alignment"):
        gallery_of(0.9).judged_by(dataclasses.replace(MODEL, preprocessing_sha256="c" * 64))


def test_suspicions_are_in_similarities() -> None:
    gallery = gallery_of(1.0, 0.917)  # two people with a picture each whose cosine is .917
    assert find_suspicions(gallery, threshold=0.51) == []
    found = find_suspicions(gallery, threshold=0.49)
    assert [s.kind for s in found] == ["same_person"] * 2
    assert found[0].other_similarity == pytest.approx(0.5, abs=1e-5)


class FixedRecognizer(Recognizer):
    """The real ResNet29 with given embeddings, one call after another."""

    def give(self, rows: np.ndarray) -> None:
        self.rows = list(rows)

    def embed(self, crops: object) -> Embeddings:
        return Embeddings(self.rows.pop(0)[None], np.ones(1, np.float32))


def test_a_comparison_is_in_similarities() -> None:
    real = build_recognizer("ResNet29")
    real.__class__ = FixedRecognizer
    assert isinstance(real, FixedRecognizer)
    rows = np.zeros((2, 128), np.float32)
    rows[:, :2] = at_cosine(1.0, 0.917)[:, :2]
    real.give(rows)
    picture = np.zeros((150, 150, 3), np.uint8)
    found = comparison.compare_faces(Analyzer(None, real), picture, picture)
    assert found.similarity == pytest.approx(0.5, abs=1e-5)
    assert not found.same_person and found.threshold == 0.598
    assert identity_of(real).similarity == SPEC
