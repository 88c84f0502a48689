"""Names that are no text, and disks that are full: what has been found is kept."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle import files, images
from arcface_paddle.cli.main import run_module
from arcface_paddle.pipeline.gallery import Gallery
from arcface_paddle.video.reading import VideoReader
from arcface_paddle.video.writing import VideoWriter

DEMO = Path(__file__).parents[2] / "demo"
OBAMA = DEMO / "gallery" / "Barack Obama" / "portrait_2012.jpg"
HOPPER = DEMO / "queries" / "hopper_relit.jpg"
ODD = os.fsdecode(b"caf\xe9.jpg")
SHOWN = "caf\\xe9.jpg"
"""How the name is recorded: with a backslash, as text."""


def command(name: str, *arguments: object) -> int:
    return run_module(name, [str(argument) for argument in arguments])


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Two people's folders; the name of one picture is Latin-1."""
    folder = tmp_path / "people"
    (folder / "Barack Obama").mkdir(parents=True)
    (folder / "Grace Hopper").mkdir()
    try:
        shutil.copy(OBAMA, folder / "Barack Obama" / ODD)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    shutil.copy(HOPPER, folder / "Grace Hopper" / "hopper.jpg")
    return folder


def test_recognition_keeps_all_results(people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = people / "Barack Obama"
    (odd / os.fsdecode(b"brok\xe9n.jpg")).write_text("no picture")
    found, table = tmp_path / "found.json", tmp_path / "found.csv"
    status = command(
        "recognize", "--det", "--input", odd, "--output", tmp_path / "out", "--json", found, "--csv", table
    )
    assert status == 1  # of the broken one
    content = json.loads(found.read_text(encoding="utf-8"))
    assert [Path(image["source"]).name for image in content["images"]] == [SHOWN]
    assert Path(content["failed"][0]["source"]).name == "brok\\xe9n.jpg" in content["failed"][0]["error"]
    with table.open(encoding="utf-8") as rows:
        assert [Path(row["source"]).name for row in csv.DictReader(rows)] == [SHOWN]
    shown = capsys.readouterr()
    assert SHOWN in shown.out and "brok\\xe9n.jpg" in shown.err
    assert (tmp_path / "out" / ODD).exists()


def test_gallery_is_built(people: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    (people / ODD).write_bytes(OBAMA.read_bytes())  # in no person's folder
    status = command("gallery", "build", tmp_path / "g.index", "--img_dir", people, "--json", report)
    assert status == 1
    gallery = Gallery.load(tmp_path / "g.index")
    assert [entry.path for entry in gallery.entries] == [f"Barack Obama/{SHOWN}", "Grace Hopper/hopper.jpg"]
    assert json.loads(report.read_text(encoding="utf-8"))["rejected"][0]["source"] == SHOWN
    assert command("gallery", "list", tmp_path / "g.index", "--pictures", "--json", report) == 0
    assert command("gallery", "remove", tmp_path / "g.index", "--picture", f"Barack Obama/{SHOWN}") == 0


def sources_of(path: Path) -> list[str]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as table:
            return table["sources"].tolist()
    if path.suffix == ".h5":
        h5py = pytest.importorskip("h5py")
        with h5py.File(path) as file:
            return [text.decode() for group in file.values() for text in group["sources"][:]]
    parquet = pytest.importorskip("pyarrow.parquet")
    return parquet.read_table(path)["source"].to_pylist()


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".parquet"])
def test_embeddings_are_written(people: Path, tmp_path: Path, suffix: str) -> None:
    pytest.importorskip({".h5": "h5py", ".parquet": "pyarrow"}.get(suffix, "numpy"))
    (people / "Barack Obama").rename(people / os.fsdecode(b"Ren\xe9"))
    target = tmp_path / f"e{suffix}"
    assert command("encode", people, "--output", target) == 0
    assert {Path(source).name for source in sources_of(target)} == {SHOWN, "hopper.jpg"}
    assert any("Ren\\xe9" in source for source in sources_of(target))


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX does")
def test_a_video_that_does_not_fit_costs_no_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import resource

    clip, out, found = tmp_path / "clip.mp4", tmp_path / "out", tmp_path / "found.json"
    portrait = images.resize(images.load_image(HOPPER), (448, 448))
    with VideoWriter(clip, fps=10) as writer:
        for _ in range(12):
            writer.write(portrait)
    flags = ["--det", "--input", clip, "--output", out, "--json", found, "--csv", tmp_path / "found.csv"]
    assert command("recognize", *flags) == 0
    expected, before = found.read_text(encoding="utf-8"), (out / "clip.mp4").read_bytes()
    capsys.readouterr()
    room = len(before) * 3 // 4
    assert len(expected) < room, "the limit must let the results through, or the test shows nothing"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        status = command("recognize", *flags)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert status == 2 and "could not be written completely" in capsys.readouterr().err
    content = json.loads(found.read_text(encoding="utf-8"))
    assert content["frames"] == json.loads(expected)["frames"] and len(content["frames"]) == 12
    assert "could not be written completely" in content["failed"][0]["error"]
    assert (out / "clip.mp4").read_bytes() == before and [path.name for path in out.iterdir()] == ["clip.mp4"]
    with VideoReader(str(out / "clip.mp4")) as reader:
        assert len(list(reader)) == 12


def test_printable() -> None:
    assert files.printable("照片 é.png") == "照片 é.png"
    assert files.printable(Path(os.fsdecode(b"caf\xe9/\xff.jpg"))) == "caf\\xe9/\\xff.jpg"
    assert files.printable("\ud83d.jpg") == "\\ud83d.jpg"


def test_text_and_json_that_nobody_made_printable_are_written_all_the_same(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"path": "caf\udce9.jpg"})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"path": "caf\udce9.jpg"}
    files.write_text(tmp_path / "a.csv", "caf\udce9.jpg,1\n")
    assert (tmp_path / "a.csv").read_bytes() == b"caf\\udce9.jpg,1\n"
