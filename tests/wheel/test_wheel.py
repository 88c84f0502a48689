"""The wheel as a user gets it: built, installed in a clean environment, used from another folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_WHEEL_BYTES = 20 * 2**20


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, timeout=600)
    (path,) = folder.glob("arcface_paddle-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """Return the folder of programs of a fresh environment that holds the wheel and CPU Paddle only."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=True)
    programs = environment / ("Scripts" if os.name == "nt" else "bin")
    command = [str(programs / "python"), "-m", "pip", "install", "--quiet", f"{wheel}[cpu]"]
    subprocess.run(command, check=True, timeout=1200)
    return programs


def run(programs: Path, command: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(programs / command), *arguments], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
def test_contents(wheel):
    assert wheel.stat().st_size < MAX_WHEEL_BYTES
    names = zipfile.ZipFile(wheel).namelist()
    for needed in ("inference_model/BlazeFace/model.json", "inference_model/MobileFace/model.json", "py.typed"):
        assert f"arcface_paddle/{needed}" in names
    assert not [name for name in names if name.endswith((".tflite", ".pt")) or name.startswith("tests/")]
    assert any(name.endswith("head_pack.npz") for name in names)


@pytest.mark.slow
def test_recognition_from_another_folder(installed, tmp_path):
    gallery = ROOT / "demo" / "gallery"
    built = run(
        installed,
        "test_recognition",
        *("--build_index=index.bin", f"--img_dir={gallery}", f"--label={gallery}/label.txt"),
        cwd=tmp_path,
    )
    assert built.returncode == 0, built.stderr
    found = run(
        installed,
        "test_recognition",
        *("--det", "--rec", "--index=index.bin", f"--input={ROOT}/demo/queries/group.jpg", "--output=./output"),
        "--json=found.json",
        cwd=tmp_path,
    )
    assert found.returncode == 0, found.stderr
    (image,) = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["images"]
    names = sorted(face["name"] for face in image["faces"])
    assert names == ["Barack Obama", "Grace Hopper", "Joe Biden", "unknown"]
    assert list((tmp_path / "output").glob("group*"))


@pytest.mark.slow
def test_every_subcommand_answers_or_names_its_extra(installed, tmp_path):
    for name in ("recognize", "gallery", "models", "train", "valid", "export", "synth", "data"):
        shown = run(installed, "arcface-paddle", name, "--help", cwd=tmp_path)
        assert shown.returncode == 0, shown.stderr
    synth = run(installed, "arcface-paddle", "synth", "faces", "--identities", "1", cwd=tmp_path)
    assert synth.returncode == 2
    assert "[synthetic]" in synth.stderr
    assert not (tmp_path / "faces").exists()
