"""Who appeared when: one entry a track, the attendance of each person, and both as JSON values and CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any, Iterable, Optional, Sequence

import numpy as np

from arcface_paddle.pipeline.results import spreadsheet_cell
from arcface_paddle.types import UNKNOWN
from arcface_paddle.video.tracks import union

TIMELINE_COLUMNS = (
    "track", "person", "first_s", "last_s", "seconds", "appearances", "looks", "similarity", "confidence", "quality",
    "best_s", "left", "top", "right", "bottom", "crop",
)  # fmt: skip
ATTENDANCE_COLUMNS = ("person", "first_s", "last_s", "seconds", "tracks", "appearances")


@dataclass(frozen=True, eq=False)
class BestView:
    """The moment in which a track was seen best.

    Attributes:
        time_s: when.
        quality: 0 to 1, see ``pipeline.quality``; None without a recogniser.
        box_xyxy: (4,) where the face was, pixels.
        crop: the face with a margin, a JPEG; None where crops were not asked for.
    """

    time_s: float
    quality: Optional[float]
    box_xyxy: np.ndarray
    crop: Optional[bytes] = None


@dataclass(frozen=True, eq=False)
class TimelineEntry:
    """One track, from the first to the last time its face was seen.

    Attributes:
        track: its number, from 1.
        person: the name; ``UNKNOWN`` for a stranger, None where no gallery was asked.
        first_s, last_s: seconds since the beginning of the video.
        appearances: in how many frames it was seen.
        looks: how often it was embedded.
        similarity: of the fused embedding to the person, or to the best one of the gallery.
        confidence: probability, by the card, that two pictures of this similarity show one person; None for a
            stranger, and when the card does not say.
        best: the moment in which it was seen best.
        spans: from when to when it was in sight, absences of a second and more left out.
        crop_file: name of the picture of that moment; empty when none was written.
    """

    track: int
    person: Optional[str]
    first_s: float
    last_s: float
    appearances: int
    looks: int
    similarity: Optional[float]
    confidence: Optional[float]
    best: BestView
    spans: tuple[tuple[float, float], ...]
    crop_file: str = ""

    @property
    def seconds(self) -> float:
        """How long it was in sight."""
        return sum(last - first for first, last in self.spans)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "track": self.track,
            "person": self.person,
            "first_s": round(self.first_s, 3),
            "last_s": round(self.last_s, 3),
            "seconds": round(self.seconds, 3),
            "appearances": self.appearances,
            "looks": self.looks,
            "spans": [[round(first, 3), round(last, 3)] for first, last in self.spans],
            "similarity": _rounded(self.similarity),
            "confidence": _rounded(self.confidence),
            "best": {
                "time_s": round(self.best.time_s, 3),
                "quality": _rounded(self.best.quality),
                "box": [round(float(edge), 2) for edge in self.best.box_xyxy],
                "crop": self.crop_file,
            },
        }


@dataclass(frozen=True)
class Attendance:
    """One person.

    Attributes:
        person: the name, or ``UNKNOWN`` for all strangers together.
        first_s, last_s: when they were first and last seen.
        seconds: how long they were in sight, absences left out, parts of tracks that overlap once.
        tracks: how often they came.
        appearances: faces in frames.
    """

    person: str
    first_s: float
    last_s: float
    seconds: float
    tracks: int
    appearances: int

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "person": self.person,
            "first_s": round(self.first_s, 3),
            "last_s": round(self.last_s, 3),
            "seconds": round(self.seconds, 3),
            "tracks": self.tracks,
            "appearances": self.appearances,
        }


def attendance(entries: Iterable[TimelineEntry]) -> list[Attendance]:
    """Sum a timeline up by person: the known ones by name, strangers last; nobody where no gallery was asked."""
    of_person: dict[str, list[TimelineEntry]] = {}
    for entry in entries:
        if entry.person is not None:
            of_person.setdefault(entry.person, []).append(entry)
    summed = [
        Attendance(
            person,
            min(one.first_s for one in own),
            max(one.last_s for one in own),
            sum(last - first for first, last in union(span for one in own for span in one.spans)),
            len(own),
            sum(one.appearances for one in own),
        )
        for person, own in of_person.items()
    ]
    return sorted(summed, key=lambda one: (one.person == UNKNOWN, one.person))


def timeline_to_csv(entries: Iterable[TimelineEntry]) -> str:
    """Return one line per track under ``TIMELINE_COLUMNS``."""
    rows = []
    for entry in entries:
        values = entry.to_dict()
        best = values.pop("best")
        left, top, right, bottom = best["box"]
        values.update(
            quality=best["quality"], best_s=best["time_s"], left=left, top=top, right=right, bottom=bottom,
            crop=best["crop"],
        )  # fmt: skip
        rows.append([values[column] for column in TIMELINE_COLUMNS])
    return _table(TIMELINE_COLUMNS, rows)


def attendance_to_csv(people: Iterable[Attendance]) -> str:
    """Return one line per person under ``ATTENDANCE_COLUMNS``."""
    return _table(ATTENDANCE_COLUMNS, [[one.to_dict()[column] for column in ATTENDANCE_COLUMNS] for one in people])


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([spreadsheet_cell(value) for value in row] for row in rows)
    return buffer.getvalue()


def _rounded(value: Optional[float]) -> Optional[float]:
    return None if value is None else round(float(value), 4)
