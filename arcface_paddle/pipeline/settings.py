"""What may be chosen before anything is loaded: names, allowed values, and the settings that they make.

This module imports nothing heavy, because the command line needs it for every ``--help``.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from arcface_paddle.errors import ConfigError
from arcface_paddle.files import PathLike

DEFAULT_DETECTOR = "CenterFace"
DEFAULT_RECOGNIZER = "MobileFace"
CROP_RECOGNIZER = "MobileFace"
"""The recogniser of aligned crops of 112x112, for what works with crops and not with photographs."""

PRESETS = ("blazeface-fpn-ssh", "blazeface-fpn-ssh-imagenet", "aligned-112", "scrfd", "insightface-112")
"""Preprocessing of models without a card. The published pipeline fed its detector ``-imagenet``; the detector was
trained with the constants of the other. The last two are insightface's; its ``.onnx`` files need no preset."""

PUBLISHED_MODELS = ("BlazeFace-FPN-SSH", "MobileFace-128", "ArcFace")
"""Names of ``model_files.REGISTRY`` that are archives to be fetched."""

ROTATIONS = ("auto", "0", "90", "180", "270")
"""By how many degrees clockwise a picture must be turned to stand upright; the values of the flag ``--rotate``."""

ONE, CENTRE, LARGEST, ALL = "one", "centre", "largest", "all"
FACE_CHOICES = (ONE, CENTRE, LARGEST, ALL)
"""Which of the faces in a picture is meant; the values of the flag ``--faces``."""
ONE_FACE_CHOICES = (ONE, CENTRE, LARGEST)
"""The same where a picture stands for one person: in a gallery, in a comparison of two pictures."""

DECISIONS = ("best", "mean")
DEFAULT_DECISION = "best"
"""How several pictures of a person decide, see ``gallery.index``."""

ENGINES = {
    "paddle": ("arcface_paddle.pipeline.engines.paddle_engine", "PaddleRuntime"),
    "onnxruntime": ("arcface_paddle.pipeline.engines.onnx_engine", "OnnxRuntime"),
    "openvino": ("arcface_paddle.pipeline.engines.openvino_engine", "OpenVinoRuntime"),
}
"""Engines by name: module and class; the module is imported when the engine is first used."""

AUTO = "auto"
PRECISIONS = (AUTO, "fp32", "bf16", "fp16")
_DEVICE = re.compile(r"cpu|gpu(:\d+)?")


@dataclass(frozen=True)
class RuntimeOptions:
    """Where and how networks run.

    Attributes:
        engine: one of ``ENGINES``, or ``"auto"``, see ``candidates``.
        device: ``"cpu"``, ``"gpu"`` or ``"gpu:1"`` (paddle only).
        threads: CPU threads of one network; None for as many as this process may use.
        onednn: use oneDNN on CPU (paddle only); without it, networks take three to four times as long.
        precision: ``"fp32"``; ``"bf16"`` on CPUs with AVX512-BF16 or AMX; ``"auto"`` for bf16 where the processor has
            it and the engine is openvino, or paddle and the network has no PReLU, else fp32. In bf16 embeddings keep a
            cosine of .999 or more to those in fp32; a gallery made in one precision serves the other. Paddle's oneDNN
            kernel for PReLU gives NaN in bfloat16 (3.3.1), so that recognisers with PReLU need the engine openvino for
            it; where it is asked for, that is reported, not passed on. ``"fp16"`` is for GPUs, whose ``bf16`` begins
            with Ampere; ``auto`` is fp32 there.
        tensorrt: let TensorRT compute what it can of the network, within Paddle's engine on a GPU. It takes time at
            the first picture of each size, and .pdmodel files only.
    """

    engine: str = AUTO
    device: str = "cpu"
    threads: Optional[int] = None
    onednn: bool = True
    precision: str = AUTO
    tensorrt: bool = False

    def __post_init__(self) -> None:
        if self.engine not in (AUTO, *ENGINES):
            raise ConfigError(f"engine is {self.engine!r}; allowed: {AUTO}, {', '.join(ENGINES)}")
        if not _DEVICE.fullmatch(self.device):
            raise ConfigError(f"device is {self.device!r}; allowed: cpu, gpu, gpu:0, gpu:1, ...")
        if self.threads is not None and not (_is_number(self.threads) and 1 <= self.threads <= 1024):
            raise ConfigError(f"threads is {self.threads!r:.80}; allowed: 1 to 1024")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"precision is {self.precision!r}; allowed: {', '.join(PRECISIONS)}")
        if self.engine not in (AUTO, "paddle") and self.device != "cpu":
            raise ConfigError(f"the engine {self.engine} runs on cpu only here; device is {self.device!r}")
        if self.engine == "onnxruntime" and self.precision == "bf16":
            raise ConfigError("the engine onnxruntime has no bfloat16 on CPU; use paddle or openvino")
        if self.precision == "fp16" and self.device == "cpu":
            raise ConfigError("precision fp16 is for GPUs, device is cpu; use --device gpu, or fp32")
        if self.tensorrt and self.device == "cpu":
            raise ConfigError("tensorrt needs a GPU, device is cpu; use --device gpu, or leave it out")
        if self.tensorrt and self.precision == "bf16":
            raise ConfigError("tensorrt computes in fp32 or fp16 here; precision is bf16")

    def candidates(self, graph_file: Path, *, preferred: str = "") -> tuple[str, ...]:
        """Return the engines to try, the fastest first: what ``auto`` stands for on this machine.

        The order is known and not measured: OpenVINO was faster than the others with every shipped network on every
        processor tried (1.4 to 2 times in float32), a measurement would cost the first picture more than a second, and
        two machines of one kind could disagree. OpenVINO goes first for the files that it reads itself; what follows it
        serves networks that it does not know.

        Args:
            graph_file: ``.pdmodel``, ``.json`` or ``.onnx``.
            preferred: the engine that the model's card names; it stands alone.
        """
        if self.engine != AUTO:
            return (self.engine,)
        if preferred and (preferred, graph_file.suffix) != ("paddle", ".onnx"):  # a preset may serve both formats
            return (preferred,)
        by_file = "onnxruntime" if graph_file.suffix == ".onnx" else "paddle"
        if self.device != "cpu" or not self.onednn:  # both are words about Paddle
            return (by_file,)
        if graph_file.suffix == ".json" or not _installed("openvino"):
            return (by_file,)
        return ("openvino", by_file) if _installed(by_file) else ("openvino",)

    def resolved(self, graph_file: Path, *, preferred: str = "") -> RuntimeOptions:
        """Return the options with the first of the ``candidates`` in place of ``auto``."""
        return dataclasses.replace(self, engine=self.candidates(graph_file, preferred=preferred)[0])

    @property
    def thread_count(self) -> int:
        return self.threads or available_cores()


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def available_cores() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


