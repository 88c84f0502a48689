"""The camera: a perspective view of the head, as a crop aligned to the ArcFace template or as a whole picture."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from arcface_paddle.pipeline.alignment import estimate_similarity, recognizer_spec
from arcface_paddle.pipeline.model_files import preset_card
from arcface_paddle.synthetic.person.pose import Pose

TEMPLATE_SIZE = 112
"""Width and height in pixels of the crops that the template is given for."""

_LANDMARK_JITTER_PX = 0.45  # deviation at 112 pixels: what a good detector errs by

# Of whole pictures, as shares of their width: pixels per dm (a head is about 2.3 dm high, so it fills a third to
# three fifths), and the place of the pivot with its deviation; a little above the middle, as in portraits.
_FRAME_SCALE_RANGE = (0.14, 0.26)
_FRAME_CENTRE_XY, _FRAME_CENTRE_SIGMA = (0.5, 0.45), 0.05


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


@functools.lru_cache(maxsize=1)
def face_template() -> np.ndarray:
    """Return (5, 2) float64 where recognisers want the landmarks in 112x112 pixels, image-left eye first.

    It is the template by which photographs are aligned (the card of models that bring none of their own).
    """
    card = preset_card("aligned-112")
    assert card.input.size_wh == (TEMPLATE_SIZE, TEMPLATE_SIZE), f"the template is for {card.input.size_wh}"
    template = np.array(recognizer_spec(card).template, dtype=np.float64)
    template.flags.writeable = False  # shared by all callers
    return template


def aligned_view(rng: np.random.Generator, pose: Pose, landmarks: np.ndarray, size: int) -> View:
    """Return the view whose crop of ``size`` pixels has the posed ``landmarks`` (5, 3) on the ArcFace template."""
    camera_z = pose.distance_m * 10
    flat = np.stack(_perspective(landmarks, camera_z), axis=1)
    target = (face_template() + rng.normal(0, _LANDMARK_JITTER_PX, (5, 2))) * (size / TEMPLATE_SIZE)
    transform = estimate_similarity(flat, target)
    return View(camera_z, transform[:, :2], transform[:, 2])


def frame_view(rng: np.random.Generator, pose: Pose, size: int) -> View:
    """Return a view onto a whole picture of ``size`` pixels, the head somewhere in its middle."""
    matrix = np.eye(2) * size * rng.uniform(*_FRAME_SCALE_RANGE)
    x, y = (place + rng.normal(0, _FRAME_CENTRE_SIGMA) for place in _FRAME_CENTRE_XY)
    offset = np.array([x, y]) * size
    return View(pose.distance_m * 10, matrix, offset)


def _perspective(points: np.ndarray, camera_z: float) -> tuple[np.ndarray, np.ndarray]:
    scale = camera_z / (camera_z - points[..., 2])
    return points[..., 0] * scale, -points[..., 1] * scale
