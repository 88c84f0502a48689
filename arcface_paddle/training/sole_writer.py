"""One training at a time writes into an output folder: a second one would set aside or mix up what the first saves."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Iterator

from arcface_paddle import temporaries
from arcface_paddle.errors import ConfigError
from arcface_paddle.files import PathLike


@contextlib.contextmanager
def sole_writer(output: PathLike) -> Iterator[None]:
    """Keep other trainings out of a folder, which is made where it is missing and goes again if nothing came into it.

    The system's lock is on the folder itself: nothing lies in it for that, and a killed process holds it no longer.
    Windows locks no folders, and some network file systems lock none either; there nothing is kept out.

    Raises:
        ConfigError: another training writes there, or the folder cannot be made.
    """
    folder = Path(output)
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY) if sys.platform != "win32" else -1
    except OSError as error:
        raise ConfigError(f"cannot write to the output folder {folder}: {error.strerror or error}") from None
    try:
        if descriptor >= 0 and not _is_ours(descriptor):
            raise ConfigError(
                f"another training writes into the output folder {folder}: give another --output, or wait for its end"
            )
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)
        with contextlib.suppress(OSError):  # it holds what the run has written
            for path in missing:
                path.rmdir()


def _is_ours(descriptor: int) -> bool:
    try:
        return temporaries.try_lock(descriptor)
    except OSError:  # a file system without locks
        return True
