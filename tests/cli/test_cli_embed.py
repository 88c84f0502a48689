"""embed: shards in, Parquet out, resumable, the same with two worker processes; the files become a gallery."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from arcface_paddle import images
from arcface_paddle.cli.main import run_module
from arcface_paddle.pipeline.gallery import Gallery

parquet = pytest.importorskip("pyarrow.parquet")

OPTIONS = ("--aligned", "--mirrored=false", "--threads=1", "--workers=1")


def embed(*arguments: object, options=OPTIONS) -> int:
    return run_module("embed", [*map(str, arguments), f"--encode={' '.join(options)}"])


def crop(seed: int) -> bytes:
    small = np.random.default_rng(seed).integers(0, 255, (7, 7, 3), np.uint8)
    return images.encode_image(images.resize(small, (112, 112)), suffix=".jpg", quality=80)


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> list[Path]:
    """A folder and two archives: Ann and Bob, Cid, and one without a picture that can be read; beside them a program.

    Python looks for modules in the folder it is started in, and this one has a name that every command imports.
    """
    folder = tmp_path_factory.mktemp("shards")
    (folder / "numpy.py").write_text(f"open({str(folder / 'was_run')!r}, 'w')")
    for seed, person in enumerate(("Ann", "Bob")):
        (folder / "s0" / person).mkdir(parents=True)
        for number in range(2):
            (folder / "s0" / person / f"{number}.jpg").write_bytes(crop(10 * seed + number))
    members = {
        "s1.tar": {"Cid/0.jpg": crop(30), "./Cid/1.jpg": crop(31), "../out.jpg": crop(32), "/abs.jpg": b""},
        "s2.tar.gz": {"Dan/0.jpg": b"no picture"},
    }
    for name, content in members.items():
        with tarfile.open(folder / name, "w:gz" if name.endswith("gz") else "w") as archive:
            for path, data in content.items():
                member = tarfile.TarInfo(path)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
            link = tarfile.TarInfo("Cid/passwd.jpg")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
    return [folder / name for name in ("s0", "s1.tar", "s2.tar.gz")]


def rows_of(output: Path) -> dict[str, np.ndarray]:
    tables = [parquet.read_table(path) for path in sorted(output.glob("*.parquet"))]
    return {
        source: np.array(row, np.float32)
        for table in tables
        for source, row in zip(table["source"].to_pylist(), table["embedding"].to_pylist())
    }


@pytest.fixture(scope="module")
def embedded(shards, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("embedded")
    assert embed(*shards, "--output", output) == 1, "s2 holds no face"
    return output


def test_shards_in_parquet_out(shards, embedded, tmp_path):
    rows = rows_of(embedded)
    assert sorted(rows) == ["s0/Ann/0.jpg", "s0/Ann/1.jpg", "s0/Bob/0.jpg", "s0/Bob/1.jpg", "s1/Cid/0.jpg",
                            "s1/Cid/1.jpg"]  # fmt: skip
    assert {path.name for path in embedded.glob("*.done.json")} == {"s0.done.json", "s1.done.json", "s2.done.json"}
    assert not list(embedded.parent.glob("out.jpg")), "nothing leaves the folder of the archive"
    assert not (shards[0].parent / "was_run").exists(), "programs beside the pictures are not run"
    arguments = [str(shards[0]), "--output", str(tmp_path / "one.npz"), *OPTIONS]
    assert run_module("encode", arguments) == 0
    one = dict(np.load(tmp_path / "one.npz"))
    for source, row in zip(one["sources"].tolist(), one["embeddings"]):
        np.testing.assert_array_equal(row, rows["s0/" + source.split("/s0/")[1]])


def test_the_parquet_becomes_a_gallery(embedded, tmp_path, capsys):
    files = sorted(map(str, embedded.glob("*.parquet")))
    options = ["--rec_model", "MobileFace", "--mirrored=false"]
    assert run_module("gallery", ["import", str(tmp_path / "people.index"), *files, *options]) in (0, 2)
    said = capsys.readouterr()
    if "not by MobileFace" in said.err:  # another recogniser is the default
        options = ["--rec_model", said.err.partition("made by ")[2].split()[0], "--mirrored=false"]
        assert run_module("gallery", ["import", str(tmp_path / "people.index"), *files, *options]) == 0
    gallery = Gallery.load(tmp_path / "people.index")
    assert gallery.faces_by_person() == {"Ann": 2, "Bob": 2, "Cid": 2} and gallery.model is not None


def test_what_is_finished_is_not_done_again(shards, embedded, capsys):
    before = {path: path.stat().st_mtime_ns for path in embedded.iterdir()}
    assert embed(*shards, "--output", embedded) == 1
    assert "6 embeddings of 6 pictures in 3 shards, 3 of them by an earlier run" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in embedded.iterdir()} == before


def test_other_flags_are_refused(shards, embedded, capsys):
    assert embed(*shards, "--output", embedded, options=("--aligned",)) == 2
    assert "the shard was embedded with --aligned --mirrored=false" in capsys.readouterr().err


def test_a_lost_file_is_made_again(shards, tmp_path):
    assert embed(shards[0], "--output", tmp_path) == 0
    first = rows_of(tmp_path)
    (tmp_path / "s0-00000.parquet").unlink()
    assert embed(shards[0], "--output", tmp_path) == 0
    np.testing.assert_array_equal(list(first.values()), list(rows_of(tmp_path).values()))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{shards}/none.tar"], "no such file or folder"),
        (["{shards}/s0/Ann/0.jpg"], "a shard is a folder or a tar archive"),
        (["{shards}/s0", "--encode=--resume"], "--resume of encode is set for every shard"),
    ],
)
def test_what_cannot_be_is_one_line(shards, tmp_path, capsys, words, message):
    arguments = [word.replace("{shards}", str(shards[0].parent)) for word in words]
    assert run_module("embed", [f"--output={tmp_path}", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said and len(said.strip().splitlines()) == 1


def test_a_damaged_archive_costs_one_shard(shards, tmp_path, capsys):
    (tmp_path / "bad.tar").write_bytes(shards[1].read_bytes()[:700])
    assert embed(tmp_path / "bad.tar", shards[0], "--output", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert "shard bad:" in said.err and "4 embeddings of 4 pictures in 1 shards" in said.out
    assert not (tmp_path / "out" / "bad.done.json").exists()


def test_two_workers_give_the_same(shards, embedded, tmp_path):
    pytest.importorskip("dask.distributed", reason="the extra cluster is not installed")
    assert embed(*shards, "--output", tmp_path, "--processes=2") == 1
    one, two = rows_of(embedded), rows_of(tmp_path)
    assert sorted(one) == sorted(two)
    for source, row in one.items():
        np.testing.assert_array_equal(row, two[source])
    done = [json.loads(path.read_text())["report"] for path in tmp_path.glob("*.done.json")]
    assert sum(report["embeddings"] for report in done) == 6


def test_the_workers_of_a_running_cluster(shards, embedded, tmp_path, capsys):
    distributed = pytest.importorskip("dask.distributed", reason="the extra cluster is not installed")
    options = {"n_workers": 1, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster:
        assert embed(*shards, "--output", tmp_path, f"--scheduler={cluster.scheduler_address}") == 1
    assert sorted(rows_of(tmp_path)) == sorted(rows_of(embedded))


def test_more_processes_need_dask_and_say_so(shards, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "dask", None)
    assert embed(*shards, "--output", tmp_path, "--processes=2") == 2
    assert "pip install 'arcface-paddle[cluster]'" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_in_the_place_of_an_archive_is_not_waited_for(tmp_path, capsys):
    os.mkfifo(tmp_path / "a.tar")
    assert run_module("embed", [str(tmp_path / "a.tar"), "--output", str(tmp_path / "out")]) == 1
    assert "Not a regular file" in capsys.readouterr().err


def test_an_output_that_is_a_link_to_itself_is_one_line(tmp_path, capsys):
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "shard").mkdir()
    assert run_module("embed", [str(tmp_path / "shard"), "--output", str(tmp_path / "circle" / "out")]) == 2
    assert "symbolic links" in capsys.readouterr().err


def test_what_a_killed_command_had_started_ends_with_it(tmp_path):
    """Four thousand photographs of some hundredths of a second each are not done by themselves within the time."""
    folder = tmp_path / "shard"
    folder.mkdir()
    photograph = next((Path(__file__).parents[2] / "demo" / "gallery").rglob("*.jpg"))
    shutil.copy(photograph, folder / "one.jpg")
    for number in range(4000):
        os.link(folder / "one.jpg", folder / f"{number}.jpg")
    command = [sys.executable, "-m", "arcface_paddle", "embed", str(folder), f"--output={tmp_path / 'out'}"]
    with subprocess.Popen(command) as parent:
        children = []
        while not children and parent.poll() is None:
            children = psutil.Process(parent.pid).children(recursive=True)
            time.sleep(0.02)
        parent.kill()
    assert children, "the shard is embedded by a process of its own"
    _, alive = psutil.wait_procs(children, timeout=10)
    for child in alive:
        child.kill()
    assert alive == []
