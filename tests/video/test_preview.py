"""The preview in a browser: the newest frame for everybody, and nobody waits for a viewer."""

from __future__ import annotations

import http.client
import socket
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.errors import ConfigError
from arcface_paddle.video.preview import Preview


def gray(value, size_wh=(64, 48)):
    return np.full((size_wh[1], size_wh[0], 3), value, np.uint8)


def read_frame(answer):
    """Read one picture of a stream and return its grey."""
    while not (line := answer.readline()).lower().startswith(b"content-length:"):
        assert line
    size = int(line.split(b":")[1])
    answer.readline()
    return int(images.decode_image(answer.read(size), name="frame").mean())


def test_several_viewers_see_the_newest_frame_until_the_run_ends():
    with Preview(0) as preview:
        preview.frame(gray(10))
        preview.frame(gray(60))
        first, second = (urllib.request.urlopen(f"{preview.address}frames.mjpg", timeout=5) for _ in range(2))
        assert abs(read_frame(first) - 60) < 3 and abs(read_frame(second) - 60) < 3
        preview.frame(gray(200))
        assert abs(read_frame(first) - 200) < 3 and abs(read_frame(second) - 200) < 3
        page = urllib.request.urlopen(preview.address, timeout=5).read().decode()
        assert "/frames.mjpg" in page and "http://" not in page.replace("http://127.0.0.1", "")
    first.readline()
    assert first.read() == b"", "the stream ends with the run"
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(preview.address, timeout=5)


def test_a_viewer_that_does_not_read_blocks_nobody():
    before = threading.active_count()
    with Preview(0) as preview:
        lazy = socket.create_connection(("127.0.0.1", int(preview.address.rsplit(":", 1)[1].strip("/"))))
        lazy.sendall(b"GET /frames.mjpg HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
        began = time.monotonic()
        for _ in range(200):
            preview.frame(noise)
        assert time.monotonic() - began < 1
    assert time.monotonic() - began < 5
    lazy.close()
    assert threading.active_count() <= before + 1, "at most the thread of the lazy viewer is left to its time-out"


def test_no_frame_is_encoded_while_nobody_looks(monkeypatch):
    monkeypatch.setattr(images, "encode_image", lambda *_args, **_more: pytest.fail("nobody looks"))
    with Preview(0) as preview:
        preview.frame(gray(1))
        time.sleep(0.05)


def test_other_sites_and_other_pages_are_refused():
    with Preview(0) as preview:
        port = int(preview.address.rsplit(":", 1)[1].strip("/"))
        answers = []
        for path, host in (("/", "evil.example"), ("/other", "127.0.0.1"), ("/alive", f"localhost:{port}")):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path, headers={"Host": host})
            answers.append(connection.getresponse().status)
            connection.close()
    assert answers == [403, 404, 200]


def test_a_port_that_is_taken_is_one_clear_line():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="give another port"):
        Preview(taken.getsockname()[1])
