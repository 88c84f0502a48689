"""Shading against the formulas: GGX, Fresnel, textures, spherical harmonics, eyes, and a whole point."""

from __future__ import annotations

import numpy as np
import pytest

from arcface_paddle.synthetic.color import fractal_noise, mix
from arcface_paddle.synthetic.kernels import shading_kernels as shading
from arcface_paddle.synthetic.kernels.light_kernels import Light, ambient_light, surface_visibility
from arcface_paddle.synthetic.person.head import GARMENT, LEFT_EYE, RIGHT_EYE, SKIN, TEETH, TONGUE

CAMERA_Z = 9.0


def unit(vector):
    vector = np.asarray(vector, dtype=np.float64)
    return vector / np.linalg.norm(vector)


def open_light(directions=((0.3, 0.5, 0.8),), colors=((1.0, 0.9, 0.8),), ambient=None):
    """Return lamps without a shadow map."""
    sky = np.zeros((3, 7), np.float32) if ambient is None else np.asarray(ambient, np.float32)
    none = np.zeros((0, 8, 8), np.float32)
    return Light(
        np.array([unit(direction) for direction in directions], np.float32),
        np.array(colors, np.float32),
        sky,
        none,
        np.zeros((0, 3, 3), np.float32),
        48.0,
    )


def make_look(**changes):
    texture = np.empty((4, 4, 5), np.float32)
    texture[:] = [0.5, 0.35, 0.25, 0.8, 0.0]
    look = shading.Look(
        texture=texture,
        iris=np.array([0.05, 0.10, 0.20], np.float32),
        iris_ring=0.1,
        iris_radius=0.45,
        pupil=0.4,
        lips=np.array([0.9, 0.5, 0.6], np.float32),
        lip_strength=0.7,
        teeth=0.7,
        cloth=np.array([0.1, 0.2, 0.3], np.float32),
        specular=0.8,
        roughness=0.45,
        wrap=0.4,
    )
    return look._replace(**changes)


def make_surface(material, *, masks=(0, 0, 0, 0), occlusion=0.6, gaze=(0, 0, 1)):
    return shading.Surface(
        triangles=np.array([[0, 1, 2]], np.int32),
        materials=np.array([material], np.uint8),
        points=np.array([[-1, -1, 0.5], [1, -1, 0.5], [0, 1, 0.2]], np.float32),
        normals=np.array([unit((-0.2, -0.1, 1)), unit((0.3, 0, 1)), unit((0, 0.4, 1))], np.float32),
        uv=np.array([[0.2, 0.2], [0.8, 0.2], [0.5, 0.9]], np.float32),
        masks=np.tile(np.array(masks, np.float32), (3, 1)),
        occlusion=np.full(3, occlusion, np.float32),
        gaze=np.tile(np.array(gaze, np.float32), (3, 1)),
    )


def shade(surface, look, light, a=0.3, b=0.3):
    return np.array(shading.shade_point(surface, look, light, CAMERA_Z, 0, a, b))


def slow_ggx(normal, lamp, viewer, roughness):
    """The microfacet highlight as the papers write it: D F G / (4 (n l) (n v)), times (n l) and pi."""
    half = unit(lamp + viewer)
    alpha = roughness**2
    to_lamp, to_viewer, to_half = normal @ lamp, max(normal @ viewer, 0.02), max(normal @ half, 0)
    distribution = alpha**2 / (np.pi * (to_half**2 * (alpha**2 - 1) + 1) ** 2)
    fresnel = 0.028 + (1 - 0.028) * (1 - max(viewer @ half, 0)) ** 5
    k = alpha / 2 + 0.02
    masking = (to_lamp / (to_lamp * (1 - k) + k)) * (to_viewer / (to_viewer * (1 - k) + k))
    return min(distribution * fresnel * masking / (4 * to_lamp * to_viewer) * to_lamp * np.pi, 6.0)


