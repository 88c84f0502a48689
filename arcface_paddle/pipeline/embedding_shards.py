"""Embeddings of many pictures as a row of files, so that a run that ends early loses no more than its last one.

``faces.parquet`` in shards of 1,000 pictures becomes ``faces-00000.parquet``, ``faces-00001.parquet``, ... beside
``faces.shards.json``, which says which pictures each holds. A shard is written once all of its pictures have been
looked at, and only then named in that file; the next run goes on behind it. Only the faces of one shard are in memory.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Iterator, Optional, Sequence

from arcface_paddle import files
from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.pipeline.embedding_files import EmbeddingTable, write_embeddings
from arcface_paddle.pipeline.inputs import FoundPicture
from arcface_paddle.untrusted import read_json

_FORMAT = 1
_LONGEST_NAME = 255  # bytes
MOST_SHARDS = 100_000  # five digits in their names


@dataclass(frozen=True)
class Shard:
    """A part of the pictures that has been looked at.

    Attributes:
        file: name of the file beside the index; empty when none of its pictures gave an embedding.
        pictures: how many there are.
        pictures_sha256: of their paths, so that a run on other pictures is noticed.
        embeddings: how many faces the file holds.
        encoded: how many of the pictures gave one.
    """

    file: str
    pictures: int
    pictures_sha256: str
    embeddings: int
    encoded: int


class ShardedEmbeddings:
    """The shards of one output: those that are there, and those that are to come.

    Attributes:
        index_path: the file that names the shards.
        shards: those that are finished.
    """

    def __init__(self, path: files.PathLike, *, shard_size: int, facts: dict[str, Any]) -> None:
        """Begin with no shard; nothing is written before there is one.

        Args:
            path: what the output would be called if it were one file.
            shard_size: pictures in a shard.
            facts: what the embeddings depend on, as JSON values; a run with others must not go on here.

        Raises:
            ConfigError: a size below 1.
        """
        if shard_size < 1:
            raise ConfigError(f"the shard size is {shard_size}; allowed: 1 picture or more")
        self._path = Path(path)
        self.index_path = index_path_of(path)
        self.shards: list[Shard] = []
        self._head = {"format": _FORMAT, "shard_size": shard_size, **facts}
        self._shard_size = shard_size

    def require_new(self) -> None:
        """Raise ``ConfigError`` when there are shards of an earlier run."""
        if self.index_path.exists():
            raise ConfigError(
                f"{self.index_path} names shards of an earlier run; go on with --resume, or remove it and them first"
            )

    def resume(self, pictures: Sequence[FoundPicture]) -> None:
        """Take over the shards of an earlier run, if there are any; from the first whose file is gone all are redone.

        Raises:
            ConfigError: they were made with other settings or of other pictures.
            DataError: the index cannot be read.
        """
        if not self.index_path.exists():
            return
        content = self._read_index()
        for key in [*self._head, *content]:
            if key != "shards" and content.get(key) != self._head.get(key):
                raise ConfigError(
                    f"{self.index_path}: {key} was {content.get(key)!r} and is {self._head.get(key)!r} now; resume "
                    "with the same, or write to another --output"
                )
        parts = self._parts(pictures)
        for number, shard in enumerate(_shards_of(content, self.index_path)):
            part = next(parts, ())
            if shard.pictures_sha256 != _sha256_of_paths(part):
                raise ConfigError(
                    f"{self.index_path}: shard {number} was made of other pictures than are there now; name the same "
                    "files and folders, or write to another --output"
                )
            if shard.file and not self._path.with_name(shard.file).is_file():
                return
            self.shards.append(shard)

    def missing(self, pictures: Sequence[FoundPicture]) -> Iterator[Sequence[FoundPicture]]:
        """Give the pictures of one shard after the other, those that are finished left out."""
        if -(-len(pictures) // self._shard_size) > MOST_SHARDS:
            raise ConfigError(
                f"{len(pictures)} pictures in shards of {self._shard_size} are more than {MOST_SHARDS} files; "
                "take a larger --shard_size"
            )
        return self._parts(pictures[len(self.shards) * self._shard_size :])

    def add(self, pictures: Sequence[FoundPicture], *, table: Optional[EmbeddingTable], encoded: int) -> None:
        """Write the next shard and take it down in the index.

        Args:
            pictures: all that were looked at, as ``missing`` gave them.
            table: their faces; None when there are none.
            encoded: how many of the pictures gave one.

        Raises:
            DataError: a file cannot be written.
        """
        name = f"{self._path.stem}-{len(self.shards):05}{self._path.suffix}"
        if table is not None:
            write_embeddings(self._path.with_name(name), table)
        shard = Shard(
            file="" if table is None else name,
            pictures=len(pictures),
            pictures_sha256=_sha256_of_paths(pictures),
            embeddings=0 if table is None else len(table.embeddings),
            encoded=encoded,
        )
        shards = [*self.shards, shard]
        try:
            files.write_json(self.index_path, {**self._head, "shards": [asdict(shard) for shard in shards]})
        except OSError as error:
            raise DataError(f"{self.index_path}: cannot be written: {error.strerror or error}") from None
        self.shards = shards

    def _parts(self, pictures: Sequence[FoundPicture]) -> Iterator[Sequence[FoundPicture]]:
        return (pictures[at : at + self._shard_size] for at in range(0, len(pictures), self._shard_size))

    def _read_index(self) -> dict[str, Any]:
        try:
            content = read_json(self.index_path)
        except FileNotFoundError:
            raise DataError(f"{self.index_path}: no such file") from None
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise DataError(f"{self.index_path}: is not an index of shards in format {_FORMAT}")
        return content


def index_path_of(path: files.PathLike) -> Path:
    """Return where the index of shards stands: ``faces.shards.json`` for ``faces.parquet``."""
    return Path(path).with_suffix(".shards.json")


def _shards_of(content: dict[str, Any], path: Path) -> list[Shard]:
    try:
        shards = [Shard(**shard) for shard in content["shards"]]
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: its list of shards is damaged: {error}") from None
    for shard in shards:
        if not isinstance(shard.file, str) or Path(shard.file).name != shard.file or not _is_plain(shard.file):
            raise DataError(f"{path}: names the shard {shard.file!r:.100}; shards lie beside it")
        if not all(isinstance(count, int) for count in (shard.pictures, shard.embeddings, shard.encoded)):
            raise DataError(f"{path}: its list of shards is damaged: no number of pictures or embeddings")
    return shards


def _is_plain(name: str) -> bool:
    """Tell whether every system can be asked for a name; the empty one stands for no file."""
    return name.isprintable() and len(name.encode()) <= _LONGEST_NAME


def _sha256_of_paths(pictures: Sequence[FoundPicture]) -> str:
    """Return the SHA-256 of the pictures' paths as they were found, one a line."""
    return hashlib.sha256("\n".join(files.printable(found.path) for found in pictures).encode()).hexdigest()
