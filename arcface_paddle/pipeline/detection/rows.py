"""Detectors that give finished rows, as Paddle's detection toolkit exports them: BlazeFace-FPN-SSH and others.

Inputs: ``image`` (1, 3, S, S) by plain resize, ``im_shape`` (1, 2) = S, S, ``scale_factor`` (1, 2) = S / H, S / W.
Rows: class, score, left, top, right, bottom in pixels of the picture. They have no landmarks.
"""

from __future__ import annotations

import numpy as np

from arcface_paddle.errors import ModelFileError
from arcface_paddle.pipeline.detection.network_detector import NetworkDetector
from arcface_paddle.pipeline.model_files import ModelFolder
from arcface_paddle.pipeline.preprocessing import resize, to_blob
from arcface_paddle.pipeline.runtime import InferenceRuntime
from arcface_paddle.pipeline.settings import USUAL_DETECTION, DetectionSettings
from arcface_paddle.types import Detection

_INPUTS = ("image", "im_shape", "scale_factor")


class RowsDetector(NetworkDetector):
    """See ``base.Detector``; boxes come without landmarks, so that recognition falls back to a crop of the box."""

    def __init__(
        self, model: ModelFolder, runtime: InferenceRuntime, *, settings: DetectionSettings = USUAL_DETECTION
    ) -> None:
        unknown = set(runtime.input_names) - set(_INPUTS)
        if unknown or "image" not in runtime.input_names:
            raise ModelFileError(
                f"{model.path}: takes {', '.join(runtime.input_names)}; a detector that gives rows takes "
                f"{', '.join(_INPUTS)}"
            )
        super().__init__(model, runtime, settings=settings)
        self._size = self._spec.scales[0].size

    def _find(self, image: np.ndarray) -> list[Detection]:
        height, width = image.shape[:2]
        size = self._size
        blob = to_blob([resize(image, (size, size), self.card.input)], self.card.input)
        feeds = {
            "image": blob,
            "im_shape": np.array([[size, size]], np.float32),
            "scale_factor": np.array([[size / height, size / width]], np.float32),
        }
        rows = self._rows(self._runtime.run([feeds[name] for name in self._runtime.input_names]))
        faces = rows[rows[:, 0] > -1]
        faces = faces[(faces[:, 4] > faces[:, 2]) & (faces[:, 5] > faces[:, 3])]
        return [Detection(row[2:6].astype(np.float32), float(row[1])) for row in faces]

    def _rows(self, outputs: list[np.ndarray]) -> np.ndarray:
        for output in outputs:
            if output.ndim == 2 and output.shape[1] == 6:
                return output
        raise ModelFileError(
            f"{self._model.path}: gives {', '.join(str(output.shape) for output in outputs)}; a detector gives rows of "
            "class, score, left, top, right, bottom"
        )
