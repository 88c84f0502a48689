"""Converting without loss: trees of pictures to trees of ``.bin`` and back, and any dataset to any layout.

Pictures are never decoded and encoded again, their bytes are copied. Every converter can be interrupted (Ctrl-C, a
full disk) and run again: what is complete is recognised by its content and kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Generator, Sequence

from arcface_paddle import files, image_headers, images
from arcface_paddle.data.bin_record import decode_record, encode_record
from arcface_paddle.data.data_settings import FILE_LAYOUTS
from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.data.label_file import write_label_file
from arcface_paddle.data.parallel import ordered_map
from arcface_paddle.data.random_access import read_small_file
from arcface_paddle.data.tree import files_below
from arcface_paddle.data.writing import dataset_in, place_file
from arcface_paddle.errors import DataError, ImageError

Progress = Callable[[int], Any]


@dataclass(frozen=True)
class ConvertReport:
    """What a conversion did.

    Attributes:
        written: outputs written by this run.
        unchanged: outputs that an earlier run had written.
        bad: inputs left out: path and reason.
    """

    written: int
    unchanged: int
    bad: tuple[tuple[str, str], ...]


# ---------------------------------------------------------------------------------------------------------------
# Trees of files


@dataclass(frozen=True)
class SourceTree:
    """The files of a folder, sorted by their names.

    Attributes:
        root: the folder.
        wanted: paths, relative to it, of the files to convert.
        others: paths of the other ones; hidden files are in neither.
    """

    root: Path
    wanted: tuple[str, ...]
    others: tuple[str, ...]


def list_pictures(root: files.PathLike) -> SourceTree:
    """List the files below a folder whose names are those of pictures.

    Raises:
        DataError: no such folder or no picture in it.
    """
    return _list_tree(root, images.is_image_path, "picture")


def list_bins(root: files.PathLike) -> SourceTree:
    """List the files below a folder whose names end in ``.bin``.

    Raises:
        DataError: no such folder or none in it.
    """
    return _list_tree(root, _is_bin, ".bin")


def source_of_bins(image_path: files.PathLike, bin_path: files.PathLike) -> tuple[files.PathLike, files.PathLike]:
    """Tell which of two folders is read and which is written when ``.bin`` files are turned into pictures.

    The published README gives the folder of the ``.bin`` files as ``image_path`` and the output as ``bin_path``; the
    published code read them the other way round. Users have typed both, so what is in the folders decides.

    Returns:
        The folder with the ``.bin`` files, and the other one.

    Raises:
        DataError: both hold ``.bin`` files, or neither does.
    """
    if files.resolved(image_path) == files.resolved(bin_path):
        return bin_path, image_path
    in_bin_path, in_image_path = _holds_bins(bin_path, image_path), _holds_bins(image_path, bin_path)
    if in_bin_path and in_image_path:
        raise DataError(
            f"{image_path} and {bin_path} both hold .bin files, so it is not clear which of them to read; "
            "give a folder without .bin files for the pictures"
        )
    if not in_bin_path and not in_image_path:
        raise DataError(
            f"neither {bin_path} nor {image_path} holds a .bin file; bin2image reads the .bin files of one of the two "
            "folders and writes pictures into the other"
        )
    return (bin_path, image_path) if in_bin_path else (image_path, bin_path)


def _holds_bins(root: files.PathLike, other: files.PathLike) -> bool:
    """Tell whether ``root`` holds a ``.bin`` file; those in ``other``, if it lies inside of ``root``, do not count."""
    if not Path(root).is_dir():
        return False
    above, inside = files.resolved(root), files.resolved(other)
    excluded = f"{inside.relative_to(above).as_posix()}/" if above in inside.parents else None
    return any(_is_bin(path) and not (excluded is not None and path.startswith(excluded)) for path in files_below(root))


def _is_bin(path: str) -> bool:
    return path.lower().endswith(".bin")


def _list_tree(root: files.PathLike, is_wanted: Callable[[str], bool], what: str) -> SourceTree:
    wanted: list[str] = []
    others: list[str] = []
    for path in files_below(root):
        (wanted if is_wanted(path) else others).append(path)
    if not wanted:
        raise DataError(f"{root}: no {what} file in this folder or below it")
    return SourceTree(Path(root), tuple(wanted), tuple(others))


def images_to_bins(
    source: SourceTree, bin_root: files.PathLike, *, workers: int = 2, progress: Progress = lambda count: None
) -> ConvertReport:
    """Wrap pictures into per-image ``.bin`` files at the same places below ``bin_root``.

    The key of the record is the picture's file name, the value its bytes as they are.

    Args:
        source: see ``list_pictures``.
        bin_root: the folder to write to.
        workers: threads.
        progress: called with the number of files done since the last call.

    Raises:
        DataError: the disk is full or cannot be written.
    """

    def convert(name: str) -> bool:
        path = source.root / name
        content = read_small_file(str(path))
        if image_headers.suffix_by_content(content) is None:
            raise DataError(f"{path}: not a picture in a known format (JPEG, PNG, BMP, WebP, TIFF, GIF, PPM, PGM)")
        return place_file((Path(bin_root) / name).with_suffix(".bin"), encode_record(path.name, content))

    return _convert_all(convert, source, bin_root, workers, progress)


def bins_to_images(
    source: SourceTree, image_root: files.PathLike, *, workers: int = 2, progress: Progress = lambda count: None
) -> ConvertReport:
    """Write the pictures inside of ``.bin`` files to the same places below ``image_root``.

    The bytes are those that were wrapped; the suffix follows their content, not the key. The arguments are those of
    ``images_to_bins``, the source as ``list_bins`` gives it.

    Raises:
        DataError: the disk is full or cannot be written.
    """

    def convert(name: str) -> bool:
        path = source.root / name
        _, content = decode_record(read_small_file(str(path)), name=str(path))
        suffix = image_headers.suffix_by_content(content)
        if suffix is None:
            raise DataError(f"{path}: what it holds is not a picture in a known format")
        return place_file((Path(image_root) / name).with_suffix(suffix), content)

    return _convert_all(convert, source, image_root, workers, progress)


def _convert_all(
    convert: Callable[[str], bool], source: SourceTree, target: files.PathLike, workers: int, progress: Progress
) -> ConvertReport:
    first_of: dict[str, str] = {}
    for name in source.wanted:  # in order, so that it does not depend on the threads which of two namesakes wins
        first_of.setdefault(_without_suffix(name), name)

    def attempt(name: str) -> tuple[bool, str]:
        first = first_of[_without_suffix(name)]
        if first != name:
            return False, f"{source.root / name}: {Path(first).name} becomes the same file; rename one of them"
        try:
            return convert(name), ""
        except (DataError, ImageError) as error:
            return False, str(error)

    outcomes = []
    with dataset_in(target):
        for outcome in ordered_map(attempt, source.wanted, workers=workers):
            outcomes.append(outcome)
            progress(1)
    bad = tuple((str(source.root / name), reason) for name, (_, reason) in zip(source.wanted, outcomes) if reason)
    written = sum(was_written for was_written, _ in outcomes)
    return ConvertReport(written, len(outcomes) - written - len(bad), bad)


def _without_suffix(name: str) -> str:
    return name[: name.rindex(".")]


# ---------------------------------------------------------------------------------------------------------------
# Datasets


def export_files(
    dataset: FaceDataset,
    target: files.PathLike,
    *,
    layout: str,
    workers: int = 2,
    progress: Progress = lambda count: None,
) -> ConvertReport:
    """Write any dataset as one file per sample and a ``label.txt``.

    Args:
        dataset: any reader.
        target: the folder to write to.
        layout: ``bin`` (images/00000000.bin), ``image`` (images/00000000.jpg) or ``folder``
            (00000012/00000000.jpg, one folder per label). The number is the sample's index.
        workers: threads.
        progress: called with the number of samples done since the last call.

    Raises:
        DataError: an unknown layout, a file of other content is in the way, no sample can be read, or the disk is
            full.
    """
    if layout not in FILE_LAYOUTS:
        raise DataError(f"layout {layout!r}; allowed: {', '.join(FILE_LAYOUTS)}")
    exporter = _FileExporter(dataset, Path(target), layout)
    lines: list[tuple[str, int]] = []
    bad: list[tuple[str, str]] = []
    written = 0
    with dataset_in(target):
        for index, (name, was_written, reason) in enumerate(
            ordered_map(exporter.export, range(len(dataset)), workers=workers)
        ):
            progress(1)
            written += was_written
            if reason:
                bad.append((dataset.path_of(index), reason))
            else:
                lines.append((name, int(dataset.labels[index])))
        if not lines:
            raise no_readable_sample(dataset, bad)
        write_label_file(Path(target) / "label.txt", lines)
    return ConvertReport(written, len(lines) - written, tuple(bad))


@dataclass(frozen=True)
class _FileExporter:
    dataset: FaceDataset
    target: Path
    layout: str

    def export(self, index: int) -> tuple[str, bool, str]:
        """Write a sample; return its path in the label file, whether it was written, and why it could not be read."""
        try:
            content = self.dataset.read_encoded(index)
        except (DataError, ImageError) as error:
            return "", False, str(error)
        suffix = image_headers.suffix_by_content(content) or ".img"
        if self.layout == "bin":
            name = f"images/{index:08d}.bin"
            content = encode_record(f"{index:08d}{suffix}", content)
        elif self.layout == "image":
            name = f"images/{index:08d}{suffix}"
        else:
            name = f"{int(self.dataset.labels[index]):08d}/{index:08d}{suffix}"
        return name, place_file(self.target / name, content), ""


def readable_samples(
    dataset: FaceDataset, indices: Sequence[int], *, workers: int
) -> Generator[tuple[int, bytes, str], None, None]:
    """Give index, picture and, if it cannot be read, the reason, of samples in order, read ahead by threads."""

    def read(index: int) -> tuple[int, bytes, str]:
        try:
            return index, dataset.read_encoded(index), ""
        except (DataError, ImageError) as error:
            return index, b"", str(error)

    return ordered_map(read, indices, workers=workers)


def no_readable_sample(dataset: FaceDataset, bad: Sequence[tuple[str, str]]) -> DataError:
    """Return the error of a dataset of which nothing can be written; ``bad`` as in ``ConvertReport``."""
    return DataError(
        f"{dataset.name}: nothing to write, none of the {len(dataset)} samples could be read; the first: {bad[0][1]}"
    )
