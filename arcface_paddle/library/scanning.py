"""Looks at what is new in a folder of pictures, and leaves what is known alone.

A file whose size and time of change are those of last time is not opened. Any other is read, and when its content is
known under another path nothing more happens. Only a picture that nobody has looked at costs a detector's and a
recogniser's time; without one the models are not even loaded.
"""

from __future__ import annotations

import functools
import hashlib
import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Callable, Iterable, Iterator, Optional, Sequence, Union

import numpy as np

from arcface_paddle import files, images
from arcface_paddle.errors import DataError, ImageError
from arcface_paddle.library.capture_time import capture_time
from arcface_paddle.library.store import FaceStore, FileState, StoredPicture, unreadable
from arcface_paddle.pipeline.analyzer import Analyzer
from arcface_paddle.pipeline.inputs import FoundPicture
from arcface_paddle.pipeline.picture_hashes import compared_picture, gray_thumbnail, perceptual_hash
from arcface_paddle.pipeline.picture_workers import PictureWorkers
from arcface_paddle.pipeline.recognition import require_embedding

OpenWorkers = Callable[[int], PictureWorkers[Analyzer]]
"""Loads models for a number of pictures; called once, and only when there is a new picture."""

ShowProgress = Callable[[Sequence[FoundPicture]], Iterable[FoundPicture]]
"""Iterates over pictures and shows how far it has come."""


