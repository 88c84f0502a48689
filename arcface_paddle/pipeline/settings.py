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
from typing import Optional

from arcface_paddle.errors import ConfigError
from arcface_paddle.files import PathLike

DEFAULT_DETECTOR = "BlazeFace"
DEFAULT_RECOGNIZER = "MobileFace"
CROP_RECOGNIZER = "MobileFace"
"""The recogniser of aligned crops of 112x112, for what works with crops and not with photographs."""

PRESETS = ("blazeface-fpn-ssh", "blazeface-fpn-ssh-imagenet", "aligned-112")
"""Preprocessing of models without a card. The published pipeline fed its detector ``-imagenet``; the detector was
trained with the constants of the other."""

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
PRECISIONS = ("fp32", "bf16")
_DEVICE = re.compile(r"cpu|gpu(:\d+)?")


@dataclass(frozen=True)
class RuntimeOptions:
    """Where and how networks run.

    Attributes:
        engine: one of ``ENGINES``, or ``"auto"``.
        device: ``"cpu"``, ``"gpu"`` or ``"gpu:1"`` (paddle only).
        threads: CPU threads of one network; None for as many as this process may use.
        onednn: use oneDNN on CPU (paddle only); without it, networks take three to four times as long.
        precision: ``"fp32"``, or ``"bf16"`` on CPUs with AVX512-BF16 or AMX. Similarities change in the third
            decimal; a gallery made in one precision serves the other. Paddle's oneDNN kernel for PReLU gives NaN in
            bfloat16 (3.3.1), so that recognisers with PReLU need the engine openvino for it; that is reported, not
            passed on.
    """

    engine: str = AUTO
    device: str = "cpu"
    threads: Optional[int] = None
    onednn: bool = True
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if self.engine not in (AUTO, *ENGINES):
            raise ConfigError(f"engine is {self.engine!r}; allowed: {AUTO}, {', '.join(ENGINES)}")
        if not _DEVICE.fullmatch(self.device):
            raise ConfigError(f"device is {self.device!r}; allowed: cpu, gpu, gpu:0, gpu:1, ...")
        if self.threads is not None and not 1 <= self.threads <= 1024:
            raise ConfigError(f"threads is {self.threads}; allowed: 1 to 1024")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"precision is {self.precision!r}; allowed: {', '.join(PRECISIONS)}")
        if self.engine not in (AUTO, "paddle") and self.device != "cpu":
            raise ConfigError(f"the engine {self.engine} runs on cpu only here; device is {self.device!r}")
        if self.engine == "onnxruntime" and self.precision != "fp32":
            raise ConfigError("the engine onnxruntime has no bfloat16 on CPU; use paddle or openvino")

    def resolved(self, graph_file: Path, *, preferred: str = "") -> RuntimeOptions:
        """Return the options with an engine in place of ``auto``: the preferred one, else one that reads the file.

        For bfloat16 that is OpenVINO where it is installed, because Paddle cannot run every network in it.
        """
        if self.engine != AUTO:
            return self
        by_file = "onnxruntime" if graph_file.suffix == ".onnx" else "paddle"
        if self.precision == "bf16" and self.device == "cpu" and importlib.util.find_spec("openvino"):
            by_file = "openvino"
        return dataclasses.replace(self, engine=preferred or by_file)

    @property
    def thread_count(self) -> int:
        return self.threads or available_cores()


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


@dataclass(frozen=True)
class ThresholdSettings:
    """From which similarity on a face gets a name.

    Attributes:
        similarity: -1 to 1; None for the card's.
        far: take the card's threshold for this rate of false acceptances between two pictures, one of
            ``FALSE_ACCEPTANCE_RATES``.
        fpir: at which rate a search for a stranger may end with a name, 0 to 1; None for ``DEFAULT_FPIR``. The
            threshold follows from it, the size of the gallery, and the card; at most one of the three is given.
    """

    similarity: Optional[float] = None
    far: Optional[str] = None
    fpir: Optional[float] = None


@dataclass(frozen=True)
class PipelineSettings:
    """Which models run, and how.

    Attributes:
        det_model: detector: a name of ``model_files.REGISTRY`` or a folder.
        rec_model: recogniser, likewise; None for the one that made the gallery, without one ``DEFAULT_RECOGNIZER``.
        det_preset: one of ``model_files.PRESETS``, for a detector's folder without a card.
        rec_preset: likewise for the recogniser.
        det_thresh: least detection score, 0 to 1; None for the card's.
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
    """

    drawn: Optional[PathLike] = None
    crops: Optional[PathLike] = None
    font: Optional[PathLike] = None

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
        outputs: what is made beside the results.
    """

    pipeline: PipelineSettings = field(default_factory=PipelineSettings)
    detect: bool = True
    index: Optional[PathLike] = None
    decision: Optional[str] = None
    max_pixels: Optional[int] = None
    outputs: OutputSettings = field(default_factory=OutputSettings)
