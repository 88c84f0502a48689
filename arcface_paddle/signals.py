"""Who handles signals in a process that uses Paddle: the process, not Paddle.

``import paddle`` puts a handler of its own behind SIGTERM, SIGSEGV and others, past Python. It prints a stack trace of
some 28 lines and ends the process at once: what was found so far is lost, and every worker of a ``multiprocessing``
pool prints it when the pool ends.
"""

from __future__ import annotations

import faulthandler
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any, Optional

_STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class HeldSignals:
    """A context in which, from ``begin`` to ``end``, requests to stop wait; ``end`` is there when it is left.

    For what belongs together: results are written, a film gets its table of frames, a picture and its line in the
    results. A stop in the middle of that would cost what was found, and gain a second. Whoever presses Ctrl-C twice
    means it.
    """

    def __init__(self) -> None:
        self._outer: dict[int, Any] = {}
        self._waiting: list[int] = []

    def begin(self) -> None:
        """Hold signals back from now on; once is enough, and outside of the main thread nothing can be held."""
        if self._outer or threading.current_thread() is not threading.main_thread():
            return
        for number in _STOPPING:
            outer = signal.getsignal(number)
            if callable(outer):
                self._outer[number] = outer
                signal.signal(number, self._keep)

    def end(self) -> None:
        """Obey signals again, at once those that came meanwhile; without ``begin`` it does nothing."""
        waiting, outer = self._give_back()
        if waiting:
            outer[waiting[0]](waiting[0], None)

    def __enter__(self) -> HeldSignals:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if kind is None:
            self.end()
        else:
            self._give_back()

    def _give_back(self) -> tuple[list[int], dict[int, Any]]:
        """Put the handlers back; returns the signals that came meanwhile, and the handlers."""
        for number, outer in self._outer.items():
            signal.signal(number, outer)
        waiting, outers = self._waiting, self._outer
        self._waiting, self._outer = [], {}
        return waiting, outers

    def _keep(self, number: int, frame: Optional[FrameType]) -> None:
        insists = number == signal.SIGINT and number in self._waiting
        self._waiting.append(number)
        if insists:
            self._outer[number](number, frame)


def take_back_from_paddle() -> None:
    """Undo the handlers that ``import paddle`` has installed, so that those of Python count again.

    To be called after the import. Python allows handlers to be set in the main thread only; in another thread nothing
    happens, because a handler that was taken from Paddle could not be given back to its owner.
    """
    import paddle

    if threading.current_thread() is not threading.main_thread():
        return
    paddle.disable_signal_handler()  # sets them to the system's default, whatever they were before Paddle came
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        if callable(handler):
            signal.signal(number, handler)
    _enable_faulthandler_again()


def _enable_faulthandler_again() -> None:
    """Install the handlers of ``faulthandler`` anew where they were in use: ``enable`` alone believes them in place."""
    stream = sys.__stderr__  # sys.stderr of a notebook is no file, which faulthandler needs
    if not faulthandler.is_enabled() or stream is None or stream.closed:
        return
    faulthandler.disable()
    faulthandler.enable(stream)
