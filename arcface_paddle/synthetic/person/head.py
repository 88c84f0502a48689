"""The head that everybody is made from: mesh, shape targets, smooth surface and painting coordinates.

Coordinates are decimetres, x to the person's left (to the right in a frontal picture), y up, z towards the viewer.
"""

from __future__ import annotations

import functools
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Mapping

import numpy as np

from arcface_paddle.errors import DataError
from arcface_paddle.synthetic.kernels import mesh_kernels
from arcface_paddle.synthetic.person.painting import AXIS_Z, TEXTURE_BOTTOM_Y, TEXTURE_TOP_Y, Painting, build_painting
from arcface_paddle.synthetic.person.subdivision import Subdivision, subdivide

PACK_PATH = Path(__file__).parents[1] / "assets" / "head_pack.npz"

SKIN, LEFT_EYE, RIGHT_EYE, TEETH, TONGUE, LASHES, GARMENT = range(7)
"""Materials of the faces; ``GARMENT`` is added here, the others come from the pack."""

LIPS, EARS, EYELIDS, INNER_MOUTH = range(4)
"""Columns of ``Head.masks``."""

EYES_CENTRE = np.array([0.0, 7.285, 1.245], dtype=np.float32)
"""Every head is moved so that the midpoint of its eyes lies here, where the base mesh has it (macro targets move the
whole head, and skin is painted by height)."""

# The pack ends at y 5.0 and |x| 1.9 dm. Rings of cloth continue the bust below that uneven cut edge, so that whole
# pictures show shoulders, in dm from the edge: (sideways at the shoulders, forward at the chest and backward at the
# back, down, how far levelled to one height).
_GARMENT_RINGS = ((0.30, 0.05, 0.16, 0.0), (0.80, 0.10, 0.70, 0.4), (1.10, 0.12, 1.90, 0.8), (1.15, 0.05, 3.60, 1.0))
_TRUNK_AXIS_Z = -0.1
_CUT_EDGE_Y = 5.3  # dm; the edge runs from 5.02 to 5.65


@dataclass(frozen=True, eq=False)
class Targets:
    """Sparse shape targets; target t moves vertices indices[pointers[t]:pointers[t + 1]] by offsets in dm."""

    indices: np.ndarray
    offsets: np.ndarray
    pointers: np.ndarray
    number_of: Mapping[str, int]

    def move(self, positions: np.ndarray, weights: Mapping[str, float]) -> None:
        """Add the named targets, each times its weight, to ``positions`` (V, 3) float32 in place.

        Raises:
            KeyError: a name that the pack does not have.
        """
        chosen = [(self.number_of[name], weight) for name, weight in weights.items() if weight]
        if chosen:
            numbers = np.array([number for number, _ in chosen], dtype=np.int64)
            factors = np.array([weight for _, weight in chosen], dtype=np.float32)
            mesh_kernels.add_targets(positions, self.indices, self.offsets, self.pointers, numbers, factors)


