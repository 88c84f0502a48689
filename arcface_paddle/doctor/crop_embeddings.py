"""Embeddings of the whole dataset in a temporary file: half precision, read back by row."""

from __future__ import annotations

import hashlib
import os
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Optional

import numpy as np

from arcface_paddle import files, images
from arcface_paddle.data.dataset import IMAGE_SIZE, FaceDataset
from arcface_paddle.data.parallel import ordered_map
from arcface_paddle.doctor.doctor_settings import DoctorSettings
from arcface_paddle.doctor.scan import decode_checked
from arcface_paddle.errors import DataError
from arcface_paddle.evaluation.embedder import Embed
from arcface_paddle.progress import progress

_BYTES_PER_VALUE = np.dtype(np.float16).itemsize
_ROWS_AT_A_TIME = 1 << 14
_SAME_EMBEDDING = 0.02  # engines differ by less, other models by far more


@dataclass(frozen=True)
class EmbeddingCache:
    """Where embeddings stay for the next examination.

    Attributes:
        folder: for a file per set of images and model; it is created.
        model: whatever tells the embedder from others, such as the hash of its weights.
    """

    folder: Path
    model: str

    def file_of(self, digests: np.ndarray) -> Path:
        """Return the file for images with these content digests, (M,) uint64, in this order."""
        key = hashlib.blake2b(self.model.encode(), digest_size=8)
        key.update(np.ascontiguousarray(digests).data)
        return self.folder / f"embeddings-{key.hexdigest()}.f16"


class EmbeddingStore(AbstractContextManager["EmbeddingStore"]):
    """Embeddings of some images of a dataset; a float16 file that vanishes when the block ends, unless it is a cache.

    5.8 million embeddings of 192 values take 2.2 GB on disk and next to nothing in memory. They are written with
    ordinary writes: a full disk is then an error, and not the end of the process as with a memory map.
    """

    def __init__(self, indices: np.ndarray, *, cached_at: Optional[Path] = None) -> None:
        """Prepare for the images ``indices``, (M,) int64, ascending; ``cached_at`` is a file that stays."""
        self.indices = indices
        self._scratch = ExitStack()
        self._is_shared = cached_at is not None
        self.path = cached_at or self._scratch.enter_context(files.scratch_folder()) / "embeddings.f16"
        self._stream: Optional[BinaryIO] = None
        self._rows = np.empty((0, 1), dtype=np.float16)

    def __exit__(
        self,
        error_type: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._rows = np.empty((0, 1), dtype=np.float16)
        if self._stream is not None:
            self._stream.close()
        self._scratch.close()

    def begin(self, first: np.ndarray) -> int:
        """Open the file for the embeddings that follow ``first``, those of the first images, (B, D).

        What an earlier run has written is kept if it begins like ``first``.

        Returns:
            The number of images whose embeddings are there, at least B.

        Raises:
            DataError: another doctor is using the file.
            OSError: it cannot be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._is_shared:
            self._claim()
        kept = self._rows_of_earlier_run(first)
        self._stream = self.path.open("r+b" if kept else "wb")
        if not kept:
            self.append(first)
            return len(first)
        self._stream.seek(kept * first.shape[1] * _BYTES_PER_VALUE)
        self._stream.truncate()
        return kept

    def _claim(self) -> None:
        """Keep other doctors out: what one cuts off while another has it mapped ends that one's process."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        self._scratch.callback(os.close, descriptor)
        if not files.try_claim(descriptor):
            raise DataError(f"{self.path}: another doctor is using it; let one doctor at a time use it")

    def append(self, embeddings: np.ndarray) -> None:
        """Write the embeddings of the next images."""
        assert self._stream is not None
        self._stream.write(embeddings.astype(np.float16).tobytes())

    def finish(self, width: int) -> None:
        """End the writing; ``take`` works from now on. ``width`` is D."""
        assert self._stream is not None
        self._stream.close()
        try:
            self._rows = np.memmap(self.path, dtype=np.float16, mode="r", shape=(len(self.indices), width))
        except ValueError:  # it is shorter than what was written
            raise DataError(
                f"{self.path}: another program has cut the file meanwhile; let one doctor at a time use it"
            ) from None

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Return the embeddings of images of the dataset, (len, D) float32, L2-normalised."""
        return unit_rows(np.asarray(self._rows[np.searchsorted(self.indices, indices)], dtype=np.float32))

    def _rows_of_earlier_run(self, first: np.ndarray) -> int:
        if not self.path.is_file():
            return 0
        width = first.shape[1]
        count = min(self.path.stat().st_size // (width * _BYTES_PER_VALUE), len(self.indices))
        if count < len(first):
            return 0
        try:
            present = np.fromfile(self.path, dtype=np.float16, count=len(first) * width).reshape(first.shape)
            return self._sound_rows(count, width) if np.allclose(present, first, atol=_SAME_EMBEDDING) else 0
        except ValueError:  # it was cut since its size was asked for
            return 0

    def _sound_rows(self, count: int, width: int) -> int:
        """Return how many rows from the first on can be embeddings: of length 1, or of zeros."""
        rows = np.memmap(self.path, dtype=np.float16, mode="r", shape=(count, width))
        for start in range(0, count, _ROWS_AT_A_TIME):
            block = np.asarray(rows[start : start + _ROWS_AT_A_TIME], dtype=np.float32)
            lengths = np.linalg.norm(block, axis=1)
            sound = (np.abs(lengths - 1) < _SAME_EMBEDDING) | (lengths == 0)  # NaN is neither
            if not sound.all():
                return start + int(np.argmin(sound))
        return count


def fill_store(store: EmbeddingStore, dataset: FaceDataset, *, embedder: Embed, settings: DoctorSettings) -> None:
    """Decode (in threads) and embed (in this thread) every image of the store that an earlier run has not embedded.

    Raises:
        DataError: the embedder gives another number of rows than it got, or values that are not finite; or the
            embeddings cannot be written.
    """
    size, count = settings.embed_batch, len(store.indices)

    def crops_from(start: int) -> np.ndarray:
        return np.stack([read_crop(dataset, index) for index in store.indices[start : start + size].tolist()])

    first = embed_checked(embedder, crops_from(0))
    try:
        done = store.begin(first)
        starts = range(done, count, size)
        with progress(total=count, initial=done, desc="embedding", unit="img") as bar:
            for crops in ordered_map(crops_from, starts, workers=settings.workers):
                store.append(embed_checked(embedder, crops))
                bar.update(len(crops))
        store.finish(first.shape[1])
    except OSError as error:
        needed = count * first.shape[1] * _BYTES_PER_VALUE / 1e6
        raise DataError(
            f"{store.path}: the embeddings cannot be written: {error.strerror or error}; "
            f"{needed:,.1f} MB are needed, choose a folder for them by --cache or the variable TMPDIR"
        ) from None


def embed_checked(embedder: Embed, crops: np.ndarray) -> np.ndarray:
    """Embed (N, 112, 112, 3) uint8 crops: (N, D) float32, L2-normalised. Raises ``DataError`` as ``fill_store``."""
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
    size = (IMAGE_SIZE, IMAGE_SIZE)
    return image if image.shape[:2] == size else images.resize(image, size)


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Scale each row of (N, D) to length 1; rows of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)
