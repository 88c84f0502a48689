"""lfw-style verification sets: pairs of pictures and whether they show the same person.

A set is a pickle of ``(bins, issame_list)``: 2N encoded pictures, two per pair, and N booleans. The pictures are
``bytes``, or numpy uint8 arrays in sets that users built themselves; Python 2 wrote the published ones. Reading goes
through ``safe_pickle.load_arrays``; writing uses nothing but list, tuple, bytes and bool in protocol 4, which the
published readers load as it is.
"""

from __future__ import annotations

import io
import pickle
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Sequence

import numpy as np

from arcface_paddle import files, images
from arcface_paddle.data.dataset import IMAGE_SIZE
from arcface_paddle.errors import DataError
from arcface_paddle.safe_pickle import load_arrays


@dataclass(frozen=True, eq=False)
class VerificationSet:
    """Pairs of pictures.

    Attributes:
        name: for log lines and reports, such as ``lfw``.
        images: 2N encoded pictures; pair i is at 2i and 2i + 1.
        issame: (N,) bool.
    """

    name: str
    images: Sequence[bytes]
    issame: np.ndarray

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.issame)

    def decode(self, index: int) -> np.ndarray:
        """Decode picture ``index`` (0 to 2N - 1) into (112, 112, 3) uint8 RGB; another size is resized.

        Raises:
            ImageError: it is not a picture; the message names set and index.
        """
        return resized_crop(images.decode_crop(self.images[index], name=f"{self.name}: picture {index}"))


def resized_crop(image: np.ndarray) -> np.ndarray:
    """Return an RGB picture as (112, 112, 3); it is stretched if it is not square."""
    if image.shape[:2] == (IMAGE_SIZE, IMAGE_SIZE):
        return image
    return images.resize(image, (IMAGE_SIZE, IMAGE_SIZE))


def read_verification_set(path: files.PathLike) -> VerificationSet:
    """Read an lfw-style ``.bin``; its name is the file's stem.

    Raises:
        DataError: no such file, not such a pickle, a refused name in it, no pair, or counts that do not fit.
    """
    try:
        content = files.read_bytes(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such verification set") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    loaded = load_arrays(content, name=str(path))
    if not isinstance(loaded, (tuple, list)) or len(loaded) != 2:
        raise DataError(f"{path}: not a verification set; expected a pair (pictures, issame)")
    pictures = _all_encoded(_sequence(loaded[0], path), path)
    issame = np.array([_flag(item, path, index) for index, item in enumerate(_sequence(loaded[1], path))], dtype=bool)
    _check_counts(path, len(pictures), len(issame))
    return VerificationSet(Path(path).stem, pictures, issame)


def write_verification_set(path: files.PathLike, pictures: Sequence[bytes], issame: Sequence[bool]) -> None:
    """Write an lfw-style ``.bin`` atomically; the same input gives the same bytes.

    Args:
        path: where to; the suffix should be ``.bin``.
        pictures: 2N encoded pictures, two per pair.
        issame: N truth values.

    Raises:
        DataError: no pair, or counts that do not fit.
    """
    _check_counts(path, len(pictures), len(issame))
    with files.atomic_writer(path) as stream:
        stream.write(verification_bytes(pictures, issame))


def verification_bytes(pictures: Sequence[bytes], issame: Sequence[bool]) -> bytes:
    """Return the content of the ``.bin`` of ``write_verification_set``."""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=4)
    # The same picture in two pairs is the same object here or not, depending on the caller; without the memo the
    # bytes of the file follow from the content alone.
    pickler.fast = True
    pickler.dump(([bytes(picture) for picture in pictures], [bool(flag) for flag in issame]))
    return buffer.getvalue()


def _check_counts(path: files.PathLike, pictures: int, pairs: int) -> None:
    if pairs == 0 or pictures != 2 * pairs:
        raise DataError(
            f"{path}: {pictures} pictures for {pairs} pairs; expected two pictures per pair, one pair or more"
        )


def _sequence(value: Any, path: files.PathLike) -> Any:
    if not isinstance(value, (list, tuple, np.ndarray)) or getattr(value, "ndim", 1) != 1:
        raise DataError(f"{path}: not a verification set; expected lists, found {type(value).__name__}")
    return value


def _all_encoded(items: Any, path: files.PathLike) -> list[bytes]:
    """Return the pictures as bytes; an array that the file refers to several times is copied once."""
    done: dict[int, bytes] = {}
    return [
        done[id(item)] if id(item) in done else done.setdefault(id(item), _encoded(item, path, index))
        for index, item in enumerate(items)
    ]


def _encoded(item: Any, path: files.PathLike, index: int) -> bytes:
    if isinstance(item, np.ndarray) and item.dtype == np.uint8:
        return item.tobytes()
    if isinstance(item, bytes):
        return item
    raise DataError(f"{path}: picture {index} is of type {type(item).__name__}; expected bytes or a uint8 array")


def _flag(item: Any, path: files.PathLike, index: int) -> bool:
    if isinstance(item, (bool, np.bool_)) or (isinstance(item, (int, np.integer)) and item in (0, 1)):
        return bool(item)
    raise DataError(f"{path}: issame of pair {index} is {reprlib.repr(item)[:60]}; expected True or False")
