"""Films of people who do not exist, with who is where in every frame: what trackers are measured on.

A film is a pure function of its settings and seed. Its cast walks through one room, each by a part of the script: two
cross each other, one turns away and back, one leaves for a moment and one for long, one stands half behind a pillar,
and the last is a stranger to every gallery. All parts begin at times and places of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Iterator, Sequence

import cv2
import numpy as np

from arcface_paddle.errors import ConfigError
from arcface_paddle.synthetic.color import LUMINANCE
from arcface_paddle.synthetic.generator import SyntheticFaces
from arcface_paddle.synthetic.person.expression import Expression, draw_expression
from arcface_paddle.synthetic.person.head import load_head
from arcface_paddle.synthetic.person.identity import Identity, build_identity
from arcface_paddle.synthetic.person.pose import Pose
from arcface_paddle.synthetic.person.posing import face_vertices, pose_person
from arcface_paddle.synthetic.person.session import Session, build_session
from arcface_paddle.synthetic.random_streams import stream
from arcface_paddle.synthetic.scene.background import draw_background
from arcface_paddle.synthetic.scene.camera import View
from arcface_paddle.synthetic.scene.lighting import draw_lamps
from arcface_paddle.synthetic.scene.occluders import Occluders
from arcface_paddle.synthetic.scene.photograph import CameraSettings, take_photograph
from arcface_paddle.synthetic.scene.rendering import Finish, Setting, draw_finish, render_person

PARTS = ("cross right", "cross left", "turn", "step out", "go and return", "half hidden", "stroll")
"""What the members of a cast do, in order; the last one is the stranger."""

_FACE_DM = 1.5  # width of a face, ear to ear: pixels per dm follow from it
_TILE = 2.9  # side of the picture of one person, in widths of the face: the whole bust
_PERSON_LIGHT = 0.195  # as photographs have it, see ``photograph``
_DISTANCE_M = 2.2
_STEPS_HZ, _STEP_HEIGHT = 1.8, 0.035  # of a walk, in widths of the face
_MOOD_S = 2.5  # between two expressions of a face


@dataclass(frozen=True)
class FilmSettings:
    """A film; the same settings give the same frames.

    Attributes:
        seed: of cast, room and script.
        size_wh: pixels of a frame.
        fps: frames per second.
        seconds: length.
        cast: people, 1 to 7, the last of them a stranger; the parts are those of ``PARTS``, the last ones of it.
        face_px: least and greatest width of a face.
    """

    seed: int = 0
    size_wh: tuple[int, int] = (640, 360)
    fps: float = 25.0
    seconds: float = 20.0
    cast: int = 7
    face_px: tuple[int, int] = (44, 84)

    def __post_init__(self) -> None:
        if not 1 <= self.cast <= len(PARTS):
            raise ConfigError(f"cast is {self.cast}; allowed: 1 to {len(PARTS)} people")
        if not (self.fps > 0 and self.seconds > 0):
            raise ConfigError(f"fps is {self.fps} and seconds {self.seconds}; allowed: above 0")

    @property
    def frame_count(self) -> int:
        return max(1, round(self.fps * self.seconds))


@dataclass(frozen=True, eq=False)
class Shown:
    """One person in one frame.

    Attributes:
        person: number of the person in the cast; the last is the stranger.
        box_xyxy: (4,) float32 face from chin to hairline, in pixels; may reach outside.
        visible: share of the box that is inside of the frame and not covered, 0 to 1.
        yaw_deg: by how much the head is turned from the camera.
    """

    person: int
    box_xyxy: np.ndarray
    visible: float
    yaw_deg: float


@dataclass(frozen=True, eq=False)
class FilmFrame:
    """One frame and who is in it.

    Attributes:
        index: from 0.
        time_s: seconds since the beginning.
        image: (H, W, 3) uint8 RGB.
        shown: everybody whose face is at least partly inside of the frame.
    """

    index: int
    time_s: float
    image: np.ndarray
    shown: tuple[Shown, ...]


@dataclass(frozen=True, eq=False)
class _Actor:
    """A person with everything that stays the same during the film, and their way through it.

    Attributes:
        keys: (K, 5) time in seconds, place of the face's middle in frame widths and heights, width of the face in
            pixels, yaw in degrees.
    """

    number: int
    identity: Identity
    session: Session
    finish: Finish
    moods: tuple[Expression, ...]
    keys: np.ndarray


@dataclass(frozen=True, eq=False)
class _Pasted:
    """A person drawn into the frame's size, and the box and yaw of the face."""

    light: np.ndarray
    alpha: np.ndarray
    box_xyxy: np.ndarray
    width_px: float
    yaw_deg: float
    number: int


