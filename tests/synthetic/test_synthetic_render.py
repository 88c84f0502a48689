"""Pictures: pure functions of seed, identity and number, with true points."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from arcface_paddle.errors import ConfigError
from arcface_paddle.pipeline import build_detector
from arcface_paddle.synthetic.generator import SyntheticFaces
from arcface_paddle.synthetic.kernels.shading_kernels import Look, Surface, shade_point
from arcface_paddle.synthetic.person.accessories import hat_cloths
from arcface_paddle.synthetic.person.hands import NAIL, SLEEVE, draw_hand
from arcface_paddle.synthetic.person.head import GARMENT, SKIN, load_head
from arcface_paddle.synthetic.person.identity import build_identity
from arcface_paddle.synthetic.person.session import Hat, build_session
from arcface_paddle.synthetic.random_streams import stream
from arcface_paddle.synthetic.scene.camera import face_template
from arcface_paddle.synthetic.scene.lighting import cast_shadows, draw_lamps
from arcface_paddle.synthetic.scene.occluders import Occluders, draw_occluders
from arcface_paddle.synthetic.scene.photograph import CameraSettings, take_photograph

IN_ANOTHER_PROCESS = """
import hashlib
from arcface_paddle.synthetic.generator import SyntheticFaces
faces = SyntheticFaces(11, size=64)
print(hashlib.sha256(faces.render(5, 2).image.tobytes()).hexdigest())
"""


def test_picture_does_not_depend_on_what_was_drawn_before(crops):
    alone = SyntheticFaces(0).render(1, 3)
    np.testing.assert_array_equal(alone.image, crops[7].image)
    np.testing.assert_array_equal(alone.points, crops[7].points)
    assert alone.pose == crops[7].pose


def test_same_bytes_in_another_process():
    import hashlib

    here = hashlib.sha256(SyntheticFaces(11, size=64).render(5, 2).image.tobytes()).hexdigest()
    there = subprocess.run([sys.executable, "-c", IN_ANOTHER_PROCESS], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


def test_pictures_differ_by_number_identity_and_seed(crops):
    images = [shown.image for shown in crops] + [SyntheticFaces(1).render(0, 0).image]
    for one in range(len(images)):
        for other in range(one):
            assert np.abs(images[one].astype(int) - images[other]).mean() > 5


def test_what_is_told_of_a_picture(crops):
    for number, shown in enumerate(crops):
        assert shown.image.shape == (112, 112, 3)
        assert shown.image.dtype == np.uint8
        assert (shown.label, shown.number) == divmod(number, 4)
        assert shown.session == shown.number % 3
        assert shown.points.shape == (5, 2)
        left, top, right, bottom = shown.box_xyxy
        middle = shown.points.mean(axis=0)
        assert left < middle[0] < right
        assert top < middle[1] < bottom
        np.testing.assert_allclose(np.linalg.norm(shown.lamps.directions, axis=1), 1, atol=1e-5)
        assert shown.image.std() > 10
    with pytest.raises(FrozenInstanceError):
        crops[0].label = 3


def test_crops_are_aligned_to_the_template(crops):
    for shown in crops:
        error = np.linalg.norm(shown.points - face_template(), axis=1)
        assert error.mean() < 4 + 0.25 * abs(shown.pose.yaw_deg)


def test_size_scales_the_view():
    small, large = SyntheticFaces(3, size=56).render(2, 0), SyntheticFaces(3, size=112).render(2, 0)
    assert small.image.shape == (56, 56, 3)
    np.testing.assert_allclose(small.points * 2, large.points, atol=1e-3)


def test_detector_finds_whole_pictures_where_we_say_the_face_is():
    faces, detector = SyntheticFaces(0, size=320, full_frame=True), build_detector()
    shown = [faces.render(identity, image) for identity in (1, 5, 8) for image in range(3)]
    near_front = [picture for picture in shown if abs(picture.pose.yaw_deg) < 25 and "mask" not in picture.occluders]
    assert len(near_front) >= 3
    for picture in near_front:
        detections = detector.detect(picture.image)
        assert len(detections) == 1
        error = np.linalg.norm(detections[0].landmarks - picture.points, axis=1).mean()
        assert error < 0.2 * np.linalg.norm(picture.points[1] - picture.points[0])


def test_masks_and_hands_occur_and_stay_rare():
    drawn = [draw_occluders(stream(0, "occluders", number, 0)) for number in range(800)]
    names = [name for occluders in drawn for name in occluders.names]
    assert 5 < names.count("mask") < 60
    assert 5 < names.count("hand") < 60
    assert Occluders().names == ()


def test_mask_covers_the_mouth(monkeypatch):
    open_face = SyntheticFaces(0).render(1, 1)
    worn = Occluders(mask_color=np.array([0.9, 0.05, 0.05]))
    monkeypatch.setattr("arcface_paddle.synthetic.generator.draw_occluders", lambda rng: worn)
    masked = SyntheticFaces(0).render(1, 1)
    assert "mask" in masked.occluders
    assert "mask" not in open_face.occluders
    change = np.abs(masked.image.astype(int) - open_face.image).mean(axis=2)
    x, y = masked.points[3:].mean(axis=0).astype(int)
    assert change[y - 3 : y + 4, x - 3 : x + 4].mean() > 25
    np.testing.assert_array_equal(masked.points, open_face.points)


def test_photograph_is_deterministic_and_brightens_a_dark_scene():
    camera = CameraSettings(0.0, 0.6, (1.0, 1.0, 1.0), 1.0, 1.0, 0.0, 1.0, 0.0, 0)
    dark = np.full((16, 16, 3), 0.01, np.float32)
    subject = np.ones((16, 16), bool)
    first = take_photograph(np.random.default_rng(0), dark, subject, camera)
    np.testing.assert_array_equal(first, take_photograph(np.random.default_rng(0), dark, subject, camera))
    assert first.mean() > 255 * 0.0998, "sRGB of 0.01 is 0.0998 of full scale"
    brighter = take_photograph(np.random.default_rng(0), 4 * dark, subject, camera)
    assert first.mean() < brighter.mean() < 3 * first.mean()


@pytest.mark.parametrize(
    "arguments", [{"seed": -1}, {"size": 16}, {"size": 5000}, {"sessions_per_identity": 0}], ids=lambda a: str(a)
)
def test_bad_settings_are_refused(arguments):
    with pytest.raises(ConfigError, match="allowed"):
        SyntheticFaces(**arguments)


def test_negative_numbers_are_refused():
    with pytest.raises(ConfigError, match="identity is -1"):
        SyntheticFaces(0).render(-1, 0)


def test_hand_comes_from_below_and_keeps_its_proportions(monkeypatch):
    without = SyntheticFaces(0).render(1, 1)
    for number in range(3):
        hand = draw_hand(np.random.default_rng(number))
        held = Occluders(hand=hand)
        monkeypatch.setattr("arcface_paddle.synthetic.generator.draw_occluders", lambda rng, held=held: held)
        shown = SyntheticFaces(0).render(1, 1)
        assert "hand" in shown.occluders
        np.testing.assert_array_equal(shown.points, without.points)
        change = np.abs(shown.image.astype(int) - without.image).mean(axis=2) > 25
        assert 0.03 < change.mean() < 0.6
        assert (hand.covers == NAIL).sum() == 5, "a nail for every finger"
        arm = hand.ends[hand.covers == SLEEVE]
        assert (arm[:, 1] > 4).all(), "the arm leaves the picture below"


def test_painted_clothes_have_the_colour_of_the_cloth():
    head = load_head()
    session = build_session(head, build_identity(head, seed=0, number=0), seed=0, number=0)
    texture = session.texture
    dressed = texture[:, :, 4] == 1
    assert dressed.any() and (texture[:, :, 4] == 0).any()
    ratio = texture[dressed][:, :3].mean(axis=0) / np.clip(session.cloth, 0.004, 0.95)
    np.testing.assert_allclose(ratio, 1, atol=0.05)


def shaded(material, *, cloth_share):
    """Shade a half shadowed triangle whose texture, as skin, is the cloth that it has as a garment."""
    cloth = np.array([0.5, 0.3, 0.2], np.float32)
    texture = np.empty((4, 4, 5), np.float32)
    texture[:] = [*cloth, 0.15, cloth_share]
    surface = Surface(
        triangles=np.array([[0, 1, 2]], np.int32),
        materials=np.array([material], np.uint8),
        points=np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32),
        normals=np.tile(np.array([0.6, 0.0, 0.8], np.float32), (3, 1)),
        uv=np.full((3, 2), 0.5, np.float32),
        masks=np.zeros((3, 4), np.float32),
        occlusion=np.full(3, 0.4, np.float32),
        gaze=np.zeros((3, 3), np.float32),
    )
    none = np.zeros(3, np.float32)
    look = Look(texture, none, 0.1, 0.4, 0.4, none, 0.5, 0.7, cloth, 0.8, 0.5, 0.4)
    light = cast_shadows(draw_lamps(np.random.default_rng(0)), [], [], width_dm=3.6)
    light.shadow_depth[:] = 10.0  # something stands before every lamp
    return np.array(shade_point(surface, look, light, 10.0, 0, 0.3, 0.3))


def test_cloth_looks_the_same_painted_on_the_bust_and_as_the_garment_below():
    garment = shaded(GARMENT, cloth_share=0.0)
    np.testing.assert_allclose(shaded(SKIN, cloth_share=1.0), garment, rtol=1e-5)
    assert shaded(SKIN, cloth_share=0.0)[0] > 1.05 * garment[0], "skin scatters red light, cloth does not"


@pytest.mark.parametrize(("peak", "turn_up", "pieces"), [(0.0, 0.0, 1), (0.0, 0.35, 2), (0.7, 0.0, 2)])
def test_caps_cover_the_skull_and_what_hangs_on_them(peak, turn_up, pieces):
    person = build_identity(load_head(), seed=0, number=2)
    color, trim = np.array([0.5, 0.1, 0.1]), np.array([0.1, 0.1, 0.5])
    cloths = hat_cloths(person, Hat(color, trim, edge_y=7.8, peak=peak, turn_up=turn_up, puff=0.15))
    assert len(cloths) == pieces
    crown = cloths[0].points
    skin = person.surface[person.surface[:, 1] > 8.0]
    assert crown[:, 1].max() > skin[:, 1].max(), "the crown is above the skull"
    assert np.ptp(crown[:, 0]) > np.ptp(skin[:, 0])
    if peak:
        assert cloths[1].points[:, 2].max() > crown[:, 2].max() + 0.4
    if turn_up:
        assert cloths[1].points[:, 1].max() < crown[:, 1].max()
        np.testing.assert_array_equal(cloths[1].color, trim)


def test_whole_pictures_have_shadow_maps_as_wide_as_the_bust():
    lamps = draw_lamps(np.random.default_rng(0))
    narrow, wide = (cast_shadows(lamps, [], [], width_dm=width) for width in (3.6, 6.0))
    assert wide.shadow_depth.shape[1] == 288 and narrow.shadow_depth.shape[1] == 173
    assert wide.shadow_scale == narrow.shadow_scale
