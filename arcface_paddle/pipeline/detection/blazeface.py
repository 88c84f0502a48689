"""BlazeFace at several scales, with a refiner behind it.

A face is found best when it is between 14 and 130 pixels wide in the network's input. A picture is therefore shown
small and with a border (faces that fill the frame) and larger (small faces in groups); candidates of all passes are
united by weighted non-maximum suppression, refined and checked, and merged once more where the refined faces coincide.
No pass enlarges a picture in which others find a face, and none follows one that leaves no doubt: a portrait, or faces
large enough for the user.
"""

from __future__ import annotations

import dataclasses
import threading
from typing import Optional, Sequence

import numpy as np

from arcface_paddle.errors import ModelFileError
from arcface_paddle.pipeline.cards import DetectorSpec, ScaleSpec
from arcface_paddle.pipeline.detection.boxes import disagreement, overlaps, weighted_nms
from arcface_paddle.pipeline.detection.network_detector import NetworkDetector
from arcface_paddle.pipeline.detection.refiner import FaceRefiner, RefinedFaces
from arcface_paddle.pipeline.model_files import ModelFolder
from arcface_paddle.pipeline.preprocessing import resize, to_blob
from arcface_paddle.pipeline.runtime import InferenceRuntime
from arcface_paddle.pipeline.settings import USUAL_DETECTION, DetectionSettings
from arcface_paddle.types import Detection

# The mouth's width in eye distances, for detectors that give only its centre (from the template of ArcFace).
_MOUTH_WIDTH = 0.83

_WEAKEST = 0.05  # score of candidates for users who ask for less than the card does
_SLIPPED = 0.35  # disagreement of detector and refiner in eye distances; on faces that look ahead it is about .1
_BEYOND_DOUBT = 0.9
_PORTRAIT_SHARE = 0.5  # of the picture's longer side that the face of a portrait takes at least
_SMALLEST_INPUT = 128  # pixels; a face that fills a smaller picture would be too small for the network's anchors
_SIZE_MULTIPLE = 32
_LEAST_IN_INPUT = 14  # pixels in the input of the smallest face that is found well
_WORTH_A_PASS = 1.5  # by how much finer than the last a pass must be to show anything new

_MAX_BUFFERS = 16  # input sizes whose buffers are kept; pictures of equal proportions share one


class BlazeFaceDetector(NetworkDetector):
    """See ``base.Detector``.

    Args:
        model: folder of a card with the decoder ``blazeface``.
        runtime: its network.
        refiner: checks and refines candidates; without one, boxes and keypoints are the detector's own, the mouth
            corners are put beside the mouth's centre, and false faces are more frequent.
        settings: which faces are looked for.
    """

    def __init__(
        self,
        model: ModelFolder,
        runtime: InferenceRuntime,
        *,
        refiner: Optional[FaceRefiner] = None,
        settings: DetectionSettings = USUAL_DETECTION,
    ) -> None:
        super().__init__(model, runtime, settings=settings)
        self._refiner = refiner
        self._buffers: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        self._lock = threading.Lock()  # guards the buffers

    def _find(self, image: np.ndarray) -> list[Detection]:
        """Find what may be a face at the threshold or any higher one in a picture that stands upright."""
        scales = _fitting_scales(self._spec.scales, max(image.shape[:2]), self._settings.min_face)
        faces = self._faces(image, scales)
        if any(face.score >= self._spec.score_threshold for face in faces):
            return faces
        enlarging = [scale for scale in self._spec.scales if scale.from_longer_side == 0]
        return self._faces(image, enlarging) if len(scales) < len(enlarging) else faces

    def _glance(self, image: np.ndarray) -> list[Detection]:
        """Find the faces that the coarsest pass shows."""
        return self._faces(image, self._spec.scales[:1])

    def _faces(self, image: np.ndarray, scales: Sequence[ScaleSpec]) -> list[Detection]:
        found = self._united(self._passes(image, scales))
        if self._refiner is None:
            return [_unrefined(row) for row in found]
        refined = self._refiner.refine(image, found[:, :4])
        kept = self._refiner.distinct(refined)
        faces = refined.take(kept)
        own = np.array([_five_points(row) for row in found[kept]]).reshape(-1, 5, 2)
        points, doubts = settled(own, faces)
        return [
            Detection(box.astype(np.float32), float(score), landmarks.astype(np.float32), landmark_doubt=float(doubt))
            for box, landmarks, score, doubt in zip(faces.boxes, points, found[kept, 4], doubts)
        ]

    def _united(self, candidates: np.ndarray) -> np.ndarray:
        """Merge candidates that overlap, those of the card's threshold first.

        Weak ones are candidates only for a user who asks for them, and only where no better one is. They come last, so
        that they neither move nor replace a face that is found without them.
        """
        usual = self._spec.score_threshold
        strong = weighted_nms(candidates[candidates[:, 4] >= usual], iou=self._spec.nms_iou)
        if self.threshold >= usual:
            return strong
        weak = weighted_nms(candidates[candidates[:, 4] < usual], iou=self._spec.nms_iou)
        fresh = [not (overlaps(row[:4], strong[:, :4])[0] > self._spec.nms_iou).any() for row in weak]
        return np.concatenate([strong, weak[np.flatnonzero(fresh)]])

    def _passes(self, image: np.ndarray, scales: Sequence[ScaleSpec]) -> np.ndarray:
        """Return the candidates of the first pass and, unless it leaves no doubt, of the others."""
        longer_side = max(image.shape[:2])
        passes: list[np.ndarray] = []
        with self._lock:
            for scale in scales:
                passes.append(self._candidates(image, scale))
                if len(passes) == 1 and _is_portrait(passes[0], longer_side, self._spec):
                    break
        return np.concatenate(passes)

    def _candidates(self, image: np.ndarray, scale: ScaleSpec) -> np.ndarray:
        """Run one pass; return (N, 5 + 2 K) rows of box, score and K keypoints in pixels of the picture."""
        blob, offset_xy, scale_xy = self._letterbox(image, scale)
        points, scores = decode_heads(self._runtime.run([blob]), self._spec, input_hw=blob.shape[2:])
        weakest = _WEAKEST if self.threshold < self._spec.score_threshold else self._spec.score_threshold
        likely = scores >= max(weakest, scale.min_score)
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


