"""Datasets of labelled face crops in every layout that users have, batches for training, verification sets.

``open_dataset`` opens a dataset, ``BatchLoader`` makes batches of it, ``read_verification_set`` reads lfw-style sets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from arcface_paddle.lazy_names import loader_of

if TYPE_CHECKING:  # the names for editors and type checkers; they are loaded on first use
    from arcface_paddle.data.dataset import FaceDataset as FaceDataset
    from arcface_paddle.data.kinds import DatasetSpec as DatasetSpec
    from arcface_paddle.data.kinds import open_dataset as open_dataset
    from arcface_paddle.data.loader import BadSample as BadSample
    from arcface_paddle.data.loader import Batch as Batch
    from arcface_paddle.data.loader import BatchLoader as BatchLoader
    from arcface_paddle.data.loader import LoaderOptions as LoaderOptions
    from arcface_paddle.data.verification_set import VerificationSet as VerificationSet
    from arcface_paddle.data.verification_set import read_verification_set as read_verification_set
    from arcface_paddle.data.verification_set import write_verification_set as write_verification_set

_HOME_OF_NAME = {
    "BadSample": "arcface_paddle.data.loader",
    "Batch": "arcface_paddle.data.loader",
    "BatchLoader": "arcface_paddle.data.loader",
    "DatasetSpec": "arcface_paddle.data.kinds",
    "FaceDataset": "arcface_paddle.data.dataset",
    "LoaderOptions": "arcface_paddle.data.loader",
    "VerificationSet": "arcface_paddle.data.verification_set",
    "open_dataset": "arcface_paddle.data.kinds",
    "read_verification_set": "arcface_paddle.data.verification_set",
    "write_verification_set": "arcface_paddle.data.verification_set",
}

__all__ = sorted(_HOME_OF_NAME)
__getattr__ = loader_of(__name__, _HOME_OF_NAME)


def __dir__() -> list[str]:
    return __all__