DETECT, PORTRAIT, ALIGNED = "detect", "portrait", "aligned"
CONTENTS = (DETECT, PORTRAIT, ALIGNED)
"""What pictures are: photographs whose faces are all found, portraits of one face each, or aligned crops."""

DEFAULT_FPIR = 0.01
"""At which rate a search for a stranger may end with a name, when nobody says otherwise."""

FALSE_ACCEPTANCE_RATES = {"1e-2": "far_1e2", "1e-3": "far_1e3", "1e-4": "far_1e4"}
"""Rates between two pictures for which a card may have a threshold, and the field of ``Calibration`` that holds it."""


DISTANCE_METRICS = ("squared_l2", "arccos", "cosine")
"""Names of ``distances.DISTANCES``."""


@dataclass(frozen=True)
class ThresholdSettings:
    """From which similarity on a face gets a name.

    Attributes:
        similarity: -1 to 1; None for the card's.
        far: take the card's threshold for this rate of false acceptances between two pictures, one of
            ``FALSE_ACCEPTANCE_RATES``.
        fpir: at which rate a search for a stranger may end with a name, 0 to 1; None for ``DEFAULT_FPIR``. The
            threshold follows from it, the size of the gallery, and the card; at most one of the four is given.
        distance: in place of a similarity, the largest distance of two pictures of one person, see ``distances``.
        metric: which distance that is, one of ``DISTANCE_METRICS``.
    """

    similarity: Optional[float] = None
    far: Optional[str] = None
    fpir: Optional[float] = None
    distance: Optional[float] = None
    metric: str = DISTANCE_METRICS[0]

    def __post_init__(self) -> None:
        for name in ("similarity", "fpir", "distance"):
            value = getattr(self, name)
            if value is not None and not _is_number(value):
                raise ConfigError(f"{name} is {value!r:.80}; allowed: a number")


def _is_number(value: Any) -> bool:
    """Tell whether a value compares with numbers; arrays of one do, too."""
    if isinstance(value, (str, bytes, bytearray)):
        return False
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


MAX_MIN_FACE = 100_000
"""Pixels; no picture that is read here has a longer side."""


