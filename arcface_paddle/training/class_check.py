"""Labels from which nothing can be learned, or which are not what the user thinks, said before the first step."""

from __future__ import annotations

from typing import Callable

import numpy as np

from arcface_paddle.errors import DataError

_LABELS_NAMED = 5


def check_classes(
    labels: np.ndarray, num_classes: int, *, name: str, say: Callable[[str], None], subcentres: int = 1
) -> None:
    """Refuse data of one class, whose loss is 0 whatever the network does, and say which classes are empty or small.

    Args:
        labels: (N,) integers from 0 to ``num_classes`` - 1.
        num_classes: size of the classifier.
        name: of the dataset, for messages.
        say: gets the line on empty classes, and on those that have fewer samples than sub-centres.
        subcentres: centres a class.

    Raises:
        DataError: fewer than two classes have samples.
    """
    counts = np.bincount(labels, minlength=num_classes)
    empty = np.flatnonzero(counts == 0)
    if num_classes - len(empty) < 2:
        raise DataError(
            f"{name}: all {len(labels)} samples have label {int(labels[0])}; training tells people apart and needs at "
            "least two: check the labels, or add other people"
        )
    if len(empty):
        shown = ", ".join(map(str, empty[:_LABELS_NAMED])) + (", …" if len(empty) > _LABELS_NAMED else "")
        say(
            f"{name}: {len(empty)} of {num_classes} classes have no sample (labels {shown}): each costs a class centre "
            "and is a stranger whom nobody resembles; number the labels without gaps, or check --num_classes"
        )
    small = int(((counts > 0) & (counts < subcentres)).sum())
    if small:
        say(
            f"{name}: {small} of {num_classes} classes have fewer samples than sub-centres ({subcentres}): the rest of "
            "their centres are strangers; leave out people with few pictures, or take a smaller --subcentres"
        )
