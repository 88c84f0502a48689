"""From a list of pairs of photographs to the aligned pictures of a verification set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Sequence

import numpy as np

from arcface_paddle import images
from arcface_paddle.data.align import FaceCutter
from arcface_paddle.data.pairs import Pair, read_picture
from arcface_paddle.data.parallel import ordered_map
from arcface_paddle.errors import DataError, ImageError

FOLDS = 10
"""Number of folds of the published protocol, which cuts the pairs into them in the order of the list."""


@dataclass(frozen=True, eq=False)
class AlignedPairs:
    """The pictures of pairs, aligned.

    Attributes:
        pictures: 2N encoded PNG, two per pair.
        issame: N truth values.
        several: photographs that show several faces, of which one was chosen.
        left_out: pairs of which a photograph gave no face: where the list names it, and why.
    """

    pictures: list[bytes]
    issame: list[bool]
    several: int
    left_out: tuple[tuple[str, str], ...]


def align_pairs(
    pairs: Sequence[Pair],
    cutter: FaceCutter,
    *,
    workers: int = 2,
    progress: Callable[[int], Any] = lambda count: None,
) -> AlignedPairs:
    """Align the photographs of pairs, each photograph once however many pairs it is in.

    A pair of which a photograph gives no face is left out: with an arbitrary picture in its place the set would measure
    that picture. What is left moves up, and the protocol cuts its folds in the order of the list: the borders of the
    folds move by at most as many pairs as were left out. So that a fold whose border moves does not gain pairs of one
    kind, genuine and impostor pairs alternate inside of each tenth of the list then (lists as LFW's have them in two
    blocks). If nothing is left out, the order is that of the list.

    Args:
        pairs: see ``read_pair_list``.
        cutter: see ``align.open_face_cutter``.
        workers: threads.
        progress: called with the number of photographs done since the last call; see ``photographs_of``.

    Raises:
        DataError: a photograph is missing (said before the first is aligned), or no pair is left.
    """
    photographs = photographs_of(pairs)
    faces: dict[Path, _Face] = {}
    work = ordered_map(lambda path: _face_of(path, cutter), photographs, workers=workers)
    for path, face in zip(photographs, work):
        faces[path] = face
        progress(1)
    reasons = {pair: faces[pair.first].reason or faces[pair.second].reason for pair in pairs}
    left_out = [(pair.place, reasons[pair]) for pair in pairs if reasons[pair]]
    kept = [pair for pair in (_alternating(pairs) if left_out else pairs) if not reasons[pair]]
    if not kept:
        raise DataError(f"none of the {len(pairs)} pairs is left; the first, {': '.join(left_out[0])}")
    pictures = [faces[path].content for pair in kept for path in (pair.first, pair.second)]
    several = sum(face.count > 1 and not face.reason for face in faces.values())
    return AlignedPairs(pictures, [pair.same for pair in kept], several, tuple(left_out))


def photographs_of(pairs: Sequence[Pair]) -> list[Path]:
    """Return the photographs of pairs, each once.

    Raises:
        DataError: one is missing; the message names the line of the list.
    """
    found: dict[Path, None] = {}
    for pair in pairs:
        for path in (pair.first, pair.second):
            if path not in found and not path.exists():
                raise DataError(f"{pair.place}: {path}: no such file")
            found[path] = None
    return list(found)


def _alternating(pairs: Sequence[Pair]) -> list[Pair]:
    """Spread the genuine pairs of each tenth evenly among its impostor pairs; either kind keeps its order."""
    ordered: list[Pair] = []
    for positions in np.array_split(np.arange(len(pairs)), FOLDS):
        tenth = [pairs[position] for position in positions]
        places: list[tuple[float, Pair]] = []
        for kind in (True, False):
            of_kind = [pair for pair in tenth if pair.same is kind]
            places += [((rank + 0.5) / len(of_kind), pair) for rank, pair in enumerate(of_kind)]
        ordered += [pair for _, pair in sorted(places, key=lambda place: place[0])]
    return ordered


def fold_balance(issame: Sequence[bool]) -> tuple[int, int, int, int]:
    """Return the fewest and the most genuine pairs of a fold, then the fewest and the most impostor pairs."""
    folds = np.array_split(np.asarray(issame, dtype=bool), FOLDS)
    genuine = [int(fold.sum()) for fold in folds]
    impostor = [len(fold) - count for fold, count in zip(folds, genuine)]
    return min(genuine), max(genuine), min(impostor), max(impostor)


@dataclass(frozen=True)
class _Face:
    """The encoded face of a photograph and how many it shows, or why there is none."""

    content: bytes = b""
    count: int = 0
    reason: str = ""


def _face_of(path: Path, cutter: FaceCutter) -> _Face:
    try:
        photograph = images.decode_image(read_picture(path), name=str(path))
    except (DataError, ImageError) as error:
        return _Face(reason=str(error))
    try:
        face = cutter.cut(photograph)
    except ImageError as error:
        return _Face(reason=f"{path}: {error}")
    return _Face(images.encode_image(face.crop, suffix=".png"), face.face_count)
