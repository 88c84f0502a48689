"""The compiled operators against Paddle's, value and gradient, and what happens where they cannot be compiled."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn

from arcface_paddle import temporaries
from arcface_paddle.backbones import build_backbone
from arcface_paddle.backbones.cpu_kernels import building, operators
from arcface_paddle.backbones.cpu_kernels.building import NoKernelsError, load_build
from arcface_paddle.backbones.cpu_kernels.layers import KernelBatchNorm, KernelDepthwise, KernelPReLU, use_kernels
from arcface_paddle.backbones.cpu_kernels.operators import Kernels
from arcface_paddle.backbones.normalization import freeze_batch_norm, use_synchronised_batch_norm

CLOSE = 2e-6  # float32, sums over some thousand values
KINDS = {KernelBatchNorm, KernelDepthwise, KernelPReLU}


def test_where_there_is_no_compiler_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(NoKernelsError, match=r"no C\+\+ compiler: c\+\+, g\+\+, clang\+\+ not found"):
        load_build(tmp_path)


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    if shutil.which("c++") is None and shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("no compiler: g++ is not installed, so that the operators cannot be built")
    return tmp_path_factory.mktemp("kernels") / "home"


@pytest.fixture(scope="session")
def kernels(folder) -> Kernels:
    return Kernels(load_build(folder))


@pytest.fixture(scope="session")
def threaded(folder) -> Kernels:
    """Three threads, which share channels of any size."""
    return Kernels(load_build(folder), threads=3)


def results(network: nn.Layer, x: paddle.Tensor, factors: paddle.Tensor) -> dict[str, np.ndarray]:
    """Return output, gradients of input and weights, and running statistics after one pass."""
    own = x.detach()
    own.stop_gradient = False
    y = network(own)
    (y * factors).sum().backward()
    found = {"y": y, "x": own.grad}
    found.update({name: weight if weight.grad is None else weight.grad for name, weight in network.named_parameters()})
    arrays = {name: value.numpy().copy() for name, value in found.items()}
    network.clear_gradients()
    return arrays


def both(network: nn.Layer, shape: list[int], kernels: Kernels) -> tuple[dict, dict]:
    """Return the results by Paddle's operators and by ours, from the same state."""
    paddle.seed(7)
    network.train()
    for weight in network.parameters():
        if not weight.stop_gradient:
            weight.set_value((weight + 0.3 * paddle.randn(weight.shape)).numpy())
    x = paddle.randn(shape) * 2.0 + 3.0
    x[0, 0, 0, 0] = 0.0
    state = {key: value.numpy().copy() for key, value in network.state_dict().items()}
    factors = paddle.randn(network(x).shape)
    network.set_state_dict(state)
    expected = results(network, x, factors)
    network.set_state_dict(state)
    assert list(use_kernels(network, kernels).state_dict()) == list(state)
    assert all(type(layer) in KINDS for layer in network.sublayers())
    return expected, results(network, x, factors)


def assert_close(actual: dict, expected: dict) -> None:
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert np.abs(actual[name] - array).max() <= CLOSE * max(1e-6, np.abs(array).max()), name


@pytest.mark.parametrize("shape", [[3, 5, 9, 7], [6, 64, 14, 14], [1, 8, 3, 3], [4, 8, 1, 1], [2, 3, 1, 33]])
@pytest.mark.parametrize("kind", ["norm", "norm-prelu", "prelu"])
def test_norms_and_prelu_equal_paddle(kind, shape, kernels):
    layers = {"norm": [nn.BatchNorm2D], "norm-prelu": [nn.BatchNorm2D, nn.PReLU], "prelu": [nn.PReLU]}[kind]
    expected, actual = both(nn.Sequential(*(layer(shape[1]) for layer in layers)), shape, kernels)
    assert_close(actual, expected)


@pytest.mark.parametrize("padding", [0, 1, [1, 0], [0, 1, 0, 1], [1, 0, 0, 1]], ids=str)
def test_depthwise_convolutions_equal_paddle(padding, kernels):
    for stride, size in itertools.product((1, 2), ((7, 7), (14, 14), (9, 5), (4, 3), (3, 30), (28, 29))):
        network = nn.Sequential(nn.Conv2D(6, 6, 3, stride=stride, padding=padding, groups=6, bias_attr=False))
        expected, actual = both(network, [2, 6, *size], kernels)
        assert_close(actual, expected)


@pytest.mark.parametrize("size", [(7, 7), (3, 5), (1, 1)], ids=str)
def test_convolutions_over_the_whole_map_equal_paddle(size, kernels):
    network = nn.Sequential(nn.Conv2D(6, 6, size, groups=6, bias_attr=False))
    expected, actual = both(network, [3, 6, *size], kernels)
    assert_close(actual, expected)


