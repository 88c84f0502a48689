"""Commands that are stopped at any moment, again and again, and what their results are when they end in the end.

A command is run once undisturbed. Then it is started and stopped (SIGKILL, SIGTERM, SIGINT) at a random moment between
its first millisecond and its end, started again with the same flags, stopped again, until it gets through. What it has
written must be the same, byte for byte where nothing of it is a time, and nothing else may lie there. A part of the
processes is started anew (``python -m arcface_paddle``), which adds the import; the others are forks, which take less.
"""

from __future__ import annotations

import contextlib
import faulthandler
import hashlib
import importlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterator, Optional

import numpy as np
import psutil

from arcface_paddle import temporaries
from arcface_paddle.pipeline.engines.telemetry import forbid_telemetry

ROOT = Path(__file__).resolve().parents[2]
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_LONGEST_S = 300.0
_NO_CODE = 99  # of a fork whose command did not return
_MOST_STOPS_IN_A_ROW = 6
"""After so many a command may end: on a busy machine one that takes long would never do."""


@dataclass(frozen=True)
class Job:
    """A command that goes on where it was stopped.

    Attributes:
        name: of the row.
        flags: of ``arcface-paddle``; ``{area}`` is the folder of inputs, ``{out}`` where it writes.
        digest: of what it has written into a folder, such that two runs of the same flags agree.
        sound: raises AssertionError if what lies there after a stop is neither the old nor the new state.
    """

    name: str
    flags: str
    digest: Callable[[Path], str]
    sound: Callable[[Path], None] = field(default=lambda out: None)


@dataclass
class Stopped:
    """What was found.

    Attributes:
        kills: stops in all, of which ``early`` by a signal before the command's own code ran.
        finished: runs that got through after stops.
        different: of these, whose result is another than that of the undisturbed run.
        left: of these, beside whose result something was left, or a process of the stopped ones was still running.
        unsound: stops after which neither the old nor the new state was there.
        complaints: stops by SIGTERM or SIGINT that ended in a traceback or another exit code than 130.
    """

    kills: int = 0
    early: int = 0
    finished: int = 0
    different: int = 0
    left: int = 0
    unsound: int = 0
    complaints: int = 0
    first_problem: str = ""

    def note(self, problem: str) -> None:
        self.first_problem = self.first_problem or problem


