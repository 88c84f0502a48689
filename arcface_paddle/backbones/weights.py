"""Putting arrays into a network, after checking that they are its own."""

from __future__ import annotations

from typing import Mapping, Optional

import numpy as np
from paddle import nn

from arcface_paddle.backbones import BACKBONES, build_backbone, find_backbone
from arcface_paddle.errors import CheckpointError, ModelFileError
from arcface_paddle.files import PathLike
from arcface_paddle.weight_files import read_state_dict

_DIFFERENCES_SHOWN = 3
_NOT_FINITE = "holds NaN or infinity"
_LAST_NORMALIZATION = ("linear1.bn.weight", "features.weight", "features.layers.3.weight")
"""Of MobileFaceNet, of iResNet, of mbf."""
STEM_CONVOLUTION = ("conv1.conv.weight", "conv1.weight", "layers.0.layers.0.weight")
"""Key of the convolution that sees the picture, of the same networks."""
_WIDE_CONVOLUTION = ("conv1.conv.weight", "conv1.weight", "conv_sep.layers.0.weight")
_CHANNELS = {"conv_sep.layers.0.weight": 512}  # at width 1; of the others 64


def open_backbone(
    name: str, path: PathLike, *, embedding_size: Optional[int] = None, width: Optional[float] = None
) -> nn.Layer:
    """Build the network that a ``.pdparams`` file was saved from, with its weights, in evaluation mode.

    Args:
        name: a name of ``BACKBONES`` or ``ALIASES``, in any case.
        path: the weights.
        embedding_size: length of the feature; None = as in the weights.
        width: factor on the channel counts; None = as in the weights.

    Raises:
        ConfigError: an unknown name.
        CheckpointError: the file is missing or damaged, or belongs to another network.
    """
    find_backbone(name)
    try:
        arrays = read_state_dict(path)
    except ModelFileError as error:
        raise CheckpointError(str(error)) from error
    size = embedding_size_of(arrays) if embedding_size is None else embedding_size
    network = build_backbone(name, embedding_size=size, width=width_of(arrays) if width is None else width)
    load_arrays(network, arrays, name=str(path))
    network.eval()
    return network


def width_of(arrays: Mapping[str, np.ndarray]) -> float:
    """Read the factor on the channel counts off a state_dict; 1 when its keys are not those of a known network."""
    return next((len(arrays[key]) / _CHANNELS.get(key, 64) for key in _WIDE_CONVOLUTION if key in arrays), 1.0)


def embedding_size_of(arrays: Mapping[str, np.ndarray]) -> Optional[int]:
    """Read the length of the feature off a state_dict, or None when its keys are not those of a known network."""
    for key in _LAST_NORMALIZATION:
        if key in arrays:
            return int(np.asarray(arrays[key]).size)
    return None


def network_of(arrays: Mapping[str, np.ndarray]) -> Optional[str]:
    """Tell which network a state_dict belongs to, or None when its keys are not those of a known one.

    MobileFaceNets differ by nothing but their padding, which weights do not show; of them the one is taken whose own
    embedding size the weights have, and none if there is no such network.
    """
    units = tuple(
        len({key.split(".")[1] for key in arrays if key.startswith(f"layer{stage}.")}) for stage in (1, 2, 3, 4)
    )
    size = embedding_size_of(arrays)
    mbf_units = _mbf_units(arrays)
    for name, entry in BACKBONES.items():
        if entry.class_name == "Mbf" and entry.arguments["units"] == mbf_units:
            return name
        if entry.class_name == "IResNet" and entry.arguments["units"] == units and "features.weight" in arrays:
            return name
        if entry.class_name == "MobileFaceNet" and entry.embedding_size == size and "linear7.conv.weight" in arrays:
            return name
    return None


def _mbf_units(arrays: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    """Count the residual bottlenecks in the four stages of an mbf; zeros for another network's arrays."""
    first, *others = (_indices(arrays, f"layers.{layer}.layers.") for layer in (1, 3, 5, 7))
    grouped = "layers.1.layers.0.weight" in arrays
    return (1 if grouped else first, *others)


def _indices(arrays: Mapping[str, np.ndarray], prefix: str) -> int:
    return len({key[len(prefix) :].split(".")[0] for key in arrays if key.startswith(prefix)})


def load_arrays(network: nn.Layer, arrays: Mapping[str, np.ndarray], *, name: str) -> None:
    """Fill ``network`` from arrays by structured name; nothing is changed when they do not fit.

    Args:
        network: any layer.
        arrays: one array per parameter and buffer of ``network.state_dict()``.
        name: what to call the arrays in errors, usually a path.

    Raises:
        CheckpointError: a key is missing or unknown, a shape differs, or a value is not finite.
    """
    targets = network.state_dict()
    differences = _differences({key: tuple(tensor.shape) for key, tensor in targets.items()}, arrays)
    if differences:
        shown = "; ".join(differences[:_DIFFERENCES_SHOWN])
        more = len(differences) - _DIFFERENCES_SHOWN
        raise CheckpointError(
            f"{name} does not fit {type(network).__name__}: {shown}"
            + (f"; and {more} more differences" if more > 0 else "")
            + ("" if _NOT_FINITE in differences[0] else "; check the name of the network, embedding_size and width")
        )
    for key, tensor in targets.items():
        tensor.set_value(np.asarray(arrays[key]).astype(np.dtype("float32"), copy=False).reshape(tensor.shape))


def _differences(shapes: Mapping[str, tuple[int, ...]], arrays: Mapping[str, np.ndarray]) -> list[str]:
    found = [f"{key} is missing" for key in shapes if key not in arrays]
    found += [f"{key} is not part of the network" for key in arrays if key not in shapes]
    for key, shape in shapes.items():
        if key not in arrays:
            continue
        array = np.asarray(arrays[key])
        if array.shape != shape:
            found.append(f"{key} is {array.shape} instead of {shape}")
        elif not np.isfinite(array).all():
            found.append(f"{key} {_NOT_FINITE}")
    return found
