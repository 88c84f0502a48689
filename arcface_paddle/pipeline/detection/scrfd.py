"""SCRFD detectors of insightface: the whole picture in one pass, and once more if that shows no face.

The picture is scaled until it fits the input, stands in its upper left corner, and the rest is black, as insightface
has it. A face that fills the frame is larger than what the network has learnt; the further passes of the card, which
show the picture smaller with a border around it, are for pictures in which the first one finds nothing.
"""

from __future__ import annotations

import numpy as np

from arcface_paddle.errors import ModelFileError
from arcface_paddle.pipeline.cards import ScaleSpec
from arcface_paddle.pipeline.detection.boxes import nms
from arcface_paddle.pipeline.detection.network_detector import NetworkDetector
from arcface_paddle.pipeline.detection.scrfd_tables import POINTS, decode_tables
from arcface_paddle.pipeline.model_files import ModelFolder
from arcface_paddle.pipeline.preprocessing import resize, to_blob
from arcface_paddle.pipeline.runtime import InferenceRuntime
from arcface_paddle.pipeline.settings import USUAL_DETECTION, DetectionSettings
from arcface_paddle.types import Detection

_WEAKEST = 0.05  # score of candidates for users who ask for less than the card does
_MOST_CANDIDATES = 5000  # of a pass, the best first; suppression takes time in the square of their number


class ScrfdDetector(NetworkDetector):
    """See ``base.Detector``.

    Args:
        model: a card with the decoder ``scrfd``, and its network.
        runtime: the loaded network.
        settings: which faces are looked for.

    Raises:
        ModelFileError: the network takes more than one input.
    """

    def __init__(
        self, model: ModelFolder, runtime: InferenceRuntime, *, settings: DetectionSettings = USUAL_DETECTION
    ) -> None:
        if len(runtime.input_names) != 1:
            raise ModelFileError(f"{model.path}: takes {', '.join(runtime.input_names)}; a SCRFD takes one picture")
        super().__init__(model, runtime, settings=settings)

    def _find(self, image: np.ndarray) -> list[Detection]:
        """Go over a picture that stands upright until a pass shows a face."""
        found: list[Detection] = []
        for scale in self._spec.scales:
            found = self._pass(image, scale) or found
            if any(face.score >= self._spec.score_threshold for face in found):
                break
        return found

    def _glance(self, image: np.ndarray) -> list[Detection]:
        return self._pass(image, self._spec.scales[0])

    def _pass(self, image: np.ndarray, scale: ScaleSpec) -> list[Detection]:
        canvas, factors, offset = self._canvas(image, scale)
        tables = self._runtime.run([to_blob([canvas], self.card.input)])
        rows = decode_tables(
            tables,
            size_wh=(canvas.shape[1], canvas.shape[0]),
            strides=self._spec.strides,
            anchors=self._spec.anchors,
            keypoints=self._spec.keypoints,
            threshold=max(min(self.threshold, self._spec.score_threshold), scale.min_score, _WEAKEST),
        )
        rows = rows[np.argsort(-rows[:, 4], kind="stable")[:_MOST_CANDIDATES]]
        rows = rows[nms(rows, iou=self._spec.nms_iou)]
        coordinates = np.delete(rows, 4, axis=1).reshape(len(rows), 2 + self._spec.keypoints, 2)
        coordinates = (coordinates - offset) / factors
        return [_detection(points, score) for points, score in zip(coordinates, rows[:, 4])]

    def _canvas(self, image: np.ndarray, scale: ScaleSpec) -> tuple[np.ndarray, np.ndarray, int]:
        """Put a picture into the network's input.

        Returns:
            The input (height, width, 3) uint8, by what x and y were multiplied, and the border in pixels.
        """
        spec = self.card.input
        factor = scale.size / max(spec.size_wh)
        width, height = (round(side * factor) for side in spec.size_wh)
        border = round(scale.border * scale.size)
        room = width - 2 * border, height - 2 * border
        fit = min(room[0] / image.shape[1], room[1] / image.shape[0])
        # Cut off, not rounded, as insightface does.
        scaled = max(1, int(image.shape[1] * fit + 1e-6)), max(1, int(image.shape[0] * fit + 1e-6))
        canvas = np.zeros((height, width, 3), np.uint8)
        canvas[border : border + scaled[1], border : border + scaled[0]] = resize(image, scaled, spec)
        return canvas, np.array([scaled[0] / image.shape[1], scaled[1] / image.shape[0]]), border


def _detection(coordinates: np.ndarray, score: float) -> Detection:
    """Make a face of (2, 2) corners, or of (7, 2) corners and points."""
    landmarks = coordinates[2:].astype(np.float32) if len(coordinates) == 2 + POINTS else None
    return Detection(coordinates[:2].reshape(4).astype(np.float32), float(score), landmarks)
