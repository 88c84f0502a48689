"""Whether somebody has set the clock: people are removed by it, and cannot be brought back."""

from __future__ import annotations

import time


class WallClock:
    """The clock on the wall beside one that nobody sets. That one stands still where a machine sleeps."""

    def __init__(self) -> None:
        self._ahead_s = _ahead_s()

    def put_forward_s(self) -> float:
        """Return by how many seconds the clock was put forward since the last call; back: negative."""
        before, self._ahead_s = self._ahead_s, _ahead_s()
        return self._ahead_s - before


def _ahead_s() -> float:
    return time.time() - time.monotonic()
