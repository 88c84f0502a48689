"""One step of Catmull-Clark subdivision as a sparse matrix: rough quads become a smooth surface by a product.

E. Catmull, J. Clark, "Recursively generated B-spline surfaces on arbitrary topological meshes", 1978; boundary edges
and vertices follow the cubic B-spline curve of the boundary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Subdivision:
    """The subdivided mesh of (V, 3) rough positions.

    Attributes:
        values: (N,) float32 entries of the matrix, row by row.
        columns: (N,) int32 rough vertex of each entry.
        pointers: (rows + 1,) int32; row r owns the entries pointers[r]:pointers[r + 1].
        quads: (4 F, 4) int32 faces of the fine mesh; fine faces 4 f to 4 f + 3 belong to rough face f.
    """

    values: np.ndarray
    columns: np.ndarray
    pointers: np.ndarray
    quads: np.ndarray


@dataclass(frozen=True, eq=False)
class _Edges:
    ends: np.ndarray  # (E, 2) vertices, smaller first
    of_face: np.ndarray  # (F, 4) edge from corner k to corner k + 1
    is_boundary: np.ndarray  # (E,) bool: one face only


def subdivide(faces: np.ndarray, vertices: int) -> Subdivision:
    """Build the subdivision of a mesh with ``faces`` (F, 4) over ``vertices`` vertices.

    Fine vertices are, in this order: the moved rough vertices, one per edge, one per face.
    """
    faces = np.asarray(faces, dtype=np.int64)
    edges = _find_edges(faces)
    entries = [
        _vertex_rows(faces, edges, vertices),
        _edge_rows(faces, edges, vertices),
        _face_rows(faces, vertices + len(edges.ends)),
    ]
    rows, columns, values = (np.concatenate(part) for part in zip(*entries))
    count = vertices + len(edges.ends) + len(faces)
    return _to_row_form(rows, columns, values, count, _fine_quads(faces, edges, vertices))


def _find_edges(faces: np.ndarray) -> _Edges:
    corners = np.stack([faces, np.roll(faces, -1, axis=1)], axis=2).reshape(-1, 2)
    ends, of_corner, uses = np.unique(np.sort(corners, axis=1), axis=0, return_inverse=True, return_counts=True)
    return _Edges(ends, of_corner.reshape(-1, 4), uses == 1)


def _face_rows(faces: np.ndarray, first_row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = np.repeat(first_row + np.arange(len(faces)), 4)
    return rows, faces.ravel(), np.full(faces.size, 0.25)


def _edge_rows(faces: np.ndarray, edges: _Edges, first_row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    weight_of_end = np.where(edges.is_boundary, 0.5, 0.25)
    of_ends = (
        np.repeat(first_row + np.arange(len(edges.ends)), 2),
        edges.ends.ravel(),
        np.repeat(weight_of_end, 2),
    )
    edge = np.repeat(edges.of_face.ravel(), 4)  # every edge takes 1/4 of each neighbouring face's mean
    corner = np.repeat(faces, 4, axis=0).ravel()
    inner = ~edges.is_boundary[edge]
    of_faces = (first_row + edge[inner], corner[inner], np.full(int(inner.sum()), 0.0625))
    return _join(of_ends, of_faces)


def _vertex_rows(faces: np.ndarray, edges: _Edges, vertices: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    valence = np.bincount(faces.ravel(), minlength=vertices)
    on_boundary = np.zeros(vertices, dtype=bool)
    on_boundary[edges.ends[edges.is_boundary].ravel()] = True
    inner = ~on_boundary & (valence > 0)
    degree = np.maximum(valence, 1).astype(np.float64)
    own = np.where(on_boundary, 0.75, np.where(valence > 0, (degree - 2) / degree, 1.0))
    of_itself = (np.arange(vertices), np.arange(vertices), own)
    # (F + 2R + (n - 3)P) / n with F the mean of the faces, R the mean of the edges' middles.
    both_ways = np.concatenate([edges.ends, edges.ends[:, ::-1]])
    kept = inner[both_ways[:, 0]]
    of_edges = (both_ways[kept, 0], both_ways[kept, 1], 1.0 / degree[both_ways[kept, 0]] ** 2)
    vertex = np.repeat(faces.ravel(), 4)
    corner = np.repeat(faces, 4, axis=0).ravel()
    kept = inner[vertex]
    of_faces = (vertex[kept], corner[kept], 0.25 / degree[vertex[kept]] ** 2)
    rim = np.concatenate([edges.ends[edges.is_boundary], edges.ends[edges.is_boundary][:, ::-1]])
    rim_degree = np.bincount(rim[:, 0], minlength=vertices)
    of_rim = (rim[:, 0], rim[:, 1], 0.25 / rim_degree[rim[:, 0]])
    return _join(of_itself, of_edges, of_faces, of_rim)


def _fine_quads(faces: np.ndarray, edges: _Edges, vertices: int) -> np.ndarray:
    centre = vertices + len(edges.ends) + np.arange(len(faces))
    after = vertices + edges.of_face
    before = np.roll(after, 1, axis=1)
    quads = np.stack([faces, after, np.repeat(centre[:, None], 4, axis=1), before], axis=2)
    return quads.reshape(-1, 4).astype(np.int32)


def _join(*parts: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, columns, values = (np.concatenate(part) for part in zip(*parts))
    return rows, columns, values


def _to_row_form(
    rows: np.ndarray, columns: np.ndarray, values: np.ndarray, count: int, quads: np.ndarray
) -> Subdivision:
    stride = int(columns.max()) + 1
    place, inverse = np.unique(rows * stride + columns, return_inverse=True)
    summed = np.bincount(inverse.ravel(), weights=values)
    pointers = np.searchsorted(place // stride, np.arange(count + 1))
    return Subdivision(
        values=summed.astype(np.float32),
        columns=(place % stride).astype(np.int32),
        pointers=pointers.astype(np.int32),
        quads=quads,
    )
