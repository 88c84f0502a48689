"""Faces in memory that can be searched exactly and changed: what the file engine asks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Iterable, Sequence

import numpy as np

from arcface_paddle.pipeline.gallery import storage
from arcface_paddle.pipeline.gallery.columns import EntryColumns
from arcface_paddle.pipeline.gallery.entries import GalleryEntry
from arcface_paddle.pipeline.gallery.index import check_search, normalize_rows
from arcface_paddle.pipeline.gallery.stores.base import best_persons
from arcface_paddle.types import Candidate

_BLOCK_ROWS = 1 << 15
_BLOCK_PROBES = 256
"""Rows and probes whose cosines are held at a time (32 MB)."""


class FaceTable:
    """Entries, their rows and who they are of. It is not locked; whoever owns it sees to that.

    What a gallery file came with stays where it is, mapped into memory perhaps, its entries in columns; rows that were
    added stand in an array of their own that grows. A search goes over both in blocks and keeps the best persons of
    each. Who a face is of, ``_persons`` says: the names in the entries themselves are those before any renaming.

    Args:
        entries: M of them.
        rows: (M, D) float32, L2-normalised.
        decision: one of ``DECISIONS``.
    """

    def __init__(self, entries: Sequence[GalleryEntry], rows: np.ndarray, *, decision: str) -> None:
        self.decision = decision
        self._columns = EntryColumns.of(entries)
        self._more: list[GalleryEntry] = []
        self._first = rows
        self._added = np.zeros((0, rows.shape[1]), np.float32)
        self._names = list(self._columns.names)
        self._number_of = {name: number for number, name in enumerate(self._names)}
        self._persons = np.array(self._columns.persons, dtype=np.int32)
        self._touched: set[int] = set()  # persons whose faces are not in order any more
        self._sums = np.zeros((0, rows.shape[1]), np.float32)
        if decision == "mean":
            self._sum(rows, self._persons)

    def __len__(self) -> int:
        return len(self._columns) + len(self._more)

    @property
    def embedding_size(self) -> int:
        return int(self._first.shape[1])

    def people(self) -> dict[str, int]:
        """Return how many faces each person has, in the order of names."""
        counts = np.bincount(self._persons[: len(self)], minlength=len(self._names))
        present = {self._names[number]: int(counts[number]) for number in np.flatnonzero(counts)}
        return {name: present[name] for name in sorted(present)}

    def has(self, name: str) -> bool:
        """Tell whether a person has a face."""
        return len(self.rows_of([name])) > 0

    def rows_of(self, names: Iterable[str]) -> np.ndarray:
        """Return the numbers of the rows of some persons, ascending."""
        wanted = [self._number_of[name] for name in set(names) if name in self._number_of]
        persons = self._persons[: len(self)]
        if len(wanted) == 1:
            return np.flatnonzero(persons == wanted[0])
        chosen = np.zeros(len(self._names), dtype=bool)
        chosen[wanted] = True
        return np.flatnonzero(chosen[persons])

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """Return (N, D) float32, the rows of these numbers in their order."""
        taken = np.empty((len(numbers), self.embedding_size), np.float32)
        storage.require_whole(self._first)
        early = numbers < len(self._first)
        taken[early] = self._first[numbers[early]]
        taken[~early] = self._added[numbers[~early] - len(self._first)]
        return taken

    def entry(self, number: int) -> GalleryEntry:
        """Return where the face of a row comes from."""
        early = number < len(self._columns)
        entry = self._columns.entry(number) if early else self._more[number - len(self._columns)]
        name = self._names[self._persons[number]]
        return entry if entry.name == name else replace(entry, name=name)

    def entries_at(self, numbers: np.ndarray) -> list[GalleryEntry]:
        """Return where the faces of some rows come from."""
        return [self.entry(number) for number in numbers.tolist()]

    def rows_of_picture(self, path: str) -> np.ndarray:
        """Return the numbers of the rows of the faces of a picture."""
        later = [row for row, entry in enumerate(self._more, len(self._columns)) if entry.path == path]
        return np.concatenate([self._columns.paths.rows_of(path), np.array(later, dtype=np.int64)])

    def in_order(self) -> np.ndarray:
        """Return the numbers of all rows in the order of a gallery file: by ``GalleryEntry.sort_key``."""
        rank = np.empty(len(self._names), np.int64)
        rank[sorted(range(len(self._names)), key=self._names.__getitem__)] = np.arange(len(self._names))
        ranks = rank[self._persons[: len(self)]]
        order = np.argsort(ranks, kind="stable")
        for person in self._touched:  # the others are as the file has them
            begin, end = np.searchsorted(ranks[order], [rank[person], rank[person] + 1])
            own = order[begin:end]
            order[begin:end] = sorted(own.tolist(), key=lambda number: self.entry(number).sort_key)
        return order

    def columns(self, numbers: np.ndarray) -> EntryColumns:
        """Return where the faces of some rows come from, in columns, in the order of ``numbers``."""
        whole = self._columns.joined(self._more)
        return whole.with_persons(self._names, self._persons[: len(self)]).take(numbers)

    def fresh(self, entries: Sequence[GalleryEntry]) -> list[int]:
        """Return which of ``entries`` are not there yet, each once."""
        known = {self.entry(row).face_key for row in self.rows_of(entry.name for entry in entries).tolist()}
        chosen = []
        for number, entry in enumerate(entries):
            if entry.face_key not in known:
                known.add(entry.face_key)
                chosen.append(number)
        return chosen

    def add(self, entries: Sequence[GalleryEntry], rows: np.ndarray) -> None:
        """Append faces."""
        count, more = len(self), len(entries)
        persons = np.array([self._person(entry.name) for entry in entries], dtype=np.int32)
        self._persons = _with_room(self._persons, count + more)
        self._persons[count : count + more] = persons
        self._added = _with_room(self._added, count + more - len(self._first))
        self._added[count - len(self._first) : count + more - len(self._first)] = rows
        self._more.extend(entries)
        self._touched.update(persons.tolist())
        if self.decision == "mean":
            self._sum(rows, persons)

    def rename(self, name: str, new_name: str) -> int:
        """Call a person something else; returns how many faces that changed."""
        numbers = self.rows_of([name])
        before, after = self._number_of[name], self._person(new_name)
        self._persons[numbers] = after
        self._touched.add(after)
        if self.decision == "mean":
            self._sum(self.take(numbers), np.full(len(numbers), after))
            self._sums[before] = 0
        return len(numbers)

    def without(self, numbers: np.ndarray) -> FaceTable:
        """Return a table of the other faces."""
        kept = np.setdiff1d(np.arange(len(self)), numbers)
        made = FaceTable(self.columns(kept), self.take(kept), decision=self.decision)
        made._touched = {
            made._number_of[self._names[person]] for person in self._touched if self._names[person] in made._number_of
        }
        return made

    def apply(self, step: dict[str, Any], entries: Sequence[GalleryEntry], rows: np.ndarray) -> None:
        """Make a step of a journal's record; ``entries`` and ``rows`` are those that an ``add`` adds."""
        if step["step"] == "add":
            self.add(entries, rows)
        elif self.has(step["name"]):
            self.rename(step["name"], step["new_name"])

    def search(self, probes: np.ndarray, k: int) -> list[tuple[Candidate, ...]]:
        """Find the ``k`` persons most similar to each probe (N, D); see ``GalleryIndex.search``."""
        check_search(probes, k, embedding_size=self.embedding_size)
        rows = np.asarray(probes, dtype=np.float32)
        found: list[tuple[Candidate, ...]] = []
        for first in range(0, len(rows), _BLOCK_PROBES):
            found.extend(self._search(rows[first : first + _BLOCK_PROBES], k))
        return found

    def _search(self, probes: np.ndarray, k: int) -> list[tuple[Candidate, ...]]:
        best = [_Best(k) for _ in probes]
        floors = np.full(len(probes), -np.inf, np.float32)
        for rows, persons in self._searched():
            scores = probes @ rows.T
            scores, persons = _by_person(scores, persons)
            if scores.shape[1] > k:  # what is not among the k best persons of its block is not among the best of all
                floors = np.maximum(floors, np.partition(scores, -k, axis=1)[:, -k])
            # A hair below the floor: those as similar as the last one are told apart by name, not by rounding.
            which, columns = np.nonzero(scores >= floors[:, None] - np.float32(1e-6))
            starts = np.searchsorted(which, np.arange(len(probes) + 1))
            for number in np.unique(which):
                chosen = columns[starts[number] : starts[number + 1]]
                best[number].take(persons[chosen], scores[number, chosen])
                floors[number] = max(floors[number], best[number].floor)
        return [one.candidates(self._names) for one in best]

    def _searched(self) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        """Give what probes are compared with, in blocks: (B, D) rows and the B persons they are of."""
        if self.decision == "mean":
            present = np.unique(self._persons[: len(self)])
            for first in range(0, len(present), _BLOCK_ROWS):
                persons = present[first : first + _BLOCK_ROWS]
                yield normalize_rows(self._sums[persons]), persons
            return
        storage.require_whole(self._first)
        for part, offset in ((self._first, 0), (self._added[: len(self) - len(self._first)], len(self._first))):
            for first in range(0, len(part), _BLOCK_ROWS):
                rows = part[first : first + _BLOCK_ROWS]
                yield rows, self._persons[offset + first : offset + first + len(rows)]

    def _person(self, name: str) -> int:
        number = self._number_of.setdefault(name, len(self._names))
        if number == len(self._names):
            self._names.append(name)
        return number

    def _sum(self, rows: np.ndarray, persons: np.ndarray) -> None:
        """Add rows to the sums of their persons, whose directions are the templates."""
        if len(self._names) > len(self._sums):
            grown = _with_room(self._sums, len(self._names))
            grown[len(self._sums) :] = 0
            self._sums = grown
        for first in range(0, len(rows), _BLOCK_ROWS):
            np.add.at(self._sums, persons[first : first + _BLOCK_ROWS], rows[first : first + _BLOCK_ROWS])


