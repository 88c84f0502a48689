"""Momentum SGD, loss scaling and the skipping of broken steps, all without asking the device for a number.

A step whose gradient is not finite must leave no trace: weights, momentum, BatchNorm statistics and classifier stay
as they were. Whether it is finite is known on the device only, and fetching it would stall the device once per step;
so the decision stays a tensor and enters the update through ``paddle.where``. The host reads it at log steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, Mapping, Sequence

import numpy as np
import paddle
from paddle import nn

from arcface_paddle import distributed

_SCALE_GROWTH_INTERVAL = 2000  # good steps before the loss scale doubles (Micikevicius et al. 2018, as apex has it)
_SCALE_LEAST, _SCALE_MOST = 1.0, 2.0**24


@dataclass(frozen=True)
class StepVerdict:
    """What was decided about the gradient of one step; all are 0-d tensors on the device.

    Attributes:
        finite: bool; False means that the step must not change anything.
        norm: float32, global L2 norm of the unscaled gradient, classifier included, before clipping.
        factor: float32, what the raw gradient is multiplied with: unscaling times clipping; 0 if not finite.
    """

    finite: paddle.Tensor
    norm: paddle.Tensor
    factor: paddle.Tensor


def judge_gradient(square_sum: paddle.Tensor, *, loss_scale: paddle.Tensor, clip_norm: float) -> StepVerdict:
    """Decide on a step from the squared norm of its scaled gradient, the same on all ranks.

    Args:
        square_sum: 0-d float32, sum of squares over backbone and all classifier shards.
        loss_scale: 0-d float32 factor that the loss was multiplied with.
        clip_norm: largest norm allowed; 0 switches clipping off.
    """
    norm = paddle.sqrt(square_sum) / loss_scale
    finite = paddle.isfinite(norm)
    factor = 1.0 / loss_scale
    if clip_norm > 0:
        factor = factor * paddle.clip(clip_norm / paddle.clip(norm, min=1e-12), max=1.0)
    return StepVerdict(finite=finite, norm=norm, factor=paddle.where(finite, factor, paddle.zeros_like(factor)))


class MomentumSgd:
    """Momentum SGD over the trainable parameters of a network: ``v = mu v + g + decay w``, ``w = w - lr v``.

    Velocity and gradients live in flat tensors, one per weight-decay group, so that a step costs a few large
    operations, and one all-reduce, instead of a few per parameter.
    """

    def __init__(
        self, network: nn.Layer, *, momentum: float = 0.9, weight_decay: float = 0.0, decay_norm: bool = True
    ) -> None:
        self._momentum = momentum
        undecayed = frozenset() if decay_norm else norm_parameter_names(network)
        trainable = [(name, weight) for name, weight in network.named_parameters() if not weight.stop_gradient]
        self._groups = [
            _FlatGroup([pair for pair in trainable if (pair[0] in undecayed) == is_undecayed], decay)
            for is_undecayed, decay in ((False, weight_decay), (True, 0.0))
        ]
        self._groups = [group for group in self._groups if group.names]

    def collect_gradients(self) -> list[paddle.Tensor]:
        """Return the raw gradients as flat float32 tensors, one per group, and clear those of the parameters."""
        return [group.collect_gradients() for group in self._groups]

    @paddle.no_grad()
    def apply(self, gradients: Sequence[paddle.Tensor], verdict: StepVerdict, lr: float) -> None:
        """Update the parameters from the flat gradients, unless the verdict forbids it."""
        for group, gradient in zip(self._groups, gradients):
            group.apply(gradient, verdict, momentum=self._momentum, lr=lr)

    def velocities(self) -> dict[str, np.ndarray]:
        """Return the velocity of every parameter by its structured name."""
        return {name: array for group in self._groups for name, array in group.velocities().items()}

    def load_velocities(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Set all velocities; the names and shapes are those of ``velocities``.

        Raises:
            KeyError: a parameter has no velocity in ``arrays``.
            ValueError: a velocity has another shape.
        """
        for group in self._groups:
            group.load_velocities(arrays)


