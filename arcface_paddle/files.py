"""Writing files so that a reader never sees half of one: temporary name beside the target, fsync, rename.

Who reads a file, changes what it read and writes it back holds its lock meanwhile (``locked``); otherwise a second
process that does the same at the same time takes away what the first one wrote.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import stat
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, BinaryIO, Iterator, Optional, Union

from arcface_paddle import temporaries
from arcface_paddle.errors import ConfigError

PathLike = Union[str, "os.PathLike[str]"]

LOCK_TIMEOUT_S = 30.0
"""How long ``locked`` waits; our own edits hold a lock for milliseconds, for large files a second or two."""

_HASH_BLOCK_BYTES = 1 << 20
_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""C0 without tab and newline, C1, separators of lines, and what turns the direction of writing around."""
_LOCK_POLL_S = 0.01
_READING = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
"""To open a pipe without waiting for its writer; where there is no such flag, there are no such pipes."""


@contextlib.contextmanager
def atomic_writer(path: PathLike, *, mode: Optional[int] = None, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a binary file that appears under ``path`` only when the block ends without an error.

    The parent folder is created. On any error (a full disk, Ctrl-C) the temporary file is removed and what
    stood under ``path`` before is untouched. A device (/dev/null, /dev/stdout) or pipe is written into: to replace it
    would break it for every other program.

    Args:
        path: the file.
        mode: its permissions, such as ``0o600`` for what nobody else may read; None for those of any new file.
        durable: whether to wait until the disk has it. For millions of small files that takes hours; without it, an
            empty file may stand there after a power cut.

    Raises:
        OSError: the folder cannot be written or the disk is full.
    """
    target = Path(path)
    if is_special(target):
        with _refusals_name(path), os.fdopen(_opened_special(target), "wb") as stream:
            yield stream
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporaries.new_file(target, mode=0o666 if mode is None else mode)
    try:
        with _refusals_name(path), open(temporary.descriptor, "wb", closefd=False) as stream:
            yield stream
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        if mode is not None:
            os.chmod(temporary.path, mode)
        temporary.replace(target)
    except BaseException:
        temporary.discard()
        raise


@contextlib.contextmanager
def _refusals_name(path: PathLike) -> Iterator[None]:
    """Name the file in errors of writing, which name none."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = os.fspath(path)
        raise


def is_special(path: Path) -> bool:
    """Tell whether something stands there that is neither a file nor a folder, or is a name of an open file."""
    try:
        mode = path.stat().st_mode
        parent = resolved(path.parent)
    except OSError:
        return False
    if stat.S_ISDIR(mode):
        return False
    return not stat.S_ISREG(mode) or parent == Path("/dev") or Path("/proc") in parent.parents


def _opened_special(path: Path) -> int:
    """Open a device or pipe; a pipe that nobody reads is an error, and not waited for."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    if hasattr(os, "set_blocking") and sys.platform != "win32":
        os.set_blocking(descriptor, True)
    return descriptor


def append_line(descriptor: int, line: bytes) -> None:
    """Write a line at the end of an open file; of one that the disk does not take as a whole, nothing stays.

    A disk that becomes full takes the part that fits, says so only by a number, and no at the next attempt.

    Raises:
        OSError: it could not be written.
    """
    begin = os.fstat(descriptor).st_size
    rest = memoryview(line)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError:
        with contextlib.suppress(OSError):  # of a pipe nothing can be taken back
            os.ftruncate(descriptor, begin)
        raise


def remove_leftovers(path: PathLike) -> None:
    """Remove what processes that were killed while they wrote ``path`` left beside it: it may hold what is to be gone.

    Who calls this holds the lock of the file, so that nobody is writing it now.
    """
    target = Path(path)
    temporaries.remove_abandoned(target.parent, target=target.name)
    # Those of releases before the locks: no process of one of them can hold the lock of the file now.
    leftover = re.compile(re.escape(f".{target.name[:80]}.") + r"[a-z0-9_]{8}\.tmp")
    for entry in target.parent.iterdir():
        if leftover.fullmatch(entry.name):
            entry.unlink()


def open_regular(path: PathLike, *, buffering: int = -1) -> BinaryIO:
    """Open a file for reading; a pipe nobody writes to, or a device without end, is refused and not waited for.

    Raises:
        OSError: it cannot be opened, or is no regular file; ``strerror`` says so.
    """
    try:
        descriptor = os.open(path, _READING)
    except ValueError:  # Python's own refusal of a zero byte or a lone surrogate, before the system is asked
        raise OSError(errno.EINVAL, "not the name of a file", repr(path)) from None
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb", buffering)
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    raise OSError(errno.EINVAL, "Not a regular file, but a pipe, device or socket", os.fspath(path))


def read_bytes(path: PathLike) -> bytes:
    """Return the content of a regular file.

    Raises:
        OSError: as ``open_regular``.
    """
    with open_regular(path) as stream:
        return stream.read()


def resolved(path: PathLike) -> Path:
    """Return the absolute path without links, whether or not something stands there.

    Raises:
        OSError: a link leads back to itself; ``Path.resolve`` has a RuntimeError for that, from Python 3.13 on nothing.
    """
    try:
        Path(path).stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise
    try:
        return Path(path).resolve()
    except RuntimeError:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(path)) from None


def write_bytes(path: PathLike, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically."""
    with atomic_writer(path) as stream:
        stream.write(content)


def printable(path: PathLike) -> str:
    """Return a path as text that any file and terminal can take; what to record, not what to open.

    Names of files are bytes. Python gives those that are not UTF-8 (an old disk, an unpacked archive) as lone
    surrogates, on which writing fails; here such a byte becomes ``\\xe9``, and other lone surrogates ``\\udcff``.
    """
    return _SURROGATE.sub(_escaped, os.fsdecode(path))


def _escaped(surrogate: re.Match[str]) -> str:
    code = ord(surrogate.group())
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def plain(text: str) -> str:
    """Return a text in which control characters are spelt out, as ``\\x1b``: no terminal or page obeys them."""
    return _CONTROL.sub(_spelt, text)


def one_line(text: str) -> str:
    """Return a text as one line without control characters, such as a log takes."""
    return plain(" ".join(text.splitlines()))


def _spelt(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def write_text(path: PathLike, content: str) -> None:
    """Write ``content`` to ``path`` atomically as UTF-8 with ``\\n`` line ends.

    A lone surrogate that nobody made ``printable`` is written as ``\\udce9``, valid in JSON: a name that is no text
    must not cost the results of hours.
    """
    write_bytes(path, content.encode("utf-8", "backslashreplace"))


def write_json(path: PathLike, value: Any) -> None:
    """Write ``value`` to ``path`` atomically as indented UTF-8 JSON (NaN is refused)."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


@contextlib.contextmanager
def atomic_folder(path: PathLike) -> Iterator[Path]:
    """Give a temporary folder that becomes ``path`` when the block ends without an error.

    A folder that stands under ``path`` already is replaced as a whole. On any error nothing is left behind.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporaries.new_folder(target)
    try:
        yield temporary.path
        if target.exists():
            _replace_folder(target, temporary)
        else:
            temporary.replace(target)
    except BaseException:
        temporary.discard()
        raise


def _replace_folder(target: Path, temporary: temporaries.Temporary) -> None:
    retired = temporaries.new_folder(target, kind="old")
    try:
        os.replace(target, retired.path / target.name)
        temporary.replace(target)
    finally:
        temporaries.give_back(retired.path)
        retired.discard()


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a folder for what only this process needs, where the system has such things; it is removed at the end.

    Other than with ``tempfile.TemporaryDirectory``, that of a process that was killed goes when the next one needs one.

    Raises:
        ConfigError: there is no folder for temporary files.
    """
    try:
        temporary = temporaries.new_folder(Path(tempfile.gettempdir()) / "arcface_paddle", mode=0o700)
    except OSError as error:
        raise ConfigError(
            f"no folder for temporary files: {error.strerror or error}; set TMPDIR to one that can be written"
        ) from None
    try:
        yield temporary.path
    finally:
        temporary.discard()


@contextlib.contextmanager
def claimed_folder(path: PathLike) -> Iterator[bool]:
    """Make a folder and claim it for this caller; gives whether nobody else has claimed it.

    It goes again if nothing came into it. The system's lock is on the folder itself: nothing lies in it for that, and a
    killed process holds it no longer. Windows locks no folders, and some network file systems lock none either; there
    everybody gets it.

    Raises:
        OSError: it cannot be made.
    """
    folder = Path(path)
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY) if sys.platform != "win32" else -1
    try:
        yield try_claim(descriptor)
    finally:
        if descriptor >= 0:
            os.close(descriptor)
        with contextlib.suppress(OSError):  # it holds what was written
            for place in missing:
                place.rmdir()


def try_claim(descriptor: int) -> bool:
    """Claim an open file or folder until it is closed; False when somebody else has. See ``claimed_folder``."""
    if sys.platform == "win32":  # its locks would keep others from reading, too
        return True
    try:
        return temporaries.try_lock(descriptor)
    except OSError:  # a file system without locks
        return True


def remove_abandoned(path: PathLike) -> None:
    """Remove what killed processes left in a folder and beside it; to be called before the long work begins there."""
    for folder in (Path(path), Path(path).absolute().parent):
        temporaries.remove_abandoned(folder)


def require_room(folder: PathLike, *, size: int = 1 << 16) -> None:
    """Raise ``OSError`` unless so many bytes can be written into a folder.

    For libraries that write what fits and say nothing.
    """
    probe = Path(folder) / "room"
    try:
        with probe.open("wb") as stream:
            if hasattr(os, "posix_fallocate"):  # takes the room and writes nothing
                os.posix_fallocate(stream.fileno(), 0, size)
            else:
                stream.write(bytes(size))
    finally:
        probe.unlink(missing_ok=True)


def sha256_of_file(path: PathLike) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open_regular(path) as stream:
        for block in iter(lambda: stream.read(_HASH_BLOCK_BYTES), b""):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def locked(path: PathLike, *, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Keep other processes and threads that use ``locked`` on the same file out, from its reading to its writing.

    The lock is held on a file ``.{name}.lock`` beside ``path`` and not on ``path`` itself, which ``atomic_writer``
    replaces. It is removed afterwards. A process that is killed leaves the lock file behind, but not the lock: the
    system frees that. It is not re-entrant.

    Args:
        path: the file to be changed; it need not exist, its folder must.
        timeout_s: how long to wait for another holder.

    Raises:
        TimeoutError: another process holds the lock for longer.
        OSError: no lock file can be made there, as in a folder without write permission.
    """
    target = Path(path)
    lock = target.parent / f".{target.name[:80]}.lock"
    descriptor = _wait_for_lock(lock, time.monotonic() + timeout_s, timeout_s=timeout_s)
    try:
        yield
    finally:
        # Removed while it is held, so that nobody can have taken it yet; who waits for it sees that it is gone.
        # Windows does not remove open files: there it is closed first, and stays if somebody has opened it meanwhile.
        if sys.platform == "win32":
            os.close(descriptor)
        with contextlib.suppress(OSError):
            os.unlink(lock)
        if sys.platform != "win32":
            os.close(descriptor)


def _wait_for_lock(lock: Path, deadline: float, *, timeout_s: float) -> int:
    """Return the descriptor of the lock file, locked and still the one that stands under its name."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        held = False
        try:
            held = temporaries.try_lock(descriptor) and temporaries.is_file_at(lock, descriptor)
        finally:
            if not held:
                os.close(descriptor)
        if held:
            return descriptor
        if time.monotonic() >= deadline:
            message = f"another process has held the lock {lock} for {timeout_s:g} s; wait until it is done, or end it"
            raise TimeoutError(errno.ETIMEDOUT, message)
        time.sleep(_LOCK_POLL_S)
