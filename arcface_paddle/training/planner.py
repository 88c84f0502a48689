"""Memory and communication of a training run, predicted from its settings, without starting it.

The classifier part counts the buffers of ``heads.sharded_softmax`` and ``heads.sharded_classifier``. The backbone part
needs two numbers of the network, its parameters and the activations it keeps per image; ``measure_backbone`` gets
them by running the network once on one picture.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Iterator

from arcface_paddle.errors import ConfigError
from arcface_paddle.heads.memory import (
    BYTES_OF,
    LOGITS_BYTES,
    STATES_OF,
    UPDATE_BLOCK_ROWS,
    UPDATE_TEMPORARIES,
    counts_updates,
    extra_states_of,
)

_MB = 1 << 20


@dataclass(frozen=True)
class BackboneSize:
    """What the plan needs to know of a network.

    Attributes:
        parameters: number of trainable values.
        activations_per_image: number of values kept for the backward pass for one 112x112 picture.
        multiplications_per_image: number of multiplications of one forward pass.
        layers: number of layers without sublayers.
    """

    parameters: int
    activations_per_image: int
    multiplications_per_image: int = 0
    layers: int = 0


@dataclass(frozen=True)
class PlanSettings:
    """A run to be planned.

    Attributes:
        num_classes: number of identities over all ranks.
        embedding_size: length of the embedding, D.
        ranks: number of processes.
        batch_size: pictures per rank and forward pass.
        sample_rate: share of the class centres in a step.
        subcentres: centres a class.
        centre_loss: whether a centre loss is added, which has centres of its own.
        precision: dtype of the activations: float32, float16 or bfloat16.
        weight_dtype: storage of the class centres.
        momentum_dtype: storage of their momentum.
        optimizer: update rule, a key of ``heads.memory.STATES_OF``.
        logits_bytes: limit above which the logits are worked through in pieces.
    """

    num_classes: int
    embedding_size: int = 128
    ranks: int = 1
    batch_size: int = 128
    sample_rate: float = 1.0
    subcentres: int = 1
    centre_loss: bool = False
    precision: str = "float32"
    weight_dtype: str = "float32"
    momentum_dtype: str = "float32"
    optimizer: str = "sgd"
    logits_bytes: int = LOGITS_BYTES

    def __post_init__(self) -> None:
        for name in ("num_classes", "embedding_size", "ranks", "batch_size", "subcentres", "logits_bytes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; allowed: 1 or more")
        if self.num_classes < self.ranks:
            raise ConfigError(f"{self.num_classes} classes cannot be split over {self.ranks} ranks; use fewer ranks")
        if not 0.0 < self.sample_rate <= 1.0:
            raise ConfigError(f"sample_rate is {self.sample_rate}; allowed: above 0 up to 1")
        for name in ("precision", "weight_dtype", "momentum_dtype"):
            if getattr(self, name) not in BYTES_OF:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; allowed: {', '.join(BYTES_OF)}")
        if self.optimizer not in STATES_OF:
            raise ConfigError(f"optimizer is {self.optimizer!r}; allowed: {', '.join(STATES_OF)}")


@dataclass(frozen=True)
class Memory:
    """Bytes on the rank with the largest shard, by what they are for; second moments are those of Adam and its kin.

    ``classifier_*`` beyond weights and momentum exist during the backward pass of the classifier only, and
    ``classifier_update`` during the update only.
    """

    classifier_weights: int
    classifier_momentum: int
    classifier_second_moments: int
    classifier_gradient: int
    classifier_sampled_copy: int
    classifier_logits: int
    classifier_temporaries: int
    classifier_update: int
    feature_centres: int
    gathered_features: int
    backbone_weights: int
    backbone_gradients_and_momentum: int
    backbone_second_moments: int
    backbone_activations: int

    @property
    def classifier_peak(self) -> int:
        """Largest sum that is alive at one time in the classifier."""
        states = self.classifier_momentum + self.classifier_second_moments + self.feature_centres
        resident = self.classifier_weights + states + self.classifier_gradient
        backward = (
            self.classifier_sampled_copy + self.classifier_logits + self.classifier_temporaries + self.gathered_features
        )
        return resident + max(backward, self.classifier_update)

    @property
    def total(self) -> int:
        """Largest sum of all; the backbone's activations are alive while the classifier works."""
        return (
            self.classifier_peak
            + self.backbone_weights
            + self.backbone_gradients_and_momentum
            + self.backbone_second_moments
            + self.backbone_activations
        )


@dataclass(frozen=True)
class Communication:
    """Bytes that one rank sends per forward and backward pass (ring algorithms), by what they are for."""

    features_gather: int
    softmax_reductions: int
    feature_gradients: int
    backbone_gradients: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.features_gather + self.softmax_reductions + self.feature_gradients + self.backbone_gradients


