"""Opening a dataset of any layout by its path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional, Union

from arcface_paddle import files
from arcface_paddle.data.carray_set import is_carray_set
from arcface_paddle.data.data_settings import CONTAINER_LAYOUTS, KINDS
from arcface_paddle.data.dataset import IMAGE_SIZE, FaceDataset
from arcface_paddle.data.file_dataset import FolderDataset, open_label_file
from arcface_paddle.data.label_file import read_label_file
from arcface_paddle.data.packed import MANIFEST, PackedDataset, whole_shards
from arcface_paddle.data.recordio_dataset import RecordIODataset
from arcface_paddle.data.selection import SelectedDataset, lists_numbers
from arcface_paddle.data.tfrecord_dataset import TFRecordDataset, holds_shards, is_shard_name
from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.pipeline.inputs import is_system_folder

LABEL_FILE = "label.txt"

_READERS: dict[str, Callable[..., FaceDataset]] = {
    "packed": PackedDataset,
    "recordio": RecordIODataset,
    "tfrecord": TFRecordDataset,
}


@dataclass(frozen=True)
class DatasetSpec:
    """Which dataset, and how to read it.

    Attributes:
        path: a folder, or a ``.rec`` or TFRecord file.
        label_file: label file; None takes ``label.txt`` in the folder. For RecordIO, TFRecord and packed shards: lines
            of ``number<TAB>label`` that select and relabel samples, see ``SelectedDataset``.
        kind: ``bin`` (per-image .bin listed in the label file), ``image`` (picture files listed there), ``folder``
            (one per identity), ``recordio``, ``packed``, ``tfrecord``, or ``auto`` to find out.
        num_classes: identities of the classifier; None takes them from the labels.
        image_size: side of the pictures in pixels.
    """

    path: Union[str, Path]
    label_file: Optional[Union[str, Path]] = None
    kind: str = "auto"
    num_classes: Optional[int] = None
    image_size: int = IMAGE_SIZE


def open_dataset(
    path: Union[DatasetSpec, files.PathLike],
    *,
    label_file: Optional[files.PathLike] = None,
    kind: str = "auto",
    num_classes: Optional[int] = None,
    image_size: int = IMAGE_SIZE,
) -> FaceDataset:
    """Open a dataset; the arguments are the fields of ``DatasetSpec``, which may be given instead.

    Raises:
        ConfigError: an unknown kind, or a label file for a folder per identity.
        DataError: nothing there, the layout is not known, or the dataset is damaged.
    """
    if isinstance(path, DatasetSpec):
        spec = path
    else:
        label_path = None if label_file is None else Path(label_file)
        spec = DatasetSpec(Path(path), label_path, kind, num_classes, image_size)
    if spec.kind not in KINDS:
        raise ConfigError(f"dataset kind {spec.kind!r}; allowed: {', '.join(KINDS)}")
    found = detect_kind(spec) if spec.kind == "auto" else spec.kind
    if found in CONTAINER_LAYOUTS:
        return _open_container(spec, found)
    if found == "folder":
        if spec.label_file is not None:
            raise ConfigError(
                f"a folder per identity names the labels, so {spec.label_file} has no meaning; "
                "use kind 'image' to read the pictures that the label file lists"
            )
        return FolderDataset(spec.path, num_classes=spec.num_classes, image_size=spec.image_size)
    return open_label_file(
        spec.path,
        spec.label_file or Path(spec.path) / LABEL_FILE,
        is_bin={"bin": True, "image": False}.get(found),
        num_classes=spec.num_classes,
        image_size=spec.image_size,
    )


def _open_container(spec: DatasetSpec, kind: str) -> FaceDataset:
    reader = _READERS[kind]
    if spec.label_file is None:
        return reader(spec.path, num_classes=spec.num_classes, image_size=spec.image_size)
    return SelectedDataset(
        reader(spec.path),
        read_label_file(spec.label_file),
        num_classes=spec.num_classes,
        image_size=spec.image_size,
    )


def detect_kind(spec: DatasetSpec) -> str:
    """Tell the layout: one of ``CONTAINER_LAYOUTS``, ``folder``, or ``listed`` (a label file, of bin or pictures).

    Raises:
        DataError: no such path, or none of the layouts.
    """
    path = Path(spec.path)
    kind = container_kind(path)
    if spec.label_file is not None:
        return kind if kind and lists_numbers(read_label_file(spec.label_file)) else "listed"
    if kind:
        return kind
    if not path.is_dir():
        what = "neither a folder nor a .rec or TFRecord file" if path.exists() else "no such folder"
        raise DataError(f"{path}: {what}")
    if (path / LABEL_FILE).exists():
        return "listed"
    if is_carray_set(path):
        raise DataError(
            f"{path}: a verification set of bcolz, no training data; 'valid' and 'data convert --to val' read it"
        )
    if any(entry.is_dir() and not is_system_folder(entry.name) for entry in path.iterdir()):
        return "folder"
    raise DataError(
        f"{path}: no dataset found; expected {LABEL_FILE}, a .rec file, TFRecord files, packed shards "
        f"({MANIFEST}) or one folder per identity"
    )


def container_kind(path: Path) -> str:
    """Return which of ``CONTAINER_LAYOUTS`` lies there; empty for none."""
    if path.suffix == ".rec":
        return "recordio"
    if (path / MANIFEST).exists() or whole_shards(path):
        return "packed"
    if path.is_dir() and any(path.glob("*.rec")):
        return "recordio"
    # Beside a label.txt, which lists files, what has such a name is something else.
    is_folder = holds_shards(path) and not (path / LABEL_FILE).exists()
    return "tfrecord" if is_folder or (path.is_file() and is_shard_name(path.name)) else ""
