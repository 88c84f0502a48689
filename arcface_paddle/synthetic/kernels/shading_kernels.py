"""Compiled shading of everything that is not hair: skin, eyes, teeth, cloth."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from arcface_paddle.synthetic.kernels.compiled import compiled, inlined
from arcface_paddle.synthetic.kernels.light_kernels import Light, ambient_light, surface_visibility

# Materials, as numbered in head.py (numba reads module constants, not other modules').
_SKIN, _LEFT_EYE, _RIGHT_EYE, _TEETH, _TONGUE = 0, 1, 2, 3, 4


class Surface(NamedTuple):
    """A posed mesh with what is interpolated over its triangles.

    Attributes:
        triangles: (T, 3) int32.
        materials: (T,) uint8.
        points: (V, 3) float32.
        normals: (V, 3) float32.
        uv: (V, 2) float32 texture coordinates 0 to 1.
        masks: (V, 4) float32 lips, ears, eyelids, inner mouth.
        occlusion: (V,) float32.
        gaze: (V, 3) float32 offset from the eyeball's centre in the eye's own frame; 0 elsewhere.
    """

    triangles: np.ndarray
    materials: np.ndarray
    points: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    masks: np.ndarray
    occlusion: np.ndarray
    gaze: np.ndarray


class Look(NamedTuple):
    """Colours and reflection.

    Attributes:
        texture: (H, W, 5) float32 linear RGB, gloss, and the share of cloth in it.
        iris: (3,) float32.
        iris_ring: strength of the light ring about the pupil.
        iris_radius: angle on the eyeball, radians.
        pupil: share of the iris radius.
        lips: (3,) float32 factors of the skin's colour.
        lip_strength: how far those factors are applied, 0 to 1.
        teeth: brightness.
        cloth: (3,) float32 colour of a garment.
        specular: factor of all highlights.
        roughness: GGX roughness of the skin, 0 to 1.
        wrap: how far light creeps around the skin, by scattering.
    """

    texture: np.ndarray
    iris: np.ndarray
    iris_ring: float
    iris_radius: float
    pupil: float
    lips: np.ndarray
    lip_strength: float
    teeth: float
    cloth: np.ndarray
    specular: float
    roughness: float
    wrap: float


@compiled
def blend3(values: np.ndarray, i: int, j: int, k: int, a: float, b: float, c: float) -> tuple[float, float, float]:
    """Interpolate three columns over a triangle."""
    return (
        a * values[i, 0] + b * values[j, 0] + c * values[k, 0],
        a * values[i, 1] + b * values[j, 1] + c * values[k, 1],
        a * values[i, 2] + b * values[j, 2] + c * values[k, 2],
    )


@compiled
def unit(x: float, y: float, z: float) -> tuple[float, float, float]:
    """Scale a vector to length one."""
    scale = 1 / math.sqrt(x * x + y * y + z * z + 1e-12)
    return x * scale, y * scale, z * scale


@compiled
def sample_texture(texture: np.ndarray, u: float, v: float) -> tuple[float, float, float, float, float]:
    """Sample five channels bilinearly."""
    height, width = texture.shape[:2]
    x, y = u * width - 0.5, v * height - 0.5
    column, row = min(max(int(x), 0), width - 2), min(max(int(y), 0), height - 2)
    right, down = min(max(x - column, 0.0), 1.0), min(max(y - row, 0.0), 1.0)
    w00, w10, w01, w11 = (1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down
    upper, lower = texture[row], texture[row + 1]
    r = upper[column, 0] * w00 + upper[column + 1, 0] * w10 + lower[column, 0] * w01 + lower[column + 1, 0] * w11
    g = upper[column, 1] * w00 + upper[column + 1, 1] * w10 + lower[column, 1] * w01 + lower[column + 1, 1] * w11
    b = upper[column, 2] * w00 + upper[column + 1, 2] * w10 + lower[column, 2] * w01 + lower[column + 1, 2] * w11
    gloss = upper[column, 3] * w00 + upper[column + 1, 3] * w10 + lower[column, 3] * w01 + lower[column + 1, 3] * w11
    cloth = upper[column, 4] * w00 + upper[column + 1, 4] * w10 + lower[column, 4] * w01 + lower[column + 1, 4] * w11
    return r, g, b, gloss, cloth


@compiled
def iris_pattern(angle: float, share: float) -> float:
    """Return the brightness of the fibres of the iris at an angle and a share of its radius."""
    # The sine hash of shaders: a random brightness for each of 14 sectors per radian, with finer waves over it.
    cell = math.sin(math.floor(angle * 14) * 127.1 + 933.1) * 43758.5453
    return 0.75 + 0.3 * (cell - math.floor(cell)) + 0.25 * math.sin(angle * 23 + 4 * share)


@compiled
def eye_color(look: Look, x: float, y: float, z: float) -> tuple[float, float, float]:
    """Return the colour of the eyeball in the direction (x, y, z) from its centre; z is the gaze."""
    # The white is a warm grey and reddens towards the corners; the iris ends softly between .92 and 1.08 of its radius.
    from_axis = math.acos(min(1.0, max(-1.0, z)))
    share = from_axis / look.iris_radius
    vein = min(1.0, max(0.0, (share - 0.6) / 1.6))
    r, g, b = 0.58 * (1 - 0.05 * vein), 0.53 * (1 - 0.22 * vein), 0.51 * (1 - 0.25 * vein)
    if share >= 1.08:
        return r, g, b
    iris = 1.0 if share <= 0.92 else (1.08 - share) / 0.16
    if share < look.pupil:
        return r * (1 - iris) + 0.008 * iris, g * (1 - iris) + 0.008 * iris, b * (1 - iris) + 0.008 * iris
    light = iris_pattern(math.atan2(y, x), share) * (1 - 0.55 * max(0.0, (share - 0.75) / 0.25))
    ring = look.iris_ring * max(0.0, 1 - (share - look.pupil) / 0.35)
    return (
        r * (1 - iris) + (look.iris[0] + 0.25 * ring) * light * iris,
        g * (1 - iris) + (look.iris[1] + 0.15 * ring) * light * iris,
        b * (1 - iris) + look.iris[2] * light * iris,
    )


@compiled
def lamp_response(
    nx: float, ny: float, nz: float, lx: float, ly: float, lz: float, vx: float, vy: float, vz: float, roughness: float
) -> float:
    """Return the GGX highlight (Walter et al. 2007) times cosine and pi for a normal, a lamp and a viewer."""
    cosine = nx * lx + ny * ly + nz * lz
    if cosine <= 0:
        return 0.0
    facing = max(nx * vx + ny * vy + nz * vz, 0.02)  # at the rim an interpolated normal may face away
    hx, hy, hz = unit(lx + vx, ly + vy, lz + vz)
    half = max(0.0, nx * hx + ny * hy + nz * hz)
    grazing = max(0.0, vx * hx + vy * hy + vz * hz)
    alpha = roughness * roughness
    square = alpha * alpha
    denominator = half * half * (square - 1) + 1
    distribution = square / (math.pi * denominator * denominator)
    k = alpha * 0.5 + 0.02  # Schlick's approximation of the masking by neighbouring facets
    masking = 0.25 / ((cosine * (1 - k) + k) * (facing * (1 - k) + k))
    fresnel = 0.028 + 0.972 * (1 - grazing) ** 5  # Schlick; ((n - 1) / (n + 1))^2 with n = 1.4 for skin
    return min(distribution * masking * fresnel * cosine * math.pi, 6.0)  # the cap keeps single pixels from sparkling


@compiled
def skin_color(
    surface: Surface, look: Look, i: int, j: int, k: int, a: float, b: float, c: float
) -> tuple[float, float, float, float, float, float]:
    """Return colour, gloss, a factor of the occlusion and the share of cloth; lips and inner mouth differ by mask."""
    u = a * surface.uv[i, 0] + b * surface.uv[j, 0] + c * surface.uv[k, 0]
    v = a * surface.uv[i, 1] + b * surface.uv[j, 1] + c * surface.uv[k, 1]
    red, green, blue, gloss, cloth = sample_texture(look.texture, u, v)
    lip, ear, lid = blend3(surface.masks, i, j, k, a, b, c)
    inside = a * surface.masks[i, 3] + b * surface.masks[j, 3] + c * surface.masks[k, 3]
    lipstick = lip * look.lip_strength
    red *= 1 + lipstick * (look.lips[0] - 1)
    green *= (1 + lipstick * (look.lips[1] - 1)) * (1 - 0.12 * ear) * (1 - 0.10 * lid)
    blue *= (1 + lipstick * (look.lips[2] - 1)) * (1 - 0.10 * ear) * (1 - 0.06 * lid)
    open_sky = 1.0
    if inside > 0.3:  # nostrils and mouth share their texture with the lips
        depth = min(1.0, (inside - 0.3) * 2.5)
        red = red * (1 - depth) + depth * 0.20
        green = green * (1 - depth) + depth * 0.0625
        blue = blue * (1 - depth) + depth * 0.0625
        open_sky = 1 - 0.75 * depth
    return red, green, blue, gloss * (1 + 0.9 * lip), open_sky, cloth


@compiled
def shade_surface(
    numbers: np.ndarray,
    barycentric: np.ndarray,
    surface: Surface,
    look: Look,
    light: Light,
    camera_z: float,
    image: np.ndarray,
    alpha: np.ndarray,
) -> None:
    """Colour every pixel where a triangle of ``surface`` is seen.

    Args:
        numbers: (H, W) int32 triangle in front, -1 for none.
        barycentric: (H, W, 2) float32.
        surface: the posed mesh.
        look: colours and reflection of the mesh.
        light: the lamps.
        camera_z: distance of the camera on the z axis.
        image: (H, W, 3) float32 linear RGB, updated.
        alpha: (H, W) float32, set to 1 where drawn.
    """
    height, width = numbers.shape
    for row in range(height):
        for column in range(width):
            triangle = numbers[row, column]
            if triangle < 0:
                continue
            a, b = barycentric[row, column, 0], barycentric[row, column, 1]
            red, green, blue = shade_point(surface, look, light, camera_z, triangle, a, b)
            image[row, column, 0] = red
            image[row, column, 1] = green
            image[row, column, 2] = blue
            alpha[row, column] = 1.0


@inlined
def material_at(
    surface: Surface, look: Look, triangle: int, a: float, b: float
) -> tuple[float, float, float, float, float, float, float, float]:
    """Return what a point of a triangle is made of.

    Returns:
        Linear red, green and blue; strength of the highlight; GGX roughness; scattering (``Look.wrap``); share of the
        sky that it sees; share of cloth.
    """
    c = 1 - a - b
    i, j, k = surface.triangles[triangle, 0], surface.triangles[triangle, 1], surface.triangles[triangle, 2]
    material = surface.materials[triangle]
    open_sky = a * surface.occlusion[i] + b * surface.occlusion[j] + c * surface.occlusion[k]
    specular, roughness, wrap, cloth = look.specular, look.roughness, look.wrap, 0.0
    if material == _SKIN:
        red, green, blue, gloss, factor, cloth = skin_color(surface, look, i, j, k, a, b, c)
        specular *= gloss
        open_sky *= factor
    elif material in (_LEFT_EYE, _RIGHT_EYE):
        gx, gy, gz = blend3(surface.gaze, i, j, k, a, b, c)
        gx, gy, gz = unit(gx, gy, gz)
        red, green, blue = eye_color(look, gx, gy, gz)
        specular, roughness, wrap = 1.0, 0.08, 0.5
        open_sky = 0.2 + 0.8 * open_sky
    elif material == _TEETH:
        red, green, blue = look.teeth, look.teeth * 0.93, look.teeth * 0.80
        specular, roughness = 0.6, 0.3
        open_sky = 0.30 + 0.30 * open_sky  # the occlusion was measured with the mouth shut
    elif material == _TONGUE:
        red, green, blue = 0.35, 0.12, 0.12
        open_sky = 0.25 + 0.25 * open_sky
    else:
        red, green, blue = look.cloth[0], look.cloth[1], look.cloth[2]
        specular, cloth = specular * 0.15, 1.0
    return red, green, blue, specular, roughness, wrap * (1 - cloth), open_sky, cloth


@compiled
def shade_point(
    surface: Surface, look: Look, light: Light, camera_z: float, triangle: int, a: float, b: float
) -> tuple[float, float, float]:
    """Return the linear RGB that a point of a triangle sends to the camera."""
    c = 1 - a - b
    i, j, k = surface.triangles[triangle, 0], surface.triangles[triangle, 1], surface.triangles[triangle, 2]
    px, py, pz = blend3(surface.points, i, j, k, a, b, c)
    nx, ny, nz = blend3(surface.normals, i, j, k, a, b, c)
    nx, ny, nz = unit(nx, ny, nz)
    red, green, blue, specular, roughness, wrap, open_sky, cloth = material_at(surface, look, triangle, a, b)
    vx, vy, vz = unit(-px, -py, camera_z - pz)
    facing = max(nx * vx + ny * vy + nz * vz, 0.02)
    rx, ry, rz = 2 * facing * nx - vx, 2 * facing * ny - vy, 2 * facing * nz - vz
    # The sky mirrored by a rough surface: Schlick's Fresnel term, weaker where roughness blurs it away.
    mirror = (0.03 + 0.97 * (1 - facing) ** 5 * (1 - roughness)) * open_sky * specular
    # Blood scatters red light out of the shade, so red is occluded less; cloth has none.
    red_sky = math.sqrt(open_sky) * (1 - cloth) + open_sky * cloth
    sum_red = red * ambient_light(light.ambient, 0, nx, ny, nz) * red_sky
    sum_green = green * ambient_light(light.ambient, 1, nx, ny, nz) * open_sky
    sum_blue = blue * ambient_light(light.ambient, 2, nx, ny, nz) * open_sky
    sum_red += mirror * ambient_light(light.ambient, 0, rx, ry, rz)
    sum_green += mirror * ambient_light(light.ambient, 1, rx, ry, rz)
    sum_blue += mirror * ambient_light(light.ambient, 2, rx, ry, rz)
    for lamp in range(light.directions.shape[0]):
        lx, ly, lz = light.directions[lamp, 0], light.directions[lamp, 1], light.directions[lamp, 2]
        cosine = nx * lx + ny * ly + nz * lz
        seen = 1.0
        if cosine > -0.4:  # where a surface turns away farther, hardly any light creeps around it: spare the look-up
            seen = surface_visibility(light, lamp, px + nx * 0.012, py + ny * 0.012, pz + nz * 0.012)
        # Wrapped diffuse light: scattering carries red farthest into the shade, green and blue about half and a third.
        soft_red = max(0.0, (cosine + wrap) / (1 + wrap)) * (seen + (1 - seen) * 0.10 * (1 - cloth))
        soft_green = max(0.0, (cosine + wrap * 0.45) / (1 + wrap * 0.45)) * seen
        soft_blue = max(0.0, (cosine + wrap * 0.30) / (1 + wrap * 0.30)) * seen
        glint = 0.0
        if seen > 0:
            glint = lamp_response(nx, ny, nz, lx, ly, lz, vx, vy, vz, roughness) * specular * seen
        sum_red += light.colors[lamp, 0] * (red * soft_red + glint)
        sum_green += light.colors[lamp, 1] * (green * soft_green + glint)
        sum_blue += light.colors[lamp, 2] * (blue * soft_blue + glint)
    return sum_red, sum_green, sum_blue