class SyntheticFilm:
    """A cast, a room and a script.

    Example:
        >>> film = SyntheticFilm(FilmSettings(seconds=0.04, size_wh=(160, 120), cast=1))
        >>> [frame.image.shape for frame in film.frames()]
        [(120, 160, 3)]
    """

    def __init__(self, settings: FilmSettings) -> None:
        """Describe the film; people are built, no frame is drawn."""
        self.settings = settings
        rng = stream(settings.seed, "film")
        parts = PARTS[-settings.cast :]
        self._actors = [_actor(settings, number, part) for number, part in enumerate(parts)]
        self._lamps = draw_lamps(stream(settings.seed, "film light"))
        self._pillar = float(rng.uniform(0.3, 0.7)) if "half hidden" in parts else None
        self._background = self._draw_room()
        self._camera = CameraSettings(
            exposure_log=0.0, exposure_auto=0.0, white_balance=(1.0, 1.0, 1.0), contrast=float(rng.uniform(1.4, 1.9)),
            saturation=float(rng.uniform(0.7, 1.0)), blur_px=0.4, shrink=1.0, noise=float(rng.uniform(0.006, 0.018)),
            jpeg_quality=0,
        )  # fmt: skip

    @property
    def known(self) -> range:
        """Numbers of those whom a gallery may know: all but the stranger."""
        return range(len(self._actors) - 1)

    def portraits(self, person: int, count: int) -> list[np.ndarray]:
        """Return pictures (512, 512, 3) uint8 RGB of a person, taken on other days: for a gallery."""
        faces = SyntheticFaces(self.settings.seed, size=512, full_frame=True)
        taken: list[np.ndarray] = []
        number = 0
        while len(taken) < count:
            shown = faces.render(person, number)
            number += 1
            frontal = abs(shown.pose.yaw_deg) < 25 and not {"mask", "hand", "sunglasses"} & set(shown.occluders)
            if shown.session != 0 and frontal:  # day 0 is that of the film
                taken.append(shown.image)
        return taken

    def frames(self) -> Iterator[FilmFrame]:
        """Draw one frame after the other."""
        for index in range(self.settings.frame_count):
            yield self.frame(index)

    def frame(self, index: int) -> FilmFrame:
        """Draw one frame; any can be drawn without those before it."""
        time_s = index / self.settings.fps
        pasted = [one for one in (self._paste(actor, time_s) for actor in self._actors) if one is not None]
        pasted.sort(key=lambda one: one.width_px)  # whoever is larger is nearer
        scene, covered = self._background.copy(), np.zeros(self._background.shape[:2], np.float32)
        for one in pasted:
            scene = one.light + scene * (1 - one.alpha[:, :, None])
        shown = []
        pillar = self._pillar_alpha()
        scene = scene * (1 - pillar[:, :, None]) + pillar[:, :, None] * self._background.mean() * 0.5
        covered = pillar
        for one in reversed(pasted):
            visible = _share_visible(one.box_xyxy, covered)
            if visible > 0:
                shown.append(Shown(one.number, one.box_xyxy, visible, one.yaw_deg))
            covered = np.maximum(covered, one.alpha)
        rng = stream(self.settings.seed, "film noise", index)
        image = take_photograph(rng, scene.astype(np.float32), covered > 0.5, self._camera)
        return FilmFrame(index, time_s, image, tuple(sorted(shown, key=lambda one: one.person)))

    def _paste(self, actor: _Actor, time_s: float) -> _Pasted | None:
        """Draw a person into a frame of their own; None when they are outside of it."""
        if not actor.keys[0, 0] <= time_s <= actor.keys[-1, 0]:
            return None
        x, y, width, yaw = (_smooth(time_s, actor.keys[:, 0], actor.keys[:, row]) for row in range(1, 5))
        frame_wh = self.settings.size_wh
        speed = abs(_smooth(time_s + 0.1, actor.keys[:, 0], actor.keys[:, 1]) - x) * 10
        bob = _STEP_HEIGHT * width * math.sin(2 * math.pi * _STEPS_HZ * time_s + actor.number) * min(1.0, speed * 20)
        middle = np.array([x * frame_wh[0], y * frame_wh[1] + bob])
        if not -width < middle[0] < frame_wh[0] + width:
            return None
        side = math.ceil(width * _TILE)
        corner = np.floor(middle - [side / 2, side * 0.42])
        sway = 3 * math.sin(0.9 * time_s + 2 * actor.number)
        pose = Pose(yaw + 2 * sway, sway, 0.7 * sway, _DISTANCE_M)
        return self._drawn(actor, pose, _mood_at(actor.moods, time_s), corner, middle, width)

    def _drawn(
        self, actor: _Actor, pose: Pose, mood: Expression, corner: np.ndarray, middle: np.ndarray, width: float
    ) -> _Pasted:
        head, side = load_head(), math.ceil(width * _TILE)
        posed = pose_person(head, actor.identity, mood, pose)
        view = View(_DISTANCE_M * 10, np.eye(2) * width / _FACE_DM, middle - corner)
        setting = Setting(view, side, self._lamps, actor.finish, Occluders())
        drawn = render_person(head, actor.identity, actor.session, posed, setting)
        seen = drawn.image[drawn.alpha > 0.5] @ LUMINANCE
        gain = _PERSON_LIGHT / max(float(np.percentile(seen, 80)), 1e-3) if seen.size else 1.0
        screen = view.project(posed.points[face_vertices(head)])[:, :2] + corner
        box = np.concatenate([screen.min(axis=0), screen.max(axis=0)]).astype(np.float32)
        light, alpha = _in_frame(drawn.image * gain, drawn.alpha, corner.astype(int), self.settings.size_wh)
        return _Pasted(light, alpha, box, width, pose.yaw_deg, actor.number)

    def _draw_room(self) -> np.ndarray:
        width, height = self.settings.size_wh
        room = draw_background(stream(self.settings.seed, "film room"), max(width, height))[:height, :width]
        return np.asarray(room * (0.16 / max(float(room.mean()), 1e-3)), np.float32)

    def _pillar_alpha(self) -> np.ndarray:
        width, height = self.settings.size_wh
        alpha = np.zeros((height, width), np.float32)
        if self._pillar is not None:
            left = round(self._pillar * width)
            alpha[:, left : left + round(0.45 * self.settings.face_px[1])] = 1
        return alpha


