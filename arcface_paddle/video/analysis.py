"""How frames become results: what is found in each alone, and what is decided about them in order.

The two steps are apart so that a run can take the first for several frames at once, on all cores, while the second sees
one frame after the other and may remember: who was where in the frame before, which face is worth an embedding.
"""

from __future__ import annotations

from typing import Any, Protocol, Sequence, runtime_checkable

from arcface_paddle.pipeline.analyzer import Analyzer
from arcface_paddle.types import Face, ImageResult
from arcface_paddle.video.frames import VideoFrame


class FrameAnalyzer(Protocol):
    """Whoever turns the frames of one video into results: ``tracking.FaceTracks``, or ``EachFrameAlone``."""

    def find(self, models: Analyzer, frames: Sequence[VideoFrame]) -> Sequence[Any]:
        """Look at some frames and return what ``decide`` needs to know of each; it must not remember anything.

        Several threads call it at once, each with models of its own, in any order.
        """

    def decide(self, models: Analyzer, frame: VideoFrame, found: Any, *, source: str) -> ImageResult:
        """Return the result of one frame, called ``source``; called for each frame in order, by one thread."""

    def renamed(self, result: ImageResult) -> ImageResult:
        """Return the result of an earlier frame as it is known now."""


@runtime_checkable
class StepAnalyzer(FrameAnalyzer, Protocol):
    """One for whom frames that follow each other are cheaper to find together."""

    def frames_at_once(self, fps: float) -> int:
        """Return how many frames of a file, which has ``fps`` of them a second, ``find`` is to be given."""


class EachFrameAlone:
    """Embeds and names every face of every frame, and remembers nothing."""

    def find(self, models: Analyzer, frames: Sequence[VideoFrame]) -> Sequence[tuple[Face, ...]]:
        """Return the faces of each frame; those of all frames go through the recogniser together."""
        found = [models.find(frame.image) for frame in frames]
        faces = models.name(models.embed(found))
        results = []
        for of_frame in found:
            results.append(tuple(faces[: len(of_frame.detections)]))
            del faces[: len(of_frame.detections)]
        return results

    def decide(self, models: Analyzer, frame: VideoFrame, found: Any, *, source: str) -> ImageResult:
        """Take what was found for the result."""
        return ImageResult(source, (frame.image.shape[1], frame.image.shape[0]), found)

    def renamed(self, result: ImageResult) -> ImageResult:
        """Return the result: nothing is learnt from later frames."""
        return result
