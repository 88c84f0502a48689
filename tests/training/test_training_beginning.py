"""What a run finds in its output folder: an earlier run is resumed or set aside as a whole, never destroyed."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from test_training_runs import Listener, losses, settings
from tiny_data import write_dataset

from arcface_paddle.errors import CheckpointError, ConfigError
from arcface_paddle.training import earlier_run
from arcface_paddle.training.checkpoint import list_checkpoints
from arcface_paddle.training.earlier_run import set_aside_checkpoint, set_aside_earlier_run
from arcface_paddle.training.trainer import train

OF_A_RUN = {
    "MobileFaceNet_128.pdparams", "best", "checkpoints", "config.yaml", "curves.png", "metrics.jsonl",
    "rank:0_softmax_weight.pkl", "rank:0_softmax_weight_mom.pkl", "training.log",
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), identities=10, pictures=3, pairs=20)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def set_aside(output: Path) -> Path:
    (folder,) = output.glob("earlier_*")
    assert re.fullmatch(r"earlier_\d{8}_\d{6}(_\d+)?", folder.name)
    return folder


def test_the_whole_earlier_run_is_set_aside_and_the_users_files_stay(data, tmp_path):
    train(settings(data, tmp_path, steps=3, val_targets="val"), say=Listener())
    assert {path.name for path in tmp_path.iterdir()} == OF_A_RUN
    before = contents(tmp_path)
    for name in ("notes.txt", "teacher.pdparams", "faces.pkl"):
        (tmp_path / name).write_text("mine")
    listener = Listener()
    train(settings(data, tmp_path, steps=2), say=listener)
    folder = set_aside(tmp_path)
    assert contents(folder) == before
    said = [line for line in listener.lines if "holds an earlier run, which is not resumed" in line]
    assert len(said) == 1 and str(folder) in said[0]
    assert {path.name for path in tmp_path.iterdir()} == (
        OF_A_RUN - {"best"} | {folder.name, "notes.txt", "teacher.pdparams", "faces.pkl"}
    )
    assert sorted(losses(tmp_path)) == [1, 2]
    best = json.loads((folder / "best" / "best.json").read_text())
    assert best["step"] == 3
    [(_, newest)] = list_checkpoints(folder)
    assert json.loads((newest / "state.json").read_text())["highest"] == {"val": best["accuracy"]}
    assert (tmp_path / "training.log").read_text().splitlines() == listener.lines

    listener = Listener()
    train(settings(data, tmp_path, steps=4, resume=True), say=listener)
    assert any("step_00000002 at step 2" in line for line in listener.lines)
    assert set_aside(tmp_path) == folder, "a run that goes on sets nothing aside"


def test_what_was_set_aside_can_be_resumed_there(data, tmp_path):
    train(settings(data, tmp_path, steps=2), say=Listener())
    train(settings(data, tmp_path, steps=1), say=Listener())
    listener = Listener()
    outcome = train(settings(data, set_aside(tmp_path), steps=3, resume=True), say=listener)
    assert outcome.state.step == 3
    assert any("resumed from" in line and "at step 2" in line for line in listener.lines)


def test_two_runs_in_one_second_get_two_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(earlier_run.time, "strftime", lambda _form: "20260102_030405")
    folders = []
    for number in range(3):
        (tmp_path / "metrics.jsonl").write_text(str(number))
        folders.append(set_aside_earlier_run(tmp_path))
    names = ["earlier_20260102_030405", "earlier_20260102_030405_2", "earlier_20260102_030405_3"]
    assert [folder.name for folder in folders] == names
    assert [(folder / "metrics.jsonl").read_text() for folder in folders] == ["0", "1", "2"]


def test_nothing_to_set_aside(tmp_path):
    assert set_aside_earlier_run(tmp_path / "none") is None
    for name in ("config.yaml", "teacher.pdparams", "notes.txt"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "best").mkdir()  # not ours: no best.json
    (tmp_path / "checkpoints").mkdir()
    before = contents(tmp_path)
    assert set_aside_earlier_run(tmp_path) is None
    assert contents(tmp_path) == before


def test_one_checkpoint_can_stay_and_one_alone_can_go(tmp_path):
    for step in (1, 2, 3):
        (tmp_path / "checkpoints" / f"step_{step:08}").mkdir(parents=True)
        (tmp_path / "checkpoints" / f"step_{step:08}" / "manifest.json").write_text(str(step))
    (tmp_path / "metrics.jsonl").write_text("all")
    before = contents(tmp_path)
    aside = set_aside_earlier_run(tmp_path, kept=tmp_path / "checkpoints" / "step_00000002")
    stayed = "checkpoints/step_00000002/manifest.json"
    assert contents(aside) == {name: content for name, content in before.items() if name != stayed}
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["checkpoints", aside.name]
    assert set_aside_checkpoint(tmp_path, 3) is None
    alone = set_aside_checkpoint(tmp_path, 2)
    assert contents(alone) == {stayed: b"2"} and not list((tmp_path / "checkpoints").iterdir())


@pytest.mark.parametrize("moves", range(1, 8))
def test_killed_while_setting_aside_nothing_is_lost(data, tmp_path, monkeypatch, moves):
    train(settings(data, tmp_path, steps=1, val_targets="val"), say=Listener())
    before = contents(tmp_path)
    real, count = os.replace, iter(range(100))

    def dying(source, target):
        if next(count) == moves:
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dying)
        with pytest.raises(KeyboardInterrupt):
            set_aside_earlier_run(tmp_path)
    assert list_checkpoints(tmp_path), "the checkpoints go last"
    set_aside_earlier_run(tmp_path)
    after = {}
    for folder in tmp_path.glob("earlier_*"):
        after.update(contents(folder))
    assert after == before
    assert {path.name for path in tmp_path.iterdir()} == {folder.name for folder in tmp_path.glob("earlier_*")}


def test_a_folder_that_cannot_be_changed_is_refused_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "metrics.jsonl").write_text("")

    def refuse(*_args):
        raise PermissionError(13, "Permission denied", "metrics.jsonl")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(ConfigError, match=r"cannot set the earlier run in .* aside: Permission denied: metrics\.jsonl"):
        set_aside_earlier_run(tmp_path)


def test_auto_begins_then_goes_on_with_the_same_command(data, tmp_path):
    said = [Listener("Global Step: 2 "), Listener()]
    reasons = [train(settings(data, tmp_path, steps=4, resume="auto"), say=listener).reason for listener in said]
    assert reasons == ["stopped", "finished"]
    assert "nothing to resume from" in said[0]
    assert any("resumed from" in line and "at step 2" in line for line in said[1].lines)
    assert not list(tmp_path.glob("earlier_*"))
    train(settings(data, tmp_path / "whole", steps=4), say=Listener())
    assert losses(tmp_path) == losses(tmp_path / "whole")


def test_auto_takes_the_newest_sound_checkpoint(data, tmp_path):
    train(settings(data, tmp_path, steps=3, save_every=1), say=Listener())
    (tmp_path / "checkpoints" / "step_00000003" / "state.json").write_text("{")
    listener = Listener()
    train(settings(data, tmp_path, steps=4, resume="auto"), say=listener)
    assert any("resumed from" in line and "at step 2" in line for line in listener.lines)


@pytest.mark.parametrize("published_only", [False, True])
def test_auto_begins_anew_where_nothing_is_sound_and_sets_all_of_it_aside(data, tmp_path, published_only):
    train(settings(data, tmp_path, steps=1), say=Listener())
    if published_only:
        for path in sorted((tmp_path / "checkpoints").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (tmp_path / "checkpoints").rmdir()
        (tmp_path / "MobileFaceNet_128.pdparams").write_bytes(b"cut short")
    else:
        (tmp_path / "checkpoints" / "step_00000001" / "state.json").write_text("{")
    damaged = contents(tmp_path)
    with pytest.raises(CheckpointError):
        train(settings(data, tmp_path, steps=2, resume=True), say=Listener())
    listener = Listener()
    outcome = train(settings(data, tmp_path, steps=2, resume="auto"), say=listener)
    assert outcome.state.step == 2
    assert "nothing sound to resume from (" in listener
    assert contents(set_aside(tmp_path)) == damaged
    assert sorted(losses(tmp_path)) == [1, 2]


def test_lines_said_before_the_folder_exists_stand_in_the_log(data, tmp_path):
    listener = Listener()
    train(settings(data, tmp_path / "out", steps=1, val_targets="lfw"), say=listener)
    log = (tmp_path / "out" / "training.log").read_text().splitlines()
    assert "lfw is left out" in log[0]
    assert not any("mixed precision" in line for line in log), "that is for who asks for it"
    assert log == listener.lines
