"""Videos whose frames would fill the memory, or cannot be turned into pixels."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from arcface_paddle.errors import ImageError
from arcface_paddle.video.reading import VideoReader
from arcface_paddle.video.video_settings import VideoSettings

pytest.importorskip("av")


def gif(width: int, height: int) -> bytes:
    """Return a GIF of one frame whose pixels are cut off."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    return head + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\x00;"


@pytest.mark.parametrize("engine", ["pyav", "opencv"])
def test_a_small_file_cannot_ask_for_the_whole_memory(engine: str, tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    path.write_bytes(gif(32_000, 5_000))
    with pytest.raises(ImageError, match=r"32000 x 5000 pixels; allowed: 40,000,000"):
        VideoReader(str(path), settings=VideoSettings(engine=engine))
