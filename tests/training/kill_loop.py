"""Kill a training run with SIGKILL at random moments, saving included, and check each time that it resumes.

    python tests/training/kill_loop.py --kills 50

Every second kill aims at the moment in which a checkpoint is being written.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]

SAVE_EVERY = 2


def kill_often(folder: Path, *, kills: int, seed: int) -> list[dict[str, int]]:
    """Run and kill; returns for every kill the last step logged, the step resumed at and whether a save was cut."""
    from tiny_data import write_dataset

    data, output = write_dataset(folder / "data", identities=8, pictures=2), folder / "out"
    rng = random.Random(seed)
    outcomes: list[dict[str, int]] = []
    for number in range(kills):
        process = _start(data, output, folder / "console.log")
        try:
            resumed = _wait_until_running(process, folder / "console.log", first=number == 0)
            if outcomes:
                outcomes[-1]["resumed"] = resumed
                _check(outcomes[-1])
            _wait_for_moment(output, rng, aim_at_save=number % 2 == 1)
        finally:
            process.kill()
            process.wait()
        cut = any(path.suffix == ".tmp" for path in (output / "checkpoints").glob(".step_*"))
        outcomes.append({"logged": _last_logged(output), "resumed": -1, "save_cut": int(cut)})
    process = _start(data, output, folder / "console.log")
    outcomes[-1]["resumed"] = _wait_until_running(process, folder / "console.log", first=False)
    process.kill()
    process.wait()
    _check(outcomes[-1])
    return outcomes


def _check(outcome: dict[str, int]) -> None:
    saved_for_sure = (outcome["logged"] - 1) // SAVE_EVERY * SAVE_EVERY
    assert outcome["resumed"] >= saved_for_sure, outcome
    assert outcome["resumed"] % SAVE_EVERY == 0, outcome


def _start(data: Path, output: Path, console: Path) -> subprocess.Popen[bytes]:
    flags = {
        "data_dir": data, "output": output, "logdir": "", "val_targets": "", "width": 0.125, "embedding_size": 8,
        "batch_size": 2, "lr": 0.5, "steps": 1_000_000, "log_every": 1, "save_every": SAVE_EVERY, "keep_last": 2,
        "num_workers": 0, "resume": 1,
    }  # fmt: skip
    command = [sys.executable, str(ROOT / "train.py"), *(f"--{name}={value}" for name, value in flags.items())]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(console, "wb") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment)


def _wait_until_running(process: subprocess.Popen[bytes], console: Path, *, first: bool) -> int:
    """Wait for the line that says where the run goes on, and return that step."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        text = console.read_text(errors="replace")
        match = re.search(r"resumed from \S+ at step (\d+),", text)
        if match:
            return int(match.group(1))
        if "nothing to resume from" in text:
            return 0
        assert process.poll() is None, text[-3000:]
        time.sleep(0.01)
    raise AssertionError(f"not running after 120 s: {console.read_text(errors='replace')[-3000:]}")


def _wait_for_moment(output: Path, rng: random.Random, *, aim_at_save: bool) -> None:
    time.sleep(rng.uniform(0.0, 1.5))
    deadline = time.monotonic() + 30
    while aim_at_save and time.monotonic() < deadline:
        if any((output / "checkpoints").glob(".step_*.tmp")):
            time.sleep(rng.uniform(0.0, 0.02))
            return


def _last_logged(output: Path) -> int:
    """Return the last step logged since the run was last resumed."""
    text = (output / "training.log").read_text(errors="replace") if (output / "training.log").is_file() else ""
    latest = re.split(r"resumed from|nothing to resume from", text)[-1]
    steps = re.findall(r"Global Step: (\d+) ", latest)
    match = re.match(r" \S+ at step (\d+),", latest)
    return int(steps[-1]) if steps else int(match.group(1)) if match else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = kill_often(Path(folder), kills=args.kills, seed=args.seed)
    lost = [outcome["logged"] - outcome["resumed"] for outcome in outcomes]
    cut = sum(outcome["save_cut"] for outcome in outcomes)
    print(
        f"{len(outcomes)} kills, {cut} of them while a checkpoint was being written: every run resumed; "
        f"most steps lost {max(lost)} (checkpoint every {SAVE_EVERY} steps), last step {outcomes[-1]['logged']}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
