"""INT8 for CPU: quantisation of a recogniser, after some training on request, and the gate that says what it cost.

The network becomes ONNX, its convolutions get 8-bit weights per channel and 8-bit inputs (QDQ form, ranges from the
user's pictures), and OpenVINO runs it. Two choices matter, measured on the shipped MobileFaceNet and 600 pairs:

- Outputs of convolutions stay in floating point: OpenVINO then fuses convolution, PReLU and the next quantisation into
  one kernel. With quantised outputs, ONNX Runtime's default, the network is slower than in float32 (8.2 to 6.4 ms).
- Depthwise convolutions stay in float32: one range for channels of very different size costs .007 of AUC, and 8 bits
  gain them no time (cosine to float32 .953 with them, .998 without).

Accelerators that know nothing but INT8 need the depthwise convolutions too (``every_layer``). Making channels of equal
size first (``equalizing``) brings back all that this costs: AUC on 600 synthetic pairs .9767 in float32, .9703 rounded,
.9774 rounded after equalising. Training the rounded network then (``quantization_training``) gained nothing more for
the shipped recogniser (.9764 after 60 steps); it is there for networks that lose more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, Sequence

import numpy as np

from arcface_paddle import devices, files
from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.data.verification_set import VerificationSet
from arcface_paddle.errors import ConfigError, DataError, MissingDependencyError, ModelFileError
from arcface_paddle.evaluation.embedder import Embedder, model_embedder
from arcface_paddle.evaluation.embedding import EmbeddingSettings, evaluate_sets
from arcface_paddle.export.exporter import install, staging_beside
from arcface_paddle.export.graph import GraphSettings, build_graph
from arcface_paddle.export.quantization_training import TrainedNetwork
from arcface_paddle.export.saving import ONNX_FILE, convert_to_onnx, save_onnx
from arcface_paddle.files import PathLike
from arcface_paddle.pipeline import cards
from arcface_paddle.pipeline.engines.telemetry import forbid_telemetry
from arcface_paddle.pipeline.model_files import ModelFolder, open_model
from arcface_paddle.pipeline.preprocessing import to_blob
from arcface_paddle.pipeline.runtime import RuntimeOptions, open_runtime

ENGINE = "openvino"
MAX_AUC_LOSS = 0.002
"""Well below the .007 that quantised depthwise convolutions cost (see above): the gate is to find such a thing."""
_TIMED_RUNS = 50  # whose median a busy machine hardly moves
_GATE_BATCH = 16


@dataclass(frozen=True)
class GateSide:
    """What one precision reached: accuracy of ten folds and AUC on the gate's pairs, and milliseconds a face."""

    accuracy: float
    auc: float
    milliseconds: float


@dataclass(frozen=True)
class QuantizationReport:
    """Float32 against INT8 in the same runtime, one thread, the same pairs.

    Attributes:
        pairs: name and number of the pairs that the gate used.
        calibration_images: pictures that gave the ranges.
        float32: before.
        int8: after.
        training: what the training did, where there was one.
    """

    pairs: str
    calibration_images: int
    float32: GateSide
    int8: GateSide
    training: Optional[TrainedNetwork] = None

    @property
    def speedup(self) -> float:
        return self.float32.milliseconds / self.int8.milliseconds


