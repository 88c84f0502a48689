"""Taking a gallery from one engine to another, and looking whether the other one gives the same answers."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Iterable, Iterator, Protocol, Sequence

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.gallery.collection import Gallery
from arcface_paddle.pipeline.gallery.stores.base import BLOCK_FACES, FaceBlock, GalleryContract, GalleryStore
from arcface_paddle.pipeline.gallery.stores.making import removed_unless_whole, whole_gallery
from arcface_paddle.pipeline.gallery.stores.opening import create_gallery, is_engine_uri, open_gallery, shown_uri
from arcface_paddle.types import Candidate

CHECKED_PROBES = 64
"""Faces of the gallery that both engines are asked about."""

_CHECKED_K = 5
_TOLERANCE = 1e-4  # engines add up in different orders, and those with bytes are rescored with the exact rows


@dataclass(frozen=True)
class Conversion:
    """What was converted, and how the answers compare.

    Attributes:
        faces: how many were taken over.
        people: of how many persons.
        asked: with how many faces both were asked.
        agreed: how many of these got the same best person at the same similarity.
    """

    faces: int
    people: int
    asked: int
    agreed: int


def convert_gallery(source: files.PathLike, target: files.PathLike) -> Conversion:
    """Copy a gallery into a new one of another engine, and check the copy against the original.

    Faces go over a few thousand at a time. The counts of every person must be equal, and both are asked who some of
    the faces are. An engine with approximate search may miss one in a hundred.

    Args:
        source: file (a published index.bin, too) or URI.
        target: file or URI; nothing may be there yet.

    Raises:
        GalleryError: the target exists, one of them cannot be reached, or the copy is not the original.
    """
    with _opened(source) as original, whole_gallery(target) as place:
        made = create_gallery(place, original.contract)
        with removed_unless_whole(place):
            with made as copy, contextlib.ExitStack() as stack:
                if not is_engine_uri(target):  # a file is written once, not after every few thousand faces
                    stack.enter_context(copy.transaction())
                for block in original.blocks():
                    copy.add(block.entries, block.embeddings)
            with open_gallery(place) as copy:
                return _checked(original, copy, name=shown_uri(target))


def _checked(original: _Source, copy: GalleryStore, *, name: str) -> Conversion:
    people = original.people()
    if copy.people() != people or not same_contract(copy.contract, original.contract):
        raise GalleryError(
            f"{name}: is not what {original.uri} is: {copy.count():,} faces of {len(copy.people()):,} people, not "
            f"{sum(people.values()):,} of {len(people):,}; did somebody change one of them? The copy was "
            "removed: try again"
        )
    probes = next(iter(original.blocks()), None)
    if probes is None:
        return Conversion(0, 0, 0, 0)
    rows = probes.embeddings[:: max(1, len(probes.embeddings) // CHECKED_PROBES)][:CHECKED_PROBES]
    pairs = zip(original.search(rows, _CHECKED_K), copy.search(rows, _CHECKED_K))
    agreed = sum(_agree(ours, theirs) for ours, theirs in pairs)
    if agreed < 0.9 * len(rows):
        raise GalleryError(
            f"{name}: gives other answers than {original.uri} to {len(rows) - agreed} of {len(rows)} faces; the "
            "copy was removed: report this"
        )
    return Conversion(sum(people.values()), len(people), len(rows), agreed)


def same_contract(one: GalleryContract, other: GalleryContract) -> bool:
    """Tell whether two galleries were made alike; what is only recorded for people does not count."""
    return (one.model, one.embedding_size, one.decision) == (other.model, other.embedding_size, other.decision)


def _agree(ours: Sequence[Candidate], theirs: Sequence[Candidate]) -> bool:
    """Tell whether the best person and all similarities are the same; equally similar people may change places."""
    if len(ours) != len(theirs) or not ours:
        return len(ours) == len(theirs)
    tied = len(ours) > 1 and ours[0].similarity - ours[1].similarity < _TOLERANCE
    alike = np.allclose([one.similarity for one in ours], [one.similarity for one in theirs], atol=_TOLERANCE)
    return bool(alike) and (tied or ours[0].name == theirs[0].name)


class _Source(Protocol):
    """What a copy is made of: a store, or a file that is only read."""

    uri: str
    contract: GalleryContract

    def people(self) -> dict[str, int]: ...
    def blocks(self) -> Iterable[FaceBlock]: ...
    def search(self, probes: np.ndarray, k: int) -> Sequence[tuple[Candidate, ...]]: ...


@contextlib.contextmanager
def _opened(source: files.PathLike) -> Iterator[_Source]:
    if not is_engine_uri(source):
        yield _LoadedSource(source)
        return
    with open_gallery(source) as store:
        yield store


class _LoadedSource:
    """A gallery file that is only read: it may be a published index.bin, which no store changes."""

    def __init__(self, path: files.PathLike) -> None:
        self.uri = str(path)
        self._gallery = Gallery.load(path)
        gallery = self._gallery
        self.contract = GalleryContract(gallery.model, gallery.embedding_size, gallery.decision, gallery.parameters)

    def people(self) -> dict[str, int]:
        return self._gallery.faces_by_person()

    def blocks(self) -> Iterable[FaceBlock]:
        for first in range(0, len(self._gallery), BLOCK_FACES):
            block = slice(first, first + BLOCK_FACES)
            yield FaceBlock(self._gallery.entries[block], self._gallery.embeddings[block])

    def search(self, probes: np.ndarray, k: int) -> Sequence[tuple[Candidate, ...]]:
        return self._gallery.search(probes, k)
