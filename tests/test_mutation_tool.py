"""``tools/mutation.py``: which changes are made, and what becomes of a program that is changed."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tools"))

from mutants.campaign import CAUGHT, SURVIVED, UNREACHED, Campaign, Ledger  # noqa: E402
from mutants.operators import mutants  # noqa: E402
from mutants.report import write_report  # noqa: E402
from mutants.reviewed import Reviewed, read_reviewed  # noqa: E402
from mutants.rooms import ROOMS, Room  # noqa: E402

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="every mutant is a fork")
REVIEWED = read_reviewed(ROOT / "tests" / "mutation_equivalent.yaml")
PROGRAM = '''"""Words."""

LEAST = 3


def is_large(number: int, *, least: int = LEAST) -> bool:
    """Say so."""
    if not isinstance(number, int):
        raise TypeError(f"{number + 1} is no number")
    return number > least


def unused(values):
    values.sort()
    return min(values[1:]) + (
        2
        * len(values)
    )
'''
TESTS = """
import pytest
from small.program import is_large

@pytest.fixture(scope="module")
def answers():
    return [is_large(5), is_large(1)]

def test_something(answers):
    assert len(answers) == 2

def test_is_large(answers):
    assert answers == [True, False]
"""


def changes(source: str) -> list[str]:
    return [mutant.change for mutant in mutants(source, "a.py")]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", ["compared: a < b -> a <= b", "compared: a < b -> a >= b"]),
        ("a is not b", ["compared: a is not b -> a is b"]),
        ("a = b - c", ["computed: b - c -> b + c"]),
        ("a *= b", ["computed: a *= b -> a /= b"]),
        ("a = b // c", ["computed: b // c -> b * c"]),
        ("a = 5", ["constant: 5 -> 6", "constant: 5 -> 4"]),
        ("a = True", ["constant: True -> False"]),
        ("a = b or c", ["and/or: b or c -> b and c"]),
        ("a = not b", ["not: not b -> b"]),
        ("def f():\n    return a", ["returned: return a -> return None"]),
        ("f()", ["removed: f() -> pass"]),
        ("a = np.maximum(b, c)", ["extreme: np.maximum(b, c) -> np.minimum(b, c)"]),
        ("a = b[c:d]", ["slice: b[c:d] -> b[:d]", "slice: b[c:d] -> b[c:]"]),
        ("a = b if c else d", ["branch: b if c else d -> d if c else b"]),
        ("a = f'{b + 1}' + 'c'", []),
        ("a: Literal[3]", []),
        ("a = b(c, fontsize=8 + 1)", []),
        ("raise Error(1)", ["removed: raise Error(1) -> pass"]),
        ("@dataclass(frozen=True)\nclass A:\n    'Words.'", []),
    ],
)
def test_every_kind_of_change(source: str, expected: list[str]) -> None:
    assert changes(source) == expected


def test_a_change_stays_in_its_place() -> None:
    for mutant in mutants(PROGRAM, "a.py"):
        changed = mutant.apply(PROGRAM)
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(PROGRAM))
        before, after = PROGRAM.splitlines(), changed.splitlines()
        first, last = mutant.lines
        assert len(after) == len(before)
        assert after[: first - 1] == before[: first - 1] and after[last:] == before[last:]
        assert (mutant.live is None) == (mutant.function == "" or mutant.lines[0] == 6)


def test_every_reviewed_change_is_one_that_is_made() -> None:
    of_file = {name: mutants((ROOT / name).read_text(encoding="utf-8"), name) for name in {e.file for e in REVIEWED}}
    for entry in REVIEWED:
        made = [mutant for mutant in of_file[entry.file] if entry.covers(mutant)]
        assert (len(made) > 1 if entry.every else len(made) == 1) and len(entry.reason.split()) > 3, entry
    for room in ROOMS.values():
        assert room.source_files(ROOT)
        assert all((ROOT / name).exists() for name in (*room.tests, *room.with_processes))


def check_report(campaign: Campaign, told: dict[tuple[str, int], str]) -> None:
    """What was judged equivalent is not counted; a survivor with a reason is, and shows it."""
    place = {"file": "small/program.py", "function": "is_large"}
    border = Reviewed(**place, change="compared: number > least -> number >= least", reason="nobody asks")
    reviewed = [
        Reviewed(**{**place, "function": ""}, change="constant: 3 -> 4", reason="more is less"),
        Reviewed(**place, change=border.change, reason=border.reason, noticeable=True),
    ]
    text, good = write_report({"small": campaign}, reviewed, least=99.0)
    counted, caught = len(told) - 1, sum(outcome == CAUGHT for outcome in told.values())
    share = f"{100 * caught / counted:.1f} %"
    everyone = len(campaign.all_mutants())
    assert f"| small | {everyone} | {counted} | {caught} | 0 | 1 | {counted - caught} | {share} |" in text
    assert f"in is_large: {border.change}\n  `return number > least`\n  Reason: nobody asks." in text
    assert "Reason: more is less." in text.partition("## Equivalent")[2]
    assert "Nobody has judged it yet." in text and not good
    assert write_report({"small": campaign}, reviewed, least=1.0)[1]


@forks
def test_a_campaign_says_what_the_tests_notice_and_goes_on(tmp_path: Path) -> None:
    root = tmp_path / "project"
    (root / "small").mkdir(parents=True)
    (root / "small" / "program.py").write_text(PROGRAM)
    (root / "test_small.py").write_text(TESTS)
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    room = Room(("small/*.py",), ("test_small.py",), libraries=())
    said: list[str] = []

    def campaign() -> Campaign:
        ledger = Ledger(tmp_path / "ledger", "small")
        return Campaign(root, room, ledger=ledger, budget_s=30.0, jobs=1, say=said.append)

    first = campaign()
    chosen = [mutant for mutant in first.sample(None, 0) if "Error" not in mutant.change]
    first.run(chosen, again=False)
    told = {(mutant.change, mutant.nth): first.outcome(mutant)["outcome"] for mutant in chosen}
    assert told["compared: number > least -> number <= least", 0] == CAUGHT
    assert told["compared: number > least -> number >= least", 0] == SURVIVED
    assert told["constant: 3 -> 4", 0] == SURVIVED  # at import
    assert told["not: not isinstance(number, int) -> isinstance(number, int)", 0] == CAUGHT
    assert told["removed: values.sort() -> pass", 0] == UNREACHED
    assert (root / "small" / "program.py").read_text() == PROGRAM
    check_report(first, told)
    said.clear()
    again = campaign()
    again.run(chosen, again=False)
    assert said == [f"{len(chosen)} mutants, {len(chosen)} known"]
    (root / "small" / "program.py").write_text(PROGRAM + "\n")
    assert all(campaign().outcome(mutant) is None for mutant in chosen)  # another program


@forks
def test_what_turns_sleeps_or_dies_ends() -> None:
    program = """
