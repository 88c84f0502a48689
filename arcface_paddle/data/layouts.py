"""Writing any dataset in any layout that can be written."""

from __future__ import annotations

from typing import Optional

from arcface_paddle import files
from arcface_paddle.data.convert import ConvertReport, Progress, export_files
from arcface_paddle.data.data_settings import LAYOUTS
from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.data.packed import DEFAULT_SHARD_BYTES, pack_dataset
from arcface_paddle.data.recordio_writing import export_recordio
from arcface_paddle.errors import ConfigError


def convert_dataset(
    dataset: FaceDataset,
    target: files.PathLike,
    *,
    layout: str,
    shard_bytes: Optional[int] = None,
    workers: int = 2,
    progress: Progress = lambda count: None,
) -> ConvertReport:
    """Write a dataset in another layout, without decoding its pictures; run it again to go on after an interruption.

    Args:
        dataset: any reader.
        target: the folder to write to.
        layout: one of ``LAYOUTS``.
        shard_bytes: size of a packed shard, for the layout ``packed`` only; None takes ``DEFAULT_SHARD_BYTES``.
        workers: threads.
        progress: called with the number of samples done since the last call.

    Raises:
        ConfigError: an unknown layout, or ``shard_bytes`` for a layout without shards.
        DataError: a file of other content is in the way, no sample can be read, or the disk is full.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"layout {layout!r}; allowed: {', '.join(LAYOUTS)}")
    if layout == "packed":
        size = DEFAULT_SHARD_BYTES if shard_bytes is None else shard_bytes
        packed = pack_dataset(dataset, target, shard_bytes=size, workers=workers, progress=progress)
        return ConvertReport(packed.samples - packed.resumed_samples, packed.resumed_samples, packed.bad)
    if shard_bytes is not None:
        raise ConfigError(f"shard_bytes is {shard_bytes}, but the layout {layout!r} has no shards; leave it out")
    if layout == "recordio":
        return export_recordio(dataset, target, workers=workers, progress=progress)
    return export_files(dataset, target, layout=layout, workers=workers, progress=progress)