@dataclass
class ScanReport:
    """What a scan has done.

    Attributes:
        contents: SHA-256 of each picture that could be read, by its path.
        problems: what could not be read, a sentence each, with the path.
        looked_at: pictures that went through the models.
        recognised: files that were new under their path and known by their content.
        unchanged: files that were not opened.
        forgotten: pictures that are gone.
    """

    contents: dict[FoundPicture, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    looked_at: int = 0
    recognised: int = 0
    unchanged: int = 0
    forgotten: int = 0


def scan(
    pictures: Sequence[FoundPicture],
    store: FaceStore,
    *,
    open_workers: OpenWorkers,
    max_pixels: Optional[int] = None,
    show: ShowProgress = iter,
) -> ScanReport:
    """Bring a store up to date with some files; what has been looked at stays in it when this is interrupted.

    Args:
        pictures: all pictures of the library.
        store: takes what is found.
        open_workers: loads the models.
        max_pixels: refuse larger pictures; None for ``images.MAX_PIXELS``.
        show: wraps the files that have to be opened, for a bar.

    Raises:
        DataError: the store cannot be written, as on a full disk.
    """
    report = ScanReport()
    try:
        new = [found for found in pictures if not _is_unchanged(found, store, report, max_pixels)]
        for found, looked in _look(new, store, open_workers=open_workers, max_pixels=max_pixels, show=show):
            _take(found, looked, store, report)
        report.forgotten = store.forget_paths(_gone(pictures, store))
    except OSError as error:
        raise DataError(
            f"{store.folder}: cannot be written: {error.strerror or error}; what was found so far is kept, the next "
            "run goes on behind it"
        ) from None
    return report


@dataclass(frozen=True, eq=False)
class _Looked:
    """What became of one file.

    Attributes:
        state: size and time when it was opened; None when it could not be.
        picture: what was found, or the record of what is wrong with it; None for what is stored already.
        sha256: of its content; empty when it could not be read.
        problem: why it could not be opened at all.
    """

    state: Optional[FileState]
    picture: Optional[StoredPicture] = None
    sha256: str = ""
    problem: str = ""


def path_key(found: FoundPicture) -> str:
    """Return the absolute path by which the store knows a file."""
    return os.fspath(found.path.absolute())


def _is_unchanged(found: FoundPicture, store: FaceStore, report: ScanReport, max_pixels: Optional[int]) -> bool:
    """Tell whether a file need not be opened, and report what is known of it."""
    state = _state_of(found)
    sha256 = None if state is None else store.content_of(path_key(found), state)
    known = None if sha256 is None else store.picture(sha256)
    if known is None or not _still_holds(known, max_pixels):
        return False
    report.unchanged += 1
    _report(found, known, report)
    return True


def _still_holds(known: StoredPicture, max_pixels: Optional[int]) -> bool:
    """Tell whether a stored problem would arise again: with another limit, a large picture can be read."""
    return not known.problem or known.max_pixels == max_pixels


def _look(
    new: Sequence[FoundPicture],
    store: FaceStore,
    *,
    open_workers: OpenWorkers,
    max_pixels: Optional[int],
    show: ShowProgress,
) -> Iterator[tuple[FoundPicture, _Looked]]:
    """Open files, with models from the first on whose content is not known."""
    waiting = iter(show(new)) if new else iter(())
    done = 0
    for found in waiting:
        looked = _read(found, store, max_pixels)
        if isinstance(looked, _Looked):
            done += 1
            yield found, looked
            continue
        workers = open_workers(len(new) - done)
        work = functools.partial(_analyze, store=store, max_pixels=max_pixels)
        yield from workers.map(work, _with_first(found, waiting))
        return


def _with_first(first: FoundPicture, others: Iterator[FoundPicture]) -> Iterator[FoundPicture]:
    yield first
    yield from others


def _read(
    found: FoundPicture, store: FaceStore, max_pixels: Optional[int]
) -> Union[_Looked, tuple[FileState, bytes, str]]:
    """Return what is known of a file's content, or else the content and its SHA-256."""
    state = _state_of(found)
    try:
        content = images.read_file(found.path)
    except ImageError as error:
        return _Looked(None, problem=str(error))
    if state is None:
        return _Looked(None, problem=f"{files.printable(found.path)}: has gone while the folder was read")
    sha256 = hashlib.sha256(content).hexdigest()
    known = store.picture(sha256)
    if known is not None and _still_holds(known, max_pixels):
        return _Looked(state, sha256=sha256)
    return state, content, sha256


def _analyze(
    analyzer: Analyzer, found: FoundPicture, *, store: FaceStore, max_pixels: Optional[int]
) -> tuple[FoundPicture, _Looked]:
    read = _read(found, store, max_pixels)
    if isinstance(read, _Looked):
        return found, read
    state, content, sha256 = read
    source = files.printable(found.path)
    try:
        image = images.decode_image(content, name=source, max_pixels=max_pixels)
    except ImageError as error:
        problem = str(error).removeprefix(f"{source}: ")
        return found, _Looked(state, unreadable(sha256, problem, max_pixels=max_pixels), sha256)
    return found, _Looked(state, _found_in(analyzer, image, sha256, found), sha256)


def _found_in(analyzer: Analyzer, image: np.ndarray, sha256: str, found: FoundPicture) -> StoredPicture:
    """Find and embed the faces of a decoded picture, (H, W, 3) uint8 RGB."""
    faces = analyzer.analyze(image, source=sha256).faces
    nowhere = np.full((5, 2), np.nan, np.float32)
    points = [nowhere if face.detection.landmarks is None else face.detection.landmarks for face in faces]
    size = len(require_embedding(faces[0])) if faces else 0
    return StoredPicture(
        sha256=sha256,
        size_wh=(image.shape[1], image.shape[0]),
        captured=_captured(found),
        perceptual=perceptual_hash(gray_thumbnail(image)),
        gray=np.rint(compared_picture(image)).astype(np.uint8),
        boxes_xyxy=np.array([face.detection.box_xyxy for face in faces], np.float32).reshape(-1, 4),
        landmarks=np.array(points, np.float32).reshape(-1, 5, 2),
        scores=np.array([face.detection.score for face in faces], np.float32),
        qualities=np.array([np.nan if face.quality is None else face.quality for face in faces], np.float32),
        embeddings=np.array([require_embedding(face) for face in faces], np.float32).reshape(len(faces), size),
    )


def _captured(found: FoundPicture) -> Optional[datetime]:
    try:
        return capture_time(images.read_header(found.path).exif)
    except ImageError:  # gone or changed since it was decoded, or larger than the usual limit
        return None


def _take(found: FoundPicture, looked: _Looked, store: FaceStore, report: ScanReport) -> None:
    if looked.state is None:
        report.problems.append(looked.problem)
        return
    if looked.picture is None:
        report.recognised += 1
    else:
        store.add_picture(looked.picture)
        report.looked_at += 1
    store.add_path(path_key(found), looked.state, looked.sha256)
    known = store.picture(looked.sha256)
    assert known is not None, "it was just added, or is why nothing was added"
    _report(found, known, report)


def _report(found: FoundPicture, known: StoredPicture, report: ScanReport) -> None:
    if known.problem:
        report.problems.append(f"{files.printable(found.path)}: {known.problem}")
    else:
        report.contents[found] = known.sha256


def _gone(pictures: Sequence[FoundPicture], store: FaceStore) -> list[str]:
    """Return paths of the store below the searched folders that are there no longer.

    Paths elsewhere are those of other libraries that share the store.
    """
    present = {path_key(found) for found in pictures}
    roots = {f"{found.root.absolute()}{os.sep}" for found in pictures if found.root is not None}
    lost = [path for path in store.paths() if path not in present and path.startswith(tuple(roots))]
    return [path for path in lost if _is_gone(path)]


def _is_gone(path: str) -> bool:
    """Tell whether nothing stands there; of what is in a folder that is closed now, nobody knows."""
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _state_of(found: FoundPicture) -> Optional[FileState]:
    try:
        status = found.path.stat()
    except OSError:
        return None
    return FileState(status.st_size, status.st_mtime_ns)
