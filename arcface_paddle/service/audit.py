"""Who did what, when, to whom: one line of JSON each, with ids and without names, pictures or embeddings."""

from __future__ import annotations

import json
import os
import threading
from typing import Union

from arcface_paddle import files
from arcface_paddle.errors import ConfigError
from arcface_paddle.service.people_records import utc_now

AUDIT = "audit.jsonl"
"""Name of the file in the state folder."""

SERVICE = "service"
"""Who removes people whose time is over."""


class AuditLog:
    """A file that only grows.

    Args:
        path: of the file, which only its owner may read. A rotated one is made anew at the next line.

    Raises:
        ConfigError: it cannot be written.
    """

    def __init__(self, path: files.PathLike) -> None:
        self._path = path
        self._guard = threading.Lock()
        try:
            os.close(self._open())
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from None

    def record(self, action: str, *, key: str, request: str = "", person: str = "", **further: Union[int, str]) -> None:
        """Append a line and wait until it is on disk.

        Args:
            action: such as ``identify`` or ``person.delete``.
            key: id of the key, or ``SERVICE``.
            request: id of the request.
            person: id of the person, if it is about one.
            further: numbers and ids, such as ``faces`` or ``into``.

        Raises:
            OSError: the disk is full.
        """
        line = {"time": utc_now(), "key": key, "action": action, "person": person, "request": request, **further}
        content = json.dumps({name: value for name, value in line.items() if value != ""}) + "\n"
        with self._guard:
            descriptor = self._open()
            try:
                files.append_line(descriptor, content.encode("utf-8", "backslashreplace"))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
