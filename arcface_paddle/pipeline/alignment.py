"""Bringing faces to the template of the recogniser: the same warp for gallery, probe and training data."""

from __future__ import annotations

import numpy as np

from arcface_paddle.errors import ImageError
from arcface_paddle.pipeline.cards import ModelCard, RecognizerSpec
from arcface_paddle.pipeline.preprocessing import crop_square, resize, warp
from arcface_paddle.types import Detection

COMMON_SIZE_WH = (112, 112)
COMMON_TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Size and five points of the aligned crops that face recognition has in common: MS1M, LFW's .bin, this package.
Source: ArcFace (Deng et al. 2019), https://github.com/deepinsight/insightface/blob/master/common/face_align.py"""


def estimate_similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Find the rotation, scale and shift that bring points nearest to others, in closed form.

    With complex numbers z = x + iy a similarity without reflection is z -> a z + b, and the least-squares solution is
    a = sum(conj(z - mean z) (w - mean w)) / sum(abs(z - mean z) ** 2), b = mean w - a mean z. It is that of Umeyama
    (1991, https://doi.org/10.1109/34.88573) with the reflection ruled out.

    Args:
        source: (K, 2) x, y, at least two different points.
        target: (K, 2) x, y.

    Returns:
        (2, 3) float64 to be multiplied by (x, y, 1).

    Raises:
        ImageError: the source points coincide or are not finite.
    """
    z = source[:, 0].astype(np.float64) + 1j * source[:, 1].astype(np.float64)
    w = target[:, 0].astype(np.float64) + 1j * target[:, 1].astype(np.float64)
    centred = z - z.mean()
    spread = float(np.sum(np.abs(centred) ** 2))
    if not np.isfinite(spread) or spread < 1e-12:
        raise ImageError("the landmarks of a face coincide or are not finite; it cannot be aligned")
    a = np.sum(np.conj(centred) * (w - w.mean())) / spread
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def align_face(image: np.ndarray, detection: Detection, card: ModelCard) -> np.ndarray:
    """Cut a face out of a picture as the recogniser wants it.

    With landmarks: least-squares similarity to the template of the card, bilinear, black outside of the picture.
    A detection that says that the picture is the crop: as it is when it has the input size. Any other size is taken
    for the crop of ``COMMON_TEMPLATE``, scaled, and warped if the recogniser has another template; what the common
    crop does not show, such as the chin for ResNet29, is black then.
    Without landmarks (detectors that give boxes only): the square around the box, ``box_crop_factor`` times its longer
    side, so that the face keeps its proportions. On the photographs of the calibration this recognises far worse
    (rank-1 about 85 instead of 99 %); prefer a detector with landmarks.

    Args:
        image: (H, W, 3) uint8 RGB.
        detection: box and perhaps landmarks, in pixels of the picture.
        card: of a recogniser.

    Returns:
        (height, width, 3) uint8 RGB of the card's input size.

    Raises:
        ImageError: an empty box, or landmarks that coincide.
    """
    spec = recognizer_spec(card)
    if detection.is_crop:
        return _own_crop(image, card, np.asarray(spec.template))
    if detection.landmarks is not None:
        transform = estimate_similarity(detection.landmarks, np.asarray(spec.template))
        return warp(image, transform, size_wh=card.input.size_wh)
    left, top, right, bottom = (float(edge) for edge in detection.box_xyxy)
    side = max(right - left, bottom - top) * spec.box_crop_factor
    if not side > 0:
        raise ImageError(f"the box {left:.0f}, {top:.0f}, {right:.0f}, {bottom:.0f} of a face is empty")
    center = np.array([(left + right) / 2, (top + bottom) / 2])
    return crop_square(image, center, side, card.input.size_wh[0])


def _own_crop(crop: np.ndarray, card: ModelCard, template: np.ndarray) -> np.ndarray:
    size_wh = card.input.size_wh
    if crop.shape[1::-1] == size_wh or (size_wh == COMMON_SIZE_WH and np.array_equal(template, COMMON_TEMPLATE)):
        return resize(crop, size_wh, card.input)
    common = resize(crop, COMMON_SIZE_WH, card.input)
    return warp(common, estimate_similarity(COMMON_TEMPLATE, template), size_wh=size_wh)


def recognizer_spec(card: ModelCard) -> RecognizerSpec:
    """Return the recogniser's section of a card that ``open_model`` let through as one of a recogniser."""
    assert card.recognizer is not None, f"{card.name} is a model for {card.task}"
    return card.recognizer
