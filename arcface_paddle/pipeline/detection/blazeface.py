"""BlazeFace at several scales, with a refiner behind it.

A face is found best when it is between 14 and 130 pixels wide in the network's input. A picture is therefore shown
small and with a border (faces that fill the frame) and larger (small faces in groups); candidates of all passes are
united by weighted non-maximum suppression, refined and checked, and merged once more where the refined faces coincide.
"""

from __future__ import annotations

import threading
from typing import Optional, Sequence

import numpy as np

from arcface_paddle.errors import ModelFileError
from arcface_paddle.pipeline.cards import DetectorSpec, ScaleSpec
from arcface_paddle.pipeline.detection.base import (
    check_image,
    chosen_threshold,
    described,
    detector_spec,
    largest_first,
)
from arcface_paddle.pipeline.detection.boxes import weighted_nms
from arcface_paddle.pipeline.detection.refiner import FaceRefiner
from arcface_paddle.pipeline.model_files import ModelFolder
from arcface_paddle.pipeline.preprocessing import resize, to_blob
from arcface_paddle.pipeline.runtime import InferenceRuntime
from arcface_paddle.types import Detection

# The mouth's width in eye distances, for detectors that give only its centre (from the template of ArcFace).
_MOUTH_WIDTH = 0.83


_MAX_BUFFERS = 16  # input sizes whose buffers are kept; pictures of equal proportions share one