class _FlatGroup:
    """Parameters that share a weight decay, with their velocity in one flat tensor."""

    def __init__(self, named: Iterable[tuple[str, paddle.Tensor]], weight_decay: float) -> None:
        pairs = list(named)
        self.names = [name for name, _ in pairs]
        self._weights = [weight for _, weight in pairs]
        self._sizes = [int(np.prod(weight.shape)) for weight in self._weights]
        self._weight_decay = weight_decay
        self._velocity = paddle.zeros([sum(self._sizes)], dtype="float32")

    @paddle.no_grad()
    def collect_gradients(self) -> paddle.Tensor:
        flat = paddle.concat(
            [
                (paddle.zeros_like(weight) if weight.grad is None else weight.grad).flatten().astype("float32")
                for weight in self._weights
            ]
        )
        for weight in self._weights:  # only now: flatten gives views of the gradients
            weight.clear_gradient(set_to_zero=False)
        return flat

    def apply(self, gradient: paddle.Tensor, verdict: StepVerdict, *, momentum: float, lr: float) -> None:
        gradient = gradient * verdict.factor
        if self._weight_decay > 0:
            flat_weights = paddle.concat([weight.flatten() for weight in self._weights])
            gradient = gradient + self._weight_decay * flat_weights
        velocity = self._velocity * momentum + gradient
        change = paddle.where(verdict.finite, velocity * lr, paddle.zeros_like(velocity))
        self._velocity = paddle.where(verdict.finite, velocity, self._velocity)
        for weight, part in zip(self._weights, paddle.split(change, self._sizes)):
            weight.subtract_(part.reshape(weight.shape))

    def velocities(self) -> dict[str, np.ndarray]:
        parts = np.split(self._velocity.numpy(), np.cumsum(self._sizes)[:-1])
        return {name: part.reshape(weight.shape) for name, weight, part in zip(self.names, self._weights, parts)}

    def load_velocities(self, arrays: Mapping[str, np.ndarray]) -> None:
        parts = [np.asarray(arrays[name], np.float32) for name in self.names]
        for name, part, weight in zip(self.names, parts, self._weights):
            if part.shape != tuple(weight.shape):
                raise ValueError(f"{name} has shape {part.shape}, needed: {tuple(weight.shape)}")
        self._velocity = paddle.to_tensor(np.concatenate([part.reshape(-1) for part in parts]))


def norm_parameter_names(network: nn.Layer) -> frozenset[str]:
    """Return the names of the parameters of BatchNorm, GroupNorm and PReLU layers and of all biases."""
    return frozenset(
        f"{path}.{name}" if path else name
        for path, layer in network.named_sublayers(include_self=True)
        for name, weight in layer.named_parameters(include_sublayers=False)
        if not weight.stop_gradient
        if name == "bias" or isinstance(layer, (nn.PReLU, nn.GroupNorm, nn.layer.norm._BatchNormBase))
    )


class LossScaler:
    """Dynamic loss scale, kept on the device; with ``enabled=False`` the scale is 1 and stays so."""

    def __init__(self, first_scale: float, *, enabled: bool) -> None:
        self.enabled = enabled
        self.scale = paddle.to_tensor(float(first_scale) if enabled else 1.0, dtype="float32")
        self._good_steps = paddle.to_tensor(0, dtype="int32")

    @paddle.no_grad()
    def update(self, finite: paddle.Tensor) -> None:
        """Halve the scale after a broken step; double it after ``_SCALE_GROWTH_INTERVAL`` good ones in a row."""
        if not self.enabled:
            return
        good_steps = paddle.where(finite, self._good_steps + 1, paddle.zeros_like(self._good_steps))
        grown = good_steps >= _SCALE_GROWTH_INTERVAL
        scale = paddle.where(finite, paddle.where(grown, self.scale * 2.0, self.scale), self.scale * 0.5)
        self.scale = paddle.clip(scale, _SCALE_LEAST, _SCALE_MOST)
        self._good_steps = paddle.where(grown, paddle.zeros_like(good_steps), good_steps)

    def state(self) -> dict[str, float]:
        """Return scale and count of good steps as plain numbers."""
        return {"scale": float(self.scale), "good_steps": int(self._good_steps)}

    def load_state(self, state: Mapping[str, float]) -> None:
        """Continue from ``state``; ignored where scaling is off."""
        if self.enabled:
            self.scale = paddle.to_tensor(float(state["scale"]), dtype="float32")
            self._good_steps = paddle.to_tensor(int(state["good_steps"]), dtype="int32")


class RunningStatistics:
    """The running statistics of BatchNorm between steps: the same on all ranks, and free of broken steps.

    The forward pass changes them before anybody knows whether the step is finite, and each rank by its own batch.
    Averaging after every step, not only when saving, keeps a run independent of when it saves.
    """

    def __init__(self, network: nn.Layer, *, average: bool) -> None:
        """Take the statistics of ``network``; ``average`` = ranks have different ones (local BatchNorm)."""
        values = [value for value in network.state_dict().values() if value.stop_gradient]
        self._tensors = [value for value in values if value.dtype == paddle.float32]
        self._sizes = [int(np.prod(value.shape)) for value in self._tensors]
        self._average = average and distributed.world_size() > 1
        self._before = self._flat()

    def _flat(self) -> paddle.Tensor:
        if not self._tensors:
            return paddle.zeros([0])
        return paddle.concat([value.detach().flatten() for value in self._tensors])

    @paddle.no_grad()
    def remember(self) -> None:
        """Note the statistics before the forward passes of a step."""
        self._before = self._flat()

    @paddle.no_grad()
    def settle(self, finite: paddle.Tensor) -> None:
        """Average the statistics over the ranks, or put the noted ones back if the step was broken."""
        if not self._tensors:
            return
        after = self._flat()
        if self._average:
            after = distributed.all_reduce_sum(after) / distributed.world_size()
        kept = paddle.where(finite, after, self._before)
        for value, part in zip(self._tensors, paddle.split(kept, self._sizes)):
            paddle.assign(part.reshape(value.shape), value)
