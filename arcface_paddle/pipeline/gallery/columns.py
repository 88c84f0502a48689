"""What a large gallery says of its faces, as arrays instead of objects: a million faces open in a second.

A million ``GalleryEntry`` take seconds to be made of JSON and 600 MB of memory. In columns they stay where the file has
them, mapped into memory, and become an entry when somebody asks for one. Names are kept once a person; a text is a
slice of one array of UTF-8.
"""

from __future__ import annotations

from typing import Iterator, Mapping, Sequence, Union, overload

import numpy as np

from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.gallery.entries import GalleryEntry

ARRAYS: dict[str, tuple[str, int]] = {
    "persons": ("<i4", 1),
    "names": ("|u1", 1),
    "name_ends": ("<i8", 1),
    "paths": ("|u1", 1),
    "path_ends": ("<i8", 1),
    "hashes": ("|u1", 1),
    "hash_ends": ("<i8", 1),
    "created": ("|u1", 1),
    "created_ends": ("<i8", 1),
    "boxes": ("<f8", 2),
    "scores": ("<f8", 1),
}
"""Name, type and dimensions of each array, in the order in which a file has them."""

_TEXTS_AT_A_TIME = 1 << 14


class TextColumn:
    """Many texts in one array.

    Args:
        content: uint8, all of them in UTF-8, one after the other.
        ends: (N,) int64, where each ends.
    """

    def __init__(self, content: np.ndarray, ends: np.ndarray) -> None:
        self.content = content
        self.ends = ends

    @classmethod
    def of(cls, texts: Sequence[str]) -> TextColumn:
        """Put texts into a column; lone surrogates, as of file names that are no text, are kept."""
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        ends = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> str:
        begin = int(self.ends[number - 1]) if number else 0
        try:
            return self.content[begin : int(self.ends[number])].tobytes().decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise GalleryError(f"the text of face {number} is damaged; build the gallery again") from None

    def texts(self) -> list[str]:
        """Return all of them."""
        whole, ends = self.content.tobytes(), self.ends.tolist()
        try:
            return [
                whole[begin:end].decode("utf-8", "surrogatepass") for begin, end in zip([0, *ends[:-1]], ends)
            ]  # fmt: skip
        except UnicodeDecodeError:
            raise GalleryError("the names of the gallery are damaged; build it again") from None

    def take(self, numbers: np.ndarray) -> TextColumn:
        """Return a column of some of the texts, in the order of ``numbers``."""
        lengths = np.diff(self.ends, prepend=0)
        ends = np.cumsum(lengths[numbers], dtype=np.int64)
        content = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
        written = 0
        for first in range(0, len(numbers), _TEXTS_AT_A_TIME):
            chosen = numbers[first : first + _TEXTS_AT_A_TIME]
            sizes = lengths[chosen]
            before = np.cumsum(sizes) - sizes
            places = np.repeat(self.ends[chosen] - sizes - before, sizes) + np.arange(int(sizes.sum()))
            content[written : written + len(places)] = self.content[places]
            written += len(places)
        return TextColumn(content, ends)

    def rows_of(self, text: str) -> np.ndarray:
        """Return the numbers of the texts that are equal to ``text``, ascending."""
        wanted = text.encode("utf-8", "surrogatepass")
        found = np.flatnonzero(np.diff(self.ends, prepend=0) == len(wanted))
        for place in range(1, len(wanted) + 1):  # from the end, where paths differ most
            found = found[self.content[self.ends[found] - place] == wanted[-place]]
        return found

    def joined(self, other: TextColumn) -> TextColumn:
        """Return a column of these texts and those of ``other``."""
        last = self.ends[-1:].sum()
        return TextColumn(np.concatenate([self.content, other.content]), np.concatenate([self.ends, other.ends + last]))

    def require_whole(self, count: int) -> None:
        """Raise ``ValueError`` unless there are ``count`` texts that lie one after the other in the content."""
        last = int(self.ends[-1]) if len(self.ends) else 0
        if len(self.ends) != count or last != len(self.content) or (np.diff(self.ends, prepend=0) < 0).any():
            raise ValueError(f"{len(self.ends)} texts of {count}, {last} bytes of {len(self.content)}")


