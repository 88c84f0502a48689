"""Where a face is, in the coordinates of the MWG standard.

The Metadata Working Group's guidelines (version 2.0, chapter 5) give an area as its centre and size in shares of the
picture's width and height, *as the file stores its pixels*: EXIF orientation does not count. Boxes of this package are
in pixels of the upright picture. ``AppliedToDimensions`` names the width and height that the shares belong to; some
programs write those of the upright picture and mean it, which shows in the order of the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence

TRANSPOSED, FROM_BELOW, FROM_RIGHT = frozenset({5, 6, 7, 8}), frozenset({3, 4, 6, 7}), frozenset({2, 3, 7, 8})
"""EXIF orientations in which rows are stored as columns, from the bottom up, from right to left."""

_SHAPE_TOLERANCE = 0.01
"""By how much the shapes of two sizes may differ: a photograph scaled to a few hundred pixels is rounded."""


@dataclass(frozen=True)
class Area:
    """A rectangle in shares of the width and height of a picture as it is stored.

    Attributes:
        x, y: its centre, 0 to 1 from the left and from the top.
        width, height: its size, 0 to 1.
    """

    x: float
    y: float
    width: float
    height: float

    def overlap(self, other: Area) -> float:
        """Return the intersection over the union of two areas, 0 to 1.

        >>> Area(.5, .5, .2, .2).overlap(Area(.5, .5, .2, .1))
        0.5
        """
        shared = 1.0
        for mine, size, theirs, their_size in (
            (self.x, self.width, other.x, other.width),
            (self.y, self.height, other.y, other.height),
        ):
            begin = max(mine - size / 2, theirs - their_size / 2)
            shared *= max(0.0, min(mine + size / 2, theirs + their_size / 2) - begin)
        union = self.width * self.height + other.width * other.height - shared
        return round(shared / union, 9) if union > 0 else 0.0

    def rounded(self, decimals: int) -> Area:
        """Return the area with so many decimals."""
        return Area(*(round(value, decimals) for value in (self.x, self.y, self.width, self.height)))


def area_of_box(box_xyxy: Sequence[float], *, stored_size_wh: tuple[int, int], orientation: int) -> Optional[Area]:
    """Return the area of a box in pixels of the upright picture; None where nothing of it is on the picture."""
    width, height = upright_size(stored_size_wh, orientation)
    left, right = (min(1.0, max(0.0, value / width)) for value in (box_xyxy[0], box_xyxy[2]))
    top, bottom = (min(1.0, max(0.0, value / height)) for value in (box_xyxy[1], box_xyxy[3]))
    if right <= left or bottom <= top:
        return None
    x, y, wide, high = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    if orientation in TRANSPOSED:
        x, y, wide, high = y, x, high, wide
    return Area(1 - x if orientation in FROM_RIGHT else x, 1 - y if orientation in FROM_BELOW else y, wide, high)


def box_of_area(area: Area, *, stored_size_wh: tuple[int, int], orientation: int) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom of an area in pixels of the upright picture."""
    width, height = upright_size(stored_size_wh, orientation)
    x = 1 - area.x if orientation in FROM_RIGHT else area.x
    y = 1 - area.y if orientation in FROM_BELOW else area.y
    wide, high = area.width, area.height
    if orientation in TRANSPOSED:
        x, y, wide, high = y, x, high, wide
    return (x - wide / 2) * width, (y - high / 2) * height, (x + wide / 2) * width, (y + high / 2) * height


def upright_size(stored_size_wh: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return the width and height of a picture that has been turned upright."""
    width, height = stored_size_wh
    return (height, width) if orientation in TRANSPOSED else (width, height)


def orientation_of_areas(
    applied_to_wh: Optional[tuple[float, float]], *, stored_size_wh: tuple[int, int], orientation: int
) -> Optional[int]:
    """Return the orientation by which areas are to be read; None when they belong to another picture.

    Args:
        applied_to_wh: ``AppliedToDimensions``; None where the file does not say, which means the stored size.
        stored_size_wh: of the picture as it is now.
        orientation: EXIF orientation of the picture.

    Returns:
        ``orientation`` for areas of the stored picture, at any scale; 1 for areas of the upright picture; None when
        the picture has been cropped or turned since.
    """
    if applied_to_wh is None or _same_shape(applied_to_wh, stored_size_wh):
        return orientation
    return 1 if _same_shape(applied_to_wh, upright_size(stored_size_wh, orientation)) else None


def _same_shape(one_wh: tuple[float, float], other_wh: tuple[int, int]) -> bool:
    (width, height), (other_width, other_height) = one_wh, other_wh
    if min(width, height, other_width, other_height) <= 0:
        return False
    return abs(width * other_height / (height * other_width) - 1) <= _SHAPE_TOLERANCE
