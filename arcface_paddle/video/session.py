"""The run over one video: frames to findings, and the annotated copy beside them.

From the root of the repository, after ``arcface-paddle gallery build people.index --img_dir demo/gallery``:

    session = RecognitionSession.open(SessionSettings(index="people.index"))
    with VideoSession(session, "film.mp4") as video:
        for finding in video:
            print(finding.time_s, [face.name for face in finding.result.faces])
"""

from __future__ import annotations

from types import TracebackType
from typing import Callable, Iterator, Optional

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import ImageError
from arcface_paddle.pipeline.recognition_session import RecognitionSession
from arcface_paddle.pipeline.results import SourceRecord
from arcface_paddle.types import ImageResult
from arcface_paddle.video.reading import VideoReader
from arcface_paddle.video.writing import VideoWriter


class VideoSession:
    """The frames of one video, camera or stream as findings, and its annotated copy; a context manager.

    Leaving the context without an error, by Ctrl-C, or because nobody wants more findings leaves a whole video of the
    frames so far.

    Attributes:
        fps: frames per second.
        frame_count: as the file says; None for cameras, streams and files that do not say.
        frames_read: so far.
        problems: what went wrong with the video as a whole; known when the context is left.
        undrawn: whether the annotated copy was wanted and could not be written; likewise.
    """

    def __init__(
        self,
        session: RecognitionSession,
        source: str,
        *,
        watch: Optional[Callable[[np.ndarray], None]] = None,
    ) -> None:
        """Open ``source``; the annotated copy goes where the session's outputs go.

        Args:
            session: loaded models, and what is made beside the results.
            source: path, number of a camera, or address.
            watch: is given every annotated frame, (H, W, 3) uint8 RGB.

        Raises:
            ImageError: it cannot be opened.
        """
        self.source = source
        self.problems: list[str] = []
        self.undrawn = False
        self._session = session
        self._watch = watch
        self._came_to_end = False
        self._reader = VideoReader(source)
        target = session.video_target(source)
        self._writer = None if target is None else VideoWriter(target, fps=self._reader.fps)
        self.fps = self._reader.fps
        self.frame_count = self._reader.frame_count

    @property
    def frames_read(self) -> int:
        """Return how many frames there were so far."""
        return self._reader.frames_read

    def __enter__(self) -> VideoSession:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        stopped = kind is not None and issubclass(kind, (KeyboardInterrupt, GeneratorExit))
        self._close_writer(keep=kind is None or stopped)
        self._reader.close()
        if self._came_to_end and self._reader.ended_early:
            read, promised = self._reader.frames_read, self._reader.frame_count
            self.problems.append(f"the video ended after {read} of {promised} frames; the file is damaged")

    def __iter__(self) -> Iterator[SourceRecord]:
        """Give the finding of one frame after the other.

        Raises:
            ImageError: there was not one frame.
        """
        for frame in self._reader:
            source = f"{files.printable(self.source)}#{frame.index}"
            result = self._session.pipeline.analyzer.analyze(frame.image, source=source)
            yield SourceRecord(source, result, self._draw(frame.image, result), time_s=frame.time_s)
        self._came_to_end = True
        if self._reader.frames_read == 0:
            raise ImageError(f"{files.printable(self.source)}: no frame could be read")

    def _draw(self, image: np.ndarray, result: ImageResult) -> tuple[str, ...]:
        """Append the annotated frame. After the first failure no more are drawn: a video with a gap is none."""
        if self._writer is None and self._watch is None:
            return ()
        drawn = self._session.draw(image, result)
        if self._watch is not None:
            self._watch(drawn)
        if self._writer is None:
            return ()
        try:
            self._writer.write(drawn)
        except ImageError as error:
            self.undrawn = True
            self._close_writer(keep=False)
            return (f"{error}; no annotated video is written",)
        return ()

    def _close_writer(self, *, keep: bool) -> None:
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            writer.close(keep=keep)
        except ImageError as error:
            self.undrawn = True
            self.problems.append(str(error))
