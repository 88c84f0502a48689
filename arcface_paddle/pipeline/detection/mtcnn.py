"""MTCNN (Zhang et al. 2016, https://arxiv.org/abs/1604.02878): three small networks, each stricter than the last.

PNet goes over the picture at sizes that fall by a constant factor and proposes windows; RNet looks at each of them and
drops most; ONet looks at the rest, and gives box, landmarks and score. What a picture can cost is bounded: the largest
size is the one that shows the smallest face as wide as PNet's window, it is looked at in pieces, and only the best
places of each piece, size and picture go on.
"""

from __future__ import annotations

from typing import Iterator, Sequence

import cv2
import numpy as np

from arcface_paddle.errors import ModelFileError
from arcface_paddle.pipeline.cards import REFINEMENT, CascadeSpec, RefinerSpec
from arcface_paddle.pipeline.detection.boxes import nms, overlaps
from arcface_paddle.pipeline.detection.network_detector import NetworkDetector
from arcface_paddle.pipeline.model_files import ModelFolder
from arcface_paddle.pipeline.preprocessing import crop_square, to_blob
from arcface_paddle.pipeline.runtime import InferenceRuntime
from arcface_paddle.pipeline.settings import USUAL_DETECTION, DetectionSettings
from arcface_paddle.types import Detection

WINDOW = 12
"""Side in pixels of what PNet looks at."""

_STRIDE = 2  # pixels between neighbouring windows
_SEAM = WINDOW - _STRIDE  # pixels that two pieces share, so that each window lies whole in exactly one of them
_SIZE_MULTIPLE = 64  # of a piece: engines prepare for each new size, and so meet few
_BATCHES = (1, 2, 4, 8, 16, 32, 64)  # likewise for the crops; a batch is filled up to the next of these

# Bounds, no goals: a photograph of a crowd has some hundred places, and what comes after them is no face.
_MOST_OF_A_PIECE = 1000
_MOST_OF_A_PICTURE = 4000
_WEAKEST = 0.05  # score of ONet below which nothing is a face for anybody


class CascadeStage:
    """RNet or ONet: judges crops of a picture.

    Args:
        model: folder of a card for refinement.
        runtime: its network.
    """

    def __init__(self, model: ModelFolder, runtime: InferenceRuntime) -> None:
        if model.card.refiner is None:
            raise ModelFileError(f"{model.path}: is a model for {model.card.task}, not for {REFINEMENT}")
        self.spec: RefinerSpec = model.card.refiner
        self._model = model
        self._runtime = runtime

    def look(self, image: np.ndarray, squares: np.ndarray) -> dict[int, np.ndarray]:
        """Look at squares (N, 4) left, top, right, bottom of a picture; what lies outside of it is black.

        Returns:
            By the number of their columns: 4 for the box, 2 for the probabilities, 10 for the landmarks; (N, columns).
        """
        size = self._model.card.input.size_wh[0]
        found: dict[int, list[np.ndarray]] = {}
        for start in range(0, len(squares), _BATCHES[-1]):
            batch = squares[start : start + _BATCHES[-1]]
            filled = next(count for count in _BATCHES if count >= len(batch))
            blob = np.zeros((filled, 3, size, size), np.float32)
            crops = [crop_square(image, (row[:2] + row[2:]) / 2, float(row[2] - row[0]), size) for row in batch]
            to_blob(crops, self._model.card.input, out=blob[: len(batch)])
            for output in self._runtime.run([blob]):
                if output.ndim != 2 or len(output) != filled:
                    raise ModelFileError(f"{self._model.path}: unexpected output of shape {output.shape}")
                found.setdefault(output.shape[1], []).append(output[: len(batch)].astype(np.float64))
        united = {columns: np.concatenate(parts) for columns, parts in found.items()}
        if not {2, 4} <= set(united):
            raise ModelFileError(f"{self._model.path}: gives no box and probability for each crop")
        return united