class EntryColumns(Sequence[GalleryEntry]):
    """Entries that are made when they are asked for.

    Args:
        names: different ones.
        persons: (M,) int32, the number of each face's name.
        texts: ``paths``, ``hashes`` and ``created``, M each.
        boxes: (M, 4) float64; NaN where a box is not known.
        scores: (M,) float64; NaN where it is not known.
    """

    def __init__(
        self,
        names: Sequence[str],
        persons: np.ndarray,
        *,
        texts: Mapping[str, TextColumn],
        boxes: np.ndarray,
        scores: np.ndarray,
    ) -> None:
        self.names = names
        self.persons = persons
        self.paths, self.hashes, self.created = texts["paths"], texts["hashes"], texts["created"]
        self.boxes = boxes
        self.scores = scores

    @classmethod
    def of(cls, entries: Sequence[GalleryEntry]) -> EntryColumns:
        """Put entries into columns.

        Raises:
            ValueError: a number that is not finite.
        """
        if isinstance(entries, EntryColumns):
            return entries
        number_of: dict[str, int] = {}
        persons = np.array([number_of.setdefault(one.name, len(number_of)) for one in entries], dtype="<i4")
        nowhere = (np.nan,) * 4
        boxes = np.array([one.box_xyxy or nowhere for one in entries], dtype="<f8").reshape(-1, 4)
        scores = np.array([np.nan if one.detection_score is None else one.detection_score for one in entries], "<f8")
        known = sum(4 * (one.box_xyxy is not None) + (one.detection_score is not None) for one in entries)
        if int(np.isfinite(boxes).sum() + np.isfinite(scores).sum()) != known:
            raise ValueError("a box or a score of an entry is not finite")
        texts = {
            "paths": TextColumn.of([one.path for one in entries]),
            "hashes": TextColumn.of([one.sha256 for one in entries]),
            "created": TextColumn.of([one.created for one in entries]),
        }
        return cls(list(number_of), persons, texts=texts, boxes=boxes, scores=scores)

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> EntryColumns:
        """Make columns of the arrays of a file, ``ARRAYS``, which stay where they are.

        Raises:
            ValueError: they do not fit each other.
        """
        count = len(arrays["persons"])
        names = TextColumn(arrays["names"], arrays["name_ends"])
        names.require_whole(len(arrays["name_ends"]))
        texts = {}
        for plural, singular in (("paths", "path"), ("hashes", "hash"), ("created", "created")):
            texts[plural] = TextColumn(arrays[plural], arrays[f"{singular}_ends"])
            texts[plural].require_whole(count)
        persons, boxes, scores = arrays["persons"], arrays["boxes"], arrays["scores"]
        if boxes.shape != (count, 4) or scores.shape != (count,):
            raise ValueError(f"boxes {boxes.shape} and scores {scores.shape} of {count} faces")
        if not (np.isfinite(boxes).all(axis=1) | np.isnan(boxes).all(axis=1)).all():
            raise ValueError("a box whose corners are not finite")
        if not (np.isnan(scores) | ((scores >= 0) & (scores <= 1))).all():
            raise ValueError("a score that is not from 0 to 1")
        listed = names.texts()
        if count and (int(persons.min()) < 0 or int(persons.max()) >= len(listed)):
            raise ValueError("a face is of a person who has no name")
        if len(set(listed)) != len(listed):
            raise ValueError("a name is there twice")
        return cls(listed, persons, texts=texts, boxes=boxes, scores=scores)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what a file keeps, ``ARRAYS``."""
        names = TextColumn.of(self.names)
        kept = {
            "persons": self.persons,
            "names": names.content,
            "name_ends": names.ends,
            "paths": self.paths.content,
            "path_ends": self.paths.ends,
            "hashes": self.hashes.content,
            "hash_ends": self.hashes.ends,
            "created": self.created.content,
            "created_ends": self.created.ends,
            "boxes": self.boxes,
            "scores": self.scores,
        }
        return {name: np.asarray(kept[name], dtype=kind) for name, (kind, _) in ARRAYS.items()}

    def __len__(self) -> int:
        return len(self.persons)

    @overload
    def __getitem__(self, number: int) -> GalleryEntry: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[GalleryEntry]: ...
    def __getitem__(self, number: Union[int, slice]) -> Union[GalleryEntry, Sequence[GalleryEntry]]:
        if isinstance(number, slice):
            return [self.entry(row) for row in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(f"entry {number} of {len(self)}")
        return self.entry(number % len(self))

    def __iter__(self) -> Iterator[GalleryEntry]:
        return (self.entry(row) for row in range(len(self)))

    def entry(self, row: int) -> GalleryEntry:
        """Return one entry."""
        left, top, right, bottom = self.boxes[row].tolist()
        score = float(self.scores[row])
        return GalleryEntry(
            name=self.names[int(self.persons[row])],
            path=self.paths[row],
            sha256=self.hashes[row],
            box_xyxy=None if left != left else (left, top, right, bottom),
            detection_score=None if score != score else score,
            created=self.created[row],
        )

    def with_persons(self, names: Sequence[str], persons: np.ndarray) -> EntryColumns:
        """Return the same faces as those of other people."""
        texts = {"paths": self.paths, "hashes": self.hashes, "created": self.created}
        return EntryColumns(names, persons, texts=texts, boxes=self.boxes, scores=self.scores)

    def take(self, rows: np.ndarray) -> EntryColumns:
        """Return some of the faces, in the order of ``rows``; the names are those that they have."""
        numbers, first = np.unique(self.persons[rows], return_index=True)
        in_order = numbers[np.argsort(first)]
        place = np.zeros(len(self.names), "<i4")
        place[in_order] = np.arange(len(in_order))
        return EntryColumns(
            [self.names[number] for number in in_order.tolist()],
            place[self.persons[rows]],
            texts={
                "paths": self.paths.take(rows),
                "hashes": self.hashes.take(rows),
                "created": self.created.take(rows),
            },
            boxes=self.boxes[rows],
            scores=self.scores[rows],
        )

    def joined(self, others: Sequence[GalleryEntry]) -> EntryColumns:
        """Return these faces and ``others`` after them."""
        if not others:
            return self
        more = EntryColumns.of(others)
        number_of = {name: number for number, name in enumerate(self.names)}
        names = list(self.names)
        place = np.array([number_of.get(name, -1) for name in more.names], dtype="<i4")
        for number in np.flatnonzero(place < 0).tolist():
            place[number] = len(names)
            names.append(more.names[number])
        return EntryColumns(
            names,
            np.concatenate([self.persons, place[more.persons]]),
            texts={
                "paths": self.paths.joined(more.paths),
                "hashes": self.hashes.joined(more.hashes),
                "created": self.created.joined(more.created),
            },
            boxes=np.concatenate([self.boxes, more.boxes]),
            scores=np.concatenate([self.scores, more.scores]),
        )
