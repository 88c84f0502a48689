"""The class centres of a training run, split over the ranks, with their own update rule and its states.

One class serves 1 to N ranks. A row of the arrays is a class: its centre, its sub-centres one behind the other, or the
weights of a dense layer and their bias (``class_scores``). A rank holds a contiguous range of classes
(``sampling.class_range``). With ``sample_rate`` below 1 a step touches only the sampled rows of centres and states
(PartialFC).

Who divides by what: ``loss`` is the mean over the global batch. A caller that accumulates k passes per step multiplies
each loss by 1/k (and by its loss scale) before ``backward``; centre gradients add up here, unscaled, until ``step``,
whose ``factor`` undoes the loss scale and applies clipping. No gradient of a centre is ever divided by, or summed over,
the number of ranks: the owner sees the whole global batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Iterator, Mapping, Optional, Union

import numpy as np
import paddle

from arcface_paddle import devices, distributed
from arcface_paddle.errors import CheckpointError, ConfigError, DataError
from arcface_paddle.heads.centre_loss import FeatureCentres
from arcface_paddle.heads.class_scores import CosineScores, LinearScores
from arcface_paddle.heads.focal import check_gamma
from arcface_paddle.heads.margins import Margin
from arcface_paddle.heads.memory import BYTES_OF, LOGITS_BYTES, UPDATE_BLOCK_ROWS
from arcface_paddle.heads.row_access import Rows, read_rows, write_rows
from arcface_paddle.heads.sampling import class_range, rounded_up, sampled_classes, usual_count
from arcface_paddle.heads.sharded_softmax import ShardPass, sharded_softmax_loss
from arcface_paddle.heads.update_rules import MOMENTUM_SGD, Update, UpdateRule, change_of, first_states

_INIT_STD = 0.01  # of the published training code
_INIT_BLOCK_ROWS = 1024  # rows drawn from one random stream, so that a centre's start depends on its class only
_Number = Union[float, paddle.Tensor]


@dataclass(frozen=True)
class ClassifierSettings:
    """What a sharded classifier is made of.

    Attributes:
        num_classes: number of classes over all ranks; at least the number of ranks.
        embedding_size: length of the embedding, D.
        sample_rate: share of the classes that take part in a step, besides those of the batch; 1 = all.
        rule: how the centres follow their gradient.
        subcentres: centres a class, K; its cosine is the largest.
        focal_gamma: exponent of the focal loss; 0 = the cross-entropy.
        centre_weight: factor lambda on the centre loss, which is added to the softmax; 0 = none.
        centre_alpha: rate at which the feature centres of the centre loss move.
        weight_decay: L2 penalty on the rows that take part.
        weight_dtype: dtype in which the centres are stored. Half precision saves memory but loses updates that are
            below its resolution.
        momentum_dtype: dtype in which their momentum is stored; second moments are always float32, because a bfloat16
            moves by a share of 1/256 at the least, and they move by 1/1000.
        matmul_dtype: dtype of the large products; half precision needs a GPU.
        logits_bytes: size of the logits above which they are worked through in pieces and computed twice.
        row_multiple: the rows of a product are filled up with empty ones to a multiple of this, and with sampling to a
            number that does not change from step to step, which suits tensor cores (8) and allocators; results stay.
            1 = no empty rows.
        seed: seed of the first centres and of the sampling.
    """

    num_classes: int
    embedding_size: int
    sample_rate: float = 1.0
    rule: UpdateRule = MOMENTUM_SGD
    subcentres: int = 1
    focal_gamma: float = 0.0
    centre_weight: float = 0.0
    centre_alpha: float = 0.5
    weight_decay: float = 0.0
    weight_dtype: str = "float32"
    momentum_dtype: str = "float32"
    matmul_dtype: str = "float32"
    logits_bytes: int = LOGITS_BYTES
    row_multiple: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        ranks = distributed.world_size()
        if self.num_classes < ranks or self.embedding_size < 1:
            raise ConfigError(
                f"{self.num_classes} classes of size {self.embedding_size} cannot be split over {ranks} ranks; "
                "every rank needs at least one class: use fewer ranks"
            )
        if not 0.0 < self.sample_rate <= 1.0:
            raise ConfigError(f"sample_rate is {self.sample_rate}; allowed: above 0 up to 1")
        if self.row_multiple < 1:
            raise ConfigError(f"row_multiple is {self.row_multiple}; allowed: 1 or more")
        check_gamma(self.focal_gamma)
        if not 0.0 <= self.centre_weight < math.inf:
            raise ConfigError(f"centre_weight is {self.centre_weight}; allowed: 0 or more (the paper: 0.003)")
        for name in ("weight_dtype", "momentum_dtype", "matmul_dtype"):
            if getattr(self, name) not in BYTES_OF:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; allowed: {', '.join(BYTES_OF)}")


@dataclass
class _RowGradient:
    """A gradient for some rows: sorted local rows (None = all, empty ones too) and (rows, row size) float32.

    Several rows may be the empty one; its gradient is zero, and so it stays.
    """

    rows: Optional[np.ndarray]
    values: paddle.Tensor


@dataclass(frozen=True, eq=False)
class BatchClasses:
    """The classes that take part in one pass, and where the samples of the global batch are among them.

    Attributes:
        rows: (n,) sorted rows of this rank's centres that take part, on the host; None = all of them. The empty row,
            behind all others, may stand there several times.
        row_indices: the same as a tensor on the device; None = all of them.
        columns: (B,) int64, place of the sample's class among these rows; anything valid where it is not here.
        owned: (B,) bool, whether it is here.
        places: (B,) int64, place of the sample's class among all of this rank's, whether or not only some take part;
            behind the last one where it is another rank's.
        filled: how many of the rows are classes; None = all of them.
    """

    rows: Optional[np.ndarray]
    row_indices: Optional[paddle.Tensor]
    columns: paddle.Tensor
    owned: paddle.Tensor
    places: paddle.Tensor
    filled: Optional[int] = None


class ShardedClassifier:
    """Class centres of classes ``start`` to ``end`` (exclusive) of ``settings.num_classes``.

    Attributes:
        row_size: values that are kept of a class.
        feature_centres: those of the centre loss; None without it.
        margin: may be replaced between steps (softmax warm start).
        statistics: figures of the last ``loss``, 0-d tensors on the device: mean target cosine, mean target cosine with
            margin, mean feature norm.
    """

    def __init__(self, settings: ClassifierSettings, margin: Margin) -> None:
        self.settings = settings
        self.margin = margin
        self.statistics: dict[str, paddle.Tensor] = {}
        self.start, self.end = class_range(settings.num_classes, distributed.rank(), distributed.world_size())
        self._scores = _scores_of(margin, settings.subcentres)
        self.row_size = self._scores.row_size(settings.embedding_size)
        self.feature_centres = self._new_feature_centres() if settings.centre_weight > 0.0 else None
        self._decay = self._decay_of_row()
        self._count = self.end - self.start
        self._weight = devices.to_device(self._with_empty_rows(self._initial_rows())).astype(settings.weight_dtype)
        self._states = first_states(settings.rule, self._weight, count_shape=[self._weight.shape[0], 1])
        self._states["momentum"] = self._states["momentum"].astype(settings.momentum_dtype)
        self._passes: list[tuple[Optional[np.ndarray], ShardPass]] = []
        self._gradient: Optional[_RowGradient] = None

    def choose_classes(self, labels: np.ndarray, *, step: int, sampled: Optional[np.ndarray] = None) -> BatchClasses:
        """Decide which classes take part in a pass; all ranks together.

        With sampling the host must know the labels of all ranks. They come from host to host. Where Paddle has no
        Gloo they come by way of the device, so call it before the forward pass of the network is queued.

        Args:
            labels: (B,) int64 of this rank, global; B is the same on all ranks.
            step: changes the sample of classes; the same on all ranks.
            sampled: global classes to use instead of the drawn ones (classes of the batch are always used).

        Raises:
            DataError: a label is not in [0, num_classes[.
        """
        labels = np.asarray(labels, np.int64)
        self._check_labels(labels)
        if self.settings.sample_rate < 1.0 or sampled is not None:
            return self._some_classes(distributed.gather_rows(labels), step, sampled)
        return self._all_classes(distributed.all_gather(devices.to_device(labels)))

    def loss(self, features: paddle.Tensor, classes: BatchClasses) -> paddle.Tensor:
        """Return the mean loss of the global batch, centre loss included, 0-d float32, the same on every rank.

        Args:
            features: (B, D) of this rank, not normalised; B is the same on all ranks.
            classes: what ``choose_classes`` has given for the labels of these samples.
        """
        settings = self.settings
        shard_pass = ShardPass(
            centres=self._weight if classes.row_indices is None else read_rows(self._weight, classes.row_indices),
            columns=classes.columns,
            owned=classes.owned,
            margin=self.margin,
            scores=self._scores,
            focal_gamma=settings.focal_gamma,
            logits_bytes=settings.logits_bytes,
            matmul_dtype=settings.matmul_dtype,
            filled=classes.filled,
        )
        if not features.stop_gradient and paddle.is_grad_enabled():
            self._passes.append((classes.rows, shard_pass))
        loss = sharded_softmax_loss(features, shard_pass)
        self.statistics = shard_pass.statistics
        if self.feature_centres is not None:
            loss = loss + settings.centre_weight * self.feature_centres.loss(features, classes.places)
        return loss

    def gradient_square_sum(self) -> paddle.Tensor:
        """Return the sum of squares of this rank's centre gradient, 0-d float32; add it over ranks for a norm."""
        self._collect()
        if self._gradient is None:
            return paddle.zeros([], dtype="float32")
        return self._gradient.values.square().sum()

    def weight_square_sum(self) -> paddle.Tensor:
        """Return the sum of squares of this rank's centres that take part in the step, 0-d float32.

        These are the centres that weight decay acts on; add it over ranks, before ``step``.
        """
        self._collect()
        total = paddle.zeros([], dtype="float32")
        for rows, _ in _blocks(self._gradient) if self._gradient is not None else ():
            squares = read_rows(self._weight, rows).astype("float32").square()
            if not isinstance(self._decay, float):
                squares = squares * (self._decay > 0).astype("float32")
            total = total + squares.sum()
        return total

    def gradient(self) -> np.ndarray:
        """Return the gradient of this rank's centres, (end - start, row size), zero in rows that took no part."""
        self._collect()
        dense = np.zeros(self._weight.shape, np.float32)
        if self._gradient is not None:
            dense[slice(None) if self._gradient.rows is None else self._gradient.rows] = self._gradient.values.numpy()
        return dense[: self._count]

    @paddle.no_grad()
    def step(
        self,
        lr: float,
        *,
        factor: _Number = 1.0,
        finite: Optional[paddle.Tensor] = None,
        decay_share: _Number = 1.0,
    ) -> None:
        """Update the rows that took part by the rule of the settings, and clear the gradient.

        The feature centres of the centre loss move, and the margin's statistics are settled, too.

        Args:
            lr: learning rate.
            factor: number that the gradient is multiplied with (1 / loss scale, clipping).
            finite: 0-d bool on the device; when False nothing changes, whatever the gradient holds.
            decay_share: number that the weight decay is multiplied with.
        """
        self._collect()
        self.margin.settle(finite)
        if self.feature_centres is not None:
            self.feature_centres.step(finite)
        gradient, self._gradient = self._gradient, None
        if gradient is None:
            return
        settings = self.settings
        update = Update(lr, decay=self._decay * decay_share, finite=finite)
        for rows, part in _blocks(gradient):
            weight = read_rows(self._weight, rows).astype("float32")
            states = {name: read_rows(state, rows).astype("float32") for name, state in self._states.items()}
            change, states = change_of(settings.rule, weight, part * factor, states=states, update=update)
            for name, state in states.items():
                write_rows(self._states[name], rows, state.astype(self._states[name].dtype))
            write_rows(self._weight, rows, (weight - change).astype(settings.weight_dtype))

    def weight(self) -> np.ndarray:
        """Return this rank's centres, (end - start, row size) float32."""
        return self._weight.astype("float32").numpy()[: self._count]

    def velocity(self) -> np.ndarray:
        """Return this rank's momentum, (end - start, row size) float32."""
        return self._states["momentum"].astype("float32").numpy()[: self._count]

    def extra_states(self) -> dict[str, np.ndarray]:
        """Return the rule's states besides the momentum: (end - start, row size), and (end - start, 1) of the count."""
        return {name: state.numpy()[: self._count] for name, state in self._states.items() if name != "momentum"}

    def load_rows(
        self,
        start: int,
        weight: np.ndarray,
        velocity: Optional[np.ndarray] = None,
        *,
        extra_states: Optional[Mapping[str, np.ndarray]] = None,
    ) -> int:
        """Take over what these rows and this rank have in common, and return how many rows that was.

        Calling it for every shard of a checkpoint restores a run on any number of ranks.

        Args:
            start: global class of the first row.
            weight: (rows, row size).
            velocity: (rows, row size); None leaves the momentum of the rows alone.
            extra_states: what ``extra_states`` has given; None leaves them alone.

        Raises:
            CheckpointError: another size of a row, or classes beyond the last.
        """
        size, end = self.row_size, start + len(weight)
        states = {**(extra_states or {}), **({} if velocity is None else {"momentum": velocity})}
        for array, width in [(weight, size), *((states[name], self._states[name].shape[1]) for name in states)]:
            if array.shape != (end - start, width):
                raise CheckpointError(f"classifier rows are {array.shape}, expected ({end - start}, {width})")
        if start < 0 or end > self.settings.num_classes:
            raise CheckpointError(
                f"classifier rows {start} to {end} are outside of {self.settings.num_classes} classes"
            )
        first, last = max(start, self.start), min(end, self.end)
        if first >= last:
            return 0
        own, theirs = slice(first - self.start, last - self.start), slice(first - start, last - start)
        targets = {"weight": self._weight, **{name: self._states[name] for name in states}}
        for name, array in {"weight": weight, **states}.items():
            target = targets[name]
            target[own] = devices.to_device(np.asarray(array[theirs], np.float32)).astype(target.dtype)
        return last - first

    def _new_feature_centres(self) -> FeatureCentres:
        settings = self.settings
        return FeatureCentres(
            self.start, self.end, size=settings.embedding_size, alpha=settings.centre_alpha, seed=settings.seed
        )

    def _decay_of_row(self) -> Union[float, paddle.Tensor]:
        """Return the weight decay; 0 for a bias, as the published head has it."""
        if self.margin.on_cosines:
            return self.settings.weight_decay
        decay = np.full((1, self.row_size), self.settings.weight_decay, np.float32)
        decay[0, -1] = 0.0
        return devices.to_device(decay)

    def _initial_rows(self) -> np.ndarray:
        """Draw the first centres of this rank, N(0, .01), whatever the number of ranks; a bias begins at 0."""
        start, end = self.start, self.end
        rows = np.empty((end - start, self.row_size), np.float32)
        for block in range(start // _INIT_BLOCK_ROWS, -(-end // _INIT_BLOCK_ROWS)):
            first = block * _INIT_BLOCK_ROWS
            random = np.random.default_rng([self.settings.seed, block])
            drawn = random.standard_normal((_INIT_BLOCK_ROWS, self.row_size), np.float32)
            here, there = max(first, start), min(first + _INIT_BLOCK_ROWS, end)
            rows[here - start : there - start] = drawn[here - first : there - first] * np.float32(_INIT_STD)
        if not self.margin.on_cosines:
            rows[:, -1] = 0.0
        return rows

    def _with_empty_rows(self, rows: np.ndarray) -> np.ndarray:
        """Append rows of zeros, one at least, up to the multiple of the settings; none where that is 1."""
        multiple = self.settings.row_multiple
        count = rounded_up(len(rows) + 1, multiple) if multiple > 1 else len(rows)
        return np.concatenate([rows, np.zeros((count - len(rows), self.row_size), np.float32)])

    @property
    def _filled(self) -> Optional[int]:
        return None if self.settings.row_multiple == 1 else self._count

    def _all_classes(self, labels: paddle.Tensor) -> BatchClasses:
        local = labels - self.start
        owned = (local >= 0).logical_and(local < self._count)
        places = paddle.where(owned, local, paddle.full_like(local, self._count))
        columns = paddle.where(owned, local, paddle.zeros_like(local))
        return BatchClasses(None, None, columns, owned, places, filled=self._filled)

    def _some_classes(self, labels: np.ndarray, step: int, sampled: Optional[np.ndarray]) -> BatchClasses:
        settings = self.settings
        if sampled is None:
            sampled = sampled_classes(self.start, self.end, rate=settings.sample_rate, seed=settings.seed, step=step)
        classes = np.union1d(sampled, labels).astype(np.int64)
        rows = classes[(classes >= self.start) & (classes < self.end)] - self.start
        owned = (labels >= self.start) & (labels < self.end)
        columns = np.where(owned, np.searchsorted(rows, labels - self.start), 0)
        places = np.where(owned, labels - self.start, self._count)
        filled = None if self._filled is None else len(rows)
        rows = self._filled_up(rows, batch=len(labels))
        return BatchClasses(
            rows,
            devices.to_device(rows),
            devices.to_device(columns),
            devices.to_device(owned),
            devices.to_device(places),
            filled=filled,
        )

    def _filled_up(self, rows: np.ndarray, *, batch: int) -> np.ndarray:
        """Append the empty row as often as it takes to a number of rows that is the same in nearly all steps."""
        settings = self.settings
        if settings.row_multiple == 1:
            return rows
        usual = usual_count(
            self._count,
            rate=settings.sample_rate,
            batch=batch,
            ranks=distributed.world_size(),
            multiple=settings.row_multiple,
        )
        count = max(usual, rounded_up(len(rows), settings.row_multiple))
        return np.concatenate([rows, np.full(count - len(rows), self._count, rows.dtype)])

    def _check_labels(self, labels: np.ndarray) -> None:
        if labels.size and not (labels.min() >= 0 and labels.max() < self.settings.num_classes):
            wrong = labels.max() if labels.max() >= self.settings.num_classes else labels.min()
            raise DataError(
                f"label {wrong} in a batch, but there are {self.settings.num_classes} classes "
                f"(0 to {self.settings.num_classes - 1}): correct the labels or --num_classes"
            )

    def _collect(self) -> None:
        """Add the centre gradients of the backward passes since the last call to the gradient."""
        for rows, shard_pass in self._passes:
            if shard_pass.centre_gradient is None:
                continue
            new = _RowGradient(rows, shard_pass.centre_gradient)
            self._gradient = new if self._gradient is None else _sum(self._gradient, new, len(self._weight))
        self._passes.clear()


def _sum(first: _RowGradient, second: _RowGradient, count: int) -> _RowGradient:
    if first.rows is None and second.rows is None:
        return _RowGradient(None, first.values.add_(second.values))
    first_rows, second_rows = (np.arange(count) if part.rows is None else part.rows for part in (first, second))
    rows = np.union1d(first_rows, second_rows)
    values = paddle.zeros([len(rows), first.values.shape[1]], dtype="float32")
    for own_rows, part in ((first_rows, first.values), (second_rows, second.values)):
        if len(own_rows):
            places = devices.to_device(np.searchsorted(rows, own_rows))
            values = paddle.index_add(values, places, 0, part)
    return _RowGradient(rows, values)


def _blocks(gradient: _RowGradient) -> Iterator[tuple[Rows, paddle.Tensor]]:
    for start in range(0, gradient.values.shape[0], UPDATE_BLOCK_ROWS):
        end = min(start + UPDATE_BLOCK_ROWS, gradient.values.shape[0])
        rows = slice(start, end) if gradient.rows is None else devices.to_device(gradient.rows[start:end])
        yield rows, gradient.values[start:end]


def _scores_of(margin: Margin, subcentres: int) -> Union[CosineScores, LinearScores]:
    if margin.on_cosines:
        return CosineScores(subcentres)
    if subcentres != 1:
        raise ConfigError(f"subcentres is {subcentres}, but this loss has no cosines; choose ArcFace, CosFace, ...")
    return LinearScores()
