"""Draws a posed person: body, cloth, hair, glasses and hands, with shadows, into linear light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Tuple

import cv2
import numpy as np

from arcface_paddle.synthetic.kernels import hair_kernels, raster_kernels, shading_kernels
from arcface_paddle.synthetic.kernels.light_kernels import Light
from arcface_paddle.synthetic.kernels.mesh_kernels import vertex_normals
from arcface_paddle.synthetic.kernels.shading_kernels import Look, Surface
from arcface_paddle.synthetic.person.accessories import (
    Cloth,
    GlassesGeometry,
    glasses_geometry,
    hat_cloths,
    mask_cloth,
    mask_loops,
)
from arcface_paddle.synthetic.person.hair import Strands
from arcface_paddle.synthetic.person.hands import paint_hand
from arcface_paddle.synthetic.person.head import GARMENT, Head
from arcface_paddle.synthetic.person.identity import Identity
from arcface_paddle.synthetic.person.posing import Posed, turn
from arcface_paddle.synthetic.person.session import Session
from arcface_paddle.synthetic.scene.camera import View
from arcface_paddle.synthetic.scene.lighting import Lamps, ShadowCaster, cast_shadows
from arcface_paddle.synthetic.scene.occluders import Occluders

SUPERSAMPLING = 2
"""Pixels per side drawn for one of the picture: edges are smooth, and strands drawn at random become coverage."""

# dm by which they are brought forward: hair that lies on the skin, and glasses, which would else sink into brows.
_HAIR_BIAS, _WIRE_BIAS, _LASH_BIAS = 0.004, 0.10, 0.004
_FARTHEST_HAIR_Z = -1.0  # dm; hair that stays farther back is never seen
_CLEAR_LENS, _DARK_LENS = 0.08, 0.90  # opacity
_LASH_DARKNESS = 0.62  # lash strips are mostly gaps
_CLOTH_OPEN_SKY = 0.9  # share of the sky that hats and masks see: they lie outside of everything
_THINNEST_WIRE_PX = 1.2  # thinner ones break up into dots
_SHADOW_MARGIN, _SHADOW_WIDTH_RANGE = 1.35, (3.6, 6.4)  # dm: the head alone to the whole bust


@dataclass(frozen=True)
class Finish:
    """What varies of a person's look from picture to picture: shine, roughness, scattering and pupils."""

    specular: float
    roughness: float
    wrap: float
    pupil: float
    hair_shine: float
    hair_shine_power: float


@dataclass(frozen=True, eq=False)
class Setting:
    """Everything about a picture apart from the person.

    Attributes:
        view: onto a picture of ``size`` pixels.
        size: width and height.
        lamps: the light.
        finish: shine of skin and hair.
        occluders: masks and hands.
    """

    view: View
    size: int
    lamps: Lamps
    finish: Finish
    occluders: Occluders


@dataclass(frozen=True, eq=False)
class Rendering:
    """A person on black.

    Attributes:
        image: (H, W, 3) float32 linear RGB.
        alpha: (H, W) float32 coverage, 0 to 1.
    """

    image: np.ndarray
    alpha: np.ndarray


@dataclass(frozen=True, eq=False)
class _Canvas:
    view: View
    depth: np.ndarray
    image: np.ndarray
    alpha: np.ndarray

    def rasterize(self, points: np.ndarray, triangles: np.ndarray, *, two_sided: bool) -> Tuple[np.ndarray, np.ndarray]:
        """Draw into the depth buffer; returns the triangle in front (H, W) and its barycentric weights."""
        numbers = np.full(self.depth.shape, -1, dtype=np.int32)
        barycentric = np.empty((*self.depth.shape, 2), dtype=np.float32)
        raster_kernels.rasterize(self.view.project(points), triangles, two_sided, self.depth, numbers, barycentric)
        return numbers, barycentric

    def covered_by(self, points: np.ndarray, triangles: np.ndarray, *, bias: float) -> np.ndarray:
        """Return (H, W) bool where a mesh lies in front, without drawing it."""
        screen = self.view.project(points)
        numbers = np.full(self.depth.shape, -1, dtype=np.int32)
        barycentric = np.empty((*self.depth.shape, 2), dtype=np.float32)
        raster_kernels.rasterize(screen, triangles, True, self.depth - bias, numbers, barycentric)
        return numbers >= 0


def draw_finish(rng: np.random.Generator) -> Finish:
    """Draw the shine of skin and hair and the pupils."""
    return Finish(
        specular=float(rng.uniform(0.3, 1.15)),
        roughness=float(rng.uniform(0.36, 0.6)),
        wrap=float(rng.uniform(0.25, 0.5)),
        pupil=float(rng.uniform(0.28, 0.5)),
        hair_shine=float(rng.uniform(0.2, 0.8)),
        hair_shine_power=float(rng.uniform(20, 60)),
    )


