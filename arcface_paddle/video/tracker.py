"""The tracker: faces of frame after frame become tracks, and tracks become people.

A frame is taken in five steps: boxes go on with tracks by motion (``association``); new faces, and those of known ones
that are due, are looked at (``look_schedule``); new faces are compared with those that were lost a moment ago
(``reidentification``); what a look says against its track is resolved (``crossings``); all in sight are named together
(``naming``).

Why our own: the trackers on the package index are made for bodies and bring PyTorch or SciPy, embed every box of every
frame (the embedding is what costs), count time in frames, know nothing of a gallery, and most have not been released
for years. What is needed here are these modules, ``motion`` and ``assignment``.
"""

from __future__ import annotations

from typing import Iterable, Mapping, Optional, Sequence

import numpy as np

from arcface_paddle.pipeline.cards import SimilaritySpec
from arcface_paddle.types import Detection
from arcface_paddle.video.association import associate, note_neighbours
from arcface_paddle.video.changes import Change, ChangeLog, ClosedTrack, Sighting
from arcface_paddle.video.crossings import Crossings
from arcface_paddle.video.cuts import CutDetector
from arcface_paddle.video.frame_state import FrameState
from arcface_paddle.video.identity import NameRules
from arcface_paddle.video.look_schedule import LookSchedule
from arcface_paddle.video.looking import LookBudget, Looker
from arcface_paddle.video.naming import Naming
from arcface_paddle.video.reidentification import ReIdentification
from arcface_paddle.video.track_settings import USUAL_TRACKS, TrackSettings
from arcface_paddle.video.tracks import Track, TrackList

_OUT_OF_SIGHT_S = 0.3  # after which a face that is back where it was may be another one


class Tracker:
    """Tracks and names the faces of frames; detects and embeds nothing itself.

    Attributes:
        closed: the tracks that have ended.
        budget: appearances and looks so far.
    """

    def __init__(
        self,
        looker: Optional[Looker],
        rules: NameRules,
        *,
        spec: SimilaritySpec,
        strong: float,
        settings: TrackSettings = USUAL_TRACKS,
        min_quality: float = 0.0,
    ) -> None:
        """Begin with nobody.

        Args:
            looker: embeds faces; None to track by motion alone.
            rules: thresholds of similarity.
            spec: what a cosine is worth.
            strong: score (0 to 1) from which on a detection is a face.
            settings: see there.
            min_quality: tracks that were never seen better than this (0 to 1) get no name.
        """
        self.closed: list[ClosedTrack] = []
        self.budget = LookBudget(settings.look_share)
        self._strong = strong
        self._keep_s = settings.keep_s
        self._time_s: Optional[float] = None
        self._log = ChangeLog()
        self._tracks = TrackList(spec)
        self._cuts = CutDetector()
        self._schedule = LookSchedule(looker, rules, self.budget, strong=strong)
        self._reidentification = ReIdentification(self._tracks, rules, self._log)
        self._crossings = Crossings(
            self._tracks, rules, schedule=self._schedule, reidentification=self._reidentification
        )
        self._naming = Naming(looker, rules, self._log, unique=settings.unique, min_quality=min_quality)

    @property
    def changes(self) -> list[Change]:
        """What happened since this list was last emptied, for whoever tells it on."""
        return self._log.changes

    @property
    def aliases(self) -> Mapping[int, int]:
        """Numbers of tracks that turned out to be the face of an earlier one, and that one's number."""
        return self._reidentification.aliases

    def take(self, image: np.ndarray, time_s: float, detections: Sequence[Detection]) -> list[Sighting]:
        """Take in a frame.

        Args:
            image: (H, W, 3) uint8 RGB.
            time_s: later than that of the frame before.
            detections: faces and weak boxes, largest first.

        Returns:
            Those that are faces of tracks, in the same order.
        """
        step_s = 0.0 if self._time_s is None else max(0.0, time_s - self._time_s)
        self._time_s = time_s
        self._close(self._tracks.overdue(time_s, keep_s=self._keep_s))
        if self._cuts.is_cut(image):
            self._tracks.forget_motion()
        frame = FrameState(image, time_s, detections)
        fresh = self._associate(frame, step_s=step_s)
        due = self._schedule.due(frame, keep_back=len(fresh))
        self._schedule.look(frame, [*fresh, *due])
        touched = self._begin(frame, fresh)
        for index in due:
            touched |= self._crossings.judge(frame, index)
        touched |= self._reidentification.join_young(frame, touched)
        frame.note_company()
        self._naming.decide(frame, [self._tracks.open[one] for one in touched if one in self._tracks.open])
        return _sightings(frame)

    def finish(self) -> None:
        """End all tracks: the film is over."""
        self._close(list(self._tracks.open.values()))

    def final_names(self) -> dict[int, Optional[str]]:
        """Return the name of every closed track by all that was seen of all of them, ``aliases`` included."""
        named = self._naming.in_retrospect(self.closed)
        return {**named, **{young: named.get(self.resolved(young)) for young in self.aliases}}

    def resolved(self, number: int) -> int:
        """Return the number under which a track is known in the end."""
        return self._reidentification.resolved(number)

    def present(self) -> Mapping[int, Track]:
        """Return the tracks that are in sight or may come back, by number."""
        return self._tracks.open

    def expected(self, time_s: float) -> dict[int, np.ndarray]:
        """Return where tracks are expected at a time, boxes (4,) by their numbers; those long out of sight nowhere."""
        moving = self._tracks.moving(time_s)
        return {one.number: one.motion.box_at(time_s) for one in moving if one.motion is not None}

    def _associate(self, frame: FrameState, *, step_s: float) -> list[int]:
        """Let tracks go on with boxes; returns the indices of the faces that none went on with."""
        moving = self._tracks.moving(frame.time_s)
        frame.found = associate(moving, frame.detections, frame.time_s, strong=self._strong)
        fresh = [
            index
            for index, one in enumerate(frame.detections)
            if index not in frame.found and one.score >= self._strong
        ]
        self.budget.count(len(frame.found) + len(fresh), step_s=step_s)
        for index, track in frame.found.items():
            gap_s = max(_OUT_OF_SIGHT_S, 1.5 * step_s)
            track.go_on(frame.detections[index].box_xyxy, frame.time_s, gap_s=gap_s)
        note_neighbours(frame, self._tracks.moving(frame.time_s))
        return fresh

    def _begin(self, frame: FrameState, fresh: Sequence[int]) -> set[int]:
        """Find or begin the tracks of new faces; returns the numbers of those whose evidence has changed."""
        known = self._reidentification.recognised(frame, fresh)
        touched: set[int] = set()
        for index in fresh:
            reclaimed = set() if index in known else self._crossings.reclaim(frame, index)
            touched |= reclaimed
            if reclaimed:
                continue
            track = self._reidentification.begin_or_resume(frame, index, known)
            if index in frame.seen:
                track.add_look(frame.seen[index], frame.time_s)
                touched.add(track.number)
        return touched

    def _close(self, tracks: Iterable[Track]) -> None:
        for track in tracks:
            del self._tracks.open[track.number]
            self.closed.append(ClosedTrack.of(track, self._naming.claim(track)))
            self._log.left(track)


def _sightings(frame: FrameState) -> list[Sighting]:
    return [
        Sighting(
            track.number, frame.detections[index], track.name, track.similarity, track.candidates,
            frame.seen.get(index), frame.qualities.get(index),
        )
        for index, track in sorted(frame.found.items())
    ]  # fmt: skip
