"""The metrics file and its picture: cut lines, rewinding, nothing to draw."""

from __future__ import annotations

import json
import math

import cv2
import pytest
from matplotlib.figure import Figure

from arcface_paddle.errors import DataError
from arcface_paddle.training.config import TrainConfig, config_from, config_text
from arcface_paddle.training.curves import _draw_accuracy, _draw_loss, _draw_margin_start, draw_curves
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


def margin_marks(output, last_step=20, **options):
    """Draw the mark of a run with these options: its steps and its words."""
    if options:
        (output / "config.yaml").write_text(config_text(config_from(options, base=TrainConfig())))
    axes = Figure().subplots()
    _draw_margin_start(axes, output, last_step=last_step)
    return [list(line.get_xdata()) for line in axes.lines], [text.get_text().strip() for text in axes.texts]


def test_the_switch_from_softmax_to_the_margin_is_marked(tmp_path):
    assert margin_marks(tmp_path, softmax_steps=8) == ([[8, 8]], ["softmax \N{RIGHTWARDS ARROW} ArcFace"])
    assert margin_marks(tmp_path, softmax_steps=8, loss="CosFace")[1] == ["softmax \N{RIGHTWARDS ARROW} CosFace"]


@pytest.mark.parametrize(
    "options", [{"softmax_steps": 0}, {"softmax_steps": 30}, {"softmax_steps": 8, "loss": "Softmax"}]
)
def test_no_mark_where_nothing_switched(tmp_path, options):
    assert margin_marks(tmp_path, **options) == ([], [])


def test_a_run_without_a_readable_configuration_is_drawn_without_the_mark(tmp_path):
    assert margin_marks(tmp_path) == ([], [])
    (tmp_path / "config.yaml").write_text("no_such_option: 1\n")
    assert margin_marks(tmp_path) == ([], [])


def test_the_mark_is_in_the_picture(tmp_path):
    log = run_log(tmp_path)
    for step in range(1, 20):
        log.scalars(step, {"loss": 50 / step, "learning_rate": 0.1})
    plain = cv2.imread(str(draw_curves(tmp_path)))
    (tmp_path / "config.yaml").write_text(config_text(config_from({"softmax_steps": 8}, base=TrainConfig())))
    marked = cv2.imread(str(draw_curves(tmp_path)))
    changed = (plain != marked).any(axis=2)
    assert 100 < changed.sum() < 20_000
    assert not changed[:, changed.shape[1] // 2 :].any()  # beside the loss, not beside the accuracy


def test_both_halves_show_every_figure_at_its_step():
    rows = [
        {"step": 1, "loss": 9.0, "learning_rate": 0.1},
        {"step": 2, "loss": 5.0, "learning_rate": 0.2, "accuracy/lfw": 0.8, "accuracy/agedb_30": 0.7},
        {"step": 3, "accuracy/lfw": 0.9},
    ]
    left, right = Figure().subplots(1, 2)
    _draw_loss(left, rows)
    assert left.lines[0].get_xydata().tolist() == [[1, 9], [2, 5]]
    (rates,) = [axes for axes in left.figure.axes if axes.get_ylabel() == "learning rate"]
    assert rates.lines[0].get_xydata().tolist() == [[1, 0.1], [2, 0.2]]
    _draw_accuracy(right, rows)
    assert {line.get_label(): line.get_xydata().tolist() for line in right.lines} == {
        "agedb_30": [[2, 0.7]],
        "lfw": [[2, 0.8], [3, 0.9]],
    }
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["agedb_30", "lfw"] and not right.texts
    assert [axes.get_xlabel() for axes in (left, right)] == ["step", "step"] and right.get_ylabel() == "accuracy"


def test_without_a_validation_it_says_so_in_the_middle():
    axes = Figure().subplots()
    _draw_accuracy(axes, [{"step": 1, "loss": 2.0}])
    (text,) = axes.texts
    assert text.get_text() == "no validation yet" and text.get_position() == (0.5, 0.5)
    assert text.get_transform() == axes.transAxes and axes.get_legend() is None
