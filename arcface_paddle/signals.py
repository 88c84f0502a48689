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
