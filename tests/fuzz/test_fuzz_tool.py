"""``tools/fuzz.py``: a ledger that goes on, a table, both engines, a process that dies."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_ledger import Ledger
from fuzz_mutation import mutated
from fuzz_running import attack
from fuzz_slice import ENGINES, LastInput, read_last_input
from fuzz_targets import Target

ROOT = Path(__file__).parents[2]


def fuzz(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "fuzz.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_run_goes_on_with_the_number_where_the_last_one_stopped(tmp_path: Path) -> None:
    seeds = [b"1.bin\t0\n"]
    seen: list[bytes] = []
    target = Target("probe", lambda: seeds, lambda content, folder: lambda: seen.append(content))
    attack(target, seed=3, count=4)
    attack(target, seed=3, count=2, first=4)
    assert seen == [*seeds, *(mutated(seeds, seed=3, number=number) for number in range(6))]


def test_the_ledger_adds_up_and_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"
    row = {"target": "xmp", "engine": "mutation", "inputs": 10, "answers": 4, "cpu_s": 0.5, "violations": ["b", "a"]}
    ledger = Ledger(path)
    ledger.add(row, seed=7)
    ledger.add({**row, "inputs": 5, "violations": ["a"]}, seed=7)
    ledger.add({**row, "engine": "atheris", "inputs": 100, "violations": []}, seed=7)
    read = Ledger(path)
    assert (read.inputs("xmp"), read.total(), read.cpu_s("xmp")) == (115, 115, 1.5)
    assert (read.first("xmp", "mutation", 7), read.first("xmp", "mutation", 8)) == (15, 0)
    assert read.least_tried("xmp", ENGINES) == "mutation"
    assert read.violations() == [("xmp", "a"), ("xmp", "b")]
    assert read.rows(ENGINES) == [
        ["xmp", "15", "100", "115", "10%", "2", "2"],
        ["1 targets", "15", "100", "115", "", "2", "2"],
    ]


def test_the_last_input_outlives_a_process_that_dies(tmp_path: Path) -> None:
    path = tmp_path / "row.input"
    child = os.fork()
    if not child:
        last = LastInput(path, most_bytes=100)
        last.note(b"x" * 50)
        last.note(b"the one that kills")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert read_last_input(path) == b"the one that kills"
    assert read_last_input(tmp_path / "none") == b""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_a_ledger_of_an_engine_goes_on_and_is_reported(engine: str, tmp_path: Path) -> None:
    if engine == "atheris" and importlib.util.find_spec("atheris") is None:
        done = fuzz("--engine", engine)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "arcface-paddle[fuzz]" in done.stderr
        return
    ledger = tmp_path / "ledger.json"
    places = ["--found", tmp_path / "found", "--corpus", tmp_path / "corpus", "--ledger", ledger]
    for inputs in (300, 500):
        done = fuzz("--engine", engine, "--target", "capture_time", "--inputs", inputs, "--jobs", 1, *places)
        assert done.returncode == 0, done.stdout + done.stderr
    counts = json.loads(ledger.read_text())["targets"]["capture_time"][engine]
    assert 500 <= counts["inputs"] <= 600
    assert counts["slices"] == 2
    table = fuzz("report", ledger)
    assert table.returncode == 0
    assert "capture_time" in table.stdout
    if engine == "atheris":
        assert len(list((tmp_path / "corpus" / "capture_time").iterdir())) > 3  # more than it began with


def test_a_report_without_a_ledger_says_what_to_name(tmp_path: Path) -> None:
    done = fuzz("report", tmp_path / "none")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
