"""Frames read ahead: all of a file and in order, the newest of a camera, and an end that leaves nothing behind."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from arcface_paddle.errors import ImageError
from arcface_paddle.video.feeding import FrameFeed
from arcface_paddle.video.frames import VideoFrame


class Source:
    """Gives ``count`` frames as fast as they are taken, and then an error if there is one."""

    fps, duration_s, ended_early = 25.0, None, False

    def __init__(self, count, *, is_live=False, error=None):
        self.frame_count, self.is_live, self.error = count, is_live, error
        self.frames_read = 0
        self.closed_in = None
        self.stopped = False

    def __iter__(self):
        while self.frames_read < self.frame_count and not self.stopped:
            self.frames_read += 1
            yield VideoFrame(self.frames_read - 1, 0.0, np.zeros((2, 2, 3), np.uint8))
        if self.error:
            raise self.error

    def stop(self):
        self.stopped = True

    def close(self):
        self.closed_in = threading.current_thread().name


def test_a_file_waits_and_loses_nothing():
    source = Source(30)
    with FrameFeed(source, ahead=3) as feed:
        time.sleep(0.05)
        assert source.frames_read <= 4, "no more is read than may wait"
        assert [frame.index for frame in feed] == list(range(30))
    assert feed.dropped == 0 and source.closed_in == "frames"


def test_of_a_live_source_the_newest_frame_wins():
    source = Source(100, is_live=True)
    with FrameFeed(source, ahead=2) as feed:
        while source.closed_in is None:
            time.sleep(0.001)
        assert [frame.index for frame in feed] == [98, 99]
    assert feed.dropped == 98


def test_an_error_while_reading_is_raised_after_the_frames_before_it():
    taken = []
    with pytest.raises(ImageError, match="torn"), FrameFeed(Source(3, error=ImageError("torn")), ahead=2) as feed:
        for frame in feed:
            taken.append(frame.index)
    assert taken == [0, 1, 2]


def test_leaving_early_ends_the_thread_and_frees_the_source():
    source = Source(1000)
    before = threading.active_count()
    with FrameFeed(source, ahead=2) as feed:
        next(iter(feed))
    assert source.closed_in == "frames" and threading.active_count() == before and source.frames_read < 10
