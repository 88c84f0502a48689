"""Shards of very large picture sets: their names, what an archive may bring, and when one counts as finished."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.pipeline import picture_shards
from arcface_paddle.pipeline.picture_shards import ShardJob, embed_shard, finished, jobs_of, unpack_archive


def put_tar(path: Path, members: dict[str, Any]) -> Path:
    """Write a tar archive: contents, or a link's target as text."""
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


def below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_shard_is_a_folder_or_an_archive_and_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "2019.05").mkdir()
    for name in ("a.tar", "b.tar.gz", "c.tgz"):
        (tmp_path / name).write_bytes(b"")
    sources = [tmp_path / name for name in ("2019.05", "a.tar", "b.tar.gz", "c.tgz", "a.tar")]
    jobs = jobs_of(sources, tmp_path / "out", options=["--det"])
    assert [job.name for job in jobs] == ["2019.05", "a", "b", "c"]
    assert jobs[1] == ShardJob(str(tmp_path / "a.tar"), str(tmp_path / "out"), ("--det",))


@pytest.mark.parametrize("name", ["a.zip", "a.tar.b.c", "none.tar"])
def test_other_files_are_no_shards(name: str, tmp_path: Path) -> None:
    if name != "none.tar":
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ConfigError, match=r"a shard is a folder or a tar archive|no such file or folder"):
        jobs_of([tmp_path / name], tmp_path, options=[])


def test_two_shards_of_one_name_and_flags_of_ours_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a.tar").write_bytes(b"")
    with pytest.raises(ConfigError, match="two shards have the name a: "):
        jobs_of([tmp_path / "a", tmp_path / "a.tar"], tmp_path, options=[])
    for option in ("--output=x", "--shard_size=3", "--resume"):
        with pytest.raises(ConfigError, match=f"{option.partition('=')[0]} of encode is set for every shard"):
            jobs_of([tmp_path / "a"], tmp_path, options=["--det", option])


