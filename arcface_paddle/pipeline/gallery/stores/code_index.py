"""An index of embeddings as bytes: FAISS finds who could be the most similar, exact rows decide.

Every number of an embedding is kept as one byte, a quarter of the memory of float32. What that costs in precision is
measured for every vector that is added (``error``). A search knows by it when nothing that it has not seen can be as
similar as what it has: ``margin``. Rescored with the exact rows, its answers are then exact.

Three forms. ``int8`` compares with everything. ``ivf`` sorts the vectors into cells around centroids and looks into the
nearest cells only. ``hnsw`` walks through a graph of neighbours. How many cells or how much of the graph, it finds out
when it is made, so that a picture that resembles its person at a cosine of .7 is found in 990 of 1,000 searches (where
it is not, another picture of the person often is). Below ``LEAST_TO_TRAIN`` vectors all compare with everything.

On a hundred thousand faces ``ivf`` and ``hnsw`` are about as quick; a graph takes several times as long to make and a
quarter more memory. Who is removed stays in a graph in memory, unseen, until it is made anew; it is never written so.
"""

from __future__ import annotations

import io
import json
import logging
import math
import threading
from dataclasses import dataclass
from typing import Any, BinaryIO, Iterable, Iterator

import numpy as np

from arcface_paddle.errors import GalleryError, MissingDependencyError
from arcface_paddle.pipeline.gallery.stores.older_faiss import BoundedReads, check_graph
from arcface_paddle.untrusted import DOCUMENT_ERRORS, parse_json, read_npy_head

IVF = "ivf"
INT8 = "int8"
HNSW = "hnsw"
FORMS = (IVF, INT8, HNSW)

LEAST_TO_TRAIN = 20_000
"""Vectors from which on cells are worth the training; fewer are compared in a millisecond or two."""

_LEVELS = 127
_NEIGHBOURS = 32  # of each vector in a graph
_BUILDING_EFFORT = 80
_EFFORTS = (32, 64, 128, 256, 512)  # vectors that a walk keeps in sight; the least that finds enough is taken
_MOST_REMOVED = 0.1  # share of a graph, from which on it is made anew
_TRAINED_PER_CELL = 64  # samples a cell, of the 39 to 256 that FAISS asks for
_PROBED = 512  # vectors whose changed twins are looked for, to learn how many cells a search must see
_LIKENESS = 0.7  # cosine of these twins; another picture of a person has .6 to .8 with the shipped recogniser
_FOUND = 0.99


_WHOLE_READS = 1 << 40  # no read of FAISS is parted before it reaches us

_reading = threading.Lock()  # the limits of FAISS are those of the process


@dataclass(frozen=True, eq=False)
class Found:
    """What an index has found for N probes.

    Attributes:
        numbers: (N, C) int64, the best first, -1 where there are no more.
        cosines: (N, C), those of the bytes.
        errors: (N,), by how much exact cosines can be off them.
        margins: (N,): no vector that was looked at and is not among ``numbers`` has a higher cosine than that.
    """

    numbers: np.ndarray
    cosines: np.ndarray
    errors: np.ndarray
    margins: np.ndarray


