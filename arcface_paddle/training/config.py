"""Settings of a training run: defaults here, a YAML file with the differences, flags as the last word.

Every leaf field of ``TrainConfig`` is at once a key of the YAML file and a flag of ``train.py``, under the same name.
The groups exist for the code only, so that each part of the trainer gets the settings that concern it.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Mapping, Optional, Tuple, Union, get_args, get_origin, get_type_hints

from arcface_paddle import files
from arcface_paddle.data import augment_settings
from arcface_paddle.data.data_settings import KINDS
from arcface_paddle.errors import ConfigError, MissingDependencyError
from arcface_paddle.files import PathLike
from arcface_paddle.heads.memory import STATES_OF
from arcface_paddle.training import curriculum
from arcface_paddle.training.override import parse_override

CONFIG_FILE = "config.yaml"
"""Name of the resolved settings in the output folder."""

RESUME_AUTO = "auto"
_BOOL_OR_AUTO = Union[bool, str]

DEFAULT_NETWORK = "MobileFaceNet_128"
"""The published trainer's."""

WITHOUT_COSINES = ("NormHead", "CenterLoss")
"""Losses of a dense layer over features that are not normalised."""

_FOCAL_GAMMA = 2.0  # of the paper and of the published trainer
_BUCKET_MB = 25.0  # of 2**20 bytes, as PyTorch's and Paddle's own DataParallel
_TRUE = frozenset({"true", "t", "1", "yes"})
_FALSE = frozenset({"false", "f", "0", "no"})
_NOTHING = frozenset({"", "none", "null"})

_DEEPEST_YAML = 2
"""Lines of options, and the list of one option."""

