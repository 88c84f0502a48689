"""Gradients in pieces: the bits of those in one piece, whatever a parameter goes through; and what may go wrong."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import paddle
import pytest
from paddle import nn

from arcface_paddle import distributed
from arcface_paddle.heads.update_rules import UpdateRule
from arcface_paddle.training.exchange import BucketedExchange, GradientExchange, build_exchange, cut_from_the_end
from arcface_paddle.training.optimizer import FlatLayout, FlatOptimizer

KB = 2**-10  # in MB


class Network(nn.Layer):
    """Has a layer that is used twice, one that the loss does not depend on, and one that is not trained."""

    def __init__(self) -> None:
        super().__init__()
        paddle.seed(0)
        self.conv = nn.Conv2D(3, 4, 3)
        self.norm = nn.BatchNorm2D(4)
        self.slope = nn.PReLU(4)
        self.twice = nn.Linear(64, 64)
        self.unused = nn.Linear(7, 5)
        self.frozen = nn.Linear(64, 64)
        self.frozen.weight.stop_gradient = True
        self.last = nn.Linear(64, 3)

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        features = self.slope(self.norm(self.conv(images))).flatten(1)
        return self.last(self.frozen(self.twice(paddle.tanh(self.twice(features)))))


def layers() -> nn.Layer:
    """Return four layers of 12 parameters each, all used."""
    return nn.Sequential(*(nn.Linear(3, 3) for _ in range(4)))


def exchange_of(network: nn.Layer, bucket_mb: float, **options) -> BucketedExchange:
    return BucketedExchange(optimizer_of(network, **options).layouts(), bucket_mb=bucket_mb)


def optimizer_of(network: nn.Layer, **options) -> FlatOptimizer:
    return FlatOptimizer(network, UpdateRule(), weight_decay=0.1, **options)


def backward(network: nn.Layer, seed: int) -> None:
    images = np.random.default_rng(seed).normal(size=(6, 3, 6, 6)).astype("float32")
    network(paddle.to_tensor(images)).square().mean().backward()


@pytest.mark.parametrize("bucket_mb", [1e-6, 5 * KB, 1000.0])
@pytest.mark.parametrize("options", [{}, {"decay_norm": False, "alignment": 64}])
def test_pieces_hold_the_bits_of_the_whole(bucket_mb, options):
    """Two steps of two passes: what is left of a step, or missing of a pass, would show."""
    whole, other = Network(), Network()
    reference, exchange = optimizer_of(whole, **options), exchange_of(other, bucket_mb, **options)
    for step in range(2):
        for network in (whole, other):
            backward(network, 2 * step)
        exchange.begin_with_next_pass()
        for network in (whole, other):
            backward(network, 2 * step + 1)
        expected, found = reference.collect_gradients(), exchange.finish()
        assert len(expected) == len(found) == (2 if options else 1)
        for one, two in zip(expected, found):
            np.testing.assert_array_equal(two.numpy().view(np.uint32), one.numpy().view(np.uint32))
        assert not any(weight.grad.numpy().any() for weight in other.parameters() if weight.grad is not None)


def test_a_broken_step_is_seen_and_leaves_nothing_behind():
    network = Network()
    exchange = exchange_of(network, 5 * KB)
    exchange.begin_with_next_pass()
    (network(paddle.ones([1, 3, 6, 6])).sum() * float("inf")).backward()
    assert not np.isfinite(exchange.finish()[0].numpy()).all()
    exchange.begin_with_next_pass()
    backward(network, 0)
    assert np.isfinite(exchange.finish()[0].numpy()).all()


def test_pieces_begin_with_the_last_layers_while_the_first_ones_are_computed(monkeypatch):
    network, events = layers(), []
    real = distributed.begin_sum_in_place

    def begin(memory: paddle.Tensor):
        events.append(memory.shape[0])
        return real(memory)

    monkeypatch.setattr(distributed, "begin_sum_in_place", begin)
    exchange = exchange_of(network, 24 * 4 / 2**20)
    network[1].weight._register_backward_hook(lambda: events.append("second layer"))
    network(paddle.ones([1, 3])).sum().backward()
    assert events == ["second layer"], "a pass after which the step goes on"
    exchange.begin_with_next_pass()
    network(paddle.ones([1, 3])).sum().backward()
    assert events[1:] == [24, "second layer", 24] and len(exchange.finish()) == 1


def test_layouts_are_cut_from_the_end():
    sizes = [5, 1, 2, 9, 3, 3]
    starts = [0, *np.cumsum(sizes)[:-1].tolist()]
    layout = FlatLayout(sum(sizes), [paddle.zeros([size]) for size in sizes], starts, list(range(6)))
    cut = {most: [list(numbers) for numbers in cut_from_the_end(layout, most=most)] for most in (1, 6, 8, 9, 100)}
    assert cut[1] == [[5], [4], [3], [2], [0, 1]]
    assert cut[6] == [[3, 4, 5], [1, 2], [0]]
    assert cut[8] == [[3, 4, 5], [0, 1, 2]]
    assert cut[9] == [[4, 5], [3], [0, 1, 2]]
    assert cut[100] == [[0, 1, 2, 3, 4, 5]]


def test_a_lost_rank_is_told_of_by_its_own_error(monkeypatch):
    """Out of the backward pass it would come as a SystemError of Paddle's."""
    network = layers()
    exchange = exchange_of(network, 1e-6)

    def lost(_: paddle.Tensor):
        raise distributed.PeerLostError("rank 1 is lost")

    monkeypatch.setattr(distributed, "begin_sum_in_place", lost)
    exchange.begin_with_next_pass()
    network(paddle.ones([1, 3])).sum().backward()
    with pytest.raises(distributed.PeerLostError, match="rank 1 is lost"):
        exchange.finish()


def test_a_pass_in_parts_is_refused():
    """The gradient of the second part would be in no sum."""
    network = layers()
    exchange = exchange_of(network, 1e-6)
    exchange.begin_with_next_pass()
    network(paddle.ones([1, 3])).sum().backward()
    network(paddle.ones([1, 3])).sum().backward()
    with pytest.raises(AssertionError, match="has grown behind its sum"):
        exchange.finish()


def test_a_network_that_nobody_holds_is_freed():
    network = layers()
    exchange_of(network, 1.0).begin_with_next_pass()
    gone = weakref.ref(network[0].weight)
    del network
    gc.collect()
    assert gone() is None


def test_alone_there_is_nothing_to_exchange():
    network = layers()
    assert type(build_exchange(optimizer_of(network), bucket_mb=25.0)) is GradientExchange
