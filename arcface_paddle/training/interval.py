"""What happened between two log lines, gathered on the device and fetched once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Optional

import numpy as np
import paddle

from arcface_paddle.training.state import LoopState
from arcface_paddle.training.step import RECORD_FIELDS


@dataclass(frozen=True)
class Skipped:
    """A step that changed nothing because its gradient was not finite, and the images of the epoch that it used."""

    step: int
    epoch: int
    first_image: int


@dataclass(frozen=True)
class IntervalSummary:
    """The steps since the last log line.

    Attributes:
        loss: mean over the steps that counted, NaN if none did; so are the next three.
        gradient_norm: before clipping.
        target_cosine: mean cosine between a feature and the centre of its class, without margin.
        feature_norm: mean L2 norm of the features.
        speed: images per second over all ranks.
        wait_share: share of the time in which this rank waited for data, 0 to 1.
        skipped: the steps that did not count.
        skipped_at_end: how many steps at the end of the interval were skipped in a row.
        steps: number of steps.
    """

    loss: float
    gradient_norm: float
    target_cosine: float
    feature_norm: float
    speed: float
    wait_share: float
    skipped: tuple[Skipped, ...]
    skipped_at_end: int
    steps: int


class Interval:
    """Collects steps; ``close`` fetches their figures and begins anew."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._records: list[paddle.Tensor] = []
        self._places: list[Skipped] = []
        self._images = 0
        self._wait_s = 0.0
        self._since = time.perf_counter()

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: paddle.Tensor, state: LoopState, *, images: int, wait_s: float) -> None:
        """Note a step at ``state``, before it advances; ``images`` over all ranks, ``wait_s`` of this one."""
        self._records.append(record)
        self._places.append(Skipped(state.step, state.epoch, state.sample))
        self._images += images
        self._wait_s += wait_s

    def pause(self) -> float:
        """Return a time stamp; give it to ``go_on`` to leave out what happens in between (validation, saving)."""
        return time.perf_counter()

    def go_on(self, paused_at: float) -> None:
        """See ``pause``."""
        self._since += time.perf_counter() - paused_at

    def close(self) -> Optional[IntervalSummary]:
        """Fetch the figures, the only moment at which the host waits for the device; None without steps."""
        if not self._records:
            self._begin()
            return None
        rows = paddle.stack(self._records).numpy()
        elapsed = max(time.perf_counter() - self._since, 1e-9)
        finite = rows[:, RECORD_FIELDS.index("finite")] > 0
        means = rows[finite].mean(axis=0) if finite.any() else np.full(rows.shape[1], np.nan)
        figures = dict(zip(RECORD_FIELDS, means.tolist()))
        summary = IntervalSummary(
            loss=figures["loss"],
            gradient_norm=figures["gradient_norm"],
            target_cosine=figures["target_cosine"],
            feature_norm=figures["feature_norm"],
            speed=self._images / elapsed,
            wait_share=min(1.0, self._wait_s / elapsed),
            skipped=tuple(place for place, good in zip(self._places, finite) if not good),
            skipped_at_end=len(finite) - 1 - int(np.flatnonzero(finite)[-1]) if finite.any() else len(finite),
            steps=len(rows),
        )
        self._begin()
        return summary