def _actor(settings: FilmSettings, number: int, part: str) -> _Actor:
    head = load_head()
    identity = build_identity(head, seed=settings.seed, number=number)
    rng = stream(settings.seed, "film part", number)
    moods = tuple(draw_expression(rng) for _ in range(2 + int(settings.seconds / _MOOD_S)))
    keys = _script(part, settings, rng)
    session = build_session(head, identity, seed=settings.seed, number=0)
    if session.glasses is not None and session.glasses.dark:
        session = replace(session, glasses=None)  # nobody is known behind them
    return _Actor(number, identity, session, draw_finish(rng), moods, keys)


def _script(part: str, settings: FilmSettings, rng: np.random.Generator) -> np.ndarray:
    """Return the (K, 5) keys of a part: time, x, y, width of the face, yaw."""
    length = settings.seconds
    width = float(rng.uniform(*settings.face_px))
    y = float(rng.uniform(0.28, 0.52))
    near = width * float(rng.uniform(0.85, 1.15))
    slots = {"turn": (0.15, 0.3), "step out": (0.68, 0.85), "go and return": (0.4, 0.6)}  # of those who stand
    stand = float(rng.uniform(*slots.get(part, (0.2, 0.8))))
    out = 1.12 if stand > 0.5 else -0.12
    towards = 40.0 if out > 1 else -40.0
    begin = length * float(rng.uniform(0.0, 0.12))
    parts: dict[str, Sequence[tuple[float, float, float, float, float]]] = {
        "cross right": [
            (begin, -0.12, y, width, 30), (length * 0.45, 0.5, y, near, 15), (length * 0.55, 0.55, y, near, 0),
            (length * 0.95, 1.12, y, width, 35),
        ],
        "cross left": [
            (begin, 1.12, y + 0.06, near, -30), (length * 0.5, 0.45, y + 0.06, width, -10),
            (length * 0.9, -0.12, y, width, -35),
        ],
        "turn": [
            (0, stand, y, width, 0), (length * 0.2, stand, y, width, 5), (length * 0.35, stand + 0.03, y, width, 80),
            (length * 0.45, stand + 0.03, y, width, 80), (length * 0.6, stand, y, width, -10),
            (length, stand, y, width, 10),
        ],
        "step out": [
            (0, stand, y, width, 0), (length * 0.3, stand, y, width, 5), (length * 0.42, out, y, width, towards),
            (length * 0.42 + 1.5, out, y, width, -towards), (length * 0.42 + 4, stand, y, near, 0),
            (length, stand, y, near, 8),
        ],
        "go and return": [
            (0, stand, y, width, -10), (length * 0.15, stand, y, width, 0),
            (length * 0.28, out, y, width, towards), (length * 0.75, out, y, width, -towards),
            (length * 0.88, stand, y, near, 0), (length, stand, y, near, 10),
        ],
        "half hidden": [
            (begin, -0.12, y + 0.05, width, 25), (length * 0.35, 0.5, y + 0.05, width, 10),
            (length * 0.65, 0.5, y + 0.05, width, -10), (length, 1.12, y + 0.05, width, 20),
        ],
        "stroll": [
            (begin, 1.12, y, near, -35), (length * 0.4, 0.6, y, near, -10), (length * 0.6, 0.4, y, width, 0),
            (length, -0.12, y, width, -30),
        ],
    }  # fmt: skip
    return np.array(parts[part], np.float64)


