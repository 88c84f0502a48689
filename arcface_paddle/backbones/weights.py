"""Putting arrays into a network, after checking that they are its own."""

from __future__ import annotations

from typing import Mapping, Optional

import numpy as np
import paddle
from paddle import nn

from arcface_paddle.backbones import (
    BACKBONES,
    LARGEST_WIDTH,
    TellingKeys,
    build_backbone,
    canonical_name,
    find_backbone,
)
from arcface_paddle.backbones.batch_renorm import norms_of_maps, use_group_norm
from arcface_paddle.errors import CheckpointError, ModelFileError
from arcface_paddle.files import PathLike
from arcface_paddle.weight_files import read_state_dict

_DIFFERENCES_SHOWN = 3
_NOT_FINITE = "holds NaN or infinity"


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
    network = _build_for(arrays, name, embedding_size=embedding_size, width=width)
    load_arrays(network, arrays, name=str(path))
    network.eval()
    return network


def width_of(arrays: Mapping[str, np.ndarray], *, network: Optional[str] = None) -> float:
    """Read the factor on the channel counts off a state_dict; 1 when its keys are not those of a known network.

    Args:
        arrays: the state_dict.
        network: its name, where it is known; vision transformers of one depth differ in nothing but their width.
    """
    keys = None if network is None else find_backbone(network).keys
    if keys is None or keys.width not in arrays:
        name = network_of(arrays)
        keys = _keys_of(arrays) if name is None else BACKBONES[name].keys
    return 1.0 if keys is None else len(arrays[keys.width]) / keys.channels


def embedding_size_of(arrays: Mapping[str, np.ndarray]) -> Optional[int]:
    """Read the length of the feature off a state_dict, or None when its keys are not those of a known network."""
    keys = _keys_of(arrays)
    return None if keys is None else int(np.asarray(arrays[keys.feature]).size)


def stems_of(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Return the keys of the convolutions that see the picture: one, or the branches of one layer.

    Empty when no known network has these keys.
    """
    keys = _keys_of(arrays)
    stem = "" if keys is None else keys.stem
    return [key for key in dict.fromkeys((stem, stem.replace(".conv.", ".pointwise."))) if key in arrays]


def network_of(arrays: Mapping[str, np.ndarray]) -> Optional[str]:
    """Tell which network a state_dict belongs to, or None when its keys are not those of a known one.

    MobileFaceNets differ by nothing but their padding, which weights do not show; of them the one is taken whose own
    embedding size the weights have, and none if there is no such network. Vision transformers of one depth differ by
    nothing but their width; of them the one is taken whose own width the weights have, and none if there is none.
    """
    fitting = [name for name in BACKBONES if _fits(name, arrays)]
    if len({BACKBONES[name].keys for name in fitting}) > 1:
        fitting = [name for name in fitting if width_of(arrays, network=name) == 1.0]
    elif len(fitting) > 1:
        fitting = [name for name in fitting if BACKBONES[name].embedding_size == embedding_size_of(arrays)]
    return fitting[0] if fitting else None


def has_group_norm(arrays: Mapping[str, np.ndarray], network: nn.Layer) -> bool:
    """Tell whether arrays are those of ``network`` with group normalisation, which has no running statistics."""
    norms = norms_of_maps(network)
    return bool(norms) and all(f"{norm}.weight" in arrays and f"{norm}._mean" not in arrays for norm in norms)


def _build_for(
    arrays: Mapping[str, np.ndarray], name: str, *, embedding_size: Optional[int], width: Optional[float]
) -> nn.Layer:
    """Build the named network with the sizes that its weights show."""
    size = embedding_size_of(arrays) if embedding_size is None else embedding_size
    network = build_backbone(
        name, embedding_size=size, width=width_of(arrays, network=canonical_name(name)) if width is None else width
    )
    return use_group_norm(network) if has_group_norm(arrays, network) else network


def _keys_of(arrays: Mapping[str, np.ndarray]) -> Optional[TellingKeys]:
    candidates = [entry.keys for entry in BACKBONES.values() if entry.keys is not None]
    return next((keys for keys in candidates if keys.width in arrays and keys.feature in arrays), None)


def _fits(name: str, arrays: Mapping[str, np.ndarray]) -> bool:
    keys = BACKBONES[name].keys
    if keys is None or keys.feature not in arrays or np.ndim(arrays.get(keys.width, 0)) == 0:
        return False
    if np.size(arrays[keys.feature]) == 0 or not 0.0 < width_of(arrays, network=name) <= LARGEST_WIDTH:
        return False
    with paddle.LazyGuard():  # shapes, but no memory and no random numbers
        network = _build_for(arrays, name, embedding_size=None, width=None)
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()} == {
        key: np.shape(array) for key, array in arrays.items()
    }


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
    kinds = _differences({key: tuple(tensor.shape) for key, tensor in targets.items()}, arrays)
    count = sum(map(len, kinds))
    if count:
        shown = _shown(kinds)
        raise CheckpointError(
            f"{name} does not fit {type(network).__name__}: {'; '.join(shown)}"
            + (f"; and {count - len(shown)} more differences" if count > len(shown) else "")
            + ("" if _NOT_FINITE in shown[0] else "; check the name of the network, embedding_size and width")
        )
    for key, tensor in targets.items():
        tensor.set_value(np.asarray(arrays[key]).astype(np.dtype("float32"), copy=False).reshape(tensor.shape))


def _differences(shapes: Mapping[str, tuple[int, ...]], arrays: Mapping[str, np.ndarray]) -> list[list[str]]:
    """Return what is missing, what is too much, and what has another shape or broken values, in words."""
    missing = [f"{key} is missing" for key in shapes if key not in arrays]
    unknown = [f"{key} is not part of the network" for key in arrays if key not in shapes]
    others = []
    for key, shape in shapes.items():
        if key not in arrays:
            continue
        array = np.asarray(arrays[key])
        if array.shape != shape:
            others.append(f"{key} is {array.shape} instead of {shape}")
        elif not np.isfinite(array).all():
            others.append(f"{key} {_NOT_FINITE}")
    return [missing, unknown, others]


def _shown(kinds: list[list[str]]) -> list[str]:
    """Choose some of the differences: at least one of every kind that there is, since one kind may be hundreds."""
    room = _DIFFERENCES_SHOWN - sum(bool(kind) for kind in kinds)
    shown = []
    for kind in kinds:
        taken = kind[: 1 + room] if kind else []
        room -= max(0, len(taken) - 1)
        shown += taken
    return shown
