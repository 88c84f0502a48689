"""Writing a dataset as TFRecord shards that the published trainers read too.

Of each sample: ``image/encoded``, ``image/height``, ``image/width``, ``image/depth`` and ``label`` (of
yinguobing/arcface), ``image/filename`` and ``image/source_id`` (of arcface-tf2). The features stand in the order of
their names, so that equal input gives equal bytes. Shards are called ``train-00000.tfrecord`` and so on.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, Optional

from arcface_paddle import files, image_headers, images
from arcface_paddle.data.convert import ConvertReport, no_readable_sample, readable_samples
from arcface_paddle.data.data_settings import DEFAULT_SHARD_BYTES
from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.data.tfrecord import ByteStream, encode_example, write_record
from arcface_paddle.data.tfrecord_dataset import INCOMPLETE
from arcface_paddle.data.writing import ComparingStream, dataset_in
from arcface_paddle.errors import ImageError


def export_tfrecord(
    dataset: FaceDataset,
    target: files.PathLike,
    *,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    workers: int = 2,
    progress: Callable[[int], Any] = lambda count: None,
) -> ConvertReport:
    """Write any dataset as TFRecord shards, in its order.

    An interrupted run leaves whole shards and a note that makes readers refuse the folder; the next run compares them
    with what it would write and goes on behind them.

    Args:
        dataset: any reader.
        target: the folder to write to.
        shard_bytes: a shard is closed when it has reached this size.
        workers: threads that read ahead.
        progress: called with the number of samples done since the last call.

    Raises:
        DataError: a shard of another dataset is there, no sample can be read, or the disk is full.
    """
    folder = Path(target)
    writer = _Writer(dataset, shard_bytes, progress)
    with dataset_in(target):
        with contextlib.closing(readable_samples(dataset, range(len(dataset)), workers=workers)) as samples:
            number = 0
            while (first := writer.next_good(samples)) is not None:
                writer.write_shard(_shard_path(folder, number), first, samples)
                number += 1
        if number == 0:
            raise no_readable_sample(dataset, writer.bad)
        writer.refuse_more(_shard_path(folder, number))
        (folder / INCOMPLETE).unlink(missing_ok=True)
    return ConvertReport(writer.written, writer.unchanged, tuple(writer.bad))


def _shard_path(folder: Path, number: int) -> Path:
    return folder / f"train-{number:05d}.tfrecord"


@dataclass(frozen=True)
class _Sample:
    index: int
    content: bytes
    size_wh: tuple[int, int]


class _Writer:
    """Writes the samples of one dataset, shard by shard."""

    def __init__(self, dataset: FaceDataset, shard_bytes: int, progress: Callable[[int], Any]) -> None:
        self.bad: list[tuple[str, str]] = []
        self.written = 0
        self.unchanged = 0
        self._dataset = dataset
        self._shard_bytes = shard_bytes
        self._progress = progress

    def next_good(self, samples: Iterator[tuple[int, bytes, str]]) -> Optional[_Sample]:
        for index, content, reason in samples:
            self._progress(1)
            path = self._dataset.path_of(index)
            if not reason:
                try:
                    return _Sample(index, content, images.encoded_size(content, name=path))
                except ImageError as error:
                    reason = str(error)
            self.bad.append((path, reason))
        return None

    def write_shard(self, path: Path, first: _Sample, samples: Iterator[tuple[int, bytes, str]]) -> None:
        """Write a shard that begins with ``first``, or check that the one that is there holds the same."""
        if path.exists():
            with path.open("rb") as stream:
                comparing = ComparingStream(stream, path)
                self.unchanged += self._fill(comparing, first, samples)
                comparing.finish()
            return
        path.with_name(INCOMPLETE).touch()
        with files.atomic_writer(path) as stream:
            self.written += self._fill(stream, first, samples)

    def refuse_more(self, path: Path) -> None:
        """Refuse a shard behind the last one: it belongs to a larger dataset, and readers would take it in."""
        if path.exists():
            with path.open("rb") as stream:
                ComparingStream(stream, path).finish()

    def _fill(self, stream: ByteStream, first: _Sample, samples: Iterator[tuple[int, bytes, str]]) -> int:
        """Write samples until the shard is full, and return their number."""
        sample: Optional[_Sample] = first
        count = size = 0
        while sample is not None:
            size += write_record(stream, self._example(sample))
            count += 1
            sample = self.next_good(samples) if size < self._shard_bytes else None
        return count

    def _example(self, sample: _Sample) -> bytes:
        width, height = sample.size_wh
        label = int(self._dataset.labels[sample.index])
        suffix = image_headers.suffix_by_content(sample.content) or ".img"
        return encode_example(
            {
                "image/depth": 3,
                "image/encoded": sample.content,
                "image/filename": f"{sample.index:08d}{suffix}".encode(),
                "image/height": height,
                "image/source_id": label,
                "image/width": width,
                "label": label,
            }
        )
