"""Fingerprints of pictures: exact (64-bit BLAKE2b) and perceptual (64-bit DCT hash)."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np

THUMBNAIL = 32
"""Width and height of the grey picture that hashes are taken of."""

COMPARED = 48
"""Width and height of the grey pictures that are compared."""

_FREQUENCIES = 8
_WORTH_ALIGNING = 0.84  # of 240 synthetic faces shifted or cropped by 2 pixels none correlated less than 0.847
_ALIGNING_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 1e-3)  # 0.6 ms; 30 steps find no more
_ALIGNING_BLUR = 3
_ALIGNING_MARGIN = 3  # what was cropped, shifted or turned has borders that the original does not have


def _dct_rows() -> np.ndarray:
    """Return the cosine basis of frequencies 0 to 8 over ``THUMBNAIL`` points, (9, THUMBNAIL) float32."""
    positions = (np.arange(THUMBNAIL) + 0.5) / THUMBNAIL
    return np.cos(np.pi * np.arange(_FREQUENCIES + 1)[:, None] * positions).astype(np.float32)


_DCT = _dct_rows()
_BIT_VALUES = np.uint64(1) << np.arange(64, dtype=np.uint64)
# Bit 8 v + h is the sign of vertical frequency v + 1 and horizontal frequency h + 1. A mirror image changes the sign
# of the odd horizontal frequencies, which are those with even h.
_MIRROR_BITS = np.uint64(0x5555555555555555)


def content_digest(content: bytes) -> int:
    """Return a 64-bit digest of bytes.

    Among n different inputs the chance of any collision is about n² / 2⁶⁵: 1e-6 for 5.8 million.
    """
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def pixel_digest(image: np.ndarray) -> int:
    """Return a 64-bit digest of decoded pixels and their shape, whatever file they came from."""
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(image).data)
    return int.from_bytes(digest.digest(), "little")


def gray_thumbnail(image: np.ndarray) -> np.ndarray:
    """Return the (32, 32) float32 grey picture (area average) of (H, W, 3) uint8 RGB, for ``perceptual_hash``."""
    return _gray(image, THUMBNAIL)


def compared_picture(image: np.ndarray) -> np.ndarray:
    """Return the (48, 48) float32 grey picture (area average) of (H, W, 3) uint8 RGB, for ``copy_similarity``."""
    return _gray(image, COMPARED)


def _gray(image: np.ndarray, side: int) -> np.ndarray:
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.resize(gray, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)


def perceptual_hash(thumbnail: np.ndarray) -> int:
    """Return the 64-bit hash of a grey thumbnail: the signs of 8 x 8 low DCT coefficients.

    The first row and column are left out: they hold the overall light, its gradients and the vertical and horizontal
    layout that all aligned faces share. Brightness and contrast do not change the signs. Of 300 synthetic faces,
    re-encoding at JPEG quality 30 moved 99.3 % by at most 3 bits and halving the pixels all; different pictures are
    mostly 21 bits apart, 5 at least.
    """
    coefficients = (_DCT @ thumbnail @ _DCT.T)[1:, 1:].ravel()
    bits = coefficients > 0
    return int(_BIT_VALUES[bits].sum(dtype=np.uint64))


def mirrored_hash(codes: np.ndarray) -> np.ndarray:
    """Return the perceptual hashes (uint64) that the mirror images of hashed pictures have."""
    return codes ^ _MIRROR_BITS


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return the zero-mean normalised correlation (-1 to 1) of two grey pictures of one size.

    Pictures without contrast correlate 1 with each other when their levels agree within 2, else 0.
    """
    a, b = first - first.mean(), second - second.mean()
    norm_a, norm_b = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    flat = float(np.sqrt(first.size))  # a standard deviation of one level
    if min(norm_a, norm_b) < flat:
        both_flat = max(norm_a, norm_b) < flat
        return 1.0 if both_flat and abs(float(first.mean() - second.mean())) <= 2 else 0.0
    return float((a * b).sum() / (norm_a * norm_b))


def copy_similarity(first: np.ndarray, second: np.ndarray, *, threshold: float) -> float:
    """Return how much two pictures look like copies: their correlation, if need be after aligning them.

    A copy that was cropped or shifted by two of 112 pixels correlates 0.91 to 0.98 with the original, like another
    picture of the same session. After an affine alignment, of 240 synthetic faces cropped by 2 or 4 pixels, shifted by
    2 or turned by 2 degrees at least 98 % correlate 0.99 or more, and different pictures of one person up to 0.970.
    So what correlates only after alignment must come nearer to 1 than ``threshold`` by half.

    Args:
        first: (48, 48) float32 grey picture from ``compared_picture``.
        second: the other one, likewise.
        threshold: correlation from which the caller takes them for copies.

    Returns:
        -1 to 1; at least ``threshold`` for copies.
    """
    plain = correlation(first, second)
    if plain >= threshold or plain < _WORTH_ALIGNING:
        return plain
    aligned = _aligned_correlation(first, second)
    return aligned if aligned >= (1 + threshold) / 2 else plain


def _aligned_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return the correlation after the affine alignment that makes it largest, -1 when none is found.

    Evangelidis, Psarakis: Parametric Image Alignment Using Enhanced Correlation Coefficient Maximization, PAMI 2008.
    """
    start = np.eye(2, 3, dtype=np.float32)
    mask = np.zeros(second.shape, dtype=np.uint8)
    mask[_ALIGNING_MARGIN:-_ALIGNING_MARGIN, _ALIGNING_MARGIN:-_ALIGNING_MARGIN] = 255
    try:
        found, _ = cv2.findTransformECC(first, second, start, cv2.MOTION_AFFINE, _ALIGNING_STEPS, mask, _ALIGNING_BLUR)
    except cv2.error:  # the iteration leaves the picture or stands still: they do not fit onto each other
        return -1.0
    return float(found)
