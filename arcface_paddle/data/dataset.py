"""The contract of every face dataset: index in, decoded 112x112 picture and label out.

A dataset knows where its samples lie and what their labels are; it does not shuffle, mirror or batch, which is the
work of ``epoch_order``, ``batches`` and ``loader``. Pictures of another size than asked for are resized, because the
networks take one size only and the predecessors ended in "all input arrays must have the same shape";
``resized_count`` says how many were. A picture that is not square is stretched: it was not aligned, and the dataset
doctor reports it.
"""

from __future__ import annotations

import abc
import threading
from typing import Optional

import cv2
import numpy as np

from arcface_paddle import images
from arcface_paddle.data.data_settings import IMAGE_SIZE
from arcface_paddle.errors import DataError, ImageError

MAX_LABEL = 2**31 - 1
"""Labels are 32-bit in the classifier's kernels; a larger one is a damaged label file."""

_NORMALIZED = ((np.arange(256) / 255 - 0.5) / 0.5).astype(np.float32)
"""(256,) float32: (x/255 - 0.5)/0.5 of every value that a pixel has."""


class FaceDataset(abc.ABC):
    """Labelled face crops, accessible by index from any number of threads and processes.

    Attributes:
        labels: (N,) int64, from 0.
        num_classes: number of identities that a classifier needs, at least ``labels.max() + 1``.
        image_size: side in pixels of the pictures given out.
        resized_count: pictures read so far that had another size and were resized.
        remarks: what a user should know of how it was read, in whole sentences.
    """

    remarks: tuple[str, ...] = ()

    def __init__(
        self, labels: np.ndarray, *, name: str, num_classes: Optional[int] = None, image_size: int = IMAGE_SIZE
    ) -> None:
        """Check the labels.

        Args:
            labels: (N,) integers.
            name: what to call the dataset in errors, usually its path.
            num_classes: identities of the classifier; None takes the largest label plus one.
            image_size: side in pixels.

        Raises:
            DataError: no sample, a negative label, or one that does not fit ``num_classes``.
        """
        if len(labels) == 0:
            raise DataError(f"{name}: no samples, so zero identities; training needs at least one labelled picture")
        lowest, highest = int(labels.min()), int(labels.max())
        if lowest < 0 or highest > MAX_LABEL:
            raise DataError(f"{name}: labels from {lowest} to {highest}; allowed: 0 to {MAX_LABEL}")
        if num_classes is not None and highest >= num_classes:
            position = int(np.argmax(labels >= num_classes))
            raise DataError(
                f"{name}: sample {position} has label {int(labels[position])}, but num_classes is {num_classes}; "
                f"allowed: labels 0 to {num_classes - 1}, or num_classes of {highest + 1} and more"
            )
        self.labels = np.ascontiguousarray(labels, dtype=np.int64)
        self.num_classes = highest + 1 if num_classes is None else num_classes
        self.name = name
        self.image_size = image_size
        self.resized_count = 0
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, object]:
        """Return what another process needs; a lock cannot be sent."""
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def __len__(self) -> int:
        return len(self.labels)

    @abc.abstractmethod
    def read_encoded(self, index: int) -> bytes:
        """Return the encoded picture (JPEG, PNG, ...) of a sample as it was stored.

        Raises:
            DataError: it is missing, cannot be read or is damaged; the message names path and offset.
            ImageError: the picture file is missing or empty.
        """

    @abc.abstractmethod
    def path_of(self, index: int) -> str:
        """Return where a sample lies, for reports: a path, inside of a container with its position."""

    def read_image(self, index: int) -> np.ndarray:
        """Decode a sample.

        Returns:
            (image_size, image_size, 3) uint8 RGB.

        Raises:
            DataError: as ``read_encoded``.
            ImageError: not a picture, or a truncated one; the message names the path.
        """
        content = self.read_encoded(index)
        try:
            image = images.decode_crop(content)
        except ImageError:
            image = images.decode_crop(content, name=self.path_of(index))  # the same error, now with the path
        if image.shape[0] == self.image_size == image.shape[1]:
            return image
        self.count_resized(1)
        return images.resize(image, (self.image_size, self.image_size))

    def count_resized(self, count: int) -> None:
        """Add to ``resized_count``, from any thread; the loader passes on what its worker processes counted."""
        with self._lock:
            self.resized_count += count

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.int64]:
        """Return the (3, image_size, image_size) float32 RGB picture, normalised to -1..1, and its int64 label."""
        out = np.empty((3, self.image_size, self.image_size), dtype=np.float32)
        normalize_into(out, self.read_image(index))
        return out, self.labels[index]


def normalize_into(out: np.ndarray, image: np.ndarray, *, mirror: bool = False) -> None:
    """Write (x/255 - 0.5)/0.5 of a picture, optionally mirrored, into a (3, H, W) float32 array.

    Args:
        out: (3, H, W) float32 and contiguous, for example one row of a batch.
        image: (H, W, 3) uint8 RGB.
        mirror: swap left and right.
    """
    # OpenCV would quietly write elsewhere.
    assert out.shape[1:] == image.shape[:2] and out.dtype == np.float32, (out.shape, out.dtype, image.shape)
    if mirror:
        image = cv2.flip(image, 1)
    # The table first and the planes last: the large array is written once, past the cache. Split first, OpenCV writes
    # the small planes past the cache too, and reading them back doubles the cost.
    cv2.split(cv2.LUT(image, _NORMALIZED), list(out))


def planes_into(out: np.ndarray, image: np.ndarray) -> None:
    """Write the pixels of a picture, as they are, into a (3, H, W) uint8 array; ``image`` is (H, W, 3) uint8 RGB."""
    # OpenCV would quietly write elsewhere.
    assert out.shape[1:] == image.shape[:2] and out.dtype == np.uint8, (out.shape, out.dtype, image.shape)
    cv2.split(image, list(out))


def normalize(image: np.ndarray) -> np.ndarray:
    """Return (x/255 - 0.5)/0.5 of (H, W, 3) uint8 RGB as (3, H, W) float32."""
    out = np.empty((3, *image.shape[:2]), dtype=np.float32)
    normalize_into(out, image)
    return out
