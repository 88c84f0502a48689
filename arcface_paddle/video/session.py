"""The run over one video: frames to findings, and the annotated copy beside them.

From the root of the repository, after ``arcface-paddle gallery build people.index --img_dir demo/gallery``:

    session = RecognitionSession.open(SessionSettings(index="people.index"))
    with VideoSession(session, "film.mp4") as video:
        for finding in video:
            print(finding.time_s, [face.name for face in finding.result.faces])

Faces are tracked, as the command does; ``analyzer=EachFrameAlone()`` embeds and names every face of every frame.
"""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Any, Callable, Iterator, Optional, Sequence

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import ImageError
from arcface_paddle.pipeline.analyzer import Analyzer
from arcface_paddle.pipeline.recognition_session import RecognitionSession
from arcface_paddle.pipeline.results import SourceRecord
from arcface_paddle.types import ImageResult
from arcface_paddle.video.analysis import FrameAnalyzer, StepAnalyzer
from arcface_paddle.video.delaying import Delay
from arcface_paddle.video.encoders.sound import SoundSource
from arcface_paddle.video.feeding import FrameFeed
from arcface_paddle.video.frames import VideoFrame
from arcface_paddle.video.reading import VideoReader
from arcface_paddle.video.tracking import FaceTracks
from arcface_paddle.video.video_settings import USUAL_VIDEO, VideoSettings
from arcface_paddle.video.writing import VideoWriter

_AHEAD = 4  # decoded frames that wait for a worker: bridges a slow frame, 100 MB in 4K
_STEP_BYTES = 48 << 20  # of frames that a worker takes at once, and one frame: two in 4K
_AHEAD_LIVE = 1  # what is shown of a camera is the newest

_Found = tuple[VideoFrame, Any]


