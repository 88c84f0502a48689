"""What people wear and hold: hats, masks, glasses and hands as geometry, and what they cover on a picture."""

from __future__ import annotations

import numpy as np
import pytest

from arcface_paddle.synthetic.generator import SyntheticFaces
from arcface_paddle.synthetic.kernels.light_kernels import Light
from arcface_paddle.synthetic.person import hands, session
from arcface_paddle.synthetic.person.accessories import (
    glasses_geometry,
    hat_cloths,
    mask_cloth,
    mask_loops,
)
from arcface_paddle.synthetic.person.hands import NAIL, SKIN, SLEEVE, draw_hand, paint_hand
from arcface_paddle.synthetic.person.head import GARMENT
from arcface_paddle.synthetic.person.session import Glasses, Hat
from arcface_paddle.synthetic.random_streams import stream

EYES = np.array([(-0.31, 7.28, 1.40), (0.31, 7.28, 1.40)])
RED, BLUE = np.array([0.6, 0.05, 0.05]), np.array([0.05, 0.05, 0.6])


def make_glasses(*, squareness=2.0, dark=False):
    return Glasses(color=BLUE, thickness=0.02, radius_xy=(0.24, 0.18), squareness=squareness, dark=dark)


def make_hat(**changes):
    values = {"color": RED, "trim": BLUE, "edge_y": 7.8, "peak": 0.0, "turn_up": 0.0, "puff": 0.15}
    return Hat(**{**values, **changes})


def test_mask_lies_before_mouth_and_nose_and_leaves_the_eyes_free(head, people):
    surface = people[0].surface
    mask = mask_cloth(head, surface, RED)
    grid = mask.points.reshape(16, 28, 3)
    assert grid[0, :, 1].max() < 7.10 < EYES[0, 1], "below the eyes"
    assert grid[-1, 14, 1] == pytest.approx(6.14, abs=0.01), "under the chin"
    nose = surface[head.landmarks[0]]
    middle = grid[:, 13:15].reshape(-1, 3)
    nearest = middle[np.argmin(np.abs(middle[:, 1] - nose[1]))]
    assert nearest[2] > nose[2], "the nose is behind the cloth"
    corners = surface[head.landmarks[1:]]
    for corner in corners:
        beside = grid.reshape(-1, 3)[np.argmin(np.linalg.norm(grid.reshape(-1, 3)[:, :2] - corner[:2], axis=1))]
        assert beside[2] > corner[2]


def test_mask_follows_the_expression(head, people):
    surface = people[0].surface.copy()
    plain = mask_cloth(head, surface, RED).points
    lips = (np.abs(surface - [0, 6.6, 1.55]) < [0.25, 0.15, 0.25]).all(axis=1)
    surface[lips, 2] += 0.3
    assert (mask_cloth(head, surface, RED).points - plain)[:, 2].max() > 0.1


def test_bands_of_a_mask_run_from_its_corners_to_the_ears(head, people):
    mask = mask_cloth(head, people[0].surface, RED)
    bands = mask_loops(mask)
    assert bands.shape == (4, 32, 3) and bands.dtype == np.float32
    grid = mask.points.reshape(16, 28, 3)
    starts = {tuple(np.round(band[0], 4)) for band in bands}
    corners = [grid[row, column] for column in (0, -1) for row in (1, -2)]
    assert starts == {tuple(np.round(corner, 4)) for corner in corners}
    for band in bands:
        np.testing.assert_allclose(np.abs(band[-1]), [0.80, 7.05, 0.32], atol=1e-5)
        assert np.sign(band[-1, 0]) == np.sign(band[0, 0]), "to the ear on its own side"


def test_grids_of_cloth_use_every_point_and_face_one_way(people):
    for cloth in hat_cloths(people[0], make_hat(turn_up=0.3)):
        assert np.array_equal(np.unique(cloth.triangles), np.arange(len(cloth.points)))
        a, b, c = (cloth.points[cloth.triangles[:, corner]] for corner in range(3))
        normal = np.cross(b - a, c - a)
        outward = (normal * ((a + b + c) / 3 - [0, 7.35, 0.15])).sum(axis=1)
        assert (outward > 0).mean() > 0.9 or (outward < 0).mean() > 0.9


