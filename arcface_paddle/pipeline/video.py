"""Video in and out: RGB frames from files, cameras and network streams; annotated frames into an .mp4.

OpenCV reads and writes; this is the only place where its BGR frames are turned around.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Iterator, Optional, Union

import cv2
import numpy as np

from arcface_paddle import files, images
from arcface_paddle.errors import ImageError

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".flv", ".wmv", ".mpg", ".mpeg", ".ts", ".mts", ".3gp", ".ogv"}
)
"""Suffixes, lower case, that make a file a video."""

_STREAM_PREFIXES = ("rtsp://", "rtsps://", "rtmp://", "http://", "https://", "udp://", "tcp://")
_FALLBACK_FPS = 25.0
_PLAUSIBLE_FPS = (0.1, 1000.0)
_CODEC = int.from_bytes(b"mp4v", "little")  # MPEG-4 part 2: every build of OpenCV can write it
_COMPLETE = 0.9  # containers only estimate their number of frames


@dataclass(frozen=True)
class VideoFrame:
    """One frame.

    Attributes:
        index: from 0.
        time_s: seconds since the beginning.
        image: (H, W, 3) uint8 RGB.
    """

    index: int
    time_s: float
    image: np.ndarray


class VideoReader:
    """Frames of a video file, camera or stream, in RGB; a context manager that frees the source.

    Attributes:
        source: as given.
        is_live: a camera or stream, which ends when the user ends it.
        fps: frames per second; 25 when the source does not say.
        frame_count: as the container says, or None.
        frames_read: so far.
    """

    def __init__(self, source: str) -> None:
        """Open ``source``: a path, the number of a camera, or an rtsp/rtmp/http address.

        Raises:
            ImageError: no such file, or nothing that OpenCV can play.
        """
        self.source = source
        self.is_live = _is_camera(source) or is_stream(source)
        self.frames_read = 0
        _quiet_ffmpeg()
        if not self.is_live and not Path(source).is_file():
            raise ImageError(f"{source}: no such file")
        self._capture = _open_capture(int(source) if _is_camera(source) else source)
        if not self._capture.isOpened():
            raise ImageError(f"{source}: {self._why_not_open()}")
        self.fps = self._plausible_fps()
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.frame_count = count if count > 0 and not self.is_live else None

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the file or camera."""
        self._capture.release()

    def __iter__(self) -> Iterator[VideoFrame]:
        """Give the frames one after the other; a second iteration goes on where the first stopped."""
        while True:
            ok, bgr = self._capture.read()
            if not ok or bgr is None:
                return
            position_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            index, self.frames_read = self.frames_read, self.frames_read + 1
            time_s = position_s if position_s > 0 else index / self.fps
            yield VideoFrame(index, time_s, images.from_array(bgr, color_order="BGR"))

    @property
    def ended_early(self) -> bool:
        """Whether the frames ran out well before the number that the container promises: a damaged file."""
        return self.frame_count is not None and self.frames_read < _COMPLETE * self.frame_count

    def _plausible_fps(self) -> float:
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        return fps if _PLAUSIBLE_FPS[0] <= fps <= _PLAUSIBLE_FPS[1] else _FALLBACK_FPS

    def _why_not_open(self) -> str:
        if _is_camera(self.source):
            return "no such camera, or another program is using it"
        if is_stream(self.source):
            return "the stream cannot be opened; check address, network and password"
        return "not a video that can be played, or damaged"


