"""A hand held to the face: drawn as a relief of round cones before the finished picture of the head."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from arcface_paddle.synthetic.kernels.light_kernels import Light

SKIN, NAIL, SLEEVE = range(3)
"""What a cone is covered with."""

# All lengths below are in units of the distance between the eyes (about 63 mm).
_KNUCKLE_SPACING, _PALM_LENGTH = 0.29, 1.30
_FINGER_REACH = (0.95, 1.15, 1.06, 0.82)  # index to little finger, from the knuckle
_PHALANGES = (0.44, 0.31, 0.25)  # shares of the reach
_FINGER_RADII = (0.150, 0.138, 0.125, 0.098)  # knuckle, both joints, tip
_THUMB_RADII = (0.19, 0.165, 0.115)
_NAIL_WIDTH = 0.62  # of the finger
_FOREARM_LENGTH = 6.0  # leaves every picture
_BLEND = 0.035  # how far neighbouring parts flow into each other
_CREASE_WIDTH, _CREASE_DEPTH = 0.035, 0.22
_CONTACT_SHADOW, _CONTACT_BLUR = 0.55, 0.13
_HAND_TINT = np.array([0.92, 0.82, 0.80])  # hands are redder and darker than the lit face beside them


@dataclass(frozen=True, eq=False)
class Hand:
    """Round cones about the midpoint of the eyes, x right and y down, lengths in distances between the eyes.

    Attributes:
        starts: (N, 2) first ends.
        ends: (N, 2) second ends.
        radii: (N, 2) at the first and the second end.
        covers: (N,) what each is covered with: ``SKIN``, ``NAIL`` (skin whose second end has a nail), ``SLEEVE``.
    """

    starts: np.ndarray
    ends: np.ndarray
    radii: np.ndarray
    covers: np.ndarray


def draw_hand(rng: np.random.Generator) -> Hand:
    """Place a hand beside or below the mouth, fingers along the cheek or before the mouth; the arm comes from below."""
    side = float(rng.choice([-1, 1]))
    palm = np.array([side * rng.uniform(0.75, 1.25), rng.uniform(1.7, 2.3)])
    fingers = _unit(np.array([-side * rng.uniform(0.0, 0.7), -1.0]))
    arm = _unit(np.array([side * rng.uniform(0.0, 0.9), 1.0]))
    builder = _Builder()
    wrist = palm - fingers * _PALM_LENGTH
    elbow = wrist + arm * _FOREARM_LENGTH
    cuff = wrist + arm * rng.uniform(0.3, 1.3)
    builder.add([wrist, elbow], (0.38, 0.62))
    builder.add([cuff, elbow], (0.56, 0.85), cover=SLEEVE)
    across = np.array([-fingers[1], fingers[0]]) * -side  # from the index finger to the little finger
    spread, bend = rng.uniform(0.02, 0.16), rng.normal(0, 0.10)
    for finger, reach in enumerate(_FINGER_REACH):
        place = (finger - 1.5) * _KNUCKLE_SPACING
        knuckle = palm + across * place - fingers * 0.05 * abs(finger - 1)
        builder.add([wrist + across * place * 0.55, knuckle], (0.27, 0.19))
        direction = _turn(fingers, (finger - 1.5) * spread * side)
        builder.add(_bent(rng, knuckle, direction, reach * rng.uniform(0.9, 1.03), bend), _FINGER_RADII, nail=True)
    root = wrist - across * 0.42 + fingers * 0.25
    thumb = _turn(fingers, -side * rng.uniform(0.5, 1.0))
    builder.add([root, root + thumb * 0.55, root + _turn(thumb, side * 0.3) * 1.0], _THUMB_RADII, nail=True)
    return builder.hand()


def paint_hand(
    image: np.ndarray,
    alpha: np.ndarray,
    hand: Hand,
    eyes: np.ndarray,
    *,
    skin: np.ndarray,
    cloth: np.ndarray,
    light: Light,
) -> None:
    """Paint a hand over the picture.

    Args:
        image: (H, W, 3) float32 linear RGB, updated.
        alpha: (H, W) float32, set to 1 where painted.
        hand: the cones.
        eyes: (2, 2) eyes in pixels.
        skin: (3,) linear RGB.
        cloth: (3,) linear RGB of the sleeve.
        light: the lamps; the hand darkens what it touches, but throws no shadow beyond.
    """
    height, width = alpha.shape
    scale = max(float(np.hypot(*(eyes[1] - eyes[0]))), width / 16)  # eyes seen from the side lie close together
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    centre = eyes.mean(axis=0)
    relief = _Relief((columns - centre[0]) / scale, (rows - centre[1]) / scale)
    for cone in zip(hand.starts, hand.ends, hand.radii, hand.covers):
        relief.raise_cone(*cone)
    seen = relief.height > 0
    shadow = cv2.GaussianBlur(seen.astype(np.float32), (0, 0), _CONTACT_BLUR * scale)
    image *= (1 - _CONTACT_SHADOW * shadow)[:, :, None]
    skin = skin * _HAND_TINT
    cloth_share = (relief.cover == SLEEVE)[:, :, None]
    color = np.where(cloth_share, cloth, skin * relief.tint[:, :, None]) + relief.nail[:, :, None] * 0.12 * skin
    shaded = color * _received_light(relief.normals(scale), light)
    image[seen] = shaded[seen]
    alpha[seen] = 1.0


class _Builder:
    """Collects chains of cones."""

    def __init__(self) -> None:
        self._cones: list[tuple[np.ndarray, np.ndarray, tuple[float, float], int]] = []

    def add(self, chain: list[np.ndarray], radii: tuple[float, ...], *, cover: int = SKIN, nail: bool = False) -> None:
        """Add the cones between the points of ``chain``; with ``nail`` the last one gets one."""
        for link in range(len(chain) - 1):
            last = link == len(chain) - 2
            ends = (radii[link], radii[link + 1])
            self._cones.append((chain[link], chain[link + 1], ends, NAIL if nail and last else cover))

    def hand(self) -> Hand:
        starts, ends, radii, covers = zip(*self._cones)
        return Hand(np.array(starts), np.array(ends), np.array(radii), np.array(covers))


class _Relief:
    """A height field over the picture, with what covers it."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self._x, self._y = x, y
        self.height: np.ndarray = np.zeros(x.shape, dtype=np.float32)
        self.cover: np.ndarray = np.full(x.shape, SKIN, dtype=np.int8)
        self.tint: np.ndarray = np.ones(x.shape, dtype=np.float32)
        self.nail: np.ndarray = np.zeros(x.shape, dtype=np.float32)

    def raise_cone(self, start: np.ndarray, end: np.ndarray, radii: np.ndarray, cover: int) -> None:
        """Raise the field to a round cone where that is in front; skin flows into skin."""
        axis = end - start
        length = float(np.hypot(*axis))
        dx, dy = self._x - start[0], self._y - start[1]
        along = np.clip((dx * axis[0] + dy * axis[1]) / length**2, 0, 1)
        radius = radii[0] + (radii[1] - radii[0]) * along
        square = radius**2 - (dx - along * axis[0]) ** 2 - (dy - along * axis[1]) ** 2
        above = np.sqrt(np.maximum(square, 0)).astype(np.float32)
        front = above > self.height
        both = (above > 0) & (self.height > 0) & (self.cover != SLEEVE) & (cover != SLEEVE)
        joined = np.where(both, _smooth_maximum(self.height, above), np.maximum(self.height, above))
        self.cover[front] = cover
        crease = 1 - _CREASE_DEPTH * np.exp(-((along * length / _CREASE_WIDTH) ** 2))  # at the first end of a phalanx
        self.tint[front] = crease[front]
        across = ((dx * axis[1] - dy * axis[0]) / length) / np.maximum(radius, 1e-6)
        nail = (cover == NAIL) & (along > 0.62) & (np.abs(across) < _NAIL_WIDTH) & front
        self.nail[front] = 0
        self.nail[nail] = 1
        self.height = joined

    def normals(self, scale: float) -> np.ndarray:
        """Return (H, W, 3) float32 unit normals, x right, y up, z to the viewer; ``scale`` in pixels per unit."""
        soft = cv2.GaussianBlur(self.height, (0, 0), 0.02 * scale)
        down, right = np.gradient(soft * scale)
        normal = np.stack([-right, down, np.ones_like(soft)], axis=2)
        return (normal / np.linalg.norm(normal, axis=2, keepdims=True)).astype(np.float32)


