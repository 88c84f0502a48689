"""From linear light to a photograph: exposure, contrast, white balance, blur, resampling, noise, JPEG."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from arcface_paddle import images
from arcface_paddle.synthetic.color import LUMINANCE, srgb_from_linear

# Matched to crops of real photographs (centre: mean 117, standard deviation 63 of 255; measured by
# tools/benchmark.py synthetic).
_TARGET_LIGHT = 0.195  # linear, of the 80th percentile of the subject
_CONTRAST_RANGE = (1.3, 2.15)
_PIVOT = 0.44  # sRGB value that contrast leaves alone
_SHOULDER_START, _SHOULDER_SLOPE = 0.75, 0.8  # linear light from which highlights are compressed, and how much


@dataclass(frozen=True)
class CameraSettings:
    """What the camera and the file format do to a picture.

    Attributes:
        exposure_log: natural logarithm of the error of the exposure.
        exposure_auto: how far the camera corrects for dark and light subjects, 0 to 1.
        white_balance: factor per channel, RGB.
        contrast: factor about middle grey.
        saturation: factor of the colour.
        blur_px: deviation of the blur at 112 pixels, 0 for none.
        shrink: factor to which the picture is shrunk and enlarged again, 1 for none.
        noise: deviation, as a share of the full range.
        jpeg_quality: 0 for none.
    """

    exposure_log: float
    exposure_auto: float
    white_balance: tuple[float, float, float]
    contrast: float
    saturation: float
    blur_px: float
    shrink: float
    noise: float
    jpeg_quality: int


def draw_camera_settings(rng: np.random.Generator) -> CameraSettings:
    """Draw a camera, mostly a decent one."""
    balance = np.exp(rng.normal(0, 0.05, 3))
    return CameraSettings(
        exposure_log=float(rng.normal(0, 0.30)),
        exposure_auto=0.6,
        white_balance=(float(balance[0]), float(balance[1]), float(balance[2])),
        contrast=float(rng.uniform(*_CONTRAST_RANGE)),
        saturation=float(rng.uniform(0.6, 1.05)) if rng.random() > 0.04 else 0.0,
        blur_px=float(rng.uniform(0.3, 1.0)) if rng.random() < 0.45 else 0.0,
        shrink=float(rng.uniform(0.35, 0.75)) if rng.random() < 0.12 else 1.0,
        noise=float(rng.uniform(0.002, 0.022)),
        jpeg_quality=int(rng.uniform(45, 96)) if rng.random() < 0.7 else 0,
    )


def take_photograph(
    rng: np.random.Generator, light: np.ndarray, subject: np.ndarray, settings: CameraSettings
) -> np.ndarray:
    """Turn a scene into a picture.

    Args:
        rng: source of the noise.
        light: (H, W, 3) float32 linear RGB.
        subject: (H, W) bool, where the exposure is measured.
        settings: the camera.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    exposed = light * (_exposure(light, subject, settings) * np.array(settings.white_balance, dtype=np.float32))
    # A soft shoulder instead of hard clipping.
    exposed = exposed / (1 + np.maximum(exposed - _SHOULDER_START, 0) * _SHOULDER_SLOPE)
    values = srgb_from_linear(exposed)
    values = _apply_contrast(values, settings.contrast)
    gray = values.mean(axis=2, keepdims=True)
    values = gray + (values - gray) * settings.saturation
    values = _soften(values.astype(np.float32), settings)
    values = values + settings.noise * rng.standard_normal(values.shape, dtype=np.float32)
    picture = (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)
    return _compress(picture, settings.jpeg_quality)


def _apply_contrast(values: np.ndarray, contrast: float) -> np.ndarray:
    """Stretch sRGB values 0 to 1 about the pivot along a curve that bends towards black and white."""
    offset = (values - _PIVOT) * contrast
    room = np.where(offset > 0, 1 - _PIVOT, _PIVOT)
    square = (offset / room) ** 2
    return _PIVOT + offset / np.sqrt(np.sqrt(1 + square * square))


def _exposure(light: np.ndarray, subject: np.ndarray, settings: CameraSettings) -> float:
    luminance = light @ LUMINANCE
    seen = luminance[subject] if subject.any() else luminance
    level = max(float(np.percentile(seen, 80)), 1e-3)  # a percentile: glints must not darken faces
    return (_TARGET_LIGHT / level) ** settings.exposure_auto * float(np.exp(settings.exposure_log))


def _soften(values: np.ndarray, settings: CameraSettings) -> np.ndarray:
    height, width = values.shape[:2]
    if settings.blur_px:
        values = cv2.GaussianBlur(values, (0, 0), settings.blur_px * max(1.0, width / 224))
    if settings.shrink < 1:
        small = (max(8, round(width * settings.shrink)), max(8, round(height * settings.shrink)))
        values = cv2.resize(values, small, interpolation=cv2.INTER_AREA)
        values = cv2.resize(values, (width, height), interpolation=cv2.INTER_CUBIC)
    return values


def _compress(picture: np.ndarray, quality: int) -> np.ndarray:
    if not quality:
        return picture
    _, encoded = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return images.decode_crop(encoded.tobytes())
