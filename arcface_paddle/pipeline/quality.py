"""How good a picture of a face is for telling who it is: what can be measured, and one score.

The score is 0 to 1, the geometric mean of ``strength`` and ``circumstances``; circumstances alone where the
recogniser's card does not say what its features' lengths mean. Strength rises from 0 to 1 with the length of the
feature, between the two ``feature_norms`` of the card. Circumstances are the geometric mean of five parts::

    size         logarithm of the eye distance: 0 at 4 pixels of the picture, 1 from 32 on
    sharpness    logarithm of ``sharpness_of`` the crop: 0 at .0005, 1 from .006 on
    pose         cosine of the angle between face and camera: 0 at 80 degrees, 1 up to 15
    exposure     the worst of three: mean brightness (1 from 50 to 200, 0 at 0 and 255), contrast (1 from a standard
                 deviation of 25 on), share of blown-out pixels (0 at 1, 1 up to .05)
    landmarks    1 while two looks at the points agree, 0 from a doubt of .3 eye distances on

It is a geometric mean because a face that is hopeless in one respect is hopeless however good it is otherwise; no part
counts for less than .02, so that one of them alone does not make all others meaningless. The score ranks pictures and
is no probability. Measured on 603 faces in 720 synthetic full frames of 40 people, two thirds of the frames made
smaller, blurred, dark, overexposed or noisy: its rank correlation with the similarity (FaceFusion) to the mean of the
person's other pictures is .72 over all and .59 over those left as they were; circumstances alone reach .49 and .35.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Optional

import cv2
import numpy as np

from arcface_paddle.errors import ImageError
from arcface_paddle.pipeline.alignment import COMMON_SIZE_WH, COMMON_TEMPLATE, estimate_similarity
from arcface_paddle.types import Detection

POOR_QUALITY = 0.4
"""Below this, enrolment warns: of undamaged synthetic portraits one in a hundred is."""

_LEAST_PART = 0.02
_BAD = 0.7  # a part below this is worth naming
_EYE_DISTANCE = float(np.linalg.norm(COMMON_TEMPLATE[1] - COMMON_TEMPLATE[0]))
_SKIN = (slice(20, 100), slice(20, 92))  # of the common crop: face, hardly any background

# The five points of a mean face, in pixels of the common template: x right, y down, z away from the camera. Seen from
# the front they are the template, made symmetric. The nose tip is half an eye distance (about 32 mm) before the eyes;
# of the depths 12 to 18 for the nose and -4 to 2 for the mouth, these give the least errors on rendered heads (yaw 3.9
# degrees on average, pitch 7.4, with points as found by BlazeFace).
_MEAN_FACE = np.array(
    [[-17.6, -20.33, 0], [17.6, -20.33, 0], [0, -0.18, -18], [-14.6, 20.36, 2], [14.6, 20.36, 2]], np.float64
)
_MEAN_FACE -= _MEAN_FACE.mean(axis=0)
_MEAN_FACE_INVERSE = np.linalg.pinv(_MEAN_FACE)


@dataclass(frozen=True)
class FaceQuality:
    """What was measured of one face.

    Attributes:
        eye_distance_px: distance of the eyes as if seen from the front, in pixels of the picture.
        sharpness: see ``sharpness_of``.
        yaw_deg, pitch_deg, roll_deg: pose, see ``pose_of``; None without landmarks.
        brightness: mean grey value of the face, 0 to 255.
        contrast: its standard deviation.
        blown_out: share of its pixels above 250.
        landmark_doubt: of the detection; None when it does not say.
        feature_norm: length of the feature before normalisation.
        parts: what each part gives, 0 to 1, by its name.
        score: 0 to 1, see above.
        weakness: what lowers the score most, in words; empty for a good picture.
    """

    eye_distance_px: float
    sharpness: float
    yaw_deg: Optional[float]
    pitch_deg: Optional[float]
    roll_deg: Optional[float]
    brightness: float
    contrast: float
    blown_out: float
    landmark_doubt: Optional[float]
    feature_norm: Optional[float]
    parts: dict[str, float]
    score: float
    weakness: str


_IN_WORDS = {
    "size": "small",
    "sharpness": "blurred",
    "pose": "turned away",
    "exposure": "badly lit",
    "landmarks": "landmarks uncertain",
    "strength": "hard to recognise",
}


def measure_quality(
    crop: np.ndarray,
    detection: Detection,
    *,
    feature_norm: Optional[float] = None,
    norm_range: Optional[tuple[float, float]] = None,
) -> FaceQuality:
    """Measure one face.

    Args:
        crop: the aligned face, (height, width, 3) uint8 RGB.
        detection: where it was found; without landmarks, pose is left out and size follows from the box.
        feature_norm: length of its feature before normalisation.
        norm_range: ``feature_norms`` of the recogniser's card.
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    if grey.shape != COMMON_SIZE_WH[::-1]:
        grey = cv2.resize(grey, COMMON_SIZE_WH, interpolation=cv2.INTER_AREA)
    face = grey[_SKIN].astype(np.float32)
    pose = None if detection.landmarks is None else pose_of(detection.landmarks)
    eye_distance, sharpness = _eye_distance(detection), sharpness_of(grey)
    brightness, contrast, blown_out = float(face.mean()), float(face.std()), float((face > 250).mean())
    parts = {
        "size": _share(math.log(max(eye_distance, 1e-3)), math.log(4), math.log(32)),
        "sharpness": _share(math.log(max(sharpness, 1e-9)), math.log(0.0005), math.log(0.006)),
        "exposure": _exposure(brightness, contrast, blown_out),
    }
    if pose is not None:
        away = math.cos(math.radians(pose[0])) * math.cos(math.radians(pose[1]))
        parts["pose"] = _share(away, math.cos(math.radians(80)), math.cos(math.radians(15)))
    if detection.landmark_doubt is not None:
        parts["landmarks"] = _share(-detection.landmark_doubt, -0.3, -0.1)
    score = math.exp(float(np.mean([math.log(part) for part in parts.values()])))
    if feature_norm is not None and norm_range is not None:
        parts["strength"] = _share(feature_norm, *norm_range)
        score = math.sqrt(score * parts["strength"])
    yaw_deg, pitch_deg, roll_deg = (None, None, None) if pose is None else pose
    return FaceQuality(
        eye_distance_px=eye_distance,
        sharpness=sharpness,
        yaw_deg=yaw_deg,
        pitch_deg=pitch_deg,
        roll_deg=roll_deg,
        brightness=brightness,
        contrast=contrast,
        blown_out=blown_out,
        landmark_doubt=detection.landmark_doubt,
        feature_norm=feature_norm,
        parts=parts,
        score=score,
        weakness=_weakness(parts),
    )


