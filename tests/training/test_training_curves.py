"""The metrics file and its picture: cut lines, rewinding, nothing to draw."""

from __future__ import annotations

import json
import math

import cv2
import pytest

from arcface_paddle.errors import DataError
from arcface_paddle.training.curves import draw_curves
from arcface_paddle.training.run_log import RunLog, read_metrics


def run_log(output, *, active=True) -> RunLog:
    return RunLog(output, "", say=lambda _text: None, active=active)


def test_scalars_come_back_without_what_is_not_finite(tmp_path):
    log = run_log(tmp_path)
    log.scalars(1, {"loss": 2.5, "gradient_norm": math.inf, "target_cosine": math.nan})
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 2.5}]


def test_rewinding_drops_later_steps_and_a_line_cut_by_a_kill(tmp_path):
    log = run_log(tmp_path)
    for step in (1, 2, 3):
        log.scalars(step, {"loss": float(step)})
    with open(tmp_path / "metrics.jsonl", "a") as stream:
        stream.write('{"step": 4, "lo')
    log.rewind(2)
    log.scalars(3, {"loss": 9.0})
    assert [(row["step"], row["loss"]) for row in read_metrics(tmp_path)] == [(1, 1.0), (2, 2.0), (3, 9.0)]
    assert all(json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines())


def test_other_ranks_write_nothing(tmp_path):
    log = run_log(tmp_path / "out", active=False)
    log.line("text")
    log.scalars(1, {"loss": 1.0})
    log.rewind(0)
    log.close()
    assert not (tmp_path / "out").exists()


def test_curves_are_a_picture(tmp_path):
    log = run_log(tmp_path)
    for step in range(1, 20):
        log.scalars(step, {"loss": 50 / step, "learning_rate": 0.1})
    log.scalars(10, {"accuracy/lfw": 0.8, "accuracy/agedb_30": 0.7})
    picture = cv2.imread(str(draw_curves(tmp_path)))
    assert picture.shape[0] > 300
    assert picture.shape[1] > 800
    blue = (picture[..., 0].astype(int) - picture[..., 2]) > 80
    assert blue.sum() > 200  # the line of the loss


def test_nothing_to_draw(tmp_path):
    with pytest.raises(DataError, match="no loss yet"):
        draw_curves(tmp_path)
