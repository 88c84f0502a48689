"""Near duplicates of a library: the same photograph smaller, recompressed, or cropped by a hair counts once."""

from __future__ import annotations

from typing import Sequence

import numpy as np

from arcface_paddle.library.store import StoredPicture
from arcface_paddle.pipeline.copies import NEAR_CORRELATION, NEAR_RADIUS, CopyCandidates, Links

SAME_PLACE_IOU = 0.5
"""Overlap from which a face of a duplicate is the face of the original, in coordinates relative to the picture."""


def find_duplicates(pictures: Sequence[StoredPicture]) -> dict[str, str]:
    """Return of which picture another is a near duplicate: SHA-256 of the original by that of the duplicate.

    The original is the picture with the most pixels, the first of equal ones. Each duplicate is a copy of it itself
    and not of another duplicate: along a series of a moving camera, neighbours are alike and the ends are not.
    """
    readable = [picture for picture in pictures if picture.gray is not None]
    codes = np.array([picture.perceptual for picture in readable], np.uint64)

    def gray_of(index: int) -> np.ndarray:
        gray = readable[index].gray
        assert gray is not None
        return gray.astype(np.float32)

    links = Links(gray_of, NEAR_CORRELATION)
    candidates = CopyCandidates(codes, np.arange(len(readable)), radius=NEAR_RADIUS, links=links)
    for one, other, mirrored in sorted(candidates):
        links.compare(one, other, mirrored=mirrored)
    original_of: dict[str, str] = {}
    for group, _, _ in links.groups():
        original_of.update(_stars(group.tolist(), readable, links))
    return original_of


def _stars(group: list[int], pictures: Sequence[StoredPicture], links: Links) -> dict[str, str]:
    """Give each picture of a chain of copies to the largest picture of which it is a copy itself."""
    largest_first = sorted(group, key=lambda index: -pictures[index].size_wh[0] * pictures[index].size_wh[1])
    originals: list[int] = []
    original_of: dict[str, str] = {}
    for index in largest_first:
        mine = next((o for o in originals if any(links.are_copies(o, index, mirrored=m) for m in (False, True))), None)
        if mine is None:
            originals.append(index)
        else:
            original_of[pictures[index].sha256] = pictures[mine].sha256
    return original_of


def same_places(original: StoredPicture, duplicate: StoredPicture) -> dict[int, int]:
    """Return which face of an original a face of its duplicate is: number by number, as far as one can tell.

    Mirrored duplicates are tried as well; the way on which more faces agree counts. Each face of the original is
    given once.
    """
    if not original.face_count or not duplicate.face_count:
        return {}
    theirs = _relative(duplicate)
    mirrored = theirs.copy()
    mirrored[:, [0, 2]] = 1 - theirs[:, [2, 0]]
    found = [_pairs_by_overlap(_relative(original), boxes) for boxes in (theirs, mirrored)]
    return max(found, key=len)


def _relative(picture: StoredPicture) -> np.ndarray:
    width, height = picture.size_wh
    return picture.boxes_xyxy / np.array([width, height, width, height], np.float32)


def _pairs_by_overlap(originals: np.ndarray, duplicates: np.ndarray) -> dict[int, int]:
    """Pair boxes (N, 4) and (M, 4), those that overlap most first."""
    low = np.maximum(originals[:, None, :2], duplicates[None, :, :2])
    high = np.minimum(originals[:, None, 2:], duplicates[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1) for boxes in (originals, duplicates)]
    overlap = shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-12)
    pairs: dict[int, int] = {}
    for flat in np.argsort(-overlap, axis=None, kind="stable"):
        one, other = divmod(int(flat), len(duplicates))
        if overlap[one, other] < SAME_PLACE_IOU:
            break
        if other not in pairs and one not in pairs.values():
            pairs[other] = one
    return pairs