def tree_digest(out: Path, *, but: tuple[str, ...] = ()) -> str:
    """Return a digest of names and contents of all files whose names do not end like one of ``but``."""
    digest = hashlib.sha256()
    for path in sorted(out.rglob("*")):
        if path.is_file() and not path.name.endswith(but):
            digest.update(f"{path.relative_to(out)}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _of_weights(out: Path) -> str:
    newest = max((out / "run" / "checkpoints").glob("step_*"))
    return f"{newest.name} {tree_digest(newest, but=('.json', '.log'))}"


def _of_arrays(out: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(out.glob("*.npz")):
        with np.load(path) as arrays:
            for name in sorted(arrays.files):
                digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def _of_gallery(out: Path) -> str:
    from arcface_paddle.pipeline.gallery import Gallery

    gallery = Gallery.load(out / "people.index")
    return str(sorted((entry.name, row.tobytes()) for entry, row in zip(gallery.entries, gallery.embeddings)))


def _of_people(out: Path) -> str:
    document = json.loads((out / "people" / "people.json").read_text(encoding="utf-8"))
    return json.dumps(_without_times(document), sort_keys=True)


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_times(part)
            for key, part in value.items()
            if not any(word in key for word in ("time", "date", "seconds", "created", "_s"))
        }
    return [_without_times(part) for part in value] if isinstance(value, list) else value


def _of_film(out: Path) -> str:
    from arcface_paddle.video.reading import VideoReader  # noqa: F401  (what is written must be readable)

    return tree_digest(out, but=(".json",))


def _whole_or_no_model(out: Path) -> None:
    folder = out / "model"
    if (folder / "model.json").is_file():
        from arcface_paddle.pipeline.model_files import open_model

        open_model(folder)


def _whole_or_no_gallery(out: Path) -> None:
    if (out / "people.index").is_file():
        _of_gallery(out)


_TRAIN = (
    "train --data_dir {area}/dataset --output {out}/run --logdir= --val_targets= --network MobileFaceNet_128 "
    "--width 0.125 --embedding_size 8 --batch_size 2 --lr 0.1 --steps 6 --log_every 1 --save_every 1 --keep_last 2 "
    "--num_workers 0 --resume 1"
)
JOBS = {
    job.name: job
    for job in (
        Job("train", _TRAIN, _of_weights),
        Job("convert", "data convert {area}/dataset {out}/set --to folder --workers 1", tree_digest),
        Job("pack", "data convert {area}/dataset {out}/set --to packed --shard_mb 1 --workers 1", tree_digest),
        Job("synth", "synth {out}/faces --identities 3 --images_per_identity 2 --resume", tree_digest),
        Job("enrol", "gallery build {out}/people.index --img_dir {area}/people", _of_gallery, _whole_or_no_gallery),
        Job(
            "export",
            "export --pretrained_model {area}/weights.pdparams --output {out}/model --format json",
            tree_digest,
            _whole_or_no_model,
        ),
        Job("embed", "embed {area}/people --output {out}/e --encode=--workers=1", tree_digest),
        Job("encode", "encode {area}/people --output {out}/e.npz --shard_size 1 --resume", _of_arrays),
        Job("video", "recognize --det --input {area}/film.mp4 --write_video --output {out}/film", _of_film),
        Job("people", "people {area}/people --output {out}/people --store {out}/store", _of_people),
    )
}


def stop_often(job: Job, *, kills: int, fresh_share: float, seed: int = 0) -> Stopped:
    """Stop a command as often as asked and compare what it writes in the end with what it writes undisturbed."""
    moments = random.Random(f"{seed} {job.name}")
    with tempfile.TemporaryDirectory(prefix="kills_") as name:
        bench = _Bench(Path(name), job)
        found = Stopped()
        while found.kills < kills:
            out = bench.new_out()
            for _ in range(min(_MOST_STOPS_IN_A_ROW, kills - found.kills)):
                fresh = moments.random() < fresh_share
                if bench.stop(out, moments, found, fresh=fresh):
                    break
            bench.finish(out, found)
        return found


class _Bench:
    def __init__(self, folder: Path, job: Job) -> None:
        self._folder = folder
        self._job = job
        self._outs = 0
        self._children: list[psutil.Process] = []
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        make_area(folder / "area")
        import_all()
        out = self.new_out()
        begun = time.perf_counter()
        code, said = self._ended(self._start(out))
        self.fork_s = time.perf_counter() - begun
        if code != 0:
            raise RuntimeError(f"{job.name} fails undisturbed: {said[-3000:]}")
        self.expected = job.digest(out)
        self._hidden = {path.relative_to(out) for path in out.rglob(".*")}  # marks that belong to the result
        begun = time.perf_counter()
        self._ended(self._start_fresh(self.new_out()))
        self.fresh_s = time.perf_counter() - begun

    def new_out(self) -> Path:
        self._outs += 1
        out = self._folder / "out"  # of one name: some results hold it
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        return out

    def stop(self, out: Path, moments: random.Random, found: Stopped, *, fresh: bool) -> bool:
        """Start the command and stop it; tells whether it came through before."""
        process = self._start_fresh(out) if fresh else self._start(out)
        begun = time.perf_counter()
        wait_s = moments.uniform(0.0, 1.0) * (self.fresh_s if fresh else self.fork_s)
        number = moments.choice(SIGNALS)
        while time.perf_counter() - begun < wait_s and process.poll() is None:
            time.sleep(0.0005)
        if process.poll() is not None:
            self._ended(process)
            return True
        with contextlib.suppress(psutil.NoSuchProcess):
            self._children += psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        code, said = self._ended(process)
        found.kills += 1
        early = fresh and code == -number and number != signal.SIGKILL
        found.early += early
        ours = not fresh or "arcface_paddle" in said  # not the interpreter's own start
        if number != signal.SIGKILL and not early and ours and (code not in (0, 130) or "Traceback" in said):
            found.complaints += 1
            found.note(f"{signal.Signals(number).name} after {wait_s:.2f} s: {code} {said[-2500:]}")
        try:
            self._job.sound(out)
        except Exception as error:  # noqa: BLE001  (whatever it is, the state is neither)
            found.unsound += 1
            found.note(f"unsound after {wait_s:.2f} s: {error!r}")
        return False

    def finish(self, out: Path, found: Stopped) -> None:
        """Let the command come through and look at its result."""
        code, said = self._ended(self._start(out))
        found.finished += 1
        if code != 0 or self._job.digest(out) != self.expected:
            found.different += 1
            found.note(f"different: {code} {said[-2500:]}")
        hidden = {path.relative_to(out) for path in out.rglob(".*")} - self._hidden
        running = [str(child) for child in self._children if child.is_running()]
        self._children.clear()
        left = [*map(str, sorted(hidden)), *(path.name for path in self.scratch.iterdir()), *running]
        if left:
            found.left += 1
            found.note(f"left: {left[:5]}")

    def _flags(self, out: Path) -> list[str]:
        return [word.format(area=self._folder / "area", out=out) for word in self._job.flags.split()]

    def _start_fresh(self, out: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "arcface_paddle", *self._flags(out)]
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, **self._environment(), "PYTHONPATH": os.pathsep.join(paths)}
        with (self._folder / "said").open("wb") as said:
            return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, env=environment, text=True)

    def _start(self, out: Path) -> _Fork:
        (self._folder / "said").write_bytes(b"")
        return _Fork(self._flags(out), self._folder / "said", self._environment())

    def _environment(self) -> dict[str, str]:
        return {"TMPDIR": str(self.scratch), "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}

    def _ended(self, process: Any) -> tuple[int, str]:
        """Wait for the end; one that stands still is aborted and says where it stood."""
        try:
            code = process.wait(_LONGEST_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)
            code = process.wait(_LONGEST_S)
        said = (self._folder / "said").read_text(errors="replace")
        return code, re.sub(r"Extension modules: .*", "", said)  # of faulthandler: long, and the stack counts


class _Fork:
    """A command in a child of this process, which has imported everything already; looks like ``Popen``."""

    def __init__(self, flags: list[str], said: Path, environment: dict[str, str]) -> None:
        self._code: Optional[int] = None
        ready, tell = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = _NO_CODE
            try:
                os.close(ready)
                code = _as_child(flags, said, environment, tell)
            finally:  # whatever comes, this process does not go on with the harness
                temporaries._remove_unfinished()  # as at the end of a process that was not forked
                os._exit(code)
        os.close(tell)
        os.read(ready, 1)  # until the command begins: a signal before that would meet this program
        os.close(ready)

    def poll(self) -> Optional[int]:
        if self._code is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if done else None
        return self._code

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("a fork", timeout)
            time.sleep(0.002)
        assert self._code is not None
        return self._code


def _as_child(flags: list[str], said: Path, environment: dict[str, str], tell: int) -> int:
    from arcface_paddle.cli import main

    code = _NO_CODE
    with said.open("a") as stream, open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        sys.stdout, sys.stderr = nowhere, stream
        os.environ.update(environment)
        faulthandler.enable(stream)
        tempfile.tempdir = None
        for number in (signal.SIGINT, signal.SIGTERM):  # which is what is left of the second behind the command, too
            signal.signal(number, signal.default_int_handler)
        try:
            with _telling(tell):
                code = main.main(flags)
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException as error:  # noqa: BLE001  (the interpreter would print it)
            if code == _NO_CODE or not isinstance(error, KeyboardInterrupt):  # not behind the end of the command
                stream.write(traceback.format_exc())
                stream.flush()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
    return code


@contextlib.contextmanager
def _telling(tell: int) -> Iterator[None]:
    """Say that the command's frame stands as soon as it does: before that a signal would meet no frame."""
    from arcface_paddle.cli import main

    enter = main._Interrupts.__enter__

    def told(self: Any) -> Any:
        entered = enter(self)
        os.write(tell, b"x")
        main._Interrupts.__enter__ = enter  # type: ignore[method-assign]
        return entered

    main._Interrupts.__enter__ = told  # type: ignore[method-assign]
    yield


def import_all() -> None:
    """Import what commands need, so that forks have it; nothing that would start threads, as networks and events do."""
    forbid_telemetry()
    for name in ("cv2", "paddle", "openvino", "onnxruntime", "h5py", "av"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for path in sorted((ROOT / "arcface_paddle").rglob("*.py")):
        if path.stem != "__main__":
            with contextlib.suppress(ImportError):
                importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


_MADE_IN_A_PROCESS = """
import paddle
from arcface_paddle.backbones import build_backbone
paddle.save(build_backbone("MobileFaceNet_128").state_dict(), "weights.pdparams")
"""


def make_area(area: Path) -> None:
    """Write what the commands read: photographs of two people, a set of crops, weights, and a film."""
    import cv2

    sys.path.append(str(ROOT / "tests" / "training"))
    from tiny_data import write_dataset

    photographs = sorted((ROOT / "demo" / "gallery").rglob("*.jpg"))
    for number, name in enumerate(("one", "two")):
        (area / "people" / name).mkdir(parents=True)
        shutil.copy(photographs[number], area / "people" / name / "a.jpg")
    write_dataset(area / "dataset", identities=6, pictures=6, pairs=2)
    size_wh = (160, 120)
    film = cv2.VideoWriter(str(area / "film.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 5, size_wh)
    for shade in range(0, 200, 20):
        film.write(np.full((*size_wh[::-1], 3), shade, np.uint8))
    film.release()
    subprocess.run([sys.executable, "-c", _MADE_IN_A_PROCESS], check=True, cwd=area)
