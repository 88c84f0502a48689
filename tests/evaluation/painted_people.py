"""Labelled sets and pairs of painted "people", and a model that tells them apart: no photographs, no network."""

from __future__ import annotations

import cv2
import numpy as np

from arcface_paddle import images
from arcface_paddle.data.verification_set import write_verification_set


def crop(person, shot, *, noise=40.0, size=112):
    """Return a (size, size, 3) uint8 picture: the person's pattern under noise of the shot."""
    pattern = np.random.default_rng((7, person)).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    smooth = cv2.resize(pattern, (size, size), interpolation=cv2.INTER_CUBIC).astype(np.float64)
    noisy = smooth + np.random.default_rng((8, person, shot)).normal(0, noise, smooth.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def write_people(folder, *, people, shots, size=112):
    """Write one folder per person; return it."""
    for person in range(people):
        for shot in range(shots):
            images.write_image(folder / f"p{person:02d}" / f"{shot}.png", crop(person, shot, size=size))
    return folder


def write_pairs(path, *, pairs):
    """Write a verification set whose every second pair is genuine; return its path."""
    pictures, issame = [], []
    for pair in range(pairs):
        issame.append(pair % 2 == 0)
        others = (pair, 0), (pair, 1) if issame[-1] else (pair + 1000, 0)
        pictures += [images.encode_image(crop(*other), suffix=".png") for other in others]
    write_verification_set(path, pictures, issame)
    return path


def embed(crops):
    """A model: the picture shrunk to 7x7, less its mean: (N, 112, 112, 3) uint8 → (N, 147) float32."""
    assert crops.dtype == np.uint8 and crops.shape[1:] == (112, 112, 3)
    small = [cv2.resize(one, (7, 7), interpolation=cv2.INTER_AREA) for one in crops]
    features = np.stack(small).reshape(len(crops), -1).astype(np.float32)
    return features - features.mean(axis=1, keepdims=True)