def _smooth(time_s: float, times: np.ndarray, values: np.ndarray) -> float:
    """Interpolate such that everybody speeds up and slows down between two keys."""
    right = int(np.clip(np.searchsorted(times, time_s, side="right"), 1, len(times) - 1))
    share = float(np.clip((time_s - times[right - 1]) / max(times[right] - times[right - 1], 1e-9), 0, 1))
    share = share * share * (3 - 2 * share)
    return float(values[right - 1] + (values[right] - values[right - 1]) * share)


def _mood_at(moods: Sequence[Expression], time_s: float) -> Expression:
    """Return the expression between two of them."""
    place = min(time_s / _MOOD_S, len(moods) - 1.001)
    first, second, share = moods[int(place)], moods[int(place) + 1], place % 1
    units = {unit: (1 - share) * first.units[unit] + share * second.units[unit] for unit in first.units}
    return Expression(first.name, units, (1 - share) * first.gaze_rad + share * second.gaze_rad)


def _in_frame(
    light: np.ndarray, alpha: np.ndarray, corner: np.ndarray, size_wh: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Put the picture of a bust into the frame; below it, the last row goes on as the body."""
    below = max(0, size_wh[1] - int(corner[1]) - len(light))
    light = cv2.copyMakeBorder(light, 0, below, 0, 0, cv2.BORDER_REPLICATE)
    alpha = cv2.copyMakeBorder(alpha, 0, below, 0, 0, cv2.BORDER_REPLICATE)
    shift = np.array([[1, 0, corner[0]], [0, 1, corner[1]]], np.float32)
    return cv2.warpAffine(light, shift, size_wh), cv2.warpAffine(alpha, shift, size_wh)


def _share_visible(box_xyxy: np.ndarray, covered: np.ndarray) -> float:
    """Return the share of the inner ellipse of a box that lies inside of the frame and is not covered."""
    left, top, right, bottom = (float(edge) for edge in box_xyxy)
    xs = np.linspace(left, right, 25)[None]
    ys = np.linspace(top, bottom, 25)[:, None]
    inner = ((xs - (left + right) / 2) / (right - left)) ** 2 + ((ys - (top + bottom) / 2) / (bottom - top)) ** 2 < 0.25
    columns, rows = np.broadcast_arrays(np.round(xs).astype(int), np.round(ys).astype(int))
    inside = inner & (columns >= 0) & (columns < covered.shape[1]) & (rows >= 0) & (rows < covered.shape[0])
    free = 1 - covered[rows[inside], columns[inside]]
    return float(free.sum() / inner.sum())
