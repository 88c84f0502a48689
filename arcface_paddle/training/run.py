"""Putting a run together from its configuration: data, network, classifier, optimizer, and what a checkpoint holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional, Union

import numpy as np
from paddle import nn

from arcface_paddle import devices, distributed
from arcface_paddle.backbones.weights import load_arrays
from arcface_paddle.data import BatchLoader, FaceDataset, LoaderOptions, VerificationSet, open_dataset
from arcface_paddle.data.augment_settings import parse_steps
from arcface_paddle.data.data_settings import default_workers
from arcface_paddle.data.difficulty import read_ladder
from arcface_paddle.data.unlabelled import open_unlabelled
from arcface_paddle.errors import CheckpointError, ConfigError
from arcface_paddle.heads.margins import Margin, build_margin
from arcface_paddle.heads.no_classifier import NoClassifier
from arcface_paddle.heads.sharded_classifier import ClassifierSettings, ShardedClassifier
from arcface_paddle.heads.update_rules import UpdateRule
from arcface_paddle.training.checkpoint import ClassifierShard, RunIdentity, Snapshot
from arcface_paddle.training.class_check import check_classes
from arcface_paddle.training.config import RESUME_AUTO, ClassifierConfig, OptimizerConfig, TrainConfig, config_from
from arcface_paddle.training.curriculum import Curriculum, parse_ramps
from arcface_paddle.training.exchange import GradientExchange, build_exchange
from arcface_paddle.training.network import NetworkChoice, build_network, choose_network, starts_trained
from arcface_paddle.training.optimizer import (
    WEIGHT_ALIGNMENT,
    DecayCoefficient,
    FlatOptimizer,
    LossScaler,
    RunningStatistics,
)
from arcface_paddle.training.override import Changes, is_due, parse_override
from arcface_paddle.training.pictures import StreamUpload, Upload, pixels_of_loader
from arcface_paddle.training.processor import arithmetic_name, open_kernels, say_other_arithmetic
from arcface_paddle.training.profile import PROFILE_FOLDER, NoProfile, StepProfile
from arcface_paddle.training.restore import Restored, RowRange, restore
from arcface_paddle.training.schedule import Schedule, build_schedule
from arcface_paddle.training.state import LoopState, seed_step
from arcface_paddle.training.teacher import Teacher, TeacherModel, open_teacher, refuse_other_size
from arcface_paddle.training.validation import open_verification_sets

Say = Callable[[str], None]
_ROW_MULTIPLE = 8  # of class centres in a product: what tensor cores take without a remainder in 16 bits


@dataclass
class Run:
    """Everything a run is made of; ``state`` and what the objects hold are all that changes while it goes on.

    Attributes:
        config: the settings, with the network's filled in where they were left open.
        identity: what a checkpoint must agree with.
        schedule: the learning rate of every step.
        loader: gives the batches of this rank.
        sets: the verification sets.
        network: the backbone in training mode.
        margin: the margin of the chosen loss; during the softmax warm start the classifier uses another one.
        classifier: this rank's class centres.
        optimizer: updates the backbone; the classifier updates itself.
        exchange: sums the gradient of the backbone over the ranks.
        scaler: the loss scale of float16.
        decay: the factor on the weight decay.
        statistics: the running statistics of BatchNorm.
        state: where the loop stands.
        profile: measures the phases of a step, or does nothing.
        upload: brings pictures to the device.
        curriculum: what grows with the step.
        starts_trained: whether the backbone starts from the weights of a face recogniser.
        teacher: whose embeddings are learnt; None for a run that learns from labels alone.
    """

    config: TrainConfig
    identity: RunIdentity
    schedule: Schedule
    loader: BatchLoader
    sets: list[VerificationSet]
    network: nn.Layer
    margin: Margin
    classifier: Union[ShardedClassifier, NoClassifier]
    optimizer: FlatOptimizer
    exchange: GradientExchange
    scaler: LossScaler
    decay: DecayCoefficient
    statistics: RunningStatistics
    state: LoopState
    profile: NoProfile
    upload: Upload
    curriculum: Curriculum
    starts_trained: bool = False
    teacher: Optional[Teacher] = None


def build_run(config: TrainConfig, *, say: Say, dataset: Optional[FaceDataset] = None) -> Run:
    """Open the data and build network, classifier and optimizer.

    Args:
        config: the settings.
        say: gets what the user should know.
        dataset: instead of the one that ``config`` names.

    Raises:
        ConfigError: settings that do not fit together, the data or the device.
        DataError: the data cannot be read.
        CheckpointError, ModelFileError: ``--pretrained`` does not fit or cannot be read.
    """
    devices.require_precision(config.optimizer.precision)
    if config.run.cudnn_search:
        devices.search_convolutions()
    model = _teacher_model(config)
    config = _with_size_of(model, config)
    seed_step(config.run.seed, 0, 0)  # the same first weights on all ranks
    margin = margin_of(config.classifier)
    choice = choose_network(config.network)
    config = choice.written_into(config)
    if model is not None:
        refuse_other_size(model, choice.embedding_size, config.distillation)
    kernels = open_kernels(config, say=say)
    network = build_network(
        choice, batch_norm=config.network.batch_norm, say=say, mode=config.run.mode, kernels=kernels
    )
    dataset = dataset or open_training_data(config)
    _say_facts(config, dataset, say=say)
    sets = open_verification_sets(config.data.data_dir, config.data.val_targets, say=say)
    _refuse_patience_without_sets(config, sets)
    global_batch, batch_size = batch_sizes(config, distributed.world_size())
    _refuse_large_batch(config, global_batch, images=len(dataset))
    schedule = build_schedule(
        config.schedule, lr=config.optimizer.lr, global_batch=global_batch, steps_per_epoch=len(dataset) // global_batch
    )
    curriculum = Curriculum(parse_ramps(config.schedule.curriculum), schedule.total_steps)
    if curriculum.names:
        say(f"curriculum: {curriculum.words()}")
    loader = BatchLoader(
        dataset,
        _loader_options(config, batch_size),
        rank=distributed.rank(),
        world_size=distributed.world_size(),
        ladder=read_ladder(config.data.data_dir, dataset) if "difficulty" in curriculum.names else None,
    )
    optimizer = FlatOptimizer(
        network,
        _update_rule(config.optimizer),
        weight_decay=config.optimizer.weight_decay,
        decay_norm=config.optimizer.decays_norm,
        alignment=_alignment(config.optimizer),
        pull_to_start=config.finetuning.l2_to_start,
    )
    return Run(
        config=config,
        identity=_identity(config, choice, dataset, global_batch),
        schedule=schedule,
        loader=loader,
        sets=sets,
        network=network,
        margin=margin,
        classifier=_classifier(config, choice, dataset.num_classes, margin),
        optimizer=optimizer,
        exchange=build_exchange(optimizer, bucket_mb=config.exchange.bucket_mb),
        scaler=LossScaler(config.optimizer.loss_scale, enabled=config.optimizer.fp16),
        decay=DecayCoefficient(config.optimizer.weight_decay_shrink),
        statistics=RunningStatistics(network, average=config.network.batch_norm == "local"),
        state=LoopState(seed=config.run.seed, arithmetic=arithmetic_name(kernels)),
        profile=_profile(config),
        upload=StreamUpload() if config.run.copy_stream else Upload(),
        curriculum=curriculum,
        starts_trained=starts_trained(network, choice),
        teacher=None if model is None else _teacher(model, config, loader, say=say),
    )


def _alignment(settings: OptimizerConfig) -> Optional[int]:
    """Return at which multiples weights lie in one piece of memory; None where each has memory of its own."""
    flat = devices.is_accelerator() if settings.flat_weights == "auto" else settings.flat_weights == "yes"
    return WEIGHT_ALIGNMENT if flat else None


def _teacher_model(config: TrainConfig) -> Optional[TeacherModel]:
    source = config.distillation.teacher
    return None if source is None else open_teacher(source, mirrored=config.data.flip)


def _with_size_of(model: Optional[TeacherModel], config: TrainConfig) -> TrainConfig:
    """Give the student the teacher's length of an embedding where nothing else says one and it is to be the same."""
    network = config.network
    is_open = network.embedding_size is None and network.pretrained is None
    if model is None or not is_open or not config.distillation.needs_same_size:
        return config
    return config_from({"embedding_size": model.embedding_size}, base=config)


