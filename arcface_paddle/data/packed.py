"""Packed shards: a dataset as a few large tar files with an index, instead of millions of small files.

Why tar. The need is random access by index, reads from many threads and processes, equal bytes for equal input, and
files that are still readable in ten years. Parquet (pyarrow) reads row groups rather than rows and is a dependency
of 100 MB; LMDB is one file that is awkward to copy, resume or stream; array_record and MDS bring their own formats
and Linux-only or framework-bound packages. A tar is written by the standard library, read by ``tar xf`` (which gives
a folder per identity) and streamed by webdataset; what it lacks, the index, is one small array per shard here.

Layout of the folder::

    shard-000000.tar   members {label:08d}/{index:010d}.jpg in the order of the dataset, USTAR headers, times 0
    shard-000000.npy   (n,) structured: offset uint64, length uint32, crc32 uint32, label int64 (of the member's data)
    dataset.json       format, version, samples, identities, and of each shard its name, samples and bytes

Tar, then index, then ``dataset.json`` appear atomically. An interrupted packing leaves whole shards, which stay
usable, and the same command goes on behind them. Each read checks the CRC-32.
"""

from __future__ import annotations

import contextlib
import re
import sys
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterator, Optional

import numpy as np

from arcface_paddle import files, image_headers
from arcface_paddle.data.convert import no_readable_sample, readable_samples
from arcface_paddle.data.data_settings import DEFAULT_SHARD_BYTES
from arcface_paddle.data.dataset import IMAGE_SIZE, FaceDataset
from arcface_paddle.data.random_access import RandomAccessFile
from arcface_paddle.data.writing import dataset_in
from arcface_paddle.errors import DataError
from arcface_paddle.untrusted import parse_npy, read_json

MANIFEST = "dataset.json"
FORMAT_NAME = "arcface-paddle packed shards"
FORMAT_VERSION = 1

_ENTRY = np.dtype([("offset", "<u8"), ("length", "<u4"), ("crc32", "<u4"), ("label", "<i8")])
_BLOCK = 512
_END = b"\0" * (2 * _BLOCK)


class PackedDataset(FaceDataset):
    """A folder of packed shards."""

    def __init__(
        self,
        root: files.PathLike,
        *,
        num_classes: Optional[int] = None,
        image_size: int = IMAGE_SIZE,
        allow_incomplete: bool = False,
    ) -> None:
        """Open the shards.

        Args:
            root: the folder.
            num_classes: identities of the classifier; None takes what the folder says.
            image_size: side in pixels.
            allow_incomplete: open the whole shards of a packing that was interrupted.

        Raises:
            DataError: no shards, an interrupted packing, or a shard or index that is missing or damaged.
        """
        self.root = Path(root)
        manifest = read_manifest(self.root)
        if manifest is None and not allow_incomplete:
            found = len(whole_shards(self.root))
            raise DataError(
                f"{root}: no {MANIFEST}; {found} whole shards are there. If packing was interrupted, run the same "
                "command again and it goes on"
            )
        paths = whole_shards(self.root) if manifest is None else _listed_shards(self.root, manifest)
        entries = [read_index(path) for path in paths]
        labels = np.concatenate([part["label"] for part in entries]) if entries else np.empty(0, np.int64)
        if num_classes is None and manifest is not None:
            num_classes = manifest["identities"]
        if manifest is not None and len(labels) != manifest["samples"]:
            raise DataError(
                f"{root}: {len(labels)} samples in the shards, {manifest['samples']} in {MANIFEST}; "
                "copy or pack the shards again"
            )
        super().__init__(labels, name=str(root), num_classes=num_classes, image_size=image_size)
        self._files = [RandomAccessFile(path) for path in paths]
        self._shards = np.repeat(np.arange(len(paths), dtype=np.uint32), [len(part) for part in entries])
        self._offsets = np.concatenate([part["offset"] for part in entries])
        self._lengths = np.concatenate([part["length"] for part in entries])
        self._checksums = np.concatenate([part["crc32"] for part in entries])

    def path_of(self, index: int) -> str:
        """Return the shard and the member inside of it."""
        file, offset = self._files[self._shards[index]], int(self._offsets[index])
        try:
            return f"{file.path}: member {_member_name(file, offset)}"
        except DataError:  # the shard is gone or cut, which is what is about to be reported
            return f"{file.path}: offset {offset}"

    def read_encoded(self, index: int) -> bytes:
        """Return the picture, after checking its CRC-32."""
        file = self._files[self._shards[index]]
        content = file.read(int(self._offsets[index]), int(self._lengths[index]))
        if zlib.crc32(content) != self._checksums[index]:
            raise DataError(f"{self.path_of(index)}: wrong CRC-32; the shard is damaged, pack or copy it again")
        return content


