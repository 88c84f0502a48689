"""What was found in pictures and frames: as it is found, and as JSON values, CSV, and the rows of a table."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any, Mapping, Optional, Sequence, Union

from arcface_paddle.pipeline.drawing import USUAL_STYLE, LabelStyle
from arcface_paddle.types import UNKNOWN, Face, ImageResult

CSV_COLUMNS = (
    "source", "time_s", "face", "left", "top", "right", "bottom", "detection_score", "name", "similarity",
)  # fmt: skip

PICTURE_COLUMNS = ("picture", "face", "box", "name", "similarity", "detection")
VIDEO_COLUMNS = ("name", "faces", "first (s)", "last (s)", "best similarity")


_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""First characters of a cell that a spreadsheet takes for a formula, in their wide forms, too.
Source: https://owasp.org/www-community/attacks/CSV_Injection"""


@dataclass(frozen=True, eq=False)
class SourceRecord:
    """What became of one picture or frame.

    Attributes:
        source: path of the picture; for video, path and number of the frame.
        result: the faces; None for a picture that could not be read.
        problems: what went wrong, a sentence each: the reason why there is no result, or that the annotated copy or a
            crop could not be written.
        note: what is to be known about the result, such as "first of 12 frames"; may be empty.
        time_s: seconds since the beginning of the video; None for a picture.
    """

    source: str
    result: Optional[ImageResult]
    problems: tuple[str, ...] = ()
    note: str = ""
    time_s: Optional[float] = None


class RunRecord:
    """What a run has found and what has failed so far, complete at any moment.

    Attributes:
        found: ``result_to_json`` of every picture or frame that could be read.
        failed: source and error of everything that went wrong.
        unreadable: how many pictures could not be read.
        summary: who was seen in a video.
    """

    def __init__(self, *, keep_frames: bool = True, style: LabelStyle = USUAL_STYLE) -> None:
        """Begin.

        Args:
            keep_frames: without it, a camera that runs for days fills the summary only, and not the memory.
            style: what strangers are called, and whether distances are told.
        """
        self.found: list[dict[str, Any]] = []
        self.failed: list[dict[str, str]] = []
        self.unreadable = 0
        self.summary = VideoSummary()
        self._keep_frames = keep_frames
        self._style = style

    def add(self, finding: SourceRecord) -> None:
        """Take down a finding."""
        for problem in finding.problems:
            self.add_failure(finding.source, problem)
        if finding.result is None:
            self.unreadable += 1
            return
        content = result_to_json(finding.result, time_s=finding.time_s, note=finding.note)
        for face in content["faces"]:
            _restyle(face, self._style)
        if finding.time_s is not None:
            self.summary.add(content)
        if finding.time_s is None or self._keep_frames:
            self.found.append(content)

    def rename_tracks(self, names: Mapping[int, tuple[int, Optional[str]]]) -> None:
        """Give the faces of a video the tracks and names that are known in the end, in all frames.

        Args:
            names: track and name, by the number of the track that a face was given in its frame.
        """
        restyled = {
            number: (track, self._style.unknown if name == UNKNOWN else name) for number, (track, name) in names.items()
        }
        self.summary.rename_tracks(restyled)
        for content in self.found:
            for face in content["faces"]:
                if face.get("track") in restyled:
                    face["track"], face["name"] = restyled[face["track"]]

    def add_failure(self, source: str, problem: str) -> None:
        """Take down what went wrong with a source as a whole."""
        self.failed.append({"source": source, "error": problem})


def _restyle(face: dict[str, Any], style: LabelStyle) -> None:
    """Call a stranger as the style says, and tell the distance if it has one."""
    if face["name"] == UNKNOWN:
        face["name"] = style.unknown
    if style.distance is not None and face["similarity"] is not None:
        face["distance"] = round(style.distance(face["similarity"]), 4)


def face_to_json(face: Face) -> dict[str, Any]:
    """Return a face as JSON values; pixels, scores and cosines are rounded to what they are worth."""
    return face.to_dict()


