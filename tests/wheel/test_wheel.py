"""The wheel as a user gets it: built, installed in a clean environment, used from another folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_WHEEL_BYTES = 45_000_000
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
"""Without the checkout, which pip and the programs would take for the installed package."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, timeout=600, env=ENVIRONMENT)
    (path,) = folder.glob("arcface_paddle-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """Return the folder of programs of a fresh environment that holds the wheel and CPU Paddle only."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=True)
    programs = environment / ("Scripts" if os.name == "nt" else "bin")
    command = [str(programs / "python"), "-m", "pip", "install", "--quiet", f"{wheel}[cpu]"]
    subprocess.run(command, check=True, timeout=1200, env=ENVIRONMENT)
    return programs


def run(programs: Path, command: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    program = [str(programs / command), *arguments]
    return subprocess.run(program, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_contents(wheel):
    assert wheel.stat().st_size < MAX_WHEEL_BYTES
    names = zipfile.ZipFile(wheel).namelist()
    shipped = [f"inference_model/{name}/model.json" for name in ("BlazeFace", "MTCNN", "FaceFilter", "MobileFace")]
    for needed in (*shipped, "py.typed"):
        assert f"arcface_paddle/{needed}" in names
    assert not [name for name in names if name.endswith((".tflite", ".pt")) or name.startswith("tests/")]
    photographs = [name for name in names if name.startswith("arcface_paddle/demo_photographs/")]
    assert "arcface_paddle/demo_photographs/DEMO_PHOTOS.md" in photographs
    assert len(photographs) == 11 and not [name for name in photographs if name.endswith(".py")]
    assert any(name.endswith("head_pack.npz") for name in names)
    page = ROOT / "arcface_paddle" / "service" / "page"
    parts = {f"arcface_paddle/service/page/{path.relative_to(page)}" for path in page.rglob("*.*")}
    assert len(parts) >= 20 and parts <= set(names)


@pytest.mark.slow
def test_the_description_has_no_link_that_leads_nowhere(wheel):
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    text = archive.read(metadata).decode("utf-8")
    assert "make demo" in text and "VERIFY" in text
    assert not re.findall(r"\]\((?!https?:|#)[^)]*\)", text)


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
def test_the_first_section_of_the_readme_needs_the_wheel_only(installed, tmp_path):
    shown = run(installed, "arcface-paddle", "demo", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    demo = tmp_path / "arcface_demo"
    found = json.loads((demo / "recognised.json").read_text(encoding="utf-8"))["images"]
    names = sorted(face["name"] for image in found for face in image["faces"])
    people = ["Barack Obama"] * 3 + ["Grace Hopper"] * 2 + ["Joe Biden"] * 2
    assert names == [*people, "unknown", "unknown"]
    assert len(list((demo / "recognised").glob("*.jpg"))) == 6
    again = run(installed, "arcface-paddle", "demo", cwd=tmp_path)
    assert again.returncode == 2 and "is not empty" in again.stderr


@pytest.mark.slow
def test_two_pictures_are_compared_in_three_lines(installed, tmp_path):
    queries = ROOT / "demo" / "queries"
    code = (
        "from arcface_paddle import compare\n"
        f"found = compare({str(queries / 'obama_blue_room.jpg')!r}, {str(queries / 'obama_speech_2009.jpg')!r})\n"
        "print(found.same_person)"
    )
    done = run(installed, "python", "-c", code, cwd=tmp_path)
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.slow
def test_the_published_module_and_script_come_along(installed, tmp_path):
    gallery = ROOT / "demo" / "gallery"
    built = run(
        installed,
        "insightfacepaddle",
        *("--build_index", "index.bin", "--img_dir", str(gallery), "--label", str(gallery / "label.txt")),
        cwd=tmp_path,
    )
    assert built.returncode == 0 and "3 people" in built.stdout, built.stderr
    code = (
        "import insightface_paddle as face\n"
        "args = face.parser().parse_args([])\n"
        "args.det = args.rec = True\n"
        "args.index, args.output = 'index.bin', 'output'\n"
        f"found = next(face.InsightFace(args).predict({str(ROOT / 'demo' / 'queries' / 'obama_blue_room.jpg')!r}))\n"
        "print(found['labels'])"
    )
    done = run(installed, "python", "-W", "error:insightface-paddle", "-c", code, cwd=tmp_path)
    assert done.stdout.strip() == "['Barack Obama']", done.stderr


@pytest.mark.slow
def test_every_subcommand_answers_or_names_its_extra(installed, tmp_path):
    for name in ("demo", "recognize", "gallery", "models", "train", "valid", "export", "synth", "data"):
        shown = run(installed, "arcface-paddle", name, "--help", cwd=tmp_path)
        assert shown.returncode == 0, shown.stderr
    synth = run(installed, "arcface-paddle", "synth", "faces", "--identities", "1", cwd=tmp_path)
    assert synth.returncode == 2
    assert "[synthetic]" in synth.stderr
    assert not (tmp_path / "faces").exists()
