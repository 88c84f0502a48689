"""``FaceAnalysis`` for code that was written for the package insightface: the same calls, the models of this toolkit.

    from arcface_paddle import FaceAnalysis                    # was: from insightface.app import FaceAnalysis

    app = FaceAnalysis(providers=["CPUExecutionProvider"])
    app.prepare(ctx_id=0, det_size=(640, 640))
    for face in app.get(cv2.imread("group.jpg")):              # BGR, as there
        print(face.bbox, face.det_score, face.normed_embedding.shape)

Embeddings are those of this toolkit's recognisers, so that what was stored of others has to be embedded again, and
thresholds are others; see the model's card. For what no model here tells (age, sex, 68 or 106 landmarks) a face has
None, as insightface gives where a model is not loaded.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any, Optional, Sequence, Union

import cv2
import numpy as np

from arcface_paddle import images
from arcface_paddle.errors import ConfigError, ImageError
from arcface_paddle.pipeline import drawing, model_files
from arcface_paddle.pipeline.analyzer import Analyzer
from arcface_paddle.pipeline.builders import build_detector, build_recognizer
from arcface_paddle.pipeline.detection.base import Detector
from arcface_paddle.pipeline.settings import DEFAULT_DETECTOR, DEFAULT_RECOGNIZER, RuntimeOptions
from arcface_paddle.types import Detection, Face

PACKS = ("buffalo_l", "buffalo_m", "buffalo_s", "buffalo_sc", "antelopev2")
"""Names of insightface's own packs of models. None of them is used: they stand for this toolkit's default models."""

_DETECTION, _RECOGNITION = "detection", "recognition"
_ON_GPU = ("CUDAExecutionProvider", "TensorrtExecutionProvider")
_ENGINES = {"CPUExecutionProvider": "auto", "OpenVINOExecutionProvider": "openvino"}
_METRICS = ("default", "max")
_DOT = (0, 255, 0)

_logger = logging.getLogger("arcface_paddle")


class AnalyzedFace(dict[str, Any]):
    """A face with its results as items and as attributes; what no model gave is None.

    ``bbox`` (4,) float32 left, top, right, bottom; ``kps`` (5, 2) float32 or None; ``det_score``; ``embedding`` (D,)
    float32 with its length, ``embedding_norm``; ``normed_embedding`` of length 1.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.get(name)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    @property
    def embedding_norm(self) -> Optional[float]:
        """The length of the embedding; None without a recogniser."""
        return None if self.get("embedding") is None else float(np.linalg.norm(self["embedding"]))

    @property
    def normed_embedding(self) -> Optional[np.ndarray]:
        """The embedding of length 1, which cosines are made of; None without a recogniser."""
        return None if self.get("embedding") is None else self["embedding"] / self.embedding_norm

    @property
    def sex(self) -> Optional[str]:
        """None: no model here tells it."""
        return None


