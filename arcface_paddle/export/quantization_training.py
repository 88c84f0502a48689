"""Quantisation-aware training: channels are equalised, then the rounded network learns to embed as it did unrounded.

The teacher is the float32 network itself, so that pictures need no labels and nobody is forgotten: the loss is one
minus the cosine between both embeddings of a face.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Sequence

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from arcface_paddle.backbones.cpu_speed import use_cpu_layers
from arcface_paddle.backbones.weights import network_of, open_backbone
from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.errors import ConfigError, ModelFileError
from arcface_paddle.export.equalizing import equalized
from arcface_paddle.export.fake_quantization import (
    InputRange,
    QuantizedConv,
    quantized_convolutions,
    with_fake_quantization,
    without_fake_quantization,
)
from arcface_paddle.export.folding import fold_batch_norm
from arcface_paddle.pipeline.cards import InputSpec
from arcface_paddle.pipeline.model_files import TRAINING_WEIGHTS, ModelFolder
from arcface_paddle.pipeline.preprocessing import to_blob
from arcface_paddle.progress import progress
from arcface_paddle.weight_files import read_state_dict

_MOST_STEPS, _MOST_BATCH = 1_000_000, 4096
_RANGE_BATCHES = 8  # of pictures that give the first ranges


@dataclass(frozen=True)
class QuantizationTraining:
    """How long and on what the rounded network is trained.

    Attributes:
        dataset: aligned crops, of which labels do not count.
        steps: number of steps; 0 only equalises channels and finds the ranges.
        batch_size: pictures a step.
        learning_rate: of Adam at the beginning; it rises first and falls to zero along a cosine.
        seed: order and mirroring of the pictures.
    """

    dataset: FaceDataset
    steps: int
    batch_size: int = 16
    learning_rate: float = 1e-5
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.steps <= _MOST_STEPS:
            raise ConfigError(f"train_steps is {self.steps}; allowed: 0 to {_MOST_STEPS}")
        if not 1 <= self.batch_size <= _MOST_BATCH:
            raise ConfigError(f"train_batch is {self.batch_size}; allowed: 1 to {_MOST_BATCH}")
        if not 0.0 < self.learning_rate <= 1.0:
            raise ConfigError(f"learning_rate is {self.learning_rate}; allowed: ]0, 1]")


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network that has got used to 8 bits.

    Attributes:
        rounded: the network with ``QuantizedConv`` layers, in evaluation mode: it computes what INT8 kernels will.
        cosine_before: mean cosine of its embeddings to those in float32, on the last pictures, before the training.
        cosine_after: the same after it.
    """

    rounded: nn.Layer
    cosine_before: float
    cosine_after: float

    def plain(self) -> nn.Layer:
        """Return the network in float32, with plain convolutions and the trained weights."""
        return without_fake_quantization(self.rounded)

    def ranges(self) -> list[tuple[np.ndarray, InputRange]]:
        """Return kernel (O, I, kH, kW) float32 and range of the input of each quantised convolution."""
        return [(np.asarray(layer.conv.weight.numpy()), layer.levels) for layer in quantized_convolutions(self.rounded)]


def open_trainable(model: ModelFolder, *, weights: Optional[Path] = None, network: Optional[str] = None) -> nn.Layer:
    """Build the network that a model was exported from, in evaluation mode.

    Args:
        model: the folder.
        weights: ``.pdparams`` file; None = ``training.pdparams`` of the folder.
        network: its name; None = as the weights tell.

    Raises:
        ModelFileError: there are no weights to train.
        CheckpointError, ConfigError: they cannot be read, or belong to another network.
    """
    path = weights or model.path / TRAINING_WEIGHTS
    if not path.is_file():
        raise ModelFileError(
            f"{path}: no such file; training needs the weights of the network and not only its graph: "
            "name the .pdparams file with --weights"
        )
    name = network or network_of(read_state_dict(path))
    if name is None:
        raise ConfigError(f"{path}: its weights do not tell which network they are of; name it with --network")
    return open_backbone(name, path)


def train_quantized(
    teacher: nn.Layer, spec: InputSpec, settings: QuantizationTraining, *, every_layer: bool
) -> TrainedNetwork:
    """Equalise the channels of a copy of ``teacher``, round it, and train it to embed like it.

    Args:
        teacher: in evaluation mode; it is not changed.
        spec: how crops become its input.
        settings: length, pictures, rate.
        every_layer: round depthwise convolutions too.

    Raises:
        DataError, ImageError: a picture cannot be read; the message names it.
    """
    pictures = _Pictures(settings, spec)
    folded, _ = fold_batch_norm(teacher, input_shape=(1, 3, *spec.size_wh[::-1]))
    equal, _ = equalized(folded, pictures.batch(0))
    student = with_fake_quantization(equal, every_layer=every_layer)
    layers = quantized_convolutions(student)
    last = pictures.batch(settings.steps)
    with paddle.no_grad():
        for step in range(_RANGE_BATCHES):
            student(pictures.batch(settings.steps + 1 + step))
        before = float(_cosines(student, teacher, last).mean())
    for layer in use_cpu_layers(student).sublayers():
        if isinstance(layer, nn.PReLU):
            layer.train()  # the fast gradient; statistics of normalisations and dropout stay as in evaluation
    rate = _schedule(settings)
    adam = paddle.optimizer.Adam(rate, parameters=student.parameters())
    with progress(total=settings.steps, unit="step", desc="getting used to 8 bits") as bar:
        for step in range(settings.steps):
            if step == settings.steps // 2:
                _end_observation(layers)
            loss = 1.0 - _cosines(student, teacher, pictures.batch(step)).mean()
            loss.backward()
            adam.step()
            adam.clear_grad()
            rate.step()
            bar.update()
    student.eval()
    _end_observation(layers)
    with paddle.no_grad():
        after = float(_cosines(student, teacher, last).mean())
    return TrainedNetwork(student, cosine_before=before, cosine_after=after)


def _end_observation(layers: Sequence[QuantizedConv]) -> None:
    for layer in layers:
        layer.observing = False


def _schedule(settings: QuantizationTraining) -> paddle.optimizer.lr.LRScheduler:
    """Rise over a tenth of the steps (Adam's first ones are as long as the rate allows), then fall along a cosine."""
    rise = settings.steps // 10 + 2
    falling = paddle.optimizer.lr.CosineAnnealingDecay(settings.learning_rate, max(1, settings.steps - rise))
    return paddle.optimizer.lr.LinearWarmup(falling, rise, settings.learning_rate / rise, settings.learning_rate)


def _cosines(student: nn.Layer, teacher: nn.Layer, x: paddle.Tensor) -> paddle.Tensor:
    with paddle.no_grad():
        wanted = teacher(x)
    return F.cosine_similarity(student(x), wanted, axis=1)


class _Pictures:
    """The input of any step, as a pure function of the seed and the step."""

    def __init__(self, settings: QuantizationTraining, spec: InputSpec) -> None:
        self._settings = settings
        self._spec = spec

    def batch(self, step: int) -> paddle.Tensor:
        dataset = self._settings.dataset
        rng = np.random.default_rng([self._settings.seed, step])
        crops = []
        for index in rng.integers(0, len(dataset), self._settings.batch_size):
            crop = dataset.read_image(int(index))
            crops.append(np.ascontiguousarray(crop[:, ::-1]) if rng.random() < 0.5 else copy.copy(crop))
        return paddle.to_tensor(to_blob(crops, self._spec))