class VideoSession:
    """The frames of one video, camera or stream as findings, and its annotated copy; a context manager.

    Frames are decoded in a thread of their own and looked at by the workers of the session, several at once; what is
    decided, drawn and written follows in the order of the frames, the encoder's threads beside it. So the results are
    those of one frame after the other, and as few frames are held as keeps everybody busy.

    Leaving the context without an error, by Ctrl-C, or because nobody wants more findings leaves a whole video of the
    frames so far.

    Attributes:
        source: as given.
        fps: frames per second.
        frame_count: as the file says; None for cameras, streams and files that do not say.
        frames_read: how many findings there were so far.
        problems: what went wrong with the video as a whole; known when the context is left.
        undrawn: whether the annotated copy was wanted and could not be written; likewise.
    """

    def __init__(
        self,
        session: RecognitionSession,
        source: str,
        *,
        settings: VideoSettings = USUAL_VIDEO,
        analyzer: Optional[FrameAnalyzer] = None,
        watch: Optional[Callable[[np.ndarray], None]] = None,
        delay_s: float = 0.0,
    ) -> None:
        """Open ``source``; the annotated copy goes where the session's outputs go.

        Args:
            session: loaded models, and what is made beside the results.
            source: path, number of a camera, address, or numbered pictures.
            settings: which frames, by which engine.
            analyzer: what is done with the frames; None for ``FaceTracks`` with the usual settings.
            watch: is given every annotated frame, (H, W, 3) uint8 RGB.
            delay_s: by how much findings lag, so that they can hold what was learnt meanwhile; see ``delaying``.

        Raises:
            ImageError: it cannot be opened.
            ConfigError: a stretch of time of a camera or stream.
            MissingDependencyError: the engine that is asked for is not installed.
        """
        self.source = source
        self.problems: list[str] = []
        self.undrawn = False
        self.frames_read = 0
        self._session = session
        self._settings = settings
        self._analyzer: FrameAnalyzer = FaceTracks(session.pipeline.analyzer) if analyzer is None else analyzer
        self._watch = watch
        self._delay = Delay(delay_s)
        self._came_to_end = False
        self._reader = VideoReader(source, settings=settings)
        self._at_once = 1 if self._reader.is_live else self._frames_at_once(settings)
        ahead = _AHEAD_LIVE if self._reader.is_live else max(_AHEAD, self._at_once)
        self._feed = FrameFeed(self._reader, ahead=ahead)
        self._writer = self._opened_writer(settings)
        self.fps = self._reader.fps
        self.frame_count = self._reader.frame_count

    def __enter__(self) -> VideoSession:
        self._feed.__enter__()
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        stopped = kind is not None and issubclass(kind, (KeyboardInterrupt, GeneratorExit))
        with ExitStack() as last:
            last.callback(self._feed.__exit__)
            self._close_writer(keep=kind is None or stopped)
        self._take_down_problems()

    def _take_down_problems(self) -> None:
        if self._reader.lost:
            self.problems.append(self._reader.lost)
        if self._reader.frames_damaged:
            self.problems.append(f"{self._reader.frames_damaged} frames are damaged and left out")
        if self._came_to_end and self._reader.ended_early:
            read, promised = self._reader.frames_read, self._reader.frame_count
            self.problems.append(f"the video ended after {read} of {promised} frames; the file is damaged")

    def __iter__(self) -> Iterator[SourceRecord]:
        """Give the finding of one frame after the other.

        Raises:
            ImageError: there was not one frame.
        """
        models = self._session.pipeline.analyzer
        for frame, found in self._found():
            source = f"{files.printable(self.source)}#{frame.index}"
            result = self._analyzer.decide(models, frame, found, source=source)
            self.frames_read += 1
            for settled in self._delay.put(frame, result):
                yield self._finding(*settled)
        yield from self.rest()
        self._came_to_end = True
        if self.frames_read == 0:
            raise ImageError(f"{files.printable(self.source)}: {self._why_empty()}")

    def _why_empty(self) -> str:
        start_s, end_s = self._settings.start_s, self._settings.end_s
        if start_s == 0 and end_s is None:
            return "no frame could be read"
        return f"no frame lies between {start_s:g} s and {'the end' if end_s is None else f'{end_s:g} s'}"

    def rest(self) -> Iterator[SourceRecord]:
        """Give the findings that still waited when the iteration was left: by Ctrl-C, or because no more were wanted.

        To be asked for before the context is left; they are drawn like all others.
        """
        for settled in self._delay.rest():
            yield self._finding(*settled)

    def _finding(self, frame: VideoFrame, result: ImageResult) -> SourceRecord:
        result = self._analyzer.renamed(result)
        return SourceRecord(result.source, result, self._draw(frame, result), time_s=frame.time_s)

    def _found(self) -> Iterator[_Found]:
        """Give each frame, in order, with what the workers found in it."""
        for of_step in self._session.workers.map(self._find, self._steps()):
            yield from of_step

    def _find(self, models: Analyzer, frames: Sequence[VideoFrame]) -> list[_Found]:
        return list(zip(frames, self._analyzer.find(models, frames)))

    def _frames_at_once(self, settings: VideoSettings) -> int:
        if not isinstance(self._analyzer, StepAnalyzer):
            return settings.frame_batch
        together = self._analyzer.frames_at_once(self._reader.fps)
        return -(-settings.frame_batch // together) * together  # so that the batch changes nothing in what is found

    def _steps(self) -> Iterator[Sequence[VideoFrame]]:
        """Give the frames that a worker takes at once; fewer of large ones, as several steps are in memory."""
        step: list[VideoFrame] = []
        for frame in self._feed:
            step.append(frame)
            if len(step) >= self._at_once or sum(one.image.nbytes for one in step) >= _STEP_BYTES:
                yield step
                step = []
        if step:
            yield step

    def _opened_writer(self, settings: VideoSettings) -> Optional[VideoWriter]:
        target = self._session.video_target(self.source)
        if target is None:
            return None
        has_sound = not self._reader.is_live and not self._reader.is_sequence
        return VideoWriter(
            target, fps=self._reader.fps, settings=settings, sound=SoundSource(self.source) if has_sound else None
        )

    def _draw(self, frame: VideoFrame, result: ImageResult) -> tuple[str, ...]:
        """Append the annotated frame. After the first failure no more are drawn: a video with a gap is none."""
        if self._writer is None and self._watch is None:
            return ()
        drawn = self._session.draw(frame.image, result)
        if self._watch is not None:
            self._watch(drawn)
        if self._writer is None:
            return ()
        try:
            self._writer.write(drawn, time_s=frame.time_s)
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
            writer.close(
                keep=keep,
                source_ended=self._came_to_end and self._settings.end_s is None,
                end_s=self._reader.end_s if self._came_to_end else None,
            )
        except ImageError as error:
            self.undrawn = True
            self.problems.append(str(error))
        if writer.problem:
            self.problems.append(writer.problem)