class BlazeFaceDetector:
    """See ``base.Detector``.

    Args:
        model: folder of a card with the decoder ``blazeface``.
        runtime: its network.
        refiner: checks and refines candidates; without one, boxes and keypoints are the detector's own, the mouth
            corners are put beside the mouth's centre, and false faces are more frequent.
        threshold: of the score; None for the card's.
    """

    def __init__(
        self,
        model: ModelFolder,
        runtime: InferenceRuntime,
        *,
        refiner: Optional[FaceRefiner] = None,
        threshold: Optional[float] = None,
    ) -> None:
        self.card = model.card
        self.threshold = chosen_threshold(threshold, model.card)
        self._spec = detector_spec(model.card)
        self._model = model
        self._runtime = runtime
        self._refiner = refiner
        self._buffers: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        self._lock = threading.Lock()  # guards the buffers

    def __repr__(self) -> str:
        return described(self)

    def detect(self, image: np.ndarray) -> list[Detection]:
        check_image(image)
        longer_side = max(image.shape[:2])
        with self._lock:
            passes = [
                self._candidates(image, scale) for scale in self._spec.scales if longer_side >= scale.from_longer_side
            ]
        found = weighted_nms(np.concatenate(passes), iou=self._spec.nms_iou)
        found = found[found[:, 4] >= self.threshold]
        if self._refiner is None:
            return largest_first([_unrefined(row) for row in found])
        refined = self._refiner.refine(image, found[:, :4])
        kept = self._refiner.distinct(refined)
        faces = refined.take(kept)
        return largest_first(
            [
                Detection(box.astype(np.float32), float(score), points.astype(np.float32))
                for box, points, score in zip(faces.boxes, faces.landmarks, found[kept, 4])
            ]
        )

    def _candidates(self, image: np.ndarray, scale: ScaleSpec) -> np.ndarray:
        """Run one pass; return (N, 5 + 2 K) rows of box, score and K keypoints in pixels of the picture."""
        blob, offset_xy, scale_xy = self._letterbox(image, scale)
        points, scores = decode_heads(self._runtime.run([blob]), self._spec, input_hw=blob.shape[2:])
        likely = scores >= max(self.threshold, scale.min_score)
        in_picture = ((points[likely] - offset_xy) / scale_xy).reshape(-1, points.shape[1] * 2)
        rows = np.concatenate([in_picture[:, :4], scores[likely, None], in_picture[:, 4:]], axis=1)
        return rows[(rows[:, 2:4] > rows[:, :2]).all(axis=1)]

    def _letterbox(self, image: np.ndarray, scale: ScaleSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lay a picture, scaled, in the middle of a black input.

        Returns:
            (1, 3, h, w) float32 input; (2,) x, y of the picture's corner in it; (2,) scale in x and y.
        """
        height, width = image.shape[:2]
        factor = scale.size / (max(height, width) * (1 + 2 * scale.border))
        scaled_h, scaled_w = max(1, round(height * factor)), max(1, round(width * factor))
        multiple = max(self._spec.strides)
        input_h, input_w = scale.size, scale.size
        if not scale.square:
            input_h, input_w = (-(-side // multiple) * multiple for side in (scaled_h, scaled_w))
        canvas, blob = self._buffer(input_h, input_w)
        top, left = (input_h - scaled_h) // 2, (input_w - scaled_w) // 2
        canvas[:] = 0
        canvas[top : top + scaled_h, left : left + scaled_w] = resize(image, (scaled_w, scaled_h), self.card.input)
        to_blob([canvas], self.card.input, out=blob)
        return blob, np.array([left, top]), np.array([scaled_w / width, scaled_h / height])

    def _buffer(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        if (height, width) not in self._buffers:
            if len(self._buffers) >= _MAX_BUFFERS:
                self._buffers.clear()
            canvas, blob = np.empty((height, width, 3), np.uint8), np.empty((1, 3, height, width), np.float32)
            self._buffers[height, width] = canvas, blob
        return self._buffers[height, width]


def decode_heads(
    heads: Sequence[np.ndarray], spec: DetectorSpec, *, input_hw: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Turn raw head maps of one picture into points and scores, one row per anchor.

    An anchor stands in the middle of its cell; all its values are relative to it, in input pixels.

    Args:
        heads: per stride one map of scores (1, A, h, w) and one of values (1, A * (4 + 2 K), h, w), in any order.
        spec: strides, anchors per cell A, keypoints K, clip of the logits.
        input_hw: height and width of the network's input.

    Returns:
        (N, 2 + K, 2) x, y of the box's left top and right bottom corner and of the keypoints; (N,) scores, 0 to 1.

    Raises:
        ModelFileError: a map is missing.
    """
    maps = {head.shape[1:]: head[0] for head in heads}
    all_points, all_logits = [], []
    for stride, anchors in zip(spec.strides, spec.anchors):
        rows, columns = input_hw[0] // stride, input_hw[1] // stride
        pairs = 2 + spec.keypoints  # centre, size, keypoints
        values = maps.get((anchors * pairs * 2, rows, columns))
        logits = maps.get((anchors, rows, columns))
        if values is None or logits is None:
            raise ModelFileError(f"the detector gave maps {list(maps)}; its card promises others for stride {stride}")
        # (A, pairs, xy, row, column) to (row, column, A, pairs, xy)
        values = values.reshape(anchors, pairs, 2, rows, columns).transpose(3, 4, 0, 1, 2)
        cells = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)
        centers = (cells[:, :, None, None, :] + 0.5) * stride
        points = values + centers
        half = values[:, :, :, 1] / 2
        points[:, :, :, 1] = points[:, :, :, 0] + half
        points[:, :, :, 0] -= half
        all_points.append(points.reshape(-1, pairs, 2))
        all_logits.append(logits.transpose(1, 2, 0).reshape(-1))
    logits = np.clip(np.concatenate(all_logits), -spec.score_clip, spec.score_clip)
    return np.concatenate(all_points), 1 / (1 + np.exp(-logits.astype(np.float64)))


def _unrefined(row: np.ndarray) -> Detection:
    """Make a detection of a row whose keypoints are eyes, nose, centre of the mouth, and others."""
    left_eye, right_eye, nose, mouth = row[5:13].reshape(4, 2)
    half_mouth = (right_eye - left_eye) * _MOUTH_WIDTH / 2
    points = np.array([left_eye, right_eye, nose, mouth - half_mouth, mouth + half_mouth], np.float32)
    return Detection(row[:4].astype(np.float32), float(row[4]), points)