def result_to_json(result: ImageResult, *, time_s: Optional[float] = None, note: str = "") -> dict[str, Any]:
    """Return all of a picture, or of a frame at ``time_s``, as JSON values; a ``note`` only where there is one."""
    timing = {} if time_s is None else {"time_s": round(time_s, 3)}
    noted = {"note": note} if note else {}
    return {"source": result.source, **timing, **noted, **result.to_dict()}


def to_csv(images: Sequence[dict[str, Any]]) -> str:
    """Return one line per face of what ``result_to_json`` gave, under ``CSV_COLUMNS``.

    Faces of videos have a further column at the end, ``track``.

    Names of people and files come from elsewhere. One that a spreadsheet would run as a formula (``=``, ``+``, ``-``
    or ``@`` in front) gets an apostrophe before it, which spreadsheets take for "text".
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    tracked = ("track",) if any("track" in face for image in images for face in image["faces"]) else ()
    writer.writerow([*CSV_COLUMNS, *tracked])
    for image in images:
        for number, face in enumerate(image["faces"], start=1):
            values = (number, *face["box"], face["detection_score"], face["name"], face["similarity"])
            values += tuple(face.get(column) for column in tracked)
            writer.writerow([spreadsheet_cell(value) for value in (image["source"], image.get("time_s"), *values)])
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
    """Who was seen in a video so far: a line per name, however long the video runs."""

    def __init__(self) -> None:
        self._seen: dict[Union[int, str], _Sightings] = {}

    def add(self, frame: dict[str, Any]) -> None:
        """Count the faces of a frame, as ``result_to_json`` gives it."""
        for face in frame["faces"]:
            name = face["name"] or "face"
            seen = self._seen.setdefault(face.get("track", name), _Sightings(name, frame["time_s"]))
            seen.add(frame["time_s"], face["similarity"])
            seen.name = name

    def rename_tracks(self, names: Mapping[int, tuple[int, Optional[str]]]) -> None:
        """Count the faces of each track for the person that it is known to be in the end."""
        for key, seen in self._seen.items():
            if isinstance(key, int) and key in names:
                seen.name = names[key][1] or "face"

    def rows(self) -> list[list[Any]]:
        """Return, under ``VIDEO_COLUMNS``, how many faces each name had, from when to when, and the best similarity."""
        of_name: dict[str, _Sightings] = {}
        for seen in self._seen.values():
            of_name.setdefault(seen.name, _Sightings(seen.name, seen.first_s)).join(seen)
        return [
            [name, seen.faces, f"{seen.first_s:.2f}", f"{seen.last_s:.2f}", _shown(seen.best_similarity)]
            for name, seen in sorted(of_name.items())
        ]


class _Sightings:
    def __init__(self, name: str, time_s: float) -> None:
        self.name = name
        self.faces = 0
        self.first_s = time_s
        self.last_s = time_s
        self.best_similarity: Optional[float] = None

    def add(self, time_s: float, similarity: Optional[float]) -> None:
        self.faces += 1
        self.last_s = time_s
        if similarity is not None and (self.best_similarity is None or similarity > self.best_similarity):
            self.best_similarity = similarity

    def join(self, other: _Sightings) -> None:
        self.first_s = min(self.first_s, other.first_s)
        faces = self.faces + other.faces
        self.add(max(self.last_s, other.last_s), other.best_similarity)
        self.faces = faces


def spreadsheet_cell(value: Any) -> Any:
    """Return a value as it stands in a table: numbers as they are, text such that no spreadsheet runs it."""
    if not isinstance(value, str):
        return "" if value is None else value
    one_line = value.replace("\r", " ")  # Python 3.12 and earlier do not quote it, and readers take it for a line's end
    return f"'{one_line}" if value.startswith(_FORMULA_STARTS) else one_line


def _shown(value: Optional[float]) -> str:
    return "-" if value is None else f"{value:.4f}"
