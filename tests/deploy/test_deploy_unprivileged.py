"""The same entry point as in a container: an unprivileged user, a read-only tree, a bare environment."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from deploy_files import DEPLOY, ROOT, stages

from arcface_paddle.cli.main import COMMANDS

NOBODY = 65534


@pytest.fixture(scope="module")
def tree() -> Iterator[Path]:
    """Copy the package to a place that nobody may write, with a folder /data beside it that the user may."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("giving up root needs root and setpriv")
    # Not below pytest's folder, which every run of pytest closes to all but its owner again.
    base = Path(tempfile.mkdtemp(prefix="arcface_paddle_image_"))
    base.chmod(0o755)
    source = base / "site"
    for name in ("arcface_paddle", "inference_model"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [source, *source.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    data = base / "data"
    data.mkdir(mode=0o700)
    os.chown(data, NOBODY, NOBODY)
    yield base
    for path in [p for p in (base, *base.rglob("*")) if p.is_dir()]:
        path.chmod(0o755)
    shutil.rmtree(base)


def command(*arguments: str) -> list[str]:
    return [
        "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs", "--bounding-set=-all",
        sys.executable, "-m", "arcface_paddle", *arguments,
    ]  # fmt: skip


def environment(tree: Path) -> dict[str, str]:
    """Return the variables that the container file sets, with the paths of the tree, and no others."""
    (text,) = stages(DEPLOY / "Dockerfile.cpu")[-1].texts("ENV")
    values = dict(word.split("=", 1) for word in text.split())
    data = str(tree / "data")
    own = {key: value.replace("/data", data) for key, value in values.items() if key not in ("PATH", "HOME")}
    return {**own, "PATH": "/usr/bin:/bin", "HOME": data, "PYTHONPATH": str(tree / "site")}


def may_read_python(tree: Path) -> None:
    done = subprocess.run(
        [*command()[:6], sys.executable, "-c", "import arcface_paddle; print(arcface_paddle.__file__)"],
        env=environment(tree), cwd=tree / "data", capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"user {NOBODY} cannot read this Python: {done.stderr.strip()[-200:]}")
    assert done.stdout.startswith(str(tree / "site")), "the copy is what runs"


def test_models_list(tree):
    may_read_python(tree)
    done = subprocess.run(
        command("models", "list"), env=environment(tree), cwd=tree / "data", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "MobileFace" in done.stdout and not done.stderr.strip()
    assert not list((tree / "site").rglob("__pycache__")), "nothing is written beside the code"


def test_a_gallery_is_built_where_data_may_be_written(tree):
    may_read_python(tree)
    target = tree / "data" / "people.index"
    pictures = tree / "gallery"
    shutil.copytree(ROOT / "demo" / "gallery", pictures)
    for path in [pictures, *pictures.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    arguments = ("gallery", "build", str(target), "--img_dir", str(pictures), "--workers=1", "--threads=1")
    done = subprocess.run(
        command(*arguments), env=environment(tree), cwd=tree / "data", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert target.is_file() and target.stat().st_uid == NOBODY
    outside = [p for p in (tree / "site").rglob("*") if p.stat().st_uid == NOBODY]
    assert not outside


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def answer_of(url: str, *, key: str = "", content: bytes = b"", kind: str = "application/json") -> tuple[int, bytes]:
    """Ask the service; with ``content`` by POST. Status 0: nobody answers."""
    headers = {"Content-Type": kind, **({"Authorization": f"Bearer {key}"} if key else {})}
    request = urllib.request.Request(url, data=content or None, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


@pytest.fixture
def service(tree) -> Iterator[str]:
    """Start the command of the container file as the unprivileged user, give its address, and stop it by SIGTERM."""
    may_read_python(tree)
    pytest.importorskip("fastapi")
    port, data = free_port(), str(tree / "data")
    (text,) = stages(DEPLOY / "Dockerfile.cpu")[-1].texts("CMD")
    changed = {"--host=0.0.0.0": "--host=127.0.0.1", "--port=8080": f"--port={port}"}
    arguments = [changed.get(word, word.replace("/data", data)) for word in json.loads(text)]
    with open(tree / "service.log", "wb") as log:
        process = subprocess.Popen(command(*arguments), env=environment(tree), cwd=data, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 90
        while answer_of(f"{address}/v1/health/ready")[0] != 200 and process.poll() is None:
            assert time.monotonic() < deadline, (tree / "service.log").read_text(errors="replace")[-2000:]
            time.sleep(0.2)
        yield address
        process.terminate()
        assert process.wait(45) == 0, (tree / "service.log").read_text(errors="replace")[-2000:]
    finally:
        process.kill()
        process.wait()


def run(tree: Path, *arguments: str) -> str:
    """Run a command of arcface-paddle as the user of the service and return what it prints."""
    done = subprocess.run(
        command(*arguments), env=environment(tree), cwd=tree / "data", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif("serve" not in COMMANDS, reason="the command serve is not here yet")
def test_the_service_of_the_container_file_and_its_backup(tree, service):
    check = json.loads(stages(DEPLOY / "Dockerfile.cpu")[-1].texts("HEALTHCHECK")[0].partition("CMD ")[2])
    healthy = [sys.executable, *check[1:-1], check[-1].replace("http://127.0.0.1:8080", service)]
    assert subprocess.run(healthy, check=False).returncode == 0
    assert answer_of(f"{service}/v1/people")[0] == 401, "keys are asked for"
    data = tree / "data"
    key = run(tree, "serve", "keys", "add", "me", "--role", "admin", f"--state={data}/service").split()[-1]
    status, person = answer_of(f"{service}/v1/people", key=key, content=b'{"name": "Ada Lovelace"}')
    assert status == 201, person
    picture = sorted((ROOT / "demo" / "gallery").rglob("*.jpg"))[0].read_bytes()
    faces = f"{service}/v1/people/{json.loads(person)['id']}/faces"
    assert answer_of(faces, key=key, content=picture, kind="image/jpeg")[0] == 201
    run(tree, "gallery", "merge", f"{data}/backup.index", f"{data}/people.index")
    assert "Ada Lovelace" in run(tree, "gallery", "list", f"{data}/backup.index")
    code = backup_of_records().replace("/data", str(data)).replace("/backup/people-$(date +%F).sqlite", f"{data}/b.db")
    subprocess.run([*command()[:6], sys.executable, "-c", code], check=True, env=environment(tree), cwd=data)
    with sqlite3.connect(data / "b.db") as copy:
        assert ("Ada Lovelace",) in copy.execute("SELECT name FROM people").fetchall()


def backup_of_records() -> str:
    """Return the program with which the README copies the records of people."""
    text = (DEPLOY / "README.md").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith('python -c "import sqlite3')]
    return line.partition('"')[2].rpartition('"')[0]
