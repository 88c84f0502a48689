"""Writing a dataset as MXNet RecordIO the way insightface packs it, see ``recordio_dataset`` for the layout.

The pictures get the keys 1 to N, grouped by label; then comes record 0, which says which keys the identities have,
then one record per identity with the range of its pictures' keys. Beside ``train.rec`` stand ``train.idx``,
``property`` and ``train.lst`` (lines of ``1<TAB>path<TAB>label``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO, Callable, Union

import numpy as np

from arcface_paddle import files
from arcface_paddle.data.convert import ConvertReport, no_readable_sample, readable_samples
from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.data.recordio import ImageRecord, encode_image_record, write_record
from arcface_paddle.data.writing import ComparingStream, dataset_in
from arcface_paddle.errors import DataError

MAX_KEYS = 2**24
"""Labels and ranges of keys are float32 in RecordIO, which holds integers exactly up to here."""


def export_recordio(
    dataset: FaceDataset,
    target: files.PathLike,
    *,
    workers: int = 2,
    progress: Callable[[int], Any] = lambda count: None,
) -> ConvertReport:
    """Write any dataset as ``train.rec`` and its side files.

    An interrupted run leaves ``train.rec.partial``; the next run compares it with what it would write, keeps what is
    equal and goes on there. A finished ``train.rec`` is compared, and left as it is.

    Args:
        dataset: any reader.
        target: the folder to write to.
        workers: threads that read ahead.
        progress: called with the number of samples done since the last call.

    Raises:
        DataError: more than ``MAX_KEYS`` samples and identities, a ``train.rec`` of another dataset is there, no
            sample can be read, or the disk is full.
    """
    return _export(dataset, target, writer_kind=_Writer, workers=workers, progress=progress)


def export_ungrouped_recordio(
    dataset: FaceDataset,
    target: files.PathLike,
    *,
    workers: int = 2,
    progress: Callable[[int], Any] = lambda count: None,
) -> ConvertReport:
    """Write any dataset as ``train.rec`` in its own order, which a shuffled one has for a reason.

    There is no record 0 and there are no ranges of identities, which only a grouped file can have; readers take the
    labels from the records then (ours, insightface's, GluonCV's). Arguments and errors are those of
    ``export_recordio``.
    """
    return _export(dataset, target, writer_kind=_UngroupedWriter, workers=workers, progress=progress)


def _export(
    dataset: FaceDataset,
    target: files.PathLike,
    *,
    writer_kind: type[_Writer],
    workers: int,
    progress: Callable[[int], Any],
) -> ConvertReport:
    folder = Path(target)
    if len(dataset) + dataset.num_classes >= MAX_KEYS:
        raise DataError(
            f"{len(dataset)} pictures and {dataset.num_classes} identities do not fit into RecordIO; "
            f"allowed: {MAX_KEYS} together. Packed shards have no such limit"
        )
    with dataset_in(target):
        finished, partial = folder / "train.rec", folder / "train.rec.partial"
        if finished.exists():
            with finished.open("rb") as stream:
                writer = writer_kind(dataset, ComparingStream(stream, finished))
                writer.write_all(workers, progress)
            return _report(writer)
        partial.touch()
        with partial.open("r+b") as stream:
            writer = writer_kind(dataset, _ResumingStream(stream))
            writer.write_all(workers, progress)
        files.write_bytes(folder / "train.lst", "".join(writer.list_lines).encode("utf-8", "surrogateescape"))
        files.write_text(folder / "property", f"{dataset.num_classes},{dataset.image_size},{dataset.image_size}\n")
        files.write_text(folder / "train.idx", "".join(writer.index_lines))
        partial.replace(finished)
    return _report(writer)


def _report(writer: _Writer) -> ConvertReport:
    return ConvertReport(len(writer.labels) - writer.unchanged, writer.unchanged, tuple(writer.bad))


class _ResumingStream:
    """A file that is compared with what should be written as long as it is equal, and cut and written from then on."""

    def __init__(self, stream: BinaryIO) -> None:
        self.position = 0
        self._stream = stream
        self.is_comparing = True

    def write(self, content: bytes) -> int:
        if self.is_comparing and self._stream.read(len(content)) != content:
            self.is_comparing = False
            self._stream.seek(self.position)
            self._stream.truncate()
        if not self.is_comparing:
            self._stream.write(content)
        self.position += len(content)
        return len(content)

    def finish(self) -> None:
        """Cut off what a longer file still holds."""
        self._stream.flush()
        self._stream.truncate(self.position)


_RecordStream = Union[_ResumingStream, ComparingStream]


class _Writer:
    """The records in the order in which insightface's tool writes them: pictures, record 0, identities."""

    def __init__(self, dataset: FaceDataset, stream: _RecordStream) -> None:
        self.dataset = dataset
        self.stream = stream
        self.labels: list[int] = []
        self.list_lines: list[str] = []
        self.index_lines: list[str] = []
        self.bad: list[tuple[str, str]] = []
        self.unchanged = 0

    def write_all(self, workers: int, progress: Callable[[int], Any]) -> None:
        self.write_pictures(workers, progress)
        if not self.labels:
            raise no_readable_sample(self.dataset, self.bad)
        self.write_ranges()
        self.stream.finish()

    def order(self) -> np.ndarray:
        """Return the numbers of the samples in the order in which they are written."""
        return np.argsort(self.dataset.labels, kind="stable")

    def write_pictures(self, workers: int, progress: Callable[[int], Any]) -> None:
        for index, content, reason in readable_samples(self.dataset, self.order().tolist(), workers=workers):
            progress(1)
            path = self.dataset.path_of(index)
            if reason:
                self.bad.append((path, reason))
                continue
            label = int(self.dataset.labels[index])
            self.labels.append(label)
            self.list_lines.append(f"1\t{path}\t{label}\n")
            self._write(len(self.labels), (label,), content)
            self.unchanged += self.stream.is_comparing

    def write_ranges(self) -> None:
        """Write record 0 and the identities."""
        labels = np.array(self.labels)
        begins = np.flatnonzero(np.diff(labels, prepend=-1))
        ends = np.append(begins[1:], len(labels))
        first_identity = len(labels) + 1
        self._write(0, (first_identity, first_identity + len(begins)))
        for place, (begin, end) in enumerate(zip(begins.tolist(), ends.tolist())):
            self._write(first_identity + place, (begin + 1, end + 1))

    def _write(self, key: int, labels: tuple[int, ...], content: bytes = b"") -> None:
        self.index_lines.append(f"{key}\t{self.stream.position}\n")
        write_record(self.stream, encode_image_record(ImageRecord(labels, key, content)))


class _UngroupedWriter(_Writer):
    """The pictures in the order of the dataset, and nothing else."""

    def order(self) -> np.ndarray:
        return np.arange(len(self.dataset))

    def write_ranges(self) -> None:
        """Write none: a range needs the pictures of an identity side by side."""
