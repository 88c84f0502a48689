"""Lamps, backgrounds and the camera: ranges of what is drawn, and what each setting of a camera does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from arcface_paddle.synthetic.color import LUMINANCE, draw_any_color, linear_from_srgb, srgb_from_linear
from arcface_paddle.synthetic.kernels.raster_kernels import FARTHEST
from arcface_paddle.synthetic.random_streams import stream
from arcface_paddle.synthetic.scene.background import draw_background
from arcface_paddle.synthetic.scene.lighting import ShadowCaster, cast_shadows, draw_lamps
from arcface_paddle.synthetic.scene.photograph import CameraSettings, draw_camera_settings, take_photograph

PLAIN = CameraSettings(
    exposure_log=0.0,
    exposure_auto=0.0,
    white_balance=(1.0, 1.0, 1.0),
    contrast=1.3,
    saturation=1.0,
    blur_px=0.0,
    shrink=1.0,
    noise=0.0,
    jpeg_quality=0,
)


@pytest.fixture(scope="module")
def scene():
    """Return a scene with colours, edges and fine detail, and a subject in its middle."""
    rng = np.random.default_rng(0)
    light = rng.uniform(0.02, 0.5, (64, 64, 3)).astype(np.float32)
    light[:, 32:] *= np.array([1.5, 1.0, 0.6], np.float32)
    subject = np.zeros((64, 64), bool)
    subject[16:48, 16:48] = True
    return light, subject


def photograph(scene, **changes):
    return take_photograph(np.random.default_rng(1), *scene, replace(PLAIN, **changes)).astype(np.float64)


def test_brighter_exposure_never_darkens_a_pixel(scene):
    pictures = [photograph(scene, exposure_log=value) for value in (-0.6, -0.2, 0.2, 0.6)]
    for darker, brighter in zip(pictures, pictures[1:]):
        assert (brighter >= darker).all()
        assert brighter.mean() > darker.mean() + 5


def test_automatic_exposure_brings_dark_and_bright_subjects_together(scene):
    light, subject = scene

    def spread(auto):
        levels = [photograph((light * factor, subject), exposure_auto=auto).mean() for factor in (0.25, 1, 3)]
        return max(levels) - min(levels)

    assert spread(1.0) < 1 < spread(0.6) < spread(0.3) < spread(0.0)


def test_exposure_is_measured_on_the_subject(scene):
    light, subject = scene
    bright_behind = light.copy()
    bright_behind[~subject] *= 6
    one, other = (photograph((picture, subject), exposure_auto=1.0)[subject] for picture in (light, bright_behind))
    np.testing.assert_array_equal(one, other)
    nobody = np.zeros_like(subject)
    assert photograph((light, nobody), exposure_auto=1.0).std() > 0, "without a subject the whole picture counts"


def test_white_balance_scales_its_channel(scene):
    plain, warm = photograph(scene), photograph(scene, white_balance=(1.2, 1.0, 0.8))
    assert (warm[:, :, 0] >= plain[:, :, 0]).all() and (warm[:, :, 2] <= plain[:, :, 2]).all()
    np.testing.assert_array_equal(warm[:, :, 1], plain[:, :, 1])


def test_contrast_spreads_about_its_pivot_and_stays_in_range(scene):
    spreads = [photograph(scene, contrast=contrast).std() for contrast in (1.3, 1.7, 2.1)]
    assert spreads[0] < spreads[1] < spreads[2]
    middle = np.full((8, 8, 3), linear_from_srgb([[0.44 * 255] * 3])[0, 0], np.float32)
    flat = np.ones((8, 8), bool)
    for contrast in (1.3, 2.1):
        np.testing.assert_allclose(photograph((middle, flat), contrast=contrast), 0.44 * 255, atol=1.5)
    extremes = np.concatenate([np.zeros((4, 8, 3)), np.full((4, 8, 3), 50.0)]).astype(np.float32)
    picture = photograph((extremes, flat), contrast=2.1)
    assert picture[0].max() < 15 and picture[-1].min() > 230


def test_saturation_goes_from_grey_to_colour(scene):
    def colour(saturation):
        picture = photograph(scene, saturation=saturation)
        return np.ptp(picture, axis=2).mean()

    assert colour(0.0) <= 1
    assert colour(0.3) < colour(0.6) < colour(1.0)


@pytest.mark.parametrize(("name", "values"), [("blur_px", (0.0, 0.4, 0.8, 1.5)), ("shrink", (1.0, 0.7, 0.5, 0.35))])
def test_blur_and_resampling_take_detail(scene, name, values):
    def detail(value):
        return np.abs(np.diff(photograph(scene, **{name: value}), axis=1)).mean()

    details = [detail(value) for value in values]
    assert details == sorted(details, reverse=True) and details[-1] < 0.7 * details[0]


def test_noise_has_its_deviation_and_follows_the_stream():
    grey = (np.full((96, 96, 3), 0.18, np.float32), np.ones((96, 96), bool))
    for noise in (0.005, 0.02):
        assert photograph(grey, noise=noise).std() == pytest.approx(255 * noise, rel=0.1, abs=0.4)
    again = photograph(grey, noise=0.02)
    np.testing.assert_array_equal(again, photograph(grey, noise=0.02))
    other = take_photograph(np.random.default_rng(2), *grey, replace(PLAIN, noise=0.02))
    assert (other != again).any()


def test_jpeg_changes_less_the_higher_its_quality(scene):
    plain = photograph(scene)
    errors = [np.abs(photograph(scene, jpeg_quality=quality) - plain).mean() for quality in (45, 70, 95)]
    assert errors[0] > errors[1] > errors[2] > 0
    red = np.zeros((32, 32, 3), np.float32)
    red[:, :, 0] = 0.5
    picture = photograph((red, np.ones((32, 32), bool)), jpeg_quality=95)
    assert picture[..., 0].mean() > picture[..., 2].mean() + 100, "red stays red through OpenCV's BGR"


def test_highlights_are_compressed_softly():
    ramp = np.tile(np.linspace(0.1, 4, 64, dtype=np.float32)[None, :, None], (8, 1, 3))
    row = photograph((ramp, np.ones((8, 64), bool)))[0, :, 0]
    assert (np.diff(row) >= 0).all()


def test_cameras_are_mostly_decent():
    drawn = [draw_camera_settings(stream(0, "camera", number)) for number in range(400)]
    assert all(1.3 <= one.contrast <= 2.15 and 0.002 <= one.noise <= 0.022 for one in drawn)
    assert all(one.jpeg_quality == 0 or 45 <= one.jpeg_quality <= 95 for one in drawn)
    assert 0.6 < np.mean([one.jpeg_quality > 0 for one in drawn]) < 0.8
    assert 0.35 < np.mean([one.blur_px > 0 for one in drawn]) < 0.55
    assert 0.05 < np.mean([one.shrink < 1 for one in drawn]) < 0.2
    assert 0.01 < np.mean([one.saturation == 0 for one in drawn]) < 0.08
    assert np.std([one.exposure_log for one in drawn]) == pytest.approx(0.3, abs=0.05)


def test_lamps_are_one_to_three_with_the_first_the_strongest_on_average():
    drawn = [draw_lamps(stream(0, "light", number)) for number in range(300)]
    counts = np.bincount([len(lamps.directions) for lamps in drawn])
    assert counts[0] == 0 and len(counts) == 4 and counts[1:].min() > 60
    for lamps in drawn:
        np.testing.assert_allclose(np.linalg.norm(lamps.directions, axis=1), 1, atol=1e-5)
        assert lamps.colors.min() > 0 and lamps.ambient[:, 0].min() > 0
        assert (lamps.ambient[:, 1] >= 0).all(), "the sky is brighter above"
        assert lamps.directions[:, 1].min() >= np.sin(np.radians(-25)) - 1e-6
        assert lamps.level > 0
    first = np.mean([lamps.colors[0].mean() for lamps in drawn])
    others = np.mean([lamps.colors[1:].mean() for lamps in drawn if len(lamps.colors) > 1])
    assert others == pytest.approx(first / 2, rel=0.15)


def wall(z, half):
    points = np.array([(-half, -half, z), (half, -half, z), (half, half, z), (-half, half, z)], dtype=np.float32)
    return ShadowCaster(points, np.array([(0, 1, 2), (0, 2, 3)], dtype=np.int32))


def test_shadow_maps_hold_what_lies_nearest_to_the_lamp():
    lamps = replace(
        draw_lamps(stream(0, "light", 0)),
        directions=np.array([(0, 0, 1), (0, 0, -1), (1, 0, 0)], np.float32),
        colors=np.ones((3, 3), np.float32),
    )
    light = cast_shadows(lamps, [wall(0.5, 1.0), wall(-0.5, 0.5)], [], width_dm=4.0)
    assert light.shadow_depth.shape == (2, 192, 192), "the third lamp has no map"
    assert light.shadow_depth[0, 96, 96] == pytest.approx(0.5)
    assert light.shadow_depth[1, 96, 96] == pytest.approx(0.5), "from behind the other wall is nearer"
    assert light.shadow_depth[1, 96, 96 + 36] == pytest.approx(-0.5)
    assert light.shadow_depth[0, 5, 5] == np.float32(FARTHEST)


def test_hair_throws_shadows_too():
    lamps = draw_lamps(stream(0, "light", 0))
    strand = np.zeros((1, 8, 3), np.float32)
    strand[0, :, 1] = np.linspace(-1, 1, 8)
    bare, with_hair = (cast_shadows(lamps, [], strands, width_dm=4.0) for strands in ([], [strand]))
    added = (with_hair.shadow_depth > bare.shadow_depth).sum(axis=(1, 2))
    assert (added > 10).all()


@pytest.mark.parametrize("size", [32, 112])
def test_backgrounds_are_calm_and_of_every_kind(size):
    pictures = [draw_background(stream(0, "background", number), size) for number in range(60)]
    roughness = []
    for picture in pictures:
        assert picture.shape == (size, size, 3) and picture.dtype == np.float32
        assert picture.min() >= 0 and picture.max() < 4
        roughness.append(np.abs(np.diff(srgb_from_linear(picture), axis=1)).mean())
    assert np.median(roughness) < 0.02 and max(roughness) < 0.1
    levels = [float((picture @ LUMINANCE).mean()) for picture in pictures]
    assert min(levels) < 0.1 and max(levels) > 0.4


def test_any_colour_keeps_its_range_and_greys_with_saturation():
    for saturation in (0.0, 0.5, 1.0):
        colors = np.array(
            [draw_any_color(stream(0, "c", n), low=20, high=200, saturation=saturation) for n in range(50)]
        )
        srgb = srgb_from_linear(colors) * 255
        assert srgb.min() >= 19 and srgb.max() <= 201
        spread = np.ptp(colors, axis=1).mean()
        assert 0.1 * saturation <= spread <= saturation + 1e-9


def test_srgb_table_is_within_a_quarter_level_of_the_formula():
    values = np.linspace(0, 1, 5001)
    exact = np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(srgb_from_linear(values), exact, atol=0.25 / 255)
    np.testing.assert_array_equal(srgb_from_linear(np.array([-1.0, 7.0])), [0, 1])
    assert LUMINANCE.sum() == pytest.approx(1)
