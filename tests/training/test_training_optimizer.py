"""The optimizer against paddle's own, skipped steps that leave no trace, and the loss scale."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from arcface_paddle.heads.update_rules import UpdateRule
from arcface_paddle.training.optimizer import (
    DecayCoefficient,
    FlatOptimizer,
    LossScaler,
    RunningStatistics,
    judge_gradient,
    norm_parameter_names,
)


def small_network(seed: int = 0) -> paddle.nn.Layer:
    paddle.seed(seed)
    return paddle.nn.Sequential(
        paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4), paddle.nn.PReLU(4), paddle.nn.Flatten(),
        paddle.nn.Linear(4 * 4 * 4, 5),
    )  # fmt: skip


def some_images(seed: int) -> paddle.Tensor:
    return paddle.to_tensor(np.random.default_rng(seed).normal(size=(6, 3, 6, 6)).astype("float32"))


def backward(network: paddle.nn.Layer, images: paddle.Tensor, *, scale: float = 1.0) -> None:
    (network(images).square().mean() * scale).backward()


def square_sum(gradients: list[paddle.Tensor]) -> paddle.Tensor:
    return sum((gradient * gradient).sum() for gradient in gradients)


def verdict_of(gradients, *, scale: float = 1.0, clip_norm: float = 0.0):
    return judge_gradient(square_sum(gradients), loss_scale=paddle.to_tensor(scale), clip_norm=clip_norm)


def weights(network: paddle.nn.Layer) -> dict[str, np.ndarray]:
    return {key: value.numpy().copy() for key, value in network.state_dict().items()}


def test_equals_paddles_momentum():
    ours, theirs = small_network(), small_network()
    optimizer = FlatOptimizer(ours, UpdateRule(momentum=0.9), weight_decay=0.01)
    reference = paddle.optimizer.Momentum(0.05, momentum=0.9, parameters=theirs.parameters(), weight_decay=0.01)
    for step in range(5):
        backward(ours, some_images(step))
        gradients = optimizer.collect_gradients()
        optimizer.apply(gradients, verdict_of(gradients), 0.05)
        backward(theirs, some_images(step))
        reference.step()
        reference.clear_grad()
    for (name, mine), other in zip(weights(ours).items(), weights(theirs).values()):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-7, err_msg=name)


def test_decay_can_leave_out_norms_slopes_and_biases():
    network = small_network()
    assert norm_parameter_names(network) == {"0.bias", "1.weight", "1.bias", "2._weight", "4.bias"}
    before = weights(network)
    optimizer = FlatOptimizer(network, UpdateRule(momentum=0.0), weight_decay=0.1, decay_norm=False)
    zero = [paddle.zeros_like(gradient) for gradient in optimizer.collect_gradients()]
    optimizer.apply(zero, verdict_of(zero), 1.0)
    after = weights(network)
    for name in ("1.weight", "2._weight", "4.bias"):
        np.testing.assert_array_equal(after[name], before[name])
    np.testing.assert_allclose(after["4.weight"], before["4.weight"] * 0.9, rtol=1e-6)


def test_clipping_and_unscaling():
    network = small_network()
    optimizer = FlatOptimizer(network, UpdateRule())
    backward(network, some_images(0))
    plain = optimizer.collect_gradients()
    norm = float(square_sum(plain)) ** 0.5
    backward(network, some_images(0), scale=1024.0)
    scaled = optimizer.collect_gradients()
    verdict = verdict_of(scaled, scale=1024.0, clip_norm=norm / 2)
    assert float(verdict.norm) == pytest.approx(norm, rel=1e-5)
    assert float(verdict.factor) == pytest.approx(0.5 / 1024.0, rel=1e-5)
    assert float(verdict_of(scaled, scale=1024.0, clip_norm=norm * 2).factor) == pytest.approx(1 / 1024.0)


@pytest.mark.parametrize("name", ["sgd", "amsgrad"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_broken_step_leaves_no_trace(bad, name):
    network = small_network()
    optimizer = FlatOptimizer(network, UpdateRule(name), weight_decay=0.1)
    statistics = RunningStatistics(network, average=True)
    backward(network, some_images(0))
    gradients = optimizer.collect_gradients()
    optimizer.apply(gradients, verdict_of(gradients), 0.1)
    before, states, updates = weights(network), optimizer.states(), optimizer.updates()

    images = some_images(1)
    images[2, 1, 3, 3] = float(bad)
    statistics.remember()
    backward(network, images)
    gradients = optimizer.collect_gradients()
    verdict = verdict_of(gradients, clip_norm=5.0)
    assert not bool(verdict.finite)
    optimizer.apply(gradients, verdict, 0.1)
    statistics.settle(verdict.finite)

    for key, value in weights(network).items():
        np.testing.assert_array_equal(value, before[key], err_msg=key)
    assert optimizer.updates() == updates == ({} if name == "sgd" else {"count": 1.0})
    for state, arrays in optimizer.states().items():
        for key, value in arrays.items():
            np.testing.assert_array_equal(value, states[state][key], err_msg=f"{state} {key}")


def test_a_good_step_keeps_its_statistics():
    network = small_network()
    statistics = RunningStatistics(network, average=True)
    statistics.remember()
    network(some_images(0))
    moved = weights(network)["1._mean"]
    statistics.settle(paddle.to_tensor(True))
    np.testing.assert_array_equal(weights(network)["1._mean"], moved)
    assert np.abs(moved).max() > 0


@pytest.mark.parametrize("name", ["sgd", "amsgrad"])
def test_states_survive_saving(name):
    network, other = small_network(), small_network()
    optimizer = FlatOptimizer(network, UpdateRule(name), decay_norm=False, weight_decay=0.1)
    backward(network, some_images(0))
    gradients = optimizer.collect_gradients()
    optimizer.apply(gradients, verdict_of(gradients), 0.1)
    second = FlatOptimizer(other, UpdateRule(name), decay_norm=True)  # other grouping, same names
    second.load_states(optimizer.states())
    second.load_updates(optimizer.updates())
    assert second.updates() == optimizer.updates()
    for state, arrays in second.states().items():
        for key, value in arrays.items():
            assert value.any()
            np.testing.assert_array_equal(value, optimizer.states()[state][key])
    with pytest.raises(KeyError):
        second.load_states({state: {} for state in optimizer.states()})


@pytest.mark.parametrize("name", ["adam", "amsgrad", "adamw"])
def test_adaptive_rules_equal_paddles_own_with_norms_left_out_of_the_decay(name):
    ours, theirs = small_network(), small_network()
    undecayed = norm_parameter_names(theirs)
    optimizer = FlatOptimizer(ours, UpdateRule(name, epsilon=1e-3), weight_decay=0.1, decay_norm=False)
    kind = paddle.optimizer.AdamW if name == "adamw" else paddle.optimizer.Adam
    groups = [
        kind(
            0.01,
            parameters=[weight for key, weight in theirs.named_parameters() if (key in undecayed) == is_undecayed],
            epsilon=1e-3,
            weight_decay=0.0 if is_undecayed else 0.1,
            amsgrad=name == "amsgrad",
        )
        for is_undecayed in (False, True)
    ]
    for step in range(5):
        backward(ours, some_images(step))
        gradients = optimizer.collect_gradients()
        optimizer.apply(gradients, verdict_of(gradients), 0.01)
        backward(theirs, some_images(step))
        for group in groups:
            group.step()
            group.clear_grad()
    for (key, mine), other in zip(weights(ours).items(), weights(theirs).values()):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5, err_msg=key)


def test_the_coefficient_shrinks_when_the_penalty_exceeds_the_loss_and_never_on_a_broken_step():
    coefficient = DecayCoefficient(0.5)
    penalty, loss, good, broken = (paddle.to_tensor(value) for value in (2.0, 1.0, True, False))
    values = []
    for arguments in ((penalty, loss, good), (loss, penalty, good), (penalty, loss, broken), (penalty, loss, good)):
        coefficient.update(*arguments[:2], finite=arguments[2])
        values.append(float(coefficient.value))
    assert values == [0.5, 0.5, 0.5, 0.25]
    copy = DecayCoefficient(0.5)
    copy.load_state(coefficient.state())
    assert copy.state() == {"coefficient": 0.25}
    assert not DecayCoefficient(1.0).enabled and DecayCoefficient(1.0).state() == {}


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_the_decay_share_scales_what_is_decayed(share):
    network = small_network()
    before = weights(network)
    optimizer = FlatOptimizer(network, UpdateRule(momentum=0.0), weight_decay=0.1, decay_norm=False)
    decayed = sum(float((before[key] ** 2).sum()) for key in ("0.weight", "4.weight"))
    assert float(optimizer.decayed_square_sum()) == pytest.approx(decayed, rel=1e-5)
    zero = [paddle.zeros_like(gradient) for gradient in optimizer.collect_gradients()]
    optimizer.apply(zero, verdict_of(zero), 1.0, decay_share=paddle.to_tensor(share))
    np.testing.assert_allclose(weights(network)["4.weight"], before["4.weight"] * (1 - 0.1 * share), rtol=1e-6)


def test_loss_scale_halves_doubles_and_stays_in_range(monkeypatch):
    monkeypatch.setattr("arcface_paddle.training.optimizer._SCALE_GROWTH_INTERVAL", 3)
    scaler = LossScaler(8.0, enabled=True)
    good, broken = paddle.to_tensor(True), paddle.to_tensor(False)
    scales = []
    for finite in (good, good, broken, good, good, good, good, good, good):
        scaler.update(finite)
        scales.append(float(scaler.scale))
    assert scales == [8, 8, 4, 4, 4, 8, 8, 8, 16]
    for _ in range(10):
        scaler.update(broken)
    assert float(scaler.scale) == 1.0
    copy = LossScaler(8.0, enabled=True)
    copy.load_state(scaler.state())
    assert copy.state() == scaler.state() == {"scale": 1.0, "good_steps": 0}


def test_loss_scale_doubles_after_two_thousand_good_steps_up_to_a_bound():
    scaler, good = LossScaler(8.0, enabled=True), paddle.to_tensor(True)
    scaler.load_state({"scale": 8.0, "good_steps": 1998})
    scaler.update(good)
    assert scaler.state() == {"scale": 8.0, "good_steps": 1999}
    scaler.update(good)
    assert scaler.state() == {"scale": 16.0, "good_steps": 0}
    scaler.load_state({"scale": 2.0**24, "good_steps": 1999})
    scaler.update(good)
    assert scaler.state() == {"scale": 2.0**24, "good_steps": 0}


def test_a_norm_right_at_the_bound_is_not_clipped_and_none_is_without_a_bound():
    gradients = [paddle.to_tensor([3.0, 4.0])]
    for clip_norm, factor in ((5.0, 1.0), (6.0, 1.0), (2.5, 0.5), (1.0, 0.2), (0.0, 1.0)):
        verdict = verdict_of(gradients, clip_norm=clip_norm)
        assert float(verdict.factor) == pytest.approx(factor) and float(verdict.norm) == 5.0
    nothing = verdict_of([paddle.zeros([2])], clip_norm=1.0)
    assert float(nothing.factor) == 1.0 and bool(nothing.finite)
    broken = verdict_of([paddle.to_tensor([np.inf])], clip_norm=1.0)
    assert float(broken.factor) == 0.0 and not bool(broken.finite)


def test_a_coefficient_that_cannot_shrink_has_no_state():
    fixed = DecayCoefficient(1.0)
    assert not fixed.enabled and fixed.state() == {}
    fixed.load_state({"coefficient": 0.25})
    assert float(fixed.value) == 1.0
    shrinking = DecayCoefficient(0.5)
    shrinking.load_state({})
    assert shrinking.enabled and shrinking.state() == {"coefficient": 1.0}
    for penalty, loss, finite, value in ((2.0, 2.0, True, 1.0), (2.1, 2.0, False, 1.0), (2.1, 2.0, True, 0.5)):
        shrinking.update(paddle.to_tensor(penalty), paddle.to_tensor(loss), finite=paddle.to_tensor(finite))
        assert float(shrinking.value) == value
    again = DecayCoefficient(0.5)
    again.load_state(shrinking.state())
    assert float(again.value) == 0.5


def test_states_of_another_shape_or_name_are_refused():
    optimizer = FlatOptimizer(small_network(), UpdateRule())
    states = optimizer.states()
    name = next(iter(states["momentum"]))
    with pytest.raises(ValueError, match=f"{name} has shape"):
        optimizer.load_states({"momentum": {**states["momentum"], name: np.zeros(1, np.float32)}})
    with pytest.raises(KeyError):
        optimizer.load_states({"momentum": {}})


@pytest.mark.parametrize("alignment", [None, 64])
@pytest.mark.parametrize("pull", [0.0, 0.2])
def test_the_pull_goes_a_share_of_the_way_back_to_the_start(pull, alignment):
    network = small_network()
    optimizer = FlatOptimizer(network, UpdateRule(), alignment=alignment, pull_to_start=pull)
    start = network[4].weight.numpy().copy()
    assert bool(optimizer.start_digest()) == (pull > 0.0)
    network[4].weight.set_value(start + 1.0)
    zero = [paddle.zeros_like(gradient) for gradient in optimizer.collect_gradients()]
    optimizer.apply(zero, verdict_of(zero), 0.5)
    np.testing.assert_allclose(network[4].weight.numpy(), start + 1.0 - 0.5 * pull, rtol=1e-5, atol=1e-6)
    assert not any(array.any() for array in optimizer.states()["momentum"].values())


def test_updates_that_were_not_counted_begin_at_none():
    optimizer = FlatOptimizer(small_network(), UpdateRule("adam"))
    optimizer.load_updates({"count": 7.0})
    assert optimizer.updates() == {"count": 7.0}
    optimizer.load_updates({})
    assert optimizer.updates() == {"count": 0.0}


def test_without_scaling_the_factor_is_one():
    scaler = LossScaler(8.0, enabled=False)
    scaler.update(paddle.to_tensor(False))
    assert scaler.state() == {"scale": 1.0, "good_steps": 0}


@pytest.mark.parametrize(
    "rule", [UpdateRule(nesterov=True), UpdateRule("amsgrad", epsilon=1e-3), UpdateRule("adamw", epsilon=1e-3)]
)
@pytest.mark.parametrize("alignment", [1, 64])
def test_one_piece_of_memory_changes_no_bit(rule, alignment):
    """With gaps between the weights Adam may differ in the last one: loops round their last few values otherwise."""
    plain, flat = small_network(), small_network()
    options = {"weight_decay": 0.01, "decay_norm": False}
    one, other = FlatOptimizer(plain, rule, **options), FlatOptimizer(flat, rule, alignment=alignment, **options)
    for step in range(4):
        gradients = []
        for network, optimizer in ((plain, one), (flat, other)):
            backward(network, some_images(step))
            gradients.append(optimizer.collect_gradients())
        verdict = verdict_of(gradients[0], clip_norm=0.1)
        assert float(verdict_of(gradients[1]).norm) == pytest.approx(float(verdict_of(gradients[0]).norm), rel=1e-6)
        one.apply(gradients[0], verdict, 0.05)
        other.apply(gradients[1], verdict, 0.05)
        assert float(one.decayed_square_sum()) == pytest.approx(float(other.decayed_square_sum()), rel=1e-6)
    tolerance = {"rtol": 0.0, "atol": 0.0} if alignment == 1 or rule.name == "sgd" else {"rtol": 2e-6, "atol": 1e-7}
    for (name, mine), theirs in zip(weights(flat).items(), weights(plain).values()):
        np.testing.assert_allclose(mine, theirs, err_msg=name, **tolerance)
    for state, arrays in one.states().items():
        for name, array in arrays.items():
            np.testing.assert_allclose(other.states()[state][name], array, err_msg=f"{state} {name}", **tolerance)


def test_what_is_loaded_or_replaced_is_what_is_updated():
    rule = UpdateRule("adam")
    plain, flat = small_network(), small_network()
    one, other = FlatOptimizer(plain, rule), FlatOptimizer(flat, rule, alignment=1)
    [group] = other._groups
    memory = group._shared
    saved = {state: {name: array + 0.5 for name, array in arrays.items()} for state, arrays in one.states().items()}
    for network, optimizer in ((plain, one), (flat, other)):
        network.set_state_dict(small_network(1).state_dict())  # as a checkpoint is loaded
        network[4].weight.set_value(np.full([64, 5], 0.25, np.float32))
        optimizer.load_states(saved)
    assert group._flat_weights() is memory, "loading keeps the weights where they are"
    paddle.full([64, 5], 0.5)._share_buffer_to(flat[4].weight)  # somebody else's memory
    plain[4].weight.set_value(np.full([64, 5], 0.5, np.float32))
    for network, optimizer in ((plain, one), (flat, other)):
        backward(network, some_images(0))
        gradients = optimizer.collect_gradients()
        optimizer.apply(gradients, verdict_of(gradients), 0.05)
    assert not np.array_equal(flat[4].weight.numpy(), np.full([64, 5], 0.5))
    for (name, mine), theirs in zip(weights(flat).items(), weights(plain).values()):
        np.testing.assert_array_equal(mine, theirs, err_msg=name)
