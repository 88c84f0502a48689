"""People: traits, shapes, skin, days and expressions, and what stays the same from picture to picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from arcface_paddle.synthetic.color import HAIR_COLORS, SKIN_TONES, linear_from_srgb
from arcface_paddle.synthetic.generator import SyntheticFaces
from arcface_paddle.synthetic.person import identity as identity_module
from arcface_paddle.synthetic.person.expression import EXPRESSIONS, Expression, draw_expression
from arcface_paddle.synthetic.person.head import EYES_CENTRE, INNER_MOUTH, SKIN
from arcface_paddle.synthetic.person.identity import SKULL_CENTRE, build_identity
from arcface_paddle.synthetic.person.pose import Pose
from arcface_paddle.synthetic.person.posing import face_vertices, pose_person
from arcface_paddle.synthetic.person.session import build_session
from arcface_paddle.synthetic.person.shape import OPPOSITES, draw_shape, shaped_positions
from arcface_paddle.synthetic.person.skin import BEARD_STYLES, draw_strokes
from arcface_paddle.synthetic.person.traits import ANCESTRIES, draw_traits, macro_weights
from arcface_paddle.synthetic.random_streams import stream

FRONT = Pose(0, 0, 0, 1.0)


@pytest.fixture(scope="module")
def many_traits():
    return [draw_traits(stream(0, "traits", number)) for number in range(600)]


def test_traits_stay_in_their_ranges(many_traits):
    for traits in many_traits:
        assert 16 <= traits.age <= 82
        assert traits.ancestry.sum() == pytest.approx(1) and traits.ancestry.min() >= 0
        for share in (traits.masculinity, traits.muscle, traits.weight, traits.curl, traits.beardiness):
            assert 0 <= share <= 1
        assert 0 <= traits.tone <= 6.6
        for color in (traits.skin, traits.hair, traits.brows, traits.iris):
            assert color.shape == (3,) and color.min() > 0


def test_population_is_balanced_and_varied(many_traits):
    assert np.mean([traits.is_male for traits in many_traits]) == pytest.approx(0.5, abs=0.06)
    assert np.mean([traits.age for traits in many_traits]) == pytest.approx(41, abs=2)
    largest = np.bincount([int(np.argmax(traits.ancestry)) for traits in many_traits], minlength=3)
    assert largest.min() > 0.27 * len(many_traits), "no ancestry is rare"
    assert np.mean([traits.ancestry.max() > 0.8 for traits in many_traits]) > 0.4, "most lie near a corner"


def test_women_have_no_beards_and_no_bald_heads(many_traits):
    women = [traits for traits in many_traits if not traits.is_male]
    assert max(traits.beardiness for traits in women) == 0
    assert not any(traits.is_balding for traits in women)
    men = [traits for traits in many_traits if traits.is_male]
    old, young = ([t.is_balding for t in men if (t.age > 50) == is_old] for is_old in (True, False))
    assert np.mean(old) > np.mean(young) > 0


def test_skin_and_hair_follow_ancestry_and_age(many_traits):
    def mean_of(values):
        return float(np.mean(list(values)))

    african, caucasian = (
        [traits for traits in many_traits if traits.ancestry[ANCESTRIES.index(name)] > 0.8]
        for name in ("african", "caucasian")
    )
    assert mean_of(t.skin.mean() for t in african) < 0.5 * mean_of(t.skin.mean() for t in caucasian)
    assert mean_of(t.curl for t in african) > 0.6 > 0.3 > mean_of(t.curl for t in caucasian)
    old = [traits for traits in many_traits if traits.age > 68]
    young = [traits for traits in many_traits if traits.age < 35]
    assert mean_of(t.hair.mean() for t in old) > 2 * mean_of(t.hair.mean() for t in young), "grey"
    assert mean_of(t.brows.mean() for t in old) < mean_of(t.hair.mean() for t in old), "brows grey less"


def test_colour_tables_run_from_light_to_dark():
    assert (np.diff(SKIN_TONES.sum(axis=1)) < 0).all()
    assert (np.diff(HAIR_COLORS[:6].sum(axis=1)) > 0).all(), "black to blond; red is the last"
    assert HAIR_COLORS[6, 0] > 3 * HAIR_COLORS[6, 2]
    np.testing.assert_allclose(linear_from_srgb([[255, 0, 10.31475]])[0], [1, 0, 0.04045 / 12.92], atol=1e-6)


def test_macro_targets_are_products_of_the_weights_of_their_words(many_traits):
    """MakeHuman's rule, with the weights of the words found again from the sums over the other words."""
    for traits in many_traits[:25]:
        weights = macro_weights(traits)
        words = {}
        for name, weight in weights.items():
            if not name.startswith("universal"):
                for word in name.split("-"):
                    words[word] = words.get(word, 0.0) + weight
        assert words["male"] == pytest.approx(traits.masculinity)
        assert [words[name] for name in ANCESTRIES] == pytest.approx(traits.ancestry.tolist())
        for name, weight in weights.items():
            parts = name.split("-")
            if parts[0] != "universal":
                assert weight == pytest.approx(np.prod([words[part] for part in parts]), abs=1e-9)


