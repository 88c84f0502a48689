"""What older versions of FAISS (1.9 is one, 1.15 none) do not look at themselves when they read an index.

It makes room for whatever a file says before it looks whether so much follows, and walks to wherever a graph leads.
"""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np

_KINDS = frozenset({b"IxMp", b"IxSQ", b"IwSq", b"IxFI", b"IHNs"})
"""What ``CodeIndex`` writes, as FAISS spells it. Others make room by what is no count, such as a power of two."""
_EMPTY_FIELD = 1 << 20  # FAISS writes it twice into the head of every index
_PIECE = 1 << 20


class BoundedReads:
    """Gives FAISS an index piece by piece, and refuses counts that the file cannot hold.

    FAISS asks for a count of 8 bytes, makes room, and asks for what was counted; by the lengths of what it asks for it
    is known what it does. In the lists of an inverted file, sizes come many at a time.

    Args:
        stream: stands where the index begins.
        most: bytes from there to its end.
    """

    def __init__(self, stream: BinaryIO, *, most: int) -> None:
        self._stream = stream
        self._most = most
        self._pending = 0  # bytes that FAISS will ask for again, because a piece was given
        self._last_number = 0
        self._lists = [0, 0, 0]  # of an inverted file: how many, bytes of a code, how many sizes follow
        self._form = b""  # in which the sizes stand: all of them, or places and sizes
        self._list_bytes = 0  # of codes and places that follow the sizes

    def read(self, count: int) -> bytes:
        """Return up to ``count`` bytes.

        Raises:
            ValueError: FAISS would make room for more than there is.
        """
        content = self._stream.read(min(count, _PIECE))
        is_begin = not self._pending
        self._pending = count - len(content) if content else 0
        if self._form and len(self._lists) == 3:
            self._check_sizes(content)
        elif self._list_bytes > 0:
            self._list_bytes -= len(content)  # a list of one vector may have 8 bytes, too, but no count
        elif is_begin and count == 8:
            self._check_number(int.from_bytes(content, "little"))
        elif is_begin:
            self._note_word(content)
        return content

    def _note_word(self, word: bytes) -> None:
        self._last_number = 0
        if word == b"ilar":
            self._lists, self._form = [], b""
        elif len(self._lists) == 2 and word in (b"full", b"sprs"):
            self._form = word
        elif word.startswith(b"I") and word.isalnum() and word not in _KINDS:
            raise ValueError(f"an index of the kind {word.decode('latin-1')}")

    def _check_number(self, number: int) -> None:
        is_alone = self._last_number == 1 and len(self._lists) != 1  # the one number of a vector of one
        if number > self._most and number != _EMPTY_FIELD and not is_alone:
            raise ValueError(f"{number} of something in {self._most} bytes")
        self._last_number = number
        if len(self._lists) < 3:
            self._lists.append(number)

    def _check_sizes(self, content: bytes) -> None:
        numbers = np.frombuffer(content[: len(content) // 8 * 8], "<u8")
        sizes = numbers if self._form == b"full" else numbers[1::2]
        largest = int(sizes.max(initial=0))
        self._list_bytes += sum(sizes.tolist()) * (self._lists[1] + 8)
        if self._list_bytes > self._most:
            raise ValueError(f"a list of {largest} vectors in {self._most} bytes")
        if not self._pending:
            self._form = b""


def check_graph(graph: Any, *, faiss: Any) -> None:
    """Raise ``ValueError`` where a walk through an ``IndexHNSW`` would leave its arrays.

    Every vector has slots for neighbours: as many as ``bounds`` says for the levels on which it stands.
    """
    names = ("levels", "offsets", "neighbors", "cum_nneighbor_per_level")
    levels, offsets, neighbours, bounds = (faiss.vector_to_array(getattr(graph.hnsw, name)) for name in names)
    entry, count = graph.hnsw.entry_point, graph.ntotal
    bounds = bounds.astype(np.int64)
    if len(levels) != count or len(bounds) < 2 or bounds[0] or (np.diff(bounds) < 0).any():
        raise ValueError(f"a graph of {len(levels)} vectors, not {count}")
    if count == 0:
        return
    if levels.min() < 1 or levels.max() >= len(bounds):
        raise ValueError(f"a graph of {levels.max()} levels; possible: {len(bounds) - 1}")
    expected = np.concatenate([[0], np.cumsum(bounds[levels])])
    if not np.array_equal(offsets, expected) or len(neighbours) != expected[-1]:
        raise ValueError("slots of a graph that do not follow each other")
    if not (0 <= entry < count and graph.hnsw.max_level == levels[entry] - 1):
        raise ValueError(f"a graph that is entered at vector {entry} of {count}")
    for begin in range(0, count, _PIECE >> 4):
        end = min(begin + (_PIECE >> 4), count)
        _check_neighbours(neighbours[expected[begin] : expected[end]], levels, bounds, own=levels[begin:end])


def _check_neighbours(neighbours: np.ndarray, levels: np.ndarray, bounds: np.ndarray, *, own: np.ndarray) -> None:
    """Look whether all neighbours of some vectors, on ``own`` levels, stand on the level on which they are named."""
    sizes = bounds[own]
    places = np.arange(len(neighbours)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    named_on = np.searchsorted(bounds, places, side="right")  # 1 for the lowest, as levels are counted
    used = neighbours != -1
    found = neighbours[used]
    if ((found < 0) | (found >= len(levels))).any() or (levels[found] < named_on[used]).any():
        raise ValueError("a neighbour in a graph that is not there")
