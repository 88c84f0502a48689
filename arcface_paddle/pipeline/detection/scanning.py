"""Which passes a picture needs: levels of resolution, and the pieces of each.

A detector notices faces from some width in its input on. The finest level shrinks the picture so far that the smallest
face that matters has just that width; it never enlarges. A picture that is then small enough takes one pass. A larger
one is cut into overlapping pieces, and what is too large to lie whole in one of them is left to a coarser level, and so
on until the whole picture fits into one pass. The resolution of a level depends on the smallest face alone and not on
the size of the picture, so that a face is found as well at the edge of a panorama as in a portrait.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import cv2
import numpy as np

from arcface_paddle.pipeline.cards import ScanSpec

SIZE_MULTIPLE = 32  # of the network's input, see backbones.centerface
_LARGEST_BORDER = 24  # pixels of the input; faces of which up to a third is cut off are found as well as with 48
_AREA_BELOW = 0.6  # shrinking further than to this, bilinear sampling would leave out pixels
_CALM_CONTRAST = 14  # grey levels within which a piece shows nothing; a face in deep shadow has more
_CALM_CELL = 4  # pixels over which brightness is averaged first, so that noise does not count


@dataclass(frozen=True)
class Piece:
    """One pass: a part of the picture, or all of it.

    Attributes:
        part_xyxy: left, top, right, bottom of the part in pixels of the picture.
        size_wh: width and height of the part in the input.
        border: black border in pixels of the input.
        seams: which of the part's left, top, right and bottom edges lie inside of the picture.
    """

    part_xyxy: tuple[int, int, int, int]
    size_wh: tuple[int, int]
    border: int
    seams: tuple[bool, bool, bool, bool]

    @property
    def factor(self) -> float:
        """By how much the part is shrunk."""
        return self.size_wh[0] / (self.part_xyxy[2] - self.part_xyxy[0])

    def scaled(self, image: np.ndarray) -> np.ndarray:
        """Cut the piece out of a picture (H, W, 3) and shrink it."""
        left, top, right, bottom = self.part_xyxy
        return shrink(image[top:bottom, left:right], self.size_wh)

    def canvas(self, image: np.ndarray) -> np.ndarray:
        """Cut the piece out of a picture (H, W, 3) and lay it on black, sides multiples of 32."""
        part = self.scaled(image)
        height, width = (_padded(side + 2 * self.border) for side in self.size_wh[::-1])
        canvas = np.zeros((height, width, 3), np.uint8)
        canvas[self.border : self.border + part.shape[0], self.border : self.border + part.shape[1]] = part
        return canvas

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """Bring points (..., 2) x, y of the input to the picture."""
        left, top, right, bottom = self.part_xyxy
        scale = np.array([self.size_wh[0] / (right - left), self.size_wh[1] / (bottom - top)])
        return (points - self.border) / scale + [left, top]

    def is_cut(self, boxes: np.ndarray) -> np.ndarray:
        """Say which of the boxes (N, 4), in the picture, end at a seam, so that a neighbour shows more of the face."""
        left, top, right, bottom = self.part_xyxy
        margin = 0.02 * (right - left)
        beyond = np.stack(
            [
                boxes[:, 0] < left + margin,
                boxes[:, 1] < top + margin,
                boxes[:, 2] > right - margin,
                boxes[:, 3] > bottom - margin,
            ],
            axis=1,
        )
        return (beyond & np.array(self.seams)).any(axis=1)


def levels(longer_side: int, *, min_face: int, spec: ScanSpec) -> list[float]:
    """Return the factors by which a picture is shrunk, finest first; the last makes it fit into one pass.

    Below the finest comes one of half its resolution, a quarter of its cost: it often shows that the finest is not
    needed.

    Args:
        longer_side: of the picture.
        min_face: width in pixels of the smallest face that matters.
        spec: of the detector.
    """
    finest = min(1.0, max(spec.face_in_input / min_face, spec.shrink_from / longer_side))
    if longer_side * finest <= spec.single_pass:
        return [finest]
    found = [finest, finest / 2]
    while longer_side * found[-1] > spec.single_pass:
        # What fills the overlap of a level is as large on the next as the smallest face on this, and safely noticed.
        coarser = found[-1] * 1.5 * spec.face_in_input / spec.overlap
        found.append(max(coarser, spec.single_pass / 2 / longer_side))
    return found


def pieces(size_wh: tuple[int, int], *, factor: float, spec: ScanSpec) -> Iterator[Piece]:
    """Cut a level into equal pieces, row by row; one piece if the level is small enough."""
    longer = max(size_wh) * factor
    if longer <= spec.single_pass:
        border = min(_LARGEST_BORDER, round(spec.border * longer))
        scaled = (max(1, round(size_wh[0] * factor)), max(1, round(size_wh[1] * factor)))
        yield Piece((0, 0, *size_wh), scaled, border, (False, False, False, False))
        return
    columns, rows = (_stretches(side, factor=factor, spec=spec) for side in size_wh)
    for top, bottom in rows:
        for left, right in columns:
            scaled = (max(1, round((right - left) * factor)), max(1, round((bottom - top) * factor)))
            seams = (left > 0, top > 0, right < size_wh[0], bottom < size_wh[1])
            yield Piece((left, top, right, bottom), scaled, 0, seams)


def _stretches(side: int, *, factor: float, spec: ScanSpec) -> list[tuple[int, int]]:
    """Divide one side of a picture into overlapping stretches of equal length."""
    tile, overlap = spec.tile / factor, spec.overlap / factor
    count = max(1, int(np.ceil((side - overlap) / (tile - overlap))))
    length = (side + (count - 1) * overlap) / count
    starts = np.arange(count) * (length - overlap)
    return [(int(start), min(side, int(np.ceil(start + length)))) for start in starts]


def is_calm(image: np.ndarray, piece: Piece) -> bool:
    """Say whether a part of a picture is sky or wall, without anything on it that a face could be."""
    left, top, right, bottom = piece.part_xyxy
    green = cv2.extractChannel(image[top:bottom, left:right], 1)  # stands for brightness
    cells = (max(1, green.shape[1] // _CALM_CELL), max(1, green.shape[0] // _CALM_CELL))
    low, high, _, _ = cv2.minMaxLoc(cv2.resize(green, cells, interpolation=cv2.INTER_AREA))
    return high - low < _CALM_CONTRAST


def shrink(image: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """Resize a picture to a size that is not larger: by area where bilinear sampling would leave out pixels.

    As long as it can be halved it is, which takes a tenth of the time of other averages (1080p to 600x338: .8 ms
    instead of 7.7); bilinear sampling at half the size takes the mean of 2x2 pixels.
    """
    while image.shape[1] >= 2 * size_wh[0] and image.shape[0] >= 2 * size_wh[1]:
        half_wh = (-(-image.shape[1] // 2), -(-image.shape[0] // 2))
        odd = (image.shape[0] | image.shape[1]) & 1  # then averages by area are slow
        image = cv2.resize(image, half_wh, interpolation=cv2.INTER_LINEAR if odd else cv2.INTER_AREA)
    if image.shape[1::-1] == size_wh:
        return image
    least = min(size_wh[0] / image.shape[1], size_wh[1] / image.shape[0])
    return cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA if least < _AREA_BELOW else cv2.INTER_LINEAR)


def _padded(side: int) -> int:
    return -(-side // SIZE_MULTIPLE) * SIZE_MULTIPLE