def render_person(head: Head, identity: Identity, session: Session, posed: Posed, setting: Setting) -> Rendering:
    """Draw a person at ``SUPERSAMPLING`` times the size of ``setting`` and scale the picture down to it."""
    canvas = _new_canvas(setting)
    cloths = _posed_cloths(head, identity, session, posed, setting.occluders)
    hair = [_visible_strands(group, posed, canvas) for group in session.strands]
    casters = [ShadowCaster(posed.rough, head.mesh.rough_triangles)]
    casters += [ShadowCaster(cloth.points, cloth.triangles) for cloth in cloths]
    width_dm = _shadow_width(setting)
    light = cast_shadows(setting.lamps, casters, [group.points for group in hair], width_dm=width_dm)
    look = _person_look(identity, session, setting.finish)
    _draw_body(canvas, head, identity, posed, look, light)
    for cloth in cloths:
        _draw_cloth(canvas, cloth, look, light)
    for group in hair:
        _draw_strands(canvas, group, light, setting.finish, bias=_HAIR_BIAS)
    _draw_mask_loops(canvas, head, posed, setting, light)
    _draw_glasses(canvas, session, posed, setting, light)
    if setting.occluders.hand is not None:
        eyes = canvas.view.project(posed.landmarks)[:2, :2]
        paint_hand(
            canvas.image,
            canvas.alpha,
            setting.occluders.hand,
            eyes,
            skin=identity.traits.skin,
            cloth=session.cloth,
            light=light,
        )
    size_wh = (setting.size, setting.size)
    return Rendering(
        cv2.resize(canvas.image, size_wh, interpolation=cv2.INTER_AREA),
        cv2.resize(canvas.alpha, size_wh, interpolation=cv2.INTER_AREA),
    )


def _shadow_width(setting: Setting) -> float:
    """Return the width in dm that shadow maps need: what the picture shows, but not beyond the shoulders."""
    shown = setting.size / setting.view.pixels_per_dm
    return float(np.clip(shown * _SHADOW_MARGIN, *_SHADOW_WIDTH_RANGE))


def _new_canvas(setting: Setting) -> _Canvas:
    size = setting.size * SUPERSAMPLING
    return _Canvas(
        view=setting.view.scaled(SUPERSAMPLING),
        depth=np.full((size, size), raster_kernels.FARTHEST, dtype=np.float32),
        image=np.zeros((size, size, 3), dtype=np.float32),
        alpha=np.zeros((size, size), dtype=np.float32),
    )


def _person_look(identity: Identity, session: Session, finish: Finish) -> Look:
    traits = identity.traits
    return Look(
        texture=session.texture,
        iris=traits.iris.astype(np.float32),
        iris_ring=identity.iris_ring,
        iris_radius=identity.iris_radius,
        pupil=finish.pupil,
        lips=session.lips.astype(np.float32),
        lip_strength=session.lip_strength,
        teeth=identity.teeth,
        cloth=session.cloth.astype(np.float32),
        specular=finish.specular,
        roughness=finish.roughness,
        wrap=finish.wrap,
    )


def _draw_body(canvas: _Canvas, head: Head, identity: Identity, posed: Posed, look: Look, light: Light) -> None:
    mesh = head.mesh
    numbers, barycentric = canvas.rasterize(posed.points, mesh.triangles, two_sided=False)
    surface = Surface(
        triangles=mesh.triangles,
        materials=mesh.materials,
        points=posed.points,
        normals=posed.normals,
        uv=head.uv,
        masks=head.masks,
        occlusion=identity.occlusion,
        gaze=posed.gaze,
    )
    shading_kernels.shade_surface(
        numbers, barycentric, surface, look, light, canvas.view.camera_z, canvas.image, canvas.alpha
    )
    # Opaque lashes look like make-up: they only darken what lies behind them.
    lashes = canvas.covered_by(posed.points, mesh.lashes, bias=-_LASH_BIAS)
    canvas.image[lashes] *= 1 - _LASH_DARKNESS * identity.lashes


def _posed_cloths(head: Head, identity: Identity, session: Session, posed: Posed, occluders: Occluders) -> List[Cloth]:
    """Return the pieces of mask and hat, as far as they are worn."""
    local = []
    if occluders.mask_color is not None:
        local.append(mask_cloth(head, posed.local, occluders.mask_color))
    if session.hat is not None:
        local += hat_cloths(identity, session.hat)
    return [Cloth(turn(cloth.points, posed.rotation), cloth.triangles, cloth.color) for cloth in local]


