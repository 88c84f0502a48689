"""What the loop makes of steps: skipped ones are counted and end a run, and how far it is."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from arcface_paddle.training import trainer
from arcface_paddle.training.log_interval import Verdict
from arcface_paddle.training.state import LoopState
from arcface_paddle.training.trainer import DivergedError


def loop_of(state: LoopState, *finite: bool, max_skipped: int = 2) -> SimpleNamespace:
    verdicts = [Verdict(step, 3, 12 * step, finite=good) for step, good in enumerate(finite, start=5)]
    config = SimpleNamespace(optimizer=SimpleNamespace(max_skipped=max_skipped))
    run = SimpleNamespace(state=state, identity=SimpleNamespace(global_batch=12), config=config)
    lines: list[str] = []
    log = SimpleNamespace(line=lines.append, lines=lines)
    return SimpleNamespace(run=run, interval=SimpleNamespace(verdicts=lambda: verdicts), log=log)


def test_skipped_steps_are_counted_and_only_those_in_a_row_end_the_run() -> None:
    state = LoopState(step=8)
    loop = loop_of(state, False, True, False)
    trainer._Loop._note_skipped(loop)
    assert (state.skipped, state.skipped_in_a_row) == (2, 1)
    assert loop.log.lines == [
        "step 5 skipped: gradient not finite (epoch 3, images 60 to 71 of its order)",
        "step 7 skipped: gradient not finite (epoch 3, images 84 to 95 of its order)",
    ]
    with pytest.raises(DivergedError, match="not finite in 2 steps in a row up to step 8"):
        trainer._Loop._note_skipped(loop_of(state, False))
    trainer._Loop._note_skipped(loop_of(state, True))
    assert (state.skipped, state.skipped_in_a_row) == (3, 0)


@pytest.mark.parametrize(("lr_scale", "backbone_rate"), [(1.0, None), (0.1, 0.05)])
@pytest.mark.parametrize(("scaled", "loss_scale"), [(True, 8.0), (False, None)])
def test_progress_by_hand(monkeypatch, lr_scale, backbone_rate, scaled, loss_scale) -> None:
    """Ten steps of this start took a minute, and forty are left."""
    monkeypatch.setattr(trainer, "time", SimpleNamespace(perf_counter=lambda: 160.0))
    monkeypatch.setattr(trainer, "learning_rate", lambda schedule, step: {11: 0.5}[step])
    run = SimpleNamespace(
        state=LoopState(step=12, epoch=2, sample=30),
        schedule=SimpleNamespace(total_steps=52),
        identity=SimpleNamespace(epoch_images=120),
        config=SimpleNamespace(finetuning=SimpleNamespace(backbone_lr_scale=lr_scale)),
        scaler=SimpleNamespace(enabled=scaled),
    )
    loop = SimpleNamespace(run=run, started=100.0, first_step=2)
    told = trainer._Loop._progress(loop, SimpleNamespace(loss_scale=8.0))
    assert (told.epoch, told.epoch_of_step, told.step, told.learning_rate) == (2.25, 2, 12, 0.5)
    assert told.hours == pytest.approx(40 * 6 / 3600) and told.memory_mb > 0
    assert (told.loss_scale, told.backbone_rate) == (loss_scale, backbone_rate and pytest.approx(backbone_rate))