@dataclass(frozen=True, eq=False)
class HeadMesh:
    """The surface: rough quads of the pack, a garment that continues the bust, and their subdivision.

    Attributes:
        cut_edge: (E,) rough vertices on the bust's cut edge, where the garment begins.
        rough_triangles: (T', 3) int32 of skin and garment before subdivision, for shadow maps.
        subdivision: matrix that turns rough positions (with garment) into the fine surface.
        triangles: (T, 3) int32 of the fine surface without eyelashes.
        materials: (T,) uint8 material of each of them.
        skin_triangles: (T'', 3) int32, those of the skin.
        lashes: (L, 3) int32 of the eyelash strips.
    """

    cut_edge: np.ndarray
    rough_triangles: np.ndarray
    subdivision: Subdivision
    triangles: np.ndarray
    materials: np.ndarray
    skin_triangles: np.ndarray
    lashes: np.ndarray

    def with_garment(self, positions: np.ndarray) -> np.ndarray:
        """Append the rings of the garment to (V, 3) rough positions; returns (V + rings, 3) float32."""
        edge = positions[self.cut_edge]
        shoulder_share = np.clip((np.abs(edge[:, 0]) - 0.7) / 1.1, 0, 1)
        rings = []
        depth_share = np.clip((edge[:, 2] - _TRUNK_AXIS_Z) / 0.5, -1, 1)
        for sideways, forward, down, level in _GARMENT_RINGS:
            ring = edge.copy()
            ring[:, 0] += np.sign(edge[:, 0]) * shoulder_share * sideways
            ring[:, 2] += depth_share * forward
            ring[:, 1] += level * (_CUT_EDGE_Y - edge[:, 1]) - down
            rings.append(ring)
        return np.concatenate([positions, *rings]).astype(np.float32)

    def surface(self, positions: np.ndarray) -> np.ndarray:
        """Return the (S, 3) float32 fine surface of (V, 3) rough positions, garment included."""
        fine = self.subdivision
        out = np.empty((len(fine.pointers) - 1, 3), dtype=np.float32)
        mesh_kernels.multiply_sparse(fine.values, fine.columns, fine.pointers, self.with_garment(positions), out)
        return out

    def normals(self, surface: np.ndarray) -> np.ndarray:
        """Return the (S, 3) float32 unit normals of a fine surface."""
        out = np.empty_like(surface)
        mesh_kernels.vertex_normals(surface, self.triangles, out)
        return out


@dataclass(frozen=True, eq=False)
class Head:
    """The neutral head and everything about it that does not depend on the person.

    Attributes:
        base: (V, 3) float32 rough positions of the pack's vertices.
        mesh: the surface over them.
        targets: shape targets and expressions.
        uv: (S, 2) float32 texture coordinates 0 to 1 of the fine vertices.
        masks: (S, 4) float32 lips, ears, eyelids, inner mouth.
        neutral: (S, 3) float32 the fine surface of the base.
        teeth: rough vertices of both rows of teeth.
        lips: rough vertices of the lips.
        eyes: rough vertices of the right (image-left) and the left eyeball.
        fine_eyes: fine vertices of the same eyeballs.
        landmarks: fine vertices of nose tip, right (image-left) and left mouth corner.
        painting: maps between the texture and the frontal view.
    """

    base: np.ndarray
    mesh: HeadMesh
    targets: Targets
    uv: np.ndarray
    masks: np.ndarray
    neutral: np.ndarray
    teeth: np.ndarray
    lips: np.ndarray
    eyes: tuple[np.ndarray, np.ndarray]
    fine_eyes: tuple[np.ndarray, np.ndarray]
    landmarks: np.ndarray
    painting: Painting


@functools.lru_cache(maxsize=1)
def load_head() -> Head:
    """Load the head pack that the package carries, once per process.

    Raises:
        DataError: the pack is missing or damaged.
    """
    try:
        with np.load(PACK_PATH, allow_pickle=False) as archive:
            pack = {name: archive[name] for name in archive.files}
        return build_head(pack)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{PACK_PATH}: cannot be read ({error}); build it anew with tools/build_head_pack.py") from None


def build_head(pack: Mapping[str, np.ndarray]) -> Head:
    """Build the head from the arrays of the pack (see tools/build_head_pack.py)."""
    base = (pack["V"] * 1e-4).astype(np.float32)  # the pack's whole numbers are 1e-4 dm, targets' 1e-3 dm
    faces, materials = pack["F"].astype(np.int64), pack["mat"]
    mesh = _build_mesh(faces, materials, len(base))
    masks = np.zeros((len(base) + len(_GARMENT_RINGS) * len(mesh.cut_edge), 4), dtype=np.float32)
    masks[: len(base)] = pack["masks"] / 255.0
    fine_masks = _interpolate(mesh.subdivision, masks)
    neutral = mesh.surface(base)
    uv = _cylinder_coordinates(neutral)
    right, left = (np.unique(faces[materials == eye]) for eye in (RIGHT_EYE, LEFT_EYE))
    fine_right, fine_left = (np.unique(mesh.triangles[mesh.materials == eye]) for eye in (RIGHT_EYE, LEFT_EYE))
    outer = fine_masks[:, INNER_MOUTH] < 0.3
    return Head(
        base=base,
        mesh=mesh,
        targets=_build_targets(pack),
        uv=uv,
        masks=fine_masks,
        neutral=neutral,
        teeth=np.unique(faces[materials == TEETH]),
        lips=np.flatnonzero(masks[: len(base), LIPS] > 0.5),
        eyes=(right, left),
        fine_eyes=(fine_right, fine_left),
        landmarks=pack["landmarks"].astype(np.int64),
        painting=build_painting(neutral, uv, mesh.skin_triangles[outer[mesh.skin_triangles].all(axis=1)]),
    )


