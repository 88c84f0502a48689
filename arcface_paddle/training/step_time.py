"""How long a training step takes on a known GPU, predicted from arithmetic and bytes, without one.

The time of a step is a sum: large products at a share of the card's peak, everything else at a share of its memory
bandwidth, and what ranks exchange. Nothing overlaps in it, except that the host prepares operations while the device
computes. What each value costs was counted in this package's own code; the shares of the peaks were fitted to the
published figures of others' trainers (``tests/training/test_training_step_time.py`` has them, and what does not fit),
because this code has not been timed on a GPU yet. Expect a factor of 1.5, data that arrive in time, one machine.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Mapping, Optional

from arcface_paddle.errors import ConfigError
from arcface_paddle.heads.memory import BYTES_OF
from arcface_paddle.training.planner import BackboneSize, Plan


@dataclass(frozen=True)
class Card:
    """A GPU on paper.

    Attributes:
        memory_gb_s: bandwidth of its memory.
        exchange_gb_s: what a ring over the cards of one machine moves per direction.
        peak_tflops: dense products by dtype, sums in float32; float32 means TF32 where the card has it, as Paddle does.
        share: of the peak that the convolutions of these networks reach; the faster the card, the smaller.
        source: where the numbers stand.
        share_of_float32: the same where float32 does without tensor cores; None = ``share``.
    """

    memory_gb_s: float
    exchange_gb_s: float
    peak_tflops: Mapping[str, float]
    share: float
    source: str
    share_of_float32: Optional[float] = None

    def products_per_s(self, precision: str) -> float:
        """Return how many additions and multiplications of large products a second does."""
        alone = self.share_of_float32 if precision == "float32" else None
        return self.peak_tflops[precision] * 1e12 * (self.share if alone is None else alone)


def _tensor_cores(half: float, single: float) -> dict[str, float]:
    return {"float32": single, "float16": half, "bfloat16": half}


CARDS: Mapping[str, Card] = {
    "V100": Card(
        900, 130, {"float32": 15.7, "float16": 125}, 0.5, "NVIDIA V100 datasheet, SXM2, NVLink 2: 150 GB/s", 0.9
    ),
    "A100": Card(2039, 230, _tensor_cores(312, 156), 0.3, "NVIDIA A100 datasheet, 80 GB SXM, NVLink 3: 300 GB/s"),
    "A100_40GB": Card(1555, 230, _tensor_cores(312, 156), 0.3, "NVIDIA A100 datasheet, 40 GB SXM, NVLink 3: 300 GB/s"),
    "H100": Card(3350, 350, _tensor_cores(989, 494), 0.2, "NVIDIA H100 datasheet, SXM, NVLink 4: 450 GB/s"),
    "RTX_4090": Card(1008, 12, _tensor_cores(165.2, 82.6), 0.5, "NVIDIA Ada whitepaper, table 2; PCIe 4 by the host"),
    "RTX_3090": Card(936, 12, _tensor_cores(71, 35.6), 0.5, "NVIDIA GA102 whitepaper, table 9; PCIe 4 by the host"),
    "A10": Card(600, 12, _tensor_cores(125, 62.5), 0.4, "NVIDIA A10 datasheet; PCIe 4 by the host"),
}
"""Cards by the names that ``arcface-paddle plan --card`` takes. A ring reaches about four fifths of what links have."""

_MEMORY_SHARE = 0.8  # of the bandwidth; what large copies reach
_PASSES_OVER_ACTIVATIONS = 9  # forward: written, read, statistics of BatchNorm; backward: values and slopes, twice
_BYTES_PER_LOGIT = {"float32": 68, "float16": 64, "bfloat16": 70}  # heads.sharded_softmax, operation by operation
_BYTES_PER_CENTRE_VALUE = 190  # of a class that takes part: 76 in both passes, 112 in the update
_BYTES_PER_PARAMETER = 100  # of the backbone's update and gradient
_COLLECTIVES, _LATENCY_S = 8, 30e-6
_HOST_S_PER_OPERATION, _OPERATIONS_PER_LAYER = 12e-6, 3  # Paddle's dynamic mode; one forward, two backward


@dataclass(frozen=True)
class StepTime:
    """Seconds of one step of one pass on one rank, by what they are for.

    Attributes:
        backbone_products: convolutions and dense layers of the backbone.
        backbone_memory: all passes over its feature maps.
        classifier_products: the three products with the class centres.
        classifier_memory: passes over logits and centres, update included.
        exchange: between ranks, on one machine.
        update: of the backbone.
        host: to prepare the operations, beside all of the above.
        images: of one rank.
        ranks: that work at the same time.
    """

    backbone_products: float
    backbone_memory: float
    classifier_products: float
    classifier_memory: float
    exchange: float
    update: float
    host: float
    images: int
    ranks: int

    @property
    def total(self) -> float:
        """Seconds of the whole step: the device's, or the host's where it is slower."""
        parts = (self.backbone_products, self.backbone_memory, self.classifier_products, self.classifier_memory)
        return max(sum(parts) + self.exchange + self.update, self.host)

    @property
    def images_per_s(self) -> float:
        """Over all ranks."""
        return self.images * self.ranks / self.total

    def as_dict(self) -> dict[str, float]:
        """Return everything, sums included."""
        return {**asdict(self), "total": self.total, "images_per_s": self.images_per_s}


def predict_step(plan: Plan, backbone: BackboneSize, card_name: str) -> StepTime:
    """Predict the time of a planned step on a card.

    Raises:
        ConfigError: an unknown card, or a precision that it has no fast products in.
    """
    card, settings = find_card(card_name), plan.settings
    if settings.precision not in card.peak_tflops:
        allowed = ", ".join(card.peak_tflops)
        raise ConfigError(f"{card_name} does not compute in {settings.precision}; choose --precision {allowed}")
    flops_s = card.products_per_s(settings.precision)
    bytes_s = card.memory_gb_s * 1e9 * _MEMORY_SHARE
    logits = settings.batch_size * settings.ranks * plan.rows_in_step * settings.subcentres
    centre_values = plan.rows_in_step * settings.subcentres * settings.embedding_size
    activations = backbone.activations_per_image * settings.batch_size * BYTES_OF[settings.precision]
    return StepTime(
        backbone_products=6 * backbone.multiplications_per_image * settings.batch_size / flops_s,
        backbone_memory=_PASSES_OVER_ACTIVATIONS * activations / bytes_s,
        classifier_products=2 * plan.multiplications_per_step / flops_s,
        classifier_memory=(_BYTES_PER_LOGIT[settings.precision] * logits + _BYTES_PER_CENTRE_VALUE * centre_values)
        / bytes_s,
        exchange=_exchange_s(plan, card),
        update=_BYTES_PER_PARAMETER * backbone.parameters / bytes_s,
        host=_HOST_S_PER_OPERATION * _OPERATIONS_PER_LAYER * backbone.layers,
        images=settings.batch_size,
        ranks=settings.ranks,
    )


def find_card(name: str) -> Card:
    """Return a card by its name.

    Raises:
        ConfigError: there is none.
    """
    if name not in CARDS:
        raise ConfigError(f"no card {name!r}; choose from {', '.join(CARDS)}")
    return CARDS[name]


def _exchange_s(plan: Plan, card: Card) -> float:
    if plan.settings.ranks == 1:
        return 0.0
    return plan.communication.total / (card.exchange_gb_s * 1e9) + _COLLECTIVES * _LATENCY_S
