"""Doubtful labels by the sub-centres of a trained classifier (Deng et al. 2020, Sub-center ArcFace, section 3.3).

A classifier with K centres a class gathers the clean pictures of a class at its dominant sub-centre, the one that is
nearest to most of them; pictures of other people, and some hard ones, end up at the others. A picture far from the
dominant sub-centre is doubted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np

from arcface_paddle.data.dataset import IMAGE_SIZE, FaceDataset
from arcface_paddle.data.parallel import ordered_map
from arcface_paddle.doctor.crop_embeddings import embed_checked, unit_rows
from arcface_paddle.doctor.doctor_settings import MAX_ANGLE_DEG
from arcface_paddle.errors import DataError, ImageError
from arcface_paddle.evaluation.embedder import Embed
from arcface_paddle.progress import progress


@dataclass(frozen=True)
class NoiseRule:
    """When a picture is doubted.

    Attributes:
        max_angle_deg: largest angle to the dominant sub-centre of its class.
        nondominant: doubt pictures that are nearer to another sub-centre too, whatever the angle.
    """

    max_angle_deg: float = MAX_ANGLE_DEG
    nondominant: bool = False


@dataclass(frozen=True, eq=False)
class SubcentreReport:
    """How the pictures of a dataset lie to the sub-centres of their classes.

    Attributes:
        angle_deg: (N,) float32, angle to the dominant sub-centre; NaN for a picture that cannot be read.
        nearest: (N,) int64, number of the nearest sub-centre of its class; -1 for a picture that cannot be read.
        dominant: (C,) int64, number of the dominant sub-centre of each class; 0 for a class without pictures.
        doubted: (N,) bool, whether the rule doubts the picture.
        rule: the rule.
    """

    angle_deg: np.ndarray
    nearest: np.ndarray
    dominant: np.ndarray
    doubted: np.ndarray
    rule: NoiseRule

    @property
    def unreadable(self) -> int:
        """Number of pictures that cannot be read; nothing is said of them, 'data doctor' finds them."""
        return int((self.nearest < 0).sum())

    def worst_first(self) -> np.ndarray:
        """Return the doubted pictures, those with the largest angle first."""
        doubted = np.flatnonzero(self.doubted)
        return doubted[np.argsort(-self.angle_deg[doubted], kind="stable")]

    def dominant_centres(self, centres: np.ndarray) -> np.ndarray:
        """Return the dominant sub-centre of each class, (C, D), of all of them, (C, K, D)."""
        return centres[np.arange(len(centres)), self.dominant]


def judge_subcentres(cosines: np.ndarray, labels: np.ndarray, *, num_classes: int, rule: NoiseRule) -> SubcentreReport:
    """Find the dominant sub-centre of each class, and doubt the pictures that the rule speaks of.

    Args:
        cosines: (N, K), of each picture to the sub-centres of its class; NaN for one that cannot be read.
        labels: (N,) integers.
        num_classes: C.
        rule: see ``NoiseRule``.
    """
    readable = np.isfinite(cosines).all(axis=1)
    known = np.flatnonzero(readable)
    nearest = np.full(len(labels), -1, dtype=np.int64)
    nearest[known] = cosines[known].argmax(axis=1)
    votes = np.zeros((num_classes, cosines.shape[1]), dtype=np.int64)
    np.add.at(votes, (labels[known], nearest[known]), 1)
    dominant = votes.argmax(axis=1)
    angle = np.full(len(labels), np.nan, dtype=np.float32)
    to_dominant = cosines[known, dominant[labels[known]]]
    angle[known] = np.degrees(np.arccos(np.clip(to_dominant.astype(np.float64), -1.0, 1.0)))
    doubted = np.zeros(len(labels), dtype=bool)
    doubted[known] = angle[known] > rule.max_angle_deg
    if rule.nondominant:
        doubted[known] |= nearest[known] != dominant[labels[known]]
    return SubcentreReport(angle, nearest, dominant, doubted, rule)


def subcentre_cosines(
    dataset: FaceDataset, embed: Embed, *, centres: np.ndarray, batch_size: int = 64, workers: int = 1
) -> np.ndarray:
    """Embed every picture and return its cosines to the sub-centres of its class.

    Args:
        dataset: labelled crops.
        embed: the network that was trained with these centres.
        centres: (C, K, D), not normalised.
        batch_size: pictures per run of the network.
        workers: decoding threads.

    Returns:
        (N, K) float32; NaN for a picture that cannot be read.

    Raises:
        DataError: a label without centres, or features of another length.
    """
    if dataset.num_classes > len(centres):
        raise DataError(
            f"{dataset.name} has {dataset.num_classes} classes, the classifier {len(centres)}: name the data of the run"
        )
    units = unit_rows(centres.reshape(-1, centres.shape[2])).reshape(centres.shape)
    cosines = np.full((len(dataset), centres.shape[1]), np.nan, dtype=np.float32)

    def crops_from(start: int) -> tuple[np.ndarray, np.ndarray]:
        indices = range(start, min(start + batch_size, len(dataset)))
        read = [(index, crop) for index in indices for crop in [_crop(dataset, index)] if crop is not None]
        crops = np.stack([crop for _, crop in read]) if read else np.empty((0, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        return np.array([index for index, _ in read], dtype=np.int64), crops

    with progress(total=len(dataset), desc="embedding", unit="img") as bar:
        for indices, crops in ordered_map(crops_from, range(0, len(dataset), batch_size), workers=workers):
            if len(indices):
                embeddings = embed_checked(embed, crops)
                own = units[dataset.labels[indices]]
                if embeddings.shape[1] != own.shape[2]:
                    raise DataError(f"features have length {embeddings.shape[1]}, the centres {own.shape[2]}")
                cosines[indices] = np.einsum("nkd,nd->nk", own, embeddings)
            bar.update(min(batch_size, len(dataset) - bar.n))
    return cosines


def _crop(dataset: FaceDataset, index: int) -> Optional[np.ndarray]:
    try:
        return dataset.read_image(index)
    except (DataError, ImageError, OSError):
        return None
