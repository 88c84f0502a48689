"""Putting a run together from its configuration: data, network, classifier, optimizer, and what a checkpoint holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

import numpy as np
import paddle
from paddle import nn

from arcface_paddle import distributed
from arcface_paddle.backbones import build_backbone
from arcface_paddle.backbones.cpu_speed import use_cpu_layers
from arcface_paddle.backbones.normalization import freeze_batch_norm, use_synchronised_batch_norm
from arcface_paddle.backbones.weights import load_arrays
from arcface_paddle.data import BatchLoader, FaceDataset, LoaderOptions, VerificationSet, open_dataset
from arcface_paddle.data.loader import default_workers
from arcface_paddle.errors import CheckpointError, ConfigError
from arcface_paddle.heads.margins import Margin, build_margin
from arcface_paddle.heads.sharded_classifier import ClassifierSettings, ShardedClassifier
from arcface_paddle.training.checkpoint import ClassifierShard, RunIdentity, Snapshot
from arcface_paddle.training.config import TrainConfig
from arcface_paddle.training.optimizer import LossScaler, MomentumSgd, RunningStatistics
from arcface_paddle.training.pretrained import load_pretrained
from arcface_paddle.training.restore import Restored, RowRange, restore
from arcface_paddle.training.schedule import Schedule, build_schedule
from arcface_paddle.training.state import LoopState, seed_step
from arcface_paddle.training.validation import open_verification_sets

Say = Callable[[str], None]


@dataclass
class Run:
    """Everything a run is made of; ``state`` and what the objects hold are all that changes while it goes on.

    Attributes:
        config: the settings.
        identity: what a checkpoint must agree with.
        schedule: learning rate by step.
        loader: batches of this rank.
        sets: verification sets.
        network: the backbone in training mode.
        margin: of the chosen loss; the classifier has another one during the softmax warm start.
        classifier: this rank's class centres.
        optimizer: of the backbone.
        scaler: loss scale.
        statistics: of BatchNorm.
        state: where the loop stands.
    """

    config: TrainConfig
    identity: RunIdentity
    schedule: Schedule
    loader: BatchLoader
    sets: list[VerificationSet]
    network: nn.Layer
    margin: Margin
    classifier: ShardedClassifier
    optimizer: MomentumSgd
    scaler: LossScaler
    statistics: RunningStatistics
    state: LoopState


def build_run(config: TrainConfig, *, say: Say, dataset: Optional[FaceDataset] = None) -> Run:
    """Open the data and build network, classifier and optimizer.

    Args:
        config: the settings.
        say: gets what the user should know.
        dataset: instead of the one that ``config`` names.

    Raises:
        ConfigError: settings that do not fit together or the data.
        DataError: the data cannot be read.
        CheckpointError: ``--pretrained`` does not fit.
    """
    seed_step(config.run.seed, 0, 0)  # the same first weights on all ranks
    margin = build_margin(
        config.classifier.loss,
        scale=config.classifier.scale,
        margin=config.classifier.margin,
        combined=_three_margins(config.classifier.combined),
    )
    network = _build_network(config, say)
    dataset = dataset or _open_data(config)
    global_batch, batch_size = batch_sizes(config, distributed.world_size())
    loader = BatchLoader(
        dataset,
        _loader_options(config, batch_size),
        rank=distributed.rank(),
        world_size=distributed.world_size(),
    )
    if global_batch > len(dataset):
        raise ConfigError(
            f"a step takes {global_batch} images (batch_size {batch_size} x {distributed.world_size()} processes x "
            f"accumulation {config.optimizer.accumulation}), the data has {len(dataset)}: make batch_size smaller"
        )
    return Run(
        config=config,
        identity=_identity(config, dataset, global_batch),
        schedule=build_schedule(
            config.schedule,
            lr=config.optimizer.lr,
            global_batch=global_batch,
            steps_per_epoch=len(dataset) // global_batch,
        ),
        loader=loader,
        sets=open_verification_sets(config.data.data_dir, config.data.val_targets, say=say),
        network=network,
        margin=margin,
        classifier=ShardedClassifier(_classifier_settings(config, dataset.num_classes), margin),
        optimizer=MomentumSgd(
            network,
            momentum=config.optimizer.momentum,
            weight_decay=config.optimizer.weight_decay,
            decay_norm=config.optimizer.decay_norm,
        ),
        scaler=LossScaler(config.optimizer.loss_scale, enabled=config.optimizer.fp16),
        statistics=RunningStatistics(network, average=config.network.batch_norm == "local"),
        state=LoopState(seed=config.run.seed),
    )


def batch_sizes(config: TrainConfig, world_size: int) -> tuple[int, int]:
    """Return the images per step and the images per process and pass.

    Raises:
        ConfigError: ``global_batch_size`` cannot be divided evenly.
    """
    passes = world_size * config.optimizer.accumulation
    wanted = config.data.global_batch_size
    if wanted is None:
        return config.data.batch_size * passes, config.data.batch_size
    if wanted % passes:
        raise ConfigError(
            f"global_batch_size {wanted} cannot be divided over {world_size} processes x accumulation "
            f"{config.optimizer.accumulation}; it must be a multiple of {passes}"
        )
    return wanted, wanted // passes


def resume(run: Run, *, say: Say) -> Optional[Path]:
    """Continue from the newest sound checkpoint in the output folder; an empty folder begins a new run.

    Returns:
        The versioned checkpoint, None if there was none.

    Raises:
        CheckpointError: nothing sound to continue from, or it belongs to another run.
    """
    rows = RowRange(run.classifier.start, run.classifier.end)
    restored = restore(run.config.run.output, run.identity, rows, say=say)
    if restored is None:
        say(f"nothing to resume from in {run.config.run.output}; starting at the beginning")
        return None
    load_arrays(run.network, restored.backbone, name=str(restored.source))
    _load_classifier(run, restored)
    _load_momentum(run, restored)
    if restored.state is not None:
        run.state = restored.state
        run.scaler.load_state(restored.state.scaler)
        run.margin.load_state(restored.state.margin)
        if run.state.seed != run.config.run.seed:
            raise CheckpointError(
                f"{restored.source} was made with seed {run.state.seed}, this run has {run.config.run.seed}; "
                f"continue with --seed {run.state.seed}"
            )
    say(f"resumed from {restored.source} at step {run.state.step}, epoch {run.state.epoch}, image {run.state.sample}")
    if restored.missing:
        say(f"not restored, because the folder has only the published files: {'; '.join(restored.missing)}")
    return restored.source if restored.state is not None else None


def take_snapshot(run: Run) -> Snapshot:
    """Copy everything that a checkpoint holds to the host."""
    run.state.scaler = run.scaler.state()
    run.state.margin = run.margin.state()
    return Snapshot(
        identity=run.identity,
        state=run.state,
        backbone={name: np.asarray(value.numpy()) for name, value in run.network.state_dict().items()},
        backbone_momentum=run.optimizer.velocities(),
        shard=ClassifierShard(run.classifier.start, run.classifier.weight(), run.classifier.velocity()),
    )


def _load_classifier(run: Run, restored: Restored) -> None:
    if restored.shard is not None:
        run.classifier.load_rows(restored.shard.start, restored.shard.weight, restored.shard.momentum)


def _load_momentum(run: Run, restored: Restored) -> None:
    if restored.backbone_momentum is None:
        return
    try:
        run.optimizer.load_velocities(restored.backbone_momentum)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{restored.source}: the momentum does not fit the network: {error}") from None


def _build_network(config: TrainConfig, say: Say) -> nn.Layer:
    settings = config.network
    network = build_backbone(settings.network, embedding_size=settings.embedding_size, width=settings.width)
    if settings.pretrained:
        say(load_pretrained(network, settings.pretrained))
    if settings.batch_norm == "sync":
        network = use_synchronised_batch_norm(network)
    elif settings.batch_norm == "frozen":
        network = freeze_batch_norm(network)
    if paddle.get_device() == "cpu":
        use_cpu_layers(network)
    distributed.broadcast_parameters(list(network.state_dict().values()))
    network.train()
    return network


def _open_data(config: TrainConfig) -> FaceDataset:
    data = config.data
    kind = data.data_kind
    if kind == "auto" and not data.is_bin and config.label_path.is_file():
        kind = "image"
    return open_dataset(data.data_dir, label_file=data.label_file, kind=kind, num_classes=data.num_classes)


def _loader_options(config: TrainConfig, batch_size: int) -> LoaderOptions:
    data = config.data
    kind = data.worker_kind
    if kind == "auto":
        kind = "process" if paddle.get_device().startswith("gpu") else "thread"
    workers = data.num_workers
    if workers is None:
        workers = default_workers(ranks_here=distributed.launched_local_size())
    return LoaderOptions(batch_size=batch_size, workers=workers, worker_kind=kind, seed=config.run.seed)


def _identity(config: TrainConfig, dataset: FaceDataset, global_batch: int) -> RunIdentity:
    return RunIdentity(
        network=config.network.network,
        embedding_size=config.network.embedding_size,
        num_classes=dataset.num_classes,
        global_batch=global_batch,
        epoch_images=len(dataset),
    )


def _classifier_settings(config: TrainConfig, num_classes: int) -> ClassifierSettings:
    on_gpu = paddle.get_device().startswith("gpu")
    return ClassifierSettings(
        num_classes=num_classes,
        embedding_size=config.network.embedding_size,
        sample_rate=config.classifier.sample_rate,
        momentum=config.optimizer.momentum,
        weight_decay=config.optimizer.weight_decay,
        matmul_dtype=config.optimizer.precision if on_gpu else "float32",
        seed=config.run.seed,
    )


def _three_margins(values: tuple[float, ...]) -> Optional[tuple[float, float, float]]:
    if not values:
        return None
    m1, m2, m3 = values
    return m1, m2, m3
