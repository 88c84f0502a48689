"""Module and console script under the names of the published wheel."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

import arcface_paddle
from arcface_paddle.cli import main

ROOT = Path(__file__).parents[2]
PEOPLE = ROOT / "demo" / "gallery"


def test_the_module_has_the_published_names() -> None:
    import insightface_paddle

    assert insightface_paddle.InsightFace is arcface_paddle.InsightFace
    assert insightface_paddle.parser is arcface_paddle.parser
    assert insightface_paddle.main is main.insightfacepaddle
    program = argparse.ArgumentParser(parents=[insightface_paddle.parser(add_help=False)])
    assert program.parse_args(["--det"]).det is True
    assert insightface_paddle.__version__ == arcface_paddle.__version__


def test_the_script_takes_the_published_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    index = tmp_path / "index.bin"
    arguments = ["--build_index", str(index), "--img_dir", str(PEOPLE), "--label", str(PEOPLE / "label.txt")]
    monkeypatch.setattr(sys, "argv", ["insightfacepaddle", *arguments])
    assert main.insightfacepaddle() == 0 and index.is_file()
    arguments = [
        *("--det", "--rec", "--det_model", "BlazeFace", "--rec_model", "MobileFace", "--use_gpu", "False"),
        *("--enable_mkldnn", "True", "--cpu_threads", "1", "--det_thresh", "0.8", "--rec_thresh", "0.45"),
        *("--cdd_num", "5", "--max_batch_size", "1", "--index", str(index), "--output", str(tmp_path / "output")),
        *("--input", str(ROOT / "demo" / "queries" / "obama_blue_room.jpg")),
    ]
    monkeypatch.setattr(sys, "argv", ["insightfacepaddle", *arguments])
    assert main.insightfacepaddle() == 0
    assert "Barack Obama" in capsys.readouterr().out and (tmp_path / "output" / "obama_blue_room.jpg").is_file()
    monkeypatch.setattr(sys, "argv", ["insightfacepaddle"])
    assert main.insightfacepaddle() == 2
    assert capsys.readouterr().err.startswith("insightfacepaddle: error: nothing to do")


@pytest.mark.parametrize("beside", [True, False])
def test_the_published_distribution_beside_ours_is_said(tmp_path: Path, beside: bool) -> None:
    if beside:
        (tmp_path / "insightface_paddle-0.2.0.dist-info").mkdir()
        metadata = tmp_path / "insightface_paddle-0.2.0.dist-info" / "METADATA"
        metadata.write_text("Metadata-Version: 2.1\nName: insightface-paddle\nVersion: 0.2.0\n", encoding="utf-8")
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(tmp_path)!r}]; import insightface_paddle"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ("insightface-paddle 0.2.0 is installed beside arcface-paddle" in done.stderr) is beside
