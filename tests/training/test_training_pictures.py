"""Pictures on their way to the network: values, and which of them are mirrored."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from arcface_paddle.training.pictures import Upload, on_device


def test_pixels_become_numbers_and_some_are_mirrored() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 4, 5), dtype=np.uint8)
    expected = ((pixels / 255.0 - 0.5) / 0.5).astype(np.float32)
    plain = on_device(SimpleNamespace(images=pixels, mirrors=None), Upload()).numpy()
    np.testing.assert_allclose(plain, expected, atol=1e-7)
    some = on_device(SimpleNamespace(images=pixels, mirrors=np.array([True, False, True])), Upload()).numpy()
    np.testing.assert_array_equal(some[1], plain[1])
    np.testing.assert_array_equal(some[::2], plain[::2, :, :, ::-1])


def test_what_is_prepared_already_stays_as_it_is() -> None:
    ready = np.full((2, 3, 4, 4), 0.5, np.float32)
    np.testing.assert_array_equal(on_device(SimpleNamespace(images=ready, mirrors=None), Upload()).numpy(), ready)