_CONSTRUCTION_ERRORS = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What PyYAML raises of ``2001-13-45``, ``!!bool x``, ``!!int [1]`` and their like, all of it undocumented."""


def _option(
    default: Any,
    help_text: str,
    *,
    choices: Tuple[str, ...] = (),
    least: Optional[float] = None,
    above: Optional[float] = None,
    most: Optional[float] = None,
) -> Any:
    """Declare a field: its default, what ``--help`` says of it, and the values that are allowed."""
    limits = {"least": least, "above": above, "most": most}
    return dataclasses.field(default=default, metadata={"help": help_text, "choices": choices, **limits})


@dataclass(frozen=True)
class DataConfig:
    """Where the faces come from and how they are cut into batches."""

    data_dir: str = _option("MS1M_bin", "folder of the training data and of the .bin verification sets")
    label_file: Optional[str] = _option(None, "list of images and labels (default: {data_dir}/label.txt)")
    is_bin: bool = _option(True, "label.txt names per-image .bin records (True) or plain image files (False)")
    data_kind: str = _option(
        "auto",
        "layout of the data; auto: packed shards, train.rec, TFRecord, label.txt with is_bin, or a folder per identity",
        choices=KINDS,
    )
    num_classes: Optional[int] = _option(None, "number of identities (default: from the labels)", least=1)
    batch_size: int = _option(512, "images per process and forward pass", least=1)
    global_batch_size: Optional[int] = _option(
        None,
        "images per step over all processes and accumulated passes, instead of batch_size; "
        "keeps a run the same on any number of processes",
        least=1,
    )
    num_workers: Optional[int] = _option(
        None, "decoding workers per process (default: the cores, at most 8); 0 = none", least=0, most=256
    )
    worker_kind: str = _option(
        "auto",
        "what the workers are; auto: processes on a GPU, whose short steps need many pictures a second, more than "
        "threads read; threads on a CPU, where a step takes seconds, and they start at once",
        choices=("auto", "thread", "process"),
    )
    flip: bool = _option(True, "mirror half of the training pictures at random")
    augment: Tuple[str, ...] = _option((), augment_settings.HELP)
    ccrop: bool = _option(
        False,
        "enlarge each picture to 128 and take the middle 112, in training and in its validation; 'valid --ccrop' does "
        "the same, an exported model does not",
    )
    val_targets: Tuple[str, ...] = _option(
        ("lfw", "cfp_fp", "agedb_30"),
        "verification sets, {data_dir}/NAME.bin, or none; one that is missing is said, not fatal",
    )


@dataclass(frozen=True)
class NetworkConfig:
    """The network that maps a face to a feature."""

    network: Optional[str] = _option(
        None,
        f"name of the backbone, in any case, see 'arcface-paddle models backbones' (default: {DEFAULT_NETWORK}, or the "
        "network of --pretrained)",
    )
    embedding_size: Optional[int] = _option(
        None,
        "length of the embedding (default: the network's own, 128 for MobileFaceNet_128, 512 for an iresnet; or that "
        "of --pretrained)",
        least=1,
        most=65536,
    )
    width: Optional[float] = _option(
        None, "factor on the network's channel counts (default: 1, or that of --pretrained)", above=0.0, most=16.0
    )
    pretrained: Optional[str] = _option(
        None,
        "fine-tuning: start from this model (MobileFace, or a folder with training.pdparams), which then says network, "
        "embedding size and input; or from this .pdparams file; for a ResNet, MobileNetV2 or V3 it may be the ImageNet "
        "weights of paddle.vision",
    )
    dropout: Optional[float] = _option(
        None,
        "probability of dropout before the last layer, for networks that have it (default: the network's own)",
        least=0.0,
        most=0.95,
    )
    norm: str = _option(
        "batch",
        "normalisation: BatchNorm; for small batches batch renormalisation (r to 3, d to 5, ramped up in the warm-up); "
        "or GroupNorm, which needs no statistics of the batch",
        choices=("batch", "batch_renorm", "group"),
    )
    batch_norm: str = _option(
        "local",
        "statistics of BatchNorm while training: of each process's batch, of the batch over all processes, or frozen; "
        "native_sync: over all processes by Paddle's own layer, for CUDA alone",
        choices=("local", "sync", "frozen", "native_sync"),
    )
    data_format: str = _option(
        "NCHW",
        "order in which feature maps lie in memory; NHWC suits tensor cores with --fp16 or --bf16, for MobileFaceNet "
        "and iresnet. Weights and checkpoints are the same",
        choices=("NCHW", "NHWC"),
    )

    def refuse_contradictions(self) -> None:
        """Refuse options that exclude each other. Raises ``ConfigError``."""
        if self.norm == "batch_renorm" and self.batch_norm == "frozen":
            raise ConfigError(
                "norm batch_renorm corrects the statistics of the batch, and batch_norm frozen does not use them; "
                "leave one of the two out"
            )
        if self.norm == "batch_renorm" and self.batch_norm == "native_sync":
            raise ConfigError("norm batch_renorm has no layer of Paddle's own; choose batch_norm sync")
        if self.data_format == "NCHW":
            return
        if self.norm != "batch":
            raise ConfigError(f"data_format {self.data_format} has no norm {self.norm}; choose norm batch, or NCHW")
        if self.batch_norm == "sync":
            raise ConfigError(
                f"data_format {self.data_format} has no batch_norm sync; choose native_sync, local or frozen, or NCHW"
            )


@dataclass(frozen=True)
class ClassifierConfig:
    """The class centres and the margin."""

    loss: str = _option(
        "ArcFace",
        "margin: ArcFace, CosFace, SphereFace, AdaFace, CurricularFace, Softmax, Combined; or a dense layer without "
        "cosines: NormHead, and CenterLoss, which is NormHead with the centre loss",
    )
    scale: float = _option(64.0, "factor s on the cosines", above=0.0)
    margin: Optional[float] = _option(None, "margin of the chosen loss instead of its published value", least=0.0)
    combined: Tuple[float, ...] = _option((), "loss=Combined: the three margins m1,m2,m3 of cos(m1 t + m2) - m3")
    sample_rate: float = _option(
        1.0, "share of the class centres used in a step (PartialFC); 1 = all", above=0.0, most=1.0
    )
    softmax_steps: int = _option(0, "first steps with plain normalised softmax, before the margin", least=0)
    subcentres: int = _option(
        1, "centres a class, of which the nearest counts: 3 bears noisy labels, see 'data noisy'", least=1, most=64
    )
    total_loss: str = _option(
        "softmax",
        "what is made of the probability of the right class: cross-entropy, or the focal loss, in which samples that "
        "are right already count less",
        choices=("softmax", "focal"),
    )
    focal_gamma: Optional[float] = _option(None, "total_loss=focal: exponent of the focal loss (default: 2)", least=0.0)
    centre_weight: Optional[float] = _option(
        None, "factor on the centre loss, added to the softmax (default: 1 for CenterLoss, else 0 = none)", least=0.0
    )
    centre_alpha: Optional[float] = _option(
        None, "rate at which the centres of the centre loss follow the features (default: 0.5)", least=0.0, most=1.0
    )

    @property
    def gamma(self) -> float:
        """Exponent of the focal loss; 0 stands for the cross-entropy."""
        if self.total_loss != "focal":
            return 0.0
        return _FOCAL_GAMMA if self.focal_gamma is None else self.focal_gamma

    @property
    def centre_factor(self) -> float:
        """Factor on the centre loss; 0 = none."""
        if self.centre_weight is None:
            return 1.0 if self.loss == "CenterLoss" else 0.0
        return self.centre_weight

    @property
    def words(self) -> str:
        """The loss in words, for the log."""
        parts = [self.loss]
        if self.subcentres > 1:
            parts.append(f"{self.subcentres} sub-centres")
        if self.gamma:
            parts.append(f"focal (gamma {self.gamma:g})")
        if self.centre_factor:
            parts.append(f"centre loss (weight {self.centre_factor:g})")
        return " + ".join(parts)

    def refuse_contradictions(self) -> None:
        """Refuse options that would do nothing. Raises ``ConfigError``."""
        if len(self.combined) not in (0, 3):
            raise ConfigError(f"combined is {self.combined}; three margins m1,m2,m3 are needed")
        if self.focal_gamma is not None and self.total_loss != "focal":
            raise ConfigError(f"focal_gamma is {self.focal_gamma:g}, but total_loss is softmax; add --total_loss focal")
        if self.centre_alpha is not None and not self.centre_factor:
            raise ConfigError(f"centre_alpha is {self.centre_alpha:g} without a centre loss; add --centre_weight")
        if self.loss == "CenterLoss" and not self.centre_factor:
            raise ConfigError("CenterLoss with centre_weight 0 is NormHead; choose --loss NormHead")
        if self.loss in WITHOUT_COSINES and self.softmax_steps:
            raise ConfigError(
                f"softmax_steps is {self.softmax_steps}, but {self.loss} has no margin to be led up to; leave it out"
            )


@dataclass(frozen=True)
class OptimizerConfig:
    """The update rule of backbone and class centres, precision and gradient handling."""

    optimizer: str = _option(
        "sgd",
        "update rule of backbone and class centres; sgd_bn: sgd with decay_norm false. The adaptive ones move every "
        "weight by about the learning rate a step: give them a small --lr, as 0.001",
        choices=("sgd", "sgd_bn", *tuple(STATES_OF)[1:]),
    )
    lr: float = _option(0.1, "learning rate for a global batch of 512; used: lr x global batch / 512", above=0.0)
    momentum: float = _option(0.9, "momentum of sgd; beta 1 of adam, amsgrad, adamw", least=0.0, most=0.9999)
    nesterov: bool = _option(False, "optimizer=sgd: Nesterov's momentum")
    beta2: float = _option(0.999, "adam, amsgrad, adamw: decay of the second moment", least=0.0, most=0.999999)
    epsilon: float = _option(
        1e-8,
        "adam, amsgrad, adamw: added to the root of the second moment; 0.001 keeps noise from being blown up",
        above=0.0,
        most=1.0,
    )
    weight_decay: float = _option(
        2e-4, "L2 penalty; adamw: share of the weights that is taken off, times the learning rate", least=0.0
    )
    weight_decay_shrink: float = _option(
        1.0,
        "factor on weight_decay for the rest of the run each time the L2 term (half of weight_decay x sum of squares) "
        "exceeds the loss, as 0.8; 1 = never. Reg loss and Reg coef are logged",
        above=0.0,
        most=1.0,
    )
    decay_norm: bool = _option(True, "apply weight_decay to biases, normalisations, PReLU and position embeddings too")
    clip_norm: float = _option(5.0, "largest global gradient norm, classifier included; 0 = no clipping", least=0.0)
    accumulation: int = _option(1, "forward and backward passes per step", least=1)
    fp16: bool = _option(False, "mixed precision O1 in float16 with dynamic loss scaling")
    bf16: bool = _option(False, "mixed precision O1 in bfloat16")
    loss_scale: float = _option(32768.0, "first loss scale of fp16", least=1.0, most=2.0**24)
    flat_weights: str = _option(
        "auto",
        "the backbone's weights lie in one piece of memory, so that an update is a few operations instead of a few for "
        "every layer; auto: on a GPU. Checkpoints are the same",
        choices=("auto", "yes", "no"),
    )
    max_skipped: int = _option(50, "end the run after this many steps in a row with a non-finite gradient", least=1)

    @property
    def precision(self) -> str:
        """``"float32"``, ``"float16"`` or ``"bfloat16"``."""
        return "float16" if self.fp16 else "bfloat16" if self.bf16 else "float32"

    @property
    def rule_name(self) -> str:
        """The update rule: a key of ``STATES_OF``."""
        return "sgd" if self.optimizer == "sgd_bn" else self.optimizer

    @property
    def decays_norm(self) -> bool:
        """Whether weight decay acts on BatchNorm and PReLU parameters and biases too."""
        return self.decay_norm and self.optimizer != "sgd_bn"


@dataclass(frozen=True)
class FinetuneConfig:
    """Learning more from weights that are trained already, without forgetting."""

    first_centres: str = _option(
        "auto",
        "what the class centres start as: random, or mean, the mean embedding of their pictures, which needs "
        "--pretrained; auto: mean where the weights of --pretrained are those of a face recogniser",
        choices=("auto", "random", "mean"),
    )
    centre_pictures: int = _option(10, "first_centres=mean: pictures of a class at most, drawn at random", least=1)
    backbone_lr_scale: float = _option(
        1.0, "factor on the learning rate for the backbone; 0 = only the class centres learn", least=0.0, most=10.0
    )
    l2_to_start: float = _option(
        0.0,
        "pull the backbone back to the weights of --pretrained (L2-SP): share of the difference that is taken off in "
        "every step, times the learning rate; beside weight_decay, clipping and momentum",
        least=0.0,
        most=1000.0,
    )
    early_stop: Optional[int] = _option(
        None,
        "end early after this many validations in a row without a better mean accuracy. The start is validated too, "
        "and the best checkpoint is kept, so that the best can be the start",
        least=1,
    )

    def refuse_contradictions(self, *, pretrained: Optional[str], validate_every: int, has_cosines: bool) -> None:
        """Refuse options that would do nothing. Raises ``ConfigError``."""
        if self.first_centres == "mean" and not has_cosines:
            raise ConfigError("first_centres mean: this run has no class centres that are compared by cosine")
        if pretrained is None and self.first_centres == "mean":
            raise ConfigError(
                "first_centres mean: an untrained network tells nobody from another; it needs --pretrained"
            )
        if pretrained is None and self.l2_to_start:
            raise ConfigError(
                f"l2_to_start is {self.l2_to_start:g}: the weights to stay near are those of --pretrained"
            )
        if self.early_stop is not None and not validate_every:
            raise ConfigError(f"early_stop is {self.early_stop}, but validate_every is 0; give the steps between two")


@dataclass(frozen=True)
class DistillationConfig:
    """Learning from a trained recogniser instead of from labels, or beside them."""

    teacher: Optional[str] = _option(
        None,
        "distillation: learn the embeddings of this recogniser, an exported model's folder, a shipped one's name "
        "(MobileFace, FaceFusion), a run's folder or a .pdparams file; labels are not needed",
    )
    embedding_weight: float = _option(
        4.0, "teacher: factor on the mean of 1 - cosine between the student's and the teacher's embeddings", least=0.0
    )
    relation_weight: float = _option(
        4.0,
        "teacher: factor on the relation loss (RKD): distances between the pictures of a batch, relative to their "
        "mean, are to be the teacher's",
        least=0.0,
    )
    contrast_weight: float = _option(
        1.0,
        "teacher: factor on the contrast loss (SEED): among the teacher's embeddings of a batch, the student's is to "
        "stand as near to each as the teacher's own does",
        least=0.0,
    )
    class_weight: float = _option(
        0.0,
        "teacher: factor on the loss of the class centres; 0 = labels are not looked at, no class centres",
        least=0.0,
    )
    teacher_cache: Optional[str] = _option(
        None,
        "teacher: folder that keeps its embeddings by the content of the pictures, for later epochs and runs; 4 bytes "
        "a value",
    )

    @property
    def needs_same_size(self) -> bool:
        """Whether the student's embedding must be as long as the teacher's."""
        return self.embedding_weight > 0.0 or self.contrast_weight > 0.0

    @property
    def is_without_classes(self) -> bool:
        """Whether labels are not looked at."""
        return self.teacher is not None and self.class_weight == 0.0

    def refuse_contradictions(self) -> None:
        """Refuse options that would do nothing. Raises ``ConfigError``."""
        if self.teacher is None:
            defaults = DistillationConfig()
            idle = [name for name, value in vars(self).items() if value != getattr(defaults, name)]
            if idle:
                raise ConfigError(f"{', '.join(idle)}: there is no teacher; name one with --teacher, or leave it out")
        elif not (self.embedding_weight or self.relation_weight or self.contrast_weight):
            raise ConfigError(
                "embedding_weight, relation_weight and contrast_weight are all 0: the teacher would teach nothing"
            )


@dataclass(frozen=True)
class ScheduleConfig:
    """How long the run is and how the learning rate moves; epochs may be fractions."""

    epochs: float = _option(32.0, "passes over the data", above=0.0)
    steps: Optional[int] = _option(None, "length of the run in steps, instead of epochs", least=1)
    warmup_epochs: float = _option(1.0, "linear warm-up, in epochs", least=0.0)
    warmup_steps: Optional[int] = _option(None, "linear warm-up in steps, instead of warmup_epochs", least=0)
    decay: str = _option("step", "decay of the learning rate", choices=("step", "polynomial", "cosine", "constant"))
    decay_epochs: Tuple[float, ...] = _option((6.0, 12.0, 18.0, 24.0), "decay=step: epochs at which the rate drops")
    decay_factor: float = _option(0.1, "decay=step: factor of each drop", above=0.0, most=1.0)
    decay_power: float = _option(2.0, "decay=polynomial: exponent", above=0.0)
    end_lr: float = _option(0.0, "decay=polynomial, cosine: last rate, for a global batch of 512", least=0.0)
    curriculum: Tuple[str, ...] = _option((), curriculum.HELP)
    target_accuracy: Optional[float] = _option(
        None, "end early once the mean accuracy of the verification sets reaches this", above=0.0, most=1.0
    )


@dataclass(frozen=True)
class ExchangeConfig:
    """What several processes tell each other."""

    bucket_mb: float = _option(
        _BUCKET_MB,
        "several processes exchange the backbone's gradients in pieces of about so many MB, each as soon as it is "
        "complete, while the backward pass goes on; 0 = in one piece behind it",
        least=0.0,
        most=65536.0,
    )


@dataclass(frozen=True)
class RunConfig:
    """What the run writes, how often, and its random seed."""

    output: str = _option("emore_arcface", "folder of checkpoints, training.log, metrics.jsonl, curves")
    logdir: str = _option("log", "folder of the logs of --logger; empty: none")
    logger: Tuple[str, ...] = _option(
        ("visualdl",),
        "programs that get the scalars, one or several with commas between, or none. wandb sends nothing (wandb sync "
        "does) unless WANDB_MODE is set",
        choices=("visualdl", "tensorboard", "wandb"),
    )
    resume: Union[bool, str] = _option(
        False,
        "1: continue from the newest sound checkpoint in output; auto: the same, or begin anew where there is nothing "
        "sound, so that the same command again goes on; 0: begin anew. What an earlier run has written is set aside "
        "into OUTPUT/earlier_DATE_TIME whenever a run begins anew",
    )
    override: Tuple[str, ...] = _option(
        (),
        "with --resume: change the state that is read, as step=0,epoch=0,best=none. step=N: steps count on from N, and "
        "rate, warm-up and length of the run follow; epoch=N: go on with the first image of that epoch, without it at "
        "the same image; best=none or an accuracy: forget or set the best one (published as monitor); optimizer=none: "
        "momentum begins at zero, as another --optimizer needs. With --resume 1 it acts each time, with --resume auto "
        "once. Where the step goes back, what the run wrote is set aside as if it began anew",
    )
    log_every: int = _option(10, "steps between log lines", least=1)
    validate_every: int = _option(2000, "steps between validations; 0 = only at the end", least=0)
    save_every: int = _option(2000, "steps between checkpoints; one more is written at the end", least=1)
    keep_last: int = _option(3, "number of checkpoints kept", least=1)
    profile: int = _option(
        0,
        "profile this many steps, behind three of warm-up: a table of data, forward, classifier, backward, exchange, "
        "update in the log and in OUTPUT/profile/table.txt, and a trace for chrome://tracing beside it; 0 = none",
        least=0,
        most=1000,
    )
    seed: int = _option(0, "seed of weights, order of the data, mirroring and class sampling", least=0, most=2**31 - 1)
    mode: str = _option(
        "dynamic",
        "how the backbone is computed: operation by operation, or as a program that is compiled at its first step "
        "(paddle.jit.to_static); the results are the same. cinn: by Paddle's compiler for CUDA, equal to rounding",
        choices=("dynamic", "static", "cinn"),
    )
    cudnn_search: bool = _option(
        False,
        "try all of cuDNN's ways to convolve at the first steps and keep the fastest; for CUDA alone. Which one is "
        "fastest may change from run to run, and with it the rounding",
    )
    copy_stream: bool = _option(
        False, "on a GPU: copy the pictures of the next step while it computes; the same results, a little faster"
    )
    cpu_kernels: str = _option(
        "auto",
        "auto: on CPU, compile operators for this processor at the first run (a C++ compiler is needed; two seconds), "
        "let Paddle's matrix products use AVX2 on AMD, and keep freed memory: MobileFaceNet trains more than twice as "
        "fast, equal to rounding. off: Paddle's own",
        choices=("auto", "off"),
    )
    device: str = _option("auto", "auto = a GPU where paddle has one", choices=("auto", "cpu", "gpu"))


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a run."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    classifier: ClassifierConfig = dataclasses.field(default_factory=ClassifierConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    finetuning: FinetuneConfig = dataclasses.field(default_factory=FinetuneConfig)
    distillation: DistillationConfig = dataclasses.field(default_factory=DistillationConfig)
    schedule: ScheduleConfig = dataclasses.field(default_factory=ScheduleConfig)
    exchange: ExchangeConfig = dataclasses.field(default_factory=ExchangeConfig)
    run: RunConfig = dataclasses.field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        if self.optimizer.fp16 and self.optimizer.bf16:
            raise ConfigError("fp16 and bf16 are both set; choose one precision")
        if self.optimizer.nesterov and self.optimizer.rule_name != "sgd":
            raise ConfigError(
                f"nesterov is a variant of optimizer sgd; with optimizer {self.optimizer.optimizer} leave it out"
            )
        if parse_override(self.run.override) and not self.run.resume:
            raise ConfigError("override changes a run that goes on: it needs --resume 1 or --resume auto")
        self._refuse_to_compile()
        self.network.refuse_contradictions()
        without_folder = [name for name in self.run.logger if name != "visualdl" and not self.run.logdir]
        if without_folder:  # an empty logdir alone has always meant: no VisualDL
            raise ConfigError(f"logger {', '.join(without_folder)} writes into --logdir, which is empty: name a folder")
        self.classifier.refuse_contradictions()
        self.distillation.refuse_contradictions()
        self.finetuning.refuse_contradictions(
            pretrained=self.network.pretrained,
            validate_every=self.run.validate_every,
            has_cosines=self.classifier.loss not in WITHOUT_COSINES and not self.distillation.is_without_classes,
        )
        steps = augment_settings.parse_steps(self.data.augment)
        augment_settings.refuse_two_crops(steps, ccrop=self.data.ccrop)
        self._refuse_idle_ramps(has_steps=bool(steps))

    def _refuse_idle_ramps(self, *, has_steps: bool) -> None:
        """Refuse a curriculum that changes nothing. Raises ``ConfigError``."""
        ramps = curriculum.parse_ramps(self.schedule.curriculum)
        if "augment" in ramps and not has_steps:
            raise ConfigError("curriculum augment makes --augment grow, of which there is none; name its steps")
        if "margin" in ramps and self.classifier.loss in ("Softmax", *WITHOUT_COSINES):
            raise ConfigError(f"curriculum margin makes a margin grow, and {self.classifier.loss} has none")

    def _refuse_to_compile(self) -> None:
        mode, network = self.run.mode, self.network
        if mode == "dynamic":
            return
        if network.batch_norm in ("sync", "native_sync"):
            raise ConfigError(
                f"mode {mode} cannot compile synchronised BatchNorm; choose mode dynamic, or batch_norm local or frozen"
            )
        if network.norm == "batch_renorm":
            raise ConfigError(
                f"mode {mode} would keep the limits of norm batch_renorm of its first step; leave one out"
            )

    @property
    def label_path(self) -> Path:
        """The label list, by default ``{data_dir}/label.txt``."""
        return Path(self.data.label_file or Path(self.data.data_dir) / "label.txt")


@dataclass(frozen=True)
class Option:
    """One leaf field: what the flag of the same name needs to know."""

    name: str
    group: str
    type_hint: Any
    default: Any
    help_text: str
    choices: Tuple[str, ...]

    @property
    def is_bool(self) -> bool:
        """Whether the flag may stand without a value, which then means true."""
        return self.type_hint in (bool, _BOOL_OR_AUTO)


# Annotations are text, which takes a hundred times longer to compile than to look up.
_types_of = functools.cache(get_type_hints)


def options() -> list[Option]:
    """Return every option of a run in the order of the groups."""
    return [
        Option(
            field.name, group.name, hints[field.name], field.default, field.metadata["help"], field.metadata["choices"]
        )
        for group, kind in _groups()
        for hints in (_types_of(kind),)
        for field in dataclasses.fields(kind)
    ]


def parse_bool(text: str) -> bool:
    """Read true/t/1/yes or false/f/0/no, in any case.

    Raises:
        ConfigError: anything else.
    """
    lowered = text.strip().lower()
    if lowered not in _TRUE | _FALSE:
        raise ConfigError(f"{text!r} is not a truth value; allowed: true, t, 1, yes, false, f, 0, no")
    return lowered in _TRUE


def config_from(
    values: Mapping[str, Any], *, base: Optional[TrainConfig] = None, origin: str = "option"
) -> TrainConfig:
    """Return ``base`` (by default all defaults) with the given options changed.

    Args:
        values: option name to value; text is converted to the option's type.
        base: the configuration to start from.
        origin: where the values stand, for errors.

    Raises:
        ConfigError: an unknown name (the message lists the names), or a value of the wrong type or outside its range.
    """
    known = {option.name for option in options()}
    unknown = sorted({"a number" if _holds_huge(name) else str(name) for name in values} - known)
    if unknown:
        raise ConfigError(f"{origin}: unknown key {', '.join(unknown)}; the keys are: {', '.join(sorted(known))}")
    for name, value in values.items():
        if _holds_huge(value):
            raise ConfigError(f"{origin}: {name} holds a whole number beyond 1.7e308; a smaller one is needed")
    config = base or TrainConfig()
    changed = {}
    for group, kind in _groups():
        hints = _types_of(kind)
        own = {
            field.name: _checked(
                field, _converted(values[field.name], hints[field.name], f"{origin}: {field.name}"), origin
            )
            for field in dataclasses.fields(kind)
            if field.name in values
        }
        changed[group.name] = dataclasses.replace(getattr(config, group.name), **own)
    return dataclasses.replace(config, **changed)


def load_config(path: PathLike) -> TrainConfig:
    """Read a YAML file of options; what it does not name keeps its default.

    Raises:
        ConfigError: the file is missing, not YAML, has an unknown or repeated key, or a bad value.
        MissingDependencyError: PyYAML is not installed.
    """
    yaml = _yaml()
    try:
        text = files.read_bytes(path).decode("utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error}") from None
    try:
        _refuse_nests(yaml, text, path)
        node, values = _parsed(yaml, text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    except _CONSTRUCTION_ERRORS as error:
        raise ConfigError(f"{path}: a value is not what its form or tag promises: {error!s:.200}") from None
    if values is None:
        return TrainConfig()
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold lines 'option: value', it holds a {type(values).__name__}")
    keys = [str(key.value) for key, _ in node.value]
    repeated = sorted({key for key in keys if keys.count(key) > 1})
    if repeated:
        raise ConfigError(f"{path}: key {', '.join(repeated)} stands there twice")
    return config_from(values, origin=str(path))


def _refuse_nests(yaml: Any, text: str, path: PathLike) -> None:
    """Refuse what no configuration of ours has: anchors, of which a few lines make gigabytes, and nests of lists.

    Raises:
        ConfigError: one of them stands in the text.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if getattr(event, "anchor", None) is not None:
            line = event.start_mark.line + 1
            raise ConfigError(f"{path} line {line}: anchors (&) and aliases (*) of YAML are not allowed; write it out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST_YAML:
            raise ConfigError(f"{path} line {event.start_mark.line + 1}: nests deeper than an option's list of values")


def _parsed(yaml: Any, text: str) -> tuple[Any, Any]:
    """Return the tree of a text, which still has what stands there twice, and its value."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        return node, None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


_BREAKS = "\x85\u2028\u2029"  # ends of lines to YAML, which PyYAML writes as they are and reads as blanks


def config_text(config: TrainConfig) -> str:
    """Return all options with their values as YAML that ``load_config`` reads back to an equal configuration.

    Raises:
        MissingDependencyError: PyYAML is not installed.
    """
    yaml = _yaml()
    lines = ["# Resolved settings of this run; train.py --config reads this file."]
    for group, _ in _groups():
        lines += ["", f"# {group.name}"]
        values = {key: _plain(value) for key, value in vars(getattr(config, group.name)).items()}
        plain = not any(sign in str(value) for value in values.values() for sign in _BREAKS)
        lines.append(yaml.safe_dump(values, sort_keys=False, default_flow_style=False, allow_unicode=plain).rstrip())
    return "\n".join(lines) + "\n"


def plain_settings(config: TrainConfig) -> dict[str, Any]:
    """Return every option with its value, as JSON has it."""
    return {key: _plain(value) for group, _ in _groups() for key, value in vars(getattr(config, group.name)).items()}


def _groups() -> Iterator[tuple[dataclasses.Field, type]]:
    hints = _types_of(TrainConfig)
    for group in dataclasses.fields(TrainConfig):
        yield group, hints[group.name]


def _holds_huge(value: Any) -> bool:
    """Tell whether a whole number is in it that is no float; Python does not even write those of 4,300 digits."""
    if isinstance(value, dict):
        return _holds_huge([*value, *value.values()])
    if isinstance(value, (list, tuple, set)):
        return any(map(_holds_huge, value))
    return isinstance(value, int) and value.bit_length() >= sys.float_info.max_exp


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _yaml() -> Any:
    try:
        import yaml
    except ImportError:
        raise MissingDependencyError("pyyaml", extra="train", purpose="reading and writing configurations") from None
    return yaml


def _converted(value: Any, hint: Any, where: str) -> Any:
    """Convert a value from YAML or a flag to the type of its option."""
    if hint == _BOOL_OR_AUTO:
        return RESUME_AUTO if str(value).strip().lower() == RESUME_AUTO else _to_bool(value, where, also=RESUME_AUTO)
    if get_origin(hint) is Union:  # Optional[kind]
        if value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING):
            return None
        return _converted(value, get_args(hint)[0], where)
    if get_origin(hint) is tuple:
        if value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING):
            return ()
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)):
            items = [items]
        kept = [item.strip() if isinstance(item, str) else item for item in items]
        return tuple(_converted(item, get_args(hint)[0], where) for item in kept if item != "")
    if hint is bool:
        return _to_bool(value, where)
    if hint is str:
        return _to_text(value, where)
    return _to_number(value, hint, where)


def _to_bool(value: Any, where: str, *, also: str = "") -> bool:
    if isinstance(value, bool):
        return value
    try:
        return parse_bool(str(value))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}" + (f"; or {also}" if also else "")) from None


def _to_text(value: Any, where: str) -> str:
    if isinstance(value, (bool, float, list, dict, type(None))):
        raise ConfigError(f"{where} is {value!r:.80}; a text is needed")
    return str(value)


def _to_number(value: Any, kind: type, where: str) -> Union[int, float]:
    wanted = "a whole number" if kind is int else "a number"
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ConfigError(f"{where} is {value!r:.80}; {wanted} is needed")
    try:
        number = value if isinstance(value, int) else float(value)
    except ValueError:
        raise ConfigError(f"{where} is {value!r:.80}; {wanted} is needed") from None
    if not math.isfinite(number) or (kind is int and number != int(number)):
        raise ConfigError(f"{where} is {value!r:.80}; {wanted} is needed")
    return kind(number)


def _checked(field: dataclasses.Field, value: Any, origin: str) -> Any:
    """Hold a converted value against the choices and the range of its option."""
    limits = field.metadata
    where = f"{origin}: {field.name} is {value!r}"
    chosen = value if isinstance(value, tuple) else (value,)
    if limits["choices"] and not set(chosen) <= set(limits["choices"]):
        raise ConfigError(f"{where}; allowed: {', '.join(limits['choices'])}")
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return value
    if limits["least"] is not None and value < limits["least"]:
        raise ConfigError(f"{where}; it must be at least {limits['least']:g}")
    if limits["above"] is not None and value <= limits["above"]:
        raise ConfigError(f"{where}; it must be above {limits['above']:g}")
    if limits["most"] is not None and value > limits["most"]:
        raise ConfigError(f"{where}; it must be at most {limits['most']:g}")
    return value
