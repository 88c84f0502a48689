"""CenterFace: one pass over the picture gives boxes and five landmarks, large and small faces alike."""

from __future__ import annotations

from typing import Optional, Sequence

import numpy as np

from arcface_paddle.errors import ModelFileError
from arcface_paddle.pipeline.detection.base import check_image, chosen_threshold, detector_spec, largest_first
from arcface_paddle.pipeline.detection.boxes import nms
from arcface_paddle.pipeline.model_files import ModelFolder
from arcface_paddle.pipeline.preprocessing import resize, to_blob
from arcface_paddle.pipeline.runtime import InferenceRuntime
from arcface_paddle.types import Detection

_SIZE_MULTIPLE = 32  # of the network's input, see backbones.centerface
_POINTS = 5


class CenterFaceDetector:
    """See ``base.Detector``.

    Args:
        model: folder of a card with the decoder ``centerface``.
        runtime: its network.
        threshold: of the score; None for the card's.
    """

    def __init__(self, model: ModelFolder, runtime: InferenceRuntime, *, threshold: Optional[float] = None) -> None:
        self.card = model.card
        self.threshold = chosen_threshold(threshold, model.card)
        self._spec = detector_spec(model.card)
        self._runtime = runtime

    def detect(self, image: np.ndarray) -> list[Detection]:
        check_image(image)
        rows = self._candidates(image)
        kept = rows[nms(rows, iou=self._spec.nms_iou)]
        return largest_first(
            [
                Detection(row[:4].astype(np.float32), float(row[4]), row[5:].reshape(_POINTS, 2).astype(np.float32))
                for row in kept
            ]
        )

    def _candidates(self, image: np.ndarray) -> np.ndarray:
        """Return (N, 15) rows of box, score and five points in pixels of the picture."""
        height, width = image.shape[:2]
        scale = self._spec.scales[0]
        border = round(scale.border * max(height, width))
        factor = min(1.0, scale.size / max(height, width))
        scaled_w, scaled_h = max(1, round(width * factor)), max(1, round(height * factor))
        margin = round(border * factor)
        canvas = np.zeros((_padded(scaled_h + 2 * margin), _padded(scaled_w + 2 * margin), 3), np.uint8)
        canvas[margin : margin + scaled_h, margin : margin + scaled_w] = resize(
            image, (scaled_w, scaled_h), self.card.input
        )
        rows = decode_maps(
            self._runtime.run([to_blob([canvas], self.card.input)]),
            stride=self._spec.strides[0],
            threshold=self.threshold,
        )
        points = rows[:, _COORDINATES].reshape(len(rows), -1, 2)
        rows[:, _COORDINATES] = ((points - margin) / (scaled_w / width, scaled_h / height)).reshape(len(rows), -1)
        return rows


_COORDINATES = [0, 1, 2, 3, *range(5, 5 + 2 * _POINTS)]
"""Columns of a row that are x and y in turn; column 4 is the score."""


def decode_maps(maps: Sequence[np.ndarray], *, stride: int, threshold: float) -> np.ndarray:
    """Turn the maps of one picture into rows of box, score and five points, best score first.

    Args:
        maps: heat (1, 1, h, w) logits, size (1, 2, h, w), offset (1, 2, h, w), landmarks (1, 10, h, w); see
            ``backbones.centerface.CenterFace``.
        stride: input pixels per cell.
        threshold: least score, 0 to 1.

    Returns:
        (N, 15) float64 in input pixels: left, top, right, bottom, score, then x, y of five points.

    Raises:
        ModelFileError: maps of other shapes.
    """
    channels = [found.shape[1] for found in maps if found.ndim == 4]
    if channels != [1, 2, 2, 2 * _POINTS] or len({found.shape[2:] for found in maps}) != 1:
        raise ModelFileError(f"the detector gave maps {[found.shape for found in maps]}; its card promises others")
    heat, size, offset, landmarks = (found[0].astype(np.float64) for found in maps)
    # The threshold is brought to the logits, so that the exponential is taken of the faces and not of the whole map.
    least = np.log(threshold / (1 - threshold)) if threshold < 1 else np.inf
    ys, xs = np.nonzero(heat[0] >= least)
    order = np.argsort(-heat[0, ys, xs], kind="stable")
    ys, xs = ys[order], xs[order]
    scores = 1 / (1 + np.exp(-heat[0, ys, xs]))
    heights, widths = np.exp(size[:, ys, xs]) * stride
    lefts = (xs + offset[1, ys, xs] + 0.5) * stride - widths / 2
    tops = (ys + offset[0, ys, xs] + 0.5) * stride - heights / 2
    points = landmarks[:, ys, xs]
    rows = np.empty((len(ys), 5 + 2 * _POINTS))
    rows[:, :5] = np.stack([lefts, tops, lefts + widths, tops + heights, scores], axis=1)
    rows[:, 5::2] = (points[1::2] * widths + lefts).T
    rows[:, 6::2] = (points[0::2] * heights + tops).T
    return rows


def _padded(side: int) -> int:
    return -(-side // _SIZE_MULTIPLE) * _SIZE_MULTIPLE