class MtcnnDetector(NetworkDetector):
    """See ``base.Detector``.

    Args:
        model: folder of a card with the decoder ``mtcnn``: PNet, and how the cascade goes.
        runtime: PNet.
        stages: RNet and ONet.
        settings: which faces are looked for; without a smallest face, that of the card.
    """

    def __init__(
        self,
        model: ModelFolder,
        runtime: InferenceRuntime,
        *,
        stages: tuple[CascadeStage, CascadeStage],
        settings: DetectionSettings = USUAL_DETECTION,
    ) -> None:
        super().__init__(model, runtime, settings=settings)
        self._cascade = self._spec.cascade or CascadeSpec()
        self._filter, self._refiner = stages

    def _find(self, image: np.ndarray) -> list[Detection]:
        """Find what may be a face at any threshold in a picture that stands upright."""
        squares = self._filtered(image, self._proposed(image))
        if not len(squares):
            return []
        seen = self._refiner.look(image, squares)
        if 10 not in seen:
            raise ModelFileError(f"{self._model.path}: its last stage gives no landmarks")
        sides = (squares[:, 2] - squares[:, 0])[:, None]
        boxes, scores = squares + seen[4] * sides, seen[2][:, 1]
        # five x, then five y, from the square's left and top edge
        landmarks = squares[:, None, :2] + seen[10].reshape(-1, 2, 5).transpose(0, 2, 1) * sides[:, None]
        likely = np.flatnonzero((scores >= _WEAKEST) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1))
        kept = likely[outermost(np.column_stack([boxes, scores])[likely], share=self._spec.nms_iou)]
        return [
            Detection(boxes[index].astype(np.float32), float(scores[index]), landmarks[index].astype(np.float32))
            for index in kept
        ]

    def _filtered(self, image: np.ndarray, squares: np.ndarray) -> np.ndarray:
        """Keep the squares (N, 4) that RNet takes for faces, moved to where it sees them."""
        if not len(squares):
            return squares
        seen, spec = self._filter.look(image, squares), self._filter.spec
        rows = np.column_stack([squares, seen[2][:, 1], seen[4]])
        rows = rows[rows[:, 4] >= spec.min_probability]
        rows = rows[nms(rows, iou=spec.same_box_iou)]
        return squared(moved(rows))

    def _proposed(self, image: np.ndarray) -> np.ndarray:
        """Return the squares (N, 4) that PNet takes for faces at any size of the picture."""
        least = self._settings.min_face or self._cascade.min_face
        levels = [
            self._proposed_at(image, factor)
            for factor in shrink_factors(image.shape[:2], min_face=least, step=self._cascade.factor)
        ]
        rows = _best(np.concatenate(levels) if levels else np.empty((0, 9)), _MOST_OF_A_PICTURE)
        return squared(moved(rows[nms(rows, iou=self._spec.nms_iou)]))

    def _proposed_at(self, image: np.ndarray, factor: float) -> np.ndarray:
        """Return rows (N, 9) of window, probability and box correction of one size of the picture."""
        height, width = image.shape[:2]
        size_wh = (int(width * factor + 1), int(height * factor + 1)) if factor < 1 else (width, height)
        small = image if factor >= 1 else cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
        found = [self._proposed_in(small, part) for part in parts(size_wh, tile=self._spec.scales[0].size)]
        rows = _best(np.concatenate(found), _MOST_OF_A_PICTURE)
        scale = np.array([size_wh[0] / width, size_wh[1] / height] * 2)
        rows[:, :4] /= scale
        return rows[nms(rows, iou=self._cascade.level_iou)]

    def _proposed_in(self, small: np.ndarray, part: tuple[int, int, int, int]) -> np.ndarray:
        """Run PNet over one part, left, top, right, bottom, of a shrunk picture; rows as of ``_proposed_at``."""
        left, top, right, bottom = part
        canvas = np.zeros((_rounded_up(bottom - top), _rounded_up(right - left), 3), np.uint8)
        canvas[: bottom - top, : right - left] = small[top:bottom, left:right]
        maps = {output.shape[1]: output[0] for output in self._runtime.run([to_blob([canvas], self.card.input)])}
        if set(maps) != {2, 4}:
            raise ModelFileError(f"{self._model.path}: gives maps of {sorted(maps)} channels; PNet gives 4 and 2")
        rows, columns = _windows(bottom - top), _windows(right - left)  # those that end inside of the part
        probability = maps[2][1, :rows, :columns].astype(np.float64)
        y, x = np.nonzero(probability >= self._cascade.min_probability)
        corner = np.stack([x * _STRIDE + left, y * _STRIDE + top], axis=1).astype(np.float64)
        correction = maps[4][:, y, x].T.astype(np.float64)
        found = np.concatenate([corner, corner + WINDOW, probability[y, x, None], correction], axis=1)
        found = _best(found, _MOST_OF_A_PIECE)
        return found[nms(found, iou=self._cascade.level_iou)]


