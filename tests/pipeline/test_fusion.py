"""Two recognisers as one: the formula, its identity, and cards that do not fit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arcface_paddle import Gallery, build_detector, load_image
from arcface_paddle.errors import GalleryError, ImageError, ModelFileError
from arcface_paddle.pipeline import build_recognizer, cards, model_files
from arcface_paddle.pipeline.alignment import recognizer_spec
from arcface_paddle.pipeline.detection.strategies import WholePicture
from arcface_paddle.pipeline.fusion import FusedRecognizer, fused_similarity
from arcface_paddle.pipeline.gallery import GalleryEntry, identity_of
from arcface_paddle.pipeline.recognition import FaceRecognizer
from arcface_paddle.pipeline.runtime import RuntimeOptions
from arcface_paddle.types import Detection

ROOT = Path(__file__).parents[2]
MEMBERS = ("MobileFace", "ResNet29")


@pytest.fixture(scope="module")
def recognizers() -> dict[str, FaceRecognizer]:
    return {name: build_recognizer(name) for name in (*MEMBERS, "FaceFusion")}


@pytest.fixture(scope="module")
def group() -> tuple[np.ndarray, list[Detection]]:
    image = load_image(ROOT / "demo" / "queries" / "group.jpg")
    return image, build_detector().detect(image)


def unclipped(recognizer: FaceRecognizer, embeddings: np.ndarray) -> np.ndarray:
    spec = recognizer_spec(recognizer.card).similarity
    wide = embeddings.astype(np.float64)
    return (wide @ wide.T - spec.offset) / spec.scale


def test_the_fused_similarity_is_the_weighted_mean_of_the_members(
    recognizers: dict[str, FaceRecognizer], group: tuple[np.ndarray, list[Detection]]
) -> None:
    image, detections = group
    found = {name: one.embed(one.align(image, detections)) for name, one in recognizers.items()}
    of = {name: unclipped(recognizers[name], found[name].vectors) for name in recognizers}
    assert found["FaceFusion"].vectors.shape == (4, 320)
    np.testing.assert_allclose(np.linalg.norm(found["FaceFusion"].vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(of["FaceFusion"], (of["MobileFace"] + 0.5 * of["ResNet29"]) / 1.5, atol=2e-5)
    np.testing.assert_array_equal(found["FaceFusion"].norms, found["MobileFace"].norms)


@pytest.mark.parametrize("weights", [[1.0, 1.0], [3.0, 0.2], [1.0, 0.5, 2.0]])
def test_offset_and_scale_follow_for_any_members(weights: list[float]) -> None:
    specs = [cards.SimilaritySpec(0.1, 0.5), cards.SimilaritySpec(0.857, 0.12), cards.SimilaritySpec(-0.3, 1.7)]
    specs = specs[: len(weights)]
    random = np.random.default_rng(1)
    pairs = [random.normal(size=(2, 7)) for _ in weights]
    units = [pair / np.linalg.norm(pair, axis=1, keepdims=True) for pair in pairs]
    cosines = np.array([one @ other for one, other in units])
    shares = np.array([w / s.scale for w, s in zip(weights, specs)])
    joined = [np.concatenate([np.sqrt(a / shares.sum()) * unit[i] for a, unit in zip(shares, units)]) for i in (0, 1)]
    fused = fused_similarity(specs, weights)
    expected = sum(w * (c - s.offset) / s.scale for w, c, s in zip(weights, cosines, specs)) / sum(weights)
    assert (joined[0] @ joined[1] - fused.offset) / fused.scale == pytest.approx(expected, abs=1e-12)


def test_faces_of_several_pictures_are_joined_like_those_of_one_network(
    recognizers: dict[str, FaceRecognizer], group: tuple[np.ndarray, list[Detection]]
) -> None:
    fused, (image, detections) = recognizers["FaceFusion"], group
    crops = fused.align(image, detections)
    joined = np.concatenate([fused.align(image, detections[:1]), fused.align(image, detections[1:])])
    np.testing.assert_array_equal(joined, crops)
    together = fused.embed(crops).vectors
    apart = np.concatenate([fused.embed(crops[row : row + 1]).vectors for row in range(len(crops))])
    np.testing.assert_allclose(together, apart, atol=2e-4)
    assert fused.embed(crops[:0]).vectors.shape == (0, 320)


@pytest.mark.parametrize("name", ["ResNet29", "FaceFusion"])
def test_a_common_crop_is_cut_anew_for_a_recogniser_with_another_template(
    name: str, recognizers: dict[str, FaceRecognizer], group: tuple[np.ndarray, list[Detection]]
) -> None:
    """Scaled to 150x150 instead, ResNet29 sees itself at .03 to .5."""
    one, (image, detections) = recognizers[name], group
    photographs = one.embed(one.align(image, detections)).vectors
    crops = recognizers["MobileFace"].align(image, detections)
    rows = [one.embed(one.align(crop, WholePicture().detect(crop))).vectors[0] for crop in crops]
    assert (recognizer_spec(one.card).similarity.of_cosine(np.sum(photographs * rows, axis=1)) > 0.95).all()


def test_a_crop_of_the_own_size_stays_as_it_is(recognizers: dict[str, FaceRecognizer]) -> None:
    crop = np.random.default_rng(0).integers(0, 256, (150, 150, 3), dtype=np.uint8)
    [aligned] = recognizers["ResNet29"].align(crop, WholePicture().detect(crop))
    np.testing.assert_array_equal(aligned, crop)


def test_other_crops_are_refused(recognizers: dict[str, FaceRecognizer]) -> None:
    with pytest.raises(ImageError, match="FaceFusion takes several crops a face"):
        recognizers["FaceFusion"].embed(np.zeros((1, 112, 112, 3), np.uint8))


@pytest.mark.parametrize("engine", ["openvino"])
@pytest.mark.parametrize("name", ["ResNet29", "FaceFusion"])
def test_engines_agree(
    engine: str, name: str, recognizers: dict[str, FaceRecognizer], group: tuple[np.ndarray, list[Detection]]
) -> None:
    pytest.importorskip(engine)
    image, detections = group
    other = build_recognizer(name, options=RuntimeOptions(engine=engine))
    one = recognizers[name]
    cosines = np.sum(
        one.embed(one.align(image, detections)).vectors * other.embed(other.align(image, detections)).vectors, axis=1
    )
    assert cosines.min() > 0.9999


def test_without_onednn_paddle_gives_the_same(
    recognizers: dict[str, FaceRecognizer], group: tuple[np.ndarray, list[Detection]]
) -> None:
    image, detections = group
    plain = build_recognizer("ResNet29", options=RuntimeOptions(engine="paddle", onednn=False))
    one = recognizers["ResNet29"]
    crops = one.align(image, detections)
    assert np.sum(one.embed(crops).vectors * plain.embed(crops).vectors, axis=1).min() > 0.9999


# ---------------------------------------------------------------------------------------------------------------
# Identity


def test_a_gallery_is_bound_to_the_pair(recognizers: dict[str, FaceRecognizer], tmp_path: Path) -> None:
    identity = {name: identity_of(one) for name, one in recognizers.items()}
    made = Gallery([GalleryEntry("Ada", "a.jpg")], np.eye(1, 192, dtype=np.float32), model=identity["MobileFace"])
    with pytest.raises(GalleryError, match=r"made with the model MobileFace, not with FaceFusion .*192 against 320"):
        made.require_model(identity["FaceFusion"])
    both = Gallery([GalleryEntry("Ada", "a.jpg")], np.eye(1, 320, dtype=np.float32), model=identity["FaceFusion"])
    both.save(tmp_path / "both.index")
    assert Gallery.load(tmp_path / "both.index").require_model(identity["FaceFusion"]) == ""
    with pytest.raises(GalleryError, match="320 against 128"):
        both.require_model(identity["ResNet29"])
    other_weights = build_recognizer(fusion_in(tmp_path, weights=[1.0, 1.0]))
    with pytest.raises(GalleryError, match="weights"):
        both.require_model(identity_of(other_weights))


def fusion_in(folder: Path, *, weights: Any = (1.0, 0.5), **changes: Any) -> Path:
    """Write a fusion with these weights, whose similarity follows from them; changes replace what a key says."""
    document = json.loads((model_files.shipped_folder("FaceFusion") / cards.CARD_NAME).read_text(encoding="utf-8"))
    specs = [recognizer_spec(model_files.find_card(name)).similarity for name in MEMBERS]
    fused = fused_similarity(specs, weights)
    document["fusion"]["weights"] = list(weights)
    document["recognizer"]["similarity"] = {"offset": fused.offset, "scale": fused.scale}
    for key, value in changes.items():
        section, _, name = key.rpartition("__")
        (document[section] if section else document)[name] = value
    target = folder / "Mine"
    target.mkdir(exist_ok=True)
    (target / cards.CARD_NAME).write_text(json.dumps(document), encoding="utf-8")
    return target


def test_members_may_lie_beside_the_fusion(tmp_path: Path) -> None:
    shutil.copytree(model_files.shipped_folder("ResNet29"), tmp_path / "mine_150")
    fused = build_recognizer(fusion_in(tmp_path, fusion__members=["MobileFace", "mine_150"]), mirrored=False)
    assert isinstance(fused, FusedRecognizer) and fused.embedding_size == 320 and not fused.mirrored


# ---------------------------------------------------------------------------------------------------------------
# Damaged and foreign cards


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fusion__members": ["MobileFace", "Gone"]}, "Mine: its card names the member 'Gone', which is neither known"),
        ({"fusion__members": ["MobileFace"]}, "allowed: two or more different"),
        ({"fusion__members": ["MobileFace", "MobileFace"]}, "allowed: two or more different"),
        ({"fusion__members": ["MobileFace", "BlazeFace"]}, "member BlazeFace cannot be used: .* face detection"),
        ({"fusion__members": ["MobileFace", "FaceFusion"]}, "member FaceFusion cannot be used: .* unites"),
        ({"fusion__members": ["ResNet29", "MobileFace"]}, "does not follow from its members and weights"),
        ({"fusion__weights": [1.0, -0.5]}, "allowed: one above 0 for each member"),
        ({"fusion__weights": [1.0]}, "allowed: one above 0 for each member"),
        ({"fusion__weights": [1.0, 0.7]}, "does not follow from its members and weights"),
        ({"fusion__weights": ["1", 0.5]}, r"weights\[0\]: must be a float"),
        ({"fusion__share": 1}, "unknown key 'share'"),
        ({"recognizer__similarity": {"offset": 0.0, "scale": 1.0}}, "does not follow from its members and weights"),
        ({"recognizer__embedding_size": 192}, "its card says 192 values, its members give 320"),
        ({"recognizer__template": [[1.0, 1.0]] * 5}, "are not those of its first member MobileFace"),
    ],
)
def test_a_card_that_does_not_fit_is_one_clear_line(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=message) as caught:
        build_recognizer(fusion_in(tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_only_recognisers_can_be_fused(tmp_path: Path) -> None:
    document = json.loads((model_files.shipped_folder("CenterFace") / cards.CARD_NAME).read_text(encoding="utf-8"))
    document["fusion"] = {"members": ["a", "b"], "weights": [1.0, 1.0]}
    with pytest.raises(ModelFileError, match="only a recogniser can be a fusion"):
        cards.card_from_document(document, name="card")


def test_a_damaged_member_is_named(tmp_path: Path) -> None:
    shutil.copytree(model_files.shipped_folder("ResNet29"), tmp_path / "mine_150")
    weights = tmp_path / "mine_150" / model_files.WEIGHTS_FILE
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelFileError, match=r"member mine_150 cannot be used: .*damaged or exchanged"):
        build_recognizer(fusion_in(tmp_path, fusion__members=["MobileFace", "mine_150"]))
    weights.unlink()
    with pytest.raises(ModelFileError, match=r"member mine_150 cannot be used: .*inference\.pdiparams"):
        build_recognizer(fusion_in(tmp_path, fusion__members=["MobileFace", "mine_150"]))


def test_what_needs_one_network_says_so() -> None:
    with pytest.raises(ModelFileError, match=r"FaceFusion: unites MobileFace and ResNet29, .*name one of its members"):
        model_files.open_model("FaceFusion")
    with pytest.raises(ModelFileError, match="has a network of its own"):
        model_files.open_fusion("ResNet29")


def test_loading_prints_nothing_into_results() -> None:
    """Paddle's oneDNN writes to stdout about a mean over rows and columns; compare --json writes there, too."""
    program = (
        "from arcface_paddle.pipeline import RuntimeOptions, build_recognizer\n"
        "build_recognizer('FaceFusion', options=RuntimeOptions(engine='paddle', threads=1)).embedding_size\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == ""