def test_highlight_is_the_ggx_of_the_papers():
    rng = np.random.default_rng(0)
    compared = 0
    for _ in range(60):
        normal, lamp, viewer = (unit(rng.normal(size=3)) for _ in range(3))
        roughness = float(rng.uniform(0.08, 0.7))
        found = shading.lamp_response(*normal, *lamp, *viewer, roughness)
        if normal @ lamp <= 0:
            assert found == 0, "lamps behind the surface make no highlight"
        else:
            compared += 1
            assert found == pytest.approx(slow_ggx(normal, lamp, viewer, roughness), rel=1e-6, abs=1e-12)
    assert compared > 20


def test_highlight_peaks_at_the_mirror_direction_and_narrows_with_smoothness():
    normal, viewer = unit((0, 0, 1)), unit((0.5, 0, 1))

    def at(offset_deg, roughness):
        angle = np.arctan2(-0.5, 1) + np.radians(offset_deg)
        return shading.lamp_response(*normal, np.sin(angle), 0.0, np.cos(angle), *viewer, roughness)

    for roughness in (0.3, 0.5):
        values = [at(offset, roughness) for offset in (-30, -15, 0, 15, 30)]
        assert np.argmax(values) == 2
    assert at(20, 0.3) / at(0, 0.3) < 0.2 * at(20, 0.6) / at(0, 0.6)
    assert at(0, 0.08) == 6.0, "capped"


def test_texture_is_sampled_bilinearly_with_texels_at_their_centres():
    texture = np.random.default_rng(1).random((6, 8, 5)).astype(np.float32)
    np.testing.assert_allclose(shading.sample_texture(texture, 2.5 / 8, 3.5 / 6), texture[3, 2], atol=1e-6)
    between = shading.sample_texture(texture, 3 / 8, 4 / 6)
    np.testing.assert_allclose(between, texture[3:5, 2:4].mean(axis=(0, 1)), atol=1e-6)
    quarter = shading.sample_texture(texture, 2.75 / 8, 3.5 / 6)
    np.testing.assert_allclose(quarter, 0.75 * texture[3, 2] + 0.25 * texture[3, 3], atol=1e-6)
    for u, v, row, column in ((0.0, 0.0, 0, 0), (1.0, 1.0, 5, 7), (-0.5, 2.0, 5, 0)):
        np.testing.assert_allclose(shading.sample_texture(texture, u, v), texture[row, column], atol=1e-6)


def test_ambient_light_is_the_sum_of_the_harmonics():
    rng = np.random.default_rng(2)
    ambient = rng.normal(0.3, 0.3, (3, 7)).astype(np.float32)
    ambient[2] = [-5, 0, 0, 0, 0, 0, 0]
    for _ in range(20):
        x, y, z = unit(rng.normal(size=3))
        basis = np.array([1, y, z, x, x * y, 3 * z * z - 1, x * z])
        for channel in range(3):
            expected = max(float(ambient[channel] @ basis), 0.02)
            assert ambient_light(ambient, channel, x, y, z) == pytest.approx(expected, rel=1e-5)
    assert ambient_light(ambient, 2, 0.0, 1.0, 0.0) == 0.02


def slow_skin(surface, look, light, a, b):
    """A point of skin without masks and shadows, by the formulas and without the kernel's pieces."""
    weights = np.array([a, b, 1 - a - b])
    point = weights @ surface.points
    normal = unit(weights @ surface.normals)
    color = np.array([0.5, 0.35, 0.25])
    viewer = unit(np.array([0, 0, CAMERA_Z]) - point)
    sky = float(weights @ surface.occlusion)
    specular = look.specular * 0.8  # the texture's gloss
    facing = max(normal @ viewer, 0.02)
    mirrored = 2 * facing * normal - viewer
    mirror = (0.03 + 0.97 * (1 - facing) ** 5 * (1 - look.roughness)) * sky * specular
    seen_sky = np.array([np.sqrt(sky), sky, sky])
    ambient = np.array([ambient_light(light.ambient, channel, *normal) for channel in range(3)])
    reflected = np.array([ambient_light(light.ambient, channel, *mirrored) for channel in range(3)])
    total = color * ambient * seen_sky + mirror * reflected
    for lamp, lamp_color in zip(light.directions.astype(np.float64), light.colors):
        wrap = look.wrap * np.array([1, 0.45, 0.30])
        diffuse = np.maximum(0, (normal @ lamp + wrap) / (1 + wrap))
        glint = slow_ggx(normal, lamp, viewer, look.roughness) * specular if normal @ lamp > 0 else 0.0
        total += lamp_color * (color * diffuse + glint)
    return total