def shrink_factors(size_hw: Sequence[int], *, min_face: int, step: float) -> list[float]:
    """Return by which factors a picture is shrunk, the largest first: never above 1, never to less than a window.

    Args:
        size_hw: height and width of the picture.
        min_face: pixels of the smallest face; at the first factor it is as wide as a window.
        step: from one factor to the next, below 1.

    Example:
        >>> [round(factor, 3) for factor in shrink_factors((60, 90), min_face=20, step=0.709)]
        [0.6, 0.425, 0.302, 0.214]
    """
    factor, found = min(1.0, WINDOW / min_face), []
    while min(size_hw) * factor >= WINDOW:
        found.append(factor)
        factor *= step
    return found


def parts(size_wh: tuple[int, int], *, tile: int) -> Iterator[tuple[int, int, int, int]]:
    """Cut a picture into parts left, top, right, bottom of at most ``tile`` pixels; a window is in exactly one."""
    step = tile - _SEAM
    width, height = size_wh
    for top in range(0, max(_STRIDE * _windows(height), 1), step):
        for left in range(0, max(_STRIDE * _windows(width), 1), step):
            yield left, top, min(left + tile, width), min(top + tile, height)


def moved(rows: np.ndarray) -> np.ndarray:
    """Return the boxes (N, 4) of rows (N, 9): box, score, and what to add to the edges in sides of the box."""
    sides = rows[:, 2:4] - rows[:, :2]
    return rows[:, :4] + rows[:, 5:9] * np.concatenate([sides, sides], axis=1)


def squared(boxes: np.ndarray) -> np.ndarray:
    """Return the squares (N, 4) around the middles of boxes (N, 4), as large as the longer side, at least a pixel."""
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True), 1.0) / 2
    return np.concatenate([middles - half, middles + half], axis=1)


def outermost(rows: np.ndarray, *, share: float) -> np.ndarray:
    """Choose of rows (N, 5), box and score, the best, each time leaving out what is nearly the same or inside.

    Args:
        rows: box and score.
        share: of the smaller of two boxes that lies in the other, above which the worse one goes.

    Returns:
        (M,) positions of those kept, best score first.
    """
    rest, kept = np.argsort(-rows[:, 4], kind="stable"), []
    while len(rest):
        kept.append(rest[0])
        contained = overlaps(rows[rest[0], :4], rows[rest[1:], :4])[1]
        rest = rest[1:][contained <= share]
    return np.array(kept, dtype=np.int64)


def _best(rows: np.ndarray, most: int) -> np.ndarray:
    return rows if len(rows) <= most else rows[np.argsort(-rows[:, 4], kind="stable")[:most]]


def _windows(side: int) -> int:
    """Return how many windows PNet has along a side: as its pooling, the last may reach over the edge by a pixel."""
    return max(0, -(-(side - 2) // _STRIDE) - 4)


def _rounded_up(side: int) -> int:
    return -(-side // _SIZE_MULTIPLE) * _SIZE_MULTIPLE