def _received_light(normal: np.ndarray, light: Light) -> np.ndarray:
    """Return (H, W, 3) the light that matt skin with these normals receives."""
    sky = light.ambient
    received = sky[:, 0] + normal[:, :, 1:2] * sky[:, 1] + normal[:, :, 2:3] * sky[:, 2] + normal[:, :, :1] * sky[:, 3]
    received = np.maximum(received, 0.02)
    for direction, color in zip(light.directions, light.colors):
        received = received + np.clip((normal @ direction[:, None] + 0.3) / 1.3, 0, None) * color
    return received


def _bent(
    rng: np.random.Generator, knuckle: np.ndarray, direction: np.ndarray, reach: float, bend: float
) -> list[np.ndarray]:
    """Return the joints of a finger."""
    joints = [knuckle]
    for share in _PHALANGES:
        joints.append(joints[-1] + direction * reach * share)
        direction = _turn(direction, bend + rng.normal(0, 0.05))
    return joints


def _smooth_maximum(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    overlap = np.maximum(_BLEND - np.abs(first - second), 0) / _BLEND
    return np.maximum(first, second) + overlap**2 * _BLEND / 4


def _turn(vector: np.ndarray, angle_rad: float) -> np.ndarray:
    sine, cosine = np.sin(angle_rad), np.cos(angle_rad)
    return np.array([cosine * vector[0] - sine * vector[1], sine * vector[0] + cosine * vector[1]])


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.hypot(*vector)
