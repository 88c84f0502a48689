"""What happened between two log lines, gathered on the device and fetched once."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Iterator, Optional, Sequence

import numpy as np
import paddle

from arcface_paddle import devices
from arcface_paddle.training.state import LoopState
from arcface_paddle.training.step import RECORD_FIELDS


@dataclass(frozen=True)
class Verdict:
    """Whether a step counted.

    Attributes:
        step: number of the step, from 0.
        epoch: its pass over the data.
        first_image: position in the epoch's order of the first image that it used.
        finite: False if the step changed nothing because its gradient was not finite.
    """

    step: int
    epoch: int
    first_image: int
    finite: bool


@dataclass(frozen=True)
class IntervalSummary:
    """The steps since the last log line.

    Attributes:
        loss: mean loss over the steps that counted, NaN if none did; the next three are such means too.
        gradient_norm: L2 norm of the whole gradient, before clipping.
        target_cosine: mean cosine between a feature and the centre of its class, without margin.
        feature_norm: mean L2 norm of the features.
        speed: images per second over all ranks.
        wait_share: share of the time in which this rank waited for data, 0 to 1.
        reg_loss: mean L2 term; None where the weight decay is fixed.
        reg_coef: the factor on the weight decay in the latest step; None where it is fixed.
        loss_scale: the loss scale behind the latest step; 1 where there is none.
        teacher_cosine: mean cosine between student and teacher; None without a teacher.
        relation_loss: mean relation loss, without its weight; None without a teacher.
    """

    loss: float
    gradient_norm: float
    target_cosine: float
    feature_norm: float
    speed: float
    wait_share: float
    reg_loss: Optional[float] = None
    reg_coef: Optional[float] = None
    loss_scale: float = 1.0
    teacher_cosine: Optional[float] = None
    relation_loss: Optional[float] = None


class LogInterval:
    """Collects steps; the first of ``verdicts`` and ``close`` fetches their figures, the only wait for the device."""

    def __init__(self, fields: Sequence[str] = RECORD_FIELDS) -> None:
        """Begin; ``fields`` are the names of a record's figures."""
        self._fields = tuple(fields)
        self._begin()

    def _begin(self) -> None:
        self._records: list[paddle.Tensor] = []
        self._rows: list[np.ndarray] = []  # what has been fetched of them
        self._places: list[tuple[int, int, int]] = []
        self._judged = 0
        self._images = 0
        self._wait_s = 0.0
        self._since = time.perf_counter()

    def add(self, record: paddle.Tensor, state: LoopState, *, images: int, wait_s: float) -> None:
        """Note a step at ``state``, before it advances; ``images`` over all ranks, ``wait_s`` of this one."""
        self._records.append(record)
        self._places.append((state.step, state.epoch, state.sample))
        self._images += images
        self._wait_s += wait_s

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time of the block (validation, saving) out of the interval."""
        begin = time.perf_counter()
        yield
        self._since += time.perf_counter() - begin

    def verdicts(self) -> list[Verdict]:
        """Return the verdict on every step that was added since the last call."""
        rows, places = self._fetched()[self._judged :], self._places[self._judged :]
        self._judged = len(self._records)
        finite = [row[self._fields.index("finite")] > 0 for row in rows]
        return [Verdict(*place, finite=bool(good)) for place, good in zip(places, finite)]

    def close(self) -> Optional[IntervalSummary]:
        """Return the figures of the interval and begin the next one; None without steps."""
        if not self._records:
            self._begin()
            return None
        rows = np.stack(self._fetched())
        elapsed = max(time.perf_counter() - self._since, 1e-9)
        finite = rows[:, self._fields.index("finite")] > 0
        means = rows[finite].mean(axis=0) if finite.any() else np.full(rows.shape[1], np.nan)
        figures = dict(zip(self._fields, means.tolist()))
        summary = IntervalSummary(
            loss=figures["loss"],
            gradient_norm=figures["gradient_norm"],
            target_cosine=figures["target_cosine"],
            feature_norm=figures["feature_norm"],
            speed=self._images / elapsed,
            wait_share=min(1.0, self._wait_s / elapsed),
            reg_loss=figures.get("reg_loss"),
            reg_coef=float(rows[-1, self._fields.index("reg_coef")]) if "reg_coef" in figures else None,
            loss_scale=float(rows[-1, self._fields.index("loss_scale")]),
            teacher_cosine=figures.get("teacher_cosine"),
            relation_loss=figures.get("relation_loss"),
        )
        self._begin()
        return summary

    def _fetched(self) -> list[np.ndarray]:
        """Return the figures of all steps; only those that are not there yet are waited for."""
        missing = self._records[len(self._rows) :]
        if missing:
            self._rows.extend(devices.to_host(paddle.stack(missing)))
        return self._rows