@devices.on_cpu()
def quantize_model(
    name_or_folder: PathLike,
    folder: PathLike,
    *,
    calibration: np.ndarray,
    pairs: VerificationSet,
    max_auc_loss: float = MAX_AUC_LOSS,
    every_layer: bool = False,
    train: Optional[Callable[[ModelFolder], TrainedNetwork]] = None,
) -> QuantizationReport:
    """Quantise a recogniser into ``folder``, through the accuracy gate.

    Args:
        name_or_folder: the float32 model.
        folder: where the INT8 model goes.
        calibration: (N, 112, 112, 3) uint8 RGB aligned crops like those that it will see; 100 to 500 are enough.
        pairs: pairs of faces for the gate; both kinds are needed.
        max_auc_loss: largest loss of AUC that passes.
        every_layer: quantise depthwise convolutions too.
        train: trains the network of the model for 8 bits, see ``quantization_training``; None = no training.

    Raises:
        DataError: no calibration pictures, or pairs of one kind only.
        MissingDependencyError: ONNX Runtime, paddle2onnx or OpenVINO is not installed.
        ModelFileError: the model cannot be converted, the gate failed, or the folder cannot be written.
    """
    if len(calibration) == 0:
        raise DataError("quantisation needs pictures for calibration; none were given")
    if pairs.issame.all() or not pairs.issame.any():
        raise DataError(f"{pairs.name}: the gate needs pairs of one person and pairs of two persons")
    model = open_model(name_or_folder, task=cards.RECOGNITION)
    trained = train(model) if train is not None else None
    with staging_beside(Path(folder)) as staging:
        with files.scratch_folder() as scratch:
            source = scratch / "float32.onnx"
            _write_float32_onnx(model, trained, source)
            job = Quantization(calibration, model.card, every_layer, trained)
            write_int8_onnx(source, staging / ONNX_FILE, job)
        cards.write_card(staging, _int8_card(model, len(calibration)))
        before, after = _compare([model, open_model(staging)], pairs)
        report = QuantizationReport(
            pairs=f"{pairs.name}, {len(pairs)} pairs",
            calibration_images=len(calibration),
            float32=before,
            int8=after,
            training=trained,
        )
        loss = report.float32.auc - report.int8.auc
        if loss > max_auc_loss:
            raise ModelFileError(
                f"accuracy gate: INT8 loses {loss:.4f} of AUC on {report.pairs} ({report.float32.auc:.4f} to "
                f"{report.int8.auc:.4f}), allowed {max_auc_loss}; nothing was written. More or more typical "
                "calibration pictures may help, or --train_steps"
            )
        install(staging, Path(folder))
    return report


def sample_crops(dataset: FaceDataset, *, count: int, seed: int = 0) -> np.ndarray:
    """Return at most ``count`` crops of a dataset, chosen at random: (N, 112, 112, 3) uint8 RGB.

    Raises:
        ConfigError: ``count`` is below 1.
        DataError, ImageError: a picture that was chosen cannot be read; the message names it.
    """
    if count < 1:
        raise ConfigError(f"count is {count}; allowed: 1 or more, 100 to 500 are usual")
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:count]
    return np.stack([dataset.read_image(int(index)) for index in chosen])


@dataclass(frozen=True, eq=False)
class Quantization:
    """What the quantiser needs besides the network: pictures, the card, which layers, and ranges from a training."""

    calibration: np.ndarray
    card: cards.ModelCard
    every_layer: bool
    trained: Optional[TrainedNetwork]


def _write_float32_onnx(model: ModelFolder, trained: Optional[TrainedNetwork], path: Path) -> None:
    if trained is not None:
        save_onnx(build_graph(trained.plain(), GraphSettings(fold=False)), path)
    elif model.graph_file.suffix == ".onnx":
        shutil.copyfile(model.graph_file, path)
    else:
        convert_to_onnx(model.graph_file, model.weights_file, path)


def write_int8_onnx(source: Path, path: Path, job: Quantization) -> None:
    """Quantise an ONNX file in float32.

    Raises:
        MissingDependencyError: ONNX Runtime or what its quantiser needs is not installed.
    """
    quantization, preprocess = _import_quantizer()
    prepared = source.with_name("prepared.onnx")
    input_name = open_runtime(source).input_names[0]
    with _root_logger_at_error():
        preprocess(str(source), str(prepared), skip_symbolic_shape=True)
    quantized_types = ["Conv", "Gemm", "MatMul"]
    quantization.quantize_static(
        str(prepared),
        str(path),
        _reader(quantization, job.calibration, job.card, input_name),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
        op_types_to_quantize=quantized_types,
        nodes_to_exclude=[] if job.every_layer else _depthwise_convolutions(prepared),
        extra_options={
            "OpTypesToExcludeOutputQuantization": quantized_types,
            "TensorQuantOverrides": {} if job.trained is None else _trained_ranges(prepared, job.trained, quantization),
        },
    )


