"""Results of a recognition as JSON values, as CSV, and as the rows of a table."""

from __future__ import annotations

import csv
import io
from typing import Any, Optional, Sequence

from arcface_paddle.types import Face, ImageResult

CSV_COLUMNS = (
    "source", "time_s", "face", "left", "top", "right", "bottom", "detection_score", "name", "similarity",
)  # fmt: skip

PICTURE_COLUMNS = ("picture", "face", "box", "name", "similarity", "detection")
VIDEO_COLUMNS = ("name", "faces", "first (s)", "last (s)", "best similarity")


def face_to_json(face: Face) -> dict[str, Any]:
    """Return a face as JSON values; pixels, scores and cosines are rounded to what they are worth."""
    return face.to_dict()


def result_to_json(result: ImageResult, *, time_s: Optional[float] = None) -> dict[str, Any]:
    """Return all of a picture, or of a frame at ``time_s``, as JSON values."""
    timing = {} if time_s is None else {"time_s": round(time_s, 3)}
    return {"source": result.source, **timing, **result.to_dict()}


def to_csv(images: Sequence[dict[str, Any]]) -> str:
    """Return one line per face of what ``result_to_json`` gave, under ``CSV_COLUMNS``."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for image in images:
        for number, face in enumerate(image["faces"], start=1):
            values = (number, *face["box"], face["detection_score"], face["name"], face["similarity"])
            writer.writerow([image["source"], image.get("time_s", ""), *("" if v is None else v for v in values)])
    return buffer.getvalue()


def picture_rows(images: Sequence[dict[str, Any]]) -> list[list[Any]]:
    """Return one row per face under ``PICTURE_COLUMNS``, and a row for every picture without one."""
    rows: list[list[Any]] = []
    for image in images:
        for number, face in enumerate(image["faces"], start=1):
            box = ", ".join(str(round(value)) for value in face["box"])
            scores = (_shown(face["similarity"]), _shown(face["detection_score"]))
            rows.append([image["source"], number, box, face["name"] or "-", *scores])
        if not image["faces"]:
            rows.append([image["source"], "-", "-", "no face found", "-", "-"])
    return rows


class VideoSummary:
    """Who was seen in a video so far: one line per name, however long the video runs."""

    def __init__(self) -> None:
        self._seen: dict[str, _Sightings] = {}

    def add(self, frame: dict[str, Any]) -> None:
        """Count the faces of a frame, as ``result_to_json`` gives it."""
        for face in frame["faces"]:
            name = face["name"] or "face"
            self._seen.setdefault(name, _Sightings(frame["time_s"])).add(frame["time_s"], face["similarity"])

    def rows(self) -> list[list[Any]]:
        """Return, under ``VIDEO_COLUMNS``, how many faces each name had, from when to when, and the best similarity."""
        return [
            [name, seen.faces, f"{seen.first_s:.2f}", f"{seen.last_s:.2f}", _shown(seen.best_similarity)]
            for name, seen in sorted(self._seen.items())
        ]


class _Sightings:
    def __init__(self, time_s: float) -> None:
        self.faces = 0
        self.first_s = time_s
        self.last_s = time_s
        self.best_similarity: Optional[float] = None

    def add(self, time_s: float, similarity: Optional[float]) -> None:
        self.faces += 1
        self.last_s = time_s
        if similarity is not None and (self.best_similarity is None or similarity > self.best_similarity):
            self.best_similarity = similarity


def _shown(value: Optional[float]) -> str:
    return "-" if value is None else f"{value:.4f}"
