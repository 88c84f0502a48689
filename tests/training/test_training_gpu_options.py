"""Options for the GPU: what they set, that results stay, and that a device without it refuses them in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from test_training_runs import Listener, losses, saved_files, settings
from tiny_data import write_dataset

from arcface_paddle import devices
from arcface_paddle.errors import ConfigError
from arcface_paddle.training.config import config_from
from arcface_paddle.training.network import build_network, choose_network
from arcface_paddle.training.run import build_run
from arcface_paddle.training.trainer import train

SMALL = {"network": "iresnet18", "width": 0.125, "embedding_size": 8}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), identities=10, pictures=3)


@pytest.fixture
def as_if_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the checks of the device pass, and nothing else: what follows is built on the CPU."""
    monkeypatch.setattr(devices, "require_cuda", lambda _: None)


def built(**values: Any) -> nn.Layer:
    config = config_from({**SMALL, **values})
    choice = choose_network(config.network)
    return build_network(choice, batch_norm=config.network.batch_norm, say=lambda _: None, mode=config.run.mode)


@pytest.mark.parametrize("mode", ["dynamic", pytest.param("static", marks=pytest.mark.long)])
def test_a_run_goes_on_in_the_other_order_of_channels(data: Path, tmp_path: Path, mode: str) -> None:
    changes = {"lr": 0.2, "batch_norm": "frozen", "decay": "constant", "warmup_steps": 0}
    train(settings(data, tmp_path / "first", steps=3, **changes), say=Listener())
    train(settings(data, tmp_path / "both", steps=2, data_format="NHWC", mode=mode, **changes), say=Listener())
    train(settings(data, tmp_path / "both", steps=3, resume=1, **changes), say=Listener())
    assert sorted(losses(tmp_path / "both")) == [1, 2, 3]
    assert losses(tmp_path / "both") == pytest.approx(losses(tmp_path / "first"), rel=1e-4)


def test_weights_in_one_piece_train_save_and_resume_to_the_same_bytes(data: Path, tmp_path: Path) -> None:
    """Without clipping: the norm is summed over the zeros between the weights, too, and may differ in its last bit."""
    changes = {"clip_norm": 0.0, "lr": 0.2, "decay": "constant", "warmup_steps": 0}
    train(settings(data, tmp_path / "plain", steps=3, flat_weights="no", **changes), say=Listener())
    train(settings(data, tmp_path / "flat", steps=1, flat_weights="yes", **changes), say=Listener())
    train(settings(data, tmp_path / "flat", steps=3, flat_weights="yes", resume=1, **changes), say=Listener())
    assert losses(tmp_path / "flat") == losses(tmp_path / "plain")
    assert saved_files(tmp_path / "flat", 3) == saved_files(tmp_path / "plain", 3)


@pytest.mark.usefixtures("as_if_cuda")
def test_native_sync_replaces_every_norm_and_keeps_weights_and_keys() -> None:
    paddle.seed(0)
    own = built()
    paddle.seed(0)
    native = built(batch_norm="native_sync")
    norms = [layer for layer in own.sublayers() if isinstance(layer, nn.layer.norm._BatchNormBase)]
    assert len([layer for layer in native.sublayers() if type(layer) is nn.SyncBatchNorm]) == len(norms) > 0
    assert list(own.state_dict()) == list(native.state_dict())
    for key, tensor in own.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), native.state_dict()[key].numpy(), err_msg=key)
    assert {layer._momentum for layer in norms} == {0.9}
    assert {layer._momentum for layer in native.sublayers() if type(layer) is nn.SyncBatchNorm} == {0.9}


@pytest.mark.usefixtures("as_if_cuda")
@pytest.mark.parametrize(("mode", "backend"), [("static", None), ("cinn", "CINN")])
def test_the_compiler_is_that_of_the_mode(monkeypatch: pytest.MonkeyPatch, mode: str, backend: Any) -> None:
    """Left out, ``backend`` would mean CINN on every build that has it, under the name of static."""
    asked: list[Any] = []
    real = paddle.jit.to_static

    def noting(*args: Any, backend: Any = "left out", **options: Any) -> Any:
        asked.append(backend)
        return real(*args, backend=None, **options)

    monkeypatch.setattr(paddle.jit, "to_static", noting)
    monkeypatch.setattr(paddle, "is_compiled_with_cinn", lambda: True)
    built(mode=mode)
    assert asked == [backend]


@pytest.mark.usefixtures("as_if_cuda")
def test_cinn_is_refused_where_paddle_is_built_without_it() -> None:
    if paddle.is_compiled_with_cinn():
        pytest.skip("this Paddle has CINN")
    with pytest.raises(ConfigError, match="mode cinn: this Paddle is built without CINN, its compiler"):
        built(mode="cinn")


def test_cudnn_is_told_to_search(monkeypatch: pytest.MonkeyPatch) -> None:
    flags: dict[str, Any] = {}
    monkeypatch.setattr(paddle, "get_device", lambda: "gpu:0")
    monkeypatch.setattr(paddle, "set_flags", flags.update)
    devices.search_convolutions()
    assert flags == {"FLAGS_cudnn_exhaustive_search": True}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cudnn_search": True}, "cudnn_search is for CUDA GPUs, the device is cpu; leave it out"),
        ({"batch_norm": "native_sync"}, "batch_norm native_sync is for CUDA GPUs, the device is cpu"),
        ({"mode": "cinn"}, "mode cinn is for CUDA GPUs, the device is cpu"),
        ({"copy_stream": True}, "copy_stream is for GPUs, the device is the CPU"),
        ({"data_format": "NHWC", "network": "vit_t"}, "--data_format NHWC: vit_t is computed as NCHW only"),
    ],
)
def test_what_the_cpu_lacks_is_refused(data: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    if changes.get("network"):
        changes = {**changes, "width": None, "embedding_size": None}
    with pytest.raises(ConfigError, match=message) as caught:
        build_run(settings(data, tmp_path, **changes), say=lambda _: None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data_format": "NHWC", "norm": "group"}, "data_format NHWC has no norm group"),
        ({"data_format": "NHWC", "batch_norm": "sync"}, "data_format NHWC has no batch_norm sync; choose native_sync"),
        ({"data_format": "CHWN"}, "data_format is 'CHWN'; allowed: NCHW, NHWC"),
        ({"norm": "batch_renorm", "batch_norm": "native_sync"}, "norm batch_renorm has no layer of Paddle's own"),
        ({"mode": "cinn", "batch_norm": "native_sync"}, "mode cinn cannot compile synchronised BatchNorm"),
        ({"mode": "cinn", "norm": "batch_renorm"}, "mode cinn would keep the limits of norm batch_renorm"),
    ],
)
def test_options_that_exclude_each_other(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_from(values)
