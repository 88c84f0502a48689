"""The log of a run: what it writes, and that it writes nothing before it is opened."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import sys

import pytest

from arcface_paddle import devices
from arcface_paddle.errors import ConfigError, MissingDependencyError
from arcface_paddle.training.log_interval import IntervalSummary
from arcface_paddle.training.run_log import (
    METRICS_FILE,
    Progress,
    RunLog,
    memory_megabytes,
    progress_lines,
    progress_scalars,
    read_metrics,
)

SUMMARY = IntervalSummary(
    loss=55.56921, gradient_norm=1.25, target_cosine=0.125, feature_norm=9.876, speed=500.888, wait_share=0.031
)
PROGRESS = Progress(epoch=1.0, epoch_of_step=0, step=200, learning_rate=0.0, hours=104.4, memory_mb=812.7)


def test_nothing_is_created_before_the_log_is_opened(tmp_path):
    said: list[str] = []
    log = RunLog(tmp_path / "out", str(tmp_path / "log"), say=said.append, active=True)
    log.line("one")
    log.line("zwei – 二")
    assert said == ["one", "zwei – 二"]
    assert list(tmp_path.iterdir()) == []
    log.open()
    log.line("three")
    log.close()
    assert (tmp_path / "out" / "training.log").read_text(encoding="utf-8") == "one\nzwei – 二\nthree\n"
    assert list((tmp_path / "log").glob("vdlrecords.*"))


def test_a_log_that_goes_on_is_appended_to(tmp_path):
    for text in ("first run", "second run"):
        log = RunLog(tmp_path, "", say=lambda _text: None, active=True)
        log.line(text)
        log.open()
        log.close()
    assert (tmp_path / "training.log").read_text() == "first run\nsecond run\n"


def test_folders_are_made_with_those_above_them(tmp_path):
    for _ in range(2):
        log = RunLog(tmp_path / "a" / "out", str(tmp_path / "b" / "log"), say=lambda _text: None, active=True)
        log.open()
        log.close()
    assert (tmp_path / "a" / "out" / "training.log").is_file() and (tmp_path / "b" / "log").is_dir()


def test_other_ranks_are_silent_and_write_nothing(tmp_path):
    said: list[str] = []
    log = RunLog(tmp_path / "out", str(tmp_path / "log"), say=said.append, active=False)
    log.line("one")
    log.open()
    log.line("two")
    log.scalars(1, {"loss": 1.0})
    log.rewind(0)
    log.close()
    assert said == [] and list(tmp_path.iterdir()) == []


def test_a_missing_visualdl_is_named_before_anything_is_created(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "visualdl", None)
    log = RunLog(tmp_path / "out", str(tmp_path / "log"), say=print, active=True)
    with pytest.raises(MissingDependencyError, match=r"visualdl.*--logdir '' does without"):
        log.open()
    assert list(tmp_path.iterdir()) == []
    RunLog(tmp_path / "out", "", say=print, active=True).open()
    assert (tmp_path / "out" / "training.log").is_file()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match=r"cannot write to the output folder .*file"):
        RunLog(tmp_path / "file" / "out", "", say=print, active=True).open()


@pytest.mark.parametrize("logger", ["visualdl", "tensorboard"])
def test_a_logdir_that_is_a_file_is_refused_by_its_own_name(tmp_path, logger):
    (tmp_path / "file").write_text("in the way")
    log = RunLog(tmp_path / "out", str(tmp_path / "file"), say=print, active=True, loggers=(logger,))
    with pytest.raises(ConfigError, match=r"cannot write to --logdir .*file: [^\[]*; name a folder"):
        log.open()
    assert (tmp_path / "file").read_text() == "in the way"


def test_the_published_line_to_the_letter():
    """As FORMATS shows it; the epoch is that of the step that was done."""
    line, further = progress_lines(SUMMARY, PROGRESS)
    assert line == (
        "Speed 500.89 samples/sec   Loss 55.5692   Epoch: 0   Global Step: 200   Required: 104 hours, "
        "lr_backbone_value: 0.000000, lr_pfc_value: 0.000000"
    )
    assert further == (
        "[train][200]Data wait: 3.1 %   Gradient norm: 1.2500   Target cosine: 0.1250   Feature norm: 9.88   "
        "Memory: 813 MB"
    )


def test_scalars_hold_the_fraction_of_the_epoch_and_the_loss_scale_where_there_is_one():
    scalars = progress_scalars(SUMMARY, PROGRESS)
    assert (scalars["epoch"], scalars["loss"], scalars["time_for_end"]) == (1.0, 55.56921, 104.4)
    assert "loss_scale" not in scalars


FULL = dataclasses.replace(SUMMARY, reg_loss=0.5, reg_coef=0.25, teacher_cosine=0.75, relation_loss=0.125)


def test_what_stands_behind_the_published_line_where_there_is_more():
    line, further = progress_lines(FULL, dataclasses.replace(PROGRESS, learning_rate=0.5, backbone_rate=0.25))
    assert line.endswith("lr_backbone_value: 0.250000, lr_pfc_value: 0.500000")
    assert further.endswith(
        "Memory: 813 MB   Reg loss: 0.5000   Reg coef: 0.2500   Teacher cosine: 0.7500   Relation loss: 0.1250"
    )
    assert "Target cosine: 0.1250" in further
    alone = dataclasses.replace(FULL, target_cosine=math.nan, teacher_cosine=math.nan, reg_coef=None)
    _, further = progress_lines(alone, PROGRESS)
    assert "Target cosine" not in further and further.endswith("Memory: 813 MB   Relation loss: 0.1250")
    _, further = progress_lines(dataclasses.replace(SUMMARY, target_cosine=math.nan), PROGRESS)
    assert "Target cosine: nan" in further
    _, further = progress_lines(dataclasses.replace(FULL, teacher_cosine=None), PROGRESS)
    assert "Teacher" not in further and "Relation loss" in further


def test_all_scalars():
    everything = dataclasses.replace(PROGRESS, loss_scale=8.0, backbone_rate=0.25)
    assert progress_scalars(FULL, everything) == {
        **progress_scalars(SUMMARY, PROGRESS),
        **{"loss_scale": 8.0, "backbone_rate": 0.25, "reg_loss": 0.5, "reg_coef": 0.25},
        **{"teacher_cosine": 0.75, "relation_loss": 0.125},
    }
    assert len(progress_scalars(SUMMARY, PROGRESS)) == 10


def test_figures_that_are_none_are_neither_kept_nor_read(tmp_path):
    log = RunLog(tmp_path, "", say=lambda _text: None, active=True)
    log.open()
    for step in (1, 2, 3):
        log.scalars(step, {"loss": float(step), "odd": math.nan, "large": math.inf})
    assert read_metrics(tmp_path) == [{"step": step, "loss": float(step)} for step in (1, 2, 3)]
    log.rewind(2)
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2]
    most = 2**53
    with (tmp_path / METRICS_FILE).open("a") as stream:
        for odd in (
            [1],
            {"loss": 1.0},
            {"step": -1},
            {"step": most},
            {"step": 3, "loss": most},
            {"step": 3, "loss": "1"},
        ):
            stream.write(json.dumps(odd) + "\n")
        stream.write('{"step": 3, "loss": true}\n{"step": 0}\n')
        stream.write(json.dumps({"step": most - 1, "loss": 1 - most}) + '\n{"step": 4, "lo')
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 0, most - 1]
    assert read_metrics(tmp_path / "nowhere") == []


def test_the_memory_is_the_peak_of_an_accelerator(monkeypatch):
    monkeypatch.setattr(devices, "peak_memory_bytes", lambda: 3 * 2**20)
    assert memory_megabytes() == 3.0


def test_a_folder_that_went_away_is_told(tmp_path):
    log = RunLog(tmp_path / "out", "", say=lambda _text: None, active=True)
    log.open()
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(ConfigError, match=r"training\.log: No such file or directory; checkpoints are intact"):
        log.line("lost")


def test_without_psutil_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    monkeypatch.setattr(devices, "peak_memory_bytes", lambda: None)
    with pytest.raises(MissingDependencyError, match="the memory in the training log"):
        memory_megabytes()


def test_the_memory_is_that_of_this_process():
    psutil = pytest.importorskip("psutil")
    assert memory_megabytes() == pytest.approx(psutil.Process().memory_info().rss / 2**20, rel=0.05)
