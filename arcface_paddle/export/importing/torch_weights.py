"""From the weights of arcface_torch to a network of ours: which one it is, and what its parameters are called here."""

from __future__ import annotations

from typing import Iterable, Mapping, Optional

import numpy as np
from paddle import nn

from arcface_paddle.backbones import BACKBONES, build_backbone
from arcface_paddle.backbones.weights import embedding_size_of, load_arrays, width_of
from arcface_paddle.errors import CheckpointError, ModelFileError

_WRAPPERS = ("state_dict_backbone", "state_dict", "model_state_dict", "backbone", "model", "net")
"""Keys under which training programs put a backbone's state_dict beside other things; the first is arcface_torch's."""
_PREFIXES = ("module.", "_orig_mod.", "backbone.", "model.")
"""What DataParallel, torch.compile and modules around the network put before every key."""
_COUNTER = "num_batches_tracked"
_MASK = "mask_token"  # what arcface_torch's vision transformers put for hidden patches while training
_CLASSIFIER = ("state_dict_softmax_fc", "weight")
_SHOWN = 3
_LARGEST_EMBEDDING = 4096
_LARGEST_WIDTH = 2


def backbone_arrays(document: object, *, name: str) -> dict[str, np.ndarray]:
    """Find the state_dict of a backbone in what ``torch_file.read_torch_file`` gave, without prefixes and counters.

    Raises:
        ModelFileError: there is none.
    """
    found = _state_dict_in(document, depth=0)
    if found is None:
        held = ", ".join(map(str, document)) if isinstance(document, dict) else type(document).__name__
        raise ModelFileError(f"{name}: holds no state_dict of a network, but: {held[:200] or 'nothing'}")
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in found):
            found = {key[len(prefix) :]: array for key, array in found.items()}
    return {key: array for key, array in found.items() if not key.endswith(_COUNTER) and key != _MASK}


def class_centres(document: object) -> Optional[np.ndarray]:
    """Return the classifier's shard (classes, D) of a checkpoint of arcface_torch; None where there is none."""
    value = document
    for key in _CLASSIFIER:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, np.ndarray) and value.ndim == 2 and value.dtype.kind == "f" else None


def _state_dict_in(value: object, *, depth: int) -> Optional[dict[str, np.ndarray]]:
    if not isinstance(value, dict) or depth > 2:
        return None
    if value and all(isinstance(key, str) and isinstance(item, np.ndarray) for key, item in value.items()):
        return dict(value)
    candidates = (_state_dict_in(value.get(key), depth=depth + 1) for key in _WRAPPERS)
    return next((found for found in candidates if found is not None), None)


def network_from_torch(arrays: Mapping[str, np.ndarray], *, name: str, network: Optional[str]) -> tuple[str, nn.Layer]:
    """Build the network that weights of torch belong to, with these weights, in evaluation mode.

    Args:
        arrays: by torch's keys, see ``backbone_arrays``.
        name: what to call them in errors.
        network: a name of ``BACKBONES``; None to tell by the keys.

    Raises:
        ModelFileError: an architecture that is not known here, keys that are missing or left over, wrong shapes, NaN.
    """
    chosen = network or _network_of(arrays)
    if chosen is None:
        some = ", ".join(list(arrays)[:_SHOWN])
        raise ModelFileError(
            f"{name}: its keys ({some}, …) are those of no network known here; known: iresnet18 to iresnet200 and mbf "
            "of arcface_torch"
        )
    layer = built_for(arrays, name=name, network=chosen)
    torch_key_of = {key: torch_key(key) for key in layer.state_dict()}
    check_keys(arrays, torch_key_of.values(), name=name, network=chosen)
    flipped = {f"{path}.weight" for path, part in layer.named_sublayers() if isinstance(part, nn.Linear)}
    own = {
        key: np.ascontiguousarray(arrays[other].T) if key in flipped else arrays[other]
        for key, other in torch_key_of.items()
    }
    try:
        load_arrays(layer, own, name=name)
    except CheckpointError as error:
        raise ModelFileError(str(error)) from None
    layer.eval()
    return chosen, layer


_STAGES = {
    "IResNet": ("layer1.", "layer2.", "layer3.", "layer4."),
    "Mbf": ("layers.1.layers.", "layers.3.layers.", "layers.5.layers.", "layers.7.layers."),
}
"""What the keys of the units of each stage begin with, in torch as here, by the class of our network."""


def _network_of(arrays: Mapping[str, np.ndarray]) -> Optional[str]:
    """Tell by the number of units in its stages which network of arcface_torch weights are of; None for others."""
    for name, entry in BACKBONES.items():
        stages = _STAGES.get(entry.class_name, ())
        if stages and tuple(_units(arrays, stage) for stage in stages) == entry.arguments["units"]:
            return name
    return None


def _units(arrays: Mapping[str, np.ndarray], stage: str) -> int:
    if f"{stage}0.weight" in arrays:  # a convolution alone, where mbf_large has units
        return 1
    return len({key[len(stage) :].split(".")[0] for key in arrays if key.startswith(stage)})


def built_for(arrays: Mapping[str, np.ndarray], *, name: str, network: str) -> nn.Layer:
    """Build a network of the size that arrays have; a size that no face recogniser has is refused before it is made.

    Raises:
        ModelFileError: such a size.
        ConfigError: an unknown name.
    """
    if any(np.ndim(array) > 4 for array in arrays.values()) or any(np.ndim(arrays[key]) == 0 for key in arrays):
        raise ModelFileError(f"{name}: holds arrays without sides, or with more than four; this is no {network}")
    size, width = embedding_size_of(arrays), width_of(arrays, network=network)
    if (size is not None and size > _LARGEST_EMBEDDING) or not 0 < width <= _LARGEST_WIDTH:
        raise ModelFileError(
            f"{name}: features of {size} values and {width:g} times the usual channels; imported are networks of up to "
            f"{_LARGEST_EMBEDDING} values and {_LARGEST_WIDTH} times the channels"
        )
    return build_backbone(network, embedding_size=size, width=width)


def torch_key(key: str) -> str:
    """Return what torch calls a parameter or buffer of Paddle: statistics of normalisations, slopes of PReLU."""
    path, _, last = key.rpartition(".")
    return f"{path}.{ {'_mean': 'running_mean', '_variance': 'running_var', '_weight': 'weight'}.get(last, last) }"


def check_keys(arrays: Mapping[str, np.ndarray], expected: Iterable[str], *, name: str, network: str) -> None:
    """Refuse weights that lack keys of a network or have others.

    Raises:
        ModelFileError: naming the first of them.
    """
    wanted = set(expected)
    missing = [key for key in wanted if key not in arrays]
    left_over = [key for key in arrays if key not in wanted]
    if not missing and not left_over:
        return
    parts = [
        f"{what} {len(keys)} ({', '.join(sorted(keys)[:_SHOWN])}{', …' if len(keys) > _SHOWN else ''})"
        for what, keys in (("missing", missing), ("left over", left_over))
        if keys
    ]
    raise ModelFileError(f"{name} does not fit {network}: keys {'; '.join(parts)}")
