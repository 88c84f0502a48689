"""The first section of the README and a small training where little is as on a developer's machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))
from tiny_data import write_dataset

pytestmark = [pytest.mark.long, pytest.mark.skipif(sys.platform == "win32", reason="locales and rights are others")]

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
PERSON, PICTURE = "艾达", "一 张.jpg"

STEPS = """
import sys
from arcface_paddle.cli.main import main
for line in sys.stdin.read().splitlines():
    assert main(line.split("|")) == 0, line
"""
ONE = "--threads=1|--workers=1"
COMMANDS = f"""demo|--output|shown
recognize|--build_index=index.bin|--img_dir=people|{ONE}
recognize|--det|--rec|--index=index.bin|--input=people|--output=out|--json=found.json|--csv=found.csv|{ONE}
gallery|list|index.bin
train|--data_dir=set|--output=run|--logdir=log|--val_targets=val|--network=MobileFaceNet_128|--width=0.125|\
--embedding_size=8|--batch_size=4|--steps=2|--num_workers=1|--log_every=1
""".replace("\\\n", "")


@pytest.fixture
def base() -> Iterator[Path]:
    """Give a folder that every user may enter; pytest's own are closed."""
    folder = Path(tempfile.mkdtemp(prefix="arcface_paddle_environment_"))
    folder.chmod(0o755)
    yield folder
    for path in folder.glob("*/"):
        path.chmod(0o755)
    shutil.rmtree(folder)


def prepare(base: Path) -> tuple[Path, dict[str, str]]:
    """Make an empty home folder and a folder with a person and a dataset; returns it, and a bare environment."""
    data = base / "data"
    (data / "people" / PERSON).mkdir(parents=True)
    (base / "home").mkdir()
    portrait = next((ROOT / "demo" / "gallery").rglob("*.jpg"))
    shutil.copy(portrait, data / "people" / PERSON / PICTURE)
    write_dataset(data / "set", identities=4, pictures=3)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(base / "home"), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}
    return data, environment


def run_steps(data: Path, environment: dict[str, str], *, python: tuple[str, ...] = (sys.executable,)) -> str:
    """Run all commands in one process and return what they printed; names have to be read rightly."""
    done = subprocess.run(
        [*python, "-c", STEPS], input=COMMANDS.encode(), env=environment, cwd=data, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    assert PERSON in (data / "found.csv").read_text(encoding="utf-8-sig")
    assert (data / "run" / "MobileFaceNet_128.pdparams").is_file() and list((data / "log").iterdir())
    return done.stdout.decode("utf-8", "replace")


def test_a_locale_without_chinese(base: Path) -> None:
    data, environment = prepare(base)
    run_steps(data, {**environment, "LC_ALL": "C"})


def test_a_path_with_spaces_and_chinese(base: Path) -> None:
    folder, source = base / "我的 图片", base / "源 码"
    folder.mkdir()
    for name in ("arcface_paddle", "inference_model", "demo"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    data, environment = prepare(folder)
    assert PERSON in run_steps(data, {**environment, "PYTHONPATH": str(source)})


def test_no_compiler_and_no_programs(base: Path) -> None:
    data, environment = prepare(base)
    (base / "empty").mkdir()
    run_steps(data, {**environment, "PATH": str(base / "empty")})


def test_a_user_with_a_closed_home_and_no_temporary_folder(base: Path) -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("giving up root needs root and setpriv")
    data, environment = prepare(base)
    closed = base / "tmp"
    for folder in (base / "home", closed):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o555)
    for path in [data, *data.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    rights = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs")
    packages = [path for path in sys.path if path.endswith("site-packages")]
    environment = {**environment, "TMPDIR": str(closed), "PYTHONPATH": os.pathsep.join([str(ROOT), *packages])}
    python = f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"  # one at home may be closed
    done = subprocess.run(
        [*rights, python, "-c", "import arcface_paddle, numpy"], env=environment, cwd=data, check=False
    )
    if done.returncode:
        pytest.skip(f"user {NOBODY} cannot run {python} with these packages")
    run_steps(data, environment, python=(*rights, python))
    assert list((base / "home").iterdir()) == [] == list(closed.iterdir())
