from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from arcface_paddle.backbones import BACKBONES
from arcface_paddle.cli.main import run_module
from arcface_paddle.pipeline import model_files
from arcface_paddle.pipeline.model_files import shipped_folder


def test_list_names_every_model_and_where_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(model_files.HOME_VARIABLE, str(tmp_path))
    assert run_module("models", ["list"]) == 0
    table = capsys.readouterr().out
    for name, model in model_files.REGISTRY.items():
        assert name in table and (model.url in table if model.archive else str(shipped_folder(name)) in table)


def test_list_counts_what_recognition_reads(capsys: pytest.CaptureFixture[str]) -> None:
    folder = shipped_folder("MobileFace")
    assert (folder / "training.pdparams").exists(), "the same weights, for fine-tuning"
    assert run_module("models", ["list"]) == 0
    (row,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("| MobileFace "))
    read = sum((folder / name).stat().st_size for name in ("inference.pdiparams", "inference.pdmodel", "model.json"))
    assert float(row.split("|")[3]) == pytest.approx(read / 1e6, abs=0.06)


def test_check_passes_the_shipped_models_and_names_the_damaged_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(shipped_folder("FaceRefiner"), broken)
    (broken / "inference.pdiparams").write_bytes(b"x")
    assert run_module("models", ["check", "BlazeFace", str(broken), "FaceRefiner"]) == 1
    output = capsys.readouterr()
    assert "BlazeFace: face detection, 2 hashes match" in output.out and "FaceRefiner: face ref" in output.out
    assert output.err.count("\n") == 1 and "inference.pdiparams: damaged or exchanged" in output.err


def test_show_prints_the_card_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_module("models", ["show", "MobileFace"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["recognizer"]["embedding_size"] == 192 and "MS-Celeb-1M" in card["notice"]


def test_fetch_without_a_network_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(model_files.HOME_VARIABLE, str(tmp_path))
    monkeypatch.setattr(model_files, "ARCHIVE_BASE_URL", "http://127.0.0.1:9/")
    assert run_module("models", ["fetch", "ArcFace"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "arcface_iresnet50_v1.0_infer.tar" in error and str(tmp_path) in error
    assert not (tmp_path / "models" / "ArcFace").exists()


def test_backbones_are_listed_with_their_size_and_what_others_publish(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_module("models", ["backbones"]) == 0
    table = capsys.readouterr().out
    rows = {line.split("|")[1].strip(): line for line in table.splitlines() if line.startswith("| ")}
    assert set(BACKBONES) <= set(rows)
    assert "65.16" in rows["iresnet100"] and "12.090" in rows["iresnet100"] and "65.131 M" in rows["iresnet100"]
    assert "0.221 G (the paper)" in rows["MobileFaceNet_128"]


def test_an_unknown_network_is_one_line_that_names_them_all_and_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_module("plan", ["--num_classes", "100", "--network", "ResNet-50"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and len(error) < 700
    assert "did you mean ResNet50?" in error and "arcface-paddle models backbones" in error
    assert all(name in error for name in BACKBONES)


def test_unknown_models_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_module("models", ["show", "Nobody"]) == 2
    assert "known: BlazeFace" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        run_module("models", ["fetch", "BlazeFace"])  # shipped, there is nothing to fetch
    assert caught.value.code == 2
