"""The second look at each candidate: is it a face, where exactly, and is it one that we have already."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from arcface_paddle.errors import ModelFileError
from arcface_paddle.pipeline.cards import REFINEMENT, RefinerSpec
from arcface_paddle.pipeline.detection.boxes import overlaps
from arcface_paddle.pipeline.model_files import ModelFolder
from arcface_paddle.pipeline.preprocessing import crop_square, to_blob
from arcface_paddle.pipeline.runtime import InferenceRuntime

_MAX_BATCH = 64
_OUTPUTS = {(4,): "box", (10,): "landmarks", (2,): "probability"}


@dataclass(frozen=True, eq=False)
class RefinedFaces:
    """N candidates after refinement.

    Attributes:
        boxes: (N, 4) float64.
        landmarks: (N, 5, 2) float64.
        probabilities: (N,) that the candidate is a face.
        first_landmarks: (N, 5, 2) float64, those of the first look.
    """

    boxes: np.ndarray
    landmarks: np.ndarray
    probabilities: np.ndarray
    first_landmarks: np.ndarray

    def take(self, indices: np.ndarray) -> RefinedFaces:
        return RefinedFaces(
            self.boxes[indices], self.landmarks[indices], self.probabilities[indices], self.first_landmarks[indices]
        )


class FaceRefiner:
    """ONet of MTCNN behind another detector."""

    def __init__(self, model: ModelFolder, runtime: InferenceRuntime) -> None:
        if model.card.refiner is None:
            raise ModelFileError(f"{model.path}: is a model for {model.card.task}, not for {REFINEMENT}")
        self.spec: RefinerSpec = model.card.refiner
        self._model = model
        self._runtime = runtime

    def refine(self, image: np.ndarray, boxes: np.ndarray) -> RefinedFaces:
        """Refine candidates (N, 4) of one picture (H, W, 3) uint8 RGB, all of them in one batch per pass."""
        centers = (boxes[:, :2] + boxes[:, 2:4]) / 2
        sides = (boxes[:, 2:4] - boxes[:, :2]).max(axis=1) * self.spec.crop_factor
        nowhere = np.zeros((len(boxes), 5, 2))
        refined, first = RefinedFaces(boxes[:, :4], nowhere, np.zeros(len(boxes)), nowhere), None
        for _ in range(self.spec.passes if len(boxes) else 0):
            refined = self._look(image, centers, np.maximum(sides, 1.0))
            first = refined.landmarks if first is None else first
            centers = (refined.boxes[:, :2] + refined.boxes[:, 2:]) / 2
            sides = (refined.boxes[:, 2:] - refined.boxes[:, :2]).max(axis=1)
        return dataclasses.replace(refined, first_landmarks=refined.landmarks if first is None else first)

    def distinct(self, refined: RefinedFaces) -> np.ndarray:
        """Choose among candidates, best first, those that are faces and not the same as a better one.

        Returns:
            Indices of the candidates that stay.
        """
        eye_distances = np.linalg.norm(refined.landmarks[:, 0] - refined.landmarks[:, 1], axis=1)
        kept: list[int] = []
        for index in np.flatnonzero(refined.probabilities >= self.spec.min_probability):
            if not self._is_known(refined, int(index), kept, eye_distances):
                kept.append(int(index))
        return np.array(kept, dtype=np.int64)

    def _is_known(self, refined: RefinedFaces, index: int, kept: list[int], eye_distances: np.ndarray) -> bool:
        if not kept:
            return False
        iou, containment = overlaps(refined.boxes[index], refined.boxes[kept])
        offsets = np.abs(refined.landmarks[kept] - refined.landmarks[index]).mean(axis=(1, 2))
        near = offsets < self.spec.same_points_distance * np.maximum(eye_distances[kept], eye_distances[index])
        same = near | (iou > self.spec.same_box_iou) | (containment > self.spec.same_box_containment)
        return bool(same.any())

    def _look(self, image: np.ndarray, centers: np.ndarray, sides: np.ndarray) -> RefinedFaces:
        size = self._model.card.input.size_wh[0]
        crops = [crop_square(image, center, float(side), size) for center, side in zip(centers, sides)]
        box, landmarks, probability = self._run(crops)
        corner = centers - sides[:, None] / 2
        edges = np.concatenate([corner, corner + sides[:, None]], axis=1)
        points = landmarks.reshape(-1, 2, 5).transpose(0, 2, 1)  # five x, then five y
        in_picture = corner[:, None] + points * sides[:, None, None]
        return RefinedFaces(edges + box * sides[:, None], in_picture, probability[:, 1], in_picture)

    def _run(self, crops: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        parts: dict[str, list[np.ndarray]] = {name: [] for name in _OUTPUTS.values()}
        for start in range(0, len(crops), _MAX_BATCH):
            for output in self._runtime.run([to_blob(crops[start : start + _MAX_BATCH], self._model.card.input)]):
                name = _OUTPUTS.get(output.shape[1:])
                if name is None:
                    raise ModelFileError(f"{self._model.path}: unexpected output of shape {output.shape}")
                parts[name].append(output.astype(np.float64))
        box, landmarks, probability = (np.concatenate(parts[name]) for name in _OUTPUTS.values())
        return box, landmarks, probability
