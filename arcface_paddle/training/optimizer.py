"""The backbone's optimizer, loss scaling and the skipping of broken steps, without asking the device for a number.

A step whose gradient is not finite must leave no trace: weights, momentum, BatchNorm statistics and classifier stay
as they were. Whether it is finite is known on the device only, and fetching it would stall the device once per step;
so the decision stays a tensor and enters the update as one. The host reads it at log steps.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Iterable, Mapping, Optional, Sequence, Union

import numpy as np
import paddle
from paddle import nn

from arcface_paddle import devices, distributed
from arcface_paddle.heads.memory import STATES_OF
from arcface_paddle.heads.update_rules import COUNT, Update, UpdateRule, change_of, first_states

_SCALE_GROWTH_INTERVAL = 2000  # good steps before the loss scale doubles (Micikevicius et al. 2018, as apex has it)
_SCALE_LEAST, _SCALE_MOST = 1.0, 2.0**24
WEIGHT_ALIGNMENT = 64
"""Values; 256 bytes, as Paddle itself aligns what it puts into one piece for a GPU, which reads by the vector."""
_UNDECAYED_LAYERS = (nn.PReLU, nn.layer.norm._BatchNormBase, nn.LayerNorm, nn.GroupNorm)


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


@dataclass(frozen=True, eq=False)
class FlatLayout:
    """How parameters of a network lie in a flat tensor.

    Attributes:
        length: of the flat tensor, gaps included.
        weights: the parameters.
        starts: the first place of each; a gap between two of them holds zeros.
        positions: for each how many trainable parameters come before it in the network.
    """

    length: int
    weights: Sequence[paddle.Tensor]
    starts: Sequence[int]
    positions: Sequence[int]

    def part(self, flat: paddle.Tensor, number: int) -> paddle.Tensor:
        """Return the memory of a parameter in a flat tensor, in the parameter's shape."""
        weight, start = self.weights[number], self.starts[number]
        part = flat._slice(start, start + int(np.prod(weight.shape)))
        part.get_tensor()._set_dims(weight.shape)
        return part


