"""Datasets of labelled face crops in every layout that users have, batches for training, verification sets.

``open_dataset`` opens a dataset, ``BatchLoader`` makes batches of it, ``read_verification_set`` reads lfw-style sets.
"""

from __future__ import annotations

from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.data.kinds import DatasetSpec, open_dataset
from arcface_paddle.data.loader import BadSample, Batch, BatchLoader, LoaderOptions
from arcface_paddle.data.verification_set import VerificationSet, read_verification_set, write_verification_set

__all__ = [
    "BadSample",
    "Batch",
    "BatchLoader",
    "DatasetSpec",
    "FaceDataset",
    "LoaderOptions",
    "VerificationSet",
    "open_dataset",
    "read_verification_set",
    "write_verification_set",
]
