"""Streams that break, stall and come back, from a server in this process."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import numpy as np
import pytest
from video_clips import evenly, make_clip

from arcface_paddle import images
from arcface_paddle.errors import ConfigError, ImageError
from arcface_paddle.video.reading import VideoReader
from arcface_paddle.video.video_settings import VideoSettings

HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: %s\r\n\r\n"


class Camera:
    """Serves each connection what the next of ``plans`` does with it; without a plan, connections are refused."""

    def __init__(self, plans):
        self.plans = list(plans)
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}/live"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.plans = []
        self._listener.close()

    def _serve(self):
        while self.plans:
            with contextlib.suppress(OSError):
                connection, _ = self._listener.accept()
                self.connections += 1
                with connection:
                    connection.recv(4096)
                    self.plans.pop(0)(connection)
        self._listener.close()


@pytest.fixture(scope="module")
def broadcast(tmp_path_factory):
    path = make_clip(tmp_path_factory.mktemp("stream") / "a.ts", times=evenly(30, 25), size_wh=(64, 48))
    return HEAD % b"video/mp2t" + path.read_bytes()


def sends(content):
    return lambda connection: connection.sendall(content)


def stalls(content, *, seconds=3.0):
    def send_and_wait(connection):
        connection.sendall(content)
        connection.settimeout(seconds)
        with contextlib.suppress(OSError):
            connection.recv(1)  # until the other side has enough of it

    return send_and_wait


def jpegs(count, *, fps=50.0):
    """Send pictures as a network camera does, one after the other; the last is sent and followed by silence."""
    picture = images.encode_image(np.full((48, 64, 3), 90, np.uint8), suffix=".jpg", quality=90)
    part = b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(picture), picture)

    def send(connection):
        connection.sendall(HEAD % b"multipart/x-mixed-replace; boundary=b")
        for _ in range(count):
            connection.sendall(part)
            time.sleep(1 / fps)

    return send


@pytest.mark.parametrize("engine", ["pyav", pytest.param("opencv", marks=pytest.mark.long)])
def test_a_stream_that_dies_and_returns_is_followed_again(broadcast, engine):
    with (
        Camera([sends(broadcast), sends(broadcast)]) as camera,
        VideoReader(camera.address, settings=VideoSettings(engine=engine, reconnect_s=1.0)) as reader,
    ):
        began = time.monotonic()
        frames, arrivals = [], []
        for frame in reader:
            frames.append(frame)
            arrivals.append(time.monotonic() - began)
    times = [frame.time_s for frame in frames]
    assert reader.is_live and reader.reconnections == 1 and camera.connections == 2
    assert [frame.index for frame in frames] == list(range(len(frames))) and len(frames) > 50
    assert times == sorted(times), "time never goes back"
    assert max(np.diff(arrivals)) < 5, "seen again within seconds"
    assert "given up" in reader.lost and "1 s" in reader.lost


def test_a_stream_that_stalls_is_opened_again(broadcast):
    settings = VideoSettings(timeout_s=0.5, reconnect_s=0.5)
    with Camera([stalls(broadcast), sends(broadcast)]) as camera:
        began = time.monotonic()
        with VideoReader(camera.address, settings=settings) as reader:
            count = len(list(reader))
    assert reader.reconnections == 1 and count > 50 and time.monotonic() - began < 10


def test_a_network_camera_of_single_pictures_has_the_times_of_their_arrival():
    with (
        Camera([jpegs(20, fps=20)]) as camera,
        VideoReader(camera.address, settings=VideoSettings(engine="pyav", reconnect_s=0)) as reader,
    ):
        frames = list(reader)
    assert len(frames) >= 18 and reader.lost == "", "nobody asked to wait for more"
    assert 0.4 < frames[-1].time_s - frames[0].time_s < 5
    assert abs(int(frames[0].image.mean()) - 90) < 4


def test_nobody_who_wants_no_more_waits_for_a_stream_to_come_back(broadcast):
    with Camera([sends(broadcast)]) as camera, VideoReader(camera.address) as reader:
        threading.Timer(1.5, reader.stop).start()
        began = time.monotonic()
        list(reader)
    assert time.monotonic() - began < 4 and reader.lost == ""


def test_a_dead_address_is_one_clear_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(ImageError, match=r"the stream cannot be opened .*refused"):
        VideoReader(f"http://127.0.0.1:{port}/live")
    assert time.monotonic() - began < 5


@pytest.mark.long
def test_a_server_that_says_nothing_is_not_waited_for():
    began = time.monotonic()
    with Camera([stalls(b"", seconds=8)]) as camera, pytest.raises(ImageError, match="cannot be opened"):
        VideoReader(camera.address, settings=VideoSettings(timeout_s=0.5))
    assert time.monotonic() - began < 4


def test_nothing_is_cut_out_of_a_stream(broadcast):
    with Camera([sends(broadcast)]) as camera, pytest.raises(ConfigError, match="no beginning and no end"):
        VideoReader(camera.address, settings=VideoSettings(start_s=1))


@pytest.mark.long
def test_a_server_that_answers_and_sends_no_frame_is_given_up_too(broadcast):
    answers = [sends(broadcast), *([sends(broadcast[:1500])] * 50)]
    with (
        Camera(answers) as camera,
        VideoReader(camera.address, settings=VideoSettings(timeout_s=1, reconnect_s=1.5)) as reader,
    ):
        began = time.monotonic()
        assert len(list(reader)) >= 29 and "given up" in reader.lost
    assert 1 < time.monotonic() - began < 8