@dataclass(frozen=True)
class PackReport:
    """What packing did.

    Attributes:
        samples: samples in the shards, those of an earlier run included.
        resumed_samples: of these, how many an earlier run had packed.
        shards: number of shards.
        bad: samples that could not be read in this run and are left out: path and reason.
    """

    samples: int
    resumed_samples: int
    shards: int
    bad: tuple[tuple[str, str], ...]


def pack_dataset(
    dataset: FaceDataset,
    root: files.PathLike,
    *,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    workers: int = 2,
    progress: Callable[[int], Any] = lambda count: None,
) -> PackReport:
    """Pack a dataset into shards; an interrupted packing of the same dataset goes on behind its last whole shard.

    Args:
        dataset: any reader.
        root: the folder for the shards.
        shard_bytes: a shard is closed when it has reached this size.
        workers: threads that read ahead.
        progress: called with the number of samples done since the last call.

    Raises:
        DataError: the folder holds shards of another dataset, no sample can be read, or the disk is full (whole
            shards remain).
    """
    with dataset_in(root):
        return _pack(dataset, Path(root), shard_bytes, workers, progress)


def _pack(
    dataset: FaceDataset, target: Path, shard_bytes: int, workers: int, progress: Callable[[int], Any]
) -> PackReport:
    packer = _Packer(dataset, target, shard_bytes, progress)
    manifest = read_manifest(target)
    done = whole_shards(target) if manifest is None else _listed_shards(target, manifest)
    first = packer.check_same_source(done)
    packer.note_left_out(done, first)
    progress(first)
    if manifest is not None:
        packer.check_nothing_is_missing(first, workers)
        return PackReport(manifest["samples"], manifest["samples"], len(done), tuple(packer.bad))
    shards = [_describe(path) for path in done]
    resumed = sum(shard["samples"] for shard in shards)
    remaining = readable_samples(dataset, range(first, len(dataset)), workers=workers)
    with contextlib.closing(remaining) as samples:
        while (description := packer.write_shard(target / _shard_name(len(shards)), samples)) is not None:
            shards.append(description)
    total = sum(shard["samples"] for shard in shards)
    if total == 0:
        raise no_readable_sample(dataset, packer.bad)
    content = {
        "format": FORMAT_NAME,
        "version": FORMAT_VERSION,
        "samples": total,
        "identities": dataset.num_classes,
        "shards": shards,
    }
    files.write_json(target / MANIFEST, content)
    return PackReport(total, resumed, len(shards), tuple(packer.bad))


class _Packer:
    """Writes the samples of one dataset."""

    def __init__(self, dataset: FaceDataset, root: Path, shard_bytes: int, progress: Callable[[int], Any]) -> None:
        self.dataset = dataset
        self.bad: list[tuple[str, str]] = []
        self._root = root
        self._shard_bytes = shard_bytes
        self._progress = progress

    def check_same_source(self, done: list[Path]) -> int:
        """Return the index of the first sample that is not packed yet.

        Raises:
            DataError: the last sample packed is not the one of this dataset.
        """
        if not done:
            return 0
        last = read_index(done[-1])[-1]
        name = _member_name(RandomAccessFile(done[-1]), int(last["offset"]))
        index = _sample_of(name)
        same = index < len(self.dataset) and self.dataset.labels[index] == last["label"]
        if not same or zlib.crc32(self.dataset.read_encoded(index)) != last["crc32"]:
            raise DataError(f"{self._root}: holds shards of another dataset ({name} differs); choose an empty folder")
        return index + 1

    def note_left_out(self, done: list[Path], first: int) -> None:
        """Note the samples before ``first`` that an earlier run could not read, so that nobody takes this for all."""
        indexes = [read_index(path) for path in done]
        if sum(map(len, indexes)) == first:
            return
        packed: set[int] = set()
        for shard, index in zip(done, indexes):
            file = RandomAccessFile(shard)
            packed.update(_sample_of(_member_name(file, int(offset))) for offset in index["offset"])
        for number in sorted(set(range(first)) - packed):
            path_of = self.dataset.path_of(number)
            self.bad.append(
                (path_of, f"{path_of}: an earlier run could not read it; choose an empty folder to have it")
            )

    def check_nothing_is_missing(self, first: int, workers: int) -> None:
        """Check that the samples from ``first`` on, which finished shards lack, are those that cannot be read.

        Raises:
            DataError: one can: the dataset has grown since it was packed.
        """
        with contextlib.closing(
            readable_samples(self.dataset, range(first, len(self.dataset)), workers=workers)
        ) as rest:
            grown = self._next_good(rest)
        if grown is not None:
            raise DataError(
                f"{self._root}: finished before {self.dataset.path_of(grown[0])} was in the dataset; "
                "choose an empty folder"
            )

    def write_shard(self, path: Path, samples: Iterator[tuple[int, bytes, str]]) -> Optional[dict[str, Any]]:
        """Write the next shard and its index; None when no sample is left."""
        first = self._next_good(samples)
        if first is None:
            return None
        entries = []
        with files.atomic_writer(path) as stream:
            sample: Optional[tuple[int, bytes]] = first
            size = 0
            while sample is not None:
                entries.append(self._write_member(stream, size, *sample))
                size = stream.tell()
                sample = self._next_good(samples) if size < self._shard_bytes else None
            stream.write(_END)
        with files.atomic_writer(path.with_suffix(".npy")) as stream:
            np.save(stream, np.array(entries, dtype=_ENTRY))
        return _describe(path)

    def _next_good(self, samples: Iterator[tuple[int, bytes, str]]) -> Optional[tuple[int, bytes]]:
        for index, content, reason in samples:
            self._progress(1)
            if not reason:
                return index, content
            self.bad.append((self.dataset.path_of(index), reason))
        return None

    def _write_member(self, stream: BinaryIO, offset: int, index: int, content: bytes) -> tuple[int, int, int, int]:
        label = int(self.dataset.labels[index])
        member = tarfile.TarInfo(f"{label:08d}/{index:010d}{image_headers.suffix_by_content(content) or '.img'}")
        member.size = len(content)
        stream.write(member.tobuf(tarfile.USTAR_FORMAT))
        stream.write(content)
        stream.write(b"\0" * (-len(content) % _BLOCK))
        return offset + _BLOCK, len(content), zlib.crc32(content), label