@pytest.mark.parametrize("lamps", [[(0.3, 0.5, 0.8)], [(-1, 0.2, 0.1), (0.9, -0.1, 0.6)], [(0.2, 0.1, -1)]], ids=str)
def test_point_of_skin_is_the_sum_of_sky_and_lamps(lamps):
    ambient = np.random.default_rng(3).normal(0.2, 0.05, (3, 7))
    light = open_light(lamps, [(1.0, 0.8, 0.6)] * len(lamps), ambient)
    surface, look = make_surface(SKIN), make_look()
    for a, b in ((0.3, 0.3), (0.8, 0.1), (0.05, 0.2)):
        np.testing.assert_allclose(shade(surface, look, light, a, b), slow_skin(surface, look, light, a, b), rtol=1e-4)


def test_scattering_carries_red_farthest_around_the_edge():
    """Catches factors of the channels that are exchanged or equal."""
    white = make_look(specular=0.0)
    white.texture[:, :, :3] = 0.5
    light = open_light([(1.0, 0, -0.15)])
    plain = light._replace(colors=np.ones((1, 3), np.float32))
    red, green, blue = shade(make_surface(SKIN), white, plain)
    assert red > green > blue > 0


def test_lips_redden_ears_and_lids_lose_green_and_the_inner_mouth_is_dark():
    light = open_light(ambient=np.tile([0.4, 0, 0, 0, 0, 0, 0], (3, 1)))
    look = make_look(specular=0.0)
    bare = shade(make_surface(SKIN), look, light)
    lips, ears, lids, inside = (
        shade(make_surface(SKIN, masks=np.eye(4)[column]), look, light) / bare for column in range(4)
    )
    assert lips[0] > lips[2] > lips[1], "factors 0.9, 0.5, 0.6"
    np.testing.assert_allclose(lips[0], 1 + 0.7 * (0.9 - 1), rtol=1e-4)
    np.testing.assert_allclose(ears, [1, 0.88, 0.90], rtol=1e-4)
    np.testing.assert_allclose(lids, [1, 0.90, 0.94], rtol=1e-4)
    assert inside.max() < 0.6 and inside[0] > inside[1]


def test_eye_is_pupil_iris_and_white_from_the_gaze_outward():
    look = make_look(iris_ring=0.0)

    def at(share):
        angle = share * look.iris_radius
        return np.array(shading.eye_color(look, np.sin(angle), 0.0, np.cos(angle)))

    np.testing.assert_allclose(at(0.1), 0.008, atol=1e-6)
    iris = at(0.6) / look.iris
    np.testing.assert_allclose(iris, iris[0], rtol=1e-5, err_msg="the iris keeps its hue")
    assert at(1.2).min() > 0.4
    for edge in (0.92, 1.08):
        np.testing.assert_allclose(at(edge - 1e-4), at(edge + 1e-4), atol=2e-2)
    ring = np.array(shading.eye_color(look._replace(iris_ring=0.25), np.sin(0.2), 0.0, np.cos(0.2)))
    assert ring[0] > at(0.2 / 0.45)[0], "a light ring about the pupil"


def test_fibres_of_the_iris_stay_within_bounds():
    values = [shading.iris_pattern(angle, 0.6) for angle in np.linspace(-np.pi, np.pi, 400)]
    assert 0.5 <= min(values) < 0.7 and 1.1 < max(values) <= 1.3


def test_materials_differ_as_they_should():
    light = open_light(ambient=np.tile([0.4, 0, 0, 0, 0, 0, 0], (3, 1)))
    look = make_look(specular=0.0)
    colors = {m: shade(make_surface(m), look, light) for m in (SKIN, TEETH, TONGUE, GARMENT)}
    assert colors[TEETH].min() > colors[TONGUE].max()
    assert colors[TONGUE][0] > 1.5 * colors[TONGUE][1]
    assert colors[GARMENT][2] > colors[GARMENT][0], "the cloth is blue"
    for eye in (LEFT_EYE, RIGHT_EYE):
        pupil = shade(make_surface(eye), look, light)
        assert pupil.max() < 0.5 * colors[SKIN].max()
    bright = shade(make_surface(TEETH), make_look(specular=0.0, teeth=0.8), light)
    assert (bright > colors[TEETH]).all()


