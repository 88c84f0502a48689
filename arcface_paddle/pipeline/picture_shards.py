"""Very large picture sets, cut into shards that are embedded one by one, on this machine or on many.

A shard is a folder or a tar archive of pictures, best of some thousands. Each is embedded by a process of its own with
``encode --shard_size --resume``, which writes ``NAME-00000.parquet``, ... into the output; at last ``NAME.done.json``
says that the shard is finished. Whoever starts again goes on with those that are not.
"""

from __future__ import annotations

import contextlib
import shutil
import tarfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Iterator, Optional, Sequence

from arcface_paddle import files
from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.pipeline.child_command import run_command
from arcface_paddle.untrusted import DOCUMENT_ERRORS, TAR_ERRORS, read_json

_FORMAT = 1
_DONE = ".done.json"
_COUNTS = ("pictures", "encoded", "embeddings")
_PICTURES_PER_FILE = "10000"
_LONGEST_MEMBER = 1 << 28  # bytes of a picture in an archive; images.py refuses far smaller ones with a sentence
_LONGEST_MESSAGE = 300
_LONGEST_NAME = 200  # characters


@dataclass(frozen=True)
class ShardReport:
    """What became of a shard.

    Attributes:
        name: of the shard, and how its files begin.
        pictures: how many it holds.
        encoded: how many of them gave at least one face.
        embeddings: how many faces there are.
        files: names of the Parquet files.
        problem: why it is not finished; empty when it is.
        earlier: an earlier run has finished it.
    """

    name: str
    pictures: int = 0
    encoded: int = 0
    embeddings: int = 0
    files: tuple[str, ...] = ()
    problem: str = ""
    earlier: bool = False


@dataclass(frozen=True)
class ShardJob:
    """One shard to embed.

    Attributes:
        source: absolute path of the folder or tar archive.
        output: absolute path of the folder of the results, the same on every machine.
        options: flags of ``encode``.
    """

    source: str
    output: str
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        path = Path(self.source)
        return path.name if path.is_dir() else path.name.partition(".")[0]


def jobs_of(sources: Sequence[files.PathLike], output: files.PathLike, *, options: Sequence[str]) -> list[ShardJob]:
    """Return a job for each shard.

    Raises:
        ConfigError: a shard that is neither folder nor tar archive, two of one name, or flags that are set here.
    """
    for option in options:
        if option.partition("=")[0] in ("--output", "--shard_size", "--resume"):
            raise ConfigError(f"{option.partition('=')[0]} of encode is set for every shard; leave it out")
    jobs = []
    for source in sources:
        path = Path(source)
        if not path.is_dir() and ".tar" not in path.suffixes[-2:] and path.suffix != ".tgz":
            raise ConfigError(f"{files.printable(path)}: a shard is a folder or a tar archive (.tar, .tar.gz, .tgz)")
        if not path.exists():
            raise ConfigError(f"{files.printable(path)}: no such file or folder")
        jobs.append(ShardJob(str(files.resolved(path)), str(files.resolved(output)), tuple(options)))
    names: dict[str, str] = {}
    for job in jobs:
        if names.setdefault(job.name, job.source) != job.source:
            raise ConfigError(f"two shards have the name {job.name}: {names[job.name]} and {job.source}; rename one")
    return list({job.name: job for job in jobs}.values())


def finished(job: ShardJob) -> Optional[ShardReport]:
    """Return the report of a shard that an earlier run has finished, None when it has not.

    Raises:
        ConfigError: it was embedded with other flags.
        DataError: what says so is damaged.
    """
    path = Path(job.output) / f"{job.name}{_DONE}"
    try:
        content = read_json(path)
        report = _report_from(content["report"])
        options = [str(option) for option in content["options"]]
    except FileNotFoundError:
        return None
    except (DataError, *DOCUMENT_ERRORS) as error:
        raise DataError(f"{path}: cannot be read ({error}); remove it, and the shard is looked at again") from None
    if options != list(job.options):
        raise ConfigError(
            f"{path}: the shard was embedded with {' '.join(options) or 'no flags'}, not with "
            f"{' '.join(job.options) or 'none'}; use the same, or another --output"
        )
    return report if all((Path(job.output) / name).is_file() for name in report.files) else None


def _report_from(given: dict[str, Any]) -> ShardReport:
    """Return the report of an earlier run. Raises ``DOCUMENT_ERRORS`` for what we did not write."""
    report = ShardReport(**{**given, "files": tuple(map(_plain_name, given["files"])), "earlier": True})
    _require_counts(given)
    if not isinstance(report.name, str) or not isinstance(report.problem, str):
        raise TypeError("name and problem are texts")
    return report


