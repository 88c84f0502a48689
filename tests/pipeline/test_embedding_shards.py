"""Embeddings as a row of files: which are written, which are taken over, and what cannot be gone on with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest

from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.pipeline import embedding_shards
from arcface_paddle.pipeline.embedding_files import EmbeddingTable
from arcface_paddle.pipeline.embedding_shards import ShardedEmbeddings, index_path_of
from arcface_paddle.pipeline.inputs import FoundPicture

FACTS = {"model": "testnet"}
PICTURES = [FoundPicture(Path(f"in/{number}.jpg")) for number in range(7)]


def table_of(count: int) -> EmbeddingTable:
    rows = np.eye(4, dtype=np.float32)[:1].repeat(count, 0)
    return EmbeddingTable(rows, [""] * count, ["a.jpg"] * count, np.zeros((count, 4), np.float32), "testnet")


def opened(path: Path, *, size: int = 3, facts: Optional[dict[str, Any]] = None) -> ShardedEmbeddings:
    return ShardedEmbeddings(path, shard_size=size, facts=FACTS if facts is None else facts)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two of three shards, the second without a face."""
    shards = opened(tmp_path / "faces.npz")
    parts = list(shards.missing(PICTURES))
    assert [len(part) for part in parts] == [3, 3, 1]
    shards.add(parts[0], table=table_of(2), encoded=1)
    shards.add(parts[1], table=None, encoded=0)
    return tmp_path / "faces.npz"


def test_a_shard_is_named_once_it_is_there(path: Path) -> None:
    assert sorted(one.name for one in path.parent.iterdir()) == ["faces-00000.npz", "faces.shards.json"]
    content = json.loads(index_path_of(path).read_text())
    sums = [
        hashlib.sha256("\n".join(f"in/{n}.jpg" for n in part).encode()).hexdigest() for part in ([0, 1, 2], [3, 4, 5])
    ]
    assert content == {
        "format": 1, "shard_size": 3, "model": "testnet",
        "shards": [
            {"file": "faces-00000.npz", "pictures": 3, "pictures_sha256": sums[0], "embeddings": 2, "encoded": 1},
            {"file": "", "pictures": 3, "pictures_sha256": sums[1], "embeddings": 0, "encoded": 0},
        ],
    }  # fmt: skip


def test_the_next_run_goes_on_behind_what_is_there(path: Path) -> None:
    shards = opened(path)
    shards.resume(PICTURES)
    assert [shard.file for shard in shards.shards] == ["faces-00000.npz", ""]
    assert list(shards.missing(PICTURES)) == [PICTURES[6:]]
    shards.add(PICTURES[6:], table=table_of(1), encoded=1)
    assert (path.parent / "faces-00002.npz").is_file()
    assert len(json.loads(index_path_of(path).read_text())["shards"]) == 3
    whole = opened(path)
    whole.resume(PICTURES)
    assert list(whole.missing(PICTURES)) == []


def test_from_the_first_file_that_is_gone_all_are_made_anew(path: Path) -> None:
    (path.parent / "faces-00000.npz").unlink()
    shards = opened(path)
    shards.resume(PICTURES)
    assert shards.shards == [] and len(list(shards.missing(PICTURES))) == 3


def test_nothing_is_taken_over_unasked(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names shards of an earlier run; go on with --resume"):
        opened(path).require_new()
    fresh = opened(tmp_path / "others.npz")
    fresh.require_new()
    fresh.resume(PICTURES)
    assert fresh.shards == []


@pytest.mark.parametrize(
    ("size", "facts", "pictures", "message"),
    [
        (4, FACTS, PICTURES, "shard_size was 3 and is 4 now"),
        (3, {"model": "other"}, PICTURES, "model was 'testnet' and is 'other' now"),
        (3, {**FACTS, "more": 1}, PICTURES, "more was None and is 1 now"),
        (3, {}, PICTURES, "model was 'testnet' and is None now"),
        (3, FACTS, PICTURES[:5], "shard 1 was made of other pictures"),
        (3, FACTS, PICTURES[1:], "shard 0 was made of other pictures"),
        (3, FACTS, [], "shard 0 was made of other pictures"),
    ],
)
def test_other_settings_and_pictures_are_refused(
    size: int, facts: dict[str, Any], pictures: list[FoundPicture], message: str, path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        opened(path, size=size, facts=facts).resume(pictures)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "../a.npz"}, "shards lie beside it"),
        ({"file": "a\nb"}, "shards lie beside it"),
        ({"file": "a" * 256}, "shards lie beside it"),
        ({"file": 5}, "shards lie beside it"),
        ({"pictures": "3"}, "no number of pictures or embeddings"),
        ({"embeddings": None}, "no number of pictures or embeddings"),
        ({"encoded": 1.5}, "no number of pictures or embeddings"),
        ({"more": 1}, "its list of shards is damaged"),
        ("shards", "its list of shards is damaged"),
        ("format", "is not an index of shards in format 1"),
        ("all", "is not an index of shards in format 1"),
    ],
)
def test_a_damaged_index_is_one_clear_line(change: Any, message: str, path: Path) -> None:
    content = json.loads(index_path_of(path).read_text())
    if isinstance(change, dict):
        content["shards"][0].update(change)
    elif change == "all":
        content = [content]
    else:
        content[change] = None
    index_path_of(path).write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        opened(path).resume(PICTURES)


def test_names_of_the_longest_length_are_names(path: Path) -> None:
    content = json.loads(index_path_of(path).read_text())
    content["shards"][0]["file"] = "a" * 255
    index_path_of(path).write_text(json.dumps(content))
    shards = opened(path)
    shards.resume(PICTURES)  # there is no such file
    assert shards.shards == []


def test_sizes_that_make_no_or_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="the shard size is 0; allowed: 1 picture or more"):
        opened(tmp_path / "a.npz", size=0)
    monkeypatch.setattr(embedding_shards, "MOST_SHARDS", 3)
    assert len(list(opened(tmp_path / "a.npz", size=3).missing(PICTURES))) == 3
    with pytest.raises(ConfigError, match="7 pictures in shards of 2 are more than 3 files"):
        opened(tmp_path / "a.npz", size=2).missing(PICTURES)


def test_an_index_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "faces.shards.json").mkdir()
    shards = opened(tmp_path / "faces.npz")
    with pytest.raises(DataError, match=r"faces\.shards\.json: cannot be written"):
        shards.add(PICTURES[:3], table=None, encoded=0)
    assert shards.shards == []
