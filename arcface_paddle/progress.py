"""Progress of long work: a bar on a terminal, a plain line every half minute in containers, logs and CI."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Iterable, Optional, TextIO

from arcface_paddle.files import one_line

if TYPE_CHECKING:  # imported where it is used, so that --help is quick
    from tqdm import tqdm

LINE_INTERVAL_S = 30.0
"""Seconds between two lines; work that is done sooner shows none."""

_LINE = "{desc}{n_fmt}/{total_fmt}{unit} ({percentage:.0f} %), {rate_fmt}, {elapsed} passed, {remaining} to go"
_LINE_WITHOUT_TOTAL = "{desc}{n_fmt}{unit}, {rate_fmt}, {elapsed} passed"


def progress(
    iterable: Optional[Iterable[Any]] = None,
    *,
    total: Optional[int] = None,
    initial: int = 0,
    desc: str = "",
    unit: str = "it",
    leave: bool = True,
    shown: bool = True,
) -> tqdm:
    """Return a progress bar on stderr, to be iterated over or updated by hand.

    Args:
        iterable: what is worked on; None to call ``update`` by hand.
        total: how much there is; None to ask the iterable.
        initial: how much an earlier run has done.
        desc: what is done, in front of the figures.
        unit: what is counted.
        leave: whether a finished bar stays on the terminal.
        shown: False for none, as on all ranks but one.
    """
    from tqdm import tqdm

    desc = one_line(desc)  # the name of a folder, which somebody else may have given it
    # Of one update at a time tqdm's monitor, which looks at the clock on the wall, lets go.
    common = {"total": total, "initial": initial, "unit": f" {unit}", "disable": not shown, "miniters": 1}
    if sys.stderr is None or sys.stderr.isatty():
        return _steady(tqdm(iterable, desc=desc or None, leave=leave, **common))
    known = total is not None or hasattr(iterable, "__len__")
    bar = tqdm(
        iterable,
        desc=f"{desc}: " if desc else "",
        file=_Lines(sys.stderr),
        bar_format=_LINE if known else _LINE_WITHOUT_TOTAL,
        mininterval=LINE_INTERVAL_S,
        maxinterval=LINE_INTERVAL_S,
        delay=LINE_INTERVAL_S,
        **common,
    )
    return _steady(bar)


def _steady(bar: tqdm) -> tqdm:
    """Let a bar measure with a clock that nobody sets: one set back by an hour would keep tqdm silent for an hour."""
    if not bar.disable:
        bar._time = time.monotonic
        bar.start_t = bar.last_print_t = time.monotonic()
    return bar


class _Lines:
    """A stream on which the bar, which is drawn over itself with carriage returns, becomes lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        line = text.strip()
        if line:
            self._stream.write(f"{line}\n")
        return len(text)

    def flush(self) -> None:
        self._stream.flush()
