"""Motion by time and not by frame, in units of the face; cuts; who is close to whom."""

from __future__ import annotations

import numpy as np
import pytest

from arcface_paddle.pipeline.detection.boxes import iou
from arcface_paddle.video.association import neighbours
from arcface_paddle.video.cuts import CutDetector
from arcface_paddle.video.motion import Motion
from arcface_paddle.video.tracks import union


def box(x: float, y: float = 100.0, size: float = 40.0) -> np.ndarray:
    return np.array([x - size / 2, y - size / 2, x + size / 2, y + size / 2])


def middle(box_xyxy: np.ndarray) -> float:
    return float(box_xyxy[0] + box_xyxy[2]) / 2


def test_a_walk_is_predicted_whatever_the_steps_are():
    for steps in (np.arange(25) / 25, np.cumsum([0, 0.04, 0.12, 0.04, 0.2, 0.08, 0.04, 0.24, 0.12, 0.08])):
        motion = Motion(box(100), 0.0)
        for time_s in steps[1:]:
            motion.update(box(100 + 120 * time_s), float(time_s))
        end = float(steps[-1])
        assert middle(motion.box_at(end + 0.04)) == pytest.approx(100 + 120 * (end + 0.04), abs=3)


def test_the_same_film_in_4k_is_as_surprising():
    distances = []
    for scale in (1, 6):
        motion = Motion(scale * box(100), 0.0)
        for index in range(1, 6):
            motion.update(scale * box(100 + 4 * index), index / 25)
        distances.append(motion.gating_distance(scale * box(135), 0.28))
    assert distances[0] == pytest.approx(distances[1], rel=1e-6)


def test_uncertainty_grows_and_speed_fades_out_of_sight():
    motion = Motion(box(100), 0.0)
    for index in range(1, 11):
        motion.update(box(100 + 4 * index), index / 25)
    far = box(200)
    assert motion.gating_distance(far, 0.44) > 16 > motion.gating_distance(far, 1.4), "a second later it may be there"
    assert middle(motion.box_at(10.0)) < 240, "nobody walks on for ten seconds as they began"


def test_matches_a_full_kalman_filter():
    """The three filters of two values are one filter of six, written plainly."""
    from arcface_paddle.video import motion as m

    motion = Motion(box(100), 0.0)
    state = np.array([100.0, 0.0])
    size = 40.0
    cov = np.diag([(0.07 * size) ** 2, (3.0 * size) ** 2])
    rng = np.random.default_rng(0)
    for index in range(1, 20):
        dt, seen = 0.04, 100 + 3 * index + float(rng.normal())
        kept = np.exp(-dt / m._FADE_S)
        step = np.array([[1, m._FADE_S * (1 - kept)], [0, kept]])
        push = np.array([[dt * dt / 2], [dt]])
        state, cov = step @ state, step @ cov @ step.T + push @ push.T * (6.0 * size) ** 2
        gain = cov[:, 0] / (cov[0, 0] + (0.07 * size) ** 2)
        state, cov = state + gain * (seen - state[0]), cov - np.outer(gain, cov[0])
        motion.update(box(seen), index * dt)
        assert middle(motion.box_at(index * dt)) == pytest.approx(state[0], abs=1e-6)


def test_going_back_to_a_copy():
    motion = Motion(box(100), 0.0)
    before = motion.copy()
    motion.update(box(110), 0.04)
    assert middle(before.box_at(0.0)) == 100 and before.time_s == 0.0


def test_a_cut_is_seen_and_a_walk_is_not():
    rng = np.random.default_rng(0)
    rooms = [np.kron(rng.integers(0, 255, (9, 16, 3)), np.ones((20, 20, 1))).astype(np.uint8) for _ in range(2)]
    cuts, found = CutDetector(), []
    for index in range(40):
        frame = rooms[index // 20].copy()
        frame[40:160, 5 * index : 5 * index + 60] = 90  # somebody walks by
        found.append(cuts.is_cut(frame))
    assert [index for index, cut in enumerate(found) if cut] == [20]


def test_a_camera_that_pans_makes_no_cut():
    rng = np.random.default_rng(1)
    wall = np.kron(rng.integers(0, 255, (9, 200, 3)), np.ones((20, 20, 1))).astype(np.uint8)
    cuts = CutDetector()
    assert sum(cuts.is_cut(wall[:, 4 * index : 4 * index + 320]) for index in range(100)) <= 1


def test_neighbours_are_close_in_units_of_the_faces():
    assert neighbours([box(100), box(130), box(400)]) == [(0, 1)]
    assert neighbours([6 * box(100), 6 * box(130)]) == [(0, 1)]
    assert neighbours([box(100), box(140)]) == [] == neighbours([box(1)])
    assert iou(box(0), box(0)) == pytest.approx(1) and iou(box(0), box(100)) == 0


def test_spans():
    assert union([(0, 1), (1.5, 2), (4, 5)], most_gap=0.5) == [(0, 2), (4, 5)]
    assert union([(0, 9), (1, 2)]) == [(0, 9)] and union([]) == []
