"""Checkpoints that are whole or absent: written aside by all ranks, described by a manifest, renamed at the end.

A run's folder::

    {output}/checkpoints/step_00001234/manifest.json                 written last
                                       state.json                    loop state
                                       {network}.pdparams            backbone
                                       backbone_momentum.pdparams         and backbone_{state}.pdparams of Adam
                                       rank_{r}_softmax_weight.pkl        one pair of shards per rank
                                       rank_{r}_softmax_weight_mom.pkl    and ..._{state}.pkl of Adam
                                       rank_{r}_feature_centres.pkl       with a centre loss
    {output}/{network}.pdparams, rank:{r}_softmax_weight.pkl, ...    the newest, under the published names
    {output}/best/{network}.pdparams, best.json                      the best by validation

The published names are hard links into the newest checkpoint where the file system has them. The versioned folder is
what counts on resuming; all ranks must see the same ``output``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Mapping, Optional

import numpy as np

from arcface_paddle import distributed, safe_pickle
from arcface_paddle.backbones import is_same_network
from arcface_paddle.errors import CheckpointError
from arcface_paddle.files import PathLike, atomic_folder, write_bytes, write_json
from arcface_paddle.training.state import LoopState
from arcface_paddle.untrusted import read_json
from arcface_paddle.weight_files import dump_state_dict

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
STATE = "state.json"
BACKBONE_MOMENTUM = "backbone_momentum.pdparams"
_STEP_FOLDER = re.compile(r"step_(\d{8,})")
PUBLISHED_SHARD = re.compile(r"rank[:_](\d+)_softmax_weight(_mom)?\.pkl")
"""Names of the classifier's shards in the output folder, those of systems without colons in names included."""


@dataclass(frozen=True)
class RunIdentity:
    """What must agree between a checkpoint and the run that continues it.

    Attributes:
        network: name of the backbone, in its canonical spelling.
        embedding_size: length of the embedding.
        num_classes: number of identities.
        global_batch: images per step over all ranks and accumulated passes.
        epoch_images: images in the data.
        optimizer: the update rule; another one goes on only if it keeps the same states. None on reading = the states
            are left behind.
    """

    network: str
    embedding_size: int
    num_classes: int
    global_batch: int
    epoch_images: int
    optimizer: Optional[str] = "sgd"


@dataclass(frozen=True, eq=False)
class ClassifierShard:
    """This rank's class centres.

    Attributes:
        start: global label of the first row.
        weight: (rows, row size) float32; the row size is D, with K sub-centres K D, with a bias D + 1.
        momentum: (rows, row size) float32.
        extra_states: further states of the update rule, see ``ShardedClassifier.extra_states``.
        feature_centres: (rows, D) float32, those of the centre loss; None without it.
    """

    start: int
    weight: np.ndarray
    momentum: np.ndarray
    extra_states: Mapping[str, np.ndarray] = field(default_factory=dict)
    feature_centres: Optional[np.ndarray] = None


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Everything that a checkpoint holds, as one rank sees it; backbone and state are the same on all ranks."""

    identity: RunIdentity
    state: LoopState
    backbone: Mapping[str, np.ndarray]
    backbone_momentum: Mapping[str, np.ndarray]
    shard: ClassifierShard
    backbone_extra: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)


def checkpoint_root(output: PathLike) -> Path:
    """Return the folder of the versioned checkpoints."""
    return Path(output) / "checkpoints"


def shard_name(rank: int, *, momentum: bool) -> str:
    """Return the name of a shard's file inside a versioned checkpoint; it is legal on every system."""
    return f"rank_{rank}_softmax_weight{'_mom' if momentum else ''}.pkl"


def backbone_state_name(state: str) -> str:
    """Return the name of the file of an update rule's further state of the backbone."""
    return f"backbone_{state}.pdparams"


def shard_state_name(rank: int, state: str) -> str:
    """Return the name of the file of an update rule's further state of a shard."""
    return f"rank_{rank}_softmax_weight_{state}.pkl"


def feature_centres_name(rank: int) -> str:
    """Return the name of a rank's centres of the centre loss inside a versioned checkpoint."""
    return f"rank_{rank}_feature_centres.pkl"


def published_shard_name(rank: int, *, momentum: bool) -> str:
    """Return the published name of a shard, with a colon where the system allows it."""
    name = shard_name(rank, momentum=momentum)
    return name if os.name == "nt" else name.replace("_", ":", 1)


def list_checkpoints(output: PathLike) -> list[tuple[int, Path]]:
    """Return step and folder of every finished checkpoint, newest first."""
    root = checkpoint_root(output)
    found = []
    for folder in root.iterdir() if root.is_dir() else ():
        match = _STEP_FOLDER.fullmatch(folder.name)
        if match and (folder / MANIFEST).is_file():
            found.append((int(match.group(1)), folder))
    return sorted(found, reverse=True)