import os, time
from children import in_child, limited
def turn():
    while True: pass
print(in_child(turn, wall_s=20, cpu_s=1))
def turn_limited():
    with limited(9):
        pass
    with limited(0.1):
        turn()
print(in_child(turn_limited, wall_s=20, cpu_s=9))
print(in_child(lambda: time.sleep(9), wall_s=0.2, cpu_s=9))
print(in_child(lambda: os.abort(), wall_s=9, cpu_s=9))
print(in_child(lambda: {"failed": None}, wall_s=9, cpu_s=9))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "tools" / "mutants", stdout=subprocess.PIPE, check=True, timeout=60
    )
    assert done.stdout.decode().splitlines() == ["{'timeout': True}"] * 3 + ["{'died': 6}", "{'failed': None}"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_what_sleeps_is_told_from_what_waits_for_its_turn() -> None:
    program = """
import os, time
import children
from children import in_child
children._LOOK_S, children._ASLEEP_S = 0.1, 0.5
print(in_child(lambda: time.sleep(60), wall_s=50, cpu_s=9))
def work():
    while time.process_time() < 1: pass
    return {"failed": None}
print(in_child(work, wall_s=50, cpu_s=9))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "tools" / "mutants", stdout=subprocess.PIPE, check=True, timeout=45
    )
    assert done.stdout.decode().splitlines() == ["{'timeout': True}", "{'failed': None}"]


@forks
def test_whoever_is_ended_takes_the_child_along() -> None:
    """Even by a signal that comes before the parent has heard of its child."""
    program = """
import os, signal, time
from children import in_child
set_handler = signal.signal
def set_late(number, handler):
    if callable(handler):
        time.sleep(0.3)
    return set_handler(number, handler)
signal.signal = set_late
def sleep():
    print(os.getpid(), flush=True)
    time.sleep(60)
in_child(sleep, wall_s=60, cpu_s=9)
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=ROOT / "tools" / "mutants", stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.terminate()
        assert parent.stdout.read() == ""  # the pipe ends with the last process that holds it
        parent.wait(timeout=20)
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
