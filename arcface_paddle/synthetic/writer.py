"""Writes a synthetic dataset with several processes; what was interrupted can be taken up again.

Each person is rendered by one process and noted when all of their pictures are on the disk. When all people are
noted, the label file, containers and verification pairs are made of them and the work folder goes. The bytes of the
finished dataset depend on the settings only, not on the number of processes or on interruptions.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import shutil
import zlib
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Optional, Sequence

from arcface_paddle import files
from arcface_paddle.data.difficulty import METADATA_FILE
from arcface_paddle.data.kinds import open_dataset
from arcface_paddle.data.verification_set import read_verification_set
from arcface_paddle.data.writing import sole_writer
from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.synthetic import jobs
from arcface_paddle.synthetic.assembly import assemble
from arcface_paddle.synthetic.layout import SETTINGS_FILE, VALIDATION_NAME, DatasetSettings, Layout
from arcface_paddle.synthetic.shards import Shard, check_rendering, common_settings, merge_shards
from arcface_paddle.untrusted import DOCUMENT_ERRORS, parse_json, read_json

__all__ = ["DatasetSettings", "Shard", "WriteReport", "merge_dataset", "write_dataset", "write_shard"]

EXISTING_CHOICES = ("refuse", "resume", "overwrite")


@dataclass(frozen=True)
class WriteReport:
    """What writing did.

    Attributes:
        root: folder of the dataset.
        pictures: pictures of the dataset, held-out people not counted.
        identities: people of the dataset.
        rendered_identities: people rendered (or taken over from shards) in this run, held-out people included.
        resumed_identities: people found whole from an earlier run.
        val_pairs: pairs of the verification set.
    """

    root: Path
    pictures: int
    identities: int
    rendered_identities: int
    resumed_identities: int
    val_pairs: int


def write_dataset(
    root: files.PathLike,
    settings: DatasetSettings,
    *,
    workers: int = 1,
    existing: str = "refuse",
    progress: Callable[[int], Any] = lambda pictures: None,
) -> WriteReport:
    """Render and write a dataset.

    Args:
        root: the folder of the dataset.
        settings: what to render.
        workers: processes; 1 renders in this one. With more, a script that calls this needs the usual
            ``if __name__ == "__main__"``.
        existing: what to do when the folder is not empty: ``refuse``, ``resume`` (keep pictures that are whole) or
            ``overwrite`` (only a folder that this function wrote).
        progress: called with the number of pictures done since the last call.

    Raises:
        ConfigError: a wrong argument, or the folder is not empty and may not be changed.
        DataError: another process writes there, the folder holds a dataset of other settings, or what was written
            cannot be read back.
        OSError: the disk is full or the folder cannot be written; run again with ``resume``.
    """
    with _only_writer(root):
        layout = _begin(root, settings, workers=workers, existing=existing)
        if _was_finished(layout):
            progress(settings.people * settings.images_per_identity)
            return _report(layout, rendered=0)
        rendered = _complete_people(layout, range(settings.people), workers=workers, progress=progress)
        return _finish(layout, rendered=rendered)


@dataclass(frozen=True)
class ShardReport:
    """What rendering a shard did.

    Attributes:
        root: folder of the shard.
        people: whom it has to render.
        rendered_identities: how many of them were rendered in this run; the others were whole.
    """

    root: Path
    people: range
    rendered_identities: int


def write_shard(
    root: files.PathLike,
    settings: DatasetSettings,
    shard: Shard,
    *,
    workers: int = 1,
    existing: str = "refuse",
    progress: Callable[[int], Any] = lambda pictures: None,
) -> ShardReport:
    """Render the people of one shard and leave the dataset unfinished.

    ``merge_dataset`` makes one of several such folders. Where all shards render into one folder, on a disk that the
    machines share, ``write_dataset`` with ``resume`` finishes it.

    Args:
        root: the folder of the shard.
        settings: of the whole dataset, the same for all shards.
        shard: which people to render.
        workers: see ``write_dataset``.
        existing: see ``write_dataset``; in a shared folder all machines say ``resume``.
        progress: called with the number of pictures done since the last call.

    Raises:
        ConfigError, DataError, OSError: as ``write_dataset``.
    """
    layout = _begin(root, settings, workers=workers, existing=existing)
    people = shard.people(settings.people)
    if _was_finished(layout):
        progress(len(people) * settings.images_per_identity)
        return ShardReport(layout.root, people, 0)
    return ShardReport(layout.root, people, _complete_people(layout, people, workers=workers, progress=progress))


def merge_dataset(
    root: files.PathLike,
    shards: Sequence[files.PathLike],
    *,
    existing: str = "refuse",
    recheck: int = 2,
    progress: Optional[Callable[[int], Any]] = None,
) -> WriteReport:
    """Make one dataset of shards; it has the bytes that one run would have written. The shards stay.

    Args:
        root: the folder of the dataset.
        shards: their folders.
        existing: see ``write_dataset``; ``resume`` goes on with a merge that was interrupted.
        recheck: pictures of each shard that are rendered again and compared; 0 = none.
        progress: called with the number of pictures done since the last call.

    Raises:
        ConfigError: the folder is not empty and may not be changed, or is one of the shards.
        DataError: the shards do not belong together, lack people, or were not rendered as this machine does.
        OSError: the disk is full or the folder cannot be written.
    """
    roots = [Path(shard) for shard in shards]
    if files.resolved(root) in [files.resolved(shard) for shard in roots]:
        raise ConfigError(f"{root}: is one of the shards; merge them into a folder of its own")
    if recheck < 0:
        raise ConfigError(f"recheck is {recheck}; allowed: 0 or more")
    settings = common_settings(roots)
    check_rendering(roots, settings, pictures=recheck)
    with _only_writer(root):
        layout = _begin(root, settings, workers=1, existing=existing)
        if _was_finished(layout):
            return _report(layout, rendered=0)
        taken = merge_shards(layout, roots, progress=progress or (lambda pictures: None))
        return _finish(layout, rendered=len(taken))


def read_metadata(root: files.PathLike) -> Iterator[Dict[str, Any]]:
    """Give the lines of ``metadata.jsonl`` of a finished dataset.

    Raises:
        DataError: it cannot be read.
    """
    path = Path(root) / METADATA_FILE
    try:
        with files.open_regular(path) as stream:
            for line in stream:
                yield parse_json(line, name=METADATA_FILE)
    except (OSError, UnicodeDecodeError, DataError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None


@contextlib.contextmanager
def _only_writer(root: files.PathLike) -> Iterator[None]:
    """Keep others who write the whole dataset out of its folder: who is done first removes the work of the other.

    Shards of one dataset may be rendered into one folder at the same time; they finish nothing.
    """
    _refuse_file(Path(root))
    with sole_writer(root):
        yield


def _refuse_file(root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise ConfigError(f"{root}: is a file; choose a folder")


def _begin(root: files.PathLike, settings: DatasetSettings, *, workers: int, existing: str) -> Layout:
    """Check the arguments and bring the folder into a state in which pictures may come."""
    if workers < 1:
        raise ConfigError(f"workers is {workers}; allowed: 1 or more")
    if existing not in EXISTING_CHOICES:
        raise ConfigError(f"existing is {existing!r}; allowed: {', '.join(EXISTING_CHOICES)}")
    layout = Layout(Path(root), settings)
    _prepare(layout, existing)
    return layout


def _was_finished(layout: Layout) -> bool:
    """Tell whether the dataset is finished and whole, and drop what is left of the work then."""
    if not ((layout.root / METADATA_FILE).exists() and _is_complete(layout)):
        return False
    shutil.rmtree(layout.work, ignore_errors=True)
    return True


def _complete_people(layout: Layout, people: range, *, workers: int, progress: Callable[[int], Any]) -> int:
    """Render those of ``people`` who are not whole; return how many that were."""
    each = layout.settings.images_per_identity
    todo = [identity for identity in people if jobs.read_part(layout, identity) is None]
    progress((len(people) - len(todo)) * each)
    for _ in _render(layout, todo, workers):
        progress(each)
    return len(todo)


def _finish(layout: Layout, *, rendered: int) -> WriteReport:
    assemble(layout)
    shutil.rmtree(layout.work, ignore_errors=True)
    return _report(layout, rendered=rendered)


def _prepare(layout: Layout, existing: str) -> None:
    """Bring the folder into a state in which rendering may begin."""
    root = layout.root
    _refuse_file(root)
    path = root / SETTINGS_FILE
    if root.exists() and any(root.iterdir()):
        if existing == "refuse":
            raise ConfigError(f"{root}: not empty; choose another folder, or resume, or overwrite")
        if not path.exists():
            raise ConfigError(f"{root}: holds no {SETTINGS_FILE}, so it is not a synthetic dataset; left as it is")
        if existing == "overwrite":
            _empty(root)
        else:
            _check_same_settings(path, layout.settings)
    root.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        files.write_json(path, layout.settings.as_json())


def _empty(root: Path) -> None:
    """Remove what is in a folder, not the folder, which is claimed."""
    for path in root.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _check_same_settings(path: Path, settings: DatasetSettings) -> None:
    try:
        found = read_json(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    wanted = settings.as_json()
    different = [name for name in wanted if not isinstance(found, dict) or found.get(name) != wanted[name]]
    if different:
        name = different[0]
        value = found.get(name) if isinstance(found, dict) else found
        raise DataError(f"{path}: begun with {name} {value}, not {wanted[name]}; use the same settings or overwrite")


def _is_complete(layout: Layout) -> bool:
    """Read a finished dataset back through the reader of its format and compare checksums."""
    entries = list(read_metadata(layout.root))
    expected = layout.settings.identities * layout.settings.images_per_identity
    if len(entries) != expected:
        return False
    try:
        dataset = open_dataset(layout.root, kind=layout.settings.format, image_size=layout.settings.size)
        whole = len(dataset) == expected and all(
            zlib.crc32(dataset.read_encoded(index)) == entry["crc32"] for index, entry in enumerate(entries)
        )
        if layout.settings.val_identities:
            pairs = len(read_verification_set(layout.root / f"{VALIDATION_NAME}.bin"))
            whole = whole and pairs == layout.settings.val_pairs
    except (OSError, DataError, *DOCUMENT_ERRORS):
        return False
    return whole


def _render(layout: Layout, todo: Sequence[int], workers: int) -> Iterator[int]:
    """Complete the people of ``todo``; gives each one's number when done."""
    if workers == 1 or len(todo) <= 1:
        faces = layout.settings.population()
        for identity in todo:
            jobs.complete_identity(layout, faces, identity)
            yield identity
        return
    # A fresh interpreter per worker: forking a process with threads of OpenCV or paddle can hang.
    pool = ProcessPoolExecutor(
        min(workers, len(todo)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=jobs.start_worker,
        initargs=(str(layout.root), layout.settings),
    )
    try:
        for done in as_completed([pool.submit(jobs.run_in_worker, identity) for identity in todo]):
            yield done.result()
    except BrokenProcessPool:
        raise DataError("a worker process died (out of memory?); run again with resume and fewer workers") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _report(layout: Layout, *, rendered: int) -> WriteReport:
    settings = layout.settings
    return WriteReport(
        root=layout.root,
        pictures=settings.identities * settings.images_per_identity,
        identities=settings.identities,
        rendered_identities=rendered,
        resumed_identities=settings.identities + settings.val_identities - rendered,
        val_pairs=settings.val_pairs if settings.val_identities else 0,
    )
