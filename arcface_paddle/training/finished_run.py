"""Reading a run back for what comes after training: its settings, its network and its class centres."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Mapping

import numpy as np
from paddle import nn

from arcface_paddle import safe_pickle
from arcface_paddle.backbones import build_backbone
from arcface_paddle.backbones.weights import load_arrays
from arcface_paddle.errors import CheckpointError, ConfigError
from arcface_paddle.evaluation.embedder import Embedder, centre_cropped, network_embedder
from arcface_paddle.files import PathLike, write_bytes, write_text
from arcface_paddle.training.checkpoint import RunIdentity, list_checkpoints, published_shard_name, read_manifest
from arcface_paddle.training.config import (
    CONFIG_FILE,
    WITHOUT_COSINES,
    TrainConfig,
    config_from,
    config_text,
    load_config,
)
from arcface_paddle.training.restore import RowRange, restore
from arcface_paddle.weight_files import dump_state_dict


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """What the newest sound checkpoint of a run holds.

    Attributes:
        checkpoint: its folder.
        config: the run's settings.
        identity: network, embedding size and number of classes.
        backbone: state_dict of the network.
        centres: (classes, K, D) float32, the sub-centres of every class, not normalised.
    """

    checkpoint: Path
    config: TrainConfig
    identity: RunIdentity
    backbone: Mapping[str, np.ndarray]
    centres: np.ndarray

    def network(self) -> nn.Layer:
        """Build the network, in evaluation mode."""
        width = self.config.network.width or 1.0
        network = build_backbone(self.identity.network, embedding_size=self.identity.embedding_size, width=width)
        load_arrays(network, self.backbone, name=str(self.checkpoint))
        network.eval()
        return network

    def embedder(self) -> Embedder:
        """Return the network as an embedder that sees crops as the training has shown them to it."""
        embedder = network_embedder(self.network(), name=self.identity.network, description=str(self.checkpoint))
        return centre_cropped(embedder) if self.config.data.ccrop else embedder


def read_finished_run(output: PathLike, *, say: Callable[[str], None]) -> FinishedRun:
    """Read the newest sound checkpoint of a run whose classifier has class centres.

    Args:
        output: the run's folder.
        say: gets what the user should know, such as a damaged checkpoint that is passed over.

    Raises:
        CheckpointError: no checkpoint in the folder, or none that is sound.
        ConfigError: the settings cannot be read, or the run's loss has no centres.
    """
    checkpoints = list_checkpoints(output)
    if not checkpoints:
        raise CheckpointError(f"{Path(output)}: no checkpoint; name the --output of a run")
    config = load_config(Path(output) / CONFIG_FILE)
    if config.classifier.loss in WITHOUT_COSINES:
        raise ConfigError(f"{Path(output)} was trained with {config.classifier.loss}, which has no class centres")
    if config.distillation.is_without_classes:
        raise ConfigError(
            f"{Path(output)} was taught by {config.distillation.teacher} without labels: no class centres"
        )
    identity = _identity_of(checkpoints[0][1])
    width = config.classifier.subcentres * identity.embedding_size
    restored = restore(output, identity, RowRange(0, identity.num_classes, width=width), say=say)
    assert restored is not None and restored.shard is not None, "there is a versioned checkpoint"
    return FinishedRun(
        checkpoint=restored.source,
        config=config,
        identity=identity,
        backbone=restored.backbone,
        centres=restored.shard.weight.reshape(identity.num_classes, -1, identity.embedding_size),
    )


def write_start(folder: PathLike, run: FinishedRun, *, centres: np.ndarray, label_file: PathLike) -> Path:
    """Write a folder from which training goes on with one centre a class, and return its configuration.

    It holds the published files, network and centres; ``train.py --config FOLDER/config.yaml`` resumes from them, at
    step 0 and without momentum.

    Args:
        folder: new or empty.
        run: the network comes from it, and the settings.
        centres: (classes, D) float32, in the order of the labels of ``label_file``.
        label_file: what to train on.

    Raises:
        ConfigError: the folder is not empty.
        OSError: it cannot be written.
    """
    target = Path(folder)
    check_start(target)
    changed = {"subcentres": 1, "output": str(target), "resume": "1", "label_file": str(Path(label_file).absolute())}
    # The number of classes is that of the labels now; data named from here must be found from anywhere.
    changed.update(num_classes=None, data_dir=str(Path(run.config.data.data_dir).absolute()))
    config = config_from(changed, base=run.config)
    target.mkdir(parents=True, exist_ok=True)
    write_bytes(target / f"{run.identity.network}.pdparams", dump_state_dict(run.backbone))
    content = safe_pickle.dump_array(np.ascontiguousarray(centres, dtype=np.float32))
    write_bytes(target / published_shard_name(0, momentum=False), content)
    write_text(target / CONFIG_FILE, config_text(config))
    return target / CONFIG_FILE


def check_start(folder: PathLike) -> None:
    """Refuse a folder that holds something. Raises ``ConfigError``."""
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target}: is not empty; name a new folder, nothing is overwritten")


def _identity_of(checkpoint: Path) -> RunIdentity:
    """Return whose checkpoint this is.

    Raises:
        CheckpointError: the manifest is damaged.
    """
    manifest = read_manifest(checkpoint)
    names = [field.name for field in dataclasses.fields(RunIdentity)]
    return RunIdentity(**{name: manifest[name] for name in names if name in manifest})