def test_gradients_are_the_slopes_of_the_values(kernels):
    """Finite differences in double precision of what the forward pass says, away from the kink of PReLU."""
    paddle.seed(2)
    network = nn.Sequential(
        nn.Conv2D(4, 4, 3, stride=2, padding=1, groups=4, bias_attr=False), nn.BatchNorm2D(4), nn.PReLU(4)
    )
    use_kernels(network, kernels).train()
    x, direction = paddle.randn([3, 4, 8, 8]), paddle.randn([3, 4, 8, 8])
    factors = paddle.randn([3, 4, 4, 4])
    step, slope = 1e-3, (results(network, x, factors)["x"] * direction.numpy()).sum(dtype=np.float64)

    def loss(at: paddle.Tensor) -> float:
        return float((results(network, at, factors)["y"].astype(np.float64) * factors.numpy()).sum())

    assert (loss(x + step * direction) - loss(x - step * direction)) / (2 * step) == pytest.approx(slope, rel=2e-3)


def test_threads_change_no_bit(kernels, threaded, monkeypatch):
    monkeypatch.setattr(operators, "_LEAST_VALUES_PER_THREAD", 1)
    paddle.seed(5)
    x, found = paddle.randn([2, 7, 12, 10]), []
    for own in (kernels, threaded):
        paddle.seed(6)
        network = nn.Sequential(
            nn.Conv2D(7, 7, 3, padding=1, groups=7, bias_attr=False), nn.BatchNorm2D(7), nn.PReLU(7),
            nn.Conv2D(7, 7, (12, 10), groups=7, bias_attr=False), nn.PReLU(7),
        )  # fmt: skip
        use_kernels(network, own).train()
        found.append(list(results(network, x, paddle.ones([2, 7, 1, 1])).values()))
    for one, three in zip(*found):
        np.testing.assert_array_equal(one, three)


@pytest.mark.parametrize("name", ["MobileFaceNet_128", "iresnet18"])
def test_whole_networks_equal_paddle(name, kernels):
    """With slopes of 1, where rounding cannot choose another side of the kink."""
    found = []
    for own in (None, kernels):
        paddle.seed(4)
        network = build_backbone(name, embedding_size=8, width=0.125)
        for layer in network.sublayers():
            if isinstance(layer, nn.PReLU):
                layer._weight.set_value(np.ones(layer._weight.shape, np.float32))
        if own is not None:
            use_kernels(network, own)
        network.train()
        paddle.seed(3)
        found.append(results(network, paddle.randn([4, 3, 112, 112]), paddle.randn([4, 8])))
        network.eval()
    own, plain = (np.concatenate([array.ravel() for array in arrays.values()]) for arrays in reversed(found))
    assert np.linalg.norm(own - plain) <= 2e-5 * np.linalg.norm(plain)


def test_broken_numbers_stay_broken(kernels):
    """The trainer recognises a broken step by them."""
    for bad in (np.nan, np.inf):
        network = nn.Sequential(
            nn.Conv2D(3, 3, 3, padding=1, groups=3, bias_attr=False), nn.BatchNorm2D(3), nn.PReLU(3)
        )
        use_kernels(network, kernels).train()
        x = paddle.randn([2, 3, 5, 5])
        x[1, 2, 3, 4] = bad
        found = results(network, x, paddle.ones_like(x))
        assert not np.isfinite(found["y"][:, 2]).any() and np.isfinite(found["y"][:, :2]).all()
        assert not np.isfinite(found["0.weight"][2]).all() and not np.isfinite(found["1.weight"][2])


def test_evaluation_is_the_original_network_bit_for_bit(kernels):
    network = build_backbone("MobileFaceNet_128", width=0.25)
    network.eval()
    images = paddle.randn([2, 3, 112, 112])
    expected = network(images).numpy()
    keys = list(network.state_dict())
    kinds = [type(layer) for layer in use_kernels(network, kernels).sublayers()]
    assert [kinds.count(kind) for kind in (KernelBatchNorm, KernelPReLU, KernelDepthwise)] == [50, 33, 17]
    assert nn.BatchNorm2D not in kinds and nn.PReLU not in kinds
    assert list(network.state_dict()) == keys
    np.testing.assert_array_equal(network(images).numpy(), expected)


def test_what_is_exported_has_paddles_operators_alone(kernels):
    network = use_kernels(build_backbone("MobileFaceNet_128", width=0.125, embedding_size=8), kernels)
    network.eval()
    picture = paddle.static.InputSpec([None, 3, 112, 112], "float32")
    traced = paddle.jit.to_static(network, input_spec=[picture], full_graph=True).forward.concrete_program
    names = {operator.name() for operator in traced.main_program.global_block().ops}
    wanted = {"add", "batch_norm_", "conv2d", "data", "depthwise_conv2d", "flatten", "prelu"}
    assert {name for name in names if name != "builtin.parameter"} == {f"pd_op.{name}" for name in wanted}


