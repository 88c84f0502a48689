"""Compiled loops over strands of hair: growth outside of the skull, light, drawing and shadows.

Strands are (N, K, 3) float32: N strands of K points.
"""

from __future__ import annotations

import math

import numpy as np

from arcface_paddle.synthetic.kernels.compiled import compiled, inlined
from arcface_paddle.synthetic.kernels.light_kernels import Light, ambient_light, strand_visibility

_SKIN_GAP = 0.02  # dm: no strand lies nearer to the skin


@compiled
def hash_unit(first: int, second: int) -> float:
    """Return a number in [0, 1) that depends on two integers only."""
    # Primes of Teschner et al., "Optimized spatial hashing for collision detection of deformable objects", 2003.
    value = (first * 73856093) ^ (second * 19349663)
    value = (value ^ (value >> 13)) * 1274126177
    return ((value ^ (value >> 16)) & 0xFFFF) / 65536.0


@compiled
def skull_distance(radius_map: np.ndarray, x: float, y: float, z: float, distance: float) -> float:
    """Return the radius of the skull in the direction of an offset from its centre (bilinear in the map)."""
    rows, columns = radius_map.shape
    polar = math.acos(max(-1.0, min(1.0, y / distance))) / math.pi * (rows - 1)
    azimuth = (math.atan2(x, z) / (2 * math.pi) + 0.5) * columns
    row = min(rows - 2, int(polar))
    down = polar - row
    column = int(azimuth) % columns
    after = (column + 1) % columns
    right = azimuth - math.floor(azimuth)
    upper = radius_map[row, column] * (1 - right) + radius_map[row, after] * right
    lower = radius_map[row + 1, column] * (1 - right) + radius_map[row + 1, after] * right
    return upper * (1 - down) + lower * down


@inlined
def keep_outside(
    radius_map: np.ndarray,
    centre: np.ndarray,
    clearance: float,
    px: float,
    py: float,
    pz: float,
    dx: float,
    dy: float,
    dz: float,
) -> tuple[float, float, float, float, float, float]:
    """Lift point p of a strand to ``clearance`` above the skull, and take what leads inward from its direction d."""
    rx, ry, rz = px - centre[0], py - centre[1], pz - centre[2]
    distance = math.sqrt(rx * rx + ry * ry + rz * rz) + 1e-9
    wanted = skull_distance(radius_map, rx, ry, rz, distance) + clearance
    if distance < wanted:
        lift = wanted / distance
        px, py, pz = centre[0] + rx * lift, centre[1] + ry * lift, centre[2] + rz * lift
        inward = (dx * rx + dy * ry + dz * rz) / distance
        if inward < 0:  # slide along the skull instead of into it
            dx -= inward * rx / distance
            dy -= inward * ry / distance
            dz -= inward * rz / distance
    return px, py, pz, dx, dy, dz


@compiled
def grow_strands(
    roots: np.ndarray,
    directions: np.ndarray,
    steps: np.ndarray,
    combs: np.ndarray,
    comb_decay: float,
    gravity: float,
    curl: float,
    curl_turn: float,
    phases: np.ndarray,
    layers: np.ndarray,
    centre: np.ndarray,
    radius_map: np.ndarray,
    seed: int,
    strands: np.ndarray,
) -> None:
    """Grow every strand step by step, pulled, curled and kept outside of the skull.

    Args:
        roots: (N, 3) where the strands begin.
        directions: (N, 3) unit vectors in which they begin.
        steps: (N,) length of one step, dm.
        combs: (N, 3) added to the direction at the first step.
        comb_decay: factor of the comb from step to step.
        gravity: taken from the y of the direction at each step.
        curl: strength of the circular change of direction.
        curl_turn: radians by which that change turns at each step.
        phases: (N,) where the turn begins.
        layers: (N,) how far from the skull each strand comes to lie, dm.
        centre: (3,) centre of the skull.
        radius_map: radius of the skull, see ``skull_distance``.
        seed: seed of numba's own generator (it must be set inside of compiled code), for the small disorder.
        strands: (N, K, 3) float32, written.
    """
    np.random.seed(seed)
    count, points = strands.shape[:2]
    for s in range(count):
        px, py, pz = roots[s, 0], roots[s, 1], roots[s, 2]
        dx, dy, dz = directions[s, 0], directions[s, 1], directions[s, 2]
        strands[s, 0, 0], strands[s, 0, 1], strands[s, 0, 2] = px, py, pz
        combed = 1.0
        for q in range(1, points):
            turn = phases[s] + curl_turn * q  # y turns 1.3 times as fast, so that a lock is no regular corkscrew
            dx += combed * combs[s, 0] + curl * math.cos(turn) + (np.random.random() - 0.5) * 0.12
            dy += combed * combs[s, 1] - gravity + curl * math.sin(turn * 1.3) * 0.5 + (np.random.random() - 0.5) * 0.12
            dz += combed * combs[s, 2] + curl * math.sin(turn) + (np.random.random() - 0.5) * 0.12
            combed *= comb_decay
            scale = 1 / math.sqrt(dx * dx + dy * dy + dz * dz + 1e-9)
            dx, dy, dz = dx * scale, dy * scale, dz * scale
            px, py, pz = px + dx * steps[s], py + dy * steps[s], pz + dz * steps[s]
            # Near the root a strand lies close to the skin; it reaches its own layer after a third of its length.
            clearance = _SKIN_GAP + layers[s] * min(1.0, 3.0 * q / points)
            px, py, pz, dx, dy, dz = keep_outside(radius_map, centre, clearance, px, py, pz, dx, dy, dz)
            strands[s, q, 0], strands[s, q, 1], strands[s, q, 2] = px, py, pz


