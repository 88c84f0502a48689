"""Embeddings of libraries that are larger than can be rendered in the time, drawn from models of two kinds.

``like_rendered`` fits a two-covariance Gaussian model to the embeddings of rendered people. ``like_card`` follows what
the card of the shipped recogniser says of photographs: with 1,500 people of six pictures, strangers reach similarities
of .35, .44, .52 and .58 at rates of 1e-2 to 1e-5 (card: .349, .463, .550, between .6 and .65), and 99.5, 98.7, 96.3
and 93.2 % of the pairs of one person reach them (card: 99.6, 98.8, 96.4, 90.3): it is a little kinder than
photographs. Its people come of twelve ancestries, some are as alike as kin, their pictures come in sessions, each has
a noise of its own (log-normal, so that some are hardly of use), and poor pictures resemble each other.
"""

from __future__ import annotations

import numpy as np

from arcface_paddle.library.grouping.evidence import fit_spread
from arcface_paddle.pipeline.cards import SimilaritySpec

DIRECTIONS = 160
"""In which faces that are drawn after the card differ; the strongest count for most."""

_MOST_SEEN = 530  # pictures of the person who is seen most often in Labeled Faces in the Wild
_SEEN_EXPONENT = 2.35  # of the number of pictures, there
_ANCESTRIES, _ANCESTRY_SHARE = 12, 0.0625
_KIN_SHARE, _KIN_CORRELATION = 0.03, 0.5
_SESSIONS, _SESSION_SHARE = 8, 0.35
_NOISE, _NOISE_SPREAD = 0.27, 0.9  # median variance of a picture's noise, that of people being 1; sigma of its log
_POOR_FROM, _POOR_PULL = 0.5, 0.25


def log_uniform_sizes(people: int, *, most: int, rng: np.random.Generator) -> np.ndarray:
    """Return how many pictures each person has: 1 to ``most``, log-uniform, and one in ten is seen once."""
    return np.where(rng.random(people) < 0.1, 1, np.round(most ** rng.random(people))).astype(np.int64)


def mostly_once_sizes(people: int, *, rng: np.random.Generator) -> np.ndarray:
    """Return how many pictures each person has when seven in ten are seen once, and a few hundreds of times."""
    return np.minimum(rng.zipf(_SEEN_EXPONENT, people), _MOST_SEEN).astype(np.int64)


def like_rendered(
    vectors: np.ndarray, people: np.ndarray, *, sizes: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings (N, D) float32 and people (N,) as a model of rendered ones (M, D) makes them."""
    model = fit_spread(vectors, people)
    back = np.linalg.inv(model.transform).astype(np.float32)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    width = vectors.shape[1]
    centres = rng.standard_normal((len(sizes), width), dtype=np.float32) * np.sqrt(model.between).astype(np.float32)
    faces = (centres[labels] + rng.standard_normal((len(labels), width), dtype=np.float32)) @ back
    faces += model.mean.astype(np.float32)
    return _normalised(faces), labels


def like_card(
    spec: SimilaritySpec, *, width: int, sizes: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings (N, ``width``) float32 and people (N,) whose similarities are as the card says of photographs.

    Args:
        spec: what a cosine is worth.
        width: D, more than ``DIRECTIONS``.
        sizes: (P,) pictures of each person.
        rng: draws them.
    """
    labels = np.repeat(np.arange(len(sizes)), sizes)
    between = np.arange(1, DIRECTIONS + 1) ** -0.4
    between /= np.sqrt((between**2).sum())
    turned = np.linalg.qr(rng.normal(size=(DIRECTIONS, DIRECTIONS)))[0]
    within = turned * np.arange(1, DIRECTIONS + 1) ** -0.35
    within /= np.sqrt((within**2).sum())
    noise = _NOISE * np.exp(_NOISE_SPREAD * rng.normal(size=len(labels)) + 0.15 * rng.normal(size=len(sizes))[labels])
    sessions = rng.normal(size=(len(sizes) * _SESSIONS, DIRECTIONS))
    shared = sessions[labels * _SESSIONS + rng.integers(0, _SESSIONS, len(labels))]
    own = rng.normal(size=(len(labels), DIRECTIONS))
    moved = (np.sqrt(_SESSION_SHARE) * shared + np.sqrt(1 - _SESSION_SHARE) * own) @ within.T
    poor = _normalised(rng.normal(size=(1, DIRECTIONS)))
    faces = _persons(len(sizes), between, rng)[labels] + np.sqrt(noise)[:, None] * moved
    faces += (_POOR_PULL * np.maximum(noise - _POOR_FROM, 0))[:, None] * poor
    # With this constant part, a cosine is offset + scale * similarity.
    placed = np.zeros((len(labels), width), np.float32)
    placed[:, :DIRECTIONS] = np.sqrt(spec.scale) * _normalised(faces)
    placed[:, DIRECTIONS] = np.sqrt(max(spec.offset, 0.0))
    return _normalised(placed), labels


def _persons(count: int, between: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return what people look like, (P, DIRECTIONS): by ancestry, some of them kin of the one before."""
    ancestries = rng.normal(size=(_ANCESTRIES, DIRECTIONS)) * between
    ancestries -= ancestries.mean(axis=0)
    own = rng.normal(size=(count, DIRECTIONS)) * between
    kin = int(count * _KIN_SHARE / 2) * 2
    own[1:kin:2] = _KIN_CORRELATION * own[0:kin:2] + np.sqrt(1 - _KIN_CORRELATION**2) * own[1:kin:2]
    shared = ancestries[rng.integers(0, _ANCESTRIES, count)]
    return np.asarray(np.sqrt(_ANCESTRY_SHARE) * shared + np.sqrt(1 - _ANCESTRY_SHARE) * own)


def _normalised(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)