def test_of_an_archive_come_the_regular_files_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_shards, "_LONGEST_MEMBER", 5)
    members = {"a/1.jpg": b"one", "./b//2.jpg": b"12345", "/c.jpg": b"c", "../d.jpg": b"d", "a/../e.jpg": b"e"}
    members |= {"long.jpg": b"123456", "link": "/etc/passwd", ".": b"x"}
    (tmp_path / "root").mkdir()
    unpack_archive(put_tar(tmp_path / "a.tar", members), tmp_path / "root")
    assert below(tmp_path / "root") == {"a/1.jpg": b"one", "b/2.jpg": b"12345", "c.jpg": b"c"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "root"]
    (tmp_path / "b.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:700])
    with pytest.raises(DataError, match="not a whole tar archive"):
        unpack_archive(tmp_path / "b.tar", tmp_path / "root")


class Encode:
    """Stands in for the process: writes the index that ``encode`` would, and keeps what it was asked."""

    def __init__(self, shards: Any, *, status: int = 0, stderr: str = "") -> None:
        self.shards, self.status, self.stderr = shards, status, stderr
        self.asked: list[list[str]] = []
        self.seen: list[dict[str, bytes]] = []

    def __call__(self, arguments: list[str], *, folder: Path) -> subprocess.CompletedProcess:
        self.asked.append(list(arguments))
        self.seen.append(below(folder))
        target = Path(next(one for one in arguments if one.startswith("--output=")).partition("=")[2])
        if self.shards is not None:
            for shard in self.shards:
                if shard["file"] and "/" not in shard["file"]:
                    target.with_name(shard["file"]).write_bytes(b"rows")
            target.with_suffix(".shards.json").write_text(json.dumps({"shards": self.shards}))
        return subprocess.CompletedProcess(arguments, self.status, "", self.stderr)


SHARDS = [
    {"file": "a-00000.parquet", "pictures": 10, "encoded": 8, "embeddings": 9},
    {"file": "", "pictures": 5, "encoded": 0, "embeddings": 0},
    {"file": "a-00002.parquet", "pictures": 1, "encoded": 1, "embeddings": 2},
]


@pytest.fixture
def job(tmp_path: Path) -> ShardJob:
    put_tar(tmp_path / "a.tar", {"Ada/1.jpg": b"one"})
    [made] = jobs_of([tmp_path / "a.tar"], tmp_path / "out", options=["--det_model=X"])
    return made


def test_a_shard_is_embedded_once(job: ShardJob, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = Encode(SHARDS, status=1)  # some pictures cannot be read
    monkeypatch.setattr(picture_shards, "run_command", encode)
    report = embed_shard(job)
    target = f"--output={job.output}/a.parquet"
    assert encode.asked == [["encode", "./a", target, "--shard_size=10000", "--resume", "--det_model=X"]]
    assert encode.seen == [{"a/Ada/1.jpg": b"one"}]
    assert (report.name, report.pictures, report.encoded, report.embeddings) == ("a", 16, 9, 11)
    assert report.files == ("a-00000.parquet", "a-00002.parquet") and not report.problem and not report.earlier
    again = embed_shard(job)
    assert len(encode.asked) == 1 and again.earlier and again.files == report.files and again.embeddings == 11
    (Path(job.output) / "a-00002.parquet").unlink()
    assert finished(job) is None and not embed_shard(job).earlier and len(encode.asked) == 2


def test_a_shard_of_a_folder_is_looked_at_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in" / "b.c").mkdir(parents=True)
    (tmp_path / "in" / "b.c" / "1.jpg").write_bytes(b"one")
    encode = Encode([])
    monkeypatch.setattr(picture_shards, "run_command", encode)
    [job] = jobs_of([tmp_path / "in" / "b.c"], tmp_path / "out", options=[])
    embed_shard(job)
    assert encode.asked[0][1] == "./b.c" and encode.seen == [{"b.c/1.jpg": b"one"}]


@pytest.mark.parametrize(
    ("encode", "problem"),
    [
        (Encode(None, status=2, stderr="first\nlast line\n"), "last line"),
        (Encode(None, status=-9), "ended with -9"),
        (Encode(None), "encode has written no index"),
        (Encode(SHARDS, status=2, stderr="the disk is full"), "the disk is full"),
        (Encode(SHARDS, status=2, stderr="no picture gave an embedding"), "no picture gave an embedding"),
        (Encode(SHARDS[1:2], status=2, stderr="no picture gave an embedding"), ""),
        (Encode([{**SHARDS[0], "pictures": -1}]), "damaged (pictures is -1)"),
        (Encode([{**SHARDS[1], "embeddings": True}]), "damaged (embeddings is True)"),
        (Encode([{**SHARDS[1], "file": "../x"}]), "is no name of a file"),
        (Encode(None, status=2, stderr="x" * 999), "x" * 300),
    ],
)
def test_what_went_wrong_is_said_and_the_shard_is_not_finished(
    encode: Encode, problem: str, job: ShardJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_shards, "run_command", encode)
    report = embed_shard(job)
    assert problem in report.problem and bool(report.problem) == bool(problem) and len(report.problem) < 500
    done = Path(job.output) / "a.done.json"
    assert done.exists() == (not problem)


def test_a_damaged_archive_is_a_problem_of_its_shard(job: ShardJob, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(job.source).write_bytes(b"no archive")
    monkeypatch.setattr(picture_shards, "run_command", Encode(SHARDS))
    report = embed_shard(job)
    assert report.problem.startswith(f"{job.source}: not a whole tar archive") and report.name == "a"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"options": []}, ConfigError, "was embedded with no flags, not with --det_model=X"),
        ({"options": None}, DataError, "remove it, and the shard is looked at again"),
        ({"report": {}}, DataError, "remove it"),
        ({"name": 3}, DataError, "name and problem are texts"),
        ({"files": ["a/b"]}, DataError, "no name of a file"),
        ({"files": ["a" * 201]}, DataError, "no name of a file"),
        ({"files": ["a" * 200]}, None, ""),
        ({"embeddings": -1}, DataError, "embeddings is -1"),
        ({"embeddings": 0}, None, ""),
    ],
)
def test_a_finished_shard_is_believed_if_its_note_is_ours(
    change: dict[str, Any], error: Any, message: str, job: ShardJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_shards, "run_command", Encode(SHARDS))
    embed_shard(job)
    note = Path(job.output) / "a.done.json"
    content = json.loads(note.read_text())
    content.update(change) if set(change) <= set(content) else content["report"].update(change)
    note.write_text(json.dumps(content))
    if error is None:
        report = finished(job)
        assert report is None if "files" in change else report.embeddings == 0
        return
    with pytest.raises(error, match=message):
        finished(job)