class FaceAnalysis:
    """Finds and embeds faces by the calls of insightface's class of this name.

    Args:
        name: recogniser: a name of ``model_files.REGISTRY``, a folder, or a folder in ``root``/models; one of ``PACKS``
            stands for the default one.
        root: where folders of models are looked for; None for nowhere.
        allowed_modules: ``detection`` and, for embeddings, ``recognition``; None for both.
        providers: where networks run, the first that can: ``CUDAExecutionProvider`` (Paddle's GPU build),
            ``OpenVINOExecutionProvider``, ``CPUExecutionProvider`` (the fastest engine that is installed). None for the
            last.
        det_model: detector: a name of ``model_files.REGISTRY`` or a folder.

    Raises:
        ConfigError: a module or provider that there is not.

    Attributes:
        models: what is loaded, by module, after ``prepare``.
        det_size, det_thresh: as given to ``prepare``.
    """

    def __init__(
        self,
        name: str = PACKS[0],
        root: Optional[Union[str, Path]] = None,
        allowed_modules: Optional[Sequence[str]] = None,
        *,
        providers: Optional[Sequence[str]] = None,
        det_model: str = DEFAULT_DETECTOR,
    ) -> None:
        self.models: dict[str, Any] = {}
        self.det_size: Optional[tuple[int, int]] = None
        self.det_thresh = 0.5
        self._rec_model = _recognizer_named(name, root)
        self._det_model = det_model
        self._modules = _checked_modules(allowed_modules)
        self._providers = _checked_providers(providers)
        self._analyzer: Optional[Analyzer] = None

    def prepare(self, ctx_id: int, det_thresh: float = 0.5, det_size: Optional[tuple[int, int]] = (640, 640)) -> None:
        """Load the models.

        Args:
            ctx_id: number of the GPU where the providers name one; below 0 for the CPU.
            det_thresh: least score of a face.
            det_size: width and height that a picture is shrunk to fit for the detection, as insightface does; None
                looks at it as it is, which finds more small faces of large pictures.

        Raises:
            ModelFileError: a model is missing or damaged.
            ConfigError: a value out of range, or none of the providers can run here.
        """
        if det_size is not None and (len(det_size) != 2 or min(det_size) < 32):
            raise ConfigError(f"det_size is {det_size}; allowed: width and height of 32 or more, or None")
        options = self._options(ctx_id)
        detector: Detector = build_detector(self._det_model, threshold=det_thresh, options=options)
        if det_size is not None:
            detector = _ShrinkingDetector(detector, (int(det_size[0]), int(det_size[1])))
        recognizer = None
        if _RECOGNITION in self._modules:
            recognizer = build_recognizer(self._rec_model, options=options)
        self._analyzer = Analyzer(detector, recognizer)
        loaded = {_DETECTION: detector, _RECOGNITION: recognizer}
        self.models = {module: model for module, model in loaded.items() if model is not None}
        self.det_thresh, self.det_size = det_thresh, det_size

    @property
    def det_model(self) -> Optional[Detector]:
        """The detector, after ``prepare``."""
        return self.models.get(_DETECTION)

    def get(self, img: np.ndarray, max_num: int = 0, det_metric: str = "default") -> list[AnalyzedFace]:
        """Find the faces of a picture and embed them.

        Args:
            img: (H, W, 3) uint8 **BGR**, as ``cv2.imread`` gives it; grey and with opacity, too.
            max_num: most faces; 0 for all.
            det_metric: which go first when there are more: ``default``, large and near the middle, or ``max``, large.

        Returns:
            The faces, best score first; of ``max_num``, those that matter most first.

        Raises:
            ConfigError: ``prepare`` was not called, or another metric.
            ImageError: another array.
        """
        if self._analyzer is None:
            raise ConfigError("FaceAnalysis has no models yet; call prepare(ctx_id=0) first")
        if det_metric not in _METRICS:
            raise ConfigError(f"det_metric is {det_metric!r}; allowed: {', '.join(_METRICS)}")
        picture = _rgb(img)
        found = sorted(self._analyzer.analyze(picture).faces, key=lambda face: -face.detection.score)
        if 0 < max_num < len(found):
            weights = [_weight(face.detection, picture, det_metric) for face in found]
            found = [found[index] for index in np.argsort(-np.array(weights), kind="stable")[:max_num]]
        return [_as_insightface(face) for face in found]

    def draw_on(self, img: np.ndarray, faces: Sequence[AnalyzedFace]) -> np.ndarray:
        """Return a copy of a BGR picture with boxes, scores and points of what ``get`` gave."""
        shown = [
            Face(Detection(np.asarray(face["bbox"], np.float32), float(face["det_score"]), face.get("kps")))
            for face in faces
        ]
        drawn = cv2.cvtColor(drawing.draw_faces(_rgb(img), shown), cv2.COLOR_RGB2BGR)
        radius = max(1, round(min(img.shape[:2]) / 300))
        for face in shown:
            for x, y in [] if face.detection.landmarks is None else face.detection.landmarks:
                cv2.circle(drawn, (round(float(x)), round(float(y))), radius, _DOT, -1)
        return drawn

    def _options(self, ctx_id: int) -> RuntimeOptions:
        """Return what the first of the providers means that can run here."""
        for provider in self._providers:
            if provider in _ENGINES:
                return RuntimeOptions(engine=_ENGINES[provider])
            if ctx_id >= 0 and _has_gpu():
                return RuntimeOptions(engine="paddle", device=f"gpu:{ctx_id}")
            _logger.warning("%s: no GPU that Paddle can use, or ctx_id is below 0", provider)
        raise ConfigError(f"none of {', '.join(self._providers)} can run here; add CPUExecutionProvider")