def _require_counts(given: dict[str, Any]) -> None:
    for key in _COUNTS:
        if type(given[key]) is not int or given[key] < 0:
            raise ValueError(f"{key} is {given[key]!r:.40}")


def _plain_name(name: Any) -> str:
    """Return the name of a file that lies beside the index, whatever somebody has put there instead."""
    if not isinstance(name, str) or Path(name).name != name or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise ValueError(f"{name!r:.60} is no name of a file")
    return name


def embed_shard(job: ShardJob) -> ShardReport:
    """Embed one shard in a process of its own and say what became of it; nothing is raised for a shard that fails.

    A process, because networks cannot be opened in any thread, and because a crash then costs one shard.
    """
    report = finished(job)
    if report is not None:
        return report
    output = Path(job.output)
    try:
        output.mkdir(parents=True, exist_ok=True)
        with _unpacked(Path(job.source), job.name) as (folder, name):
            said = _run_encode(folder, name, output / f"{job.name}.parquet", job.options)
        report = _report_of(output, job.name, said)
        if not report.problem:
            document = {"format": _FORMAT, "options": list(job.options), "report": asdict(report)}
            files.write_json(output / f"{job.name}{_DONE}", document)
    except (OSError, DataError) as error:
        return ShardReport(job.name, problem=f"{job.source}: {' '.join(str(error).split())[:_LONGEST_MESSAGE]}")
    return report


def _run_encode(folder: Path, name: str, target: Path, options: Sequence[str]) -> str:
    """Run ``encode`` on a folder; return its last line when it failed. Sources are told as ``NAME/PERSON/PICTURE``."""
    arguments = ["encode", f"./{name}", f"--output={target}", f"--shard_size={_PICTURES_PER_FILE}", "--resume"]
    done = run_command([*arguments, *options], folder=folder)
    if done.returncode in (0, 1):
        return ""
    lines = done.stderr.strip().splitlines()
    return (lines[-1] if lines else f"ended with {done.returncode}")[:_LONGEST_MESSAGE]


def _report_of(output: Path, name: str, said: str) -> ShardReport:
    """Read the index that ``encode`` has written. A shard in which nobody shows a face is finished, too."""
    index = output / f"{name}.shards.json"
    if not index.exists():
        return ShardReport(name, problem=said or "encode has written no index")
    try:
        parts: list[dict[str, Any]] = read_json(index)["shards"]
        for part in parts:
            _require_counts(part)
        names = tuple(_plain_name(part["file"]) for part in parts if part["file"])
    except DOCUMENT_ERRORS as error:
        raise DataError(f"{index}: damaged ({error!s:.200}); remove it, and the shard is looked at again") from None
    pictures, encoded, embeddings = (sum(part[key] for part in parts) for key in _COUNTS)
    nobody = said and not embeddings and "gave an embedding" in said
    return ShardReport(name, pictures, encoded, embeddings, names, problem="" if nobody else said)


@contextlib.contextmanager
def _unpacked(source: Path, name: str) -> Iterator[tuple[Path, str]]:
    """Give the folder that holds the shard's folder, and the name of that; an archive is unpacked until the end."""
    if source.is_dir():
        yield source.parent, source.name
        return
    with files.scratch_folder() as folder:
        root = folder / name
        root.mkdir()
        unpack_archive(source, root)
        yield folder, name


def unpack_archive(source: Path, root: Path) -> None:
    """Write the regular files of a shard's tar archive below a folder that is there.

    Raises:
        DataError: it is damaged, or no tar archive.
        OSError: it cannot be read, or its files cannot be written.
    """
    try:
        with files.open_regular(source) as stream, tarfile.open(fileobj=stream, mode="r|*") as archive:
            for member in archive:
                _unpack(archive, member, root)
    except TAR_ERRORS as error:
        raise DataError(f"not a whole tar archive: {error!s:.200}") from None


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path) -> None:
    """Write one regular file below ``root``; links, devices and paths that lead elsewhere are left out."""
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    if not member.isreg() or not parts or ".." in parts or member.size > _LONGEST_MEMBER:
        return
    target = root.joinpath(*parts)
    if root not in target.parents:
        return
    stream = archive.extractfile(member)
    if stream is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as written:
            shutil.copyfileobj(stream, written)
