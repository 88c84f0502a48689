"""Finding verification sets by the names that users give them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from arcface_paddle.data.carray_set import is_carray_set
from arcface_paddle.data.verification_set import VerificationSet
from arcface_paddle.data.verification_sources import open_verification_set, path_of_set, sets_in
from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.files import PathLike

ALL = "all"
NONE = "none"


@dataclass(frozen=True, eq=False)
class FoundSets:
    """Verification sets by name, in the order asked for, and the files that are not there."""

    sets: dict[str, VerificationSet]
    missing: tuple[Path, ...]


def find_sets(data_dir: PathLike, targets: str) -> FoundSets:
    """Read the sets that ``targets`` names.

    Args:
        data_dir: folder of the sets.
        targets: names of sets in it or paths, of ``.bin`` files or bcolz folders, by commas; ``all`` for all in it.

    Raises:
        ConfigError: ``none``, which leaves nothing to evaluate.
        DataError: a set is damaged, two have one name, or not one was found.
    """
    if targets.strip().lower() == NONE:
        raise ConfigError(
            f"--val_targets {targets.strip()}: nothing to evaluate; name sets of --data_dir such as lfw, or '{ALL}'"
        )
    sets: dict[str, VerificationSet] = {}
    missing = []
    for path in _paths(Path(data_dir), targets):
        if not path.is_file() and not is_carray_set(path):
            missing.append(path)
            continue
        found = open_verification_set(path)
        if found.name in sets:
            raise DataError(f"{path}: a second set called {found.name}; rename one of the files")
        sets[found.name] = found
    if not sets:
        raise DataError(
            f"no verification set found: --val_targets {targets} --data_dir {data_dir}; expected files such as "
            f"{Path(data_dir) / 'lfw.bin'} (make one from your own pairs with 'arcface-paddle data')"
        )
    return FoundSets(sets, tuple(missing))


def _paths(data_dir: Path, targets: str) -> list[Path]:
    if targets == ALL:
        return sets_in(data_dir)
    names = [name.strip() for name in targets.split(",") if name.strip()]
    return [_path(data_dir, name) for name in names]


def _path(data_dir: Path, name: str) -> Path:
    if name.endswith(".bin"):
        return Path(name) if Path(name).is_file() else data_dir / name
    return Path(name) if is_carray_set(name) else path_of_set(data_dir, name)
