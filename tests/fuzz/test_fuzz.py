"""Every parser against mutated input: a right answer or an error of ours, and nothing else happens.

The default run is short; the one marked ``long`` takes its time. ``python tools/fuzz.py`` runs for hours.
"""

from __future__ import annotations

from pathlib import Path

import fuzz_guard
import pytest
from fuzz_mutation import mutated
from fuzz_running import attack, attack_with
from fuzz_targets import TARGETS, Target

from arcface_paddle.errors import DataError

FOUND = Path(__file__).parent / "found"
WHOLE = frozenset({"graph_pdmodel", "graph_weights"})
"""Targets whose seeds are the beginnings of large files: refused, whatever follows."""

NEVER_REFUSED = frozenset(
    {"capture_time", "card", "doctor_cache", "face_sheets", "gallery_saved", "synth_part", "teacher_cache",
     "tfrecord_index"}
)  # fmt: skip
"""Targets that pass over what is damaged: a cache that is made anew, and parts of other targets."""

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_sound_inputs_are_read(name: str) -> None:
    outcome = attack(TARGETS[name], seed=0, count=0)
    assert not outcome.violations
    assert outcome.answers > 0 or name in WHOLE


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_few_mutated_inputs(name: str) -> None:
    outcome = attack(TARGETS[name], seed=1, count=150)
    assert not outcome.violations, dict(outcome.seen)
    assert outcome.answers < outcome.inputs or name in NEVER_REFUSED


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_many_mutated_inputs(name: str) -> None:
    outcome = attack(TARGETS[name], seed=2, count=20_000, seconds=3)  # 'make fuzz' gives each 30 s
    assert not outcome.violations, dict(outcome.seen)


@pytest.mark.parametrize("path", sorted(FOUND.glob("*/*")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found_once(path: Path) -> None:
    outcome = attack_with(TARGETS[path.parent.name], [path.read_bytes()])
    assert not outcome.violations, dict(outcome.seen)


def test_mutation_is_a_function_of_seed_and_number() -> None:
    seeds = [b"1.bin\t0\n", b"2.bin\t1\n"]
    assert mutated(seeds, seed=1, number=7) == mutated(seeds, seed=1, number=7)
    assert len({mutated(seeds, seed=1, number=number) for number in range(200)}) > 100


def _outcome(tmp_path: Path, parse) -> str:
    target = Target("probe", lambda: [b"x"], lambda content, folder: lambda: parse(tmp_path))
    return " ".join(attack(target, seed=0, count=0).seen)


def _forbidden_write(folder: Path) -> None:
    (folder / "left").write_bytes(b"x")


def _much_memory(folder: Path) -> None:
    bytearray(b"x") * (900 << 20)


def _long_loop(folder: Path) -> None:
    while True:
        pass


def test_the_guard_notices_what_a_parser_may_not_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_guard, "_KILL_AFTER_S", 1.0)
    assert "ZeroDivisionError" in _outcome(tmp_path, lambda _: 1 // 0)
    assert "wrote a file" in _outcome(tmp_path, _forbidden_write)
    assert "subprocess.Popen" in _outcome(tmp_path, lambda _: __import__("subprocess").run(["true"]))
    assert "socket" in _outcome(tmp_path, lambda _: __import__("socket").socket().close())
    assert "hangs" in _outcome(tmp_path, _long_loop)
    assert "says nothing" in _outcome(tmp_path, _raise_nothing)
    assert _outcome(tmp_path, lambda _: None) == ""


def _raise_nothing(_: Path) -> None:
    raise DataError("")


def test_the_guard_notices_memory(tmp_path: Path) -> None:
    for _ in range(2):  # also after there was as much before
        assert "MB of memory" in _outcome(tmp_path, _much_memory)
