"""Fingerprints: what leaves them alone, what changes them, and what two copies have in common."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from doctor_faults import jpeg, picture, texture

from arcface_paddle import images
from arcface_paddle.pipeline import picture_hashes as hashing


def code_of(image: np.ndarray) -> int:
    return hashing.perceptual_hash(hashing.gray_thumbnail(image))


def distance(one: int, other: int) -> int:
    return bin(one ^ other).count("1")


def slow_hash(thumbnail: np.ndarray) -> int:
    """Return the signs of the low DCT coefficients by the definition of the transform."""
    size = len(thumbnail)
    code = 0
    for v in range(1, 9):
        for h in range(1, 9):
            down = np.cos(np.pi * v * (np.arange(size) + 0.5) / size)
            right = np.cos(np.pi * h * (np.arange(size) + 0.5) / size)
            if (down[:, None] * right[None] * thumbnail.astype(np.float64)).sum() > 0:
                code |= 1 << (8 * (v - 1) + (h - 1))
    return code


@pytest.mark.parametrize("person", range(5))
def test_hash_is_the_signs_of_the_low_frequencies(person):
    """Catches another order of bits, a first row that is kept, and another basis."""
    thumbnail = hashing.gray_thumbnail(picture(person, 0))
    assert distance(hashing.perceptual_hash(thumbnail), slow_hash(thumbnail)) == 0


@pytest.mark.parametrize("person", range(5))
def test_light_and_contrast_leave_the_hash_alone(person):
    thumbnail = hashing.gray_thumbnail(picture(person, 0))
    code = hashing.perceptual_hash(thumbnail)
    for changed in (thumbnail * 0.5, thumbnail + 30, thumbnail * 1.7 - 80):
        assert distance(hashing.perceptual_hash(changed.astype(np.float32)), code) <= 1
    assert distance(hashing.perceptual_hash(255 - thumbnail), code) >= 60, "the negative has all signs turned"


def test_gradients_along_one_direction_are_no_part_of_the_hash():
    ramp = np.tile(np.linspace(0, 40, 32, dtype=np.float32), (32, 1))
    thumbnail = hashing.gray_thumbnail(picture(3, 0))
    code = hashing.perceptual_hash(thumbnail)
    assert distance(hashing.perceptual_hash(thumbnail + ramp), code) <= 1
    assert distance(hashing.perceptual_hash(thumbnail + ramp.T), code) <= 1


@pytest.mark.parametrize("person", range(5))
def test_mirroring_twice_is_the_same_and_once_another_hash(person):
    codes = np.array([code_of(picture(person, shot)) for shot in range(3)], dtype=np.uint64)
    mirrored = hashing.mirrored_hash(codes)
    np.testing.assert_array_equal(hashing.mirrored_hash(mirrored), codes)
    assert all(distance(int(one), int(other)) == 32 for one, other in zip(codes, mirrored))
    for shot, code in enumerate(mirrored.tolist()):
        assert distance(code_of(np.ascontiguousarray(picture(person, shot)[:, ::-1])), code) <= 1


@pytest.mark.parametrize("pixels", [1, 2])
@pytest.mark.parametrize("person", range(4))
def test_cropped_and_shifted_copies_keep_a_near_hash(person, pixels):
    image = picture(person, 0)
    cropped = cv2.resize(image[pixels:-pixels, pixels:-pixels], (112, 112), interpolation=cv2.INTER_AREA)
    shifted = np.roll(image, pixels, axis=1)
    other = code_of(picture(person + 50, 0))
    for copy in (cropped, shifted):
        assert distance(code_of(copy), code_of(image)) <= 11 < distance(code_of(image), other)


def test_digest_of_bytes_is_one_of_64_bits_that_sees_every_byte():
    content = jpeg(picture(0, 0))
    digests = {hashing.content_digest(content)}
    for place in (0, len(content) // 2, len(content) - 1):
        changed = bytearray(content)
        changed[place] ^= 1
        digests.add(hashing.content_digest(bytes(changed)))
    assert len(digests) == 4 and all(0 <= digest < 2**64 for digest in digests)
    assert hashing.content_digest(content) == hashing.content_digest(bytes(content))


def test_pixels_of_different_files_have_one_digest():
    image = picture(1, 1)
    decoded = images.decode_crop(images.encode_image(image, suffix=".png"))
    strided = np.zeros((112, 224, 3), np.uint8)[:, ::2]
    strided[:] = image
    assert hashing.pixel_digest(decoded) == hashing.pixel_digest(image) == hashing.pixel_digest(strided)


@pytest.mark.parametrize(
    "digest_of",
    [
        lambda number: hashing.content_digest(bytes([number])),
        lambda number: hashing.pixel_digest(np.full((2, 2, 3), number, np.uint8)),
    ],
)
def test_digests_use_all_64_bits(digest_of):
    bits = 0
    for number in range(50):
        bits |= digest_of(number)
    assert bits == 2**64 - 1


def test_grey_pictures_average_areas_with_the_weights_of_luminance():
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, :, 0], image[:, 32:, 1] = 100, 200
    thumbnail = hashing.gray_thumbnail(image)
    assert thumbnail.shape == (32, 32) and thumbnail.dtype == np.float32
    assert thumbnail[0, 0] == pytest.approx(0.299 * 100, abs=0.6)
    assert thumbnail[0, 31] == pytest.approx(0.299 * 100 + 0.587 * 200, abs=0.6)
    assert hashing.compared_picture(image).shape == (48, 48)
    checkered = np.indices((96, 96)).sum(axis=0) % 2 * np.uint8(255)
    flat = hashing.compared_picture(np.repeat(checkered[:, :, None], 3, axis=2).astype(np.uint8))
    assert flat.std() < 1, "an average of areas, not single pixels"


def test_correlation_equals_that_of_numpy_and_knows_no_scale():
    one, other = texture((1,)), texture((2,))
    expected = np.corrcoef(one.ravel(), other.ravel())[0, 1]
    assert hashing.correlation(30 * one, 30 * other) == pytest.approx(expected, abs=1e-5)
    assert hashing.correlation(30 * one, 15 * one + 90) == pytest.approx(1, abs=1e-5)
    assert hashing.correlation(30 * one, 30 * other) == pytest.approx(hashing.correlation(30 * other, 30 * one))


def moved(image: np.ndarray, *, shift=(0.0, 0.0), angle_deg=0.0, scale=1.0) -> np.ndarray:
    matrix = cv2.getRotationMatrix2D((55.5, 55.5), angle_deg, scale)
    matrix[:, 2] += shift
    return cv2.warpAffine(image, matrix, (112, 112), borderMode=cv2.BORDER_REFLECT)


@pytest.mark.parametrize("how", [{"shift": (2, 1)}, {"shift": (-1.5, 2)}, {"angle_deg": 2}, {"scale": 1.03}], ids=str)
def test_copies_that_were_moved_a_little_are_aligned_first(how):
    similar = []
    for person in range(5):
        image = picture(person, 2)
        one, other = hashing.compared_picture(image), hashing.compared_picture(moved(image, **how))
        similar.append(hashing.copy_similarity(one, other, threshold=0.98))
    assert min(similar) >= 0.98


def test_alignment_counts_only_when_it_brings_pictures_much_nearer():
    """Two shots of a person are alike, but no alignment makes copies of them."""
    for person in range(6):
        one, other = (hashing.compared_picture(picture(person, shot)) for shot in (3, 4))
        plain = hashing.correlation(one, other)
        assert hashing.copy_similarity(one, other, threshold=0.98) == pytest.approx(plain)


def test_pictures_far_apart_are_not_aligned_at_all(monkeypatch):
    monkeypatch.setattr(hashing, "_aligned_correlation", lambda *_: pytest.fail("not worth the time"))
    one, other = (hashing.compared_picture(picture(person, 0)) for person in (1, 2))
    assert hashing.correlation(one, other) < 0.84
    hashing.copy_similarity(one, other, threshold=0.98)
    assert hashing.copy_similarity(one, one, threshold=0.98) == pytest.approx(1), "nor are those that agree already"


def test_alignment_that_fails_is_no_copy():
    flat = np.full((48, 48), 7, np.float32)
    assert hashing._aligned_correlation(flat, flat) == -1.0


@pytest.mark.parametrize(("aligned", "counts"), [(0.985, False), (0.9905, True)])
def test_alignment_must_come_nearer_to_one_by_half(monkeypatch, aligned, counts):
    """With a threshold of 0.98, what correlates only after alignment needs 0.99."""
    one = 30 * texture((1,)) + 128
    other = one + 12 * texture((2,))
    plain = hashing.correlation(one, other)
    assert 0.84 < plain < 0.98
    monkeypatch.setattr(hashing, "_aligned_correlation", lambda *_: aligned)
    assert hashing.copy_similarity(one, other, threshold=0.98) == (aligned if counts else pytest.approx(plain))
