"""Hair: growth outside of the skull, light by Kajiya and Kay, drawing, shadows, styles and roots."""

from __future__ import annotations

import numpy as np
import pytest

from arcface_paddle.synthetic.kernels import hair_kernels
from arcface_paddle.synthetic.kernels.light_kernels import Light, ambient_light, strand_visibility
from arcface_paddle.synthetic.kernels.raster_kernels import FARTHEST
from arcface_paddle.synthetic.person import hair
from arcface_paddle.synthetic.person.hair import HairStyle, draw_hair_style, grow_beard, grow_hair
from arcface_paddle.synthetic.person.head import EARS
from arcface_paddle.synthetic.person.identity import SKULL_CENTRE

BALL = np.full((48, 96), 1.0, dtype=np.float32)
"""A skull that is a ball of 1 dm."""


def grow(count=40, points=12, *, comb=(0, 0, 0), gravity=0.0, curl=0.0, layer=0.05, radius=BALL, seed=3, step=0.1):
    """Grow strands straight out of a ball about the skull's centre."""
    directions = np.random.default_rng(0).normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    strands = np.empty((count, points, 3), dtype=np.float32)
    hair_kernels.grow_strands(
        SKULL_CENTRE + directions,
        directions,
        np.full(count, step),
        np.tile(np.array(comb, dtype=np.float64), (count, 1)),
        0.9,
        float(gravity),
        float(curl),
        0.8,
        np.zeros(count),
        np.full(count, float(layer)),
        SKULL_CENTRE,
        radius,
        seed,
        strands,
    )
    return strands, directions


def test_no_strand_enters_the_skull():
    """Catches a collision that is left out, or judged before the step."""
    strands, _ = grow(comb=(0.0, -1.5, -1.0), gravity=0.5, layer=0.1)
    distance = np.linalg.norm(strands - SKULL_CENTRE, axis=2)
    clearance = 0.02 + 0.1 * np.minimum(1, 3 * np.arange(1, 12) / 12)
    assert (distance[:, 1:] >= 1 + clearance - 1e-4).all()
    touching = np.abs(distance[:, 1:] - (1 + clearance)) < 1e-3
    assert touching.any(axis=1).mean() > 0.3, "many strands are held at their layer"


def test_grown_hair_of_people_stays_outside_of_their_skulls(head, people):
    for person in people[:3]:
        style = HairStyle("long", 0.1, fringe=True, volume=0.1, scalp_opacity=0.9)
        (group,) = grow_hair(np.random.default_rng(0), head, person, style, color=person.traits.hair, hat_edge=None)
        offsets = group.points[:, 1:].reshape(-1, 3).astype(np.float64) - SKULL_CENTRE
        distance = np.linalg.norm(offsets, axis=1)
        for number in range(0, len(offsets), 97):
            skull = hair_kernels.skull_distance(person.skull_radius, *offsets[number], distance[number])
            assert distance[number] >= skull + 0.02 - 1e-4


def test_strands_begin_at_their_roots_and_steps_have_their_length():
    strands, directions = grow(step=0.07)
    np.testing.assert_allclose(strands[:, 0], SKULL_CENTRE + directions, atol=1e-6)
    lengths = np.linalg.norm(np.diff(strands[:, 1:], axis=1), axis=2)
    free = np.linalg.norm(strands[:, 2:] - SKULL_CENTRE, axis=2) > 1.3
    np.testing.assert_allclose(lengths[free], 0.07, atol=1e-4)
    straight = strands[:, -1] - strands[:, 0]
    cosine = (straight * directions).sum(axis=1) / np.linalg.norm(straight, axis=1)
    assert cosine.min() > 0.8, "without comb, curl and gravity they go on as they began"


def test_gravity_pulls_down_and_a_comb_sideways():
    plain, _ = grow()
    heavy, _ = grow(gravity=0.3)
    combed, _ = grow(comb=(0.6, 0, 0))
    assert (heavy[:, -1, 1] < plain[:, -1, 1] - 0.05).mean() > 0.9
    assert (combed[:, -1, 0] > plain[:, -1, 0] + 0.05).mean() > 0.9


def test_curls_turn_more_than_straight_hair():
    def turning(strands):
        steps = np.diff(strands[:, 2:], axis=1)
        steps /= np.linalg.norm(steps, axis=2, keepdims=True)
        return np.degrees(np.arccos(np.clip((steps[:, 1:] * steps[:, :-1]).sum(axis=2), -1, 1))).mean()

    assert turning(grow(curl=0.9)[0]) > 3 * turning(grow()[0])


def test_growth_follows_its_seed_alone():
    np.testing.assert_array_equal(grow(seed=5)[0], grow(seed=5)[0])
    assert np.abs(grow(seed=5)[0] - grow(seed=6)[0]).max() > 0.01


