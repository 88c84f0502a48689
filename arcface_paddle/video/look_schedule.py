"""Which faces are looked at in a frame: those to whom it matters most, within the budget."""

from __future__ import annotations

from typing import Optional, Sequence

from arcface_paddle.video.frame_state import FrameState
from arcface_paddle.video.identity import NameRules
from arcface_paddle.video.looking import FASTEST_S, LookBudget, Looker, is_clearly_better, pause_before_next
from arcface_paddle.video.tracks import Track

_UNFIT = 0.5  # of the best quality, below which a look that is due waits


class LookSchedule:
    """Decides who is looked at, and takes the looks.

    Attributes:
        budget: appearances and looks so far.
    """

    def __init__(self, looker: Optional[Looker], rules: NameRules, budget: LookBudget, *, strong: float) -> None:
        """Take what it needs.

        Args:
            looker: embeds faces; None where nobody is looked at.
            rules: thresholds of similarity.
            budget: looks that may be taken.
            strong: score from which on a detection is a face, and worth a look.
        """
        self.budget = budget
        self._looker = looker
        self._rules = rules
        self._strong = strong

    def due(self, frame: FrameState, *, keep_back: int) -> list[int]:
        """Choose the faces with a track that are worth a look now.

        Args:
            frame: with the tracks of its detections; the qualities that are measured are noted in it.
            keep_back: looks of the budget that are promised to new faces.

        Returns:
            Indices of their detections, the most urgent first.
        """
        if self._looker is None:
            return []
        ready = [index for index in frame.found if self._is_ready(frame, index)]
        qualities = self._looker.qualities(frame.image, [frame.detections[index] for index in ready])
        frame.qualities.update(zip(ready, qualities))
        worth = []
        for index in ready:
            track = frame.found[index]
            track.judged_s = frame.time_s
            urgency = self._urgency(track, frame, frame.qualities[index])
            if urgency is not None:
                worth.append((urgency, -frame.qualities[index], index))
        return [index for _, _, index in sorted(worth)[: max(0, self.budget.left - keep_back)]]

    def look(self, frame: FrameState, indices: Sequence[int]) -> None:
        """Look at faces of a frame, and note there what was seen."""
        if self._looker is None or not indices:
            return
        seen = self._looker.look(frame.image, [frame.detections[index] for index in indices])
        frame.seen.update(zip(indices, seen))
        self.budget.looks += len(indices)

    def _is_ready(self, frame: FrameState, index: int) -> bool:
        """Tell whether a face is plain enough, and was not judged a moment ago."""
        track = frame.found[index]
        since_s = frame.time_s - max(track.looked_s, track.judged_s)
        return frame.detections[index].score >= self._strong and since_s >= FASTEST_S - 1e-6

    def _urgency(self, track: Track, frame: FrameState, quality: float) -> Optional[int]:
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