def _build_targets(pack: Mapping[str, np.ndarray]) -> Targets:
    number_of: Dict[str, int] = {str(name): number for number, name in enumerate(pack["names"])}
    offsets = (pack["val"] * 1e-3).astype(np.float32)
    return Targets(pack["idx"].astype(np.int32), offsets, pack["ptr"], number_of)


def _build_mesh(faces: np.ndarray, materials: np.ndarray, vertices: int) -> HeadMesh:
    cut_edge, garment = _garment_faces(faces[materials == SKIN], vertices)
    faces = np.concatenate([faces, garment])
    materials = np.concatenate([materials, np.full(len(garment), GARMENT, np.uint8)])
    fine = subdivide(faces, vertices + len(_GARMENT_RINGS) * len(cut_edge))
    fine_materials = np.repeat(materials, 4)
    is_lash = fine_materials == LASHES
    return HeadMesh(
        cut_edge=cut_edge,
        rough_triangles=_triangles(faces[(materials == SKIN) | (materials == GARMENT)]),
        subdivision=fine,
        triangles=_triangles(fine.quads[~is_lash]),
        materials=np.tile(fine_materials[~is_lash], 2),
        skin_triangles=_triangles(fine.quads[fine_materials == SKIN]),
        lashes=_triangles(fine.quads[is_lash]),
    )


def _garment_faces(skin: np.ndarray, vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the vertices of the skin's open edge and the quads that join them to the rings below."""
    directed = np.stack([skin, np.roll(skin, -1, axis=1)], axis=2).reshape(-1, 2)
    _, which, uses = np.unique(np.sort(directed, axis=1), axis=0, return_inverse=True, return_counts=True)
    open_edges = directed[uses[which.ravel()] == 1]
    cut_edge = np.unique(open_edges)
    place = np.full(vertices, -1)
    place[cut_edge] = np.arange(len(cut_edge))
    start, end = place[open_edges[:, 0]], place[open_edges[:, 1]]
    quads = []
    upper_start, upper_end = open_edges[:, 0], open_edges[:, 1]
    for ring in range(len(_GARMENT_RINGS)):
        first = vertices + ring * len(cut_edge)
        quads.append(np.stack([upper_end, upper_start, first + start, first + end], axis=1))
        upper_start, upper_end = first + start, first + end
    return cut_edge, np.concatenate(quads)


def _triangles(quads: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]), dtype=np.int32)


def _interpolate(fine: Subdivision, values: np.ndarray) -> np.ndarray:
    """Carry any number of columns per rough vertex over to the fine vertices, one by one in the x of a point."""
    columns = []
    for column in values.T:
        triple = np.zeros((len(values), 3), dtype=np.float32)
        triple[:, 0] = column
        out = np.empty((len(fine.pointers) - 1, 3), dtype=np.float32)
        mesh_kernels.multiply_sparse(fine.values, fine.columns, fine.pointers, triple, out)
        columns.append(out[:, 0])
    return np.ascontiguousarray(np.stack(columns, axis=1))


def _cylinder_coordinates(surface: np.ndarray) -> np.ndarray:
    angle = np.arctan2(surface[:, 0], surface[:, 2] - AXIS_Z)
    height = (TEXTURE_TOP_Y - surface[:, 1]) / (TEXTURE_TOP_Y - TEXTURE_BOTTOM_Y)
    return np.stack([angle / (2 * np.pi) + 0.5, height], axis=1).astype(np.float32)
