"""Detectors and recognisers by name or folder: find the model, load its network, put the parts together."""

from __future__ import annotations

from typing import Callable, Optional, Union

from arcface_paddle.errors import ModelFileError
from arcface_paddle.files import PathLike
from arcface_paddle.pipeline import cards, model_files
from arcface_paddle.pipeline.detection.base import Detector
from arcface_paddle.pipeline.detection.blazeface import BlazeFaceDetector
from arcface_paddle.pipeline.detection.centerface import CenterFaceDetector
from arcface_paddle.pipeline.detection.mtcnn import CascadeStage, MtcnnDetector
from arcface_paddle.pipeline.detection.network_detector import detector_spec
from arcface_paddle.pipeline.detection.refiner import FaceRefiner
from arcface_paddle.pipeline.detection.rows import RowsDetector
from arcface_paddle.pipeline.detection.scrfd import ScrfdDetector
from arcface_paddle.pipeline.fusion import FusedRecognizer
from arcface_paddle.pipeline.recognition import FaceRecognizer, Recognizer
from arcface_paddle.pipeline.runtime import InferenceRuntime, RuntimeOptions, open_runtime
from arcface_paddle.pipeline.settings import AUTO, DEFAULT_DETECTOR, DEFAULT_RECOGNIZER, DetectionSettings

DetectorBuilder = Callable[
    [model_files.ModelFolder, InferenceRuntime, DetectionSettings, Optional[RuntimeOptions]], Detector
]
"""Makes a detector of a model's folder, its loaded network, what the user looks for, and the engine's options."""


def build_detector(
    model: Union[str, PathLike] = DEFAULT_DETECTOR,
    *,
    threshold: Optional[float] = None,
    min_face: Optional[int] = None,
    rotate: str = AUTO,
    preset: Optional[str] = None,
    options: Optional[RuntimeOptions] = None,
) -> Detector:
    """Load a detector.

    Args:
        model: a name of ``model_files.REGISTRY``, a folder, or an ``.onnx`` file of a SCRFD.
        threshold: faces with a lower score are dropped; None for the threshold of the model's card.
        min_face: pixels that a face's longer side has at least; a large value saves time on large pictures, a small
            one finds more. None for all that the detector can see.
        rotate: degrees clockwise by which pictures must be turned to stand upright, ``"0"`` to ``"270"``; ``"auto"``
            turns those in which nothing plausible stands upright.
        preset: one of ``model_files.PRESETS``, for a folder without a card.
        options: engine, device, threads, precision.

    Raises:
        ModelFileError: no such model, or its files are damaged or unsuitable.
        ConfigError: a value out of range, or options that this machine cannot meet.

    Example:
        >>> from arcface_paddle import build_detector, load_image
        >>> faces = build_detector(threshold=0.6).detect(load_image("demo/queries/group.jpg"))  # doctest: +SKIP
    """
    settings = DetectionSettings(threshold, min_face, rotate)
    folder = model_files.open_model(model, task=cards.DETECTION, preset=preset)
    runtime = _runtime_of(folder, options)
    return DETECTORS[detector_spec(folder.card).decoder](folder, runtime, settings, options)


def build_recognizer(
    model: Union[str, PathLike] = DEFAULT_RECOGNIZER,
    *,
    max_batch_size: int = 16,
    mirrored: bool = True,
    preset: Optional[str] = None,
    options: Optional[RuntimeOptions] = None,
) -> FaceRecognizer:
    """Load a recogniser: a network, or with a card that names members the fusion of several.

    Args:
        model: a name of ``model_files.REGISTRY``, a folder, or an ``.onnx`` file.
        max_batch_size: faces per run of the network.
        mirrored: average over the face and its mirror image, the default: it doubles the recogniser's share of the time
            and is slightly better (see ``Recognizer``). Gallery and probe must agree on it.
        preset: one of ``model_files.PRESETS``, for a folder without a card.
        options: engine, device, threads, precision.

    Raises:
        ModelFileError: no such model, or its files are damaged or unsuitable.
        ConfigError: options that this machine cannot meet.
    """

    def load(folder: model_files.ModelFolder) -> Recognizer:
        return Recognizer(folder, _runtime_of(folder, options), max_batch_size=max_batch_size, mirrored=mirrored)

    if model_files.find_card(model, task=cards.RECOGNITION, preset=preset).fusion is None:
        return load(model_files.open_model(model, task=cards.RECOGNITION, preset=preset))
    united = model_files.open_fusion(model)
    return FusedRecognizer(united, [load(member) for member in united.members])


def _build_blazeface(
    folder: model_files.ModelFolder,
    runtime: InferenceRuntime,
    settings: DetectionSettings,
    options: Optional[RuntimeOptions],
) -> Detector:
    spec = detector_spec(folder.card)
    refiner = None
    if spec.refiner:
        refiner_folder = model_files.open_model(_refiner_of(folder, spec.refiner), task=cards.REFINEMENT)
        refiner = FaceRefiner(refiner_folder, _runtime_of(refiner_folder, options))
    return BlazeFaceDetector(folder, runtime, refiner=refiner, settings=settings)


def _build_rows(
    folder: model_files.ModelFolder,
    runtime: InferenceRuntime,
    settings: DetectionSettings,
    _options: Optional[RuntimeOptions],
) -> Detector:
    return RowsDetector(folder, runtime, settings=settings)


def _build_centerface(
    folder: model_files.ModelFolder,
    runtime: InferenceRuntime,
    settings: DetectionSettings,
    _options: Optional[RuntimeOptions],
) -> Detector:
    return CenterFaceDetector(folder, runtime, windows=runtime.twin(), settings=settings)


def _build_scrfd(
    folder: model_files.ModelFolder,
    runtime: InferenceRuntime,
    settings: DetectionSettings,
    _options: Optional[RuntimeOptions],
) -> Detector:
    return ScrfdDetector(folder, runtime, settings=settings)


def _build_mtcnn(
    folder: model_files.ModelFolder,
    runtime: InferenceRuntime,
    settings: DetectionSettings,
    options: Optional[RuntimeOptions],
) -> Detector:
    spec = detector_spec(folder.card)
    assert spec.cascade is not None, "the card was checked"

    def stage(name: str) -> CascadeStage:
        model = model_files.open_model(_refiner_of(folder, name), task=cards.REFINEMENT)
        return CascadeStage(model, _runtime_of(model, options))

    return MtcnnDetector(folder, runtime, stages=(stage(spec.cascade.filter), stage(spec.refiner)), settings=settings)


DETECTORS: dict[str, DetectorBuilder] = {
    "blazeface": _build_blazeface,
    "centerface": _build_centerface,
    "mtcnn": _build_mtcnn,
    "rows": _build_rows,
    "scrfd": _build_scrfd,
}
"""How a network's outputs become faces, by the word that the card has under ``decoder`` (``cards.DECODERS``)."""


def _runtime_of(folder: model_files.ModelFolder, options: Optional[RuntimeOptions]) -> InferenceRuntime:
    return open_runtime(folder.graph_file, folder.weights_file, options=options, preferred_engine=folder.card.engine)


def _refiner_of(folder: model_files.ModelFolder, refiner: str) -> Union[str, PathLike]:
    """Return the refiner that a card names: a model of the registry, or a folder beside the detector's."""
    if refiner in model_files.REGISTRY:
        return refiner
    beside = folder.path.parent / refiner
    if not beside.is_dir():
        raise ModelFileError(f"{folder.path}: its card names the refiner {refiner!r}, which is not at {beside}")
    return beside
