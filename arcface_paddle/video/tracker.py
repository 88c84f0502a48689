"""The tracker: faces of frame after frame become tracks, and tracks become people.

A frame is taken in five steps: boxes go on with tracks by motion (``tracks``); new faces, and those of known ones that
are due, are looked at (``looking``); new faces are compared with those that were lost a moment ago; what a look says
against its track is resolved; all in sight are named together (``identity``).

Two faces that came so close that one could be taken for the other are in doubt of each other until a look after they
have parted: if each looks like the other's track, the tracks are exchanged. A look at a face that was out of sight, or
two looks in a row, that contradict the track begin another one.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Iterable, Mapping, Optional, Sequence

import numpy as np

from arcface_paddle.pipeline.cards import SimilaritySpec
from arcface_paddle.types import Candidate, Detection
from arcface_paddle.video.assignment import best_pairs
from arcface_paddle.video.cuts import CutDetector
from arcface_paddle.video.evidence import Look, weight_of
from arcface_paddle.video.identity import Claim, NameRules, assign_names, names_in_retrospect
from arcface_paddle.video.looking import (
    FASTEST_S,
    LookBudget,
    Looker,
    Seen,
    is_clearly_better,
    pause_before_next,
)
from arcface_paddle.video.motion import Motion
from arcface_paddle.video.track_settings import USUAL_TRACKS, TrackSettings
from arcface_paddle.video.tracks import ABSENCE_S, COAST_S, Track, TrackList, go_on, neighbours, union

ENTERED, NAMED, UNKNOWN_PERSON, JOINED, LEFT = "entered", "named", "unknown person", "joined", "left"
KINDS = (ENTERED, NAMED, UNKNOWN_PERSON, JOINED, LEFT)
"""What happens to tracks."""

_MOST_LOST = 64  # tracks out of sight that a new face is compared with, the latest ones
_OUT_OF_SIGHT_S = 0.3  # after which a face that is back where it was may be another one
_FIT = 0.5  # quality that two looks need to tell that they are one face: half hidden faces resemble each other
_PLAIN = 0.3  # quality from which on a look may contradict a track
_UNFIT = 0.5  # of the best quality, below which a look that is due waits
_MISTAKEN_SHARE = 0.1  # of its frames in which a track may have been on another face, next to its own
_NOBODY_LOOKS, _NOBODY_S = 3, 1.0  # after which a track without a name is said to be a stranger


@dataclass(frozen=True, eq=False)
class Sighting:
    """A face of a frame that has a track.

    Attributes:
        track: number of the track.
        detection: where it is.
        name: the person; None for nobody.
        similarity: fused, to that person or the best one; None if nobody was asked.
        candidates: the best persons with fused similarities.
        seen: what the look in this frame found; None if none was taken.
        quality: by its circumstances; None where it was not measured in this frame.
    """

    track: int
    detection: Detection
    name: Optional[str]
    similarity: Optional[float]
    candidates: tuple[Candidate, ...]
    seen: Optional[Seen] = None
    quality: Optional[float] = None


@dataclass(frozen=True)
class Change:
    """Something that happened to a track.

    Attributes:
        kind: one of ``KINDS``.
        track: its number.
        time_s: when; for ``left``, when it was last seen.
        name: the person, None for nobody.
        before: for ``named``, the name before; for ``joined``, None.
        was: for ``joined``, the number under which the face went until now.
    """

    kind: str
    track: int
    time_s: float
    name: Optional[str] = None
    similarity: Optional[float] = None
    before: Optional[str] = None
    was: Optional[int] = None


@dataclass(frozen=True, eq=False)
class ClosedTrack:
    """A track after its end.

    Attributes:
        number: its number.
        claim: what it may be called.
        similarity: to the best person; None if nobody was asked.
        first_s, last_s: when it was seen.
        appearances: in how many frames.
        looks: how often it was embedded.
        is_confirmed: see ``Track``.
        seen_with: in how many frames another track was there, too, by its number.
        spans: from when to when it was in sight.
    """

    number: int
    claim: Claim
    similarity: Optional[float]
    first_s: float
    last_s: float
    appearances: int
    looks: int
    is_confirmed: bool
    seen_with: Mapping[int, int]
    spans: tuple[tuple[float, float], ...]


class _Frame:
    """What is known of the frame that is being taken in."""

    def __init__(self, image: np.ndarray, time_s: float, detections: Sequence[Detection]) -> None:
        self.image = image
        self.time_s = time_s
        self.detections = detections
        self.found: dict[int, Track] = {}
        self.seen: dict[int, Seen] = {}
        self.qualities: dict[int, float] = {}
        self.crowded: set[int] = set()

    def place_of(self, track: Track) -> Optional[int]:
        """Return the position of the detection of a track; None if it is not in sight."""
        return next((place for place, one in self.found.items() if one is track), None)

    def numbers(self) -> set[int]:
        return {track.number for track in self.found.values()}


class Tracker:
    """Tracks and names the faces of frames; detects and embeds nothing itself.

    Attributes:
        changes: what happened since the list was last emptied, for whoever tells it on.
        closed: the tracks that have ended.
        budget: appearances and looks so far.
        aliases: numbers of tracks that turned out to be the face of an earlier one, and that one's number.
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
            rules: thresholds.
            spec: what a cosine is worth.
            strong: score from which on a detection is a face.
            settings: see there.
            min_quality: tracks that were never seen better than this get no name.
        """
        self.changes: list[Change] = []
        self.closed: list[ClosedTrack] = []
        self.budget = LookBudget(settings.look_share)
        self.aliases: dict[int, int] = {}
        self._looker = looker
        self._rules = rules
        self._lead = rules.sure - rules.give  # ten times as many strangers are similar without it
        self._settings = settings
        self._strong = strong
        self._min_quality = min_quality
        self._tracks = TrackList(spec)
        self._cuts = CutDetector()
        self._time_s: Optional[float] = None
        self._told: set[tuple[str, int]] = set()
        self._best_quality: dict[int, float] = {}

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
        self._close(self._tracks.overdue(time_s, keep_s=self._settings.keep_s))
        if self._cuts.is_cut(image):
            self._tracks.forget_motion()
        frame = _Frame(image, time_s, detections)
        frame.found = go_on(self._tracks.moving(time_s), detections, time_s, strong=self._strong)
        fresh = [i for i, one in enumerate(detections) if i not in frame.found and one.score >= self._strong]
        self.budget.count(len(frame.found) + len(fresh), step_s=step_s)
        for place, track in frame.found.items():
            self._go_on(track, detections[place], time_s, gap_s=max(_OUT_OF_SIGHT_S, 1.5 * step_s))
        self._note_confusions(frame)
        due = self._due(frame, keep_back=len(fresh))
        self._look(frame, [*fresh, *due])
        touched = self._begin(frame, fresh)
        for place in due:
            touched |= self._judge(frame, place)
        touched |= self._merge_young(frame, touched)
        self._name(frame, touched)
        return self._sightings(frame)

    def finish(self) -> None:
        """End all tracks: the film is over."""
        self._close(list(self._tracks.open.values()))

    def final_names(self) -> dict[int, Optional[str]]:
        """Return the name of every closed track by all that was seen of all of them, ``aliases`` included."""
        # With all evidence there is nothing to hold on to: what was said before does not count.
        claims = {one.number: dataclasses.replace(one.claim, name=None) for one in self.closed}
        seconds = {one.number: float(one.appearances) for one in self.closed}
        together = self._together() if self._settings.unique else {}
        named = names_in_retrospect(claims, self._rules, together=together, weights=seconds)
        return {**named, **{young: named.get(self.resolved(young)) for young in self.aliases}}

    def _together(self) -> dict[int, set[int]]:
        """Return with whom each track was seen for longer than a mistake of the tracker may last."""
        appearances = {one.number: one.appearances for one in self.closed}
        return {
            one.number: {
                other
                for other, frames in one.seen_with.items()
                if other in appearances and frames > _MISTAKEN_SHARE * min(one.appearances, appearances[other])
            }
            for one in self.closed
        }

    def resolved(self, number: int) -> int:
        """Return the number under which a track is known in the end."""
        while number in self.aliases:
            number = self.aliases[number]
        return number

    def present(self) -> Mapping[int, Track]:
        """Return the tracks that are in sight or may come back, by number."""
        return self._tracks.open

    def _go_on(self, track: Track, detection: Detection, time_s: float, *, gap_s: float) -> None:
        assert track.motion is not None
        if time_s - track.last_s > gap_s:
            track.doubtful = True
        track.before = track.motion.copy(), track.last_s
        track.motion.update(detection.box_xyxy, time_s)
        track.see(time_s)
        track.appearances += 1

    def _note_confusions(self, frame: _Frame) -> None:
        """Note who is so close to whom that one may go on as the other, hidden faces included."""
        visible = list(frame.found.values())
        hidden = [one for one in self._tracks.moving(frame.time_s) if one.number not in frame.numbers()]
        boxes = [frame.detections[place].box_xyxy.astype(np.float64) for place in frame.found]
        boxes += [one.motion.box_at(frame.time_s) for one in hidden if one.motion is not None]
        everyone = [*visible, *hidden]
        for i, j in neighbours(boxes):
            one, other = everyone[i], everyone[j]
            if i < len(visible):
                one.met.add(other.number)
                other.met.add(one.number)
            if j < len(visible):
                frame.crowded |= {one.number, other.number}

    def _due(self, frame: _Frame, *, keep_back: int) -> list[int]:
        """Return the positions of the known faces that are worth a look now, within the budget."""
        if self._looker is None:
            return []
        ready = [
            place
            for place, track in frame.found.items()
            if frame.detections[place].score >= self._strong
            and frame.time_s - max(track.looked_s, track.judged_s) >= FASTEST_S - 1e-6
        ]
        qualities = self._looker.qualities(frame.image, [frame.detections[place] for place in ready])
        frame.qualities.update(zip(ready, qualities))
        worth = []
        for place in ready:
            track = frame.found[place]
            track.judged_s = frame.time_s
            urgency = self._urgency(track, frame, frame.qualities[place])
            if urgency is not None:
                worth.append((urgency, -frame.qualities[place], place))
        return [place for _, _, place in sorted(worth)[: max(0, self.budget.left - keep_back)]]

    def _urgency(self, track: Track, frame: _Frame, quality: float) -> Optional[int]:
        """Return 0 for the most urgent look, None for one that can wait."""
        has_parted = track.met and track.number not in frame.crowded
        if has_parted or track.doubtful or track.contradictions or not track.looks:
            return 0
        settled = track.name is not None and (track.similarity or 0.0) >= self._rules.sure
        pause = pause_before_next(track.looks, is_settled=settled)
        waited = frame.time_s - track.looked_s
        if waited >= pause - 1e-6 and (quality >= _UNFIT * track.looked_quality or waited > 2 * pause):
            return 2 if settled else 1
        return 3 if is_clearly_better(quality, track.looked_quality) else None

    def _look(self, frame: _Frame, places: Sequence[int]) -> None:
        if self._looker is None or not places:
            return
        seen = self._looker.look(frame.image, [frame.detections[place] for place in places])
        frame.seen.update(zip(places, seen))
        self.budget.looks += len(places)

    def _begin(self, frame: _Frame, fresh: Sequence[int]) -> set[int]:
        """Begin tracks for new faces, or go on with lost ones that they are."""
        known = self._recognised(frame, fresh)
        touched = set()
        for place in fresh:
            detection, track = frame.detections[place], known.get(place)
            usurped = None if track is not None else self._usurped(frame, place)
            if usurped is not None:
                touched |= self._restore(frame, place, usurped)
                continue
            if track is None:
                track = self._tracks.begin(detection.box_xyxy, frame.time_s)
            else:
                self._resume(track, detection, frame.time_s)
            frame.found[place] = track
            if place in frame.seen:
                self._add(track, frame, place)
                touched.add(track.number)
        return touched

    def _usurped(self, frame: _Frame, place: int) -> Optional[int]:
        """Return where the track of a new face went on with somebody else's; None if it did not."""
        if place not in frame.seen:
            return None
        vector = frame.seen[place].vector
        likely = [
            (track.evidence.similarity_to(vector), other)
            for other, track in frame.found.items()
            if len(track.evidence) and (track.met or track.doubtful or track.contradictions)
        ]
        best, other = max(likely, default=(-1.0, -1))
        if best < self._rules.same:
            return None
        if other not in frame.seen:
            self._look(frame, [other])
        own = frame.found[other].evidence.similarity_to(frame.seen[other].vector)
        return other if own < min(best - self._lead, self._rules.same) else None

    def _restore(self, frame: _Frame, place: int, other: int) -> set[int]:
        """Give a track its face back, and begin another one for the face that it went on with."""
        track = frame.found.pop(other)
        self._resume(track, frame.detections[place], frame.time_s)
        track.appearances -= 1  # this frame was counted already
        frame.found[place] = track
        self._add(track, frame, place)
        known = self._recognised(frame, [other])
        heir = known.get(other)
        if heir is None:
            heir = self._tracks.begin(frame.detections[other].box_xyxy, frame.time_s)
        else:
            self._resume(heir, frame.detections[other], frame.time_s)
        frame.found[other] = heir
        self._add(heir, frame, other)
        return {track.number, heir.number}

    def _recognised(self, frame: _Frame, places: Sequence[int]) -> dict[int, Track]:
        """Find, among the tracks that are out of sight, those of new faces."""
        lost = self._lost(frame)
        places = [place for place in places if place in frame.seen and frame.seen[place].quality >= _FIT]
        lost = [one for one in lost if one.looked_quality >= _FIT]
        if not lost or not places:
            return {}
        table = np.array([[one.evidence.similarity_to(frame.seen[place].vector) for one in lost] for place in places])
        return {places[row]: lost[column] for row, column in best_pairs(table - self._rules.same)}

    def _lost(self, frame: _Frame) -> list[Track]:
        present = frame.numbers()
        lost = [one for one in self._tracks.open.values() if one.number not in present and len(one.evidence)]
        return sorted(lost, key=lambda one: -one.last_s)[:_MOST_LOST]

    def _resume(self, track: Track, detection: Detection, time_s: float) -> None:
        track.motion = Motion(detection.box_xyxy, time_s)
        track.see(time_s)
        track.appearances += 1
        track.met.clear()
        track.doubtful = False

    def _add(self, track: Track, frame: _Frame, place: int) -> None:
        """Take a look into the evidence of its track, which is no longer in doubt."""
        seen = frame.seen[place]
        track.evidence.add(Look(seen.vector, weight_of(seen.quality), frame.time_s))
        self._count_look(track, seen, frame.time_s)
        track.met.clear()
        track.doubtful = False
        track.contradictions.clear()

    def _count_look(self, track: Track, seen: Seen, time_s: float) -> None:
        track.looks += 1
        track.looked_s = track.judged_s = time_s
        track.looked_quality = max(track.looked_quality, seen.quality)
        self._best_quality[track.number] = max(self._best_quality.get(track.number, 0.0), seen.quality)

    def _judge(self, frame: _Frame, place: int) -> set[int]:
        """Hold a look against the track that it was taken of; returns the tracks whose evidence has changed."""
        track, seen = frame.found[place], frame.seen[place]
        if not len(track.evidence):
            self._add(track, frame, place)
            return {track.number}
        own = track.evidence.similarity_to(seen.vector)
        rival = self._rival(frame, track, seen, own)
        if rival is not None and self._exchange(frame, place, rival):
            return {track.number, rival.number}
        if own >= self._rules.different or seen.quality < _PLAIN:
            if own >= self._rules.different:
                self._add(track, frame, place)
                return {track.number}
            self._count_look(track, seen, frame.time_s)
            return set()
        self._count_look(track, seen, frame.time_s)
        track.contradictions.append(Look(seen.vector, weight_of(seen.quality), frame.time_s))
        if not track.doubtful and len(track.contradictions) < 2:
            return set()
        return self._part(frame, place)

    def _rival(self, frame: _Frame, track: Track, seen: Seen, own: float) -> Optional[Track]:
        """Return the track, among those met and those out of sight, whose face this is more likely to be."""
        met = [self._tracks.open[number] for number in track.met if number in self._tracks.open]
        lost = [one for one in self._lost(frame) if not self._is_one_face(one, track)]  # those are joined, see below
        rivals = {one.number: one for one in [*met, *lost]}
        likely = [(one.evidence.similarity_to(seen.vector), one.number) for one in rivals.values() if len(one.evidence)]
        best, number = max(likely, default=(-1.0, -1))
        return rivals[number] if best >= max(self._rules.same, own + self._lead) else None

    def _is_one_face(self, old: Track, track: Track) -> bool:
        return old.evidence.similarity_between(track.evidence) >= self._rules.same

    def _exchange(self, frame: _Frame, place: int, rival: Track) -> bool:
        """Give a face to the track that it looks like, if that one's face, when it is in sight, agrees."""
        track = frame.found[place]
        other = frame.place_of(rival)
        if other is not None:
            if other not in frame.seen:
                self._look(frame, [other])
            vectors = frame.seen[place].vector, frame.seen[other].vector
            stay = track.evidence.similarity_to(vectors[0]) + rival.evidence.similarity_to(vectors[1])
            change = rival.evidence.similarity_to(vectors[0]) + track.evidence.similarity_to(vectors[1])
            if change <= stay:
                return False
            frame.found[other] = track
        frame.found[place] = rival
        if other is None:
            self._hand_over(track, rival, frame, place)
        else:
            track.motion, rival.motion = rival.motion, track.motion
            self._add(track, frame, other)
        self._add(rival, frame, place)
        return True

    def _hand_over(self, track: Track, rival: Track, frame: _Frame, place: int) -> None:
        """Give the face of a track to one that was out of sight.

        A track that was itself out of sight until this frame has only taken a wrong box now: it goes on where it was
        expected, and so does the other. Else both have gone on as each other since they met.
        """
        was_away = track.doubtful and track.before is not None
        before, after = track.before, (track.motion, track.last_s)
        can_be_expected = rival.motion is not None and frame.time_s - rival.last_s <= COAST_S
        if was_away and can_be_expected and before is not None and rival.motion is not None:
            rival.motion.update(frame.detections[place].box_xyxy, frame.time_s)
            track.motion, track.last_s = before
        else:
            track.motion, track.last_s = (rival.motion, rival.last_s) if can_be_expected else (None, frame.time_s)
            rival.motion = after[0]
        rival.see(frame.time_s)
        rival.appearances, track.appearances = rival.appearances + 1, max(1, track.appearances - 1)
        track.met.clear()
        track.contradictions.clear()

    def _part(self, frame: _Frame, place: int) -> set[int]:
        """Take a face away from a track that is another person's; that one is out of sight from here on."""
        track, detection = frame.found.pop(place), frame.detections[place]
        looks, track.contradictions = track.contradictions, []
        track.motion, track.doubtful = None, False
        track.met.clear()
        track.appearances = max(1, track.appearances - 1)
        known = self._recognised(frame, [place])
        heir = known.get(place)
        if heir is None or heir is track:
            heir = self._tracks.begin(detection.box_xyxy, frame.time_s)
        else:
            self._resume(heir, detection, frame.time_s)
        frame.found[place] = heir
        for look in looks[:-1]:
            heir.evidence.add(look)
        self._add(heir, frame, place)
        return {heir.number}

    def _merge_young(self, frame: _Frame, touched: Iterable[int]) -> set[int]:
        """Join new tracks with lost ones that they turn out to be, now that their faces were seen better."""
        merged = set()
        for place, young in list(frame.found.items()):
            if young.number not in touched or len(young.evidence) < 2:
                continue
            lost = [one for one in self._lost(frame) if one.number < young.number and one.looked_quality >= _FIT]
            if not lost or young.looked_quality < _FIT:
                continue
            old = max(lost, key=lambda one: one.evidence.similarity_between(young.evidence))
            # Who was seen together is two people, unless the tracker mistook one for the other.
            together = young.number in old.seen_with or old.last_s > young.first_s
            if old.evidence.similarity_between(young.evidence) >= self._rules.same + (
                2 * self._lead if together else 0
            ):
                self._join(frame, place, old)
                merged.add(old.number)
        return merged

    def _join(self, frame: _Frame, place: int, old: Track) -> None:
        young = frame.found[place]
        old.motion = young.motion
        old.spans = union([*old.spans, *young.spans], most_gap=ABSENCE_S)
        old.see(young.last_s)
        old.appearances += young.appearances
        old.evidence.join(young.evidence)
        old.looks, old.looked_s, old.judged_s = old.looks + young.looks, young.looked_s, young.judged_s
        old.looked_quality = max(old.looked_quality, young.looked_quality)
        self._best_quality[old.number] = max(
            self._best_quality.get(old.number, 0.0), self._best_quality.pop(young.number, 0.0)
        )
        old.seen_with.update(young.seen_with)
        for number in young.seen_with.keys() & self._tracks.open.keys():
            self._tracks.open[number].seen_with[old.number] += young.seen_with[number]
        old.met, old.doubtful = set(), False
        del self._tracks.open[young.number]
        frame.found[place] = old
        self.aliases[young.number] = old.number
        self._tell(Change(JOINED, old.number, frame.time_s, old.name, old.similarity, was=young.number))

    def _name(self, frame: _Frame, touched: Iterable[int]) -> None:
        """Ask the gallery about faces that were looked at, and name everybody in sight."""
        numbers = frame.numbers()
        for track in frame.found.values():
            track.seen_with.update(numbers - {track.number})
        asked = [self._tracks.open[number] for number in set(touched) if number in self._tracks.open]
        if self._looker is not None and asked:
            answers = self._looker.candidates(np.stack([track.evidence.fused for track in asked]))
            for track, candidates in zip(asked, answers):
                fused = [Candidate(one.name, track.evidence.fused_similarity(one.similarity)) for one in candidates]
                track.candidates = tuple(fused)
        tracks = list(frame.found.values())
        names = assign_names([self._claim(one) for one in tracks], self._rules, unique=self._settings.unique)
        for track, name in zip(tracks, names):
            self._rename(track, name, frame.time_s)

    def _claim(self, track: Track) -> Claim:
        fit = self._best_quality.get(track.number, 1.0) >= self._min_quality
        return Claim(track.candidates if fit else (), track.name, track.looks)

    def _rename(self, track: Track, name: Optional[str], time_s: float) -> None:
        before, track.name = track.name, name
        similarities = {one.name: one.similarity for one in track.candidates}
        best = track.candidates[0].similarity if track.candidates else None
        track.similarity = best if name is None else similarities[name]
        if not track.is_confirmed:
            return
        was_told = (ENTERED, track.number) in self._told
        if not was_told:
            self._told.add((ENTERED, track.number))
            self._tell(Change(ENTERED, track.number, track.first_s, name, track.similarity))
        if name is not None and (name != before or not was_told):
            self._tell(Change(NAMED, track.number, time_s, name, track.similarity, before=before if was_told else None))
        asked = bool(track.candidates) and track.looks >= _NOBODY_LOOKS and time_s - track.first_s >= _NOBODY_S
        if name is None and asked and (UNKNOWN_PERSON, track.number) not in self._told:
            self._told.add((UNKNOWN_PERSON, track.number))
            self._tell(Change(UNKNOWN_PERSON, track.number, time_s, None, track.similarity))

    def _tell(self, change: Change) -> None:
        self.changes.append(change)

    def _close(self, tracks: Iterable[Track]) -> None:
        for track in tracks:
            del self._tracks.open[track.number]
            claim = self._claim(track)
            self._best_quality.pop(track.number, None)
            self.closed.append(
                ClosedTrack(
                    number=track.number, claim=claim, similarity=track.similarity, first_s=track.first_s,
                    last_s=track.last_s, appearances=track.appearances, looks=track.looks,
                    is_confirmed=track.is_confirmed, seen_with=dict(track.seen_with), spans=tuple(track.spans),
                )
            )  # fmt: skip
            if (ENTERED, track.number) in self._told:
                self._told -= {(ENTERED, track.number), (UNKNOWN_PERSON, track.number)}
                self._tell(Change(LEFT, track.number, track.last_s, track.name, track.similarity))

    def _sightings(self, frame: _Frame) -> list[Sighting]:
        return [
            Sighting(
                track.number, frame.detections[place], track.name, track.similarity, track.candidates,
                frame.seen.get(place), frame.qualities.get(place),
            )
            for place, track in sorted(frame.found.items())
        ]  # fmt: skip
