"""How often a key may ask: a bucket of tokens for each, which fills at a steady rate."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Callable, Optional

from arcface_paddle.service.errors import RateLimitedError

_MOST_BUCKETS = 10_000  # the least recently used is forgotten, which fills it


@dataclass
class _Bucket:
    tokens: float
    filled_at: float


class RateLimiter:
    """Buckets by key.

    Args:
        per_minute: tokens that flow in a minute; None for no limit.
        burst: tokens that a bucket holds.
        clock: seconds, growing.
    """

    def __init__(self, *, per_minute: Optional[float], burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = None if per_minute is None else per_minute / 60
        self._burst = float(burst)
        self._clock = clock
        self._guard = threading.Lock()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, key: str) -> None:
        """Take a token. Raises ``RateLimitedError`` when there is none."""
        if self._per_second is None:
            return
        now = self._clock()
        with self._guard:
            bucket = self._buckets.setdefault(key, _Bucket(self._burst, now))
            self._buckets.move_to_end(key)
            if len(self._buckets) > _MOST_BUCKETS:
                self._buckets.popitem(last=False)
            bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.filled_at) * self._per_second)
            bucket.filled_at = now
            if bucket.tokens < 1:
                wait_s = max(1, math.ceil((1 - bucket.tokens) / self._per_second))
                raise RateLimitedError(
                    f"more than {self._per_second * 60:g} requests a minute; try again in {wait_s} s",
                    retry_after_s=wait_s,
                )
            bucket.tokens -= 1
