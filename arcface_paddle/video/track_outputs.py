"""What a run over a video leaves behind about its tracks: timeline, attendance, best crops, page, events."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

from arcface_paddle import files, images
from arcface_paddle.errors import ConfigError, ImageError
from arcface_paddle.types import UNKNOWN
from arcface_paddle.video.changes import Change
from arcface_paddle.video.events import EventFile, event_of
from arcface_paddle.video.timeline import (
    TimelineEntry,
    attendance,
    attendance_to_csv,
    timeline_to_csv,
)
from arcface_paddle.video.track_settings import TrackOutputs
from arcface_paddle.video.track_sheet import write_track_sheet
from arcface_paddle.video.webhook import Webhook


class EventOutputs:
    """The events of one video on their way to a file and to a web address; a context manager.

    Attributes:
        problems: what could not be told on; known when the context is left.
    """

    def __init__(self, outputs: TrackOutputs, *, source: str, unknown: str = UNKNOWN) -> None:
        """Check the address; the file begins when the context is entered.

        Raises:
            ConfigError: the address or its secret is of no use.
        """
        self.problems: list[str] = []
        self._source = source
        self._unknown = unknown
        self._webhook = None if outputs.webhook is None else Webhook(outputs.webhook)
        self._path = outputs.events
        self._file: Optional[EventFile] = None

    def __enter__(self) -> EventOutputs:
        """Begin the file, in place of an older one. Raises ``ConfigError`` when it cannot be written."""
        if self._path is not None:
            self._file = EventFile(self._path)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._note(self._file.problem)
        if self._webhook is not None:
            self._webhook.close()
            self._note(self._webhook.problem)

    def tell(self, change: Change) -> None:
        """Pass a change on; a listener of ``FaceTracks``."""
        event = event_of(change, source=self._source, unknown=self._unknown)
        if self._file is not None:
            self._file.write(event)
        if self._webhook is not None:
            self._webhook.send(event)

    def _note(self, problem: str) -> None:
        if problem:
            self.problems.append(problem)


@dataclass(frozen=True)
class Writing:
    """One file to be written, and the flag that asked for it."""

    option: str
    write: Callable[[], None]

    def run(self) -> None:
        """Write it. Raises ``ConfigError`` when that is not possible."""
        try:
            self.write()
        except OSError as error:
            raise ConfigError(f"{self.option}: cannot be written: {error.strerror or error}") from None
        except ImageError as error:
            raise ConfigError(f"{self.option}: {error}") from None


def named_crops(entries: list[TimelineEntry]) -> list[TimelineEntry]:
    """Give every entry with a crop the name of its file."""
    return [
        entry if entry.best.crop is None else dataclasses.replace(entry, crop_file=f"track_{entry.track:05d}.jpg")
        for entry in entries
    ]


def track_facts(entries: list[TimelineEntry], *, unknown: str = UNKNOWN) -> dict[str, Any]:
    """Return timeline and attendance as JSON values."""
    return {
        "tracks": [_restyled(entry.to_dict(), unknown) for entry in entries],
        "attendance": [_restyled(one.to_dict(), unknown) for one in attendance(entries)],
    }


def writings(
    outputs: TrackOutputs, entries: list[TimelineEntry], *, source: str, unknown: str = UNKNOWN
) -> list[Writing]:
    """Return what is to be written when the video has ended, one file or folder each.

    Args:
        outputs: what is wanted.
        entries: the timeline, with ``named_crops`` where crops are wanted.
        source: the video, as text.
        unknown: what strangers are called.
    """
    todo = []
    facts = {"source": source, **track_facts(entries, unknown=unknown)}
    called = [_called(entry, unknown) for entry in entries]
    if outputs.crops is not None:
        folder = Path(outputs.crops)
        todo.append(Writing(f"--save_tracks {files.printable(folder)}", lambda: _save_crops(folder, entries)))
    if outputs.timeline is not None:
        path = outputs.timeline
        csv_text = timeline_to_csv(called)
        todo.append(_either("--timeline", path, facts, csv_text))
    if outputs.attendance is not None:
        people = {"source": source, "attendance": facts["attendance"]}
        renamed = [dataclasses.replace(one, person=_name(one.person, unknown)) for one in attendance(entries)]
        todo.append(_either("--attendance", outputs.attendance, people, attendance_to_csv(renamed)))
    if outputs.sheet is not None:
        sheet = outputs.sheet
        todo.append(
            Writing(
                f"--track_sheet {files.printable(sheet)}",
                lambda: write_track_sheet(sheet, entries, source=source, unknown=unknown),
            )
        )
    return todo


def _either(option: str, path: files.PathLike, content: dict[str, Any], csv_text: str) -> Writing:
    """Write JSON, or CSV where the file's name says so."""
    if Path(path).suffix.lower() == ".csv":
        return Writing(f"{option} {files.printable(path)}", lambda: files.write_text(path, csv_text))
    return Writing(f"{option} {files.printable(path)}", lambda: files.write_json(path, content))


def _save_crops(folder: Path, entries: list[TimelineEntry]) -> None:
    for entry in entries:
        if entry.best.crop is not None:
            images.write_encoded(folder / entry.crop_file, entry.best.crop)


def _called(entry: TimelineEntry, unknown: str) -> TimelineEntry:
    return dataclasses.replace(entry, person=_name(entry.person, unknown))


def _name(person: Optional[str], unknown: str) -> Any:
    return unknown if person == UNKNOWN else person


def _restyled(values: dict[str, Any], unknown: str) -> dict[str, Any]:
    return {**values, "person": _name(values["person"], unknown)}
