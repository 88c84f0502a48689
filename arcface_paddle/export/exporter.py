"""From trained weights to a model folder that is proven equal to the network: build, save, compare, install."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

import numpy as np

from arcface_paddle import devices, files, images, temporaries
from arcface_paddle.errors import ModelFileError
from arcface_paddle.evaluation.embedder import Embed, model_embedder, network_embedder
from arcface_paddle.export.graph import INPUT_SHAPE, GraphSettings, build_graph
from arcface_paddle.export.network_source import NetworkSource
from arcface_paddle.export.parity import ParityReport, check_parity
from arcface_paddle.export.saving import ONNX_FILE, save_model
from arcface_paddle.files import PathLike, sha256_of_file
from arcface_paddle.pipeline import cards
from arcface_paddle.pipeline.model_files import open_model, preset_card

_REAL_FACES = Path(__file__).parent / "assets" / "parity_faces.png"
_RANDOM_IMAGES = 7  # noise drives every channel, faces drive the ones that matter
_MODEL_FILES = (cards.CARD_NAME, "inference.pdmodel", "inference.json", ONNX_FILE, "inference.pdiparams")


@dataclass(frozen=True)
class ExportResult:
    """What an export left behind.

    Attributes:
        folder: the model folder.
        files: names of the files in it.
        parity: how the model compares with its network.
    """

    folder: Path
    files: tuple[str, ...]
    parity: ParityReport


@devices.on_cpu()
def export_model(
    source: NetworkSource, folder: PathLike, *, model_format: str, settings: GraphSettings
) -> ExportResult:
    """Export a trained network into ``folder``, through the parity gate, on the CPU: GPUs round products to TF32.

    Everything is made and compared in a temporary folder beside the target; only then are the files moved, the card
    last. Other files of the target stay.

    Args:
        source: network and weights.
        folder: where the model goes; created when missing.
        model_format: one of ``saving.FORMATS``.
        settings: what the graph does besides the network.

    Raises:
        ConfigError, CheckpointError, MissingDependencyError: see ``NetworkSource.load`` and ``save_model``.
        ModelFileError: the folder cannot be written, or the exported model is not equal to the network.
    """
    target = Path(folder)
    network = source.load()
    with staging_beside(target) as staging:
        graph = build_graph(network, settings)
        save_model(graph, staging, model_format=model_format)
        # The gate compares with the network as it was trained, so that it also answers for the folding.
        trained = network_embedder(build_graph(network, GraphSettings(settings.mirror, settings.normalize, fold=False)))
        crops = parity_crops()
        embedding_size = int(trained.embed(crops[:1]).shape[1])
        cards.write_card(staging, _card(source, settings, embedding_size=embedding_size))
        report = check_parity(trained.embed, embed_with_folder(staging), crops=crops)
        names = install(staging, target)
    return ExportResult(folder=target, files=names, parity=report)


def parity_crops() -> np.ndarray:
    """Return the pictures of the gate, (14, 112, 112, 3) uint8 RGB: seven real faces, seven of seeded noise."""
    strip = images.read_image(_REAL_FACES)
    faces = np.stack(np.split(strip, strip.shape[1] // INPUT_SHAPE[2], axis=1))
    noise = np.random.default_rng(0).integers(0, 256, (_RANDOM_IMAGES, *faces.shape[1:]), dtype=np.uint8)
    return np.concatenate([faces, noise])


def embed_with_folder(folder: PathLike) -> Embed:
    """Load a model folder in its own runtime and return what embeds with it."""
    return model_embedder(open_model(folder, task=cards.RECOGNITION), name="exported").embed


def _card(source: NetworkSource, settings: GraphSettings, *, embedding_size: int) -> cards.ModelCard:
    preset = preset_card("aligned-112")
    output = f"{'embeddings' if settings.normalize else 'features'} (N, {embedding_size}) float32, "
    output += "L2-normalised" if settings.normalize else "not normalised; compare by the cosine"
    if settings.mirror:
        output += "; the sum over the picture and its mirror image"
    assert preset.recognizer is not None
    return cards.ModelCard(
        task=cards.RECOGNITION,
        name=Path(source.weights).stem,
        version="1",
        source=f"{source.network}, {Path(source.weights).name} (sha256 {sha256_of_file(source.weights)}), exported by "
        "arcface_paddle",
        licence="that of the weights and of the data they were trained on",
        input=preset.input,
        output=output,
        notice="Its thresholds are those of no model in particular: run 'arcface-paddle calibrate' on pairs of faces.",
        recognizer=dataclasses.replace(preset.recognizer, embedding_size=embedding_size),
    )


@contextlib.contextmanager
def staging_beside(target: Path) -> Iterator[Path]:
    """Give a temporary folder on the file system of ``target``; whatever is left in it at the end is removed.

    Raises:
        ModelFileError: the target, or the folder around it, cannot be written.
    """
    try:
        if target.exists() and not (target.is_dir() and os.access(target, os.W_OK)):
            raise OSError(0, "not a folder that may be written")
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = temporaries.new_folder(target)
    except OSError as error:
        raise ModelFileError(f"{target}: cannot be written: {error.strerror or error}") from None
    try:
        yield folder.path
    except OSError as error:
        if error.filename is not None:  # of what is read
            raise
        reason = error.strerror or error
        raise ModelFileError(f"{target}: cannot be written: {reason}; make room, or name another folder") from None
    finally:
        folder.discard()


def install(staging: Path, target: Path) -> tuple[str, ...]:
    """Move the files of ``staging`` to ``target``, the card last, and remove what an earlier export left."""
    names = sorted((path.name for path in staging.iterdir()), key=lambda name: (name == cards.CARD_NAME, name))
    try:
        target.mkdir(parents=True, exist_ok=True)
        with files.locked(target / cards.CARD_NAME):  # nor can two exports, or somebody who changes the card
            # Without its card and graph a folder is no model: a crash in between cannot leave a mixture that loads.
            for name in _MODEL_FILES:
                (target / name).unlink(missing_ok=True)
            for name in names:
                os.replace(staging / name, target / name)
    except OSError as error:
        raise ModelFileError(f"{target}: cannot be written: {error.strerror or error}") from None
    return tuple(names)
