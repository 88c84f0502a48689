"""Settings of an examination."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from arcface_paddle.data.data_settings import default_workers
from arcface_paddle.errors import ConfigError

AFFINITIES = ("cosine", "euclidean")
"""The distance of two images: 1 - cosine, or that of their normalised embeddings."""

LINKAGES = ("average", "complete", "single")
"""The distance of two clusters: mean, largest or smallest of their images' distances."""

MAX_ANGLE_DEG = 75.0
"""Of the paper on sub-centres: pictures further than this from the dominant one are dropped (MS1MV0, K = 3)."""


@dataclass(frozen=True)
class DoctorSettings:
    """What is looked for and from which value on it counts.

    Attributes:
        image_size: width and height in pixels that every crop should have.
        near_radius: perceptual hashes of near duplicates differ in at most this many of 64 bits, where every image
            meets every other.
        kin_radius: the same bound within one identity, where the pairs are few. Of 240 synthetic faces cropped by 2
            pixels 22 % stay within 3 bits, 83 % within 7, 98 % within 11.
        verification_radius: the same bound between the dataset and verification sets.
        near_correlation: near duplicates' 48 x 48 grey pictures correlate at least this much (-1 to 1), or nearer to
            1 by half after alignment.
        dark_mean: mean level (0 to 255) up to which a picture is near-black.
        bright_mean: mean level from which a picture is near-white.
        gray_chroma: mean difference of the largest and smallest channel (levels) up to which a picture is grey.
        affinity: one of ``AFFINITIES``.
        linkage: one of ``LINKAGES``.
        cluster_distance: distance at which images of one label part, by ``affinity`` and ``linkage``. With cosine,
            average linkage and
            the shipped recogniser, on 60 synthetic identities of 10 images and one stranger each, 0.6 finds 85 % of
            the strangers and rejects 2.3 % of the others; 0.7 (what egcode/facerec uses with its own recogniser)
            64 and 0.8 %, 0.5 98 and 5 %.
        cluster_cap: images of one identity that are clustered; further ones join by their mean similarity.
        match_similarity: cosine of an image and an identity's centroid from which they may be one person.
        mislabel_margin: lead in similarity that another identity must have over an image's own one.
        merge_similarity: cosine of two centroids from which they are one person. Averaging brings all centroids
            nearer to each other than single images are: on synthetic identities, centroids of two halves of a person
            were 0.81 to 0.96 similar, those of two persons up to 0.757 (90 people, 2200 pairs).
        sample: number of images to examine, whole identities drawn at random; all when None.
        seed: seed of the sample and of the choice within very large identities.
        workers: decoding threads.
        embed_batch: images per call of the embedder.
        max_listed: findings of one kind that are listed; the count is always complete.
        ignored: kinds of finding that are listed but do not count as problems.
    """

    image_size: int = 112
    near_radius: int = 3
    kin_radius: int = 11
    verification_radius: int = 7
    near_correlation: float = 0.98
    dark_mean: float = 8.0
    bright_mean: float = 247.0
    gray_chroma: float = 1.5
    affinity: str = AFFINITIES[0]
    linkage: str = LINKAGES[0]
    cluster_distance: float = 0.6
    cluster_cap: int = 1000
    match_similarity: float = 0.6
    mislabel_margin: float = 0.2
    merge_similarity: float = 0.78
    sample: Optional[int] = None
    seed: int = 0
    workers: int = field(default_factory=default_workers)
    embed_batch: int = 64
    max_listed: int = 10_000
    ignored: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        _require_range("image_size", self.image_size, 16, 4096)
        _require_range("near_radius", self.near_radius, 0, 11)
        _require_range("kin_radius", self.kin_radius, 0, 11)
        _require_range("verification_radius", self.verification_radius, 0, 11)
        _require_range("near_correlation", self.near_correlation, -1, 1)
        _require_range("dark_mean", self.dark_mean, 0, 255)
        _require_range("bright_mean", self.bright_mean, self.dark_mean, 255)
        _require_range("gray_chroma", self.gray_chroma, 0, 255)
        _require_choice("affinity", self.affinity, AFFINITIES)
        _require_choice("linkage", self.linkage, LINKAGES)
        _require_range("cluster_distance", self.cluster_distance, 0, 2)
        _require_range("cluster_cap", self.cluster_cap, 2, 20_000)
        _require_range("match_similarity", self.match_similarity, -1, 1)
        _require_range("mislabel_margin", self.mislabel_margin, 0, 2)
        _require_range("merge_similarity", self.merge_similarity, -1, 1)
        _require_range("sample", 1 if self.sample is None else self.sample, 1, 2**40)
        _require_range("workers", self.workers, 1, 1024)
        _require_range("embed_batch", self.embed_batch, 1, 65_536)
        _require_range("max_listed", self.max_listed, 1, 2**31)


def _require_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}; allowed: {', '.join(allowed)}")


def _require_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} is {value}; allowed: {low:g} to {high:g}")
