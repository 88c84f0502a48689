"""Starting from trained weights: a ``.pdparams`` file, or a model folder that holds one for further training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from paddle import nn

from arcface_paddle.backbones.weights import load_arrays
from arcface_paddle.errors import CheckpointError, ModelFileError
from arcface_paddle.files import PathLike
from arcface_paddle.weight_files import read_state_dict

TRAINING_WEIGHTS = "training.pdparams"
_CARD = "model.json"
_MEAN = _STD = 127.5  # of the training input: (x / 255 - 0.5) / 0.5 = (x - 127.5) / 127.5


def load_pretrained(network: nn.Layer, source: PathLike) -> str:
    """Fill a network from ``--pretrained`` and return what was done, in words.

    Args:
        network: the backbone.
        source: a ``.pdparams`` file, or a model folder with ``training.pdparams`` (as the shipped recogniser's).

    Raises:
        CheckpointError: no such file, or it belongs to another network.
    """
    path = Path(source)
    weights = path / TRAINING_WEIGHTS if path.is_dir() else path
    if path.is_dir() and not weights.is_file():
        raise CheckpointError(
            f"{path} has no {TRAINING_WEIGHTS}; a folded inference graph cannot be trained on, give a .pdparams file"
        )
    try:
        arrays = read_state_dict(weights)
    except ModelFileError as error:
        raise CheckpointError(str(error)) from None
    if path.is_dir() and (path / _CARD).is_file():
        _adapt_to_training_input(arrays, path / _CARD)
    load_arrays(network, arrays, name=str(weights))
    return f"backbone starts from {weights}; the class centres start at random"


def _adapt_to_training_input(arrays: dict[str, np.ndarray], card: Path) -> None:
    """Let the first convolution undo the difference in the scale of the input; the network's function stays.

    Raises:
        CheckpointError: the model takes input of another kind, or its card is damaged.
    """
    try:
        spec = json.loads(card.read_text(encoding="utf-8"))["input"]
        mean, std, order = set(spec["mean"]), set(spec["std"]), spec["color_order"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{card}: damaged card: {error}") from None
    if mean != {_MEAN} or len(std) != 1 or order != "RGB":
        raise CheckpointError(
            f"{card}: input {order} with mean {sorted(mean)}; fine-tuning needs RGB with mean {_MEAN}"
        )
    for name, array in arrays.items():
        if array.ndim == 4 and array.shape[1] == 3:
            arrays[name] = (array * (_STD / std.pop())).astype(np.float32)
            return