def test_radius_map_is_interpolated_and_wraps_around():
    rows, columns = 48, 96
    azimuths = (np.arange(columns) / columns - 0.5) * 2 * np.pi
    radius = (1.2 + 0.3 * np.cos(azimuths))[None].repeat(rows, axis=0).astype(np.float32)
    for azimuth in (-3.14, -1.0, 0.0, 0.7, 3.13):
        found = hair_kernels.skull_distance(radius, np.sin(azimuth), 0.0, np.cos(azimuth), 1.0)
        assert found == pytest.approx(1.2 + 0.3 * np.cos(azimuth), abs=2e-3)
    by_height = np.linspace(1, 2, rows)[:, None].repeat(columns, axis=1).astype(np.float32)
    for polar in (0.0, 0.4, 1.5, np.pi):
        found = hair_kernels.skull_distance(by_height, np.sin(polar), np.cos(polar), 0.0, 1.0)
        assert found == pytest.approx(1 + polar / np.pi, abs=1e-5)


def test_hash_is_spread_evenly():
    values = np.array([hair_kernels.hash_unit(first, second) for first in range(60) for second in range(0, 40960, 977)])
    assert values.min() >= 0 and values.max() < 1
    counts = np.histogram(values, bins=8, range=(0, 1))[0]
    assert counts.min() > 0.85 * len(values) / 8
    assert hair_kernels.hash_unit(3, 4) != hair_kernels.hash_unit(4, 3)


def make_light(direction=(0.0, 0.6, 0.8), shadow=None):
    direction = np.array(direction, dtype=np.float64)
    count = 0 if shadow is None else 1
    depth = np.zeros((0, 8, 8), np.float32) if shadow is None else shadow.astype(np.float32)[None]
    ambient = np.zeros((3, 7), np.float32)
    ambient[:, 0] = [0.3, 0.25, 0.2]
    ambient[:, 1] = 0.1
    return Light(
        (direction / np.linalg.norm(direction))[None].astype(np.float32),
        np.array([[1.0, 0.8, 0.6]], np.float32),
        ambient,
        depth,
        np.eye(3, dtype=np.float32)[None][:count],
        4.0,
    )


def slow_strand_colors(strand, base, light, *, root_light, camera_z, shine, power):
    """Kajiya and Kay's model point by point."""
    colors = []
    count = len(strand)
    for q, point in enumerate(strand.astype(np.float64)):
        tangent = strand[min(q + 1, count - 1)].astype(np.float64) - strand[max(q - 1, 0)]
        tangent /= np.linalg.norm(tangent)
        viewer = np.array([0, 0, camera_z]) - point
        viewer /= np.linalg.norm(viewer)
        normal = viewer - (tangent @ viewer) * tangent
        reached = root_light + (1 - root_light) * min(1, q / (count * 0.35))
        light_of = np.array([ambient_light(light.ambient, c, *(0.6 * normal)) for c in range(3)]) * reached
        glints = np.zeros(3)
        for lamp, lamp_color in zip(light.directions.astype(np.float64), light.colors.astype(np.float64)):
            sine = np.sqrt(max(0, 1 - (tangent @ lamp) ** 2))
            half = (lamp + viewer) / np.linalg.norm(lamp + viewer)
            light_of += lamp_color * max(0, 0.25 + 0.75 * normal @ lamp) * sine * reached
            glints += lamp_color * np.sqrt(1 - (tangent @ half) ** 2) ** power * shine * reached
        colors.append(base * (light_of + 1.5 * glints) + 0.02 * glints)
    return np.array(colors)


def shaded(strands, base, light, *, root_light=0.35, shine=0.5, power=30.0):
    colors = np.empty_like(strands)
    hair_kernels.shade_strands(strands, base, root_light, 9.0, light, shine, power, colors)
    return colors


def test_hair_is_lit_by_the_model_of_kajiya_and_kay():
    strands = grow(count=8, gravity=0.2, curl=0.3)[0] - SKULL_CENTRE.astype(np.float32)
    base = np.random.default_rng(1).random((8, 3)).astype(np.float32)
    light = make_light()
    colors = shaded(strands, base, light)
    for strand, color, found in zip(strands, base, colors):
        expected = slow_strand_colors(strand, color, light, root_light=0.35, camera_z=9.0, shine=0.5, power=30.0)
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-4)


