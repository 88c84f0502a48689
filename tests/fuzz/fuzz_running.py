"""Many inputs for one target: mutated from its seeds, parsed under watch, counted; what fails is kept."""

from __future__ import annotations

import hashlib
import itertools
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterable, Optional

import fuzz_guard
from fuzz_mutation import mutated
from fuzz_targets import Target


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


def attack(target: Target, *, seed: int, count: Optional[int] = None, seconds: Optional[float] = None) -> Outcome:
    """Give a target its seeds as they are and then mutated inputs, ``count`` of them or for so many seconds."""
    sound = target.seeds()
    numbers: Iterable[int] = itertools.count() if count is None else range(count)
    return attack_with(target, itertools.chain(sound, (mutated(sound, seed=seed, number=n) for n in numbers)), seconds)


def attack_with(target: Target, contents: Iterable[bytes], seconds: Optional[float] = None) -> Outcome:
    """Give a target these inputs."""
    outcome = Outcome(target.name)
    begin = time.process_time()
    with tempfile.TemporaryDirectory(prefix="fuzz", dir=_quick_folder()) as name:
        for content in contents:
            _one(target, content, Path(name) / "input", outcome)
            outcome.cpu_s = time.process_time() - begin
            if seconds is not None and outcome.cpu_s > seconds:
                break
    return outcome


def _one(target: Target, content: bytes, folder: Path, outcome: Outcome) -> None:
    outcome.inputs += 1
    folder.mkdir()
    try:
        parse = target.prepare(content, folder)
        outcome.answers += fuzz_guard.check(parse, may_write=target.may_write) is None
    except fuzz_guard.ViolationError as violation:
        kind = " ".join(str(violation).split())
        kept = outcome.violations.get(_class_of(violation))
        outcome.seen[kind] += 1
        if kept is None or len(content) < len(kept):
            outcome.violations[_class_of(violation)] = content
    finally:
        shutil.rmtree(folder)


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