class _Best:
    """The best persons of one probe so far."""

    def __init__(self, k: int) -> None:
        self._k = k
        self._persons = np.zeros(0, np.int64)
        self._scores = np.zeros(0, np.float32)

    @property
    def floor(self) -> float:
        """What a person must reach to be among the best."""
        return float(np.sort(self._scores)[-self._k]) if len(self._scores) >= self._k else -np.inf

    def take(self, persons: np.ndarray, scores: np.ndarray) -> None:
        """Take persons of another block; one who is there keeps the better score."""
        joined, values = np.concatenate([self._persons, persons]), np.concatenate([self._scores, scores])
        order = np.lexsort((-values, joined))
        first = np.unique(joined[order], return_index=True)[1]
        self._persons, self._scores = joined[order][first], values[order][first]
        if len(self._scores) > self._k:
            kept = self._scores >= self.floor - 1e-6
            self._persons, self._scores = self._persons[kept], self._scores[kept]

    def candidates(self, names: Sequence[str]) -> tuple[Candidate, ...]:
        return best_persons([names[int(person)] for person in self._persons], self._scores, self._k)


def _by_person(scores: np.ndarray, persons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, P) best scores and the P different persons of (N, B) scores."""
    steps = np.diff(persons)
    if (steps > 0).all():
        return scores, persons
    if (steps < 0).any():  # they were added in any order
        order = np.argsort(persons, kind="stable")
        scores, persons = scores[:, order], persons[order]
    starts = np.concatenate([[0], np.flatnonzero(np.diff(persons)) + 1])
    return np.maximum.reduceat(scores, starts, axis=1), persons[starts]


def _with_room(array: np.ndarray, count: int) -> np.ndarray:
    """Return an array of at least ``count`` rows that starts with those of ``array``; it grows by half at a time."""
    if count <= len(array):
        return array
    grown = np.empty((max(count, len(array) * 3 // 2, 16), *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