class FlatOptimizer:
    """An update rule over the trainable parameters of a network.

    States and gradients live in flat tensors, one per weight-decay group, so that a step costs a few large
    operations, and one all-reduce, instead of a few per parameter.
    """

    def __init__(
        self,
        network: nn.Layer,
        rule: UpdateRule,
        *,
        weight_decay: float = 0.0,
        decay_norm: bool = True,
        alignment: Optional[int] = None,
        pull_to_start: float = 0.0,
    ) -> None:
        """Begin without momentum.

        Args:
            network: whose parameters are updated.
            rule: how.
            weight_decay: L2 penalty.
            decay_norm: False leaves out what ``norm_parameter_names`` names.
            alignment: the parameters of a group become parts of one flat tensor, each at a multiple of so many values,
                and an update changes that one; None = each keeps memory of its own and is changed by itself.
            pull_to_start: share of the way back to the weights of now that every update goes, times the learning rate.
        """
        self._rule = rule
        undecayed = frozenset() if decay_norm else norm_parameter_names(network)
        trainable = [(name, weight) for name, weight in network.named_parameters() if not weight.stop_gradient]
        self._groups = [
            _FlatGroup(
                [pair for pair in trainable if (pair[0] in undecayed) == is_undecayed], rule, decay, alignment=alignment
            )
            for is_undecayed, decay in ((False, weight_decay), (True, 0.0))
        ]
        self._groups = [group for group in self._groups if group.names]
        for group in self._groups if pull_to_start > 0.0 else ():
            group.pull_to_here(pull_to_start)
        self._positions = {name: position for position, (name, _) in enumerate(trainable)}

    def has_gradient(self) -> bool:
        """Tell whether any parameter has a gradient, or there is none to have one; nothing waits for its values."""
        return not self._groups or any(group.has_gradient() for group in self._groups)

    def collect_gradients(self) -> list[paddle.Tensor]:
        """Return the raw gradients as flat float32 tensors, one per group, and clear those of the parameters."""
        return [group.collect_gradients() for group in self._groups]

    def layouts(self) -> list[FlatLayout]:
        """Return how the parameters lie in the tensors of ``collect_gradients``, one layout each."""
        return [group.layout(self._positions) for group in self._groups]

    @paddle.no_grad()
    def apply(
        self,
        gradients: Sequence[paddle.Tensor],
        verdict: StepVerdict,
        lr: float,
        *,
        decay_share: Union[float, paddle.Tensor] = 1.0,
    ) -> None:
        """Update the parameters from the flat gradients, unless the verdict forbids it.

        Args:
            gradients: flat as ``collect_gradients`` gives them, summed over the ranks.
            verdict: on the step.
            lr: learning rate.
            decay_share: number that the weight decay is multiplied with.
        """
        for group, gradient in zip(self._groups, gradients):
            group.apply(gradient, verdict, lr=lr, decay_share=decay_share)

    @paddle.no_grad()
    def decayed_square_sum(self) -> paddle.Tensor:
        """Return the sum of squares of the parameters that weight decay acts on, 0-d float32."""
        squares = [group.square_sum() for group in self._groups if group.weight_decay > 0]
        return paddle.stack(squares).sum() if squares else paddle.zeros([], dtype="float32")

    def start_digest(self) -> str:
        """Return a word for the weights that every update is pulled to; empty without such a pull."""
        starts = {name: array for group in self._groups for name, array in group.start().items()}
        if not starts:
            return ""
        return hashlib.sha256(b"".join(starts[name].tobytes() for name in sorted(starts))).hexdigest()[:16]

    def states(self) -> dict[str, dict[str, np.ndarray]]:
        """Return every state of the rule (``STATES_OF``) as arrays by the structured names of the parameters."""
        return {
            state: {name: array for group in self._groups for name, array in group.state(state).items()}
            for state in STATES_OF[self._rule.name]
        }

    def load_states(self, states: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Set all states; the names and shapes are those of ``states``.

        Raises:
            KeyError: a state is missing, or a parameter in it.
            ValueError: an array has another shape.
        """
        for group in self._groups:
            for state in STATES_OF[self._rule.name]:
                group.load_state(state, states[state])

    def updates(self) -> dict[str, float]:
        """Return the number of updates that the correction of Adam's moments counts; nothing for SGD."""
        return {COUNT: self._groups[0].count()} if self._groups and self._rule.name != "sgd" else {}

    def load_updates(self, updates: Mapping[str, float]) -> None:
        """Continue from what ``updates`` has given."""
        for group in self._groups if self._rule.name != "sgd" else ():
            group.load_count(updates.get(COUNT, 0.0))


class _FlatGroup:
    """Parameters that share a weight decay, with the states of the rule in one flat tensor each."""

    def __init__(
        self,
        named: Iterable[tuple[str, paddle.Tensor]],
        rule: UpdateRule,
        weight_decay: float,
        *,
        alignment: Optional[int],
    ) -> None:
        pairs = list(named)
        self.names = [name for name, _ in pairs]
        self._weights = [weight for _, weight in pairs]
        self._sizes = [int(np.prod(weight.shape)) for weight in self._weights]
        self._gaps = [-size % (alignment or 1) for size in self._sizes]
        self._starts = np.cumsum([0, *(size + gap for size, gap in zip(self._sizes, self._gaps))])[:-1]
        self.weight_decay = weight_decay
        self._rule = rule
        self._states = first_states(rule, paddle.zeros([sum(self._sizes) + sum(self._gaps)]), count_shape=[1])
        self._shared: Optional[paddle.Tensor] = None
        self._parts: list[paddle.Tensor] = []
        self._start: Optional[paddle.Tensor] = None
        self._pull = 0.0
        if alignment is not None and self._weights:
            self._share_memory()

    @paddle.no_grad()
    def _share_memory(self) -> None:
        """Put the weights into one flat tensor, in which they lie from here on."""
        self._shared = self._joined([weight.flatten() for weight in self._weights])
        self._attach(self._shared)

    def _attach(self, shared: paddle.Tensor) -> None:
        """Let the weights lie in a flat tensor, with the values that are there."""
        layout = self.layout(dict.fromkeys(self.names, 0))
        self._parts = [layout.part(shared, number) for number in range(len(self._weights))]
        for part, weight in zip(self._parts, self._weights):
            part._share_buffer_to(weight)

    def layout(self, positions: Mapping[str, int]) -> FlatLayout:
        """Return how the weights lie in a flat tensor; ``positions`` in the network are by name."""
        starts = [int(start) for start in self._starts]
        length = sum(self._sizes) + sum(self._gaps)
        return FlatLayout(length, self._weights, starts, [positions[name] for name in self.names])

    def _joined(self, flat: Sequence[paddle.Tensor]) -> paddle.Tensor:
        """Concatenate one tensor per weight, with zeros in the gaps between them."""
        pieces = []
        for tensor, gap in zip(flat, self._gaps):
            pieces += [tensor, paddle.zeros([gap])] if gap else [tensor]
        return paddle.concat(pieces)

    def has_gradient(self) -> bool:
        """Tell whether any parameter has a gradient; nothing waits for its values."""
        return any(weight.grad is not None for weight in self._weights)

    @paddle.no_grad()
    def pull_to_here(self, pull: float) -> None:
        """Note the weights of now; every update goes ``pull`` times the learning rate of the way back to them."""
        self._start, self._pull = self._flat_weights().clone(), pull

    def start(self) -> dict[str, np.ndarray]:
        """Return the weights that are pulled to, by the names of the parameters; nothing without a pull."""
        return {} if self._start is None else self._by_name(devices.to_host(self._start))

    @paddle.no_grad()
    def collect_gradients(self) -> paddle.Tensor:
        flat = self._joined(
            [
                (paddle.zeros_like(weight) if weight.grad is None else weight.grad).flatten().astype("float32")
                for weight in self._weights
            ]
        )
        for weight in self._weights:  # only now: flatten gives views of the gradients
            weight.clear_gradient(set_to_zero=False)
        return flat

    def apply(
        self, gradient: paddle.Tensor, verdict: StepVerdict, *, lr: float, decay_share: Union[float, paddle.Tensor]
    ) -> None:
        update = Update(lr, decay=self.weight_decay * decay_share, finite=verdict.finite)
        weights = self._flat_weights()
        change, self._states = change_of(
            self._rule, weights, gradient * verdict.factor, states=self._states, update=update
        )
        if self._start is not None:  # beside the rule: it shall neither gather in the momentum nor be clipped
            change = change + (weights - self._start) * (update.permitted * (lr * self._pull))
        if self._shared is not None:
            weights.subtract_(change)
            if not weights._is_shared_buffer_with(self._parts[0]):  # in place by way of the CPU, where a kernel lacks
                self._attach(weights)
            return
        for weight, part in zip(self._weights, paddle.split(change, self._sizes)):
            weight.subtract_(part.reshape(weight.shape))

    def square_sum(self) -> paddle.Tensor:
        return self._flat_weights().square().sum()

    def _flat_weights(self) -> paddle.Tensor:
        if self._shared is None:
            return paddle.concat([weight.flatten() for weight in self._weights])
        # Whoever gives a parameter other memory means what is there now; an update of ours would never reach it.
        if not all(part._is_shared_buffer_with(weight) for part, weight in zip(self._parts, self._weights)):
            self._share_memory()
        return self._shared

    def state(self, state: str) -> dict[str, np.ndarray]:
        return self._by_name(self._states[state].numpy())

    def _by_name(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        return {
            name: flat[start : start + size].reshape(weight.shape)
            for name, start, size, weight in zip(self.names, self._starts, self._sizes, self._weights)
        }

    def load_state(self, state: str, arrays: Mapping[str, np.ndarray]) -> None:
        flat = np.zeros(self._states[state].shape, np.float32)
        for name, start, size, weight in zip(self.names, self._starts, self._sizes, self._weights):
            part = np.asarray(arrays[name], np.float32)
            if part.shape != tuple(weight.shape):
                raise ValueError(f"{name} has shape {part.shape}, needed: {tuple(weight.shape)}")
            flat[start : start + size] = part.reshape(-1)
        self._states[state] = devices.to_device(flat)

    def count(self) -> float:
        return float(devices.to_host(self._states[COUNT])[0])

    def load_count(self, count: float) -> None:
        self._states[COUNT] = paddle.full([1], float(count), dtype="float32")


def norm_parameter_names(network: nn.Layer) -> frozenset[str]:
    """Return the names of all biases, of the parameters of normalisations and PReLU, and of what layers name.

    A layer names position embeddings, scales and the like in its attribute ``undecayed_parameters``.
    """
    return frozenset(
        f"{path}.{name}" if path else name
        for path, layer in network.named_sublayers(include_self=True)
        for name, weight in layer.named_parameters(include_sublayers=False)
        if not weight.stop_gradient
        if name == "bias" or isinstance(layer, _UNDECAYED_LAYERS) or name in getattr(layer, "undecayed_parameters", ())
    )


class LossScaler:
    """Dynamic loss scale, kept on the device; with ``enabled=False`` the scale is 1 and stays so."""

    def __init__(self, first_scale: float, *, enabled: bool) -> None:
        self.enabled = enabled
        self.scale = paddle.full([], float(first_scale) if enabled else 1.0, dtype="float32")
        self._good_steps = paddle.zeros([], dtype="int32")

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
            self.scale = paddle.full([], float(state["scale"]), dtype="float32")
            self._good_steps = paddle.full([], int(state["good_steps"]), dtype="int32")


class DecayCoefficient:
    """A factor on the weight decay that shrinks whenever the L2 term exceeds the data loss, kept on the device.

    So a penalty that is too strong for the beginning, when the weights are large, finds its size by itself. The factor
    never grows again.
    """

    def __init__(self, shrink: float) -> None:
        """Begin at 1; ``shrink`` is what the factor is multiplied with each time, and 1 switches all of it off."""
        self._shrink = shrink
        self.value = paddle.ones([], dtype="float32")

    @property
    def enabled(self) -> bool:
        """Whether the factor can change."""
        return self._shrink < 1.0

    @paddle.no_grad()
    def update(self, penalty: paddle.Tensor, loss: paddle.Tensor, *, finite: paddle.Tensor) -> None:
        """Shrink for the next step if ``penalty``, factor included, exceeds ``loss``; not on broken steps."""
        exceeded = (penalty > loss).logical_and(finite)
        self.value = paddle.where(exceeded, self.value * self._shrink, self.value)

    def state(self) -> dict[str, float]:
        """Return the factor as a plain number; nothing where it cannot change."""
        return {"coefficient": float(self.value)} if self.enabled else {}

    def load_state(self, state: Mapping[str, float]) -> None:
        """Continue from ``state``; ignored where the factor cannot change."""
        if self.enabled:
            self.value = paddle.full([], float(state.get("coefficient", 1.0)), dtype="float32")


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
