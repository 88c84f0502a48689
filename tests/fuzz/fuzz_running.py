"""Many inputs for one target: mutated from its seeds, parsed under watch, counted; what fails is kept."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Iterable, Optional

import fuzz_guard
from fuzz_mutation import mutated
from fuzz_targets import Target

from arcface_paddle.pipeline.engines.heaps import empty_heaps

Note = Callable[[bytes], None]


def _forget(_: bytes) -> None:
    """Note nothing."""


@dataclass
class Outcome:
    """What a run over one target found.

    Attributes:
        target: its name.
        inputs: how many were parsed.
        answers: how many of them gave a result and no error.
        cpu_s: seconds of CPU time.
        violations: by what was done, the shortest input.
    """

    target: str
    inputs: int = 0
    answers: int = 0
    cpu_s: float = 0.0
    violations: dict[str, bytes] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)


def attack(
    target: Target,
    *,
    seed: int,
    count: Optional[int] = None,
    seconds: Optional[float] = None,
    first: int = 0,
    note: Note = _forget,
) -> Outcome:
    """Give a target its seeds as they are and then mutated inputs, ``count`` of them or for so many seconds.

    Args:
        target: the parser.
        seed: of the mutations.
        count: how many; None for no end but ``seconds``.
        seconds: of CPU time.
        first: number of the first mutation; where it is not 0, the seeds were parsed by an earlier run.
        note: is told of each input before it is parsed.
    """
    sound = target.seeds()
    numbers: Iterable[int] = itertools.count(first) if count is None else range(first, first + count)
    inputs = (mutated(sound, seed=seed, number=n) for n in numbers)
    return attack_with(target, itertools.chain(() if first else sound, inputs), seconds, note=note)


def attack_with(
    target: Target, contents: Iterable[bytes], seconds: Optional[float] = None, *, note: Note = _forget
) -> Outcome:
    """Give a target these inputs."""
    begin = time.process_time()
    with contextlib.closing(Guided(target, note=note)) as attacked:
        for content in contents:
            attacked.one(content)
            attacked.outcome.cpu_s = time.process_time() - begin
            if seconds is not None and attacked.outcome.cpu_s > seconds:
                break
    return attacked.outcome


class Guided:
    """A target under attack by inputs that come one by one.

    Attributes:
        outcome: so far.
    """

    def __init__(self, target: Target, *, note: Note = _forget) -> None:
        self.outcome = Outcome(target.name)
        self._target = target
        self._note = note
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz", dir=_quick_folder())
        self._inputs = Path(self._folder.name) / "input"
        empty_heaps()  # a parser that takes memory which this process keeps would seem to take none

    def one(self, content: bytes) -> None:
        """Parse an input under watch."""
        self._note(content)
        _one(self._target, content, self._inputs, self.outcome)

    def close(self) -> None:
        """Remove the folder of the inputs."""
        self._folder.cleanup()


def _one(target: Target, content: bytes, folder: Path, outcome: Outcome) -> None:
    outcome.inputs += 1
    folder.mkdir(exist_ok=True)
    try:
        parse = target.prepare(content, folder)
        outcome.answers += fuzz_guard.check(parse, may_write=target.may_write, may_do=target.may_do) is None
    except fuzz_guard.ViolationError as violation:
        kind = " ".join(str(violation).split())
        kept = outcome.violations.get(_class_of(violation))
        outcome.seen[kind] += 1
        if kept is None or len(content) < len(kept):
            outcome.violations[_class_of(violation)] = content
    finally:
        _empty(folder)


def _empty(folder: Path) -> None:
    """Remove what is in a folder; to remove the folder too and make it again would take longer than most parsers."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry)
            else:
                os.unlink(entry)


def _class_of(violation: fuzz_guard.ViolationError) -> str:
    """Return what tells one fault from another: the kind of exception and the line of ours that it came from."""
    cause, place = violation.__cause__, ""
    trace = cause.__traceback__ if cause is not None else None
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if "arcface_paddle" in file.parts:
            place = f" at {file.name}:{trace.tb_lineno} {trace.tb_frame.f_code.co_name}"
        trace = trace.tb_next
    return f"{str(violation)[:90]}{place}" if cause is None else f"{type(cause).__name__}{place}"


def _quick_folder() -> Optional[str]:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def keep(outcome: Outcome, folder: Path) -> list[Path]:
    """Write the inputs that failed, named by their content."""
    paths = []
    for content in outcome.violations.values():
        path = folder / outcome.target / hashlib.sha256(content).hexdigest()[:16]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        paths.append(path)
    return paths
