"""Opening whatever a user calls a recogniser, so that evaluation sees one thing: crops in, features out.

A run's folder or a ``.pdparams`` file is loaded into its network; an exported folder, a shipped model's name or an
``.onnx`` file runs in its inference engine, with the preprocessing that its card names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Sequence

import numpy as np

from arcface_paddle.backbones import ALIASES, BACKBONES
from arcface_paddle.data.base import IMAGE_SIZE
from arcface_paddle.errors import CheckpointError, ConfigError, ModelFileError
from arcface_paddle.evaluation.embedding import Embed
from arcface_paddle.pipeline.cards import RECOGNITION, InputSpec
from arcface_paddle.pipeline.model_files import GRAPH_FILES, REGISTRY, open_model, preset_card
from arcface_paddle.pipeline.runtime import AUTO, InferenceRuntime, RuntimeOptions, open_runtime

if TYPE_CHECKING:
    from paddle import nn

DEFAULT_NETWORK = "MobileFaceNet_128"


@dataclass(frozen=True)
class EmbedderSettings:
    """How models are opened.

    Attributes:
        network: name of the network of ``.pdparams`` files; None = by the file's name.
        engine: of exported models: one of ``runtime.ENGINES``, or ``auto``.
        device: ``cpu`` or ``gpu``.
        threads: CPU threads of exported models; None = all.
    """

    network: Optional[str] = None
    engine: str = AUTO
    device: str = "cpu"
    threads: Optional[int] = None


@dataclass(frozen=True)
class Embedder:
    """A recogniser ready for evaluation.

    Attributes:
        name: short, for tables.
        description: what was opened and how it runs.
        embed: see ``evaluation.embedding.Embed``.
    """

    name: str
    description: str
    embed: Embed


def open_embedders(models: Sequence[str], *, settings: EmbedderSettings) -> list[Embedder]:
    """Open several models; where two would have the same name, both are called by their path.

    Raises:
        ConfigError, CheckpointError, ModelFileError: as ``open_embedder``; or a model that is named twice.
    """
    twice = sorted({model for model in models if models.count(model) > 1})
    if twice:
        raise ConfigError(f"model {twice[0]} is named twice")
    embedders = [open_embedder(model, settings=settings) for model in models]
    names = [embedder.name for embedder in embedders]
    return [
        Embedder(model, embedder.description, embedder.embed) if names.count(embedder.name) > 1 else embedder
        for model, embedder in zip(models, embedders)
    ]


def open_embedder(model: str, *, settings: EmbedderSettings = EmbedderSettings()) -> Embedder:
    """Open one model.

    Args:
        model: a run's folder with ``{network}.pdparams``, such a file, a folder with an exported model, a name of
            ``arcface-paddle models list``, or an ``.onnx`` file.
        settings: network name, engine, device.

    Raises:
        CheckpointError: weights that are missing, damaged or of another network.
        ModelFileError: an exported model that is missing, damaged or no recogniser of 112x112 crops.
        ConfigError: an unknown network, engine or device.
        MissingDependencyError: the engine's package is not installed.
    """
    path = Path(model)
    if path.suffix == ".pdparams":
        return _open_weights(path, settings)
    if path.suffix == ".onnx":
        return _open_onnx(path, settings)
    if model in REGISTRY or any((path / name).is_file() for name in GRAPH_FILES):
        return _open_exported(model, settings)
    if path.is_dir():
        return _open_weights(_weights_in(path, settings.network), settings)
    raise ModelFileError(
        f"{model!r} is no model: expected a run's folder, a .pdparams or .onnx file, an exported folder, or one of "
        f"{', '.join(name for name, known in REGISTRY.items() if known.task == RECOGNITION)}"
    )


def _weights_in(folder: Path, network: Optional[str]) -> Path:
    found = sorted(folder.glob("*.pdparams"))
    if network is not None:
        wanted = folder / f"{network}.pdparams"
        if wanted.is_file():
            return wanted
        there = ", ".join(path.name for path in found) or "no .pdparams file"
        raise CheckpointError(f"{wanted}: no such file; in the folder: {there}; name the network with --network")
    if len(found) != 1:
        there = ", ".join(path.name for path in found) or "none"
        raise CheckpointError(f"{folder}: .pdparams files: {there}; name the network with --network")
    return found[0]


def _open_weights(path: Path, settings: EmbedderSettings) -> Embedder:
    from arcface_paddle.backbones.weights import open_backbone

    network_name = settings.network or path.stem
    if network_name not in BACKBONES and network_name not in ALIASES:
        raise ConfigError(f"{path}: which network is this? Name it with --network: {', '.join(BACKBONES)}")
    network = open_backbone(network_name, path)
    return Embedder(path.stem, f"{path} ({network_name}, paddle)", _network_embed(network, settings.device))


def _network_embed(network: nn.Layer, device: str) -> Embed:
    import paddle

    paddle.set_device(device)
    network.eval()

    def embed(batch: np.ndarray) -> np.ndarray:
        with paddle.no_grad():
            return np.asarray(network(paddle.to_tensor(batch)).astype("float32").numpy())

    return embed


def _open_exported(model: str, settings: EmbedderSettings) -> Embedder:
    folder = open_model(model, task=RECOGNITION)
    options = _options(settings).resolved(folder.graph_file, preferred=folder.card.engine)
    runtime = open_runtime(folder.graph_file, folder.weights_file, options=options)
    name = Path(model).name or Path(model).resolve().name
    description = f"{folder.path} ({folder.card.name}, {options.engine})"
    return Embedder(name, description, _runtime_embed(runtime, folder.card.input, str(folder.path)))


def _open_onnx(path: Path, settings: EmbedderSettings) -> Embedder:
    if path.name in GRAPH_FILES and (path.parent / "model.json").is_file():
        return _open_exported(str(path.parent), settings)
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file")
    options = _options(settings).resolved(path)
    runtime = open_runtime(path, options=options)
    card = preset_card("aligned-112")
    return Embedder(path.stem, f"{path} ({options.engine})", _runtime_embed(runtime, card.input, str(path)))


def _options(settings: EmbedderSettings) -> RuntimeOptions:
    return RuntimeOptions(engine=settings.engine, device=settings.device, threads=settings.threads)


def _runtime_embed(runtime: InferenceRuntime, spec: InputSpec, name: str) -> Embed:
    """Feed an engine that wants (pixel * scale - mean)/std from batches of (pixel/255 - 0.5)/0.5."""
    if spec.size_wh != (IMAGE_SIZE, IMAGE_SIZE):
        raise ModelFileError(f"{name}: takes {spec.size_wh[0]}x{spec.size_wh[1]} crops; evaluation gives 112x112")
    mean = np.array(spec.mean, dtype=np.float32).reshape(3, 1, 1)
    std = np.array(spec.std, dtype=np.float32).reshape(3, 1, 1)

    def embed(batch: np.ndarray) -> np.ndarray:
        pixels = np.rint((batch * np.float32(0.5) + np.float32(0.5)) * np.float32(255))
        if spec.color_order == "BGR":
            pixels = pixels[:, ::-1]
        inputs = (pixels * np.float32(spec.scale) - mean) / std
        return runtime.run([np.ascontiguousarray(inputs, dtype=np.float32)])[0]

    return embed
