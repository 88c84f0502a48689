"""The head pack, its subdivision and the targets."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from arcface_paddle.errors import DataError
from arcface_paddle.synthetic.person import head as head_module
from arcface_paddle.synthetic.person.head import EYES_CENTRE, GARMENT, LASHES, PACK_PATH, SKIN, load_head
from arcface_paddle.synthetic.person.shape import draw_shape, shaped_positions
from arcface_paddle.synthetic.person.subdivision import subdivide
from arcface_paddle.synthetic.person.traits import draw_traits, macro_weights
from arcface_paddle.synthetic.random_streams import stream

# Of the arrays, not of the file: another zlib may pack the same arrays into other bytes.
PACK_DIGEST = "b4740dbf9872a13c3d307c41f2e60dea2afac085871aa8bcc15befb4a713d735"

CUBE = np.array([[0, 3, 2, 1], [4, 5, 6, 7], [0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7]])


def digest_of_arrays(arrays) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + str(arrays[name].dtype).encode() + str(arrays[name].shape).encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def test_pack_is_the_one_that_the_tool_builds_from_the_wheel():
    with np.load(PACK_PATH, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    assert digest_of_arrays(arrays) == PACK_DIGEST
    assert arrays["V"].shape == (5354, 3)
    assert arrays["F"].shape == (5208, 4)
    assert len(arrays["names"]) == 318 + 72 + 52
    assert (PACK_PATH.parent / "NOTICE.md").read_text(encoding="utf-8").count("CC0") >= 1


def test_damaged_pack_is_named(tmp_path, monkeypatch):
    broken = tmp_path / "head_pack.npz"
    broken.write_bytes(PACK_PATH.read_bytes()[:1000])
    monkeypatch.setattr(head_module, "PACK_PATH", broken)
    load_head.cache_clear()
    try:
        with pytest.raises(DataError, match=r"head_pack\.npz.*build_head_pack"):
            load_head()
    finally:
        load_head.cache_clear()


def slow_catmull_clark(faces, positions):
    """The textbook rules for a closed mesh, point by point."""
    face_points = [positions[face].mean(axis=0) for face in faces]
    edges: dict = {}
    for number, face in enumerate(faces):
        for a, b in zip(face, np.roll(face, -1)):
            edges.setdefault((min(a, b), max(a, b)), []).append(number)
    edge_points = {
        edge: (positions[edge[0]] + positions[edge[1]] + sum(face_points[f] for f in of)) / 4
        for edge, of in edges.items()
    }
    moved = []
    for vertex, position in enumerate(positions):
        touching = [face_points[n] for n, face in enumerate(faces) if vertex in face]
        middles = [(positions[a] + positions[b]) / 2 for a, b in edges if vertex in (a, b)]
        n = len(touching)
        moved.append((np.mean(touching, axis=0) + 2 * np.mean(middles, axis=0) + (n - 3) * position) / n)
    return np.array([*moved, *(edge_points[edge] for edge in sorted(edges)), *face_points])


def test_subdivision_of_a_cube_follows_the_textbook():
    positions = np.array(
        [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 2], [1, 1, 1], [0, 1, 1]], dtype=np.float64
    )
    fine = subdivide(CUBE, len(positions))
    dense = np.zeros((len(fine.pointers) - 1, len(positions)))
    for row in range(len(dense)):
        entries = slice(fine.pointers[row], fine.pointers[row + 1])
        dense[row, fine.columns[entries]] = fine.values[entries]
    np.testing.assert_allclose(dense @ positions, slow_catmull_clark(CUBE, positions), atol=1e-6)
    np.testing.assert_allclose(dense.sum(axis=1), 1, atol=1e-6)
    assert fine.quads.shape == (24, 4)


def test_surface_is_a_head():
    head = load_head()
    assert len(head.neutral) == len(head.uv) == len(head.masks)
    nose, right, left = head.neutral[head.landmarks]
    assert nose[2] > right[2] > 1, "the nose is in front of the mouth"
    assert right[0] < 0 < left[0]
    np.testing.assert_allclose(right * [-1, 1, 1], left, atol=1e-3)
    assert set(np.unique(head.mesh.materials)) == {0, 1, 2, 3, 4, GARMENT}
    assert LASHES not in head.mesh.materials
    skin = np.unique(head.mesh.triangles[head.mesh.materials == SKIN])
    outward = head.mesh.normals(head.neutral)[skin[head.neutral[skin, 2] > 1.5]]
    assert (outward[:, 2] > 0).mean() > 0.8, "what is in front faces the front"


def test_target_moves_its_vertices_by_its_weight():
    head = load_head()
    number = head.targets.number_of["nose/nose-hump-incr"]
    entries = slice(head.targets.pointers[number], head.targets.pointers[number + 1])
    positions = head.base.copy()
    head.targets.move(positions, {"nose/nose-hump-incr": 0.5, "nose/nose-hump-decr": 0.0})
    expected = head.base.copy()
    expected[head.targets.indices[entries]] += 0.5 * head.targets.offsets[entries]
    np.testing.assert_allclose(positions, expected, atol=1e-6)
    with pytest.raises(KeyError):
        head.targets.move(positions, {"nose/no-such-target": 1.0})


def test_every_person_has_their_eyes_in_one_place_and_a_face_of_their_own():
    head = load_head()
    shapes = []
    for number in range(4):
        traits = draw_traits(stream(0, "traits", number))
        positions = shaped_positions(head, draw_shape(stream(0, "shape", number), traits))
        eyes = np.mean([positions[eye].mean(axis=0) for eye in head.eyes], axis=0)
        np.testing.assert_allclose(eyes, EYES_CENTRE, atol=1e-4)
        shapes.append(positions)
    for one in range(4):
        for other in range(one):
            assert np.abs(shapes[one] - shapes[other]).max() > 0.05


def test_macro_weights_sum_to_one_per_family():
    for number in range(20):
        weights = macro_weights(draw_traits(stream(7, "traits", number)))
        ancestry = sum(weight for name, weight in weights.items() if not name.startswith("universal"))
        build = sum(weight for name, weight in weights.items() if name.startswith("universal"))
        assert ancestry == pytest.approx(1, abs=1e-6)
        assert build == pytest.approx(1, abs=1e-6)
        assert min(weights.values()) >= 0


def test_controls_are_independent_but_shared_by_both_sides():
    drawn = []
    for number in range(150):
        weights = draw_shape(stream(0, "shape", number), draw_traits(stream(0, "traits", number)))

        def control(positive, negative, weights=weights):
            return weights.get(positive, 0) - weights.get(negative, 0)

        drawn.append(
            [
                control("nose/nose-trans-up", "nose/nose-trans-down"),
                control("nose/nose-trans-forward", "nose/nose-trans-backward"),
                control("eyes/l-eye-trans-up", "eyes/l-eye-trans-down"),
                control("eyes/r-eye-trans-up", "eyes/r-eye-trans-down"),
            ]
        )
    correlation = np.corrcoef(np.array(drawn).T)
    assert abs(correlation[0, 1]) < 0.25, "two directions of one feature"
    assert correlation[2, 3] > 0.9, "left and right"
