"""A person in one moment: expression, gaze and turn of the head, and where the landmarks come to lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arcface_paddle.synthetic.kernels import mesh_kernels
from arcface_paddle.synthetic.person.expression import Expression
from arcface_paddle.synthetic.person.head import Head
from arcface_paddle.synthetic.person.identity import Identity
from arcface_paddle.synthetic.person.pose import PIVOT, Pose, body_rotation, head_rotation, head_share
from arcface_paddle.synthetic.projection import rotation

_POLE_DEPTH = 0.02  # dm: the part of an eyeball that counts as its front pole
_FACE_LOW_Y, _FACE_HIGH_Y, _FACE_HALF_ANGLE = 6.15, 8.0, np.radians(85)  # of the neutral head: chin to hairline


@dataclass(frozen=True, eq=False)
class Posed:
    """A person with an expression, turned to the camera. Points are in dm about ``PIVOT`` unless said otherwise.

    Attributes:
        rotation: (3, 3) of the head.
        local: (S, 3) float32 fine surface in the head's own frame.
        rough: (R, 3) float32 rough surface with the garment, for shadows.
        points: (S, 3) float32 fine surface.
        normals: (S, 3) float32.
        gaze: (S, 3) float32, see ``shading_kernels.Surface``.
        local_landmarks: (5, 3) eyes, nose tip, mouth corners in the head's own frame, image-left first.
        landmarks: (5, 3) float32 the same, posed.
    """

    rotation: np.ndarray
    local: np.ndarray
    rough: np.ndarray
    points: np.ndarray
    normals: np.ndarray
    gaze: np.ndarray
    local_landmarks: np.ndarray
    landmarks: np.ndarray


def turn(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Turn points (..., 3) of the head's own frame with the head; returns float32 about the pivot."""
    flat = np.ascontiguousarray(points.reshape(-1, 3), dtype=np.float32)
    out = np.empty_like(flat)
    mesh_kernels.blend_rotations(flat, np.ones(len(flat), np.float32), matrix, matrix, PIVOT, out)
    return out.reshape(points.shape)


def pose_person(head: Head, identity: Identity, expression: Expression, pose: Pose) -> Posed:
    """Give a person an expression and turn them; the trunk follows in part."""
    positions = identity.positions.copy()
    head.targets.move(positions, expression.units)
    local = head.mesh.surface(positions)
    matrix, body = head_rotation(pose), body_rotation(pose)
    points = np.empty_like(local)
    mesh_kernels.blend_rotations(local, head_share(local[:, 1]), matrix, body, PIVOT, points)
    rough = head.mesh.with_garment(positions)
    posed_rough = np.empty_like(rough)
    mesh_kernels.blend_rotations(rough, head_share(rough[:, 1]), matrix, body, PIVOT, posed_rough)
    landmarks = _find_landmarks(head, local)
    return Posed(
        rotation=matrix,
        local=local,
        rough=posed_rough,
        points=points,
        normals=head.mesh.normals(points),
        gaze=_gaze_frame(head, local, expression.gaze_rad),
        local_landmarks=landmarks,
        landmarks=turn(landmarks, matrix),
    )


def face_vertices(head: Head) -> np.ndarray:
    """Return the fine vertices that a face box encloses: from chin to hairline, ear to ear."""
    angle = np.arctan2(head.neutral[:, 0], head.neutral[:, 2])
    inside = (head.neutral[:, 1] > _FACE_LOW_Y) & (head.neutral[:, 1] < _FACE_HIGH_Y)
    return np.flatnonzero(inside & (np.abs(angle) < _FACE_HALF_ANGLE))


def _find_landmarks(head: Head, local: np.ndarray) -> np.ndarray:
    poles = []
    for eye in head.fine_eyes:
        ball = local[eye]
        poles.append(ball[ball[:, 2] > ball[:, 2].max() - _POLE_DEPTH].mean(axis=0))
    return np.stack([*poles, *local[head.landmarks]])


def _gaze_frame(head: Head, local: np.ndarray, gaze_rad: np.ndarray) -> np.ndarray:
    """Return per vertex of an eyeball its offset from the centre in a frame whose z axis is the gaze."""
    frame = np.zeros_like(local)
    look = rotation(pitch_rad=-float(gaze_rad[1]))
    look = rotation(yaw_rad=float(gaze_rad[0])) @ look
    for eye in head.fine_eyes:
        offset = local[eye] - local[eye].mean(axis=0)
        frame[eye] = (offset[:, :, None] * look[None]).sum(axis=1)
    return frame