def _trained_ranges(path: Path, trained: TrainedNetwork, quantization: Any) -> dict[str, list[dict[str, Any]]]:
    """Return, by name of tensor, the ranges that the training used; kernels tell which convolution is which."""
    import onnx

    graph = onnx.load(str(path)).graph
    arrays = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    ranges = {}
    for kernel, levels in trained.ranges():
        nodes = [node for node in graph.node if node.op_type == "Conv" and _has_kernel(arrays[node.input[1]], kernel)]
        assert len(nodes) == 1, "a kernel of the trained network is in its graph once"
        ranges[nodes[0].input[0]] = [
            {
                "quant_type": quantization.QuantType.QUInt8,
                "scale": np.array(levels.scale, dtype=np.float32),
                "zero_point": np.array(levels.zero_point, dtype=np.uint8),
            }
        ]
    return ranges


def _has_kernel(array: np.ndarray, kernel: np.ndarray) -> bool:
    return array.shape == kernel.shape and bool(np.allclose(array, kernel, rtol=1e-5, atol=1e-7))


@contextlib.contextmanager
def _root_logger_at_error() -> Iterator[None]:
    """Keep the quantiser's advice to preprocess, which it logs while preprocessing, off the terminal."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)


def _depthwise_convolutions(path: Path) -> list[str]:
    import onnx

    nodes = [node for node in onnx.load(str(path)).graph.node if node.op_type == "Conv"]
    return [node.name for node in nodes if any(item.name == "group" and item.i > 1 for item in node.attribute)]


def _reader(quantization: Any, crops: np.ndarray, card: cards.ModelCard, input_name: str) -> Any:
    class Reader(quantization.CalibrationDataReader):
        """Gives the calibration pictures one by one, as the recogniser would see them."""

        def __init__(self) -> None:
            self.feeds = self._feeds()

        def _feeds(self) -> Iterator[dict[str, np.ndarray]]:
            for crop in crops:
                yield {input_name: to_blob([crop], card.input)}

        def get_next(self) -> Optional[dict[str, np.ndarray]]:
            return next(self.feeds, None)

    return Reader()


def _compare(models: Sequence[ModelFolder], pairs: VerificationSet) -> list[GateSide]:
    """Evaluate models on the pairs, without mirroring, and time them on single faces in OpenVINO on one thread."""
    options = RuntimeOptions(engine=ENGINE, threads=1)
    embedders = [model_embedder(model, name=model.card.name, options=options) for model in models]
    settings = EmbeddingSettings(_GATE_BATCH, mirror=False)
    results = [result for one in embedders for result in evaluate_sets(one.embed, [pairs], settings=settings)]
    times = _milliseconds_a_face(embedders, pairs)
    sides = []
    for result, time_ms in zip(results, times):
        assert result.auc is not None, "pairs of both kinds were asked for"
        sides.append(GateSide(result.accuracy.mean, result.auc, time_ms))
    return sides


def _milliseconds_a_face(embedders: Sequence[Embedder], pairs: VerificationSet) -> list[float]:
    """Return the median time of each; they take turns, so that a busy machine slows all of them alike."""
    seconds = np.empty((len(embedders), _TIMED_RUNS))
    for run in range(_TIMED_RUNS):
        crop = pairs.decode(run % len(pairs.images))[None]
        for row, embedder in enumerate(embedders):
            start = time.perf_counter()
            embedder.embed(crop)
            seconds[row, run] = time.perf_counter() - start
    return [float(value) for value in np.median(seconds, axis=1) * 1000]


def _int8_card(model: ModelFolder, calibration_images: int) -> cards.ModelCard:
    return dataclasses.replace(
        model.card,
        name=f"{model.card.name}-int8",
        source=f"{model.card.source}; quantised to INT8 by arcface_paddle on {calibration_images} pictures",
        engine=ENGINE,
    )


def _import_quantizer() -> tuple[Any, Any]:
    forbid_telemetry()
    try:
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise MissingDependencyError(error.name or "onnxruntime", extra="onnx", purpose="INT8 quantisation") from None
    return quantization, quant_pre_process