def read_manifest(root: Path) -> Optional[dict[str, Any]]:
    """Return the content of ``dataset.json``, or None if there is none.

    Raises:
        DataError: it is not of this format or version.
    """
    path = root / MANIFEST
    try:
        manifest = read_json(path)
    except FileNotFoundError:
        return None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT_NAME:
        raise DataError(f"{path}: not the {MANIFEST} of packed shards")
    if manifest.get("version") != FORMAT_VERSION:
        raise DataError(f"{path}: version {manifest.get('version')!r}; this program reads version {FORMAT_VERSION}")
    if not _has_all_fields(manifest):
        raise DataError(f"{path}: samples, identities or the names of the shards are missing; pack the dataset again")
    return manifest


def _has_all_fields(manifest: dict[str, Any]) -> bool:
    counts, shards = (manifest.get("samples"), manifest.get("identities")), manifest.get("shards")
    return (
        all(isinstance(count, int) and count > 0 for count in counts)
        and isinstance(shards, list)
        and len(shards) > 0
        and all(isinstance(shard, dict) and _is_shard_name(shard.get("name")) for shard in shards)
    )


def read_index(shard: Path) -> np.ndarray:
    """Return the index of a shard, (n,) with the fields offset, length, crc32 and label.

    Raises:
        DataError: it is missing, damaged, or does not belong to the shard.
    """
    path = shard.with_suffix(".npy")
    try:
        entries = parse_npy(files.read_bytes(path))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; it is the index of {shard.name}, copy or pack both again") from None
    except OSError as error:
        raise DataError(f"{path}: the index of the shard cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise DataError(f"{path}: not the index of a shard, or damaged; pack the shard again") from None
    if entries.dtype != _ENTRY or entries.ndim != 1 or len(entries) == 0:
        raise DataError(f"{path}: not the index of a shard")
    expected = _shard_size(entries)
    if int(entries["offset"].max()) > expected:
        raise DataError(f"{path}: names a picture beyond the end of the shard; copy or pack both again")
    found = shard.stat().st_size if shard.exists() else -1
    if found != expected:
        state = f"has {found} bytes" if found >= 0 else "is missing"
        raise DataError(f"{shard}: {state}, its index says {expected}; copy or pack the shard again")
    return entries


def whole_shards(root: Path) -> list[Path]:
    """Return the shards from number 0 on that have both tar and index."""
    paths: list[Path] = []
    while (path := root / _shard_name(len(paths))).exists() and path.with_suffix(".npy").exists():
        paths.append(path)
    return paths


def _listed_shards(root: Path, manifest: dict[str, Any]) -> list[Path]:
    return [root / shard["name"] for shard in manifest["shards"]]


def _describe(shard: Path) -> dict[str, Any]:
    return {"name": shard.name, "samples": len(read_index(shard)), "bytes": shard.stat().st_size}


def _is_shard_name(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(r"shard-[0-9]{6,9}\.tar", name) is not None


def _shard_name(number: int) -> str:
    return f"shard-{number:06d}.tar"


def _shard_size(entries: np.ndarray) -> int:
    end = int(entries["offset"][-1]) + int(entries["length"][-1])
    return end + -end % _BLOCK + len(_END)


def _sample_of(name: str) -> int:
    """Return the number in the name of a member; of a name that is none of ours, one that no dataset has."""
    number = name.split("/")[-1].split(".")[0]
    return int(number) if number.isdecimal() else sys.maxsize


def _member_name(file: RandomAccessFile, offset: int) -> str:
    return file.read(offset - _BLOCK, 100).rstrip(b"\0").decode("ascii", "replace")
