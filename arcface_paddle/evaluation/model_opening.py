"""Opening whatever a user calls a recogniser, so that evaluation sees one thing: crops in, features out.

A run's folder or a ``.pdparams`` file is loaded into its network; an exported folder, a shipped model's name or an
``.onnx`` file runs in its inference engine, with the preprocessing that its card names.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Sequence

from arcface_paddle.backbones import canonical_name, find_weights_file
from arcface_paddle.errors import CheckpointError, ConfigError, ModelFileError
from arcface_paddle.evaluation.embedder import Embedder, model_embedder, network_embedder
from arcface_paddle.evaluation.ranks import device_of_rank
from arcface_paddle.pipeline.cards import CARD_NAME, RECOGNITION
from arcface_paddle.pipeline.foreign_models import recognizer_card
from arcface_paddle.pipeline.model_files import GRAPH_FILES, REGISTRY, ModelFolder, open_model, preset_card
from arcface_paddle.pipeline.runtime import AUTO, RuntimeOptions


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

    @property
    def runtime(self) -> RuntimeOptions:
        """How exported models run."""
        return RuntimeOptions(engine=self.engine, device=device_of_rank(self.device), threads=self.threads)


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
        dataclasses.replace(embedder, name=model) if names.count(embedder.name) > 1 else embedder
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
        return _open_weights(weights_in(path, settings.network), settings)
    raise ModelFileError(
        f"{model!r} is no model: expected a run's folder, a .pdparams or .onnx file, an exported folder, or one of "
        f"{', '.join(name for name, known in REGISTRY.items() if known.task == RECOGNITION)}"
    )


def weights_in(folder: Path, network: Optional[str]) -> Path:
    """Return the file of a network in a run's folder, whichever spelling its name has; the only one when None."""
    found = sorted(folder.glob("*.pdparams"))
    there = ", ".join(path.name for path in found) or "no .pdparams file"
    if network is None:
        if len(found) != 1:
            raise CheckpointError(f"{folder}: in the folder: {there}; name the network with --network")
        return found[0]
    weights = find_weights_file(folder, network)
    if weights is None:
        raise CheckpointError(
            f"{folder / network}.pdparams: no such file; in the folder: {there}; name the network with --network"
        )
    return weights


def _open_weights(path: Path, settings: EmbedderSettings) -> Embedder:
    from arcface_paddle import devices
    from arcface_paddle.backbones.weights import open_backbone

    try:
        network_name = canonical_name(settings.network or path.stem)
    except ConfigError as error:
        raise ConfigError(f"{path}: which network is this? Name it with --network: {error}") from None
    devices.use_device(settings.device)  # first, so that the weights lie where the crops will be
    network = open_backbone(network_name, path)
    return network_embedder(network, name=path.stem, description=f"{path} ({network_name}, paddle)")


def _open_exported(model: str, settings: EmbedderSettings) -> Embedder:
    folder = open_model(model, task=RECOGNITION)
    name = Path(model).name or Path(model).resolve().name
    return model_embedder(folder, name=name, options=settings.runtime)


def _open_onnx(path: Path, settings: EmbedderSettings) -> Embedder:
    """Open an ONNX file with the card beside it; where it lies alone, by its ports or the preset of recognisers."""
    if path.name in GRAPH_FILES and (path.parent / CARD_NAME).is_file():
        return _open_exported(str(path.parent), settings)
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file")
    card = recognizer_card(path, preset_card("insightface-112"))
    card = card or dataclasses.replace(preset_card("aligned-112"), name=path.stem)
    return model_embedder(ModelFolder(path, card, path, None), name=path.stem, options=settings.runtime)