def test_roots_are_darker_and_shine_is_a_highlight():
    strands = np.zeros((1, 12, 3), dtype=np.float32)
    strands[0, :, 0] = np.linspace(-1, 1, 12)
    base = np.full((1, 3), 0.3, np.float32)
    light = make_light((0.0, 0.0, 1.0))
    plain = shaded(strands, base, light, shine=0.0)[0]
    assert (plain[0] < 0.45 * plain[6]).all()
    np.testing.assert_allclose(plain[5:7], shaded(strands, base, light, shine=0.0, root_light=1.0)[0, 5:7], rtol=1e-5)
    shiny = shaded(strands, base, light, shine=0.5)[0]
    assert (shiny > plain).all()
    gain = {power: shaded(strands, base, light, power=power)[0, :, 0] / plain[:, 0] for power in (20.0, 60.0)}
    assert gain[60.0][-1] < gain[20.0][-1], "a higher power makes it narrower"


def test_hair_fades_with_the_depth_of_hair_above_it():
    light = make_light((0.0, 0.0, 1.0), shadow=np.full((24, 24), 1.0))
    assert strand_visibility(light, 0, 0.0, 0.0, 0.95) == 1, "what lies on top"
    assert strand_visibility(light, 0, 0.0, 0.0, 0.84) == pytest.approx(0.5, abs=1e-4)
    assert strand_visibility(light, 0, 0.0, 0.0, -3.0) == pytest.approx(0.15)
    assert strand_visibility(light, 0, 9.0, 0.0, -3.0) == 1, "outside of the map"
    assert strand_visibility(light, 1, 0.0, 0.0, -3.0) == 1, "a lamp without a map"


def draw(screen, *, width=1.0, coverage=1.0, bias=0.0, size=40, depth=FARTHEST, colors=None):
    screen = np.asarray(screen, dtype=np.float32)
    colors = np.ones_like(screen) if colors is None else np.asarray(colors, dtype=np.float32)
    buffer = np.full((size, size), depth, dtype=np.float32)
    image, alpha = np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32)
    hair_kernels.draw_strands(screen, colors, width, coverage, bias, buffer, image, alpha)
    return image, alpha, buffer


def line(start, end, points=12, z=0.0):
    share = np.linspace(0, 1, points)[:, None]
    xy = np.array(start) * (1 - share) + np.array(end) * share
    return np.concatenate([xy, np.full((points, 1), z)], axis=1)[None]


@pytest.mark.parametrize("end", [(20, 38), (38, 20), (36, 33)], ids=["steep", "flat", "slanted"])
def test_strand_tapers_towards_its_tip(end):
    start = (20, 2) if end[0] == 20 else (2, 20) if end[1] == 20 else (4, 6)
    _, alpha, _ = draw(line(start, end), width=6.0)
    across = alpha.sum(axis=1) if abs(end[1] - start[1]) > abs(end[0] - start[0]) else alpha.sum(axis=0)
    across = across[across > 0]
    assert across[:8].mean() == pytest.approx(6, abs=0.8)
    assert across[-3:].mean() < 3
    assert np.diff(across).max() <= 1


def test_thin_strands_cover_pixels_with_the_chance_of_their_width():
    strands = np.concatenate([line((x, 1), (x, 39)) for x in np.arange(1.5, 39)])
    thin = [draw(strands, width=width)[1][:15].mean() for width in (0.8, 0.4, 0.1)]
    np.testing.assert_allclose(thin, np.array([0.8, 0.4, 0.1]) * 37 / 40, atol=0.07)


def test_colours_run_along_the_strand():
    colors = np.zeros((1, 12, 3))
    colors[0, :, 0] = np.linspace(0, 1, 12)
    image, alpha, _ = draw(line((20.5, 2), (20.5, 38)), width=2.0, colors=colors)
    drawn = np.flatnonzero(alpha[:, 20])
    expected = (drawn - 2) / 36
    np.testing.assert_allclose(image[drawn, 20, 0], expected, atol=0.03)


def test_nearer_strand_is_seen_and_the_bias_brings_hair_forward():
    near, far = line((10, 20), (30, 20), z=1.0), line((10, 20), (30, 20), z=0.5)
    colors = np.stack([np.full((12, 3), 0.9), np.full((12, 3), 0.1)])
    for order in (slice(None), slice(None, None, -1)):
        strands = np.concatenate([near, far])[order]
        image, _, _ = draw(strands, width=2.0, colors=colors[order])
        assert image[19:21, 12:28, 0].max() == pytest.approx(0.9)
        assert image[19:21, 12:24, 0].min() == pytest.approx(0.9)
    assert draw(line((10, 20), (30, 20)), depth=0.05)[1].sum() == 0
    assert draw(line((10, 20), (30, 20)), depth=0.05, bias=0.1)[1].sum() > 0