def _teacher(model: TeacherModel, config: TrainConfig, loader: BatchLoader, *, say: Say) -> Teacher:
    teacher = Teacher(model, loader.dataset, config.distillation, workers=loader.options.workers)
    settings = config.distillation
    kept = f", {teacher.cached} embeddings in {settings.teacher_cache}" if settings.teacher_cache else ""
    say(
        f"teacher {model.name}, embedding {model.embedding_size}{kept}; embedding loss x "
        f"{settings.embedding_weight:g}, relation loss x {settings.relation_weight:g}, "
        f"contrast loss x {settings.contrast_weight:g}, "
        f"class centres x {settings.class_weight:g}"
    )
    return teacher


def _say_facts(config: TrainConfig, dataset: FaceDataset, *, say: Say) -> None:
    """Say what is remarkable about the data, and refuse those from which nothing can be learnt."""
    for remark in dataset.remarks:
        say(remark)
    _say_changes(config, say=say)
    if config.distillation.is_without_classes:
        return
    check_classes(
        dataset.labels, dataset.num_classes, name=dataset.name, say=say, subcentres=config.classifier.subcentres
    )


def _refuse_patience_without_sets(config: TrainConfig, sets: list[VerificationSet]) -> None:
    patience = config.finetuning.early_stop
    if patience is not None and not sets:
        raise ConfigError(
            f"early_stop is {patience}, but there is no verification set to judge by: put one at "
            f"{config.data.data_dir}/NAME.bin ('data pairs' makes one) and name it with --val_targets NAME"
        )


