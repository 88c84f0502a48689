"""A new run in a folder that holds an earlier one: all that the earlier run wrote is set aside as a whole."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Iterator, Optional

from arcface_paddle.backbones import canonical_name
from arcface_paddle.errors import ConfigError
from arcface_paddle.files import PathLike
from arcface_paddle.training.checkpoint import PUBLISHED_SHARD, checkpoint_root, list_checkpoints
from arcface_paddle.training.config import CONFIG_FILE
from arcface_paddle.training.curves import CURVES_FILE
from arcface_paddle.training.loggers import WANDB_RUN_FILE
from arcface_paddle.training.profile import PROFILE_FOLDER, TABLE_FILE
from arcface_paddle.training.run_log import LOG_FILE, METRICS_FILE

BEST_FOLDER = "best"


def set_aside_earlier_run(
    output: PathLike, *, kept: Optional[Path] = None, target: Optional[Path] = None
) -> Optional[Path]:
    """Move everything that an earlier run wrote into ``{output}/earlier_YYYYmmdd_HHMMSS``; other files stay.

    Every move is a rename. The checkpoints go last: whoever is killed in between can still resume from them, and the
    next run sets the rest aside.

    Args:
        output: the folder of the run.
        kept: a checkpoint that stays.
        target: folder inside ``output`` to move into, instead of a new one.

    Returns:
        The folder that they are in now, None if the folder holds no earlier run.

    Raises:
        ConfigError: the folder cannot be changed.
    """
    folder = Path(output)
    parts = list(_parts_of_a_run(folder) if kept is None else _parts_but(folder, kept))
    if not parts:
        return None
    config = folder / CONFIG_FILE  # alone it is no run: a user may have put it there to start one
    parts[:0] = [config] if config.is_file() else []
    try:
        target = target or _new_folder(folder)
        for part in parts:
            place = target / part.relative_to(folder)
            place.parent.mkdir(exist_ok=True)
            os.replace(part, place)
    except OSError as error:
        raise ConfigError(
            f"cannot set the earlier run in {folder} aside: {error.strerror or error}: {error.filename}; choose "
            "another --output, or go on with --resume 1"
        ) from None
    return target


def set_aside_checkpoint(output: PathLike, step: int) -> Optional[Path]:
    """Move the checkpoint of a step that is about to be written anew; return the folder it is in, None without one.

    Raises:
        ConfigError: the folder cannot be changed.
    """
    folder = Path(output)
    found = [path for number, path in list_checkpoints(folder) if number == step]
    if not found:
        return None
    try:
        target = _new_folder(folder)
        (target / found[0].parent.name).mkdir()
        os.replace(found[0], target / found[0].relative_to(folder))
    except OSError as error:
        raise ConfigError(f"cannot set {found[0]} aside: {error.strerror or error}: {error.filename}") from None
    return target


def _parts_but(folder: Path, kept: Path) -> Iterator[Path]:
    """Give the parts of a run, the checkpoints one by one without ``kept``, the latest last."""
    root = checkpoint_root(folder)
    for path in _parts_of_a_run(folder):
        if path != root:
            yield path
    yield from (path for path in sorted(root.iterdir()) if "step_" in path.name and path.name != kept.name)


def _parts_of_a_run(folder: Path) -> Iterator[Path]:
    """Give what only a run writes, the checkpoints last."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_file() and _is_file_of_a_run(path):
            yield path
    if (folder / BEST_FOLDER / "best.json").is_file():
        yield folder / BEST_FOLDER
    if (folder / PROFILE_FOLDER / TABLE_FILE).is_file():
        yield folder / PROFILE_FOLDER
    root = checkpoint_root(folder)
    if root.is_dir() and any("step_" in path.name for path in root.iterdir()):
        yield root


def _is_file_of_a_run(path: Path) -> bool:
    if path.suffix == ".pdparams":
        return _is_network(path.stem)
    named = path.name in (LOG_FILE, METRICS_FILE, CURVES_FILE, WANDB_RUN_FILE)
    return named or PUBLISHED_SHARD.fullmatch(path.name) is not None


def _is_network(name: str) -> bool:
    try:
        canonical_name(name)
    except ConfigError:
        return False
    return True


def _new_folder(output: Path) -> Path:
    """Create a folder named by the time; two runs in one second get two folders."""
    name = f"earlier_{time.strftime('%Y%m%d_%H%M%S')}"
    number = 1
    while True:
        target = output / (name if number == 1 else f"{name}_{number}")
        try:
            target.mkdir()
        except FileExistsError:
            number += 1
            continue
        return target