class VideoWriter:
    """An .mp4 that appears under its name when it is complete.

    Leaving the context without an error, by Ctrl-C, or because the caller wants no more frames finalises what was
    written; any other error removes it. OpenCV says nothing when a disk is full, so the finished file is opened again
    and looked at before it takes the place of an older one.
    """

    def __init__(self, path: files.PathLike, *, fps: float) -> None:
        """Prepare to write ``path``; the size is that of the first frame."""
        self.path = Path(path)
        self.fps = fps
        self.frames_written = 0
        self._writer: Optional[cv2.VideoWriter] = None
        self._temporary: Optional[Path] = None
        self._size_wh = (0, 0)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close(keep=kind is None or issubclass(kind, (KeyboardInterrupt, GeneratorExit)))

    def write(self, image: np.ndarray) -> None:
        """Append (H, W, 3) uint8 RGB; a frame of another size than the first is resized.

        The codec has even sizes only: an odd one gets one more row or column, a copy of the last.

        Raises:
            ImageError: the file cannot be written.
        """
        if self._writer is None:
            self._open((image.shape[1], image.shape[0]))
        assert self._writer is not None
        if (image.shape[1], image.shape[0]) != self._size_wh:
            image = images.resize(image, self._size_wh)
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        width, height = self._size_wh
        self._writer.write(cv2.copyMakeBorder(bgr, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE))
        self.frames_written += 1

    def close(self, *, keep: bool = True) -> None:
        """Finalise the file and give it its name, or remove it.

        Raises:
            ImageError: the file is not complete; what stood under its name before is untouched.
        """
        if self._writer is None or self._temporary is None:
            return
        self._writer.release()
        self._writer = None
        try:
            if keep and self.frames_written:
                self._require_complete(self._temporary)
                os.replace(self._temporary, self.path)
        except OSError as error:
            raise ImageError(f"{self.path}: cannot be written: {error.strerror or error}") from None
        finally:
            with contextlib.suppress(OSError):
                self._temporary.unlink()

    def _require_complete(self, path: Path) -> None:
        """Raise ``OSError`` if the disk did not take the file, ``ImageError`` if it is not the video that was written.

        An .mp4 has its table of frames at the end; where the disk was full, it is missing and nothing can be opened, or
        it lists frames that are not there. So the last frame must be readable and every frame be listed.
        """
        with path.open("rb+") as stream:
            os.fsync(stream.fileno())  # some file systems notice only now that there is no space
        capture = _open_capture(str(path))
        listed = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        capture.set(cv2.CAP_PROP_POS_FRAMES, max(0, listed - 1))
        has_last, _ = capture.read()
        capture.release()
        if listed < self.frames_written or not has_last:
            raise ImageError(
                f"{self.path}: the video of {self.frames_written} frames could not be written completely, "
                f"{shutil.disk_usage(path.parent).free / 1e6:,.0f} MB are free there; nothing was kept of it"
            )

    def _open(self, size_wh: tuple[int, int]) -> None:
        _quiet_ffmpeg()
        self._size_wh = size_wh
        even_wh = (size_wh[0] + size_wh[0] % 2, size_wh[1] + size_wh[1] % 2)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=f".{self.path.stem[:80]}.", suffix=".mp4", dir=self.path.parent)
        except OSError as error:
            raise ImageError(f"{self.path}: cannot be written: {error.strerror or error}") from None
        os.close(descriptor)
        self._temporary = Path(name)
        self._temporary.chmod(0o644)
        self._writer = cv2.VideoWriter(name, _CODEC, self.fps, even_wh)
        if not self._writer.isOpened():
            with contextlib.suppress(OSError):  # FFmpeg removes the file itself if not even a header fits on the disk
                self._temporary.unlink()
            raise ImageError(
                f"{self.path}: OpenCV cannot write an .mp4 of {size_wh[0]}x{size_wh[1]} at {self.fps} fps, or the disk "
                "is full"
            )


def is_video_source(source: str) -> bool:
    """Tell whether ``source`` is a camera's number, a stream's address or a file with a video's suffix."""
    return is_stream(source) or _is_camera(source) or Path(source).suffix.lower() in VIDEO_SUFFIXES


def is_stream(source: str) -> bool:
    """Tell whether ``source`` is the address of a network stream."""
    return source.lower().startswith(_STREAM_PREFIXES)


def _open_capture(source: Union[int, str]) -> cv2.VideoCapture:
    """Open a source without OpenCV's own warnings: what fails is said once, by us."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(source)
    finally:
        cv2.utils.logging.setLogLevel(level)


def _quiet_ffmpeg() -> None:
    """Keep FFmpeg's complaints from standing beside ours; it looks at the variable once, at its first use."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


def _is_camera(source: str) -> bool:
    return source.isascii() and source.isdigit() and not Path(source).exists()
