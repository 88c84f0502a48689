"""Starting from trained weights: a ``.pdparams`` file, or a model folder that holds one for further training.

A model folder has a card, so that network, embedding size, width and normalisation of the input are known from it and
its weights. A bare file tells only what its shapes and its name tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np

from arcface_paddle.backbones import canonical_name
from arcface_paddle.backbones.weights import embedding_size_of, network_of, stems_of, width_of
from arcface_paddle.errors import CheckpointError, ConfigError, ModelFileError
from arcface_paddle.files import sha256_of_file
from arcface_paddle.pipeline.cards import CARD_NAME, InputSpec, ModelCard, read_card
from arcface_paddle.pipeline.model_files import TRAINING_WEIGHTS, find_folder
from arcface_paddle.weight_files import read_state_dict

_INPUT_MEAN = _INPUT_STD = 127.5  # of the training input: (x / 255 - 0.5) / 0.5 = (x - 127.5) / 127.5
_INPUT_SIZE_WH = (112, 112)


@dataclass(frozen=True, eq=False)
class PretrainedWeights:
    """Weights to start from, for the input that the trainer gives.

    Attributes:
        source: what the user gave: a path or the name of a model.
        path: the file.
        arrays: one array per parameter and buffer of the network.
        network: name of the network, a key of ``BACKBONES``; None when it is not known.
        embedding_size: length of the feature; None when it is not known.
        width: factor on the channel counts.
        has_card: whether a card vouches for the network; a file's name does not.
        adapted: what was changed for the training input, in words; may be empty.
    """

    source: str
    path: Path
    arrays: dict[str, np.ndarray]
    network: Optional[str]
    embedding_size: Optional[int]
    width: float
    has_card: bool
    adapted: str = ""


def open_pretrained(source: str) -> PretrainedWeights:
    """Read the weights that ``--pretrained`` names.

    Args:
        source: a ``.pdparams`` file, a model folder with ``training.pdparams`` (as the shipped recogniser's), or the
            name of such a model.

    Raises:
        CheckpointError: no such file, or a model that cannot be trained on.
        ModelFileError: no such model, or its card is damaged.
    """
    path = Path(source)
    if path.suffix == ".pdparams" or path.is_file():
        return _from_file(source, path)
    folder = find_folder(source)
    weights = folder / TRAINING_WEIGHTS
    if not weights.is_file():
        raise CheckpointError(
            f"{folder} has no {TRAINING_WEIGHTS}; a folded inference graph cannot be trained on, give a .pdparams file"
        )
    if not (folder / CARD_NAME).is_file():
        return _from_file(source, weights)
    return _from_model(source, weights, read_card(folder / CARD_NAME))


def _from_file(source: str, path: Path) -> PretrainedWeights:
    arrays = _read(path)
    network = _network_by_name(path)
    return PretrainedWeights(
        source=source,
        path=path,
        arrays=arrays,
        network=network,
        embedding_size=embedding_size_of(arrays),
        width=width_of(arrays, network=network),
        has_card=False,
    )


def _from_model(source: str, path: Path, card: ModelCard) -> PretrainedWeights:
    if card.recognizer is None:
        raise CheckpointError(f"--pretrained {source} is a model for {card.task}; a recogniser is needed")
    expected = card.files.get(path.name)
    if expected is not None and sha256_of_file(path) != expected:
        raise CheckpointError(f"{path}: damaged or exchanged: its SHA-256 is not the one in {CARD_NAME}")
    arrays = _read(path)
    size = embedding_size_of(arrays)
    if card.recognizer.embedding_size not in (0, size):  # 0: the card leaves it open
        raise CheckpointError(f"{path}: features of length {size}, but its card says {card.recognizer.embedding_size}")
    return PretrainedWeights(
        source=source,
        path=path,
        arrays=arrays,
        network=network_of(arrays),
        embedding_size=size,
        width=width_of(arrays),
        has_card=True,
        adapted=_adapt_to_training_input(arrays, card.input, name=str(path)),
    )


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        return read_state_dict(path)
    except ModelFileError as error:
        raise CheckpointError(str(error)) from None


def _network_by_name(path: Path) -> Optional[str]:
    """Return the network that the name of a file stands for, as the trainer names its files; else None."""
    try:
        return canonical_name(path.stem)
    except ConfigError:
        return None


def _adapt_to_training_input(arrays: dict[str, np.ndarray], spec: InputSpec, *, name: str) -> str:
    """Let the first convolution undo the difference to the training input; what the network computes stays the same.

    Scale and order of the channels can go into the weights. Another mean cannot, because the convolution pads with
    zeros, which stand for the mean.

    Returns:
        What was done, in words; empty if nothing was to do.

    Raises:
        CheckpointError: the model takes input of another kind.
    """
    mean = np.asarray(spec.mean) / spec.scale
    std = np.asarray(spec.std) / spec.scale
    if not np.allclose(mean, _INPUT_MEAN, rtol=0.0, atol=1e-3) or tuple(spec.size_wh) != _INPUT_SIZE_WH:
        raise CheckpointError(
            f"{name}: input {spec.size_wh[0]}x{spec.size_wh[1]} with mean {mean.tolist()}; fine-tuning needs 112x112 "
            f"with mean {_INPUT_MEAN}"
        )
    keys = stems_of(arrays)
    if not keys:
        raise CheckpointError(f"{name}: the weights of no known network: its first convolution is not found")
    factors = (_INPUT_STD / std).reshape(1, 3, 1, 1)
    reverse = spec.color_order == "BGR"
    for key in keys:
        adapted = (arrays[key] * factors).astype(np.float32)
        arrays[key] = np.ascontiguousarray(adapted[:, ::-1]) if reverse else adapted
    if not reverse and np.all(factors == 1.0):
        return ""
    shown = "/".join(f"{value:g}" for value in sorted(set(std.tolist())))
    return (
        f"the first convolution takes the training input (RGB, std {_INPUT_STD:g}) in place of the model's own "
        f"({spec.color_order}, std {shown})"
    )
