"""What all detectors that are a network with its card do alike: turn pictures, and leave out faces nobody wants."""

from __future__ import annotations

import abc

import numpy as np

from arcface_paddle.pipeline.cards import DetectorSpec, ModelCard
from arcface_paddle.pipeline.detection.base import check_image, wanted
from arcface_paddle.pipeline.detection.turning import find_turned
from arcface_paddle.pipeline.model_files import ModelFolder
from arcface_paddle.pipeline.runtime import Execution, InferenceRuntime
from arcface_paddle.pipeline.settings import DetectionSettings
from arcface_paddle.types import Detection


class NetworkDetector(abc.ABC):
    """See ``base.Detector``.

    Args:
        model: the card, and its network.
        runtime: the network, loaded.
        settings: which faces are looked for.
    """

    def __init__(self, model: ModelFolder, runtime: InferenceRuntime, *, settings: DetectionSettings) -> None:
        self.card = model.card
        self._spec = detector_spec(model.card)
        self.threshold = self._spec.score_threshold if settings.threshold is None else float(settings.threshold)
        self._model = model
        self._runtime = runtime
        self._settings = settings

    def __repr__(self) -> str:
        """Return model and threshold.

        Example:
            >>> from arcface_paddle.pipeline import build_detector
            >>> build_detector(threshold=0.6)
            CenterFaceDetector('CenterFace', threshold=0.6)
        """
        return f"{type(self).__name__}({self.card.name!r}, threshold={self.threshold:.3g})"

    @property
    def execution(self) -> Execution:
        """Engine, precision and threads of the network; of several, of the one that goes first."""
        return self._runtime.execution

    def detect(self, image: np.ndarray) -> list[Detection]:
        """See ``base.Detector``."""
        return self.search(image, threshold=self.threshold)

    def search(self, image: np.ndarray, *, threshold: float) -> list[Detection]:
        """Do as ``detect`` with a threshold of this call's own."""
        check_image(image)
        faces = find_turned(
            self._find,
            image,
            glance=self._glance,
            rotate=self._settings.rotate,
            plausible=self._spec.score_threshold,
        )
        return wanted(faces, threshold=threshold, min_face=self._settings.min_face)

    @abc.abstractmethod
    def _find(self, image: np.ndarray) -> list[Detection]:
        """Find what may be a face, at any threshold, in a picture (H, W, 3) uint8 RGB that stands upright."""

    def _glance(self, image: np.ndarray) -> list[Detection]:
        """Do so in a small copy, where large faces are enough; quicker where a detector can be."""
        return self._find(image)


def detector_spec(card: ModelCard) -> DetectorSpec:
    """Return the detector's section of a card that ``open_model`` let through as one of a detector."""
    assert card.detector is not None, f"{card.name} is a model for {card.task}"
    return card.detector