@pytest.mark.parametrize(
    ("age", "expected"),
    [(16, {"child": 0.6 * 9 / 13, "old": 0}), (25, {"young": 1}), (57.5, {"old": 0.5, "child": 0}), (90, {"old": 1})],
    ids=str,
)
def test_ages_are_those_of_makehuman(many_traits, age, expected):
    weights = macro_weights(replace(many_traits[0], age=age))
    for word, share in expected.items():
        total = sum(w for name, w in weights.items() if not name.startswith("universal") and name.endswith(f"-{word}"))
        assert total == pytest.approx(share, abs=1e-9)


@pytest.mark.parametrize(("value", "word"), [(0.0, "min"), (0.5, "average"), (1.0, "max")])
def test_build_has_three_steps(many_traits, value, word):
    weights = macro_weights(replace(many_traits[0], muscle=value, weight=value))
    for name, weight in weights.items():
        if name.startswith("universal") and f"{word}muscle-{word}weight" not in name:
            assert weight == 0, name


def test_a_control_moves_one_way_only(many_traits):
    names = [(f"-{positive}", f"-{negative}") for positive, negative in OPPOSITES]
    weights = draw_shape(stream(0, "shape", 1), many_traits[1])
    assert min(weights.values()) >= 0
    for positive, negative in names:
        for name in [name for name in weights if name.endswith(positive)]:
            opposite = name[: -len(positive)] + negative
            assert min(weights[name], weights.get(opposite, 0)) == 0, name


def test_sides_of_a_face_are_alike_but_not_equal(many_traits):
    """Catches controls that are drawn for each side, and asymmetry that is left out."""
    signed = {"l": [], "r": []}
    for number in range(12):
        weights = draw_shape(stream(0, "shape", number), many_traits[number])
        for side in signed:
            for end, sign in (("in", 1), ("out", -1)):
                signed[side].append(sign * weights.get(f"eyes/{side}-eye-corner1-{end}", 0))
            for end, sign in (("up", 1), ("down", -1)):
                signed[side].append(sign * weights.get(f"eyes/{side}-eye-corner1-{end}", 0))
    left, right = np.array(signed["l"]), np.array(signed["r"])
    assert np.abs(left).max() > 0.1
    different = np.abs(left - right)
    assert 0 < different.max() < 0.25
    assert np.corrcoef(left, right)[0, 1] > 0.95


def test_symmetric_weights_give_a_symmetric_head(head):
    """Moves both eyes by one control; the mirror image of each vertex must move like the vertex."""
    weights = {f"eyes/{side}-eye-trans-up": 0.8 for side in "lr"}
    moved = shaped_positions(head, weights) - head.base
    mirrored = head.base * [-1, 1, 1]
    eye_right, eye_left = head.eyes
    for vertex in eye_right[::20]:
        partner = eye_left[np.argmin(np.linalg.norm(head.base[eye_left] - mirrored[vertex], axis=1))]
        np.testing.assert_allclose(moved[vertex] * [-1, 1, 1], moved[partner], atol=2e-3)


@pytest.mark.parametrize("number", range(4))
def test_eyes_lie_in_one_place_and_teeth_behind_the_lips(head, people, number):
    positions = people[number].positions
    eyes = np.mean([positions[eye].mean(axis=0) for eye in head.eyes], axis=0)
    np.testing.assert_allclose(eyes, EYES_CENTRE, atol=1e-4)
    lips, teeth = positions[head.lips], positions[head.teeth]
    assert teeth[:, 2].max() < lips[:, 2].max() - 0.03
    assert np.ptp(teeth[:, 0]) < np.ptp(lips[:, 0]) * 1.5
    assert abs(teeth[:, 0].mean() - lips[:, 0].mean()) < 0.02


def test_moving_the_whole_head_changes_nothing(head):
    """Macro targets move the head; recentring must take that out."""
    lifted = replace(head, base=head.base + np.array([0.3, -0.7, 0.2], dtype=np.float32))
    expected = shaped_positions(head, {"nose/nose-hump-incr": 0.7})
    np.testing.assert_allclose(shaped_positions(lifted, {"nose/nose-hump-incr": 0.7}), expected, atol=2e-5)


def test_people_differ_and_stay_themselves(head, people):
    again = build_identity(head, seed=0, number=3)
    np.testing.assert_array_equal(again.positions, people[3].positions)
    np.testing.assert_array_equal(again.skin.albedo, people[3].skin.albedo)
    other_seed = build_identity(head, seed=1, number=3)
    for other in (people[2], other_seed):
        assert np.abs(other.surface - people[3].surface).max() > 0.05
        assert np.abs(other.skin.albedo - people[3].skin.albedo).mean() > 0.005