def test_cap_covers_the_skull_down_to_its_edge(people):
    person = people[1]
    hat = make_hat()
    (crown,) = hat_cloths(person, hat)
    centre = np.array([0, 7.35, 0.15])
    grid = crown.points.reshape(14, 181, 3)
    skull = person.surface[person.surface[:, 1] > 8.0] - centre
    tops = grid.reshape(-1, 3) - centre
    for vertex in skull[::40]:
        direction = vertex / np.linalg.norm(vertex)
        along = tops[np.argmax(tops @ direction / np.linalg.norm(tops, axis=1))]
        assert np.linalg.norm(along) > np.linalg.norm(vertex) - 0.03
    front, back = grid[-1, 90], grid[-1, 0]
    assert front[2] > 1 and front[1] == pytest.approx(hat.edge_y, abs=0.15)
    assert back[1] < front[1] - 0.2, "it sits lower at the back"
    np.testing.assert_allclose(grid[:, 0], grid[:, -1], atol=0.03)


def test_edge_of_a_hat_falls_from_front_to_back():
    edge = make_hat(edge_y=7.8).edge_at(np.array([0.0, np.pi / 2, np.pi, -np.pi]))
    assert edge.tolist() == pytest.approx([7.8, 7.59, 7.38, 7.38])


def test_peak_points_forward_and_turn_up_stands_on_the_edge(people):
    crown, peak = hat_cloths(people[0], make_hat(peak=0.7))
    assert peak.points[:, 2].max() == pytest.approx(crown.points[:, 2].max() + 0.7, abs=0.2)
    assert np.abs(peak.points[:, 0]).max() < np.abs(crown.points[:, 0]).max() + 0.4
    np.testing.assert_array_equal(peak.color, BLUE)
    crown, band = hat_cloths(people[0], make_hat(turn_up=0.35))
    edge = crown.points.reshape(14, 181, 3)[-1]
    assert band.points[:, 1].min() >= edge[:, 1].min() - 0.05
    width = np.ptp(band.points[:, 0]), np.ptp(edge[:, 0])
    assert width[0] > width[1]


def test_knitted_caps_have_ribs_and_caps_of_panels_seams(people):
    def waves(hat):
        grid = hat_cloths(people[0], hat)[0].points.reshape(14, 181, 3)[-1] - [0, 7.35, 0.15]
        spectrum = np.abs(np.fft.rfft(np.linalg.norm(grid[:-1], axis=1)))
        return spectrum[45] / spectrum[30:60].mean()

    assert waves(make_hat()) > 3 * waves(make_hat(peak=0.7))


@pytest.mark.parametrize("squareness", [2.0, 4.0])
def test_lenses_stand_before_the_eyes(squareness):
    worn = glasses_geometry(EYES, make_glasses(squareness=squareness))
    assert worn.wires.shape == (5, 32, 3) and worn.lenses.shape == (64, 3)
    for eye, rim in zip(EYES, (worn.lenses[:32], worn.lenses[32:])):
        centre = (rim.max(axis=0) + rim.min(axis=0)) / 2
        np.testing.assert_allclose(centre[:2], eye[:2], atol=0.05)
        assert (rim[:, 2] > eye[2]).all(), "in front of the eye"
        np.testing.assert_allclose(np.ptp(rim[:, :2], axis=0), [0.48, 0.36], atol=0.01)
        corner = np.abs((rim[:, :2] - centre[:2]) / [0.24, 0.18])
        largest = (corner[:, 0] * corner[:, 1]).max()
        assert largest == pytest.approx(0.25 ** (1 / squareness), abs=0.03), "a superellipse of that exponent"


