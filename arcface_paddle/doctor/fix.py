"""A cleaned label file from a report. Images are never deleted or changed; every line left out is accounted for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Iterator

import numpy as np

from arcface_paddle import files, image_headers
from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.data.label_file import write_label_file
from arcface_paddle.data.writing import place_file
from arcface_paddle.doctor.examination import Report
from arcface_paddle.doctor.location import listed_name, locate, short_path
from arcface_paddle.doctor.scan import Status
from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.progress import progress


class Reason(IntEnum):
    """Why an image is left out."""

    KEPT = 0
    BROKEN = 1
    EXACT_DUPLICATE = 2
    CLUSTER_REJECT = 3
    VERIFICATION = 4


_WORDS = {
    Reason.BROKEN: "missing, unreadable or truncated",
    Reason.EXACT_DUPLICATE: "exact duplicate",
    Reason.VERIFICATION: "in a verification set",
    Reason.CLUSTER_REJECT: "apart from its identity",
}


@dataclass(frozen=True, eq=False)
class CleanResult:
    """What a cleaning wrote.

    Attributes:
        label_file: the cleaned label file.
        map_file: ``old label<TAB>new label<TAB>images`` of each identity left.
        removed_file: a table of the lines left out.
        kept: number of images kept.
        removed: number of images left out, by reason.
        identities: number of identities left.
    """

    label_file: Path
    map_file: Path
    removed_file: Path
    kept: int
    removed: dict[str, int]
    identities: int


def plan_removals(report: Report) -> tuple[np.ndarray, np.ndarray]:
    """Decide about every image.

    Of a group with equal pixels one stays: the copy most similar to its own identity among those that are not
    rejected; the first one where embeddings do not decide.

    Returns:
        (N,) uint8 values of ``Reason``, and (N,) int64, for a duplicate the index of the copy that stays, else -1.
    """
    count = len(report.dataset)
    reasons = np.zeros(count, dtype=np.uint8)
    kept_copy = np.full(count, -1, dtype=np.int64)
    fitness = np.zeros(count, dtype=np.float32)
    if report.identities is not None:
        reasons[report.identities.rejected] = Reason.CLUSTER_REJECT
        fitness = np.nan_to_num(report.identities.own_similarity, nan=0.0)
    # In this order: of several reasons the last one written is told, and a broken image was never judged otherwise.
    reasons[report.in_verification] = Reason.VERIFICATION
    reasons[report.scan.status == Status.BROKEN] = Reason.BROKEN
    for group in report.exact_groups:
        candidates = group[reasons[group] == Reason.KEPT]
        if len(candidates) > 1:
            best = candidates[np.argmax(fitness[candidates])]
            others = candidates[candidates != best]
            reasons[others] = Reason.EXACT_DUPLICATE
            kept_copy[others] = best
    return reasons, kept_copy


def write_cleaned(report: Report, target: files.PathLike) -> CleanResult:
    """Write a cleaned label file with contiguous labels, the map of labels, and the list of what was left out.

    Left out are broken images, surplus exact copies, images of a verification set and, if there was a recogniser,
    images apart from their identity. The paths stay relative to the dataset's folder, as in the label file that was
    read; of RecordIO and packed shards the file lists the numbers of the samples, see ``SelectedDataset``.

    Args:
        report: report of an examination of the whole dataset.
        target: the new label file; beside it ``.map.tsv`` and ``.removed.tsv``.

    Raises:
        ConfigError: the report covers a sample only, or ``target`` exists already.
        DataError: nothing would be left.
    """
    if report.settings.sample is not None:
        raise ConfigError("a cleaned label file needs an examination of the whole dataset; leave the sample out")
    reasons, kept_copy = plan_removals(report)
    return write_kept(
        report.dataset,
        reasons == Reason.KEPT,
        target,
        removed={_WORDS[reason]: int((reasons == reason).sum()) for reason in _WORDS if (reasons == reason).any()},
        removed_lines=_removed_lines(report, reasons, kept_copy),
    )


def write_kept(
    dataset: FaceDataset,
    kept: np.ndarray,
    target: files.PathLike,
    *,
    removed: dict[str, int],
    removed_lines: Iterator[str],
) -> CleanResult:
    """Write a label file of some images with contiguous labels, the map of labels, and the list of what was left out.

    Args:
        dataset: where the images are.
        kept: (N,) bool.
        target: the new label file; beside it ``.map.tsv`` and ``.removed.tsv``.
        removed: number of images left out, by reason.
        removed_lines: the list of what was left out.

    Raises:
        ConfigError: ``target`` exists already.
        DataError: nothing would be left.
    """
    label_file = Path(target)
    check_target(label_file)
    indices = np.flatnonzero(kept)
    if not len(indices):
        raise DataError(f"{label_file}: not written; no image would be left of {len(kept)}")
    old_labels, new_labels, counts = np.unique(dataset.labels[indices], return_inverse=True, return_counts=True)
    map_file, removed_file = _side_files(label_file)
    result = CleanResult(
        label_file=label_file,
        map_file=map_file,
        removed_file=removed_file,
        kept=len(indices),
        removed=removed,
        identities=len(old_labels),
    )
    try:
        write_lines(removed_file, removed_lines)
        write_lines(map_file, _map_lines(old_labels, counts))
        write_label_file(label_file, _samples(dataset, indices, new_labels.ravel()))
    except BaseException:
        # Half of the three would mislead, and would stand in the way of the next attempt.
        for path in (removed_file, map_file):
            path.unlink(missing_ok=True)
        raise
    return result


def check_target(target: files.PathLike) -> None:
    """Refuse names that are taken. Raises ``ConfigError``."""
    for path in (Path(target), *_side_files(Path(target))):
        if path.exists():
            raise ConfigError(f"{path}: exists already; name a new file, nothing is overwritten")


def copy_rejected(report: Report, folder: files.PathLike) -> int:
    """Copy the images that lie apart from their identity to ``folder/<label>/``, as encoded pictures.

    All images of an identity without a main cluster are copied too. The names begin with the number of the cluster
    (0 the largest), so that those that look like one person stand together.

    Returns:
        The number of images copied.

    Raises:
        ConfigError: the report was made without a recogniser, so nothing was judged.
        DataError: a file of other content has such a name; it is left alone.
        OSError: the folder cannot be written.
    """
    if report.identities is None:
        raise ConfigError("copying rejected images needs a recogniser; without embeddings no image is rejected")
    rejected = np.flatnonzero(report.identities.rejected | report.identities.split).tolist()
    for index in progress(rejected, desc="copying", unit="img"):
        content = report.dataset.read_encoded(index)
        suffix = image_headers.suffix_by_content(content) or ".img"
        cluster = int(report.identities.cluster[index])
        group = "other" if cluster < 0 else f"{cluster:03d}"
        name = f"{group}_{index:08d}{suffix}"
        place_file(Path(folder) / str(int(report.dataset.labels[index])) / name, content)
    return len(rejected)


def _side_files(label_file: Path) -> tuple[Path, Path]:
    """Return the paths of the map of labels and of the list of removals."""
    return label_file.with_name(f"{label_file.name}.map.tsv"), label_file.with_name(f"{label_file.name}.removed.tsv")


def _samples(dataset: FaceDataset, kept: np.ndarray, new_labels: np.ndarray) -> Iterator[tuple[str, int]]:
    for index, label in zip(kept.tolist(), new_labels.tolist()):
        yield listed_name(dataset, index), label


def _map_lines(old_labels: np.ndarray, counts: np.ndarray) -> Iterator[str]:
    yield "# old_label\tnew_label\timages"
    for new, (old, count) in enumerate(zip(old_labels.tolist(), counts.tolist())):
        yield f"{old}\t{new}\t{count}"


def _removed_lines(report: Report, reasons: np.ndarray, kept_copy: np.ndarray) -> Iterator[str]:
    yield "# index\tline\tpath\tlabel\treason\tkept_instead"
    removed = np.flatnonzero(reasons).tolist()
    places = locate(report.dataset, removed)
    for index in removed:
        place, copy = places[index], int(kept_copy[index])
        instead = short_path(report.dataset, copy) if copy >= 0 else ""
        line = "" if place.line is None else place.line
        path = short_path(report.dataset, index)
        yield f"{index}\t{line}\t{path}\t{place.label}\t{_WORDS[Reason(int(reasons[index]))]}\t{instead}"


def write_lines(path: Path, lines: Iterator[str]) -> None:
    """Write lines atomically; paths that are not UTF-8 come out as they were."""
    with files.atomic_writer(path) as stream:
        for line in lines:
            stream.write(f"{line}\n".encode("utf-8", "surrogateescape"))
