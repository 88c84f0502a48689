"""Programs that show the figures of a run: VisualDL, TensorBoard and Weights & Biases, each only where it is installed.

Weights & Biases writes into the log folder and sends nothing (``wandb sync`` does that later), unless the user has set
``WANDB_MODE`` and so decided otherwise.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Mapping, Optional, Protocol, Sequence

from arcface_paddle.errors import ConfigError, MissingDependencyError
from arcface_paddle.files import write_text

WANDB_RUN_FILE = "wandb_run.txt"
"""File of the output folder with the name of the run at Weights & Biases, under which a resumed run goes on."""

_WANDB_STEP = "global_step"
_VISUALDL_FOLDERS = "visualdl.utils.dir"  # the module that makes its folders when it is imported


@dataclass(frozen=True)
class RunFacts:
    """What a logger wants to know of a run.

    Attributes:
        output: folder of the run.
        first_step: steps that are finished; figures of later ones are about to be made again.
        settings: every option with its value.
    """

    output: Path
    first_step: int
    settings: Optional[Mapping[str, Any]] = None


class ScalarWriter(Protocol):
    """Takes the figures of a run."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write finite figures of a step."""

    def close(self) -> None:
        """Finish the log."""


Opener = Callable[[RunFacts], ScalarWriter]


def find_loggers(names: Sequence[str], logdir: str) -> list[Opener]:
    """Return what opens the logs with these names in ``logdir``; nothing is created yet.

    Raises:
        MissingDependencyError: a package is not installed.
    """
    return [_FINDERS[name](logdir) for name in names]


class _VisualDl:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(tag=name, value=value, step=step)

    def close(self) -> None:
        self._writer.close()


class _TensorBoard:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()  # it would wait for two minutes, and a killed run would lose them

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    def __init__(self, run: Any) -> None:
        self._run = run
        # Its own counter refuses steps below the latest one, which a run that goes on from a checkpoint does again.
        run.define_metric("*", step_metric=_WANDB_STEP)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({**values, _WANDB_STEP: step})

    def close(self) -> None:
        self._run.finish()


def _find_visualdl(logdir: str) -> Opener:
    _keep_visualdl_out_of_home()
    try:
        from visualdl import LogWriter
    except ImportError:
        raise MissingDependencyError(
            "visualdl", extra="train", purpose=f"the VisualDL log in {logdir!r} (--logdir '' does without)"
        ) from None
    return lambda _facts: _VisualDl(LogWriter(logdir=logdir))


def _keep_visualdl_out_of_home() -> None:
    """Let importing VisualDL write nothing to ``~/.visualdl``, which its server needs and its log files do not.

    Where the home folder may not be written, the import would fail.
    """
    package = importlib.util.find_spec("visualdl")
    if _VISUALDL_FOLDERS in sys.modules or package is None or package.origin is None:
        return
    file = Path(package.origin).parent / "utils" / "dir.py"
    spec = importlib.util.spec_from_file_location(_VISUALDL_FOLDERS, file)
    if not file.is_file() or spec is None or spec.loader is None:  # a release that keeps it elsewhere
        return
    folders = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(folders)
    vars(folders)["init_vdl_config"] = lambda: None
    sys.modules[_VISUALDL_FOLDERS] = folders


def _find_tensorboard(logdir: str) -> Opener:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise MissingDependencyError(
            "tensorboardX", extra="tensorboard", purpose=f"the TensorBoard log in {logdir!r} (--logger)"
        ) from None

    def open_log(facts: RunFacts) -> ScalarWriter:
        writer = SummaryWriter(logdir=logdir, purge_step=facts.first_step + 1 if facts.first_step else None)
        if facts.settings:
            rows = [f"| {name} | {value} |" for name, value in facts.settings.items()]
            writer.add_text("settings", "\n".join(["| option | value |", "|---|---|", *rows]), facts.first_step)
        return _TensorBoard(writer)

    return open_log


def _find_wandb(logdir: str) -> Opener:
    # Without these the package would send the figures away, and its own errors to its makers.
    os.environ.setdefault("WANDB_MODE", "offline")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        import wandb
    except ImportError:
        raise MissingDependencyError(
            "wandb", extra="wandb", purpose=f"the log for Weights & Biases in {logdir!r} (--logger)"
        ) from None

    def open_log(facts: RunFacts) -> ScalarWriter:
        Path(logdir).mkdir(parents=True, exist_ok=True)
        try:
            quiet = wandb.Settings(
                console="off",  # the terminal and training.log have the lines already
                silent=True,
                disable_git=True,
                save_code=False,
                x_disable_meta=True,
                x_disable_stats=True,
            )
            run = wandb.init(
                project=os.environ.get("WANDB_PROJECT") or "arcface-paddle",
                name=os.environ.get("WANDB_NAME") or facts.output.resolve().name,
                dir=logdir,
                id=_wandb_run(facts.output),
                resume="allow",
                config=dict(facts.settings or {}),
                settings=quiet,
            )
        except (wandb.Error, ValueError) as error:  # no account, no network; a wrong word in a variable
            raise ConfigError(f"the log for Weights & Biases cannot begin: {' '.join(str(error).split())}") from None
        return _Wandb(run)

    return open_log


def _wandb_run(output: Path) -> str:
    """Return the name under which the run of this folder goes on, a new one where there is none."""
    if os.environ.get("WANDB_RUN_ID"):
        return os.environ["WANDB_RUN_ID"]
    path = output / WANDB_RUN_FILE
    if not path.is_file():
        write_text(path, f"{uuid.uuid4().hex[:12]}\n")
    return path.read_text(encoding="utf-8").strip()


_FINDERS: dict[str, Callable[[str], Opener]] = {
    "visualdl": _find_visualdl,
    "tensorboard": _find_tensorboard,
    "wandb": _find_wandb,
}
