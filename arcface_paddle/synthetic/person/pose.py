"""How the head is held, and how far the neck and the trunk follow it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from arcface_paddle.synthetic.projection import rotation

PIVOT = np.array([0.0, 7.0, 0.45])
"""The head turns about this point (dm), and the camera looks at it."""

# Cut at about three deviations. Up to 75 degrees of yaw the shipped detector finds every whole picture
# (tools/benchmark.py synthetic).
_YAW_SIGMA_DEG, _LARGEST_YAW_DEG = 24, 75
_PITCH_SIGMA_DEG, _LARGEST_PITCH_DEG = 10, 32
_ROLL_SIGMA_DEG = 8
_DISTANCE_RANGE_M = (0.4, 2.2)  # from a selfie at arm's length to a portrait; drawn evenly in its logarithm

_TRUNK_YAW_SHARE, _TRUNK_PITCH_SHARE, _TRUNK_ROLL_SHARE = 0.35, 0.2, 0.35
_NECK_BOTTOM_Y, _NECK_TOP_Y = 5.6, 6.5  # dm; between them the neck twists


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


def draw_pose(rng: np.random.Generator) -> Pose:
    """Draw how the head is held and how far away the camera is."""
    return Pose(
        yaw_deg=float(np.clip(rng.normal(0, _YAW_SIGMA_DEG), -_LARGEST_YAW_DEG, _LARGEST_YAW_DEG)),
        pitch_deg=float(np.clip(rng.normal(0, _PITCH_SIGMA_DEG), -_LARGEST_PITCH_DEG, _LARGEST_PITCH_DEG)),
        roll_deg=float(rng.normal(0, _ROLL_SIGMA_DEG)),
        distance_m=float(np.exp(rng.uniform(*np.log(_DISTANCE_RANGE_M)))),
    )


def head_rotation(pose: Pose) -> np.ndarray:
    """Return the (3, 3) rotation of the head."""
    return rotation(
        yaw_rad=math.radians(pose.yaw_deg), pitch_rad=math.radians(pose.pitch_deg), roll_rad=math.radians(pose.roll_deg)
    )


def body_rotation(pose: Pose) -> np.ndarray:
    """Return the (3, 3) rotation of the trunk, which follows the head in part."""
    return rotation(
        yaw_rad=math.radians(pose.yaw_deg) * _TRUNK_YAW_SHARE,
        pitch_rad=math.radians(pose.pitch_deg) * _TRUNK_PITCH_SHARE,
        roll_rad=math.radians(pose.roll_deg) * _TRUNK_ROLL_SHARE,
    )


def head_share(y: np.ndarray) -> np.ndarray:
    """Return how far points at height ``y`` (dm) turn with the head: 0 at the trunk to 1 at the jaw, float32."""
    share = np.clip((y - _NECK_BOTTOM_Y) / (_NECK_TOP_Y - _NECK_BOTTOM_Y), 0, 1)
    return (share * share * (3 - 2 * share)).astype(np.float32)  # smoothstep: no crease at either end
