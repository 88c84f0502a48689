"""Facts about the labels alone: identities, images per identity, unused labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arcface_paddle.doctor.findings import Finding, Ledger

_BIN_STARTS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True, eq=False)
class LabelFacts:
    """Facts about the labels of a dataset.

    Attributes:
        images: number of images.
        identities: (K,) int64, the labels that occur, ascending.
        images_of: (K,) int64, how many images each of them has.
        unused: ranges (first, last) of labels below the number of classes that no image has.
    """

    images: int
    identities: np.ndarray
    images_of: np.ndarray
    unused: tuple[tuple[int, int], ...]

    def histogram(self) -> list[tuple[str, int]]:
        """Return (range of images, number of identities) from 1 image to the largest bin that occurs."""
        edges = np.array([*_BIN_STARTS, np.iinfo(np.int64).max])
        counts = np.histogram(self.images_of, bins=edges)[0]
        used = int(np.flatnonzero(counts).max(initial=-1)) + 1
        return [(_bin_name(index), int(counts[index])) for index in range(used)]


def examine_labels(labels: np.ndarray, num_classes: int, *, ledger: Ledger) -> LabelFacts:
    """Describe labels and write unused ones and identities with a single image into the ledger.

    Args:
        labels: (N,) int64.
        num_classes: labels should be 0 to ``num_classes - 1``.
        ledger: takes the findings ``label_gap`` and ``single_image``.
    """
    identities, images_of = np.unique(labels, return_counts=True)
    facts = LabelFacts(len(labels), identities, images_of, _unused_ranges(identities, num_classes))
    for first, last in facts.unused:
        names = f"label {first} has" if first == last else f"labels {first} to {last} have"
        ledger.add(Finding("label_gap", f"{names} no image", labels=(first, last), score=float(last - first + 1)))
    singles = identities[images_of == 1]
    for label, sample in zip(singles, _first_samples(labels, singles)):
        ledger.add(Finding("single_image", "the only image of its identity", (int(sample),), (int(label),)))
    return facts


def _unused_ranges(identities: np.ndarray, num_classes: int) -> tuple[tuple[int, int], ...]:
    top = max(num_classes, int(identities.max(initial=-1)) + 1)
    fence = np.concatenate([[-1], identities, [top]])
    before = np.flatnonzero(np.diff(fence) > 1)
    return tuple((int(fence[at]) + 1, int(fence[at + 1]) - 1) for at in before)


def _first_samples(labels: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the index of the first image of each wanted label."""
    known, first = np.unique(labels, return_index=True)
    return first[np.searchsorted(known, wanted)]


def _bin_name(index: int) -> str:
    first = _BIN_STARTS[index]
    if index + 1 == len(_BIN_STARTS):
        return f"{first}+"
    last = _BIN_STARTS[index + 1] - 1
    return str(first) if first == last else f"{first}-{last}"
