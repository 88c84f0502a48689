"""What an examination can find, and the ledger in which it is written down."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass
from typing import Optional

PROBLEM = "problem"
NOTE = "note"


@dataclass(frozen=True)
class Kind:
    """A kind of finding.

    Attributes:
        key: short name for JSON and ``--ignore``.
        severity: ``problem`` makes the command exit with 1, ``note`` does not.
        title: heading in reports.
        advice: what it means and what to do.
        order: 1 puts findings with the lowest score first, -1 those with the highest; 0 leaves the order of the
            dataset.
    """

    key: str
    severity: str
    title: str
    advice: str
    order: int = 0


_ALL_KINDS = (
    Kind(
        "label_gap", PROBLEM, "Labels not contiguous from 0", "Each unused label costs a class centre; relabel (--fix)."
    ),
    Kind(
        "single_image",
        NOTE,
        "Identities with a single image",
        "They teach little within the class; find more images, or leave them out.",
    ),
    Kind(
        "missing",
        PROBLEM,
        "Missing images",
        "Listed, but there is no such file or record; put them back, or leave them out (--fix).",
    ),
    Kind(
        "unreadable",
        PROBLEM,
        "Unreadable images",
        "Not a picture, or a damaged one; fetch them anew, or leave them out (--fix).",
    ),
    Kind(
        "truncated",
        PROBLEM,
        "Truncated images",
        "The end of the picture is missing; fetch them anew, or leave them out (--fix).",
    ),
    Kind(
        "odd_size",
        PROBLEM,
        "Images of another size",
        "Training resizes them, and an unaligned picture harms it; align the photographs ('data align').",
    ),
    Kind("near_black", PROBLEM, "Near-black images", "Nothing can be seen on them; take them out of the labels."),
    Kind("near_white", PROBLEM, "Near-white images", "Nothing can be seen on them; take them out of the labels."),
    Kind("grayscale", NOTE, "Grayscale images", "Harmless in small numbers."),
    Kind(
        "channel_order",
        PROBLEM,
        "Channels seem to be swapped",
        "Skin is redder than blue in RGB; here it is not. Find the step that wrote BGR, and write the images anew.",
    ),
    Kind(
        "exact_duplicate_same",
        PROBLEM,
        "Exact duplicates within an identity",
        "The same pixels more than once; --fix keeps one.",
    ),
    Kind(
        "exact_duplicate_across",
        PROBLEM,
        "Exact duplicates across identities",
        "One picture with several labels; --fix keeps the one that fits its identity best (without a recogniser the "
        "first).",
    ),
    Kind(
        "near_duplicate_same",
        PROBLEM,
        "Near duplicates within an identity",
        "Copies that were re-encoded, resized, cropped or mirrored; the picture weighs double. --fix leaves them in.",
    ),
    Kind(
        "near_duplicate_across",
        PROBLEM,
        "Near duplicates across identities",
        "Almost one picture with several labels, so all but one are wrong; look, and take them out of the labels.",
    ),
    Kind(
        "verification_image",
        PROBLEM,
        "Images of a verification set",
        "Training on them makes the score worthless; leave them out (--fix).",
    ),
    Kind(
        "verification_identity",
        PROBLEM,
        "People of a verification set",
        "Candidates by embedding, so look at them; a person who is in both should be left out of the training.",
        -1,
    ),
    Kind(
        "cluster_reject",
        PROBLEM,
        "Images apart from their identity",
        "Outside of the identity's main cluster: strangers, or hard pictures of the person. --copy_rejected copies "
        "them aside, --fix leaves them out.",
        1,
    ),
    Kind(
        "split_identity",
        PROBLEM,
        "Identities without a main cluster",
        "Several people of equal weight, or one in very different pictures; sort them by hand (--copy_rejected copies "
        "them aside by cluster). --fix leaves them in.",
    ),
    Kind(
        "same_person",
        PROBLEM,
        "One person under two labels",
        "Their centroids are very similar; look, and give both one label.",
        -1,
    ),
    Kind(
        "mislabelled",
        PROBLEM,
        "Images nearer to another identity",
        "They probably carry the wrong label; look, and correct it or leave them out.",
        -1,
    ),
)
KINDS = {kind.key: kind for kind in _ALL_KINDS}
"""Every kind by its key, in the order of reports."""


@dataclass(frozen=True)
class VerificationRef:
    """An image of a verification set: the set's name, its number (from 0, two per pair) and its pair."""

    set_name: str
    image: int

    @property
    def pair(self) -> int:
        return self.image // 2


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        kind: key of ``KINDS``.
        detail: what exactly, with the value.
        samples: indices into the dataset of the images concerned, the one to keep first.
        labels: identities concerned, for findings about labels rather than images.
        score: similarity, distance or count that orders findings of a kind; None when there is none.
        verification: images of verification sets concerned.
        references: indices of images to compare with, such as a typical one of the identity.
        groups: sizes of the runs of ``samples`` that belong together; empty when they all do.
    """

    kind: str
    detail: str
    samples: tuple[int, ...] = ()
    labels: tuple[int, ...] = ()
    score: Optional[float] = None
    verification: tuple[VerificationRef, ...] = ()
    references: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()


class Ledger:
    """Collects findings: all are counted, ``max_listed`` of each kind are kept.

    Kept are the first in the order of the kind: the most doubtful where it goes by the score, else those that came
    first.
    """

    def __init__(self, max_listed: int) -> None:
        self.counts: Counter[str] = Counter()
        self._heaps: dict[str, list[tuple[float, int, Finding]]] = {key: [] for key in KINDS}  # the last one is on top
        self._max_listed = max_listed

    def add(self, finding: Finding) -> None:
        """Count a finding, and keep it if it is one of the first."""
        self.counts[finding.kind] += 1
        heap = self._heaps[finding.kind]
        rank = KINDS[finding.kind].order * (finding.score or 0.0)
        entry = -rank, -self.counts[finding.kind], finding
        if len(heap) < self._max_listed:
            heapq.heappush(heap, entry)
        elif entry[:2] > heap[0][:2]:
            heapq.heapreplace(heap, entry)

    def listed(self, kind: str) -> list[Finding]:
        """Return the findings of a kind that are kept, in the order that the kind asks for."""
        return [finding for _, _, finding in sorted(self._heaps[kind], key=lambda entry: entry[:2], reverse=True)]

    def kinds_found(self) -> list[Kind]:
        """Return the kinds that occur, in the order of reports."""
        return [kind for kind in _ALL_KINDS if self.counts[kind.key]]

    def problem_count(self, ignored: frozenset[str] = frozenset()) -> int:
        """Return how many findings are problems and not ``ignored``."""
        return sum(count for key, count in self.counts.items() if KINDS[key].severity == PROBLEM and key not in ignored)
