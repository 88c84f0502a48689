"""The one contract of whatever turns face crops into features, and the two ways to make one.

    crops (N, 112, 112, 3) uint8 RGB  →  features (N, D) float32, not normalised

Evaluation, the export's gates, the dataset doctor and validation in training all see networks through it. How pixels
become a network's input is the embedder's own business: a trained network takes what training gave it, an exported
model what its card says. A mirrored picture is made from the pixels, before that.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Optional, Sequence, Union

import numpy as np

from arcface_paddle.data.augmentation import centre_crop
from arcface_paddle.data.dataset import IMAGE_SIZE, normalize_into
from arcface_paddle.errors import ModelFileError
from arcface_paddle.pipeline.model_files import ModelFolder
from arcface_paddle.pipeline.recognition import Recognizer
from arcface_paddle.pipeline.runtime import AUTO, RuntimeOptions, open_runtime

if TYPE_CHECKING:
    from paddle import nn

Embed = Callable[[np.ndarray], np.ndarray]
"""(N, 112, 112, 3) uint8 RGB crops → (N, D) float32 features, not normalised, in one run of the network."""


@dataclass(frozen=True)
class Embedder:
    """A recogniser under a name.

    Attributes:
        name: short, for tables.
        description: what was opened and how it runs.
        embed: see ``Embed``.
    """

    name: str
    description: str
    embed: Embed


def network_embedder(network: nn.Layer, *, name: str = "network", description: str = "") -> Embedder:
    """Return the embedder of a network in memory, fed as in training: (x/255 - 0.5)/0.5.

    Args:
        network: maps (N, 3, 112, 112) float32 to (N, D); must be in evaluation mode whenever it embeds.
        name: for tables.
        description: where it comes from.
    """
    import paddle  # here, because exported models of other engines are evaluated without it

    from arcface_paddle import devices

    def embed(crops: np.ndarray) -> np.ndarray:
        assert not network.training, "statistics of the batch would change the features"
        with paddle.no_grad():
            return np.asarray(network(devices.to_device(network_input(crops))).astype("float32").numpy())

    return Embedder(name, description, embed)


def centre_cropped(embedder: Embedder) -> Embedder:
    """Return an embedder that sees the middle of every crop, as ``train --ccrop`` shows it to the network."""

    def embed(crops: np.ndarray) -> np.ndarray:
        return embedder.embed(np.stack([centre_crop(crop) for crop in crops]))

    return Embedder(embedder.name, f"{embedder.description}, centre crop", embed)


def model_embedder(model: ModelFolder, *, name: str, options: Optional[RuntimeOptions] = None) -> Embedder:
    """Load an exported recogniser and return its embedder, fed as its card says.

    Args:
        model: the folder, as ``pipeline.model_files.open_model`` gives it.
        name: for tables.
        options: engine, device, threads, precision; the card's engine and all cores when None. The precision ``auto``
            stands for float32 here, so that figures do not depend on the processor.

    Raises:
        ModelFileError: it cannot be loaded, or is no recogniser of 112x112 crops.
        MissingDependencyError: the engine's package is not installed.
    """
    if model.card.input.size_wh != (IMAGE_SIZE, IMAGE_SIZE):
        width, height = model.card.input.size_wh
        raise ModelFileError(f"{model.path}: takes {width}x{height} crops; evaluation gives 112x112")
    chosen = options or RuntimeOptions()
    if chosen.precision == AUTO:
        chosen = dataclasses.replace(chosen, precision="fp32")
    runtime = open_runtime(model.graph_file, model.weights_file, options=chosen, preferred_engine=model.card.engine)
    # Whoever embeds chooses the batch and adds the mirrored pictures; the recogniser must do neither again.
    recognizer = Recognizer(model, runtime, max_batch_size=sys.maxsize, mirrored=False)
    return Embedder(name, f"{model.path} ({model.card.name}, {runtime.execution.engine})", recognizer.features)


def network_input(crops: Union[np.ndarray, Sequence[np.ndarray]]) -> np.ndarray:
    """Turn N (112, 112, 3) uint8 RGB crops into the (N, 3, 112, 112) float32 input of training: (x/255 - 0.5)/0.5."""
    batch = np.empty((len(crops), 3, IMAGE_SIZE, IMAGE_SIZE), dtype=np.float32)
    for row, crop in zip(batch, crops):
        normalize_into(row, crop)
    return batch
