"""Pose of the head, the camera, and the crop: aligned to the ArcFace template or a whole picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from arcface_paddle.synthetic.scene.projection import fit_similarity, rotation

TEMPLATE_112 = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Where ArcFace wants image-left eye, image-right eye, nose tip and mouth corners in 112x112."""

PIVOT = np.array([0.0, 7.0, 0.45])
"""The head turns about this point, which the camera looks at."""

_LANDMARK_JITTER = 0.45  # px at 112: what a good detector errs by
_BODY_SHARE = 0.35  # of yaw and pitch that the trunk follows
_NECK_BOTTOM_Y, _NECK_TOP_Y = 5.6, 6.5


@dataclass(frozen=True)
class Pose:
    """How the head is held, degrees, and how far the camera is, metres.

    ``yaw_deg`` > 0 turns the face to the right of the picture, ``pitch_deg`` > 0 down; ``roll_deg`` > 0 turns the
    picture counter-clockwise.
    """

    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    distance_m: float


@dataclass(frozen=True, eq=False)
class View:
    """The projection of posed points onto the picture.

    Attributes:
        camera_z: distance of the camera from the pivot, dm.
        matrix: (2, 2) from the plane through the pivot (dm, y down) to pixels.
        offset: (2,) pixels.
    """

    camera_z: float
    matrix: np.ndarray
    offset: np.ndarray

    @property
    def pixels_per_dm(self) -> float:
        """Scale in the plane through the pivot."""
        return math.sqrt(abs(float(np.linalg.det(self.matrix))))

    def scaled(self, factor: int) -> View:
        """Return the same view onto a picture ``factor`` times as large."""
        return View(self.camera_z, self.matrix * factor, self.offset * factor)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return (..., 3) float32 x, y in pixels and depth of posed points (..., 3)."""
        flat = _perspective(points, self.camera_z)
        out = np.empty(points.shape, dtype=np.float32)
        for axis in (0, 1):
            out[..., axis] = flat[0] * self.matrix[axis, 0] + flat[1] * self.matrix[axis, 1] + self.offset[axis]
        out[..., 2] = points[..., 2]
        return out


def draw_pose(rng: np.random.Generator) -> Pose:
    """Draw how the head is held and how far away the camera is."""
    return Pose(
        yaw_deg=float(np.clip(rng.normal(0, 24), -75, 75)),
        pitch_deg=float(np.clip(rng.normal(0, 10), -32, 32)),
        roll_deg=float(rng.normal(0, 8)),
        distance_m=float(np.exp(rng.uniform(np.log(0.4), np.log(2.2)))),
    )


def head_rotation(pose: Pose) -> np.ndarray:
    """Return the (3, 3) rotation of the head."""
    return rotation(
        yaw_rad=math.radians(pose.yaw_deg), pitch_rad=math.radians(pose.pitch_deg), roll_rad=math.radians(pose.roll_deg)
    )


def body_rotation(pose: Pose) -> np.ndarray:
    """Return the (3, 3) rotation of the trunk, which follows the head in part."""
    return rotation(
        yaw_rad=math.radians(pose.yaw_deg) * _BODY_SHARE,
        pitch_rad=math.radians(pose.pitch_deg) * 0.2,
        roll_rad=math.radians(pose.roll_deg) * _BODY_SHARE,
    )


def head_share(y: np.ndarray) -> np.ndarray:
    """Return how far points at height ``y`` (dm) turn with the head: 0 at the trunk to 1 at the jaw, float32."""
    share = np.clip((y - _NECK_BOTTOM_Y) / (_NECK_TOP_Y - _NECK_BOTTOM_Y), 0, 1)
    return (share * share * (3 - 2 * share)).astype(np.float32)


def aligned_view(rng: np.random.Generator, pose: Pose, landmarks: np.ndarray, size: int) -> View:
    """Return the view whose crop of ``size`` pixels has the posed ``landmarks`` (5, 3) on the ArcFace template."""
    camera_z = pose.distance_m * 10
    flat = np.stack(_perspective(landmarks, camera_z), axis=1)
    target = (TEMPLATE_112 + rng.normal(0, _LANDMARK_JITTER, (5, 2))) * (size / 112)
    matrix, offset = fit_similarity(flat, target)
    return View(camera_z, matrix, offset)


def frame_view(rng: np.random.Generator, pose: Pose, size: int) -> View:
    """Return a view onto a whole picture of ``size`` pixels, the head somewhere in its middle."""
    matrix = np.eye(2) * size * rng.uniform(0.14, 0.26)
    offset = np.array([0.5 + rng.normal(0, 0.05), 0.45 + rng.normal(0, 0.05)]) * size
    return View(pose.distance_m * 10, matrix, offset)


def _perspective(points: np.ndarray, camera_z: float) -> tuple[np.ndarray, np.ndarray]:
    scale = camera_z / (camera_z - points[..., 2])
    return points[..., 0] * scale, -points[..., 1] * scale