class _ShrinkingDetector:
    """Looks for faces in a copy that fits into a size, and tells where they are in the picture itself."""

    def __init__(self, detector: Detector, size_wh: tuple[int, int]) -> None:
        self.threshold = detector.threshold
        self._detector = detector
        self._size_wh = size_wh

    def __repr__(self) -> str:
        return f"{self._detector!r} within {self._size_wh[0]}x{self._size_wh[1]}"

    def detect(self, image: np.ndarray) -> list[Detection]:
        height, width = image.shape[:2]
        factor = min(self._size_wh[0] / width, self._size_wh[1] / height)
        if factor >= 1:
            return self._detector.detect(image)
        small_wh = (max(1, round(width * factor)), max(1, round(height * factor)))
        scale = np.array([width / small_wh[0], height / small_wh[1]], np.float32)
        small = cv2.resize(image, small_wh, interpolation=cv2.INTER_AREA)
        return [_scaled(face, scale) for face in self._detector.detect(small)]


def _scaled(face: Detection, scale_xy: np.ndarray) -> Detection:
    landmarks = None if face.landmarks is None else face.landmarks * scale_xy
    return dataclasses.replace(face, box_xyxy=face.box_xyxy * np.tile(scale_xy, 2), landmarks=landmarks)


def _recognizer_named(name: str, root: Optional[Union[str, Path]]) -> str:
    if root is not None and (Path(root).expanduser() / "models" / name / "model.json").is_file():
        return str(Path(root).expanduser() / "models" / name)
    if name not in PACKS:
        model_files.find_card(name)  # says which models there are
        return name
    _logger.warning("%s is not used: %s takes its place, whose embeddings are others", name, DEFAULT_RECOGNIZER)
    return DEFAULT_RECOGNIZER


def _checked_modules(modules: Optional[Sequence[str]]) -> tuple[str, ...]:
    if modules is None:
        return (_DETECTION, _RECOGNITION)
    unknown = [module for module in modules if module not in (_DETECTION, _RECOGNITION)]
    if unknown:
        raise ConfigError(f"there is no model for {', '.join(unknown)}; allowed_modules: {_DETECTION}, {_RECOGNITION}")
    if _DETECTION not in modules:
        raise ConfigError(f"allowed_modules are {list(modules)}; {_DETECTION} must be among them")
    return tuple(modules)


def _checked_providers(providers: Optional[Sequence[str]]) -> tuple[str, ...]:
    known = (*_ON_GPU, *_ENGINES)
    # A provider may come with options of its own: ("CUDAExecutionProvider", {...}).
    names = tuple(one if isinstance(one, str) else one[0] for one in providers or ("CPUExecutionProvider",))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"providers {', '.join(unknown)} are not known; allowed: {', '.join(known)}")
    return names


def _has_gpu() -> bool:
    try:
        import paddle
    except ImportError:
        return False
    return bool(paddle.device.is_compiled_with_cuda()) and paddle.device.cuda.device_count() > 0


def _rgb(img: np.ndarray) -> np.ndarray:
    if not isinstance(img, np.ndarray):  # cv2.imread gives None for what it cannot read
        raise ImageError(f"img is {type(img).__name__}; allowed: an array (H, W, 3) uint8, BGR, as cv2.imread gives it")
    return images.from_array(img, color_order="BGR")


def _weight(face: Detection, picture: np.ndarray, metric: str) -> float:
    """Return what insightface chooses by: the area, by default less twice the squared distance from the middle."""
    left, top, right, bottom = (float(edge) for edge in face.box_xyxy)
    area = (right - left) * (bottom - top)
    if metric == "max":
        return area
    off = ((left + right) / 2 - picture.shape[1] // 2) ** 2 + ((top + bottom) / 2 - picture.shape[0] // 2) ** 2
    return area - 2.0 * off


def _as_insightface(face: Face) -> AnalyzedFace:
    found = AnalyzedFace(bbox=face.detection.box_xyxy, kps=face.detection.landmarks, det_score=face.detection.score)
    if face.embedding is not None:
        found["embedding"] = face.embedding * np.float32(1.0 if face.feature_norm is None else face.feature_norm)
    return found