@compiled
def strand_tangent(strands: np.ndarray, s: int, q: int) -> tuple[float, float, float]:
    """Return the unit direction of strand ``s`` at point ``q``, from the point before it to the point after it."""
    before, after = max(q - 1, 0), min(q + 1, strands.shape[1] - 1)
    tx = strands[s, after, 0] - strands[s, before, 0]
    ty = strands[s, after, 1] - strands[s, before, 1]
    tz = strands[s, after, 2] - strands[s, before, 2]
    scale = 1 / math.sqrt(tx * tx + ty * ty + tz * tz + 1e-9)
    return tx * scale, ty * scale, tz * scale


@compiled
def strand_response(
    tx: float,
    ty: float,
    tz: float,
    nx: float,
    ny: float,
    nz: float,
    lx: float,
    ly: float,
    lz: float,
    vx: float,
    vy: float,
    vz: float,
    shine_power: float,
) -> tuple[float, float]:
    """Return diffuse light and highlight of a hair (Kajiya and Kay 1989) for tangent, normal, lamp and viewer.

    Both are sines of an angle with the tangent: of the lamp, and of the direction halfway to the viewer.
    """
    cosine = tx * lx + ty * ly + tz * lz
    sine = math.sqrt(max(0.0, 1 - cosine * cosine))
    # Their model lights hairs from behind as well; the normal darkens the far side of a mass of hair.
    diffuse = max(0.0, 0.25 + 0.75 * (nx * lx + ny * ly + nz * lz)) * sine
    hx, hy, hz = lx + vx, ly + vy, lz + vz
    scale = 1 / math.sqrt(hx * hx + hy * hy + hz * hz + 1e-9)
    half = (tx * hx + ty * hy + tz * hz) * scale
    return diffuse, math.sqrt(max(0.0, 1 - half * half)) ** shine_power


@compiled
def shade_strands(
    strands: np.ndarray,
    base: np.ndarray,
    root_light: float,
    camera_z: float,
    light: Light,
    shine: float,
    shine_power: float,
    colors: np.ndarray,
) -> None:
    """Light every point of every strand (Kajiya and Kay 1989) into ``colors`` (N, K, 3).

    Args:
        strands: posed points.
        base: (N, 3) colour of each strand.
        root_light: share of the light that reaches the roots.
        camera_z: distance of the camera on the z axis.
        light: all lights of the picture.
        shine: strength of the highlight.
        shine_power: exponent of the highlight.
        colors: written.
    """
    count, points = strands.shape[:2]
    for s in range(count):
        for q in range(points):
            tx, ty, tz = strand_tangent(strands, s, q)
            px, py, pz = strands[s, q, 0], strands[s, q, 1], strands[s, q, 2]
            vx, vy, vz = -px, -py, camera_z - pz
            scale = 1 / math.sqrt(vx * vx + vy * vy + vz * vz)
            vx, vy, vz = vx * scale, vy * scale, vz * scale
            # A hair has a normal in every direction across it; the one that faces the camera stands for them.
            along = tx * vx + ty * vy + tz * vz
            nx, ny, nz = vx - along * tx, vy - along * ty, vz - along * tz
            reached = root_light + (1 - root_light) * min(1.0, q / (points * 0.35))
            # A shortened normal: hair takes its ambient light from a wider part of the sky than a surface.
            red = ambient_light(light.ambient, 0, 0.6 * nx, 0.6 * ny, 0.6 * nz) * reached
            green = ambient_light(light.ambient, 1, 0.6 * nx, 0.6 * ny, 0.6 * nz) * reached
            blue = ambient_light(light.ambient, 2, 0.6 * nx, 0.6 * ny, 0.6 * nz) * reached
            shine_red, shine_green, shine_blue = 0.0, 0.0, 0.0
            for k in range(light.directions.shape[0]):
                lx, ly, lz = light.directions[k, 0], light.directions[k, 1], light.directions[k, 2]
                seen = strand_visibility(light, k, px, py, pz) * reached
                diffuse, glint = strand_response(tx, ty, tz, nx, ny, nz, lx, ly, lz, vx, vy, vz, shine_power)
                diffuse *= seen
                glint *= shine * seen
                red += light.colors[k, 0] * diffuse
                green += light.colors[k, 1] * diffuse
                blue += light.colors[k, 2] * diffuse
                shine_red += light.colors[k, 0] * glint
                shine_green += light.colors[k, 1] * glint
                shine_blue += light.colors[k, 2] * glint
            # Most of the highlight has passed through the hair and has its colour, a little is mirrored white.
            colors[s, q, 0] = base[s, 0] * (red + 1.5 * shine_red) + 0.02 * shine_red
            colors[s, q, 1] = base[s, 1] * (green + 1.5 * shine_green) + 0.02 * shine_green
            colors[s, q, 2] = base[s, 2] * (blue + 1.5 * shine_blue) + 0.02 * shine_blue