@dataclass(frozen=True)
class Plan:
    """The prediction for one run."""

    settings: PlanSettings
    rows_per_rank: int
    rows_in_step: int
    multiplications_per_step: int
    memory: Memory
    communication: Communication

    def as_dict(self) -> dict[str, Any]:
        """Return everything as nested dicts of numbers, sums included."""
        values = asdict(self)
        values["memory"].update(classifier_peak=self.memory.classifier_peak, total=self.memory.total)
        values["communication"]["total"] = self.communication.total
        return values


def make_plan(settings: PlanSettings, backbone: BackboneSize) -> Plan:
    """Predict memory and communication of a run."""
    rows = math.ceil(settings.num_classes / settings.ranks)
    rows_in_step = _rows_in_step(settings, rows)
    batch = settings.batch_size * settings.ranks
    return Plan(
        settings=settings,
        rows_per_rank=rows,
        rows_in_step=rows_in_step,
        multiplications_per_step=3 * batch * rows_in_step * settings.embedding_size * settings.subcentres,
        memory=_memory(settings, backbone, rows=rows, rows_in_step=rows_in_step),
        communication=_communication(settings, backbone),
    )


def advice(plan: Plan, backbone: BackboneSize) -> list[str]:
    """Return sentences on sampling, precision and sharding for this run, most important first."""
    return list(_advise(plan, backbone))


