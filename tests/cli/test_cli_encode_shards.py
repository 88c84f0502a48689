"""encode in shards: the same embeddings as in one file, nothing twice, and a memory that does not grow."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.cli.main import run_module
from arcface_paddle.pipeline.analyzer import Analyzer

OPTIONS = ("--aligned", "--mirrored=false")


def encode(*arguments: object) -> int:
    return run_module("encode", [*OPTIONS, *map(str, arguments)])


def write_crops(folder: Path, *, count: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        small = rng.integers(0, 255, (7, 7, 3), np.uint8)
        content = images.encode_image(images.resize(small, (112, 112)), suffix=".jpg", quality=80)
        (folder / f"{number:05}.jpg").write_bytes(content)
    return folder


def columns(*paths: Path) -> tuple[list[str], np.ndarray]:
    """Return sources and embeddings of files, one behind the other."""
    tables = [dict(np.load(path, allow_pickle=False)) for path in paths]
    sources = [source for table in tables for source in table["sources"].tolist()]
    return sources, np.concatenate([table["embeddings"] for table in tables])


@pytest.fixture
def looked_at(monkeypatch) -> list[str]:
    """Names of the pictures that went through the models."""
    analyze, seen = Analyzer.analyze, []

    def counted(self, image, *, source):
        seen.append(Path(source).name)
        return analyze(self, image, source=source)

    monkeypatch.setattr(Analyzer, "analyze", counted)
    return seen


@pytest.fixture
def crops(tmp_path) -> Path:
    return write_crops(tmp_path / "in", count=8)


@pytest.mark.parametrize("workers", [1, 2])
def test_shards_hold_what_one_file_holds(crops, tmp_path, capsys, workers):
    (crops / "00003.jpg").write_text("no picture")
    assert encode(crops, "--output", tmp_path / "one.npz", "--workers=1") == 1
    assert encode(crops, "--output", tmp_path / "e.npz", "--shard_size=3", f"--workers={workers}", "--threads=2") == 1
    index = json.loads((tmp_path / "e.shards.json").read_text(encoding="utf-8"))
    assert [shard["file"] for shard in index["shards"]] == ["e-00000.npz", "e-00001.npz", "e-00002.npz"]
    assert [shard["pictures"] for shard in index["shards"]] == [3, 3, 2]
    assert [shard["embeddings"] for shard in index["shards"]] == [3, 2, 2]
    one, shards = columns(tmp_path / "one.npz"), columns(*sorted(tmp_path.glob("e-*.npz")))
    assert one[0] == shards[0] and len(one[0]) == 7
    np.testing.assert_array_equal(one[1], shards[1])
    assert "7 embeddings in 3 files from 7 pictures" in capsys.readouterr().out


def test_a_shard_without_a_face_has_no_file(crops, tmp_path):
    for number in (2, 3):
        (crops / f"{number:05}.jpg").write_text("no picture")
    assert encode(crops, "--output", tmp_path / "e.npy", "--shard_size=2") == 1
    index = json.loads((tmp_path / "e.shards.json").read_text(encoding="utf-8"))
    assert [shard["file"] for shard in index["shards"]] == ["e-00000.npy", "", "e-00002.npy", "e-00003.npy"]


def test_an_interrupted_run_goes_on_and_looks_at_nothing_twice(crops, tmp_path, monkeypatch, looked_at, capsys):
    arguments = (crops, "--output", tmp_path / "e.npz", "--shard_size=3", "--resume", "--workers=2", "--threads=2")
    counted = Analyzer.analyze

    def interrupted(self, image, *, source):
        if source.endswith("00004.jpg"):
            raise KeyboardInterrupt
        return counted(self, image, source=source)

    monkeypatch.setattr(Analyzer, "analyze", interrupted)
    assert encode(*arguments) == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e-00000.npz", "e.shards.json", "in"]
    monkeypatch.setattr(Analyzer, "analyze", counted)
    looked_at.clear()
    assert encode(*arguments) == 0
    assert sorted(looked_at) == [f"{number:05}.jpg" for number in range(3, 8)]
    assert "3 of them by an earlier run" in capsys.readouterr().out
    assert encode(crops, "--output", tmp_path / "one.npz") == 0
    one, shards = columns(tmp_path / "one.npz"), columns(*sorted(tmp_path.glob("e-*.npz")))
    assert one[0] == shards[0]
    np.testing.assert_array_equal(one[1], shards[1])
    looked_at.clear()
    again = (*arguments[:-2], "--workers=1", "--threads=1")
    assert encode(*again) == 0 and looked_at == [], "all of it was done, with however many workers"
    (tmp_path / "e-00002.npz").unlink()
    assert encode(*arguments) == 0 and sorted(looked_at) == ["00006.jpg", "00007.jpg"], "a lost file is made again"


def test_what_does_not_belong_to_the_shards_is_refused(crops, tmp_path, capsys):
    arguments = (crops, "--output", tmp_path / "e.npz", "--shard_size=4")
    assert encode(*arguments) == 0
    before = {path: path.read_bytes() for path in tmp_path.glob("e*")}

    def refused(*command: object) -> str:
        assert encode(*command) == 2
        assert {path: path.read_bytes() for path in tmp_path.glob("e*")} == before
        return capsys.readouterr().err

    assert "go on with --resume" in refused(*arguments)
    assert "--resume needs --shard_size" in refused(*arguments[:-1], "--resume")
    assert "shard_size was 4 and is 3 now" in refused(*arguments[:-1], "--shard_size=3", "--resume")
    assert "flip was False and is True now" in refused(*arguments, "--resume", "--mirrored=true")
    (crops / "00000a.jpg").write_bytes((crops / "00000.jpg").read_bytes())
    assert "shard 0 was made of other pictures" in refused(*arguments, "--resume")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "is not an index of shards"),
        ('{"format": 2}', "is not an index of shards"),
        ('{"shards": [{"file": "../../x"}]}', "its list of shards is damaged"),
        ('{"shards": [{"file": "../x.npz", "pictures": 4, "pictures_sha256": "", "embeddings": 4, "encoded": 4}]}',
         "shards lie beside it"),
        ('{"shards": [{"file": "x.npz", "pictures": "4", "pictures_sha256": "", "embeddings": 4, "encoded": 4}]}',
         "no number of pictures"),
    ],
)  # fmt: skip
def test_a_damaged_index_is_one_line(crops, tmp_path, capsys, content, message):
    assert encode(crops, "--output", tmp_path / "e.npz", "--shard_size=4") == 0
    index = tmp_path / "e.shards.json"
    if content.startswith('{"shards"'):
        content = json.dumps({**json.loads(index.read_text(encoding="utf-8")), **json.loads(content)})
    index.write_text(content, encoding="utf-8")
    capsys.readouterr()
    assert encode(crops, "--output", tmp_path / "e.npz", "--shard_size=4", "--resume") == 2
    shown = capsys.readouterr().err
    assert message in shown.splitlines()[-1] and "Traceback" not in shown


@pytest.mark.parametrize("size", ["0", "-3", "x"])
def test_sizes_that_cannot_be(crops, tmp_path, capsys, size):
    with pytest.raises(SystemExit):
        encode(crops, "--output", tmp_path / "e.npz", f"--shard_size={size}")
    assert "not a whole number of 1 or more" in capsys.readouterr().err


def test_a_run_that_is_stopped_keeps_its_shards(tmp_path):
    write_crops(tmp_path / "in", count=600)
    command = [sys.executable, "-m", "arcface_paddle", "encode", *OPTIONS, f"{tmp_path}/in", "--workers=2"]
    command += ["--threads=2", f"--output={tmp_path}/e.npy", "--shard_size=20"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "e-00002.npy").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130 and "Traceback" not in err, err
    shards = json.loads((tmp_path / "e.shards.json").read_text(encoding="utf-8"))["shards"]
    assert 2 <= len(shards) < 30
    for shard in shards:
        assert len(np.load(tmp_path / shard["file"])) == 20
    assert not list(tmp_path.glob(".e*")), "nothing half-written is left"


GROWTH = """
import resource, sys
from arcface_paddle.cli.main import run_module

folder, rest = sys.argv[1], sys.argv[2:]
for name in ("few", "many"):
    arguments = [f"{folder}/{name}", f"--output={folder}/{name}.npz", "--shard_size=20", "--workers=2", *rest]
    assert run_module("encode", arguments) == 0
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures memory as Linux tells it")
def test_the_memory_does_not_grow_with_the_pictures(tmp_path):
    write_crops(tmp_path / "few", count=60)
    write_crops(tmp_path / "many", count=600)
    command = [sys.executable, "-c", GROWTH, str(tmp_path), *OPTIONS, "--threads=2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    few, many = [int(line) for line in done.stdout.splitlines() if line.isdecimal()]
    # Ten times the pictures; kept decoded, 540 of them would take 20 MB more, and the second run loads models anew.
    assert many - few < 60, f"{few} MB for 60 pictures, {many} MB for 600"