def test_shape_is_the_same_on_all_days_of_a_person():
    faces = SyntheticFaces(0, sessions_per_identity=2)
    person = faces._identity(2)
    days = [faces._session(2, number) for number in (0, 1)]
    assert faces._identity(2) is person
    assert [day.number for day in days] == [0, 1]
    assert np.abs(days[0].texture - days[1].texture).max() > 0.01


def test_skull_map_holds_the_skin(head, people):
    person = people[0]
    assert person.skull_radius.shape == (48, 96) and person.skull_radius.min() > 0.3
    skin = np.unique(head.mesh.skin_triangles)
    outer = person.surface[skin[head.masks[skin, INNER_MOUTH] < 0.3]] - SKULL_CENTRE
    top = outer[outer[:, 1] > 0.8]
    radius = np.linalg.norm(top, axis=1)
    rows = np.rint(np.arccos(top[:, 1] / radius) / np.pi * 47).astype(int)
    columns = ((np.arctan2(top[:, 0], top[:, 2]) / (2 * np.pi) + 0.5) * 96).astype(int) % 96
    np.testing.assert_allclose(person.skull_radius[rows, columns], radius, atol=0.06)


def test_gaps_are_filled_from_their_neighbours_around_the_seam():
    values = np.zeros((5, 12), np.float32)
    values[2, 11], values[2, 4] = 1.0, 3.0
    filled = identity_module._spread_into_gaps(values)
    assert filled.min() > 0
    assert filled[2, 0] == pytest.approx(1.0), "column 0 lies beside column 11"
    assert filled[2, 5] == pytest.approx(3.0)
    assert filled[2, 4] == 3.0 and filled[2, 11] == 1.0


def test_directions_of_the_sky_are_spread_evenly():
    directions = np.array([identity_module._spiral_direction(number, 40) for number in range(40)])
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(directions.mean(axis=0), 0, atol=0.03)
    closest = [np.sort(directions @ direction)[-2] for direction in directions]
    assert np.degrees(np.arccos(closest)).min() > 20


def test_skin_maps_are_those_of_the_traits(people):
    for person in people:
        skin = person.skin
        face = skin.albedo[150:400, 300:468].mean(axis=(0, 1))
        np.testing.assert_allclose(face / person.traits.skin, 0.9, atol=0.22)
        assert skin.brows.min() >= 0 and 0.3 < skin.brows.max() <= 1
        assert skin.gloss.min() >= 0.2 and skin.gloss.max() <= 2
        assert set(skin.beard_zones) == set(BEARD_STYLES)
        for zone in skin.beard_zones.values():
            assert zone.min() >= 0 and zone.max() <= 1.0 + 1e-6
        assert (skin.beard_zones["full"] >= skin.beard_zones["goatee"] - 0.6).all()


def test_hairline_has_hair_above_and_behind_and_none_on_the_face(head, people):
    painting = head.painting
    crown = painting.y > 8.35
    face = (np.abs(painting.angle_deg) < 40) & (painting.y > 6.2) & (painting.y < 7.4)
    back = (np.abs(painting.angle_deg) > 150) & (painting.y > 7.0) & (painting.y < 8.0)
    for person in people:
        above = person.skin.above_hairline
        assert (above[face] < 0).all()
        assert (above[back] > 0).all()
        if not person.traits.is_male:
            assert (above[crown] > 0).all()


def test_old_skin_has_wrinkles(head):
    from arcface_paddle.synthetic.person.skin import _paint_wrinkles

    young, old = (
        _paint_wrinkles(np.random.default_rng(0), head.painting, replace(draw_traits(stream(0, "t")), age=age))
        for age in (20, 75)
    )
    assert young.max() == 0 and old.max() > 0.2
    assert old[:, :150].max() == 0, "none at the back of the head"


def test_strokes_have_one_texel_of_width():
    canvas = np.zeros((20, 30), np.float32)
    draw_strokes(canvas, np.array([[4.0, 10.0]]), np.array([[24.0, 10.0]]), opacity=0.5)
    assert set(np.unique(canvas)) == {0.0, 0.5}
    assert (canvas[10, 4:25] == 0.5).all() and canvas.sum() == pytest.approx(0.5 * 21)


def test_painting_coordinates_fit_the_head(head):
    painting = head.painting
    assert painting.frontal_z[:, 120].max() == pytest.approx(head.neutral[head.landmarks[0]][2], abs=0.06)
    texel = painting.texels(np.array([[0.0, 6.94], [0.25, 6.62], [-0.25, 6.62]]))
    assert texel[0, 0] == pytest.approx(384, abs=1), "the front is the middle of the texture"
    assert texel[1, 0] - 384 == pytest.approx(384 - texel[2, 0], abs=2)
    assert texel[1, 1] == pytest.approx(texel[2, 1]) and texel[1, 1] > texel[0, 1]
    column, row = texel[0].astype(int)
    assert painting.y[row, column] == pytest.approx(6.94, abs=0.01)


