"""The faces of a video as tracks with names: the class to use from Python, and what the commands use.

from arcface_paddle import Analyzer, Gallery, build_detector, build_recognizer
from arcface_paddle.video.reading import VideoReader
from arcface_paddle.video.tracking import FaceTracks

analyzer = Analyzer(build_detector(), build_recognizer(), Gallery.load("people.index"))
tracks = FaceTracks(analyzer)
with VideoReader("film.mp4") as film:
    for frame in film:
        faces = tracks.update(frame.image, frame.time_s).faces  # each with .track and .name
for entry in tracks.finish():
    print(entry.track, entry.person, entry.first_s, entry.last_s)
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Optional, Sequence

import numpy as np

from arcface_paddle.pipeline.alignment import recognizer_spec
from arcface_paddle.pipeline.analyzer import Analyzer
from arcface_paddle.pipeline.cards import PLAIN_COSINE
from arcface_paddle.pipeline.probability import same_person_probability
from arcface_paddle.types import UNKNOWN, Detection, Face, ImageResult
from arcface_paddle.video.best_views import BestViews
from arcface_paddle.video.changes import JOINED, Change, ClosedTrack, Sighting
from arcface_paddle.video.face_finding import FaceFinder, FoundFaces, moved
from arcface_paddle.video.frames import VideoFrame
from arcface_paddle.video.identity import NameRules
from arcface_paddle.video.looking import FaceLooker
from arcface_paddle.video.timeline import TimelineEntry
from arcface_paddle.video.track_settings import USUAL_TRACKS, TrackSettings
from arcface_paddle.video.tracker import Tracker

_NOTHING_DECIDES = NameRules(2.0, 2.0, 2.0, 2.0, -2.0)  # without a recogniser
_SAME_TIME_S = 1e-3  # containers round times to it


class FaceTracks:
    """Tracks and names the faces of one video.

    It is a ``video.analysis.FrameAnalyzer``, so that ``VideoSession(session, source, analyzer=FaceTracks(...))`` finds
    the faces of several frames at once; ``update`` takes frame after frame without a session.

    Attributes:
        listeners: are told every ``Change`` when it happens, in order.
    """

    def __init__(self, analyzer: Analyzer, settings: TrackSettings = USUAL_TRACKS, *, keep_crops: bool = False) -> None:
        """Begin with nobody.

        Args:
            analyzer: detector, and as far as there are any, recogniser and gallery. Without a recogniser, faces are
                tracked by motion alone.
            settings: see there.
            keep_crops: keep the best crop of every track.
        """
        recognizer = analyzer.recognizer
        rules = _NOTHING_DECIDES
        if recognizer is not None:
            rules = NameRules.of(recognizer.card, threshold=analyzer.threshold)
        self.listeners: list[Callable[[Change], None]] = []
        self._analyzer = analyzer
        strong = analyzer.detector.threshold
        self._search_s = settings.search_s
        self._finder = FaceFinder(threshold=settings.weak_share * strong)
        self._last: dict[int, Detection] = {}  # of each track
        self._best_views = BestViews(keep_crops=keep_crops)
        self._tracker = Tracker(
            None if recognizer is None else FaceLooker(analyzer),
            rules,
            spec=PLAIN_COSINE if recognizer is None else recognizer_spec(recognizer.card).similarity,
            strong=strong,
            settings=settings,
            min_quality=analyzer.min_quality,
        )

    @property
    def appearances(self) -> int:
        """Faces in frames so far."""
        return self._tracker.budget.appearances

    @property
    def looks(self) -> int:
        """How many of them were embedded."""
        return self._tracker.budget.looks

    def update(self, image: np.ndarray, time_s: float, *, source: str = "frame") -> ImageResult:
        """Take in the next frame.

        Args:
            image: (H, W, 3) uint8 RGB.
            time_s: seconds since the beginning, later than those of the frame before.
            source: what the result is called.

        Returns:
            The faces that have a track, largest first. ``embedding``, ``feature_norm`` and ``quality`` are those of
            this frame, None where the face was not looked at; ``similarity`` and ``candidates`` are those of the track.
        """
        (found,) = self._finder.step(self._analyzer.detector, [image])
        return self._result(self._analyzer, VideoFrame(0, time_s, image), found, source=source)

    def frames_at_once(self, fps: float) -> int:
        """Return how many frames of a file one search is made for; see ``StepAnalyzer``."""
        return max(1, round(self._search_s * fps))

    def find(self, models: Analyzer, frames: Sequence[VideoFrame]) -> Sequence[FoundFaces]:
        """Find the faces of some frames, weak boxes included; see ``FrameAnalyzer``.

        In a fifth of a second one frame is searched, and the faces are followed from there; see ``face_finding``.
        """
        found: list[FoundFaces] = []
        while len(found) < len(frames):
            first = frames[len(found)]
            near = [one for one in frames[len(found) :] if one.time_s - first.time_s < self._search_s - _SAME_TIME_S]
            found += self._finder.step(models.detector, [one.image for one in near or [first]])
        return found

    def decide(self, models: Analyzer, frame: VideoFrame, found: Any, *, source: str) -> ImageResult:
        """Take in a frame whose faces were found; see ``FrameAnalyzer``."""
        return self._result(models, frame, found, source=source)

    def renamed(self, result: ImageResult) -> ImageResult:
        """Return the result of an earlier frame with the names that its tracks have now."""
        present = self._tracker.present()
        faces = []
        for face in result.faces:
            track = None if face.track is None else present.get(self._tracker.resolved(face.track))
            if track is not None:
                name = self._called(track.name)
                face = dataclasses.replace(
                    face, track=track.number, name=name, similarity=track.similarity, candidates=track.candidates
                )
            faces.append(face)
        return ImageResult(result.source, result.size_wh, tuple(faces))

    def finish(self) -> list[TimelineEntry]:
        """End the video and return its timeline, by the time of the first face; may be called again."""
        self._tracker.finish()
        self._tell()
        names = self._tracker.final_names()
        entries = [self._entry(one, names[one.number]) for one in self._tracker.closed if one.is_confirmed]
        return sorted(entries, key=lambda one: (one.first_s, one.track))

    def final_faces(self) -> dict[int, tuple[int, Optional[str]]]:
        """Return, by the number that a face was given in a frame, its track and name as known in the end."""
        names = self._tracker.final_names()
        return {number: (self._tracker.resolved(number), self._called(name)) for number, name in names.items()}

    def _result(self, models: Analyzer, frame: VideoFrame, found: FoundFaces, *, source: str) -> ImageResult:
        image, time_s = frame.image, frame.time_s
        sightings = self._tracker.take(image, time_s, self._completed(models, frame, found))
        for change in self._tracker.changes:
            if change.kind == JOINED and change.was is not None:
                self._best_views.join(change.track, was=change.was)
        for sighting in sightings:
            self._best_views.offer(image, time_s, sighting)
            self._last[sighting.track] = sighting.detection
        self._tell()
        faces = tuple(self._face(sighting) for sighting in sightings)
        return ImageResult(source, (image.shape[1], image.shape[0]), faces)

    def _completed(self, models: Analyzer, frame: VideoFrame, found: FoundFaces) -> Sequence[Detection]:
        """Return what was found in a frame, with the faces that its tracks expect there if they were overlooked."""
        if found.is_searched:
            return found.detections
        boxes = self._tracker.expected(frame.time_s)
        self._last = {number: self._last[number] for number in boxes}
        expected = [moved(self._last[number], box) for number, box in boxes.items()]
        return self._finder.completed(models.detector, frame.image, found, expected)

    def _tell(self) -> None:
        changes = list(self._tracker.changes)
        self._tracker.changes.clear()
        for change in changes:
            for listener in self.listeners:
                listener(change)

    def _face(self, sighting: Sighting) -> Face:
        seen = sighting.seen
        return Face(
            sighting.detection,
            None if seen is None else seen.vector,
            None if seen is None else seen.feature_norm,
            name=self._called(sighting.name),
            similarity=sighting.similarity,
            candidates=sighting.candidates,
            quality=None if seen is None else seen.quality,
            weakness="" if seen is None else seen.weakness,
            track=sighting.track,
        )

    def _called(self, name: Optional[str]) -> Optional[str]:
        """Return a name as results have it: ``UNKNOWN`` for nobody, None where no gallery was asked."""
        return None if self._analyzer.gallery is None else name or UNKNOWN

    def _entry(self, closed: ClosedTrack, name: Optional[str]) -> TimelineEntry:
        by_name = {one.name: one.similarity for one in closed.claim.candidates}
        similarity = closed.similarity if name is None else by_name[name]
        recognizer = self._analyzer.recognizer
        confidence = None
        if recognizer is not None and similarity is not None and name is not None:
            confidence = same_person_probability(recognizer.card, similarity)
        return TimelineEntry(
            closed.number, self._called(name), closed.first_s, closed.last_s, closed.appearances, closed.looks,
            similarity, confidence, self._best_views.of(closed.number), closed.spans,
        )  # fmt: skip
