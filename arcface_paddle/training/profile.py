"""Where the time of a training step goes: a table of its phases, and a trace of every operation for chrome://tracing.

The first steps of a run are not like the others (memory is allocated, kernels are chosen), so they are left out. On a
GPU the work of a phase is waited for at its end while profiling, so that it counts where it belongs: the steps of the
profile are a little slower than others. Nothing of it costs anything where no profile is asked for.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import ContextManager, Iterator, Optional

import paddle
from prettytable import PrettyTable

from arcface_paddle import devices
from arcface_paddle.errors import ConfigError
from arcface_paddle.files import write_text

PROFILE_FOLDER = "profile"
TRACE_FILE, TABLE_FILE = "trace.json", "table.txt"
PHASES = ("data", "forward", "classifier", "backward", "exchange", "update")
"""Waiting for pictures; the backbone; choice of classes, margin and loss; gradients of both; what ranks tell each other
about gradients; new weights, states, statistics. With accumulation the middle ones come several times a step."""

_WARM_UP_STEPS = 3


class NoProfile:
    """What a run has that is not profiled."""

    def begin_step(self) -> None:
        """Note that a step begins."""

    def phase(self, name: str) -> ContextManager[None]:
        """Measure what runs inside; ``name`` is one of ``PHASES``."""
        return _NOTHING

    def end_step(self) -> list[str]:
        """Note that a step ends, and return what is to be told."""
        return []

    def finish(self) -> list[str]:
        """Write what was measured, if that is not done yet, and return what is to be told."""
        return []


_NOTHING: ContextManager[None] = contextlib.nullcontext()


class StepProfile(NoProfile):
    """Measures some steps behind the warm-up, then writes trace and table and measures no more."""

    def __init__(self, folder: Path, *, steps: int) -> None:
        """Nothing is created before the last step is measured."""
        self._folder = folder
        self._wanted = steps
        self._seen = 0
        self._profiler: Optional[paddle.profiler.Profiler] = None
        self._began = 0.0
        self._phase_s = dict.fromkeys(PHASES, 0.0)
        self._steps_s: list[dict[str, float]] = []
        self._done = False

    def begin_step(self) -> None:
        """Start the profiler where the warm-up has ended."""
        if self._done:
            return
        if self._seen == _WARM_UP_STEPS:
            self._profiler = _start_profiler(self._folder / TRACE_FILE)
        devices.wait_for_device()
        self._began = time.perf_counter()
        self._phase_s = dict.fromkeys(PHASES, 0.0)

    def phase(self, name: str) -> ContextManager[None]:
        """Measure a phase where the warm-up has ended."""
        return _NOTHING if self._profiler is None else self._measured(name)

    @contextlib.contextmanager
    def _measured(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        with paddle.profiler.RecordEvent(name):
            yield
            devices.wait_for_device()
        self._phase_s[name] += time.perf_counter() - begin

    def end_step(self) -> list[str]:
        """Keep the times of the step; the last one writes everything."""
        if self._done:
            return []
        self._seen += 1
        if self._profiler is None:
            return []
        self._profiler.step()
        self._steps_s.append({**self._phase_s, "step": time.perf_counter() - self._began})
        return self.finish() if len(self._steps_s) == self._wanted else []

    def finish(self) -> list[str]:
        """Write trace and table.

        Raises:
            ConfigError: the folder cannot be written.
        """
        if self._done:
            return []
        self._done = True
        if self._profiler is None or not self._steps_s:
            return [f"no profile: the run has ended within the {_WARM_UP_STEPS} steps of warm-up that come before it"]
        profiler, self._profiler = self._profiler, None
        table = phase_table(self._steps_s)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            profiler.stop()  # writes the trace
            write_text(self._folder / TABLE_FILE, table + "\n")
        except OSError as error:
            raise ConfigError(f"cannot write the profile into {self._folder}: {error.strerror or error}") from None
        heading = f"profile of {len(self._steps_s)} steps behind {_WARM_UP_STEPS} of warm-up, in {self._folder}:"
        return [heading, *table.splitlines()]


def phase_table(steps_s: list[dict[str, float]]) -> str:
    """Return the table of the phases: mean, least and largest milliseconds a step, and the share of the whole step.

    Args:
        steps_s: per step the seconds of every phase, and of the whole as ``step``.
    """
    table = PrettyTable(["phase", "ms", "least", "largest", "share"])
    table.align = "r"
    table.align["phase"] = "l"
    rows = {name: [step[name] for step in steps_s] for name in (*PHASES, "step")}
    parts = zip(*(rows[name] for name in PHASES))
    rows["other"] = [whole - sum(measured) for whole, measured in zip(rows["step"], parts)]
    for name in (*PHASES, "other", "step"):
        seconds = rows[name]
        numbers = (sum(seconds) / len(seconds), min(seconds), max(seconds))
        share = sum(seconds) / max(sum(rows["step"]), 1e-12)
        cells = [name, *(f"{1000 * value:.2f}" for value in numbers), f"{100 * share:.1f} %"]
        table.add_row(cells, divider=name == "other")
    return table.get_string()


def _start_profiler(trace: Path) -> paddle.profiler.Profiler:
    targets = [paddle.profiler.ProfilerTarget.CPU]
    if paddle.get_device().startswith("gpu"):
        targets.append(paddle.profiler.ProfilerTarget.GPU)
    # Without a handler of its own it would write into the current folder.
    profiler = paddle.profiler.Profiler(targets=targets, on_trace_ready=lambda own: own.export(str(trace), "json"))
    profiler.start()
    return profiler
