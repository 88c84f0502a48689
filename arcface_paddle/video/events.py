"""What happens in a video while it happens: as JSON values, and as lines of a file.

    {"event": "entered", "time_s": 3.2, "track": 4, "person": "unknown", ...}

``entered``: a face was seen often enough not to be a slip. ``named``: it was given a name, ``previous`` is the one
before. ``unknown person``: it was looked at several times, and is nobody of the gallery. ``joined``: the track that was
``was`` until now turned out to be this one. ``left``: it was out of sight for so long that it would begin a new track;
``time_s`` is when it was last seen.
"""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import Any, Optional

from arcface_paddle import files
from arcface_paddle.errors import ConfigError
from arcface_paddle.types import UNKNOWN
from arcface_paddle.video.changes import JOINED, NAMED, Change


def event_of(change: Change, *, source: str, unknown: str = UNKNOWN) -> dict[str, Any]:
    """Return a change as JSON values.

    Args:
        change: what happened.
        source: the video, as text.
        unknown: what strangers are called.
    """
    extra: dict[str, Any] = {}
    if change.kind == NAMED:
        extra["previous"] = change.before
    if change.kind == JOINED:
        extra["was"] = change.was
    return {
        "event": change.kind,
        "time_s": round(change.time_s, 3),
        "track": change.track,
        "person": change.name or unknown,
        "similarity": None if change.similarity is None else round(change.similarity, 4),
        **extra,
        "source": source,
        "told_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"),
    }


class EventFile:
    """A file of JSON lines that grows while the video runs; at any moment it consists of whole lines.

    A line that the disk does not take is taken back and no more are written: ``problem`` says so.

    Attributes:
        problem: why events are missing; empty while none is.
    """

    def __init__(self, path: files.PathLike) -> None:
        """Begin the file, in place of an older one.

        Raises:
            ConfigError: it cannot be written.
        """
        self.problem = ""
        self._path = path
        self._descriptor: Optional[int] = None
        try:
            Path(path).absolute().parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        except OSError as error:
            raise ConfigError(
                f"--events {files.printable(path)}: cannot be written: {error.strerror or error}"
            ) from None

    def write(self, event: dict[str, Any]) -> None:
        """Append an event; nothing once a line was not taken."""
        if self._descriptor is None:
            return
        line = (json.dumps(event, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "backslashreplace")
        try:
            files.append_line(self._descriptor, line)
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Close the file; may be called again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _give_up(self, error: OSError) -> None:
        self.problem = (
            f"--events {files.printable(self._path)}: no more events could be written: {error.strerror or error}"
        )
        self.close()
