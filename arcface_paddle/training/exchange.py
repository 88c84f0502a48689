"""The sum of the backbone's gradient over the ranks: in one piece behind the backward pass, or in pieces during it.

The backward pass computes the gradients of the last layers first. In pieces ("buckets", as PyTorch's
DistributedDataParallel has them, Li et al. 2020, https://arxiv.org/abs/2006.15704) their sum is under way while those
of the first layers are still being computed, and only the last piece is waited for. Two ranks get the same bits either
way: the sum of two numbers does not depend on what is sent along with them, and the pieces are parts of the tensor that
would be sent whole.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import Callable, Optional

import numpy as np
import paddle

from arcface_paddle import distributed
from arcface_paddle.training.optimizer import FlatLayout, FlatOptimizer

_BYTES_OF_FLOAT32 = 4


class GradientExchange:
    """Sums the gradient in one piece for each group of the optimizer, behind the backward pass."""

    def __init__(self, optimizer: FlatOptimizer) -> None:
        self._optimizer = optimizer

    def begin_with_next_pass(self) -> None:
        """Note that the next backward pass is the last one of the step."""

    def finish(self) -> list[paddle.Tensor]:
        """Return the gradients as ``FlatOptimizer.collect_gradients``, but summed over the ranks.

        Raises:
            PeerLostError: a rank has ended.
        """
        return [distributed.sum_in_place(gradient) for gradient in self._optimizer.collect_gradients()]


def build_exchange(optimizer: FlatOptimizer, *, bucket_mb: float) -> GradientExchange:
    """Build the exchange of a run.

    Args:
        optimizer: whose parameters' gradients are summed.
        bucket_mb: see ``ExchangeConfig``. Small pieces cost latency; the larger they are, the later the first of them
            begins and the last one ends. On a CPU nothing overlaps, and nothing is lost.
    """
    if distributed.world_size() == 1 or bucket_mb == 0:
        return GradientExchange(optimizer)
    return BucketedExchange(optimizer.layouts(), bucket_mb=bucket_mb)


@dataclass(eq=False)
class _Bucket:
    """Neighbours in a flat gradient.

    Attributes:
        memory: theirs there, gaps included.
        weights: the parameters.
        parts: of ``memory``, one a parameter, in its shape.
        position: in the network, of the parameter whose gradient is the last to come.
        missing: numbers of the parameters whose gradient has not come in this pass.
    """

    memory: paddle.Tensor
    weights: list[paddle.Tensor]
    parts: list[paddle.Tensor]
    position: int
    missing: set[int] = field(default_factory=set)

    def fill(self) -> None:
        """Move the gradients out of the parameters, which then have none, into the memory."""
        for weight, part in zip(self.weights, self.parts):
            gradient = weight.grad
            if gradient is None:  # the loss does not depend on it
                gradient = paddle.zeros(weight.shape)
            elif gradient.dtype != part.dtype:
                gradient = gradient.astype(part.dtype)
            part.copy_(gradient, False)
            weight.clear_gradient(set_to_zero=False)


class BucketedExchange(GradientExchange):
    """Sums the gradient in pieces, each begun as soon as all of its gradients have come.

    They go out in a fixed order, so that all ranks ask for the same, whatever gradients are missing somewhere. The
    gradients are copied once, into flat tensors that stay, and their own memory is free from then on. They cannot lie
    in the flat tensors from the start: Paddle puts what the backward pass has computed in the place of a gradient, and
    adds to one that is there; so they would have to be filled with zeros, which moves twice the bytes of a copy.
    """

    def __init__(self, layouts: list[FlatLayout], *, bucket_mb: float) -> None:
        """Listen to the gradients of all parameters.

        Args:
            layouts: how the parameters lie in flat gradients.
            bucket_mb: size of a piece that only those exceed in which a parameter is larger.
        """
        most = max(1, int(bucket_mb * 2**20 / _BYTES_OF_FLOAT32))
        self._flats = [paddle.zeros([layout.length]) for layout in layouts]
        buckets = [
            _bucket(layout, flat, numbers)
            for layout, flat in zip(layouts, self._flats)
            for numbers in cut_from_the_end(layout, most=most)
        ]
        self._buckets = sorted(buckets, key=lambda bucket: -bucket.position)
        self._listening = False
        self._begun: list[Callable[[], None]] = []  # what waits for the sums under way, one a bucket
        self._grown_late = False
        self._failure: Optional[distributed.PeerLostError] = None
        own = weakref.ref(self)  # Paddle keeps what it calls, and the garbage collector does not see that
        for turn, bucket in enumerate(self._buckets):
            for number, weight in enumerate(bucket.weights):
                weight._register_backward_hook(_listener(own, turn, number))

    def begin_with_next_pass(self) -> None:
        """Note that the next backward pass is the last one of the step; gradients of earlier ones only add up."""
        self._listening = True
        self._begun = []
        for bucket in self._buckets:
            bucket.missing = set(range(len(bucket.weights)))

    def finish(self) -> list[paddle.Tensor]:
        """Begin with what is left, and hold up the device's queue until all sums are there.

        Raises:
            PeerLostError: a rank has ended.
        """
        while len(self._begun) < len(self._buckets):
            self._begin_next()
        self._listening = False
        for wait in self._begun:
            wait()
        assert not self._grown_late, "a gradient has grown behind its sum: was the backward pass done in parts?"
        return self._flats

    def note_gradient(self, turn: int, number: int) -> None:
        """Hear that the gradient of a parameter has come, and begin with all buckets whose turn it is.

        Args:
            turn: of the bucket.
            number: of the parameter in it.
        """
        if not self._listening or self._failure is not None:
            return
        self._grown_late |= turn < len(self._begun)
        self._buckets[turn].missing.discard(number)
        try:
            while len(self._begun) < len(self._buckets) and not self._buckets[len(self._begun)].missing:
                self._begin_next()
        except distributed.PeerLostError as error:
            self._failure = error  # told of by finish: out of the backward pass would come a SystemError of Paddle's

    def _begin_next(self) -> None:
        if self._failure is not None:
            raise self._failure
        bucket = self._buckets[len(self._begun)]
        bucket.fill()
        self._begun.append(distributed.begin_sum_in_place(bucket.memory))


def cut_from_the_end(layout: FlatLayout, *, most: int) -> list[range]:
    """Cut a layout into ranges of parameters, the last ones first.

    Args:
        layout: of the flat tensor.
        most: values in a range, gaps included; a parameter that has more takes along the small ones behind it, as the
            dense layer of an iresnet the 4 kB of its bias and normalisation.
    """
    sizes = np.diff([*layout.starts, layout.length])
    ranges, stop = [], len(sizes)
    while stop:
        begin = stop - 1
        held = sizes[begin]
        while begin and held <= most and (held + sizes[begin - 1] <= most or sizes[begin - 1] > most):
            begin -= 1
            held += sizes[begin]
        ranges.append(range(begin, stop))
        stop = begin
    return ranges


def _bucket(layout: FlatLayout, flat: paddle.Tensor, numbers: range) -> _Bucket:
    end = layout.starts[numbers.stop] if numbers.stop < len(layout.starts) else layout.length
    return _Bucket(
        memory=flat._slice(layout.starts[numbers.start], end),
        weights=[layout.weights[number] for number in numbers],
        parts=[layout.part(flat, number) for number in numbers],
        position=min(layout.positions[number] for number in numbers),
    )


def _listener(exchange: weakref.ref[BucketedExchange], turn: int, number: int) -> Callable[[], None]:
    """Return what Paddle calls whenever a backward pass has added to the gradient of a parameter."""

    def note() -> None:
        own = exchange()
        if own is not None:
            own.note_gradient(turn, number)

    return note
