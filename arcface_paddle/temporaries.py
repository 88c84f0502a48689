"""Temporary files and folders that go when nobody writes them any more, also those of processes that were killed.

Their names say that they are ours and under which running kernel they were made; who writes one holds the system's lock
on it. The system frees the lock when the process is gone, however it went, so the next start can tell what is left from
what is being written. Names alone could not: process numbers are used again, and in a container each is 1.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import hashlib
import os
import re
import secrets
import shutil
import sys
import time
from pathlib import Path
from typing import Iterator, Optional

_NAME = re.compile(r"\.(?P<target>.+)\.af-(?P<kernel>[0-9a-f]{4})-[0-9a-f]{8}\.(?P<kind>tmp|old)(\.[a-z0-9]{1,5})?")
_MOST_CHARACTERS = 55
"""Of the target in our names: file systems allow 255 bytes, a character takes four at most, and 30 are ours."""
_FOREIGN_AGE_S = 24 * 3600.0
"""What another machine writes into a shared folder is left alone for a day: its locks may not be seen here."""
_MOST_FOLDERS = 100_000
_BINARY = getattr(os, "O_BINARY", 0)
_LOOKING = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | _BINARY
_LOCKS_TELL = sys.platform != "win32"
"""Windows locks no folders and renames no open files; there, age alone decides."""

_cleaned: set[str] = set()
_unfinished: dict[Path, int] = {}
"""What is being made, and the number of the process: one that is forked knows of it, but must not remove it."""


class Temporary:
    """A new file or folder beside its target, in use until ``release`` or the end of this process.

    Attributes:
        path: where it is.
        descriptor: of the file, open for reading and writing; of a folder, -1 where the system opens none.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    def replace(self, target: Path) -> None:
        """Give it the name of its target, whose file or empty folder goes. Raises ``OSError``."""
        if not _LOCKS_TELL:
            self.release()
        os.replace(self.path, target)
        self.release()

    def discard(self) -> None:
        """Remove it."""
        if not _LOCKS_TELL:
            self.release()
        _remove(self.path)
        self.release()

    def release(self) -> None:
        """Close it; once is enough."""
        _unfinished.pop(self.path, None)
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def new_file(target: Path, *, mode: int = 0o666, suffix: str = "") -> Temporary:
    """Make and open a temporary file beside ``target``; the system takes the umask off ``mode``.

    ``tempfile.mkstemp`` makes files private to the user. To give them what ``open`` would have given, the umask must be
    known, and Python can only read it by setting it, for all threads at once.

    Raises:
        OSError: the folder cannot be written.
    """
    _clean_once(target.parent)
    while True:
        path = _name_beside(target, f"tmp{suffix}")
        with contextlib.suppress(FileExistsError), _making(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, mode)
            if _is_claimed(path, descriptor):
                return Temporary(path, descriptor)


def new_folder(target: Path, *, mode: int = 0o777, kind: str = "tmp") -> Temporary:
    """Make a temporary folder beside ``target``; the system takes the umask off ``mode``.

    Raises:
        OSError: the folder around it cannot be written.
    """
    _clean_once(target.parent)
    while True:
        path = _name_beside(target, kind)
        with contextlib.suppress(FileExistsError), _making(path):
            path.mkdir(mode)
            descriptor = os.open(path, _LOOKING) if _LOCKS_TELL else -1
            if _is_claimed(path, descriptor):
                return Temporary(path, descriptor)


def remove_abandoned(folder: Path, *, target: Optional[str] = None) -> None:
    """Remove what killed processes left in a folder, not below it; what cannot be removed stays.

    Args:
        folder: which need not exist.
        target: name of a file that nobody can be writing now, because the caller has its lock: then what was made under
            another kernel need not be old.
    """
    try:
        names = [entry.name for entry in os.scandir(folder)]
    except OSError:
        return
    for name in names:
        found = _NAME.fullmatch(name)
        if found is None or (target is not None and found["target"] != target[:_MOST_CHARACTERS]):
            continue
        young_ones_too = target is not None or found["kernel"] == _kernel()
        _remove_abandoned(folder / name, retired=found["kind"] == "old", young_ones_too=young_ones_too)


def give_back(retired: Path) -> None:
    """Put back the folder that was about to be replaced, if the new one never came.

    Raises:
        OSError: it cannot be put back.
    """
    for path in retired.iterdir():
        original = retired.parent / path.name
        if not original.exists():
            os.replace(path, original)


def try_lock(descriptor: int) -> bool:
    """Take the lock of an open file; False when somebody else has it. Closing the file gives it back.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


def is_file_at(path: Path, descriptor: int) -> bool:
    """Tell whether an open file is still what the path names; the holder before us removes the file it locked."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _clean_once(folder: Path) -> None:
    """Remove what is left in a folder when this process first writes there; a folder of a million files is long."""
    place = str(folder.absolute())
    if place in _cleaned:
        return
    if len(_cleaned) >= _MOST_FOLDERS:
        _cleaned.clear()
    _cleaned.add(place)
    remove_abandoned(folder)


def _is_claimed(path: Path, descriptor: int) -> bool:
    """Lock what was just made; False when somebody who cleans up had it before."""
    if not _LOCKS_TELL:
        return True
    try:
        if try_lock(descriptor) and is_file_at(path, descriptor):
            return True
    except OSError:  # a file system without locks: the age protects it
        return True
    os.close(descriptor)
    _remove(path)
    _unfinished.pop(path, None)
    return False


@contextlib.contextmanager
def _making(path: Path) -> Iterator[None]:
    """Note what is about to be made: Ctrl-C may come before anybody else knows of it."""
    _unfinished[path] = os.getpid()
    try:
        yield
    except OSError:
        del _unfinished[path]
        raise


@atexit.register
def _remove_unfinished() -> None:
    for path, process in list(_unfinished.items()):
        if process != os.getpid():
            continue
        if path.suffix == ".old":  # see new_folder
            with contextlib.suppress(OSError):
                give_back(path)
        _remove(path)


def _remove_abandoned(path: Path, *, retired: bool, young_ones_too: bool) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(path, _LOOKING) if _LOCKS_TELL else -1
        try:
            if not _is_abandoned(path, descriptor, young_ones_too=young_ones_too):
                return
            if retired:
                give_back(path)
            _remove(path)
        finally:
            if descriptor >= 0:
                os.close(descriptor)


def _is_abandoned(path: Path, descriptor: int, *, young_ones_too: bool) -> bool:
    locks_tell = _LOCKS_TELL
    if locks_tell:
        try:
            if not try_lock(descriptor):
                return False
        except OSError:
            locks_tell = False
    return (locks_tell and young_ones_too) or _age_s(path) > _FOREIGN_AGE_S


def _age_s(path: Path) -> float:
    """Return the time since the last change, of a folder that in it; into the future, too, as clocks are set."""
    changes = [entry.lstat().st_mtime for entry in (path, *(path.rglob("*") if path.is_dir() else ()))]
    return min(abs(time.time() - change) for change in changes)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        path.unlink()


def _name_beside(target: Path, kind: str) -> Path:
    return target.parent / f".{target.name[:_MOST_CHARACTERS]}.af-{_kernel()}-{secrets.token_hex(4)}.{kind}"


@functools.lru_cache(maxsize=1)
def _kernel() -> str:
    """Return four digits for the running kernel, which all containers on a machine share, as they share its locks."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        boot = os.uname().nodename.encode() if hasattr(os, "uname") else b""
    return hashlib.sha256(boot).hexdigest()[:4]