def settled(own: np.ndarray, refined: RefinedFaces) -> tuple[np.ndarray, np.ndarray]:
    """Hold refined landmarks against the detector's own, and where they differ much take the middle of all looks.

    The refiner looks at a square; where the square sits badly, mostly on tilted or laughing faces, its points slip by
    a quarter of a face. The detector's own points are coarser but do not slip, and the refiner's first look stands
    between the two.

    Args:
        own: (N, 5, 2) the detector's points.
        refined: N faces.

    Returns:
        (N, 5, 2) landmarks; (N,) how far detector and refiner disagree, in eye distances.
    """
    doubts = disagreement(own, refined.landmarks)
    middle = np.median(np.stack([own, refined.first_landmarks, refined.landmarks]), axis=0)
    slipped = doubts > _SLIPPED
    return np.where(slipped[:, None, None], middle, refined.landmarks), doubts


def _fitting_scales(scales: Sequence[ScaleSpec], longer_side: int, min_face: Optional[int]) -> list[ScaleSpec]:
    """Choose the passes for a picture: none that enlarges it, none finer than the smallest face asks for."""
    chosen: list[ScaleSpec] = []
    seen = np.inf  # longer side in pixels of the smallest face that the passes so far show large enough
    for scale in scales:
        if longer_side < scale.from_longer_side or (min_face is not None and seen <= min_face):
            continue
        size = min(scale.size, max(_SMALLEST_INPUT, _rounded_up(longer_side * (1 + 2 * scale.border))))
        shown = size / (longer_side * (1 + 2 * scale.border))
        if not chosen or shown > _WORTH_A_PASS * _LEAST_IN_INPUT / seen:
            chosen.append(dataclasses.replace(scale, size=size))
            seen = _LEAST_IN_INPUT / shown
    return chosen


def _is_portrait(candidates: np.ndarray, longer_side: int, spec: DetectorSpec) -> bool:
    """Say whether a picture is filled by one face that is beyond doubt, so that a finer pass finds only its parts."""
    found = weighted_nms(candidates[candidates[:, 4] >= spec.score_threshold], iou=spec.nms_iou)
    if len(found) != 1 or found[0, 4] < _BEYOND_DOUBT:
        return False
    return bool((found[0, 2:4] - found[0, :2]).max() >= _PORTRAIT_SHARE * longer_side)


def _rounded_up(length: float) -> int:
    return int(-(-length // _SIZE_MULTIPLE) * _SIZE_MULTIPLE)


def _five_points(row: np.ndarray) -> np.ndarray:
    """Return (5, 2) landmarks of a row whose keypoints are eyes, nose, centre of the mouth, and others."""
    left_eye, right_eye, nose, mouth = row[5:13].reshape(4, 2)
    half_mouth = (right_eye - left_eye) * _MOUTH_WIDTH / 2
    return np.array([left_eye, right_eye, nose, mouth - half_mouth, mouth + half_mouth])


def _unrefined(row: np.ndarray) -> Detection:
    return Detection(row[:4].astype(np.float32), float(row[4]), _five_points(row).astype(np.float32))
