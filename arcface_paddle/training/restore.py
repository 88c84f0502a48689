"""Reading a checkpoint back, on the same or any other number of ranks, and saying what could not be restored."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Mapping, Optional, Sequence

import numpy as np

from arcface_paddle import distributed, files, safe_pickle
from arcface_paddle.backbones import is_same_network
from arcface_paddle.errors import CheckpointError, DataError, ModelFileError
from arcface_paddle.files import PathLike, sha256_of_file
from arcface_paddle.heads.memory import STATES_OF, counts_updates, extra_states_of
from arcface_paddle.heads.update_rules import COUNT
from arcface_paddle.training.checkpoint import (
    BACKBONE_MOMENTUM,
    STATE,
    ClassifierShard,
    RunIdentity,
    backbone_state_name,
    feature_centres_name,
    list_checkpoints,
    read_manifest,
    shard_name,
    shard_state_name,
)
from arcface_paddle.training.state import LoopState
from arcface_paddle.untrusted import read_json
from arcface_paddle.weight_files import read_state_dict

_PUBLISHED_WEIGHT = re.compile(r"rank[:_](\d+)_softmax_weight\.pkl")

_NO_FEATURE_CENTRES = "centres of the centre loss, which start at random"

_ADVICE = {
    "network": "choose that --network",
    "embedding_size": "choose that --embedding_size",
    "num_classes": "the classifier belongs to other identities; to train on new data start from it with --pretrained",
    "global_batch": "keep it with --global_batch_size, or with another --batch_size or --accumulation",
    "epoch_images": "the data has changed; to train on new data start from it with --pretrained",
    "optimizer": "continue with that --optimizer, or leave its momentum behind with --override optimizer=none",
}


class DamagedError(CheckpointError):
    """What the folder holds to resume from is damaged; nothing of it can be used."""


@dataclass(frozen=True, eq=False)
class Restored:
    """What was read; None stands for what the folder did not hold.

    Attributes:
        source: the folder.
        backbone: state_dict of the backbone.
        backbone_momentum: velocities by parameter name.
        shard: this rank's class centres and their momentum.
        state: the loop state.
        missing: what could not be restored, in words.
        backbone_extra: further states of the update rule by their names.
    """

    source: Path
    backbone: Mapping[str, np.ndarray]
    backbone_momentum: Optional[Mapping[str, np.ndarray]]
    shard: Optional[ClassifierShard]
    state: Optional[LoopState]
    missing: tuple[str, ...] = ()
    backbone_extra: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)

    @property
    def versioned(self) -> Optional[Path]:
        """The versioned checkpoint; None if only the published files were there."""
        return None if self.state is None else self.source


@dataclass(frozen=True)
class RowRange:
    """The classes of a rank that wants to read, or of one that has written.

    Attributes:
        start: first global label.
        stop: behind the last one.
        width: values of a row that are wanted; None = the embedding size.
        feature_centres: whether the centres of a centre loss are wanted too.
    """

    start: int
    stop: int
    width: Optional[int] = None
    feature_centres: bool = False


def restore(
    output: PathLike,
    identity: RunIdentity,
    rows: RowRange,
    *,
    say: Callable[[str], None],
    leaves_states: Callable[[LoopState], bool] = lambda _state: False,
) -> Optional[Restored]:
    """Read the newest sound checkpoint of a run, or, where there is none, the published files.

    A damaged checkpoint is reported through ``say`` and the one before it is taken.

    Args:
        output: the run's folder.
        identity: of the run that wants to continue.
        rows: the class centres that this rank wants.
        say: gets what the user should know.
        leaves_states: whether the states of the optimizer are left behind, those of another one included.

    Returns:
        None when the folder holds nothing to resume from.

    Raises:
        DamagedError: on all ranks: only damaged checkpoints; on some: damaged published files.
        CheckpointError: what is there belongs to another run.
    """
    checkpoints = list_checkpoints(output)
    for _, folder in checkpoints:
        problem = find_damage(folder)
        if problem is None:
            return _read_versioned(folder, identity, rows, leaves_states=leaves_states)
        say(f"checkpoint {folder} is damaged ({problem}); trying the one before it")
    if checkpoints:
        raise DamagedError(
            f"{Path(output)}: none of the {len(checkpoints)} checkpoints is sound; "
            f"start again with --resume 0, or from a sound .pdparams with --pretrained"
        )
    if leaves_states(LoopState()):
        identity = dataclasses.replace(identity, optimizer=None)
    return _read_published(Path(output), identity, rows)


def find_damage(folder: Path) -> Optional[str]:
    """Hold the files of a checkpoint against its manifest; each rank hashes its share, all get the same answer."""
    try:
        problem = _damage_in_share(folder)
    except CheckpointError as error:
        problem = str(error)
    except OSError as error:
        problem = f"{error.filename}: {error.strerror or error}"
    distributed.barrier()
    problems = [text for text in distributed.gather_json(problem) if text]
    return problems[0] if problems else None


def _check_finite(name: str, array: np.ndarray, *, source: object) -> None:
    """Refuse NaN and infinity in weights.

    Raises:
        DamagedError: there is one.
    """
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        count = int(np.size(array) - np.count_nonzero(np.isfinite(array)))
        raise DamagedError(f"{source}: {name} has {count} values that are not finite (NaN or infinity)")


def _damage_in_share(folder: Path) -> Optional[str]:
    manifest = read_manifest(folder)
    names = sorted(manifest["files"])
    for name in names[distributed.rank() :: distributed.world_size()]:
        described = manifest["files"][name]
        size = (folder / name).stat().st_size
        if size != described["bytes"]:
            return f"{name} has {size} bytes instead of {described['bytes']}"
        if sha256_of_file(folder / name) != described["sha256"]:
            return f"the content of {name} has changed"
    return None


def _read_versioned(
    folder: Path, identity: RunIdentity, rows: RowRange, *, leaves_states: Callable[[LoopState], bool]
) -> Restored:
    manifest = read_manifest(folder)
    state = LoopState.from_json(read_json(folder / STATE, error=DamagedError), name=str(folder / STATE))
    if leaves_states(state):
        identity = dataclasses.replace(identity, optimizer=None)
    _check_identity(folder, manifest, identity)
    keeps_states = identity.optimizer is not None
    extra = extra_states_of(identity.optimizer) if identity.optimizer is not None else ()
    shard = _read_own_shard(folder, manifest, identity, rows=rows)
    lacks_centres = rows.feature_centres and shard.feature_centres is None
    return Restored(
        source=folder,
        backbone=_read_weights(folder / f"{manifest['network']}.pdparams"),
        backbone_momentum=_read_weights(folder / BACKBONE_MOMENTUM) if keeps_states else None,
        shard=shard,
        state=state,
        missing=(_NO_FEATURE_CENTRES,) if lacks_centres else (),
        backbone_extra={name: _read_weights(folder / backbone_state_name(name)) for name in extra},
    )


def _check_identity(folder: Path, manifest: Mapping[str, Any], identity: RunIdentity) -> None:
    """Refuse a checkpoint of another run.

    Raises:
        CheckpointError: it differs in something that must agree.
    """
    for key, wanted in vars(identity).items():
        made_with = manifest.get(key, "sgd") if key == "optimizer" else manifest[key]
        same = made_with == wanted
        if key == "network":
            same = is_same_network(made_with, wanted)
        elif key == "optimizer":  # what matters is that the states mean the same
            same = wanted is None or STATES_OF.get(made_with) == STATES_OF[wanted]
        if not same:
            raise CheckpointError(f"{folder} was made with {key} {made_with}, this run has {wanted}: {_ADVICE[key]}")


def _read_own_shard(
    folder: Path, manifest: Mapping[str, Any], identity: RunIdentity, *, rows: RowRange
) -> ClassifierShard:
    """Read the wanted rows of centres and states, from however many shards there are."""
    stored = [RowRange(shard["start"], shard["start"] + shard["rows"]) for shard in manifest["shards"]]
    ranks, size = range(len(stored)), rows.width or identity.embedding_size
    feature_centres = None
    if rows.feature_centres:
        feature_centres = _read_feature_centres(folder, stored, rows, width=identity.embedding_size)
    weight = _read_rows([folder / shard_name(rank, momentum=False) for rank in ranks], stored, rows, width=size)
    if identity.optimizer is None:
        return ClassifierShard(rows.start, weight, np.zeros_like(weight), feature_centres=feature_centres)
    momentum = _read_rows([folder / shard_name(rank, momentum=True) for rank in ranks], stored, rows, width=size)
    widths = dict.fromkeys(extra_states_of(identity.optimizer), size)
    if counts_updates(identity.optimizer):
        widths[COUNT] = 1
    extra = {
        name: _read_rows([folder / shard_state_name(rank, name) for rank in ranks], stored, rows, width=width)
        for name, width in widths.items()
    }
    return ClassifierShard(rows.start, weight, momentum, extra_states=extra, feature_centres=feature_centres)


def _read_feature_centres(
    folder: Path, stored: Sequence[RowRange], rows: RowRange, *, width: int
) -> Optional[np.ndarray]:
    """Read the centres of the centre loss; None from a checkpoint that was made without one."""
    paths = [folder / feature_centres_name(rank) for rank in range(len(stored))]
    if not paths[0].exists():  # the manifest vouches for what is there
        return None
    return _read_rows(paths, stored, rows, width=width)


def _read_weights(path: Path) -> dict[str, np.ndarray]:
    try:
        return read_state_dict(path)
    except ModelFileError as error:
        raise DamagedError(str(error)) from None


def _read_rows(paths: Sequence[Path], stored: Sequence[RowRange], rows: RowRange, *, width: int) -> np.ndarray:
    """Read the wanted rows, ``width`` values each, from the shards that hold some of them."""
    parts = []
    for path, held in zip(paths, stored):
        start, stop = max(rows.start, held.start), min(rows.stop, held.stop)
        if start < stop:
            shard = _read_shard(path)
            if shard.shape != (held.stop - held.start, width):
                raise CheckpointError(
                    f"{path}: shape {shard.shape}; needed: ({held.stop - held.start}, {width}): go on with the --loss, "
                    "--subcentres and --embedding_size that it was made with"
                )
            parts.append(shard[start - held.start : stop - held.start])
    found = np.concatenate(parts) if parts else np.zeros((0, width), np.float32)
    if len(found) != rows.stop - rows.start:
        raise CheckpointError(
            f"{paths[0].parent}: the shards hold {len(found)} of the class centres {rows.start} to {rows.stop - 1}"
        )
    return found


def _read_shard(path: Path) -> np.ndarray:
    try:
        array = safe_pickle.load_arrays(files.read_bytes(path), name=str(path))
    except OSError as error:
        raise DamagedError(f"cannot read the shard {path}: {error.strerror or error}") from None
    except DataError as error:
        raise DamagedError(str(error)) from None
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind != "f":
        raise DamagedError(f"{path}: not a matrix of class centres")
    _check_finite("the shard", array, source=path)
    return np.asarray(array, np.float32)


def _read_published(output: Path, identity: RunIdentity, rows: RowRange) -> Optional[Restored]:
    """Read a folder that has only the files of the published trainer."""
    weights = sorted(output.glob("*.pdparams"))
    found = [path for path in weights if is_same_network(path.stem, identity.network)]
    if not found:
        if weights:
            raise CheckpointError(
                f"{output} holds {', '.join(path.name for path in weights)} but not {identity.network}.pdparams: "
                "check --network"
            )
        return None
    missing = ["momentum of the backbone", "step, epoch and position in it", "learning-rate position", "loss scale"]
    shard, problem = _read_published_shards(output, identity, rows)
    if problem:
        missing.append(problem)
    if rows.feature_centres:
        missing.append(_NO_FEATURE_CENTRES)
    return Restored(
        source=output,
        backbone=_read_weights(max(found, key=lambda path: path.stat().st_mtime)),
        backbone_momentum=None,
        shard=shard,
        state=None,
        missing=tuple(missing),
    )


def _read_published_shards(
    output: Path, identity: RunIdentity, rows: RowRange
) -> tuple[Optional[ClassifierShard], str]:
    """Read the published shards; without weights nothing, without momentum zeros, and a word on what is missing."""
    weights = _published_paths(output)
    if not weights:
        return None, "class centres (no rank:0_softmax_weight.pkl), which start at random"
    counts = [len(_read_shard(path)) for path in weights]
    if sum(counts) != identity.num_classes:
        raise CheckpointError(
            f"{output}: the {len(counts)} shards hold {sum(counts)} class centres, the data has "
            f"{identity.num_classes} identities: {_ADVICE['num_classes']}"
        )
    ends = np.cumsum(counts).tolist()
    stored = [RowRange(end - count, end) for end, count in zip(ends, counts)]
    width = rows.width or identity.embedding_size
    weight = _read_rows(weights, stored, rows, width=width)
    momenta = [path.with_name(path.name.replace("_weight.pkl", "_weight_mom.pkl")) for path in weights]
    # The first moment of Adam is of another size than the momentum of SGD, and useless without the second.
    if identity.optimizer != "sgd" or not all(path.is_file() for path in momenta):
        return ClassifierShard(rows.start, weight, np.zeros_like(weight)), "momentum of the class centres"
    momentum = _read_rows(momenta, stored, rows, width=width)
    return ClassifierShard(rows.start, weight, momentum), ""


def _published_paths(output: Path) -> list[Path]:
    """Return the published weight shards in the order of ranks.

    Raises:
        CheckpointError: a rank in between is missing.
    """
    found: dict[int, Path] = {}
    for path in sorted(output.iterdir()):
        match = _PUBLISHED_WEIGHT.fullmatch(path.name)
        if match:
            found[int(match.group(1))] = path
    if sorted(found) != list(range(len(found))):
        raise CheckpointError(f"{output}: shards of ranks {sorted(found)} are there, one in between is missing")
    return [found[rank] for rank in sorted(found)]
