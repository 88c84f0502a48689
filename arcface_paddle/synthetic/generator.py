"""Pictures of people who do not exist, each a pure function of (seed, identity, image)."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from arcface_paddle.errors import ConfigError
from arcface_paddle.synthetic.person.expression import draw_expression
from arcface_paddle.synthetic.person.head import Head, load_head
from arcface_paddle.synthetic.person.identity import Identity, build_identity
from arcface_paddle.synthetic.person.pose import Pose, draw_pose
from arcface_paddle.synthetic.person.posing import Posed, face_vertices, pose_person
from arcface_paddle.synthetic.person.session import Session, build_session
from arcface_paddle.synthetic.random_streams import stream
from arcface_paddle.synthetic.scene import camera
from arcface_paddle.synthetic.scene.background import draw_background
from arcface_paddle.synthetic.scene.camera import View
from arcface_paddle.synthetic.scene.lighting import Lamps, draw_lamps
from arcface_paddle.synthetic.scene.occluders import draw_occluders
from arcface_paddle.synthetic.scene.photograph import draw_camera_settings, take_photograph
from arcface_paddle.synthetic.scene.rendering import Setting, draw_finish, render_person

MIN_SIZE, MAX_SIZE = 32, 1024
SESSIONS_PER_IDENTITY = 3


@dataclass(frozen=True, eq=False)
class SyntheticImage:
    """One picture and what is known about it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        label: identity.
        number: index of the picture among those of the identity.
        session: which of the person's days; hair, make-up, clothes and glasses are those of the day.
        points: (5, 2) float32 x, y of image-left eye, image-right eye, nose tip, image-left and image-right mouth
            corner, in pixels of ``image``; exact, also when hidden.
        box_xyxy: (4,) float32 left, top, right, bottom of the face from chin to hairline; may reach outside.
        pose: how the head is held.
        lamps: the light.
        expression: name of the expression.
        occluders: what hides a part of the face or head: of ``glasses``, ``sunglasses``, ``hat``, ``mask``, ``hand``.
    """

    image: np.ndarray
    label: int
    number: int
    session: int
    points: np.ndarray
    box_xyxy: np.ndarray
    pose: Pose
    lamps: Lamps
    expression: str
    occluders: tuple[str, ...]


class SyntheticFaces:
    """A population of people and the pictures of them.

    Example:
        >>> faces = SyntheticFaces(seed=0, size=112)
        >>> shown = faces.render(3, 0)
        >>> shown.image.shape, shown.label
        ((112, 112, 3), 3)
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        size: int = 112,
        full_frame: bool = False,
        sessions_per_identity: int = SESSIONS_PER_IDENTITY,
    ) -> None:
        """Describe the population; nothing is drawn yet.

        Args:
            seed: seed of the whole population, 0 to 2^63 - 1.
            size: width and height of the pictures in pixels.
            full_frame: whole pictures with head, shoulders and background instead of crops aligned to the ArcFace
                template.
            sessions_per_identity: days over which the pictures of a person are spread.

        Raises:
            ConfigError: a number outside of its range.
        """
        _check_range("seed", seed, 0, 2**63 - 1)
        _check_range("size", size, MIN_SIZE, MAX_SIZE)
        _check_range("sessions_per_identity", sessions_per_identity, 1, 1000)
        self.seed = seed
        self.size = size
        self.full_frame = full_frame
        self.sessions_per_identity = sessions_per_identity
        # The pictures of a person are mostly asked for one after the other.
        self._identity = functools.lru_cache(maxsize=2)(self._build_identity)
        self._session = functools.lru_cache(maxsize=2 * sessions_per_identity)(self._build_session)

    def render(self, identity: int, image: int) -> SyntheticImage:
        """Render picture ``image`` of person ``identity``, both counted from 0.

        Raises:
            ConfigError: a negative number.
        """
        _check_range("identity", identity, 0, 2**31 - 1)
        _check_range("image", image, 0, 2**31 - 1)
        head = load_head()
        person = self._identity(identity)
        session = self._session(identity, image % self.sessions_per_identity)
        rng = stream(self.seed, "moment", identity, image)
        expression, pose = draw_expression(rng), draw_pose(rng)
        posed = pose_person(head, person, expression, pose)
        setting = self._draw_setting(identity, image, pose, posed)
        picture = self._photograph(head, person, session, posed, setting, image)
        points = setting.view.project(posed.landmarks)[:, :2]
        return SyntheticImage(
            image=picture,
            label=identity,
            number=image,
            session=session.number,
            points=np.ascontiguousarray(points),
            box_xyxy=_face_box(head, posed, setting.view),
            pose=pose,
            lamps=setting.lamps,
            expression=expression.name,
            occluders=_occluder_names(session, setting),
        )

    def _build_identity(self, number: int) -> Identity:
        return build_identity(load_head(), seed=self.seed, number=number)

    def _build_session(self, identity: int, number: int) -> Session:
        return build_session(load_head(), self._identity(identity), seed=self.seed, number=number)

    def _draw_setting(self, identity: int, image: int, pose: Pose, posed: Posed) -> Setting:
        rng = stream(self.seed, "view", identity, image)
        if self.full_frame:
            view = camera.frame_view(rng, pose, self.size)
        else:
            view = camera.aligned_view(rng, pose, posed.landmarks, self.size)
        rng = stream(self.seed, "light", identity, image)
        lamps, finish = draw_lamps(rng), draw_finish(rng)
        return Setting(
            view=view,
            size=self.size,
            lamps=lamps,
            finish=finish,
            occluders=draw_occluders(stream(self.seed, "occluders", identity, image)),
        )

    def _photograph(
        self, head: Head, person: Identity, session: Session, posed: Posed, setting: Setting, image: int
    ) -> np.ndarray:
        rendering = render_person(head, person, session, posed, setting)
        rng = stream(self.seed, "background", person.number, image)
        background = draw_background(rng, self.size) * setting.lamps.level
        scene = rendering.image + background * (1 - rendering.alpha[:, :, None])
        rng = stream(self.seed, "camera", person.number, image)
        return take_photograph(rng, scene, rendering.alpha > 0.5, draw_camera_settings(rng))


def _occluder_names(session: Session, setting: Setting) -> tuple[str, ...]:
    names = []
    if session.glasses is not None:
        names.append("sunglasses" if session.glasses.dark else "glasses")
    if session.hat is not None:
        names.append("hat")
    return (*names, *setting.occluders.names)


def _face_box(head: Head, posed: Posed, view: View) -> np.ndarray:
    screen = view.project(posed.points[face_vertices(head)])[:, :2]
    return np.concatenate([screen.min(axis=0), screen.max(axis=0)])


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} is {value}; allowed: {low} to {high}")