@dataclass(frozen=True)
class DetectionSettings:
    """Which faces are looked for.

    Attributes:
        threshold: least detection score, above 0 and at most 1; None for the card's.
        min_face: pixels of the picture that a face's longer side has at least: the smaller, the finer and the longer
            the search; None for all that the detector can see, looking for the smallest in large pictures only where
            there are small ones.
        rotate: one of ``ROTATIONS``; with ``"auto"`` a picture in which nothing plausible stands upright is tried on
            its sides and upside down.
    """

    threshold: Optional[float] = None
    min_face: Optional[int] = None
    rotate: str = AUTO

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise ConfigError(f"the threshold of the detector is {self.threshold}; allowed: above 0, at most 1")
        if self.min_face is not None and not 1 <= self.min_face <= MAX_MIN_FACE:
            raise ConfigError(f"min_face is {self.min_face}; allowed: 1 to {MAX_MIN_FACE} pixels")
        if self.rotate not in ROTATIONS:
            raise ConfigError(f"rotate is {self.rotate!r}; allowed: {', '.join(ROTATIONS)}")


USUAL_DETECTION = DetectionSettings()
"""What holds when the user says nothing."""


@dataclass(frozen=True)
class PipelineSettings:
    """Which models run, and how.

    Attributes:
        det_model: detector: a name of ``model_files.REGISTRY`` or a folder.
        rec_model: recogniser, likewise; None for the one that made the gallery, without one ``DEFAULT_RECOGNIZER``.
        det_preset: one of ``model_files.PRESETS``, for a detector's folder without a card.
        rec_preset: likewise for the recogniser.
        det_thresh: least detection score, 0 to 1; None for the card's.
        min_face: pixels of the smallest face, see ``DetectionSettings``.
        rotate: whether pictures lie on their side, likewise.
        mirrored: average the embeddings of the face and its mirror image; None as the gallery was made, else yes.
        max_batch_size: most faces per run of the recogniser.
        top_k: candidates reported per face.
        threshold: from which similarity on a face gets a name.
        min_quality: faces of a lower quality (0 to 1, see ``quality``) get no name.
        runtime: engine, device, threads, precision.
    """

    det_model: str = DEFAULT_DETECTOR
    rec_model: Optional[str] = None
    det_preset: Optional[str] = None
    rec_preset: Optional[str] = None
    det_thresh: Optional[float] = None
    min_face: Optional[int] = None
    rotate: str = AUTO
    mirrored: Optional[bool] = None
    max_batch_size: int = 16
    top_k: int = 5
    threshold: ThresholdSettings = ThresholdSettings()
    min_quality: float = 0.0
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)


@dataclass(frozen=True)
class OutputSettings:
    """What a run makes beside its results.

    Attributes:
        drawn: folder for annotated pictures or video; None draws nothing, and needs no folder.
        crops: folder for the faces of pictures, a folder for each name inside; None for none.
        font: font of the labels; None for that of the package.
        font_size: of the labels in pixels; None for one that follows face and picture.
        unknown: what strangers are called; None for ``unknown``.
        distance: which distance stands beside a name in place of the similarity, one of ``DISTANCE_METRICS``; None for
            the similarity.
    """

    drawn: Optional[PathLike] = None
    crops: Optional[PathLike] = None
    font: Optional[PathLike] = None
    font_size: Optional[int] = None
    unknown: Optional[str] = None
    distance: Optional[str] = None

    def __post_init__(self) -> None:
        if self.font_size is not None and not 4 <= self.font_size <= 1000:
            raise ConfigError(f"font_size is {self.font_size}; allowed: 4 to 1000 pixels")
        if self.unknown is not None and not (self.unknown.strip() and self.unknown.isprintable()):
            raise ConfigError(f"the name of strangers is {self.unknown!r}; allowed: a printable text")
        if self.distance is not None and self.distance not in DISTANCE_METRICS:
            raise ConfigError(f"the distance is {self.distance!r}; allowed: {', '.join(DISTANCE_METRICS)}")

    @property
    def folders(self) -> tuple[PathLike, ...]:
        """The folders that are written to, which are not searched for pictures."""
        return tuple(folder for folder in (self.drawn, self.crops) if folder is not None)


@dataclass(frozen=True)
class SessionSettings:
    """Everything that a run needs to know before it looks at a picture.

    Attributes:
        pipeline: models, engine, thresholds.
        detect: find the faces of photographs; False takes a picture for one face, an aligned crop or a portrait.
        index: file of the gallery that names the faces; None finds faces and names nobody.
        decision: how several pictures of a person decide, one of ``gallery.DECISIONS``; None as the gallery was made.
        max_pixels: refuse larger pictures; None for ``images.MAX_PIXELS``.
        workers: how many pictures are looked at at once, each with models of its own; see
            ``picture_workers.share_out``, which shares out the threads of the pipeline's engine, too.
        outputs: what is made beside the results.
    """

    pipeline: PipelineSettings = field(default_factory=PipelineSettings)
    detect: bool = True
    index: Optional[PathLike] = None
    decision: Optional[str] = None
    max_pixels: Optional[int] = None
    workers: int = 1
    outputs: OutputSettings = field(default_factory=OutputSettings)
