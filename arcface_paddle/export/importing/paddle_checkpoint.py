"""Checkpoints of the later Arcface-Paddle and of PLSC: one file per parameter, or one per network and rank.

- ``FOLDER/<parameter>.pdparam`` for each parameter and buffer, ``<parameter>_velocity_0.pdopt`` for its momentum, and
  ``meta.json`` with the number of ranks, classes and values of an embedding. The class centres are cut among the ranks:
  ``dist@fc@rank@00000.w_0.pdparam`` and so on, (D, classes of the rank) each; on one rank ``lsc_fc.w.pdparam``. PLSC
  2.2 names files by the keys of the state_dict, so that ``weight.pdparam`` of several ranks is that of the last one.
- PLSC 2.4: ``NAME.pdparams``, a state_dict, and ``NAME_rank0.pdparams`` and so on with each rank's ``head.weight``.

Every rank holds ceil(classes / ranks) centres but for what is left to the last ones. The programs that wrote them get
the last rank's number wrong where that does not divide; what is there beyond the number of classes was never trained.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence

import numpy as np
from paddle import nn

from arcface_paddle.errors import ModelFileError
from arcface_paddle.weight_files import read_parameter, read_state_dict

META = "meta.json"
PARAMETER = ".pdparam"
_SHARD = re.compile(r"(?:dist@\w+@rank@|\w+@dist@rank@)(\d{5})\.w(?:_0)?")
_WHOLE = re.compile(r"(?:lsc_fc|partialfc|dist@fc)\.w(?:_0)?|weight")
_VELOCITY = re.compile(r"(.+?)(?:_fp32_master_0)?_velocity_0\.pdopt")
_RANK_FILE = r"{stem}_rank(\d+)\.pdparams"
_HEAD = "head.weight"
_MOST_META_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class ClassCentres:
    """The class centres of a run, as they were cut among its ranks.

    Attributes:
        shards: (classes, D) float32 each; the first row of the first belongs to class 0, and so on.
        momenta: their momentum, of the same shapes; None when the run left none.
    """

    shards: tuple[np.ndarray, ...]
    momenta: Optional[tuple[np.ndarray, ...]] = None

    def __len__(self) -> int:
        return sum(len(shard) for shard in self.shards)


def read_parameter_folder(folder: Path) -> tuple[dict[str, np.ndarray], Optional[ClassCentres]]:
    """Read a folder of one file per parameter: the backbone's by parameter name, and the class centres.

    Raises:
        ModelFileError: a file is damaged or refused, or the shards do not make up the classes.
    """
    names = sorted(path.name for path in folder.iterdir() if path.suffix == PARAMETER and path.is_file())
    stems = [name[: -len(PARAMETER)] for name in names]
    shards = {int(match[1]): stem for stem in stems if (match := _SHARD.fullmatch(stem))}
    whole = [stem for stem in stems if _WHOLE.fullmatch(stem)]
    if not shards and whole and _meta(folder).get("pretrain_world_size", 1) == 1:
        shards = {0: whole[0]}
    backbone = {
        stem: read_parameter(folder / f"{stem}{PARAMETER}") for stem in stems if stem not in {*shards.values(), *whole}
    }
    return backbone, _centres_of_folder(folder, shards)


def _centres_of_folder(folder: Path, shards: Mapping[int, str]) -> Optional[ClassCentres]:
    if not shards:
        return None
    meta = _meta(folder)
    ranks = meta.get("pretrain_world_size", len(shards))
    if len(shards) != ranks or max(shards) >= ranks:  # and no list of ranks, whose number is only said
        raise ModelFileError(f"{folder}: class centres of the ranks {sorted(shards)}; {META} says {ranks} ranks")
    velocities = {match[1]: path for path in folder.glob("*.pdopt") if (match := _VELOCITY.fullmatch(path.name))}
    order = [shards[rank] for rank in range(ranks)]
    weights = [read_parameter(folder / f"{stem}{PARAMETER}") for stem in order]
    momenta = [read_parameter(velocities[stem]) for stem in order] if set(order) <= set(velocities) else None
    return centres_of(weights, momenta, classes=meta.get("num_classes"), size=meta.get("embedding_size"), name=folder)


def _meta(folder: Path) -> dict[str, Any]:
    path = folder / META
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > _MOST_META_BYTES:
            raise ValueError(f"it has more than {_MOST_META_BYTES} bytes")
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: cannot be read: {error}") from None
    counts = ("pretrain_world_size", "num_classes", "embedding_size")
    if not isinstance(document, dict) or not all(_is_count(document.get(key, 1)) for key in counts):
        raise ModelFileError(f"{path}: {', '.join(counts)} must be numbers above 0")
    return document


def _is_count(value: object) -> bool:
    return type(value) is int and 0 < value < 1 << 32


def centres_of(
    weights: Sequence[np.ndarray],
    momenta: Optional[Sequence[np.ndarray]],
    *,
    classes: Optional[int],
    size: Optional[int],
    name: object,
) -> ClassCentres:
    """Turn Paddle's shards (D, classes of the rank) into rows of centres, without what was never trained.

    Raises:
        ModelFileError: shapes that do not fit each other, NaN, or fewer centres than classes.
    """
    sizes = {array.shape[0] for array in weights if array.ndim == 2}
    if any(array.ndim != 2 for array in weights) or len(sizes) != 1 or (size is not None and sizes != {size}):
        shapes = ", ".join(str(array.shape) for array in weights)
        raise ModelFileError(f"{name}: class centres of shapes {shapes}; needed: ({size or 'D'}, classes) of each rank")
    if momenta is not None and [array.shape for array in momenta] != [array.shape for array in weights]:
        raise ModelFileError(f"{name}: the momentum of the class centres has other shapes than they")
    held = sum(array.shape[1] for array in weights)
    total = held if classes is None else classes
    share = -(-total // len(weights))
    rows = [array.shape[1] for array in weights]
    if held > total:
        rows = [max(0, min(count, share, total - rank * share)) for rank, count in enumerate(rows)]
    if sum(rows) != total:
        raise ModelFileError(
            f"{name}: the ranks hold {[a.shape[1] for a in weights]} class centres, not all of {total}"
        )

    def cut(arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        return tuple(np.ascontiguousarray(array.T[:count], np.float32) for array, count in zip(arrays, rows) if count)

    shards = cut(weights)
    if not all(np.isfinite(shard).all() for shard in shards):
        raise ModelFileError(f"{name}: the class centres hold NaN or infinity")
    return ClassCentres(shards, None if momenta is None else cut(momenta))


def read_paddle_file(path: Path) -> tuple[dict[str, np.ndarray], Optional[ClassCentres]]:
    """Read a ``.pdparams`` file and what PLSC 2.4 puts beside it for each rank.

    Raises:
        ModelFileError: a file is damaged or refused, or a rank in between is missing.
    """
    arrays = read_state_dict(path)
    heads = [arrays.pop(_HEAD)] if _HEAD in arrays else []
    pattern = re.compile(_RANK_FILE.format(stem=re.escape(path.stem)))
    found = {int(match[1]): other for other in path.parent.iterdir() if (match := pattern.fullmatch(other.name))}
    if found and sorted(found) != list(range(len(found))):
        raise ModelFileError(f"{path}: files of the ranks {sorted(found)} are there, one in between is missing")
    for rank in sorted(found):
        head = read_state_dict(found[rank]).get(_HEAD)
        if head is None:
            raise ModelFileError(f"{found[rank]}: holds no {_HEAD}")
        heads.append(head)
    return arrays, centres_of(heads, None, classes=None, size=None, name=path) if heads else None


def arrays_by_order(arrays: Mapping[str, np.ndarray], network: nn.Layer) -> dict[str, np.ndarray]:
    """Give parameters whose names Paddle counted up the keys of a network, whose layers were made in the same order.

    The MobileFaceNet of Arcface-Paddle makes its convolutions and normalisations twice; then their weights and biases
    are all called ``create_parameter_N``, and only statistics and slopes have the names of layers. Static graphs call
    normalisations and slopes otherwise than dynamic ones.

    Raises:
        ModelFileError: there are more or fewer of a kind than the network has.
    """
    queues = {kind: iter(names) for kind in _KINDS if (names := _counted(arrays, kind))}
    named = {}
    for path, layer in network.named_sublayers():
        for part, kinds in _parts_of(layer):
            name = next((next(queues[kind], None) for kind in kinds if kind in queues), None)
            if name is None:
                raise ModelFileError(f"the checkpoint holds nothing for {path}.{part}; it is one of another network")
            named[f"{path}.{part}"] = arrays[name]
    if len(named) != len(arrays):
        kind = type(network).__name__
        raise ModelFileError(f"the checkpoint holds {len(arrays)} parameters, {kind} has {len(named)}")
    return named


def counted_convolutions(arrays: Mapping[str, np.ndarray]) -> int:
    """Return how many convolutions a static graph has left."""
    return len(_counted(arrays, _CONVOLUTION))


_AGAIN = "create_parameter_{}.w_0"
_CONVOLUTION = "conv2d_{}.w_0"
_NORMS = ("batch_norm2d_{}", "batch_norm_{}")
_SLOPES = ("p_re_lu_{}.w_0", "prelu_{}.w_0")
_LINEAR = ("fc_{}.w_0", "fc_{}.b_0")
_NORM_PARTS = ("w_0", "b_0", "w_1", "w_2")
_KINDS = (_AGAIN, _CONVOLUTION, *_SLOPES, *_LINEAR, *(f"{norm}.{part}" for norm in _NORMS for part in _NORM_PARTS))
"""Names of parameters, with the number that Paddle counts up; of norms and slopes the second are of static graphs."""


def _counted(arrays: Mapping[str, np.ndarray], kind: str) -> list[str]:
    prefix, suffix = kind.split("{}")
    pattern = re.compile(rf"{re.escape(prefix)}(\d{{1,9}}){re.escape(suffix)}")
    found = {int(match[1]): name for name in arrays if (match := pattern.fullmatch(name))}
    return [found[number] for number in sorted(found)]


def _parts_of(layer: nn.Layer) -> list[tuple[str, tuple[str, ...]]]:
    """Return the arrays of a layer, and of which kind their names may be; the first that there is counts."""
    if isinstance(layer, nn.Conv2D):
        return [("weight", (_AGAIN, _CONVOLUTION))]
    if isinstance(layer, (nn.BatchNorm2D, nn.BatchNorm1D)):
        scale, offset, mean, variance = (tuple(f"{norm}.{part}" for norm in _NORMS) for part in _NORM_PARTS)
        return [("weight", (_AGAIN, *scale)), ("bias", (_AGAIN, *offset)), ("_mean", mean), ("_variance", variance)]
    if isinstance(layer, nn.Linear):
        return [("weight", _LINEAR[:1]), ("bias", _LINEAR[1:])]
    return [("_weight", _SLOPES)] if isinstance(layer, nn.PReLU) else []
