"""What is a video by its name: files with a video's suffix, numbers of cameras, addresses of streams."""

from __future__ import annotations

import re
from pathlib import Path

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".flv", ".wmv", ".mpg", ".mpeg", ".ts", ".mts", ".3gp", ".ogv"}
)
"""Suffixes, lower case, that make a file a video."""

_STREAM_PREFIXES = ("rtsp://", "rtsps://", "rtmp://", "http://", "https://", "udp://", "tcp://")

PLACE_OF_NUMBER = re.compile(r"%(0?\d*)d")
"""Where the number stands in a pattern of pictures such as ``frames/%06d.png``."""


def is_video_source(source: str) -> bool:
    """Tell whether ``source`` is a camera's number, a stream's address, a pattern of pictures, or named as a video."""
    return (
        is_picture_pattern(source)
        or is_stream(source)
        or is_camera(source)
        or Path(source).suffix.lower() in VIDEO_SUFFIXES
    )


def is_stream(source: str) -> bool:
    """Tell whether ``source`` is the address of a network stream."""
    return source.lower().startswith(_STREAM_PREFIXES)


def is_camera(source: str) -> bool:
    """Tell whether ``source`` is the number of a camera, and no file or folder is called like it."""
    return source.isascii() and source.isdigit() and not Path(source).exists()


def is_picture_pattern(source: str) -> bool:
    """Tell whether ``source`` stands for numbered pictures, and no file is called like it."""
    name = Path(source).name
    return not is_stream(source) and PLACE_OF_NUMBER.search(name) is not None and not Path(source).exists()
