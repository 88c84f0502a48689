"""Frames that wait: in order, all of them, bounded in time and memory."""

from __future__ import annotations

import numpy as np

from arcface_paddle.types import ImageResult
from arcface_paddle.video import delaying
from arcface_paddle.video.delaying import Delay
from arcface_paddle.video.frames import VideoFrame


def frames(count: int):
    for index in range(count):
        image = np.zeros((10, 10, 3), np.uint8)
        yield VideoFrame(index, index / 10, image), ImageResult(str(index), (10, 10), ())


def test_a_frame_waits_for_its_time_and_none_is_lost():
    delay, given = Delay(0.5), []
    for frame, result in frames(12):
        for one, _ in delay.put(frame, result):
            given.append(one.index)
            assert frame.time_s - one.time_s >= 0.5 - 1e-9
    assert given == list(range(7))
    assert [one.index for one, _ in delay.rest()] == list(range(7, 12)) and list(delay.rest()) == []
    none = Delay(0.0)
    assert [[one.index for one, _ in none.put(*pair)] for pair in frames(3)] == [[0], [1], [2]]


def test_large_frames_wait_for_a_shorter_time(monkeypatch):
    monkeypatch.setattr(delaying, "_MOST_BYTES", 900)
    delay = Delay(10.0)
    waiting = [len(delay._waiting) for pair in frames(20) for _ in [list(delay.put(*pair))]]
    assert max(waiting) == 3