def _say_changes(config: TrainConfig, *, say: Say) -> None:
    """Say what is done to the pictures at random, with the values that a preset stands for."""
    steps = parse_steps(config.data.augment)
    if steps:
        say(f"augment: {', '.join(map(str, steps))}")


def _profile(config: TrainConfig) -> NoProfile:
    if not config.run.profile or not distributed.is_main():
        return NoProfile()
    return StepProfile(Path(config.run.output) / PROFILE_FOLDER, steps=config.run.profile)


def margin_of(settings: ClassifierConfig) -> Margin:
    """Build the margin that the settings of the classifier name.

    Raises:
        ConfigError: an unknown name, or a value that this margin does not take.
    """
    m1, m2, m3 = settings.combined or (1.0, 0.0, 0.0)
    return build_margin(
        settings.loss,
        scale=settings.scale,
        margin=settings.margin,
        combined=(m1, m2, m3) if settings.combined else None,
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


def _refuse_large_batch(config: TrainConfig, global_batch: int, *, images: int) -> None:
    if global_batch > images:
        ranks, accumulation = distributed.world_size(), config.optimizer.accumulation
        raise ConfigError(
            f"a step takes {global_batch} images (batch_size {global_batch // (ranks * accumulation)} x {ranks} "
            f"processes x accumulation {accumulation}), the data has {images}: make batch_size smaller"
        )


def find_restored(run: Run, *, say: Say) -> Optional[Restored]:
    """Read what the output folder holds to go on from, see ``restore``; None if it holds nothing.

    Raises:
        CheckpointError: nothing sound to continue from, or it belongs to another run.
    """
    classifier = run.classifier
    rows = RowRange(
        classifier.start,
        classifier.end,
        width=classifier.row_size,
        feature_centres=classifier.feature_centres is not None,
    )
    return restore(
        run.config.run.output,
        run.identity,
        rows,
        say=say,
        leaves_states=lambda state: "optimizer" in due_override(run, state),
    )


def due_override(run: Run, state: LoopState) -> Changes:
    """Return the changes of ``--override`` that this state is due: none where ``--resume auto`` has made them."""
    settings = run.config.run
    changes = parse_override(settings.override)
    return changes if is_due(changes, state, once=settings.resume == RESUME_AUTO) else {}


def continue_from(run: Run, restored: Restored, *, say: Say) -> None:
    """Bring a run to the state that was read.

    Raises:
        CheckpointError: it does not fit the network, or has another seed.
    """
    if restored.state is not None and restored.state.seed != run.config.run.seed:
        raise CheckpointError(
            f"{restored.source} was made with seed {restored.state.seed}, this run has {run.config.run.seed}; "
            f"continue with --seed {restored.state.seed}"
        )
    load_arrays(run.network, restored.backbone, name=str(restored.source))
    _load_classifier(run, restored)
    _load_momentum(run, restored)
    if restored.state is not None:
        _refuse_other_start(run, restored)
        say_other_arithmetic(restored.state.arithmetic, run.state.arithmetic, say=say)
        restored.state.arithmetic = run.state.arithmetic
        run.state = restored.state
        run.scaler.load_state(restored.state.scaler)
        run.decay.load_state(restored.state.decay)
        run.margin.load_state(restored.state.margin)
    say(f"resumed from {restored.source} at step {run.state.step}, epoch {run.state.epoch}, image {run.state.sample}")
    if restored.missing:
        why = "folder has only the published files" if restored.versioned is None else "checkpoint was made without"
        say(f"not restored, because the {why}: {'; '.join(restored.missing)}")


def _refuse_other_start(run: Run, restored: Restored) -> None:
    """Refuse to pull the weights to others than before.

    Raises:
        CheckpointError: ``--pretrained`` names other weights than at the beginning.
    """
    start, own = restored.state.start if restored.state else "", run.optimizer.start_digest()
    if start and own and start != own:
        raise CheckpointError(
            f"{restored.source}: l2_to_start pulls to the weights that the run began with, and --pretrained "
            f"{run.config.network.pretrained} holds others now; name the first ones, or set --l2_to_start 0"
        )


def take_snapshot(run: Run) -> Snapshot:
    """Copy everything that a checkpoint holds to the host."""
    run.state.scaler = run.scaler.state()
    run.state.margin = run.margin.state()
    run.state.updates = run.optimizer.updates()
    run.state.decay = run.decay.state()
    run.state.start = run.optimizer.start_digest()
    states = run.optimizer.states()
    classifier = run.classifier
    return Snapshot(
        identity=run.identity,
        state=run.state,
        backbone={name: np.asarray(value.numpy()) for name, value in run.network.state_dict().items()},
        backbone_momentum=states["momentum"],
        shard=ClassifierShard(
            classifier.start,
            classifier.weight(),
            classifier.velocity(),
            extra_states=classifier.extra_states(),
            feature_centres=None if classifier.feature_centres is None else classifier.feature_centres.rows(),
        ),
        backbone_extra={name: arrays for name, arrays in states.items() if name != "momentum"},
    )


def _load_classifier(run: Run, restored: Restored) -> None:
    shard, feature_centres = restored.shard, run.classifier.feature_centres
    if shard is None:
        return
    run.classifier.load_rows(shard.start, shard.weight, shard.momentum, extra_states=shard.extra_states)
    if feature_centres is not None and shard.feature_centres is not None:
        feature_centres.load_rows(shard.start, shard.feature_centres)


def _load_momentum(run: Run, restored: Restored) -> None:
    if restored.backbone_momentum is None:
        return
    try:
        run.optimizer.load_states({"momentum": restored.backbone_momentum, **restored.backbone_extra})
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{restored.source}: the momentum does not fit the network: {error}") from None
    if restored.state is not None:
        run.optimizer.load_updates(restored.state.updates)


def open_training_data(config: TrainConfig) -> FaceDataset:
    """Open the data set that a configuration names.

    Raises:
        DataError: it cannot be read.
    """
    data = config.data
    kind = data.data_kind
    if kind == "auto" and not data.is_bin and config.label_path.is_file():
        kind = "image"
    if config.distillation.is_without_classes:
        return open_unlabelled(data.data_dir, label_file=data.label_file, kind=kind)
    return open_dataset(data.data_dir, label_file=data.label_file, kind=kind, num_classes=data.num_classes)


def _loader_options(config: TrainConfig, batch_size: int) -> LoaderOptions:
    data = config.data
    kind = data.worker_kind
    if kind == "auto":
        kind = "process" if devices.is_accelerator() else "thread"
    workers = data.num_workers
    if workers is None:
        workers = default_workers(ranks_here=distributed.launched_local_size())
    return LoaderOptions(
        batch_size=batch_size,
        workers=workers,
        worker_kind=kind,
        seed=config.run.seed,
        mirror=data.flip,
        ccrop=data.ccrop,
        augment=parse_steps(data.augment),
        pixels=pixels_of_loader(),
    )


def _update_rule(settings: OptimizerConfig) -> UpdateRule:
    return UpdateRule(
        settings.rule_name,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        beta2=settings.beta2,
        epsilon=settings.epsilon,
    )


def _identity(config: TrainConfig, choice: NetworkChoice, dataset: FaceDataset, global_batch: int) -> RunIdentity:
    return RunIdentity(
        network=choice.name,
        embedding_size=choice.embedding_size,
        num_classes=0 if config.distillation.is_without_classes else dataset.num_classes,
        global_batch=global_batch,
        epoch_images=len(dataset),
        optimizer=config.optimizer.rule_name,
    )


def _classifier(
    config: TrainConfig, choice: NetworkChoice, num_classes: int, margin: Margin
) -> Union[ShardedClassifier, NoClassifier]:
    if config.distillation.is_without_classes:
        rule = config.optimizer.rule_name
        return NoClassifier(embedding_size=choice.embedding_size, rule=rule, margin=margin)
    return ShardedClassifier(_classifier_settings(config, choice, num_classes), margin)


def _classifier_settings(config: TrainConfig, choice: NetworkChoice, num_classes: int) -> ClassifierSettings:
    return ClassifierSettings(
        num_classes=num_classes,
        embedding_size=choice.embedding_size,
        sample_rate=config.classifier.sample_rate,
        rule=_update_rule(config.optimizer),
        subcentres=config.classifier.subcentres,
        focal_gamma=config.classifier.gamma,
        centre_weight=config.classifier.centre_factor,
        centre_alpha=0.5 if config.classifier.centre_alpha is None else config.classifier.centre_alpha,
        weight_decay=config.optimizer.weight_decay,
        matmul_dtype=config.optimizer.precision if devices.is_accelerator() else "float32",
        row_multiple=_ROW_MULTIPLE if devices.is_accelerator() else 1,
        seed=config.run.seed,
    )
