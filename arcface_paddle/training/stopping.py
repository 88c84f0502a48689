"""Ending a run in good order: Ctrl-C, SIGTERM and SIGHUP ask it to save and stop at the next step.

SIGTERM comes from ``docker stop``, systemd and batch systems, SIGHUP from a closed terminal.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from types import FrameType
from typing import Any, Iterator, Optional

_HANG_UP = getattr(signal, "SIGHUP", None)  # Windows has none
_SIGNALS = (signal.SIGINT, signal.SIGTERM, *([] if _HANG_UP is None else [_HANG_UP]))


class StopRequest:
    """Whether, and by which signal, this process was asked to stop."""

    def __init__(self) -> None:
        self.signal_name: Optional[str] = None

    def __bool__(self) -> bool:
        return self.signal_name is not None

    def note(self, number: int, _frame: Optional[FrameType]) -> None:
        """Handle a signal: note it; a second Ctrl-C ends the process at once.

        A SIGTERM behind a SIGINT is the launcher passing Ctrl-C on, not impatience.
        """
        if self.signal_name is None:
            self.signal_name = signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Catch the signals inside the block (only where the caller is the main thread, as Python demands).

    A SIGHUP that the process was told to ignore stays ignored: that is what ``nohup`` is for.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    caught = [number for number in _SIGNALS if number != _HANG_UP or signal.getsignal(number) != signal.SIG_IGN]
    earlier: dict[int, Any] = {number: signal.signal(number, request.note) for number in caught}
    try:
        yield request
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
