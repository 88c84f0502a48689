"""Writing any dataset in any layout that can be written."""

from __future__ import annotations

from typing import Optional

from arcface_paddle import files
from arcface_paddle.data.convert import ConvertReport, Progress, export_files
from arcface_paddle.data.data_settings import CONTAINER_LAYOUTS, LAYOUTS, SHARDED_LAYOUTS
from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.data.epoch_order import epoch_order
from arcface_paddle.data.packed import DEFAULT_SHARD_BYTES, pack_dataset
from arcface_paddle.data.recordio_writing import export_recordio, export_ungrouped_recordio
from arcface_paddle.data.selection import ReorderedDataset
from arcface_paddle.data.tfrecord_writing import export_tfrecord
from arcface_paddle.errors import ConfigError


def convert_dataset(
    dataset: FaceDataset,
    target: files.PathLike,
    *,
    layout: str,
    shard_bytes: Optional[int] = None,
    shuffle_seed: Optional[int] = None,
    workers: int = 2,
    progress: Progress = lambda count: None,
) -> ConvertReport:
    """Write a dataset in another layout, without decoding its pictures; run it again to go on after an interruption.

    Args:
        dataset: any reader.
        target: the folder to write to.
        layout: one of ``LAYOUTS``.
        shard_bytes: size of a shard, for ``packed`` and ``tfrecord`` only; None takes ``DEFAULT_SHARD_BYTES``.
        shuffle_seed: write the samples of a layout of ``CONTAINER_LAYOUTS`` in the random order that follows from this
            number; None keeps the dataset's. Memory: 16 bytes a sample, because every reader has random access.
        workers: threads.
        progress: called with the number of samples done since the last call.

    Raises:
        ConfigError: an unknown layout, or ``shard_bytes`` or ``shuffle_seed`` for a layout where they mean nothing.
        DataError: a file of other content is in the way, no sample can be read, or the disk is full.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"layout {layout!r}; allowed: {', '.join(LAYOUTS)}")
    if shard_bytes is not None and layout not in SHARDED_LAYOUTS:
        raise ConfigError(f"shard_bytes is {shard_bytes}, but the layout {layout!r} has no shards; leave it out")
    if shuffle_seed is not None:
        if layout not in CONTAINER_LAYOUTS:
            raise ConfigError(f"shuffling has no meaning for {layout!r}: a file for every sample; leave it out")
        dataset = ReorderedDataset(dataset, epoch_order(len(dataset), seed=shuffle_seed, epoch=0))
    size = DEFAULT_SHARD_BYTES if shard_bytes is None else shard_bytes
    if layout == "packed":
        packed = pack_dataset(dataset, target, shard_bytes=size, workers=workers, progress=progress)
        return ConvertReport(packed.samples - packed.resumed_samples, packed.resumed_samples, packed.bad)
    if layout == "tfrecord":
        return export_tfrecord(dataset, target, shard_bytes=size, workers=workers, progress=progress)
    if layout == "recordio":
        export = export_recordio if shuffle_seed is None else export_ungrouped_recordio
        return export(dataset, target, workers=workers, progress=progress)
    return export_files(dataset, target, layout=layout, workers=workers, progress=progress)