class CodeIndex:
    """Vectors by number, as bytes.

    Args:
        size: D.
        form: one of ``FORMS``.
        limit: largest absolute number that a byte can stand for; larger ones are cut off, which ``error`` tells.
    """

    def __init__(self, size: int, *, form: str, limit: float) -> None:
        self.size = size
        self.form = form
        self.limit = limit
        self.error = 0.0
        self.trained_with = 0
        faiss = load_faiss()
        codes = faiss.IndexScalarQuantizer(
            size, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT
        )
        self._index: Any = faiss.IndexIDMap(codes)

    @classmethod
    def of(cls, vectors: Vectors, *, form: str) -> CodeIndex:
        """Make an index of all there is.

        Args:
            vectors: gives them a block at a time, as often as it is asked.
            form: one of ``FORMS``.
        """
        largest = max((float(np.abs(rows).max()) for _, rows in vectors.blocks() if len(rows)), default=1.0)
        made = cls(vectors.size, form=form, limit=min(1.0, 1.05 * largest) or 1.0)  # of nothing but zeros: damage
        if form == IVF and vectors.count >= LEAST_TO_TRAIN:
            made._train(vectors)
        elif form == HNSW and vectors.count >= LEAST_TO_TRAIN:
            made._index, made.trained_with = _Graph.of(vectors.size), vectors.count
        for numbers, rows in vectors.blocks():
            made.add(numbers, rows)
        if isinstance(made._index, _Graph):
            sample = _sampled(vectors, most=_PROBED)
            made._index.settle(made._codes(_changed(sample)))
        return made

    @property
    def count(self) -> int:
        return int(self._index.ntotal)

    @property
    def is_exact(self) -> bool:
        """Whether a search sees every vector."""
        return self.trained_with == 0

    @property
    def is_outgrown(self) -> bool:
        """Whether it should be made anew: twice as large as when it was trained, or numbers that no byte stands for."""
        if isinstance(self._index, _Graph):
            grown = self._index.removed > _MOST_REMOVED * self.count
        else:
            grown = self.form != INT8 and self.count >= max(LEAST_TO_TRAIN, 2 * self.trained_with)
        return grown or self.error > 4 * self.limit / _LEVELS * math.sqrt(self.size / 12)

    @property
    def is_clean(self) -> bool:
        """Whether nothing of what was removed is in it, so that it may be written."""
        return not isinstance(self._index, _Graph) or self._index.removed == 0

    def add(self, numbers: np.ndarray, rows: np.ndarray) -> None:
        """Add (N, D) float32 rows under N int64 numbers that are not in use."""
        if not len(numbers):
            return
        codes = self._codes(rows)
        errors = np.linalg.norm(rows - codes * np.float32(self.limit / _LEVELS), axis=1)
        self.error = max(self.error, float(errors.max()))
        self._index.add_with_ids(codes, numbers)

    def remove(self, numbers: np.ndarray) -> None:
        """Remove vectors; numbers that are not in use are passed over."""
        if len(numbers) and self.count:
            self._index.remove_ids(numbers)

    def search(self, probes: np.ndarray, count: int, *, everywhere: bool = False) -> Found:
        """Find vectors that could be the most similar to each probe (N, D).

        Args:
            probes: float32, L2-normalised.
            count: how many for each.
            everywhere: look into every cell.
        """
        largest = np.maximum(np.abs(probes).max(axis=1, keepdims=True), 1e-12)
        codes = np.rint(probes * (_LEVELS / largest)).astype(np.float32)
        own_error = np.linalg.norm(probes - codes * (largest / _LEVELS), axis=1)
        if isinstance(self._index, _Graph):
            scores, numbers = self._index.search(codes, count, everywhere=everywhere)
        else:
            if not self.is_exact:
                self._index.nprobe = self._index.nlist if everywhere else self._cells
            scores, numbers = self._index.search(codes, count)
        cosines = scores.astype(np.float64) * (largest / _LEVELS) * (self.limit / _LEVELS)
        errors = self.error + own_error * (1 + self.error) + 1e-5
        margins = np.where(numbers[:, -1] < 0, -np.inf, cosines[:, -1] + errors)
        return Found(numbers, cosines, errors, margins)

    def write(self, stream: BinaryIO) -> str:
        """Write the index and return, as JSON, what ``read`` needs to know besides."""
        assert self.is_clean, "codes of somebody who is gone are not written"
        faiss = load_faiss()
        kept = {"limit": self.limit, "error": self.error, "trained_with": self.trained_with}
        if isinstance(self._index, _Graph):
            np.save(stream, self._index.numbers, allow_pickle=False)
            faiss.write_index(self._index.index, faiss.PyCallbackIOWriter(stream.write))
            return json.dumps({**kept, "effort": self._index.effort})
        faiss.write_index(self._index, faiss.PyCallbackIOWriter(stream.write))
        return json.dumps({**kept, "cells": 0 if self.is_exact else self._cells})

    @classmethod
    def read(cls, stream: BinaryIO, kept: str, *, size: int, form: str) -> CodeIndex:
        """Read an index that ``write`` wrote.

        Raises:
            GalleryError: damaged, made by a FAISS that this one does not understand, or of other vectors.
        """
        values = parse_json(kept, name="index", error=GalleryError)
        try:
            made = cls(size, form=form, limit=_positive(values["limit"]) or 1.0)
            made.error, made.trained_with = _positive(values["error"]), int(values["trained_with"])
            made._load(stream, values)
        except (RuntimeError, AssertionError, MemoryError, *DOCUMENT_ERRORS) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise GalleryError(f"the index cannot be used: {reason[0]:.200}") from None
        return made

    def _load(self, stream: BinaryIO, values: Any) -> None:
        faiss = load_faiss()
        if "effort" in values:
            numbers = _read_numbers(stream)
            self._index = _Graph(_read_faiss(stream), numbers, effort=_count(values["effort"], most=_EFFORTS[-1]))
            _require(self._index.index, faiss.IndexHNSWSQ, size=self.size, count=len(numbers))
            _require(self._index.index.storage, faiss.IndexScalarQuantizer, size=self.size, count=len(numbers))
            _require_bytes(faiss.downcast_index(self._index.index.storage))
            if not _looks_itself(faiss):
                check_graph(self._index.index, faiss=faiss)
            return
        self._index = found = _read_faiss(stream)
        if self.is_exact:
            _require(found, faiss.IndexIDMap, size=self.size, count=found.ntotal)
            if found.id_map.size() != found.ntotal:
                raise ValueError(f"{found.id_map.size()} numbers of {found.ntotal} vectors")
            _require(found.index, faiss.IndexScalarQuantizer, size=self.size, count=found.ntotal)
            _require_bytes(faiss.downcast_index(found.index))
        else:
            _require(found, faiss.IndexIVFScalarQuantizer, size=self.size, count=found.ntotal)
            _require_bytes(found)
            _require(found.quantizer, faiss.IndexFlat, size=self.size, count=found.nlist)
        self._cells = _count(values["cells"], most=0 if self.is_exact else found.nlist)

    def numbers(self) -> np.ndarray:
        """Return the numbers (N,) int64 of all vectors, in any order."""
        faiss = load_faiss()
        if isinstance(self._index, _Graph):
            return self._index.numbers
        if self.is_exact:
            return np.asarray(faiss.vector_to_array(self._index.id_map))
        lists, sizes = self._index.invlists, range(self._index.nlist)
        parts = [faiss.rev_swig_ptr(lists.get_ids(one), lists.list_size(one)) for one in sizes if lists.list_size(one)]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    def _codes(self, rows: np.ndarray) -> np.ndarray:
        """Return (N, D) whole numbers as float32, which is how FAISS takes bytes."""
        codes: np.ndarray = np.clip(np.rint(rows * np.float32(_LEVELS / self.limit)), -_LEVELS, _LEVELS)
        return codes

    def _train(self, vectors: Vectors) -> None:
        """Find the centroids of the cells, and how many of them a search must look into."""
        faiss = load_faiss()
        cells = int(4 * math.sqrt(vectors.count))
        sample = _sampled(vectors, most=cells * _TRAINED_PER_CELL)
        index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(self.size), self.size, cells, faiss.ScalarQuantizer.QT_8bit_direct_signed,
            faiss.METRIC_INNER_PRODUCT, False,
        )  # fmt: skip
        index.cp.spherical = True
        index.cp.min_points_per_centroid = 1  # FAISS writes a warning to stderr where there are fewer than 39
        index.train(self._codes(sample))
        self._index = index
        self.trained_with = vectors.count
        self._cells = _cells_to_see(index.quantizer, sample[:: max(1, len(sample) // _PROBED)], cells)


class _Graph:
    """HNSW over bytes, which FAISS cannot remove from: what is removed is passed over.

    Args:
        index: of FAISS.
        numbers: of the vectors in it, by their place.
        effort: vectors that a walk keeps in sight.
    """

    def __init__(self, index: Any, numbers: np.ndarray, *, effort: int) -> None:
        self.index = index
        self.numbers = numbers
        self.effort = effort
        self._gone = np.zeros(0, np.int64)

    @classmethod
    def of(cls, size: int) -> _Graph:
        """Return a graph of nothing."""
        faiss = load_faiss()
        index = faiss.IndexHNSWSQ(
            size, faiss.ScalarQuantizer.QT_8bit_direct_signed, _NEIGHBOURS, faiss.METRIC_INNER_PRODUCT
        )
        index.hnsw.efConstruction = _BUILDING_EFFORT
        return cls(index, np.zeros(0, np.int64), effort=_EFFORTS[-1])

    @property
    def ntotal(self) -> int:
        return len(self.numbers) - self.removed

    @property
    def removed(self) -> int:
        return len(self._gone)

    def settle(self, probes: np.ndarray) -> None:
        """Find the least effort that finds what is most similar to probes (N, D)."""
        _, exact = self.index.storage.search(probes, 1)
        for effort in _EFFORTS:
            self.effort = effort
            if (self._walk(probes, 1)[1] == exact).mean() >= _FOUND:
                return

    def add_with_ids(self, codes: np.ndarray, numbers: np.ndarray) -> None:
        self.index.add(codes)
        self.numbers = np.concatenate([self.numbers, numbers])

    def remove_ids(self, numbers: np.ndarray) -> None:
        places = np.flatnonzero(np.isin(self.numbers, numbers))
        self.numbers[places] = -1
        self._gone = np.concatenate([self._gone, places])

    def search(self, codes: np.ndarray, count: int, *, everywhere: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and numbers (N, count), the best first."""
        if everywhere:
            parameters = load_faiss().SearchParameters(sel=self._present())
            scores, places = self.index.storage.search(codes, count, params=parameters)
        else:
            scores, places = self._walk(codes, count)
        return scores, self._numbers_at(places)

    def _walk(self, codes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        effort = max(self.effort, count)
        parameters = load_faiss().SearchParametersHNSW(efSearch=effort, sel=self._present())
        found: tuple[np.ndarray, np.ndarray] = self.index.search(codes, count, params=parameters)
        return found

    def _present(self) -> Any:
        """Return what tells FAISS the places that count; None for all."""
        if not self.removed:
            return None
        faiss = load_faiss()
        return faiss.IDSelectorNot(faiss.IDSelectorBatch(self._gone))

    def _numbers_at(self, places: np.ndarray) -> np.ndarray:
        return np.where(places >= 0, self.numbers[places], -1) if len(self.numbers) else places


class Vectors:
    """What an index is made of; a subclass says where it comes from.

    Attributes:
        size: D.
        count: how many there are.
    """

    size: int
    count: int

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Give int64 numbers (N,) and float32 rows (N, D), some at a time."""
        raise NotImplementedError


def _read_faiss(stream: BinaryIO) -> Any:
    """Read what FAISS wrote; nothing in it can be longer than the file, whatever it says."""
    faiss = load_faiss()
    begin = stream.tell()
    most = stream.seek(0, io.SEEK_END) - begin
    stream.seek(begin)
    with _reading:
        if _looks_itself(faiss):
            faiss.set_deserialization_vector_byte_limit(most)
            faiss.set_deserialization_loop_limit(most)
            return faiss.read_index(faiss.PyCallbackIOReader(stream.read))
        reads = BoundedReads(stream, most=most)
        return faiss.read_index(faiss.PyCallbackIOReader(reads.read, _WHOLE_READS))


def _looks_itself(faiss: Any) -> bool:
    """Return whether this FAISS bounds what it makes of a file; those for Python 3.9 do not."""
    return hasattr(faiss, "set_deserialization_vector_byte_limit")


def _require(index: Any, kind: Any, *, size: int, count: int) -> None:
    """Raise ``ValueError`` where FAISS has read another kind of index than was written."""
    found: Any = load_faiss().downcast_index(index)
    if not isinstance(found, kind) or (found.d, found.ntotal) != (size, count) or not found.is_trained:
        raise ValueError(f"{type(found).__name__} of {found.ntotal} vectors of {found.d} numbers")
    if found.metric_type != load_faiss().METRIC_INNER_PRODUCT:
        raise ValueError(f"it compares by metric {found.metric_type}")


def _require_bytes(index: Any) -> None:
    """Raise ``ValueError`` where an index does not keep a byte for every number; FAISS 1.9 ends the process there."""
    quantizer, form = index.sq, load_faiss().ScalarQuantizer.QT_8bit_direct_signed
    if (quantizer.qtype, quantizer.d, quantizer.code_size, index.code_size) != (form, index.d, index.d, index.d):
        raise ValueError(f"codes of form {quantizer.qtype}, {quantizer.code_size} bytes for {index.d} numbers")


def _read_numbers(stream: BinaryIO) -> np.ndarray:
    """Read the numbers (N,) int64 that stand before a graph."""
    shape, _, dtype = read_npy_head(stream)
    if dtype != np.int64 or len(shape) != 1:
        raise ValueError(f"numbers of {dtype}, shape {shape}")
    content = stream.read(8 * shape[0])
    return np.frombuffer(content, np.int64, count=shape[0]).copy()


def _count(value: Any, *, most: int) -> int:
    number = int(value)
    if not min(1, most) <= number <= most:
        raise ValueError(f"a count beyond {most}")
    return number


def _positive(value: Any) -> float:
    number = float(value)
    if not 0 <= number < math.inf:
        raise ValueError(f"{number}; allowed: 0 or more")
    return number


def load_faiss() -> Any:
    """Import FAISS.

    Raises:
        MissingDependencyError: it is not installed.
    """
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it tells which build for which processor it loads
    try:
        import faiss
    except ImportError:
        raise MissingDependencyError("faiss-cpu", extra="faiss", purpose="a gallery at 'faiss:FOLDER'") from None
    return faiss


def require_form(form: str) -> str:
    """Return ``form``. Raises ``GalleryError`` when there is none of that name."""
    if form not in FORMS:
        raise GalleryError(f"form={form!r}; allowed: {', '.join(FORMS)}")
    return form


def _sampled(vectors: Vectors, *, most: int) -> np.ndarray:
    """Return every nth row, so many that there are at most about ``most``."""
    step = max(1, vectors.count // most)
    parts: Iterable[np.ndarray] = [rows[::step] for _, rows in vectors.blocks()]
    return np.concatenate(list(parts))


def _cells_to_see(quantizer: Any, rows: np.ndarray, cells: int) -> int:
    """Return in how many of the cells nearest to a changed vector its own is, in ``_FOUND`` of the cases."""
    own = quantizer.search(rows, 1)[1]
    ranks = np.argmax(quantizer.search(_changed(rows), cells)[1] == own, axis=1)
    return int(np.clip(np.quantile(ranks, _FOUND) + 1, 8, cells))


def _changed(rows: np.ndarray) -> np.ndarray:
    """Return rows that resemble those given as other pictures of the same people would."""
    noise = np.random.default_rng(0).normal(size=rows.shape)
    noise -= (noise * rows).sum(axis=1, keepdims=True) * rows
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    changed: np.ndarray = (_LIKENESS * rows + math.sqrt(1 - _LIKENESS**2) * noise).astype(np.float32)
    return changed