def save_checkpoint(output: PathLike, snapshot: Snapshot, *, keep_last: int, kept_step: Optional[int] = None) -> Path:
    """Write a checkpoint together with all ranks, make it the newest, drop old ones and return its folder.

    Args:
        output: the run's folder.
        snapshot: what to write.
        keep_last: newest checkpoints that stay.
        kept_step: step of one more that stays.

    Raises:
        CheckpointError: on all ranks, if any of them cannot write; the earlier checkpoints are untouched.
    """
    final = _folder_of(output, snapshot.state.step)
    aside = final.with_name(f".{final.name}.tmp")
    _together("prepare", final, lambda: _fresh_folder(aside), main_only=True)
    try:
        _together("write", final, lambda: _write_own_files(aside, snapshot))
        _together("finish", final, lambda: _commit(aside, final, snapshot), main_only=True)
    except CheckpointError:
        if distributed.is_main():
            shutil.rmtree(aside, ignore_errors=True)
        raise
    _together("publish", final, lambda: publish(Path(output), final), main_only=True)
    drop_old_checkpoints(output, snapshot.state.step, keep_last=keep_last, kept_step=kept_step)
    return final


def drop_old_checkpoints(output: PathLike, step: int, *, keep_last: int, kept_step: Optional[int] = None) -> None:
    """Remove all but the newest checkpoints; on rank 0, others wait.

    Args:
        output: the run's folder.
        step: of the checkpoint of the present state, which stays.
        keep_last: newest checkpoints that stay.
        kept_step: step of one more that stays.

    Raises:
        CheckpointError: on all ranks, if one cannot be removed.
    """

    def drop() -> None:
        for old, folder in list_checkpoints(output)[keep_last:]:
            if old not in (step, kept_step):
                (folder / MANIFEST).unlink()  # without it the folder counts as unfinished, should we be killed here
                shutil.rmtree(folder, ignore_errors=True)

    _together("drop what is older than", _folder_of(output, step), drop, main_only=True)


def mark_best(output: PathLike, folder: Path, *, network: str, step: int, accuracy: float) -> None:
    """Make the backbone of the checkpoint in ``folder`` the best one; on rank 0, others do nothing."""

    def link() -> None:
        with atomic_folder(Path(output) / "best") as best:
            _link_or_copy(folder / f"{network}.pdparams", best / f"{network}.pdparams")
            write_json(best / "best.json", {"step": step, "accuracy": accuracy, "network": network})

    _together("mark as best", folder, link, main_only=True)


def make_newest(output: PathLike, source: Optional[Path], *, say: Callable[[str], None]) -> None:
    """Make the folder agree with a run that goes on from ``source``; on rank 0, before the first save.

    Damaged checkpoints behind it are renamed, what killed saves left is removed, and the published names show it.
    """
    for _, folder in list_checkpoints(output):
        if folder == source or source is None:
            break
        damaged = folder.with_name(f"damaged_{folder.name}")
        shutil.rmtree(damaged, ignore_errors=True)
        os.replace(folder, damaged)
        say(f"{folder} is now {damaged}; delete it when you have had a look")
    clear_leftovers(output)
    if source is not None:
        publish(Path(output), source)


