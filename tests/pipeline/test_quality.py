"""Quality of a face: pose against a rotated head, parts against damaged pictures, and what depends on the score."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Callable

import cv2
import numpy as np
import pytest

from arcface_paddle import Analyzer, Gallery, build_detector, build_recognizer, images
from arcface_paddle.cli import main
from arcface_paddle.errors import ConfigError, ModelFileError
from arcface_paddle.pipeline import cards, model_files, quality
from arcface_paddle.pipeline.gallery import GalleryEntry, find_suspicions, identity_of
from arcface_paddle.pipeline.quality import measure_quality, pose_of
from arcface_paddle.types import Detection

DEMO = Path(__file__).parents[2] / "demo"
PORTRAIT = DEMO / "gallery" / "Barack Obama" / "portrait_2012.jpg"


def seen(yaw: float, pitch: float, roll: float, *, scale: float = 1.7) -> np.ndarray:
    """Return the five points (5, 2) of the mean face turned by degrees, from far away; rotations spelled out."""
    a, b, c = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return (quality._MEAN_FACE @ (about_z @ about_y @ about_x).T)[:, :2] * scale + [300, 200]


@pytest.mark.parametrize("angle", [-60, -25, 0, 10, 45])
def test_one_angle_at_a_time_is_found_exactly(angle: float) -> None:
    assert pose_of(seen(angle, 0, 0)) == pytest.approx((angle, 0, 0), abs=1e-6)
    assert pose_of(seen(0, angle, 0)) == pytest.approx((0, angle, 0), abs=1e-6)
    assert pose_of(seen(0, 0, angle)) == pytest.approx((0, 0, angle), abs=1e-6)


def test_the_signs_are_as_said() -> None:
    right, up, clockwise = seen(30, 0, 0), seen(0, 30, 0), seen(0, 0, 30)
    middle = seen(0, 0, 0)
    assert right[2, 0] > middle[2, 0]  # the nose moves to the right
    assert up[2, 1] < middle[2, 1]  # and upwards
    assert clockwise[1, 1] > clockwise[0, 1]  # the image-right eye sinks


def test_scale_and_place_do_not_matter_and_points_that_coincide_are_no_error() -> None:
    assert pose_of(seen(20, -10, 5, scale=0.1)) == pytest.approx(pose_of(seen(20, -10, 5, scale=9)), abs=1e-6)
    assert pose_of(np.full((5, 2), 7.0)) == (0, 0, 0)


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer(build_detector(), build_recognizer("MobileFace"))


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    image = images.read_image(PORTRAIT)
    return images.resize(image, (480, round(480 * image.shape[0] / image.shape[1])))


def shrunk(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, None, fx=0.12, fy=0.12, interpolation=cv2.INTER_AREA)


DAMAGES: list[tuple[str, Callable[[np.ndarray], np.ndarray]]] = [
    ("small", shrunk),
    ("blurred", lambda image: cv2.GaussianBlur(image, (0, 0), 9)),
    ("badly lit", lambda image: (image * 0.06).astype(np.uint8)),
    ("badly lit", lambda image: np.clip(image.astype(int) * 6 + 90, 0, 255).astype(np.uint8)),
]


@pytest.mark.parametrize(("weakness", "damage"), DAMAGES)
def test_a_damage_lowers_the_score_and_is_named(
    weakness: str, damage: Callable[[np.ndarray], np.ndarray], analyzer: Analyzer, portrait: np.ndarray
) -> None:
    [good] = analyzer.analyze(portrait).faces
    assert good.quality is not None and good.quality > 0.8
    detections = analyzer.detector.detect(portrait)
    damaged = damage(portrait)
    scale = damaged.shape[0] / portrait.shape[0]
    [found] = [
        Detection(one.box_xyxy * scale, one.score, None if one.landmarks is None else one.landmarks * scale)
        for one in detections
    ]
    assert analyzer.recognizer is not None
    [crop] = analyzer.recognizer.align(damaged, [found])
    measured = measure_quality(crop, found)
    assert measured.weakness == weakness
    before = measure_quality(analyzer.recognizer.align(portrait, detections)[0], detections[0])
    assert measured.score < before.score - 0.1


def test_doubtful_landmarks_and_a_turned_head_count(portrait: np.ndarray) -> None:
    crop = np.random.default_rng(0).integers(60, 200, (112, 112, 3), dtype=np.uint8)

    def score(points: np.ndarray, doubt: Any = None) -> float:
        return measure_quality(crop, Detection(np.array([0, 0, 80, 100]), 1.0, points, landmark_doubt=doubt)).score

    straight, turned = seen(0, 0, 0), seen(70, 0, 0)
    assert score(turned) < score(straight)
    assert score(straight, 0.28) < score(straight, 0.05)
    assert measure_quality(crop, Detection(np.array([0, 0, 80, 100]), 1.0, turned)).weakness == "turned away"


def test_the_size_is_that_of_the_picture_whatever_the_pose() -> None:
    crop = np.full((112, 112, 3), 128, np.uint8)
    for yaw in (0, 40):
        detection = Detection(np.zeros(4), 1.0, seen(yaw, 0, 0, scale=2.0).astype(np.float32))
        assert measure_quality(crop, detection).eye_distance_px == pytest.approx(70, abs=8)


def test_strength_counts_where_the_card_knows_norms() -> None:
    crop = np.random.default_rng(0).integers(60, 200, (112, 112, 3), dtype=np.uint8)
    detection = Detection(np.array([0, 0, 80, 100]), 1.0, seen(0, 0, 0))
    weak, strong = (measure_quality(crop, detection, feature_norm=n, norm_range=(30, 90)) for n in (35.0, 95.0))
    plain = measure_quality(crop, detection, feature_norm=35.0)
    assert weak.score < strong.score and weak.weakness == "hard to recognise"
    assert strong.score == pytest.approx(np.sqrt(plain.score)) and "strength" not in plain.parts
    for quality_ in (weak, strong, plain):
        assert 0 <= quality_.score <= 1


def test_a_card_with_impossible_norms_is_refused(tmp_path: Path) -> None:
    document = json.loads((model_files.shipped_folder("MobileFace") / cards.CARD_NAME).read_text(encoding="utf-8"))
    document["recognizer"]["feature_norms"] = [90, 30]
    with pytest.raises(ModelFileError, match="feature_norms"):
        cards.card_from_document(document, name="card")


# ---------------------------------------------------------------------------------------------------------------
# What depends on it


def test_poor_faces_get_no_name_and_a_reason(analyzer: Analyzer, portrait: np.ndarray) -> None:
    assert analyzer.recognizer is not None
    [face] = analyzer.analyze(portrait).faces
    assert face.embedding is not None and face.quality is not None
    gallery = Gallery([GalleryEntry("Ada", "a.jpg")], face.embedding[None], model=identity_of(analyzer.recognizer))
    poor = np.ascontiguousarray(shrunk(portrait))
    asked = Analyzer(analyzer.detector, analyzer.recognizer, gallery, threshold=0.2, min_quality=0.7)
    [named], [refused] = asked.analyze(portrait).faces, asked.analyze(poor).faces
    assert (named.name, named.reason) == ("Ada", "")
    assert refused.quality is not None and refused.quality < 0.7
    assert refused.name == "unknown" and refused.candidates[0].name == "Ada"
    assert refused.reason.startswith(f"quality {refused.quality:.2f} is below 0.70: ")
    document = refused.to_dict()
    assert document["quality"] == round(refused.quality, 4) and document["reason"] == refused.reason
    lenient = Analyzer(analyzer.detector, analyzer.recognizer, gallery, threshold=0.2)
    assert lenient.analyze(poor).faces[0].name == "Ada"
    with pytest.raises(ConfigError, match="least quality is 7"):
        Analyzer(analyzer.detector, analyzer.recognizer, gallery, min_quality=7)


def recognize(*arguments: object) -> int:
    return main.run_module("recognize", [str(argument) for argument in arguments], prog="test_recognition")


def test_enrolment_warns_and_takes(tmp_path: Path, portrait: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    people = tmp_path / "people" / "Ada"
    people.mkdir(parents=True)
    images.write_image(people / "good.png", portrait)
    images.write_image(people / "poor.png", cv2.GaussianBlur(portrait, (0, 0), 12))
    command = ["gallery", "build", f"{tmp_path}/g", "--img_dir", f"{tmp_path}/people", "--json", f"{tmp_path}/r.json"]
    assert main.main(command) == 0  # a warning is no failure
    said = capsys.readouterr().err
    assert "poor.png" in said and "was taken, but is poor: " in said and "good.png" not in said
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report["faces"] == 2 and report["rejected"] == []
    assert [(one["source"], one["reason"]) for one in report["poor"]] == [("Ada/poor.png", "poor_quality")]


def test_min_quality_on_the_command_line(tmp_path: Path) -> None:
    assert main.main(["gallery", "build", f"{tmp_path}/g", "--img_dir", f"{DEMO}/gallery"]) == 0
    common = ["--det", "--rec", f"--index={tmp_path}/g", f"--input={PORTRAIT}", "--no_draw", f"--json={tmp_path}/f"]

    def face(*flags: str) -> dict[str, Any]:
        assert recognize(*common, *flags) == 0
        [found] = json.loads((tmp_path / "f").read_text(encoding="utf-8"))["images"][0]["faces"]
        return dict(found)

    named = face()
    assert named["name"] == "Barack Obama" and 0.5 < named["quality"] <= 1 and named["reason"] == ""
    if named["quality"] < 1:
        refused = face("--min_quality=1")
        assert refused["name"] == "unknown" and "is below 1.00" in refused["reason"]
    assert recognize(*common, "--min_quality=2") == 2


def test_people_who_look_alike_are_reported_once_for_each_two() -> None:
    rows = np.eye(6, 8, dtype=np.float32)
    rows[1] = 0.95 * rows[0] + np.sqrt(1 - 0.95**2) * rows[1]  # Ada's second picture
    rows[3] = 0.95 * rows[2] + np.sqrt(1 - 0.95**2) * rows[3]  # Grace's second picture
    rows[2] = 0.6 * rows[0] + 0.8 * rows[2]
    rows[3] = 0.95 * rows[2] + np.sqrt(1 - 0.95**2) * np.eye(8, dtype=np.float32)[3]
    names = ["Ada", "Ada", "Grace", "Grace", "Mary", "Mary"]
    rows[5] = 0.9 * rows[4] + np.sqrt(1 - 0.9**2) * rows[5]
    gallery = Gallery([GalleryEntry(name, f"{i}.jpg") for i, name in enumerate(names)], rows)
    assert find_suspicions(gallery, threshold=0.5) == []
    [pair] = find_suspicions(gallery, threshold=0.5, naming_threshold=0.55)
    assert (pair.kind, {pair.entry.name, pair.other.name}) == ("look_alike", {"Ada", "Grace"})
    assert pair.other_similarity == pytest.approx(0.6, abs=1e-5)
    assert {pair.entry.path, pair.other.path} == {"0.jpg", "2.jpg"}
    assert find_suspicions(gallery, threshold=0.5, naming_threshold=0.61) == []
    assert dataclasses.asdict(pair)["own_similarity"] is None
