"""Colours of skin, hair and eyes, and the sRGB transfer curve. All rendering is done in linear light."""

from __future__ import annotations

from typing import Sequence, Union

import cv2
import numpy as np

from arcface_paddle.synthetic.kernels.color_kernels import mix_color

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
"""Weights of linear RGB in luminance (Rec. 709)."""


def linear_from_srgb(values: Union[np.ndarray, Sequence[Sequence[float]]]) -> np.ndarray:
    """Turn sRGB values 0 to 255 into linear light 0 to 1 (IEC 61966-2-1)."""
    unit = np.asarray(values, dtype=np.float64) / 255.0
    return np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(values: np.ndarray) -> np.ndarray:
    """Turn linear light into sRGB 0 to 1, float32; what is outside of 0 to 1 is clipped."""
    table_index = np.sqrt(np.clip(values, 0, 1)) * (len(_SRGB_TABLE) - 1)
    return _SRGB_TABLE[(table_index + 0.5).astype(np.int32)]


def mix(image: np.ndarray, paint: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) float32: ``image`` where ``weight`` (H, W) is 0 and ``paint`` where it is 1.

    ``paint`` is one colour (3,) or a picture (H, W, 3).
    """
    weight = np.asarray(weight, dtype=np.float32)
    if paint.ndim == 3:
        return image + (paint - image) * weight[:, :, None]
    out = np.empty(image.shape, dtype=np.float32)
    mix_color(np.asarray(image, dtype=np.float32), np.asarray(paint, dtype=np.float32), weight, out)
    return out


def draw_any_color(rng: np.random.Generator, *, low: float, high: float, saturation: float) -> np.ndarray:
    """Draw a linear RGB colour whose sRGB values lie in ``low``..``high``, drawn towards grey by 1 - saturation."""
    color = linear_from_srgb(rng.uniform(low, high, 3))
    return color * saturation + color.mean() * (1 - saturation)


def fractal_noise(
    rng: np.random.Generator, size_wh: tuple[int, int], *, octaves: int, cells: int, persistence: float = 0.55
) -> np.ndarray:
    """Return (H, W) float32 noise of unit deviation: smooth random grids of doubling density, summed.

    Args:
        rng: source of randomness.
        size_wh: width and height.
        octaves: number of grids.
        cells: cells of the coarsest grid along the width.
        persistence: weight of each grid against the one before.
    """
    width, height = size_wh
    total = np.zeros((height, width), dtype=np.float32)
    weight = 1.0
    for octave in range(octaves):
        columns = cells * 2**octave
        rows = max(2, columns * height // width + 2)
        grid = rng.standard_normal((rows, columns + 2), dtype=np.float32)
        total += weight * cv2.resize(grid, size_wh, interpolation=cv2.INTER_LINEAR)
        weight *= persistence
    return total / (float(total.std()) + 1e-6)


def _encode_srgb(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)


# Indexed by the square root of the light, which spaces the entries about evenly in sRGB.
_SRGB_TABLE = _encode_srgb(np.linspace(0, 1, 4096) ** 2).astype(np.float32)

SKIN_TONES = linear_from_srgb(
    [
        [247, 216, 200],
        [236, 194, 170],
        [222, 173, 143],
        [198, 148, 114],
        [164, 114, 82],
        [124, 82, 58],
        [84, 55, 42],
        [58, 38, 31],
    ]
)
"""Skin from lightest to darkest, (8, 3) linear RGB."""

HAIR_COLORS = linear_from_srgb(
    [
        [18, 15, 14],
        [32, 24, 20],
        [58, 40, 28],
        [92, 64, 42],
        [138, 104, 66],
        [188, 152, 100],
        [150, 72, 38],
    ]
)
"""Black, near black, dark brown, brown, dark blond, blond, red; (7, 3) linear RGB."""

GREY_HAIR_COLORS = linear_from_srgb([[150, 148, 146], [225, 222, 216]])
"""Grey and white hair, (2, 3) linear RGB."""

IRIS_COLORS = linear_from_srgb(
    [
        [60, 34, 18],
        [88, 54, 28],
        [112, 82, 44],
        [104, 108, 66],
        [88, 118, 104],
        [104, 138, 160],
        [78, 114, 158],
        [120, 130, 138],
    ]
)
"""Irises: two browns, hazel, green, grey green, light blue, blue, grey; (8, 3) linear RGB."""
