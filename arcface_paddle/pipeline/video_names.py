"""What is a video by its name: files with a video's suffix, numbers of cameras, addresses of streams."""

from __future__ import annotations

from pathlib import Path

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".flv", ".wmv", ".mpg", ".mpeg", ".ts", ".mts", ".3gp", ".ogv"}
)
"""Suffixes, lower case, that make a file a video."""

_STREAM_PREFIXES = ("rtsp://", "rtsps://", "rtmp://", "http://", "https://", "udp://", "tcp://")


def is_video_source(source: str) -> bool:
    """Tell whether ``source`` is a camera's number, a stream's address or a file with a video's suffix."""
    return is_stream(source) or is_camera(source) or Path(source).suffix.lower() in VIDEO_SUFFIXES


def is_stream(source: str) -> bool:
    """Tell whether ``source`` is the address of a network stream."""
    return source.lower().startswith(_STREAM_PREFIXES)


def is_camera(source: str) -> bool:
    """Tell whether ``source`` is the number of a camera, and no file or folder is called like it."""
    return source.isascii() and source.isdigit() and not Path(source).exists()