def clear_leftovers(output: PathLike) -> None:
    """Remove what killed saves left behind."""
    root = checkpoint_root(output)
    for path in list(root.iterdir()) if root.is_dir() else ():
        unfinished = _STEP_FOLDER.fullmatch(path.name) and not (path / MANIFEST).is_file()
        if unfinished or re.fullmatch(r"\.step_\d+\.(tmp|old)", path.name):
            shutil.rmtree(path, ignore_errors=True)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what a checkpoint says about itself: identity of the run, shards, and size and hash of each file.

    Raises:
        CheckpointError: it cannot be read, is damaged, or is of another format.
    """
    path = folder / MANIFEST
    try:
        manifest = read_json(path, error=CheckpointError)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    if not isinstance(manifest, dict):
        raise CheckpointError(f"{path}: cannot be read: a {type(manifest).__name__} instead of an object")
    if manifest.get("format") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: cannot be read: format {manifest.get('format')!r:.40}, this version reads {FORMAT_VERSION}"
        )
    problem = _manifest_problem(manifest)
    if problem:
        raise CheckpointError(f"{path}: cannot be read: {problem}")
    return manifest


def _manifest_problem(manifest: Mapping[str, Any]) -> str:
    """Name the first field that is missing or of a kind that we do not write; empty when there is none."""
    counts = ("step", "world_size", *(name for name, kind in RunIdentity.__annotations__.items() if kind == "int"))
    for name in counts:
        if not _is_count(manifest.get(name)):
            return f"{name} is {manifest.get(name)!r:.40}"
    if not _is_file_name(manifest.get("network")) or not isinstance(manifest.get("optimizer", ""), str):
        return "network or optimizer is no name"
    shards, files = manifest.get("shards"), manifest.get("files")
    if not isinstance(shards, list) or len(shards) != manifest["world_size"] or not all(map(_is_shard, shards)):
        return f"its shards are not those of {manifest['world_size']} ranks"
    if not isinstance(files, dict) or not all(_is_file_name(name) and _is_described(files[name]) for name in files):
        return "its list of files"
    return ""


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_file_name(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and bool(value) and Path(value).name == value


def _is_shard(value: object) -> bool:
    return isinstance(value, dict) and _is_count(value.get("start")) and _is_count(value.get("rows"))


def _is_described(value: object) -> bool:
    return isinstance(value, dict) and _is_count(value.get("bytes")) and isinstance(value.get("sha256"), str)


def publish(output: Path, folder: Path) -> None:
    """Show the checkpoint in ``folder`` under the published names and drop published shards of ranks now gone.

    Where the folder holds the network under another spelling of its name too, that file is renewed as well: scripts
    that read it shall not get old weights.
    """
    manifest = read_manifest(folder)
    network = f"{manifest['network']}.pdparams"
    spellings = [path.name for path in output.glob("*.pdparams") if is_same_network(path.stem, manifest["network"])]
    shown = {network: [network, *(name for name in spellings if name != network)]}
    for rank in range(manifest["world_size"]):
        for momentum in (False, True):
            shown[shard_name(rank, momentum=momentum)] = [published_shard_name(rank, momentum=momentum)]
    for source, names in shown.items():
        for name in names:
            _link_or_copy(folder / source, output / name)
    current = {name for names in shown.values() for name in names}
    for path in output.iterdir():
        if PUBLISHED_SHARD.fullmatch(path.name) and path.name not in current:
            path.unlink()


def _folder_of(output: PathLike, step: int) -> Path:
    return checkpoint_root(output) / f"step_{step:08d}"


def _together(verb: str, final: Path, action: Callable[[], Any], *, main_only: bool = False) -> None:
    """Run ``action`` on all ranks, or on rank 0, wait for the slowest and raise on all if it failed on one."""
    problem = ""
    if distributed.is_main() or not main_only:
        try:
            action()
        except OSError as error:
            problem = f"rank {distributed.rank()}: {error.strerror or error}" + (
                f": {error.filename}" if error.filename else ""
            )
    distributed.barrier()
    problems = [text for text in distributed.gather_json(problem) if text]
    if problems:
        raise CheckpointError(
            f"cannot {verb} the checkpoint {final} ({'; '.join(problems)}); earlier checkpoints are intact: "
            "make room or choose another --output, then continue with --resume 1"
        )


def _fresh_folder(aside: Path) -> None:
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)


def _write_own_files(aside: Path, snapshot: Snapshot) -> None:
    rank = distributed.rank()
    contents: dict[str, bytes] = {}
    if distributed.is_main():
        contents[f"{snapshot.identity.network}.pdparams"] = dump_state_dict(snapshot.backbone)
        contents[BACKBONE_MOMENTUM] = dump_state_dict(snapshot.backbone_momentum)
        for state, arrays in snapshot.backbone_extra.items():
            contents[backbone_state_name(state)] = dump_state_dict(arrays)
        contents[STATE] = json.dumps(snapshot.state.to_json(), indent=2, allow_nan=False).encode()
    contents[shard_name(rank, momentum=False)] = safe_pickle.dump_array(snapshot.shard.weight)
    contents[shard_name(rank, momentum=True)] = safe_pickle.dump_array(snapshot.shard.momentum)
    for state, array in snapshot.shard.extra_states.items():
        contents[shard_state_name(rank, state)] = safe_pickle.dump_array(array)
    if snapshot.shard.feature_centres is not None:
        contents[feature_centres_name(rank)] = safe_pickle.dump_array(snapshot.shard.feature_centres)
    described = {}
    for name, content in contents.items():
        write_bytes(aside / name, content)
        described[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    shard = {"start": snapshot.shard.start, "rows": len(snapshot.shard.weight)}
    write_json(aside / f"rank_{rank}.json", {"files": described, "shard": shard})


def _commit(aside: Path, final: Path, snapshot: Snapshot) -> None:
    """Merge the ranks' descriptions into the manifest and give the folder its name."""
    files: dict[str, Any] = {}
    shards = []
    for rank in range(distributed.world_size()):
        part = aside / f"rank_{rank}.json"
        description = json.loads(part.read_text(encoding="utf-8"))
        files.update(description["files"])
        shards.append(description["shard"])
        part.unlink()
    manifest = {
        "format": FORMAT_VERSION,
        "step": snapshot.state.step,
        "world_size": distributed.world_size(),
        **vars(snapshot.identity),
        "shards": shards,
        "files": files,
    }
    write_json(aside / MANIFEST, manifest)
    retired = final.parent / f".{final.name}.old"
    if final.exists():  # an unsound checkpoint of the same step, or the same state saved twice
        shutil.rmtree(retired, ignore_errors=True)
        os.replace(final, retired)
    os.replace(aside, final)
    shutil.rmtree(retired, ignore_errors=True)
    _sync_folder(final.parent)


def _link_or_copy(source: Path, target: Path) -> None:
    """Replace ``target`` by a hard link to ``source``, or by a copy where links are not possible."""
    temporary = target.parent / f".{target.name}.tmp"
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    os.replace(temporary, target)
    temporary.unlink(missing_ok=True)  # two links to one file: by POSIX the renaming does nothing, and leaves both


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
