"""Crossings: what happens when a look shows another face than the track's.

Two faces that came so close that one could be taken for the other are in doubt of each other until a look after they
have parted: if each looks like the other's track, the tracks are exchanged. A look at a face that was out of sight, or
two looks in a row, that contradict the track begin another one.
"""

from __future__ import annotations

from typing import Optional

from arcface_paddle.video.frame_state import FrameState
from arcface_paddle.video.identity import NameRules
from arcface_paddle.video.look_schedule import LookSchedule
from arcface_paddle.video.looking import Seen
from arcface_paddle.video.reidentification import ReIdentification
from arcface_paddle.video.tracks import COAST_S, Track, TrackList

_PLAIN = 0.3  # quality from which on a look may contradict a track


class Crossings:
    """Holds looks against tracks, and gives each track its own face back."""

    def __init__(
        self, tracks: TrackList, rules: NameRules, *, schedule: LookSchedule, reidentification: ReIdentification
    ) -> None:
        """Take what it needs.

        Args:
            tracks: in sight or lost.
            rules: thresholds of similarity.
            schedule: takes a look at the other face where that decides.
            reidentification: finds the lost tracks of faces that are taken away from a track.
        """
        self._tracks = tracks
        self._rules = rules
        self._schedule = schedule
        self._reidentification = reidentification

    def judge(self, frame: FrameState, index: int) -> set[int]:
        """Hold a look against the track of its face; returns the numbers of tracks whose evidence has changed."""
        track, seen = frame.found[index], frame.seen[index]
        if not len(track.evidence):
            track.add_look(seen, frame.time_s)
            return {track.number}
        own = track.evidence.similarity_to(seen.vector)
        rival = self._rival(frame, track, seen, own=own)
        if rival is not None and self._exchange(frame, index, rival):
            return {track.number, rival.number}
        if own >= self._rules.different:
            track.add_look(seen, frame.time_s)
            return {track.number}
        track.count_look(seen, frame.time_s)
        if seen.quality < _PLAIN:
            return set()
        track.contradictions.append(seen.as_look(frame.time_s))
        if not track.doubtful and len(track.contradictions) < 2:
            return set()
        return self._part(frame, index)

    def reclaim(self, frame: FrameState, index: int) -> set[int]:
        """Give a new face its track back if that one went on with somebody else's; returns as ``judge`` does."""
        usurper = self._usurper(frame, index)
        return set() if usurper is None else self._restore(frame, index, usurper)

    def _usurper(self, frame: FrameState, index: int) -> Optional[int]:
        """Return the index of the detection with which the track of a new face went on; None if none did."""
        if index not in frame.seen:
            return None
        vector = frame.seen[index].vector
        likely = [
            (track.evidence.similarity_to(vector), other)
            for other, track in frame.found.items()
            if len(track.evidence) and (track.met or track.doubtful or track.contradictions)
        ]
        best, other = max(likely, default=(-1.0, -1))
        if best < self._rules.same:
            return None
        if other not in frame.seen:
            self._schedule.look(frame, [other])
        own = frame.found[other].evidence.similarity_to(frame.seen[other].vector)
        return other if own < min(best - self._rules.lead, self._rules.same) else None

    def _restore(self, frame: FrameState, index: int, usurper: int) -> set[int]:
        """Give a track its face back, and find or begin another one for the face that it went on with."""
        track = frame.found.pop(usurper)
        track.resume(frame.detections[index].box_xyxy, frame.time_s)
        track.appearances -= 1  # this frame was counted already
        frame.found[index] = track
        track.add_look(frame.seen[index], frame.time_s)
        known = self._reidentification.recognised(frame, [usurper])
        heir = self._reidentification.begin_or_resume(frame, usurper, known)
        heir.add_look(frame.seen[usurper], frame.time_s)
        return {track.number, heir.number}

    def _rival(self, frame: FrameState, track: Track, seen: Seen, *, own: float) -> Optional[Track]:
        """Return the track, among those met and those out of sight, whose face this is more likely to be.

        ``own`` is the similarity (-1 to 1) of the look to the track that it was taken of.
        """
        met = [self._tracks.open[number] for number in track.met if number in self._tracks.open]
        # Lost tracks of the same face are joined with this one later, see ``ReIdentification.join_young``.
        is_one_face = self._reidentification.is_one_face
        lost = [one for one in self._reidentification.lost(frame) if not is_one_face(one, track)]
        rivals = {one.number: one for one in [*met, *lost]}
        likely = [(one.evidence.similarity_to(seen.vector), one.number) for one in rivals.values() if len(one.evidence)]
        best, number = max(likely, default=(-1.0, -1))
        return rivals[number] if best >= max(self._rules.same, own + self._rules.lead) else None

    def _exchange(self, frame: FrameState, index: int, rival: Track) -> bool:
        """Give a face to the track that it looks like, if that one's face, when it is in sight, agrees."""
        other = frame.index_of(rival)
        if other is None:
            _hand_over(frame.found[index], rival, frame, index)
        elif not self._swap(frame, index, other):
            return False
        frame.found[index] = rival
        rival.add_look(frame.seen[index], frame.time_s)
        return True

    def _swap(self, frame: FrameState, index: int, other: int) -> bool:
        """Exchange two tracks in sight if their looks fit better so; the look at ``index`` is left to the caller."""
        track, rival = frame.found[index], frame.found[other]
        if other not in frame.seen:
            self._schedule.look(frame, [other])
        vectors = frame.seen[index].vector, frame.seen[other].vector
        stay = track.evidence.similarity_to(vectors[0]) + rival.evidence.similarity_to(vectors[1])
        change = rival.evidence.similarity_to(vectors[0]) + track.evidence.similarity_to(vectors[1])
        if change <= stay:
            return False
        frame.found[other] = track
        track.motion, rival.motion = rival.motion, track.motion
        track.add_look(frame.seen[other], frame.time_s)
        return True

    def _part(self, frame: FrameState, index: int) -> set[int]:
        """Take a face away from a track that is another person's; that one is out of sight from here on."""
        track = frame.found.pop(index)
        looks = track.give_up_face()
        known = self._reidentification.recognised(frame, [index])
        others = {index: one for index, one in known.items() if one is not track}
        heir = self._reidentification.begin_or_resume(frame, index, others)
        for look in looks[:-1]:
            heir.evidence.add(look)
        heir.add_look(frame.seen[index], frame.time_s)
        return {heir.number}


def _hand_over(track: Track, rival: Track, frame: FrameState, index: int) -> None:
    """Give the face of a track to one that was out of sight.

    A track that was itself out of sight until this frame has only taken a wrong box now: it goes on where it was
    expected, and so does the other. Else both have gone on as each other since they met.
    """
    can_be_expected = rival.motion is not None and frame.time_s - rival.last_s <= COAST_S
    if track.doubtful and track.before is not None and can_be_expected and rival.motion is not None:
        rival.motion.update(frame.detections[index].box_xyxy, frame.time_s)
        track.motion, track.last_s = track.before
    else:
        own = track.motion
        track.motion, track.last_s = (rival.motion, rival.last_s) if can_be_expected else (None, frame.time_s)
        rival.motion = own
    rival.see(frame.time_s)
    rival.appearances, track.appearances = rival.appearances + 1, max(1, track.appearances - 1)
    track.met.clear()
    track.contradictions.clear()
