"""From another toolkit's model to a model folder of ours, through the parity gate, ready for use and fine-tuning."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Mapping, Optional

import numpy as np
from paddle import nn

from arcface_paddle import files, safe_pickle
from arcface_paddle.backbones import build_backbone, canonical_name, find_backbone
from arcface_paddle.backbones.weights import embedding_size_of, load_arrays, network_of, width_of
from arcface_paddle.errors import CheckpointError, ConfigError, ModelFileError
from arcface_paddle.export.exporter import export_model, install, staging_beside
from arcface_paddle.export.graph import GraphSettings
from arcface_paddle.export.importing import fres_resnet, paddle_checkpoint, sources, torch_weights
from arcface_paddle.export.importing.onnx_models import check_run, copy_model
from arcface_paddle.export.importing.paddle_checkpoint import ClassCentres
from arcface_paddle.export.importing.tflite_mobilefacenet import load_mobilefacenet
from arcface_paddle.export.importing.torch_file import read_torch_file
from arcface_paddle.export.network_source import NetworkSource
from arcface_paddle.export.parity import ParityReport
from arcface_paddle.files import PathLike
from arcface_paddle.pipeline import cards
from arcface_paddle.pipeline.model_files import TRAINING_WEIGHTS, find_card
from arcface_paddle.weight_files import write_state_dict

RESUME_FOLDER = "resume"
_IRESNET_OF_CONVOLUTIONS = {53: "iresnet50", 103: "iresnet100"}
"""The first, two in each unit, and four in the shortcuts."""
_LICENCE = "not known: ask the publisher of the weights, and mind the licence of the data they were trained on"


@dataclass(frozen=True)
class ImportSettings:
    """What the user says about a model besides the model itself.

    Attributes:
        network: name of the network, where its weights do not tell.
        licence: what the card shall say; empty for what is known, which is little.
        model_format: one of ``saving.FORMATS``, for weights; ONNX models stay what they are.
    """

    network: Optional[str] = None
    licence: str = ""
    model_format: str = "pdmodel"


@dataclass(frozen=True)
class ImportResult:
    """What an import left behind.

    Attributes:
        folder: the model folder.
        kind: what the source was, one of ``sources``' kinds.
        card: of the model.
        network: name in ``BACKBONES``; empty for a model that stays an ONNX graph.
        parity: how the model folder compares with the network; None for a detector.
        class_centres: how many came along, for resuming; 0 without.
    """

    folder: Path
    kind: str
    card: cards.ModelCard
    network: str = ""
    parity: Optional[ParityReport] = None
    class_centres: int = 0


@dataclass(frozen=True, eq=False)
class ImportedNetwork:
    """A network of ours with another toolkit's weights.

    Attributes:
        name: in ``BACKBONES``.
        layer: the network, in evaluation mode.
        centres: class centres of the run that it comes from, if they came along.
        input: how pictures become its input; None for that of training, (x - 127.5) / 127.5 of RGB.
    """

    name: str
    layer: nn.Layer
    centres: Optional[ClassCentres] = None
    input: Optional[cards.InputSpec] = None


def import_model(source: PathLike, output: PathLike, *, settings: ImportSettings = ImportSettings()) -> ImportResult:
    """Import a model; see ``sources`` for the kinds. Nothing is written unless everything fits.

    Args:
        source: a file or folder.
        output: the model folder to write; other files in it stay.
        settings: what the source does not tell.

    Raises:
        ModelFileError: the source is nothing known, damaged or hostile, or the output cannot be written.
        ConfigError: an unknown network or format.
        MissingDependencyError: an optional package is needed.
    """
    path, target = Path(source), Path(output)
    kind = sources.kind_of(path)
    if settings.network is not None:
        settings = dataclasses.replace(settings, network=canonical_name(settings.network))
    if kind == sources.ONNX:
        return _import_graph(path, target, settings)
    return _write_network(read_network(path, network=settings.network), path, target, kind=kind, settings=settings)


def read_network(path: Path, *, network: Optional[str] = None) -> ImportedNetwork:
    """Read another toolkit's weights into a network of ours.

    Args:
        path: a file or folder, of any kind but an ONNX model.
        network: its name in ``BACKBONES``, where the weights do not tell.

    Raises:
        ModelFileError: nothing known, damaged or hostile, an ONNX model, or weights of another network.
    """
    kind = sources.kind_of(path)
    if kind not in _READERS:
        raise ModelFileError(f"{path}: an {kind}, which has no weights of a network of ours")
    return _READERS[kind](path, network)


# ---------------------------------------------------------------------------------------------------------------
# Reading


def _from_torch(path: Path, network: Optional[str]) -> ImportedNetwork:
    document = read_torch_file(path)
    arrays = torch_weights.backbone_arrays(document, name=str(path))
    name, layer = torch_weights.network_from_torch(arrays, name=str(path), network=network)
    centres = torch_weights.class_centres(document)
    return ImportedNetwork(name, layer, None if centres is None else _checked_centres([centres], layer, path))


def _from_torch_run(folder: Path, network: Optional[str]) -> ImportedNetwork:
    """Read the checkpoints of all ranks; the backbone of the first counts, they are equal."""
    found = sorted(folder.glob(sources.TORCH_SHARD.format("*")))
    paths = [folder / sources.TORCH_SHARD.format(rank) for rank in range(len(found))]
    if set(paths) != set(found):
        raise ModelFileError(f"{folder}: {', '.join(path.name for path in found)}: a rank in between is missing")
    shards = []
    for path in paths:
        document = read_torch_file(path)
        if path == paths[0]:
            arrays = torch_weights.backbone_arrays(document, name=str(path))
            name, layer = torch_weights.network_from_torch(arrays, name=str(path), network=network)
        shard = torch_weights.class_centres(document)
        if shard is None:
            raise ModelFileError(f"{path}: holds no class centres (state_dict_softmax_fc)")
        shards.append(shard)
    return ImportedNetwork(name, layer, _checked_centres(shards, layer, folder))


def _checked_centres(shards: list[np.ndarray], layer: nn.Layer, path: Path) -> ClassCentres:
    """Take shards (classes, D) as they are. Raises ``ModelFileError`` when they do not fit the network."""
    centres = paddle_checkpoint.centres_of([shard.T for shard in shards], None, classes=None, size=None, name=path)
    return _fitting(centres, layer, path)


def _fitting(centres: ClassCentres, layer: nn.Layer, path: Path) -> ClassCentres:
    size = embedding_size_of({key: np.empty(value.shape) for key, value in layer.state_dict().items()})
    if any(shard.shape[1] != size for shard in centres.shards):
        raise ModelFileError(f"{path}: class centres of {centres.shards[0].shape[1]} values, features of {size}")
    return centres


def _from_paddle(path: Path, network: Optional[str]) -> ImportedNetwork:
    arrays, centres = paddle_checkpoint.read_paddle_file(path)
    return _paddle_network(arrays, centres, path, network)


def _from_paddle_run(folder: Path, network: Optional[str]) -> ImportedNetwork:
    arrays, centres = paddle_checkpoint.read_parameter_folder(folder)
    arrays = fres_resnet.structured_keys(arrays)
    if not fres_resnet.is_fres_resnet(arrays) and network_of(arrays) is None:
        arrays, network = _counted_names(arrays, folder, network)
    return _paddle_network(arrays, centres, folder, network)


def _counted_names(
    arrays: dict[str, np.ndarray], folder: Path, network: Optional[str]
) -> tuple[dict[str, np.ndarray], str]:
    """Give parameters with counted names their keys: those of MobileFaceNet, or of a FresResNet in a static graph."""
    convolutions = paddle_checkpoint.counted_convolutions(arrays)
    chosen = network or _IRESNET_OF_CONVOLUTIONS.get(convolutions, "MobileFaceNet_128")
    if find_backbone(chosen).class_name not in ("MobileFaceNet", "IResNet"):
        raise ModelFileError(f"{folder}: the names of its parameters do not tell which is which in {chosen}")
    named = paddle_checkpoint.arrays_by_order(arrays, build_backbone(chosen, width=0.125))
    return fres_resnet.with_slopes_repeated(named), chosen


def _paddle_network(
    arrays: dict[str, np.ndarray], centres: Optional[ClassCentres], path: Path, network: Optional[str]
) -> ImportedNetwork:
    if fres_resnet.is_fres_resnet(arrays):
        arrays = fres_resnet.iresnet_arrays(arrays)
    name = network or network_of(arrays) or _network_by_file_name(path)
    if name is None:
        some = ", ".join(list(arrays)[:3]) or "none"
        raise ModelFileError(f"{path}: its keys ({some}, …) do not tell which network it is; name it with --network")
    layer = torch_weights.built_for(arrays, name=str(path), network=name)
    try:
        load_arrays(layer, arrays, name=str(path))
    except CheckpointError as error:
        raise ModelFileError(str(error)) from None
    layer.eval()
    return ImportedNetwork(name, layer, None if centres is None else _fitting(centres, layer, path))


def _network_by_file_name(path: Path) -> Optional[str]:
    try:
        return canonical_name(path.stem)
    except ConfigError:
        return None


def _from_tflite(path: Path, network: Optional[str]) -> ImportedNetwork:
    if network not in (None, "MobileFaceNet_192"):
        raise ConfigError(f"a TensorFlow Lite file is imported as MobileFaceNet_192, not as {network}")
    # The shipped recogniser is one of these; the files do not say how their input is made.
    return ImportedNetwork("MobileFaceNet_192", load_mobilefacenet(path), input=find_card("MobileFace").input)


_READERS: Mapping[str, Callable[[Path, Optional[str]], ImportedNetwork]] = {
    sources.TORCH: _from_torch,
    sources.TORCH_RUN: _from_torch_run,
    sources.PADDLE: _from_paddle,
    sources.PADDLE_RUN: _from_paddle_run,
    sources.TFLITE: _from_tflite,
}


# ---------------------------------------------------------------------------------------------------------------
# Writing


def _write_network(
    imported: ImportedNetwork, path: Path, target: Path, *, kind: str, settings: ImportSettings
) -> ImportResult:
    """Export a network through the parity gate, with its weights for training and what is needed to resume."""
    arrays = {key: value.numpy() for key, value in imported.layer.state_dict().items()}
    source = NetworkSource(imported.name, "", embedding_size_of(arrays), width_of(arrays))
    with staging_beside(target) as staging:
        weights = staging / TRAINING_WEIGHTS
        write_state_dict(weights, arrays)
        source = dataclasses.replace(source, weights=str(weights))
        exported = export_model(source, staging, model_format=settings.model_format, settings=GraphSettings())

        def described(card: cards.ModelCard) -> cards.ModelCard:
            return dataclasses.replace(
                card,
                name=_model_name(path),
                source=f"{imported.name}, {kind}, {_fingerprint(path)}, imported by arcface_paddle",
                licence=settings.licence or _LICENCE,
                input=imported.input or card.input,
            )

        card = cards.write_card(staging, described(cards.read_card(staging / cards.CARD_NAME)))
        install(staging, target)
    if imported.centres is not None:
        _write_resume_folder(target / RESUME_FOLDER, imported.name, arrays, imported.centres)
    count = 0 if imported.centres is None else len(imported.centres)
    return ImportResult(target, kind, card, imported.name, exported.parity, count)


def _write_resume_folder(folder: Path, network: str, arrays: Mapping[str, np.ndarray], centres: ClassCentres) -> None:
    """Write the files from which ``train.py --resume 1`` goes on, on any number of ranks, under the published names."""
    try:
        with files.atomic_folder(folder) as staging:
            write_state_dict(staging / f"{network}.pdparams", arrays)
            for suffix, shards in (("", centres.shards), ("_mom", centres.momenta or ())):
                for rank, shard in enumerate(shards):
                    name = f"rank_{rank}_softmax_weight{suffix}.pkl"
                    files.write_bytes(staging / name, safe_pickle.dump_array(shard))
    except OSError as error:
        raise ModelFileError(f"{folder}: cannot be written: {error.strerror or error}") from None


def _import_graph(path: Path, target: Path, settings: ImportSettings) -> ImportResult:
    """Copy an ONNX model with a card, after it has run as its card says."""
    if settings.network is not None:
        raise ConfigError("--network is for weights; an ONNX model brings its network along")
    with staging_beside(target) as staging:
        card = copy_model(path, staging, licence=settings.licence)
        parity = check_run(staging, path, card)
        install(staging, target)
    return ImportResult(target, sources.ONNX, card, parity=parity)


def _model_name(path: Path) -> str:
    resolved = files.resolved(path)
    return files.printable(resolved.name if resolved.is_dir() else resolved.stem)


def _fingerprint(path: Path) -> str:
    if path.is_dir():
        return f"folder {files.printable(path.resolve().name)}"
    return f"{files.printable(path.name)} (sha256 {files.sha256_of_file(path)})"
