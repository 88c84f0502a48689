"""Which checkpoints a run writes, and which are there already."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from arcface_paddle.training import run_saver
from arcface_paddle.training.checkpoint import MANIFEST, checkpoint_root, list_checkpoints
from arcface_paddle.training.run_saver import RunSaver


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Checkpoints with nothing in them, and what each was written of and with."""
    seen: list[Any] = []

    def save_checkpoint(output: Path, snapshot: int, **options: Any) -> Path:
        seen.append((snapshot, options))
        folder = checkpoint_root(output) / f"step_{snapshot:08}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).write_text("")
        return folder

    monkeypatch.setattr(run_saver, "save_checkpoint", save_checkpoint)
    monkeypatch.setattr(run_saver, "take_snapshot", lambda run: run.state.step)
    return seen


def run_of(output: Path, *, step: int, early_stop: Any = None) -> Any:
    state = SimpleNamespace(step=step, trained_s=0.0, best_step=None, best_accuracy=None)
    settings = SimpleNamespace(output=output, keep_last=2)
    config = SimpleNamespace(run=settings, finetuning=SimpleNamespace(early_stop=early_stop))
    return SimpleNamespace(state=state, config=config, identity=SimpleNamespace(network="net"))


INTERVAL: Any = SimpleNamespace(paused=contextlib.nullcontext)


def test_a_step_is_saved_once(tmp_path: Path, written: list[Any]) -> None:
    run = run_of(tmp_path, step=0)
    saver = RunSaver(run, INTERVAL)
    assert not saver.is_saved()  # nothing is there yet
    first = saver.save()
    assert saver.is_saved() and saver.save() == first and [step for step, _ in written] == [0]
    run.state.step = 3
    assert not saver.is_saved() and saver.save().name == "step_00000003"
    assert saver.save().name == "step_00000003" and [step for step, _ in written] == [0, 3]
    assert run.state.trained_s > 0 and written[1][1] == {"keep_last": 2, "kept_step": None}


def test_a_run_that_goes_on_has_its_checkpoint(tmp_path: Path, written: list[Any]) -> None:
    run_saver.save_checkpoint(tmp_path, 5)
    run_saver.save_checkpoint(tmp_path, 2)
    written.clear()
    saver = RunSaver(run_of(tmp_path, step=5), INTERVAL)
    assert saver.is_saved() and saver.save().name == "step_00000005" and written == []


def test_what_an_error_has_left_of_old_checkpoints_goes_at_the_end(tmp_path: Path, written: list[Any]) -> None:
    for step in (1, 2, 4, 5):
        run_saver.save_checkpoint(tmp_path, step)
    run = run_of(tmp_path, step=5, early_stop=3)
    run.state.best_step = 1
    RunSaver(run, INTERVAL).drop_old()
    assert [step for step, _ in list_checkpoints(tmp_path)] == [5, 4, 1]


def test_the_best_is_saved_anew_and_kept(tmp_path: Path, written: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    marked = []
    monkeypatch.setattr(run_saver, "mark_best", lambda output, folder, **facts: marked.append((folder.name, facts)))
    run = run_of(tmp_path, step=4, early_stop=3)
    saver = RunSaver(run, INTERVAL)
    saver.save_best(0.75)
    assert marked == [("step_00000004", {"network": "net", "step": 4, "accuracy": 0.75})]
    assert (run.state.best_accuracy, run.state.best_step) == (0.75, 4)
    run.state.step = 6
    saver.save()
    assert [(step, options["kept_step"]) for step, options in written] == [(4, 4), (6, 4)]
