"""FresResNet50 and FresResNet100 of the later Arcface-Paddle and of PLSC, turned into iresnet50 and iresnet100.

They are the same networks but for one slope per PReLU instead of one per channel, and for all names. A slope that is
repeated for every channel computes the same; in further training the channels may then part.

Their state_dict has keys such as ``res3b.conv0._conv.weight``; a checkpoint of one file per parameter has the names
that the layers were given (``res3b_branch2a_weights``), except for the slopes, whose names Paddle counted up.
"""

from __future__ import annotations

import re
from typing import Mapping, Optional

import numpy as np

_UNIT = r"res(?P<stage>[2-5])(?P<unit>[a-~])"  # units are lettered on, past z
_PART_OF_UNIT = {
    "_batch_norm": "bn1",
    "conv0._conv": "conv1",
    "conv0._batch_norm": "bn2",
    "prelu": "prelu",
    "conv1._conv": "conv2",
    "conv1._batch_norm": "bn3",
    "short._conv": "downsample.0",
    "short._batch_norm": "downsample.1",
}
_PART_OF_ENDS = {
    "conv._conv": "conv1",
    "conv._batch_norm": "bn1",
    "prelu": "prelu",
    "fc._batch_norm_1": "bn2",
    "fc.fc": "fc",
    "fc._batch_norm_2": "features",
}
_FIRST_PARAMETER = "conv1_weights"
_BRANCHES = {"branch2a": "conv0", "branch2b": "conv1", "branch1": "short"}
_NORM = {"scale": "weight", "offset": "bias", "mean": "_mean", "variance": "_variance"}
_SLOPE = re.compile(r"p_re_lu_(\d{1,9})\.w_0")


def is_fres_resnet(arrays: Mapping[str, np.ndarray]) -> bool:
    """Tell whether a state_dict is one of FresResNet, by its first normalisation."""
    return "conv._batch_norm.weight" in arrays and "fc._batch_norm_2.weight" in arrays


def iresnet_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rename the state_dict of a FresResNet to that of an iResNet and repeat each slope for every channel.

    What has no counterpart keeps its key, so that it is found to be left over.
    """
    renamed = {}
    for key, array in arrays.items():
        if key.startswith("block_list."):  # the same layers under a second name
            continue
        renamed[_own_key(key) or key] = array
    return with_slopes_repeated(renamed)


def with_slopes_repeated(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Repeat the only slope of each PReLU of an iResNet's state_dict for every channel; others stay."""
    return {key: _per_channel(key, array, arrays) for key, array in arrays.items()}


def structured_keys(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Turn the parameter names of a FresResNet into the keys of its state_dict; those of other networks stay."""
    if _FIRST_PARAMETER not in arrays:
        return dict(arrays)
    numbers = {int(match[1]): name for name in arrays if (match := _SLOPE.fullmatch(name))}
    slopes = [numbers[number] for number in sorted(numbers)]
    unit = re.compile(rf"({_UNIT})_branch2a_weights")
    units = sorted(match[1] for name in arrays if (match := unit.fullmatch(name)))
    owner = dict(zip(slopes, ["prelu._weight", *(f"{unit}.prelu._weight" for unit in units)]))
    return {owner.get(name) or _key_of_parameter(name) or name: array for name, array in arrays.items()}


def _own_key(key: str) -> Optional[str]:
    path, _, last = key.rpartition(".")
    match = re.fullmatch(rf"{_UNIT}\.(?P<part>.+)", path)
    if match is None:
        return f"{_PART_OF_ENDS[path]}.{last}" if path in _PART_OF_ENDS else None
    part = _PART_OF_UNIT.get(match["part"])
    return part and f"layer{int(match['stage']) - 1}.{ord(match['unit']) - ord('a')}.{part}.{last}"


def _key_of_parameter(name: str) -> Optional[str]:
    plain = {_FIRST_PARAMETER: "conv._conv.weight", "fc.w_0": "fc.fc.weight", "fc.b_0": "fc.fc.bias"}
    if name in plain:
        return plain[name]
    stem, _, last = name.rpartition("_")
    if last in _NORM:
        return _key_of_norm(stem, _NORM[last])
    match = re.fullmatch(rf"({_UNIT})_(branch\w+)_weights", name)
    return f"{match[1]}.{_BRANCHES[match[4]]}._conv.weight" if match and match[4] in _BRANCHES else None


def _key_of_norm(stem: str, last: str) -> Optional[str]:
    """Find a normalisation by its name: bn_conv1, bn_fc_1, bn_3b_before, bn3b_branch2a."""
    ends = {"bn_conv1": "conv._batch_norm", "bn_fc_1": "fc._batch_norm_1", "bn_fc_2": "fc._batch_norm_2"}
    if stem in ends:
        return f"{ends[stem]}.{last}"
    before = re.fullmatch(r"bn_([2-5][a-~])_before", stem)
    if before:
        return f"res{before[1]}._batch_norm.{last}"
    behind = re.fullmatch(r"bn([2-5][a-~])_(branch\w+)", stem)
    return f"res{behind[1]}.{_BRANCHES[behind[2]]}._batch_norm.{last}" if behind and behind[2] in _BRANCHES else None


def _per_channel(key: str, array: np.ndarray, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Repeat the only slope of a PReLU for each of its channels, as many as the normalisation before it has."""
    if not key.endswith("prelu._weight") or array.size != 1:
        return array
    norm = arrays.get(key.replace("prelu._weight", "bn2.weight" if key.startswith("layer") else "bn1.weight"))
    return array if norm is None else np.full(norm.shape, array.reshape(-1)[0], array.dtype)
