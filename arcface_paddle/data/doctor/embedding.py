"""Embeddings of the whole dataset in a temporary file: half precision, read back by row."""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Callable, Optional

import numpy as np
from tqdm import tqdm

from arcface_paddle import images
from arcface_paddle.data.base import FaceDataset
from arcface_paddle.data.doctor.scan import decode_checked
from arcface_paddle.data.doctor.settings import DoctorSettings
from arcface_paddle.data.parallel import ordered_map
from arcface_paddle.errors import DataError

CROP = 112
"""Width and height in pixels of the crops that an embedder takes."""

Embedder = Callable[[np.ndarray], np.ndarray]
"""(N, 112, 112, 3) uint8 RGB to (N, D) float32, L2-normalised."""


class EmbeddingStore(AbstractContextManager["EmbeddingStore"]):
    """Embeddings of some images of a dataset; a float16 file that vanishes when the block ends.

    5.8 million embeddings of 192 values take 2.2 GB on disk and next to nothing in memory.
    """

    def __init__(self, indices: np.ndarray) -> None:
        """Prepare for the images ``indices``, (M,) int64, ascending."""
        self.indices = indices
        self._folder = tempfile.TemporaryDirectory(prefix="arcface_doctor_")
        self._rows: Optional[np.ndarray] = None

    def __exit__(
        self,
        error_type: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._rows = None
        self._folder.cleanup()

    def put(self, first_row: int, embeddings: np.ndarray) -> None:
        """Write the embeddings of the images from ``indices[first_row]`` on."""
        if self._rows is None:
            path = Path(self._folder.name) / "embeddings.f16"
            shape = (len(self.indices), embeddings.shape[1])
            self._rows = np.memmap(path, dtype=np.float16, mode="w+", shape=shape)
        self._rows[first_row : first_row + len(embeddings)] = embeddings

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Return the embeddings of images of the dataset, (len, D) float32, L2-normalised."""
        if self._rows is None:
            return np.empty((0, 1), dtype=np.float32)
        return unit_rows(np.asarray(self._rows[np.searchsorted(self.indices, indices)], dtype=np.float32))


def fill_store(store: EmbeddingStore, dataset: FaceDataset, *, embedder: Embedder, settings: DoctorSettings) -> None:
    """Decode (in threads) and embed (in this thread) every image of the store.

    Raises:
        DataError: the embedder gives another number of rows than it got, or values that are not finite.
    """
    size = settings.embed_batch
    starts = range(0, len(store.indices), size)

    def crops_from(start: int) -> np.ndarray:
        return np.stack([read_crop(dataset, index) for index in store.indices[start : start + size].tolist()])

    with tqdm(total=len(store.indices), desc="embedding", unit="img", disable=None) as progress:
        for start, crops in zip(starts, ordered_map(crops_from, starts, workers=settings.workers)):
            store.put(start, embed_checked(embedder, crops))
            progress.update(len(crops))


def embed_checked(embedder: Embedder, crops: np.ndarray) -> np.ndarray:
    """Embed (N, 112, 112, 3) uint8 crops and check shape and values. Raises ``DataError`` as ``fill_store``."""
    embeddings = np.asarray(embedder(crops), dtype=np.float32)
    if embeddings.ndim != 2 or len(embeddings) != len(crops) or not np.isfinite(embeddings).all():
        raise DataError(
            f"the embedder gave an array of shape {embeddings.shape} for {len(crops)} crops; "
            f"expected ({len(crops)}, D) with finite values"
        )
    return unit_rows(embeddings)


def read_crop(dataset: FaceDataset, index: int) -> np.ndarray:
    """Decode an image and resize it to what embedders take, (112, 112, 3) uint8 RGB."""
    return to_crop(decode_checked(dataset.read_encoded(index)))


def to_crop(image: np.ndarray) -> np.ndarray:
    """Resize an (H, W, 3) picture to (112, 112, 3) unless it has that size."""
    return image if image.shape[:2] == (CROP, CROP) else images.resize(image, (CROP, CROP))


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Scale each row of (N, D) to length 1; rows of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)