def _draw_cloth(canvas: _Canvas, cloth: Cloth, look: Look, light: Light) -> None:
    count = len(cloth.points)
    normals = np.empty_like(cloth.points)
    vertex_normals(cloth.points, cloth.triangles, normals)
    surface = Surface(
        triangles=cloth.triangles,
        materials=np.full(len(cloth.triangles), GARMENT, dtype=np.uint8),
        points=cloth.points,
        normals=normals,
        uv=np.zeros((count, 2), dtype=np.float32),
        masks=np.zeros((count, 4), dtype=np.float32),
        occlusion=np.full(count, _CLOTH_OPEN_SKY, dtype=np.float32),
        gaze=np.zeros((count, 3), dtype=np.float32),
    )
    numbers, barycentric = canvas.rasterize(cloth.points, cloth.triangles, two_sided=True)
    shading_kernels.shade_surface(
        numbers,
        barycentric,
        surface,
        look._replace(cloth=cloth.color.astype(np.float32)),
        light,
        canvas.view.camera_z,
        canvas.image,
        canvas.alpha,
    )


def _visible_strands(group: Strands, posed: Posed, canvas: _Canvas) -> Strands:
    """Turn strands with the head and drop those behind the head or far outside of the picture."""
    points = turn(group.points, posed.rotation)
    middle = points[:, points.shape[1] // 2]
    nearest = np.maximum(np.maximum(points[:, 0, 2], points[:, -1, 2]), middle[:, 2])
    screen = canvas.view.project(middle)
    height, width = canvas.depth.shape
    # Half a picture of margin: strands are long, and those outside still shadow the face.
    seen = nearest > _FARTHEST_HAIR_Z
    seen &= (screen[:, 0] > -0.6 * width) & (screen[:, 0] < 1.6 * width)
    seen &= (screen[:, 1] > -0.8 * height) & (screen[:, 1] < 1.8 * height)
    return Strands(points[seen], group.colors[seen], group.width, group.coverage, group.root_light)


def _draw_strands(canvas: _Canvas, group: Strands, light: Light, finish: Finish, *, bias: float) -> None:
    """Shade and draw posed strands."""
    colors = np.empty_like(group.points)
    hair_kernels.shade_strands(
        group.points,
        group.colors,
        group.root_light,
        canvas.view.camera_z,
        light,
        finish.hair_shine,
        finish.hair_shine_power,
        colors,
    )
    hair_kernels.draw_strands(
        canvas.view.project(group.points),
        colors,
        group.width * canvas.view.pixels_per_dm,
        group.coverage,
        bias,
        canvas.depth,
        canvas.image,
        canvas.alpha,
    )


def _draw_wires(
    canvas: _Canvas, points: np.ndarray, color: np.ndarray, width: float, setting: Setting, light: Light
) -> None:
    """Draw posed polylines (N, K, 3) of one colour, at least a pixel of the final picture wide."""
    width = max(width, _THINNEST_WIRE_PX / setting.view.pixels_per_dm)
    colors = np.tile(color.astype(np.float32), (len(points), 1))
    both_ways = np.concatenate([points, points[:, ::-1]])  # strands taper towards their ends, wires do not
    wires = Strands(np.ascontiguousarray(both_ways), np.concatenate([colors, colors]), width, 1.0, 1.0)
    _draw_strands(canvas, wires, light, setting.finish, bias=_WIRE_BIAS)


def _draw_mask_loops(canvas: _Canvas, head: Head, posed: Posed, setting: Setting, light: Light) -> None:
    if setting.occluders.mask_color is not None:
        bands = mask_loops(mask_cloth(head, posed.local, setting.occluders.mask_color))
        _draw_wires(canvas, turn(bands, posed.rotation), np.array([0.7, 0.7, 0.7]), 0.02, setting, light)


def _draw_glasses(canvas: _Canvas, session: Session, posed: Posed, setting: Setting, light: Light) -> None:
    glasses = session.glasses
    if glasses is None:
        return
    worn = glasses_geometry(posed.local_landmarks[:2], glasses)
    tint = _DARK_LENS if glasses.dark else _CLEAR_LENS
    _tint_lenses(canvas, worn, posed, tint, light.ambient[:, 0] * (0.03 if glasses.dark else 0.8))
    wires = turn(worn.wires, posed.rotation)
    _draw_wires(canvas, wires, glasses.color, glasses.thickness, setting, light)


def _tint_lenses(canvas: _Canvas, worn: GlassesGeometry, posed: Posed, opacity: float, color: np.ndarray) -> None:
    seen = canvas.covered_by(turn(worn.lenses, posed.rotation), worn.lens_triangles, bias=_WIRE_BIAS)
    canvas.image[seen] = canvas.image[seen] * (1 - opacity) + color * opacity