def _weakness(parts: dict[str, float]) -> str:
    """Name the worst circumstance, or a weak feature where no circumstance explains it; empty when all is well."""
    worst = min((name for name in parts if name != "strength"), key=lambda name: parts[name])
    if parts[worst] < _BAD:
        return _IN_WORDS[worst]
    return _IN_WORDS["strength"] if parts.get("strength", 1.0) < _BAD else ""


def sharpness_of(grey: np.ndarray) -> float:
    """Return how much fine detail a face has: variance of the Laplacian over the variance of the grey values.

    Both are of the crop after a Gaussian of 1.5 pixels, without which the noise of a dark picture counts as detail;
    the ratio does not depend on light and contrast. On undamaged synthetic portraits it is .006 to .014 (middle half).

    Args:
        grey: (112, 112) uint8, a face in the common template.
    """
    smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.5)
    detail = cv2.Laplacian(smooth, cv2.CV_32F)[_SKIN]
    return float(detail.var() / (smooth[_SKIN].var() + 25))  # 25: quantisation and noise of a flat grey


def pose_of(landmarks: np.ndarray) -> tuple[float, float, float]:
    """Estimate how a face is turned, from its five points and a mean face, as if seen from far away.

    The 2x3 matrix that brings the mean face nearest to the points is replaced by the nearest one with orthogonal rows
    of equal length: two rows of a rotation, times the scale (DeMenthon and Davis 1995, "POS", without iterations).
    Heads differ: expect errors of 4 degrees in yaw and 7 in pitch.

    Args:
        landmarks: (5, 2) x, y in pixels, in the order of ``Detection.landmarks``.

    Returns:
        Degrees: yaw (above 0: towards the right edge of the picture), pitch (above 0: upwards), roll (above 0: the
        head leans clockwise in the picture). All 0 for points that coincide.
    """
    points = landmarks.astype(np.float64)
    matrix = (_MEAN_FACE_INVERSE @ (points - points.mean(axis=0))).T
    left, scales, right = np.linalg.svd(matrix, full_matrices=False)
    if scales[0] < 1e-9:
        return 0.0, 0.0, 0.0
    rows = left @ right
    forwards = -np.array([rows[0, 2], rows[1, 2], np.cross(rows[0], rows[1])[2]])
    yaw = math.degrees(math.atan2(forwards[0], -forwards[2]))
    pitch = math.degrees(math.asin(float(np.clip(-forwards[1], -1, 1))))
    return yaw, pitch, math.degrees(math.atan2(rows[1, 0], rows[0, 0]))


def _eye_distance(detection: Detection) -> float:
    """Return the eye distance in pixels of the picture, by all five points, so that a turned head is not smaller."""
    left, _, right, _ = (float(edge) for edge in detection.box_xyxy)
    if detection.is_crop:
        return (right - left) * _EYE_DISTANCE / COMMON_SIZE_WH[0]
    if detection.landmarks is None:
        return (right - left) * 0.4  # of the box of a detector, about
    try:
        transform = estimate_similarity(detection.landmarks, COMMON_TEMPLATE)
    except ImageError:
        return 0.0
    return _EYE_DISTANCE / max(float(np.hypot(transform[0, 0], transform[1, 0])), 1e-9)


def _exposure(brightness: float, contrast: float, blown_out: float) -> float:
    """Return the worst of brightness, contrast and overexposure."""
    of_brightness = min(_share(brightness, 0, 50), _share(-brightness, -255, -200))
    return min(of_brightness, _share(contrast, 0, 25), _share(-blown_out, -1, -0.05))


def _share(value: float, worst: float, best: float) -> float:
    """Return where a value lies from worst (``_LEAST_PART``) to best (1)."""
    return min(1.0, max(_LEAST_PART, (value - worst) / (best - worst)))