def test_spots_come_with_their_mirror_image(head):
    painting = head.painting
    both = painting.spot((0.4, 7.0), (0.1, 0.1))
    one = painting.spot((0.4, 7.0), (0.1, 0.1), mirrored=False)
    np.testing.assert_allclose(both, one + one[:, ::-1], atol=0.02)
    assert painting.spot((0, 7.0), (0.1, 0.1)).max() == pytest.approx(1, abs=0.01), "in the middle only once"
    assert both[:, :60].max() == 0


def test_expressions_cover_their_shares_and_jitter_every_unit():
    drawn = [draw_expression(stream(0, "moment", number)) for number in range(500)]
    shares = {name: share for name, share, _ in EXPRESSIONS}
    assert sum(shares.values()) == pytest.approx(1)
    counts = {name: sum(e.name == name for e in drawn) / len(drawn) for name in shares}
    for name, share in shares.items():
        assert counts[name] == pytest.approx(share, abs=0.05)
    for expression in drawn:
        assert len(expression.units) == 52 and min(expression.units.values()) >= 0
        assert expression.units["tongueOut"] == 0
        assert np.abs(expression.gaze_rad).max() <= 0.45
    blinks = np.mean([e.units["eyeBlinkLeft"] > 0.7 for e in drawn])
    assert 0.005 < blinks < 0.07
    sides = [abs(e.units["mouthSmileLeft"] - e.units["mouthSmileRight"]) for e in drawn if "smile" in e.name]
    assert 0 < np.median(sides) < 0.15, "both sides smile, not quite alike"


def with_units(units, gaze=(0.0, 0.0)):
    return Expression("test", units, np.array(gaze))


def test_open_jaw_lowers_the_chin_and_a_smile_widens_the_mouth(head, people):
    rest, open_jaw, smile = (
        pose_person(head, people[0], with_units(units), FRONT)
        for units in ({}, {"jawOpen": 0.8}, {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0})
    )
    skin = np.unique(head.mesh.triangles[head.mesh.materials == SKIN])
    chin = skin[(np.abs(head.neutral[skin] - [0, 6.2, 1.35]) < [0.1, 0.1, 0.2]).all(axis=1)]
    assert open_jaw.local[chin, 1].mean() < rest.local[chin, 1].mean() - 0.05
    width = [np.ptp(posed.local_landmarks[3:, 0]) for posed in (rest, smile)]
    assert width[1] > width[0] + 0.02


@pytest.mark.parametrize("gaze", [(0.3, 0.0), (-0.3, 0.0), (0.0, 0.2), (0.0, -0.2)])
def test_iris_moves_with_the_gaze(head, people, gaze):
    ahead, aside = (pose_person(head, people[0], with_units({}, value), FRONT) for value in ((0, 0), gaze))
    for eye in head.fine_eyes:
        front = [eye[np.argmax(posed.gaze[eye, 2])] for posed in (ahead, aside)]
        moved = aside.local[front[1]] - ahead.local[front[0]]
        axis = 0 if gaze[0] else 1
        assert moved[axis] * np.sign(gaze[axis]) > 0.004
    others = np.setdiff1d(np.arange(len(aside.gaze)), np.concatenate(head.fine_eyes))
    assert not aside.gaze[others].any()


def test_face_box_vertices_are_the_face(head):
    face = head.neutral[face_vertices(head)]
    assert face[:, 1].min() > 6.15 and face[:, 1].max() < 8.0
    assert np.abs(face[:, 0]).max() < 1.0 and (face[:, 2] > -0.1).all()


def test_days_of_a_person_keep_what_a_face_is_and_change_what_it_wears(head, people):
    days = [[build_session(head, person, seed=0, number=number) for number in range(2)] for person in people[:3]]
    for person, sessions in zip(people, days):
        for session in sessions:
            assert session.texture.shape == (576, 768, 5) and session.texture.dtype == np.float32
            assert session.texture[..., :3].min() >= 0.004 and session.texture[..., :3].max() <= 0.951
            assert session.texture[..., 4].min() >= 0 and session.texture[..., 4].max() == 1
            assert session.beard is None or person.traits.is_male
        assert len({tuple(session.cloth) for session in sessions}) == 2
        forehead = [session.texture[150:190, 360:410, :3].mean() for session in sessions]
        assert np.ptp(forehead) < 0.35 * np.mean(forehead)
    again = build_session(head, people[0], seed=0, number=1)
    np.testing.assert_array_equal(again.texture, days[0][1].texture)
