"""Tiny videos made by PyAV: any rate, variable rates, sound, rotation."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Optional, Sequence

import numpy as np
import pytest

av = pytest.importorskip("av")

_TICKS = 90_000


def gray_of(index: int) -> int:
    """Return the grey of frame ``index``, by which a frame can be told after compression."""
    return 20 + 21 * (index % 10)


def make_clip(
    path: Path,
    *,
    times: Sequence[float],
    fps: float = 25.0,
    size_wh: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    sound: Optional[str] = None,
    quarters: int = 0,
) -> Path:
    """Write frames of ``gray_of`` their index with a white bar on top, shown from ``times`` on.

    Args:
        path: its suffix chooses the container.
        times: seconds.
        fps: what the container says.
        size_wh: even.
        codec: of the frames.
        sound: codec of a tone as long as the frames; None for none.
        quarters: how many quarter turns counter-clockwise a player is to make (mp4 and mov).
    """
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        video.width, video.height = size_wh
        video.options = {"bf": "0"} if codec == "libx264" else {}  # or the container would say too short a duration
        video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if codec != "mjpeg" and path.suffix != ".avi":
            video.time_base = video.codec_context.time_base = Fraction(1, _TICKS)
        tone = None if sound is None else container.add_stream(sound, rate=48_000, layout="mono")
        for index, time_s in enumerate(times):
            image = np.full((size_wh[1], size_wh[0], 3), gray_of(index), np.uint8)
            image[: size_wh[1] // 4] = 255
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=video.pix_fmt)
            base = video.codec_context.time_base or Fraction(1, _TICKS)
            frame.pts, frame.time_base = round(time_s / base), base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if tone is not None:
            _add_tone(container, tone, seconds=times[-1] + 1 / fps)
    if quarters:
        turn(path, quarters)
    return path


def evenly(count: int, fps: float) -> list[float]:
    """Return the times of ``count`` frames at a steady rate."""
    return [index / fps for index in range(count)]


def turn(path: Path, quarters: int) -> None:
    """Write into the header of an .mp4 how a player is to turn the frames, as phones do."""
    cosine, sine = ((1, 0), (0, -1), (-1, 0), (0, 1))[quarters % 4]
    matrix = struct.pack(">9i", cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    content[place : place + 36] = matrix
    path.write_bytes(content)


def _add_tone(container, stream, *, seconds: float) -> None:
    samples = (8000 * np.sin(np.arange(round(48_000 * seconds)) * 2 * np.pi * 440 / 48_000)).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
    resampler = av.AudioResampler(
        format=stream.format.name, layout="mono", rate=48_000, frame_size=stream.codec_context.frame_size or 1024
    )
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))