def test_only_pixels_with_a_triangle_are_coloured():
    numbers = np.full((3, 4), -1, np.int32)
    numbers[1, 2] = 0
    image, alpha = np.full((3, 4, 3), 7, np.float32), np.zeros((3, 4), np.float32)
    barycentric = np.full((3, 4, 2), 0.3, np.float32)
    surface, look, light = make_surface(SKIN), make_look(), open_light()
    shading.shade_surface(numbers, barycentric, surface, look, light, CAMERA_Z, image, alpha)
    assert alpha.sum() == alpha[1, 2] == 1
    expected = shade(surface, look, light, np.float32(0.3), np.float32(0.3))
    np.testing.assert_allclose(image[1, 2], expected, rtol=1e-4)
    assert (np.delete(image.reshape(-1, 3), 6, axis=0) == 7).all()


def shadowed_light(depth, scale=4.0):
    size = depth.shape[-1]
    return Light(
        directions=np.array([[0, 0, 1]], np.float32),
        colors=np.ones((1, 3), np.float32),
        ambient=np.zeros((3, 7), np.float32),
        shadow_depth=depth.reshape(1, size, size).astype(np.float32),
        shadow_axes=np.eye(3, dtype=np.float32)[None],
        shadow_scale=scale,
    )


def slow_surface_visibility(light, x, y, z):
    """Average a box of three by three pixels about the point over a fine grid."""
    size = light.shadow_depth.shape[1]
    u, v = x * light.shadow_scale + size / 2, -y * light.shadow_scale + size / 2
    offsets = (np.arange(60) + 0.5) / 60 * 3 - 1.5
    columns, rows = np.floor(u + offsets).astype(int), np.floor(v + offsets).astype(int)
    return (z + 0.02 >= light.shadow_depth[0][np.ix_(rows, columns)]).mean()


def test_soft_shadow_is_the_mean_over_three_by_three_pixels():
    rng = np.random.default_rng(5)
    light = shadowed_light(rng.normal(size=(24, 24)))
    for _ in range(40):
        x, y, z = rng.uniform(-1.8, 1.8), rng.uniform(-1.8, 1.8), rng.normal()
        assert surface_visibility(light, 0, x, y, z) == pytest.approx(slow_surface_visibility(light, x, y, z), abs=0.04)


def test_outside_of_the_shadow_map_and_without_one_all_is_lit():
    light = shadowed_light(np.full((24, 24), 9.0))
    assert surface_visibility(light, 0, 0.0, 0.0, 0.0) == 0
    assert surface_visibility(light, 0, 50.0, 0.0, 0.0) == 1
    assert surface_visibility(light, 1, 0.0, 0.0, 0.0) == 1, "only the first lamps have a map"
    assert surface_visibility(light, 0, 0.0, 0.0, 8.99) == 1, "within the bias"


def test_mixing_by_the_kernel_equals_mixing_with_a_picture():
    rng = np.random.default_rng(6)
    image, weight = rng.random((5, 7, 3)).astype(np.float32), rng.random((5, 7)).astype(np.float32)
    color = np.array([0.1, 0.5, 0.9])
    one_color = mix(image, color, weight)
    picture = mix(image, np.broadcast_to(color.astype(np.float32), image.shape), weight)
    np.testing.assert_allclose(one_color, picture, atol=1e-6)
    np.testing.assert_allclose(mix(image, color, np.zeros((5, 7))), image)
    np.testing.assert_allclose(mix(image, color, np.ones((5, 7)))[2, 3], color, atol=1e-6)


def test_noise_has_unit_deviation_and_its_first_grid_sets_the_scale():
    def roughness(cells):
        noise = fractal_noise(np.random.default_rng(0), (96, 64), octaves=3, cells=cells)
        assert noise.shape == (64, 96) and noise.std() == pytest.approx(1, abs=1e-3)
        return np.abs(np.diff(noise, axis=1)).mean()

    assert roughness(2) < 0.6 * roughness(8) < 0.6 * roughness(24)