def test_glasses_are_symmetric_and_bridge_the_nose():
    worn = glasses_geometry(EYES, make_glasses())
    mirrored = worn.wires * np.array([-1, 1, 1], np.float32)
    np.testing.assert_allclose(mirrored[2], worn.wires[3], atol=1e-5)
    for extreme in (np.min, np.max):
        np.testing.assert_allclose(extreme(mirrored[0], axis=0), extreme(worn.wires[1], axis=0), atol=2e-3)
    bridge = worn.wires[4]
    assert bridge[0, 0] == pytest.approx(-bridge[-1, 0]) and bridge[:, 1].argmax() in (15, 16)
    for temple in (worn.wires[2], worn.wires[3]):
        assert temple[0, 2] > 1.3 and temple[-1, 2] == pytest.approx(0.35), "from the hinge to the ear"


def test_triangles_of_lenses_fill_them():
    worn = glasses_geometry(EYES, make_glasses())
    a, b, c = (worn.lenses[worn.lens_triangles[:, corner], :2] for corner in range(3))
    area = np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).sum() / 2
    assert area == pytest.approx(2 * np.pi * 0.24 * 0.18, rel=0.03)


@pytest.mark.parametrize("number", range(6))
def test_hand_has_five_fingers_with_nails_and_an_arm_that_leaves_the_picture(number):
    hand = draw_hand(stream(0, "hand", number))
    assert (hand.covers == NAIL).sum() == 5
    assert set(hand.covers) == {SKIN, NAIL, SLEEVE}
    assert (hand.radii > 0.05).all() and (hand.radii < 1).all()
    nails = hand.ends[hand.covers == NAIL]
    assert nails[:, 1].max() < hand.ends[:, 1].max(), "fingers point up, the arm down"
    sleeve = hand.covers == SLEEVE
    assert (hand.radii[sleeve] > hand.radii[0]).all(), "the sleeve is wider than the arm in it, which comes first"


def test_fingers_have_their_proportions():
    lengths = []
    for number in range(20):
        hand = draw_hand(stream(0, "hand", number))
        chains = np.linalg.norm(hand.ends - hand.starts, axis=1)
        tips = np.flatnonzero(hand.covers == NAIL)
        lengths.append([chains[tip - 2 : tip + 1].sum() for tip in tips][:4])
    mean = np.mean(lengths, axis=0)
    assert mean.argmax() == 1 and mean.argmin() == 3, "the middle finger is the longest, the little one the shortest"


def open_light():
    ambient = np.zeros((3, 7), np.float32)
    ambient[:, 0] = 0.5
    none = np.zeros((0, 8, 8), np.float32)
    return Light(
        np.array([[0, 0, 1]], np.float32), np.ones((1, 3), np.float32), ambient, none, np.zeros((0, 3, 3)), 48.0
    )


def painted(hand, size=80, eyes=((30.0, 25.0), (50.0, 25.0))):
    image = np.full((size, size, 3), 0.4, np.float32)
    alpha = np.zeros((size, size), np.float32)
    skin, cloth = np.array([0.5, 0.35, 0.25]), np.array([0.02, 0.02, 0.5])
    paint_hand(image, alpha, hand, np.array(eyes), skin=skin, cloth=cloth, light=open_light())
    return image, alpha


def one_cone(start, end, radii=(0.3, 0.3), cover=SKIN):
    return hands.Hand(np.array([start]), np.array([end]), np.array([radii]), np.array([cover]))


def test_cone_covers_what_lies_within_its_radius():
    """Distances are in units of the distance of the eyes (20 pixels), about their middle (40, 25)."""
    _, alpha = painted(one_cone((0, 1), (1, 1)))
    rows, columns = np.mgrid[0:80, 0:80]
    x, y = (columns - 40) / 20, (rows - 25) / 20
    distance = np.hypot(x - np.clip(x, 0, 1), y - 1)
    is_clear = np.abs(distance - 0.3) > 1e-6  # or rounding decides
    np.testing.assert_array_equal((alpha > 0)[is_clear], (distance < 0.3)[is_clear])