@inlined
def draw_across(
    s: int,
    q: int,
    share: float,
    x: float,
    y: float,
    z: float,
    half: float,
    chance: float,
    steep: bool,
    colors: np.ndarray,
    depth: np.ndarray,
    image: np.ndarray,
    alpha: np.ndarray,
) -> None:
    """Draw one row (``steep``) or column of pixels across strand ``s`` at ``share`` of the way from point ``q``."""
    height, width = depth.shape
    main = int(y) if steep else int(x)
    across = x if steep else y
    if main < 0 or main >= (height if steep else width):
        return
    first = max(0, int(across - half + 0.5))
    last = min((width if steep else height) - 1, int(across + half - 0.5))
    for other in range(first, last + 1):
        row = main if steep else other
        column = other if steep else main
        # A hash instead of a random generator: a strand keeps its gaps, whatever else is drawn.
        if z <= depth[row, column] or hash_unit(s * 977 + q, main * 4096 + other) >= chance:
            continue
        depth[row, column] = z
        alpha[row, column] = 1.0
        for channel in range(3):
            image[row, column, channel] = colors[s, q, channel] * (1 - share) + colors[s, q + 1, channel] * share


@compiled
def draw_strands(
    screen: np.ndarray,
    colors: np.ndarray,
    width_px: float,
    coverage: float,
    bias: float,
    depth: np.ndarray,
    image: np.ndarray,
    alpha: np.ndarray,
) -> None:
    """Draw strands that taper towards their tips in front of what the depth buffer holds.

    A strand thinner than a pixel covers only a part of it. It is drawn there at random with that probability, which
    needs no sorting by depth and turns into coverage when the picture is scaled down.

    Args:
        screen: (N, K, 3) float32 x, y in pixels and depth.
        colors: (N, K, 3) float32.
        width_px: width at the root.
        coverage: probability that a pixel of a strand is drawn.
        bias: added to the depth, so that hair that lies on the skin is seen.
        depth: (H, W), updated.
        image: (H, W, 3), updated.
        alpha: (H, W), updated.
    """
    height, width = depth.shape
    count, points = screen.shape[:2]
    for s in range(count):
        for q in range(points - 1):
            x0, y0, x1, y1 = screen[s, q, 0], screen[s, q, 1], screen[s, q + 1, 0], screen[s, q + 1, 1]
            if max(x0, x1) < -4 or min(x0, x1) > width + 4 or max(y0, y1) < -4 or min(y0, y1) > height + 4:
                continue
            dx, dy = x1 - x0, y1 - y0
            pieces = int(max(abs(dx), abs(dy))) + 1
            if pieces > 4 * (width + height):  # a point beside the camera is projected far away
                continue
            # Full width over two fifths of the length, then down to a quarter at the tip.
            taper = 1.0 - 0.75 * max(0.0, (q + 1.0) / (points - 1) - 0.4) / 0.6
            half = 0.5 * width_px * taper
            chance = coverage * min(1.0, 2 * half)
            half = max(0.5, half)  # at least one pixel is tried, with the chance of what is covered of it
            steep = abs(dy) >= abs(dx)
            for piece in range(pieces):
                share = piece / pieces
                x, y = x0 + dx * share, y0 + dy * share
                z = screen[s, q, 2] * (1 - share) + screen[s, q + 1, 2] * share + bias
                draw_across(s, q, share, x, y, z, half, chance, steep, colors, depth, image, alpha)


@compiled
def draw_strand_depth(screen: np.ndarray, depth: np.ndarray) -> None:
    """Draw strands into a shadow map (H, W), one pixel wide."""
    height, width = depth.shape
    count, points = screen.shape[:2]
    for s in range(count):
        for q in range(points - 1):
            dx = screen[s, q + 1, 0] - screen[s, q, 0]
            dy = screen[s, q + 1, 1] - screen[s, q, 1]
            pieces = int(max(abs(dx), abs(dy))) + 1
            if pieces > width + height:
                continue
            for piece in range(pieces):
                share = piece / pieces
                column = int(screen[s, q, 0] + dx * share)
                row = int(screen[s, q, 1] + dy * share)
                if 0 <= column < width and 0 <= row < height:
                    z = screen[s, q, 2] * (1 - share) + screen[s, q + 1, 2] * share
                    depth[row, column] = max(depth[row, column], z)