def test_frozen_and_synchronised_norms_and_other_layers_are_left_alone(kernels):
    frozen = freeze_batch_norm(nn.Sequential(nn.BatchNorm2D(4), nn.PReLU(4)))
    synchronised = use_synchronised_batch_norm(nn.Sequential(nn.BatchNorm2D(4)))
    others = [nn.PReLU(1), nn.Conv2D(4, 4, 5, padding=2, groups=4), nn.Conv2D(4, 4, 3, padding=1, groups=2)]
    before = [type(layer) for layer in (frozen[0], synchronised[0], *others)]
    for layer in (frozen, synchronised, *others):
        use_kernels(layer, kernels)
    assert [type(layer) for layer in (frozen[0], synchronised[0], *others)] == before
    assert type(frozen[1]) is KernelPReLU
    x = paddle.randn([2, 4, 3, 3])
    mean = frozen[0]._mean.numpy().copy()
    x.stop_gradient = False
    frozen(x).sum().backward()
    np.testing.assert_array_equal(frozen[0]._mean.numpy(), mean)
    assert frozen[1]._weight.grad is not None


def test_frozen_slopes_get_no_gradient(kernels):
    network = use_kernels(nn.Sequential(nn.BatchNorm2D(4), nn.PReLU(4)), kernels)
    network.train()
    network[1]._weight.stop_gradient = True
    x = paddle.randn([2, 4, 3, 3])
    found = results(network, x, paddle.ones_like(x))
    assert network[1]._weight.grad is None
    assert found["y"].min() < 0  # the slope acts all the same
    assert found["y"].min() > -1.0  # -1 and below without it


def test_is_built_once_and_a_wrong_compiler_is_one_line(folder, kernels, tmp_path, monkeypatch):
    (built,) = [path for path in folder.iterdir() if path.suffix == ".so"]
    before = built.stat()
    assert load_build(folder).name == kernels.name
    after = built.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert [path.name for path in folder.iterdir()] == [built.name]  # no lock, nothing half written

    failing = tmp_path / "failing"
    failing.write_text("#!/bin/sh\necho 'kernels.cc:1: error: unknown machine' >&2\n[ \"$1\" = --version ]\n")
    failing.chmod(0o755)
    monkeypatch.setenv("CXX", str(failing))
    with pytest.raises(NoKernelsError, match=r"failing fails: kernels.cc:1: error: unknown machine"):
        load_build(folder)


STARTED = """
import sys
from pathlib import Path
from arcface_paddle.backbones.cpu_kernels.building import load_build
load_build(Path(sys.argv[1]))
"""


def test_what_a_killed_process_left_of_a_build_goes_with_the_next(folder, kernels, tmp_path, monkeypatch):
    (built,) = [path for path in folder.iterdir() if path.suffix == ".so"]
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    compiler = tmp_path / "c++"
    wanted = '[ "$1" = --version ] || [ -z "$SLOW" ] || exec sleep 60\nfor target; do :; done'
    compiler.write_text(f'#!/bin/sh\n{wanted}\n[ "$1" = --version ] || cp {built} "$target"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    command = [sys.executable, "-c", STARTED, str(tmp_path / "home")]
    with subprocess.Popen(command, env={**os.environ, "SLOW": "1"}, start_new_session=True) as process:
        while process.poll() is None and not list(tmp_path.glob("*/*kernels_*/kernels.cc")):
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    monkeypatch.setattr(temporaries, "_cleaned", set())
    name = load_build(tmp_path / "home").name
    assert [path.name for place in ("home", "scratch") for path in (tmp_path / place).iterdir()] == [
        f"kernels_{name}.so"
    ]


def test_another_processor_gets_a_build_of_its_own(monkeypatch):
    compiler = building._find_compiler() if shutil.which("c++") or shutil.which("g++") else "/bin/echo"
    own = building._name_of(b"source", compiler)
    assert building._name_of(b"other source", compiler) != own
    monkeypatch.setattr(building, "_processor", lambda: "another")
    assert building._name_of(b"source", compiler) != own


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, folder):
    (tmp_path / "file").write_text("")
    with pytest.raises(NoKernelsError, match="cannot be written or loaded"):
        load_build(tmp_path / "file" / "kernels")


def test_threads_build_at_the_same_time(tmp_path, kernels):
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(load_build(tmp_path / "new").name)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [kernels.name] * 3
    assert len(list((tmp_path / "new").iterdir())) == 1
