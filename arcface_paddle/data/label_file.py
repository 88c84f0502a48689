"""``label.txt``: one sample per line, ``path<TAB>label``, read whole and fast.

Format: UTF-8; ``#`` at the start of a line makes it a comment; empty lines are skipped; a byte order mark and CRLF
line ends are tolerated; paths are relative to the dataset's folder and may hold spaces; labels are integers from 0.
A file whose first sample has no tab is separated by a space, as a published page prints it. Then each line must hold
exactly one space and no tab, because with a second space it is not certain where the path ends.

5.8 million lines must not cost minutes or gigabytes, so no Python object is made per line. The file is parsed in
blocks by numpy; what stays is its bytes, and per line the offset of the path (8 bytes), its length (4) and the label
(8). Lines that are not plainly ``path<TAB>digits`` are looked at one by one, which is where errors come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Optional

import numpy as np

from arcface_paddle import files
from arcface_paddle.data.dataset import MAX_LABEL
from arcface_paddle.errors import DataError

_BLOCK_BYTES = 8 << 20
_TAB, _NEWLINE, _RETURN, _SPACE, _HASH, _ZERO = 9, 10, 13, 32, 35, 48
_MAX_DIGITS = len(str(MAX_LABEL))


@dataclass(frozen=True, eq=False)
class PathTable:
    """Many paths without many objects: one buffer, and for each path its offset and length.

    Attributes:
        buffer: (bytes,) uint8, UTF-8; an array because arrays can be shared with worker processes.
        starts: (N,) offsets in the buffer.
        lengths: (N,) in bytes.
    """

    buffer: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> str:
        start = int(self.starts[index])
        return self.buffer[start : start + int(self.lengths[index])].tobytes().decode("utf-8", "surrogateescape")

    @classmethod
    def from_paths(cls, paths: Iterable[str]) -> PathTable:
        """Pack paths into a table."""
        encoded = [path.encode("utf-8", "surrogateescape") for path in paths]
        lengths = np.fromiter(map(len, encoded), dtype=np.uint32, count=len(encoded))
        starts = np.zeros(len(encoded), dtype=np.int64)
        np.cumsum(lengths[:-1], out=starts[1:])
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), starts, lengths)


@dataclass(frozen=True, eq=False)
class LabelFile:
    """The samples of a label file in their order.

    Attributes:
        path: the label file.
        paths: where the samples lie, relative to the dataset's folder.
        labels: (N,) int64.
        is_spaced: path and label are separated by a space instead of a tab.
    """

    path: Path
    paths: PathTable
    labels: np.ndarray
    is_spaced: bool = False

    def __len__(self) -> int:
        return len(self.labels)


def read_label_file(path: files.PathLike) -> LabelFile:
    """Read a label file.

    Raises:
        DataError: no such file, not UTF-8, no sample in it, or a line that is not ``path<TAB>label`` with a label
            of 0 to ``MAX_LABEL``; the message names file and line.
    """
    content = _read(Path(path))
    begin = 3 if content.startswith(b"\xef\xbb\xbf") else 0
    separator = _separator(content, begin)
    parts, line = [], 1
    while begin < len(content):
        end = len(content)
        if end - begin > _BLOCK_BYTES:
            end = content.find(b"\n", begin + _BLOCK_BYTES) + 1 or len(content)
        block = _Block(content, begin, end, _Place(Path(path), line), separator=separator)
        parts.append(block.parse())
        line += block.line_count
        begin = end
    if not parts or not sum(len(labels) for _, _, labels in parts):
        raise DataError(f"{path}: no sample in the label file; expected lines of path<TAB>label")
    starts, lengths, labels = (np.concatenate(column) for column in zip(*parts))
    table = PathTable(np.frombuffer(content, dtype=np.uint8), starts, lengths)
    return LabelFile(Path(path), table, labels, is_spaced=separator == _SPACE)


def write_label_file(path: files.PathLike, samples: Iterable[tuple[str, int]]) -> int:
    """Write a label file atomically and return the number of its lines.

    Raises:
        DataError: a path that the format cannot hold (tab, line end, ``#`` at its start, empty, not UTF-8), or a bad
            label.
    """
    count = 0
    with files.atomic_writer(path) as stream:
        for name, label in samples:
            complaint = complaint_about_path(name)
            if complaint:
                raise DataError(f"{path}: the path {name!a} {complaint}; rename it")
            if not 0 <= label <= MAX_LABEL:
                raise DataError(f"{path}: label {label} of {name}; allowed: 0 to {MAX_LABEL}")
            stream.write(f"{name}\t{label}\n".encode())
            count += 1
    return count


def complaint_about_path(name: str) -> str:
    """Say why a path cannot stand in a label file, "" if it can."""
    if not name or name.startswith("#") or any(sign in name for sign in "\t\r\n"):
        return "cannot stand in a label file (tab, line end or leading #)"
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "cannot stand in a label file (not UTF-8)"
    return ""


def _read(path: Path) -> bytes:
    try:
        content = files.read_bytes(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such label file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{path}: the label file is UTF-16; save it as UTF-8")
    return content


def _separator(content: bytes, begin: int) -> int:
    """Return what stands between path and label in the first sample: a tab, or a space where it has no tab."""
    while begin < len(content):
        end = content.find(b"\n", begin)
        line = content[begin : len(content) if end < 0 else end].rstrip(b"\r")
        begin = len(content) if end < 0 else end + 1
        if line.strip() and not line.startswith(b"#"):
            path, _, label = line.partition(b" ")
            return _SPACE if path and label.isdigit() and b"\t" not in line else _TAB
    return _TAB


@dataclass(frozen=True)
class _Place:
    """A file and a line number, for errors."""

    path: Path
    line: int

    def error(self, line_offset: int, message: str) -> DataError:
        return DataError(f"{self.path}:{self.line + line_offset}: {message}")


class _Block:
    """A run of whole lines of the file, parsed at once."""

    def __init__(self, content: bytes, begin: int, end: int, place: _Place, *, separator: int) -> None:
        self._content = content
        self._separator = separator
        self._begin = begin
        self._place = place
        self._bytes = np.frombuffer(content, dtype=np.uint8, count=end - begin, offset=begin)
        newlines = np.flatnonzero(self._bytes == _NEWLINE)
        if len(newlines) == 0 or newlines[-1] != len(self._bytes) - 1:
            newlines = np.append(newlines, len(self._bytes))  # the last line of the file may lack its end
        self._starts = np.concatenate(([0], newlines[:-1] + 1))
        returns = self._bytes[np.maximum(newlines - 1, 0)] == _RETURN
        self._ends = np.maximum(newlines - returns, self._starts)

    @property
    def line_count(self) -> int:
        return len(self._starts)

    def parse(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return offsets in the file, lengths and labels of the samples of this block."""
        self._check_encoding()
        cuts, has_one = self._separators(self._separator)
        labels, is_number = self._numbers(cuts + 1)
        plain = has_one & is_number & (cuts > self._starts)
        if self._separator == _SPACE:
            plain &= self._separators(_TAB)[0] == self._ends
        plain &= self._bytes[np.minimum(self._starts, len(self._bytes) - 1)] != _HASH
        keep = plain.copy()
        for line in np.flatnonzero(~plain):
            if not self._is_blank_or_comment(int(line)):
                raise self._complaint(int(line))
            keep[line] = False
        starts = self._starts[keep]
        return starts + self._begin, (cuts[keep] - starts).astype(np.uint32), labels[keep]

    def _check_encoding(self) -> None:
        if self._bytes.min() == 0:
            line = int(np.searchsorted(self._starts, np.argmin(self._bytes), side="right")) - 1
            raise self._place.error(line, "a zero byte; the label file is damaged or no text")
        if self._bytes.max() < 128:
            return
        try:
            str(memoryview(self._content)[self._begin : self._begin + len(self._bytes)], "utf-8")
        except UnicodeDecodeError as error:
            line = int(np.searchsorted(self._starts, error.start, side="right")) - 1
            raise self._place.error(line, "the label file is not UTF-8; convert it, for example with iconv") from None

    def _separators(self, separator: int) -> tuple[np.ndarray, np.ndarray]:
        """Return where each line's first separator is (its end if there is none) and whether it is the only one."""
        found = np.flatnonzero(self._bytes == separator)
        first = np.searchsorted(found, self._starts)
        count = np.searchsorted(found, self._ends) - first
        if len(found) == 0:
            return self._ends.copy(), count == 1
        return np.where(count > 0, found[np.minimum(first, len(found) - 1)], self._ends), count == 1

    def _numbers(self, first_digits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Parse the decimal numbers that reach from ``first_digits`` to the line ends; tell which are valid."""
        digit_count = self._ends - first_digits
        valid = (digit_count >= 1) & (digit_count <= _MAX_DIGITS)
        numbers = np.zeros(len(first_digits), dtype=np.int64)
        for place in range(int(digit_count[valid].max(initial=0))):
            present = valid & (digit_count > place)
            digits = self._bytes[first_digits[present] + place].astype(np.int64) - _ZERO
            numbers[present] = numbers[present] * 10 + digits
            valid[present] &= (digits >= 0) & (digits <= 9)
        return numbers, valid & (numbers <= MAX_LABEL)

    def _line(self, line: int) -> str:
        begin, end = self._begin + int(self._starts[line]), self._begin + int(self._ends[line])
        return self._content[begin:end].decode("utf-8")

    def _is_blank_or_comment(self, line: int) -> bool:
        text = self._line(line)
        return not text.strip() or text.startswith("#")

    def _complaint(self, line: int) -> DataError:
        describe = _describe_bad_spaced_line if self._separator == _SPACE else describe_bad_line
        return self._place.error(line, describe(self._line(line)))


def _describe_bad_spaced_line(text: str) -> str:
    """Say what is wrong with a line that is not path, one space, label, in a file whose first sample is."""
    if "\t" in text:
        return f"a tab, but the first sample is separated by a space: {_shown(text)}; use one tab in every line"
    if text.count(" ") > 1:
        return f"ambiguous: {text.count(' ')} spaces, where the path ends is not certain: {_shown(text)}; use one tab"
    return describe_bad_line(text.replace(" ", "\t"))


def _shown(text: str) -> str:
    return repr(text if len(text) <= 120 else text[:117] + "...")


def describe_bad_line(text: str) -> str:
    """Say what is wrong with a line that is not ``path<TAB>label``."""
    shown = _shown(text)
    columns = text.split("\t")
    if len(columns) == 1:
        separated_by_space = len(text.split()) > 1 and _integer(text.split()[-1]) is not None
        hint = "path and label are separated by spaces; use one tab" if separated_by_space else "the label is missing"
        return f"{hint}: {shown}; expected path<TAB>label"
    if len(columns) > 2:
        return f"{len(columns)} columns: {shown}; expected path<TAB>label"
    if not columns[0]:
        return f"the path is missing: {shown}; expected path<TAB>label"
    label = _integer(columns[1])
    if not columns[1].strip():
        return f"the label is missing: {shown}; expected path<TAB>label"
    if label is None:
        return f"the label {columns[1]!r} is not an integer: {shown}"
    if label < 0:
        return f"negative label {label}: {shown}; labels count from 0"
    if label > MAX_LABEL:
        return f"label {label} is too large: {shown}; allowed: 0 to {MAX_LABEL}"
    return f"the label {columns[1]!r} must be plain digits: {shown}"


def _integer(text: str) -> Optional[int]:
    try:
        return int(text)
    except ValueError:
        return None