def test_sleeve_has_the_colour_of_the_cloth_and_the_hand_throws_a_contact_shadow():
    image, alpha = painted(one_cone((0, 1), (1, 1), cover=SLEEVE))
    covered = image[alpha > 0]
    assert (covered[:, 2] > 5 * covered[:, 0]).all()
    beside, far = image[45, 34], image[2, 2]
    assert alpha[45, 34] == 0 < alpha[45, 35]
    assert beside[0] < 0.95 * far[0] and far[0] == pytest.approx(0.4, abs=0.01)


def test_nail_is_brighter_than_the_finger_it_sits_on():
    plain, nailed = (painted(one_cone((0, 0.5), (0, 2), cover=cover))[0] for cover in (SKIN, NAIL))
    brighter = (nailed > plain + 1e-4).any(axis=2)
    rows = np.flatnonzero(brighter.any(axis=1))
    assert brighter.any() and rows.min() > 25 + 20 * (0.5 + 0.5 * 1.5), "at its second end only"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_nearer_cone_hides_the_farther_one(order):
    """Catches parts that cover what lies in front of them because they come later."""
    sleeve, skin = one_cone((0, 1.0), (1.0, 1.0), (0.2, 0.2), SLEEVE), one_cone((0.5, 0.5), (0.5, 1.5), (0.4, 0.4))
    parts = [(sleeve, skin)[number] for number in order]
    fields = zip(*((part.starts, part.ends, part.radii, part.covers) for part in parts))
    image, _ = painted(hands.Hand(*(np.concatenate(field) for field in fields)))
    crossing, beside = image[45, 50], image[45, 38]
    assert crossing[0] > crossing[2], "the thicker hand is in front of the thin sleeve"
    assert beside[2] > 5 * beside[0], "and the sleeve is seen beside it"


def rendered(monkeypatch, *, glasses=None, hat=None):
    monkeypatch.setattr(session, "GLASSES_SHARE", 1.0 if glasses else 0.0)
    monkeypatch.setattr(session, "HAT_SHARE", 1.0 if hat else 0.0)
    if glasses:
        monkeypatch.setattr(session, "_draw_glasses", lambda rng: glasses)
    if hat:
        monkeypatch.setattr(session, "_draw_hat", lambda rng: hat)
    return SyntheticFaces(0).render(1, 2)


def change_at(one, other, points, half=3):
    change = np.abs(one.image.astype(int) - other.image).mean(axis=2)
    return np.mean([change[y - half : y + half + 1, x - half : x + half + 1].mean() for x, y in points.astype(int)])


def test_sunglasses_hide_the_eyes_and_clear_ones_do_not(monkeypatch):
    bare = rendered(monkeypatch)
    clear = rendered(monkeypatch, glasses=make_glasses())
    dark = rendered(monkeypatch, glasses=make_glasses(dark=True))
    assert (bare.occluders, clear.occluders, dark.occluders) == ((), ("glasses",), ("sunglasses",))
    eyes = bare.points[:2]
    assert change_at(dark, bare, eyes) > 2 * change_at(clear, bare, eyes)
    assert change_at(dark, bare, bare.points[3:]) < 25, "the mouth stays as it was"
    np.testing.assert_array_equal(dark.points, bare.points)


def test_hat_covers_the_forehead_and_not_the_mouth(monkeypatch):
    bare, covered = rendered(monkeypatch), rendered(monkeypatch, hat=make_hat(edge_y=7.6, turn_up=0.3))
    assert covered.occluders == ("hat",)
    top = np.array([[56, 8]])
    assert change_at(covered, bare, top) > 2 * change_at(covered, bare, bare.points[3:])
    red, _, blue = covered.image[4:14, 46:66].reshape(-1, 3).mean(axis=0)
    assert abs(red - blue) > 40, "coloured as cap or trim"


def test_garment_hangs_below_the_bust(head, people):
    rough = head.mesh.with_garment(people[0].positions)
    added = rough[len(people[0].positions) :].reshape(4, -1, 3)
    heights = added[:, :, 1].mean(axis=1)
    assert (np.diff(heights) < 0).all() and heights[0] < 5.3
    assert np.ptp(added[-1, :, 1]) < 0.02, "the last ring is level"
    assert (head.mesh.materials == GARMENT).sum() > 500