@pytest.mark.parametrize("start, end", [((-30, -30), (-10, -8)), ((60, 60), (90, 50)), ((-9e4, 0), (9e4, 10))])
def test_strands_outside_of_the_picture_draw_nothing(start, end):
    assert draw(line(start, end, points=2))[1].sum() == 0


def test_shadow_map_of_strands_is_one_pixel_wide_and_keeps_the_nearest():
    depth = np.full((30, 30), FARTHEST, dtype=np.float32)
    screen = np.concatenate([line((5.5, 5.5), (25.5, 5.5), z=1.0), line((5.5, 5.5), (25.5, 5.5), z=2.0)])
    hair_kernels.draw_strand_depth(screen.astype(np.float32), depth)
    assert (depth[5, 5:25] == 2).all() and (depth[4] < 0).all() and (depth[6] < 0).all()


def test_only_bald_people_are_bald_and_hats_press_hair_flat(people):
    rng = np.random.default_rng(0)
    for person in people:
        styles = [draw_hair_style(rng, person.traits, under_hat=False) for _ in range(60)]
        names = {style.name for style in styles}
        bald_names = {"bald", "buzz", "wreath"}
        assert names <= bald_names if person.traits.is_balding else "bald" not in names and "wreath" not in names
        assert max(style.volume for style in styles) > 0.08
        hidden = [draw_hair_style(rng, person.traits, under_hat=True) for _ in range(40)]
        assert all(style.volume == 0.02 and not style.fringe for style in hidden)
        assert not {"back", "wreath"} & {style.name for style in hidden}


def hair_of(head, person, name, *, hat_edge=None, fringe=False):
    style = HairStyle(name, 0.0, fringe=fringe, volume=0.08, scalp_opacity=0.9)
    return grow_hair(np.random.default_rng(1), head, person, style, color=person.traits.hair, hat_edge=hat_edge)


@pytest.mark.parametrize("name", ["bald", "buzz"])
def test_shorn_heads_have_no_strands(head, people, name):
    assert hair_of(head, people[0], name) == ()


def test_styles_lie_where_their_name_says(head, people):
    person = people[1]
    (long,), (short,), (wreath,) = (hair_of(head, person, name) for name in ("long", "short", "wreath"))
    assert long.points[:, :, 1].min() < 6.2 < short.points[:, :, 1].min() + 0.4, "long hair reaches the neck"
    assert wreath.points[:, 0, 1].max() < 7.9 < long.points[:, 0, 1].max()
    edge = np.full(head.painting.y.shape, 7.6)
    (under_hat,) = hair_of(head, person, "long", hat_edge=edge)
    assert under_hat.points[:, 0, 1].max() < 7.75, "what a hat covers is not grown"


def test_fringe_is_thinned_so_that_skin_shows(head, people):
    def over_the_forehead(fringe):
        (group,) = hair_of(head, people[1], "bob", fringe=fringe)
        roots = group.points[:, 0]
        angle = np.abs(np.degrees(np.arctan2(roots[:, 0], roots[:, 2] - 0.25)))
        return int(((angle < 40) & (roots[:, 1] > 7.65)).sum())

    assert 0.2 * over_the_forehead(False) < over_the_forehead(True) < 0.75 * over_the_forehead(False)


def test_roots_lie_on_the_skin_of_the_region_and_not_on_ears(head, people, monkeypatch):
    taken = []
    original = hair._draw_roots
    monkeypatch.setattr(hair, "_draw_roots", lambda *a: taken.append(original(*a)) or taken[-1])
    person = people[2]
    hair_of(head, person, "short")
    (roots,) = taken
    skin = np.unique(head.mesh.skin_triangles)
    surface = person.surface[skin]
    ears = surface[head.masks[skin, EARS] > 0.9]
    for point, normal in zip(roots.points[::157], roots.normals[::157]):
        assert np.linalg.norm(surface - point, axis=1).min() < 0.12
        assert np.linalg.norm(ears - point, axis=1).min() > 0.01
        assert np.linalg.norm(normal) == pytest.approx(1, abs=1e-3)


def test_beards_grow_in_their_zone_and_short_above_the_mouth(head, people):
    man = next(person for person in people if person.traits.is_male)
    zones = man.skin.beard_zones
    lengths = {}
    for name in ("moustache", "full"):
        beard = grow_beard(np.random.default_rng(2), head, man, zones[name], 0.12)
        assert 150 <= len(beard.points) <= 2100
        lengths[name] = np.linalg.norm(beard.points[:, -1] - beard.points[:, 0], axis=1)
        heights = beard.points[:, 0, 1]
        above = heights > 6.75
        if above.any() and (~above).any() and name == "full":
            assert lengths[name][above].mean() < 0.7 * lengths[name][heights < 6.5].mean()
    assert lengths["full"].max() > 0.1
