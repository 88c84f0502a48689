"""How good groups are, where it is known who is who: pair precision and recall, and B-cubed.

With n_gp faces of person p in group g, n_g in the group and n_p of the person::

    pair precision  = sum n_gp (n_gp - 1) / sum n_g (n_g - 1)        pair recall  = ... / sum n_p (n_p - 1)
    B-cubed precision = sum n_gp^2 / n_g / N                         B-cubed recall = sum n_gp^2 / n_p / N

(Amigo et al.: A comparison of extrinsic clustering evaluation metrics, Information Retrieval 2009.) Pairs weigh people
with many pictures by the square of their number, B-cubed weighs every face the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class GroupingScores:
    """All 0 to 1; a precision without any pair is 1."""

    pair_precision: float
    pair_recall: float
    bcubed_precision: float
    bcubed_recall: float

    @property
    def pair_f(self) -> float:
        """Harmonic mean of precision and recall over pairs of faces."""
        return _harmonic(self.pair_precision, self.pair_recall)

    @property
    def bcubed_f(self) -> float:
        """Harmonic mean of the B-cubed precision and recall."""
        return _harmonic(self.bcubed_precision, self.bcubed_recall)


def score_groups(groups: np.ndarray, people: np.ndarray) -> GroupingScores:
    """Compare groups (N,) with people (N,), one or more faces.

    Example:
        >>> scores = score_groups(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]))
        >>> scores.pair_precision, round(scores.pair_recall, 3), scores.bcubed_precision
        (0.5, 0.333, 0.75)
    """
    _, group = np.unique(groups, return_inverse=True)
    _, person = np.unique(people, return_inverse=True)
    group, person = group.reshape(-1), person.reshape(-1)
    cells, counts = np.unique(group * np.int64(person.max() + 1) + person, return_counts=True)
    of_group, of_person = np.bincount(group), np.bincount(person)
    in_group, in_person = of_group[cells // (person.max() + 1)], of_person[cells % (person.max() + 1)]
    both = _pairs(counts)
    return GroupingScores(
        both / _pairs(of_group) if _pairs(of_group) else 1.0,
        both / _pairs(of_person) if _pairs(of_person) else 1.0,
        float((counts**2 / in_group).sum()) / len(group),
        float((counts**2 / in_person).sum()) / len(group),
    )


def _pairs(counts: np.ndarray) -> float:
    return float((counts * (counts - 1.0)).sum())


def _harmonic(one: float, other: float) -> float:
    return 2 * one * other / (one + other) if one + other else 0.0