def measure_backbone(name: str, *, embedding_size: int, width: float = 1.0) -> BackboneSize:
    """Count parameters, kept activations and multiplications of a network by running it on one picture.

    Every output of a layer without sublayers is counted once: a convolution keeps its input, a normalisation its
    input, a PReLU its input, and each of these is the output of the layer before.

    Raises:
        ConfigError: an unknown name, or values that the network refuses.
    """
    import paddle  # slow to import, and only this function needs it

    from arcface_paddle.backbones import build_backbone

    network = build_backbone(name, embedding_size=embedding_size, width=width)
    network.eval()
    sizes: list[int] = []
    multiplications: list[int] = []

    def count(layer: paddle.nn.Layer, _inputs: object, output: paddle.Tensor) -> None:
        sizes.append(int(output.size))
        weight = getattr(layer, "weight", None)
        if weight is not None and weight.ndim > 1:  # a convolution (out, in, h, w) or a product (in, out)
            outputs = weight.shape[0] if weight.ndim > 2 else weight.shape[1]
            multiplications.append(int(output.size * weight.size // outputs))

    for layer in network.sublayers():
        if not layer.sublayers():
            layer.register_forward_post_hook(count)
    with paddle.no_grad():
        network(paddle.zeros([1, 3, 112, 112]))
    return BackboneSize(
        parameters=sum(int(weight.size) for weight in network.parameters() if not weight.stop_gradient),
        activations_per_image=sum(sizes) + 3 * 112 * 112,
        multiplications_per_image=sum(multiplications),
        layers=len(sizes),
    )


def _rows_in_step(settings: PlanSettings, rows: int) -> int:
    if settings.sample_rate >= 1.0:
        return rows
    batch = settings.batch_size * settings.ranks
    different = settings.num_classes * (1.0 - (1.0 - 1.0 / settings.num_classes) ** batch)
    share_of_batch = different / settings.num_classes
    return min(rows, math.ceil(rows * (settings.sample_rate + (1.0 - settings.sample_rate) * share_of_batch)))


def _memory(settings: PlanSettings, backbone: BackboneSize, *, rows: int, rows_in_step: int) -> Memory:
    batch = settings.batch_size * settings.ranks
    size = settings.embedding_size * settings.subcentres  # of a row
    step_matrix = 4 * rows_in_step * size
    piece_rows = max(1, min(rows_in_step, settings.logits_bytes // (4 * batch)))
    in_pieces = piece_rows < rows_in_step
    piece_matrix = 4 * piece_rows * size
    extra_states = len(extra_states_of(settings.optimizer))
    copied = settings.sample_rate < 1.0 or settings.weight_dtype != "float32"
    return Memory(
        classifier_weights=rows * size * BYTES_OF[settings.weight_dtype],
        classifier_momentum=rows * size * BYTES_OF[settings.momentum_dtype],
        classifier_second_moments=4 * rows * (size * extra_states + counts_updates(settings.optimizer)),
        classifier_gradient=step_matrix,
        classifier_sampled_copy=(step_matrix if settings.sample_rate < 1.0 else 0)
        + (piece_matrix if settings.weight_dtype != "float32" else 0),
        classifier_logits=_logits_bytes_of_one(settings.subcentres) * batch * piece_rows,
        # One product with the centres is alive beside the gradient; pieces of it are joined at the end.
        # In 16 bits there are the normalised centres, too.
        classifier_temporaries=(step_matrix if in_pieces else piece_matrix)
        + (piece_matrix if settings.precision != "float32" else 0),
        # Old and new of every second moment of the block are alive during its update.
        classifier_update=(UPDATE_TEMPORARIES + 2 * extra_states) * 4 * min(rows_in_step, UPDATE_BLOCK_ROWS) * size
        + (step_matrix if copied else 0),
        feature_centres=4 * rows * settings.embedding_size if settings.centre_loss else 0,
        # The centre loss gathers the features once more, and keeps the differences from their centres.
        gathered_features=4 * (6 if settings.centre_loss else 4) * batch * settings.embedding_size,
        backbone_weights=4 * backbone.parameters,
        backbone_gradients_and_momentum=3 * 4 * backbone.parameters,
        backbone_second_moments=extra_states * 4 * backbone.parameters,
        backbone_activations=backbone.activations_per_image * settings.batch_size * BYTES_OF[settings.precision],
    )


def _logits_bytes_of_one(subcentres: int) -> int:
    """Return the bytes for one logit: of several cosines the largest and the present one, and which were larger."""
    return 4 if subcentres == 1 else 2 * 4 + (subcentres - 1)


def _communication(settings: PlanSettings, backbone: BackboneSize) -> Communication:
    ranks, batch = settings.ranks, settings.batch_size * settings.ranks
    others = ranks - 1
    feature_block = settings.batch_size * settings.embedding_size * 4
    return Communication(
        features_gather=others * feature_block * (2 if settings.centre_loss else 1),
        softmax_reductions=2 * others * 3 * 4 * batch // ranks,
        feature_gradients=others * feature_block * (2 if settings.centre_loss else 1),
        backbone_gradients=2 * others * 4 * backbone.parameters // ranks,
    )


def _advise(plan: Plan, backbone: BackboneSize) -> Iterator[str]:
    settings, memory = plan.settings, plan.memory
    backbone_work = 3 * backbone.multiplications_per_image * settings.batch_size
    share = plan.multiplications_per_step / (plan.multiplications_per_step + backbone_work)
    if settings.sample_rate >= 1.0:
        yield _advise_sampling(plan, make_plan(replace(settings, sample_rate=0.1), backbone), share)
    else:
        full = make_plan(replace(settings, sample_rate=1.0), backbone)
        saved = full.memory.classifier_peak - memory.classifier_peak
        yield (
            f"sampling at {settings.sample_rate:g} saves {saved / _MB:,.0f} MB per rank against all classes; "
            f"{plan.rows_in_step:,} of {plan.rows_per_rank:,} rows take part in a step"
        )
        if plan.rows_in_step < 2 * settings.batch_size:
            yield "few negatives are left beside the classes of the batch: raise --sample_rate"
    # Below a fifth of the memory, halving the momentum changes little.
    if memory.classifier_momentum > 0.2 * memory.total and settings.momentum_dtype == "float32":
        half = memory.classifier_momentum / 2 / _MB
        yield f"a momentum in bfloat16 would save {half:,.0f} MB per rank"
    if settings.ranks == 1 and memory.classifier_peak > 0.5 * memory.total:
        yield "more ranks would split the classifier, the largest part: each holds its share of the classes only"
    if 4 * settings.batch_size * settings.ranks * plan.rows_in_step > settings.logits_bytes:
        yield (
            "the logits exceed their limit and are worked through in pieces and computed twice: "
            "more ranks, a smaller batch or sampling avoid that"
        )


def _advise_sampling(plan: Plan, sampled: Plan, share: float) -> str:
    """Compare a run with all classes, whose classifier does ``share`` of the arithmetic, with sampling at .1."""
    memory = plan.memory
    saved = memory.classifier_peak - sampled.memory.classifier_peak
    # Sampling may cost some accuracy; for less than a third of memory or arithmetic that is not worth it.
    if share > 0.3 or saved > 0.3 * memory.total:
        work = sampled.multiplications_per_step / plan.multiplications_per_step
        return (
            f"sampling pays: --sample_rate 0.1 saves {saved / _MB:,.0f} MB per rank, and the classifier, "
            f"{share:.0%} of the arithmetic, shrinks to {work:.0%} of its work"
        )
    return (
        f"sampling does not pay: the classifier is {memory.classifier_peak / memory.total:.0%} of the memory "
        f"and {share:.0%} of the arithmetic; keep --sample_rate 1"
    )
