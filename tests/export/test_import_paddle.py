"""Checkpoints of the later Arcface-Paddle and of PLSC, made here by networks with their names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn

from arcface_paddle.backbones import build_backbone
from arcface_paddle.backbones.weights import open_backbone
from arcface_paddle.errors import ModelFileError
from arcface_paddle.export.importing.importer import import_model, read_network
from arcface_paddle.export.importing.paddle_checkpoint import read_paddle_file, read_parameter_folder
from arcface_paddle.training.checkpoint import RunIdentity
from arcface_paddle.training.restore import RowRange, restore
from arcface_paddle.weight_files import read_parameter, write_state_dict

UNITS = (3, 4, 14, 3)
SIZE = 16


def _norm(channels: int, name: str) -> nn.BatchNorm:
    return nn.BatchNorm(
        channels,
        param_attr=paddle.ParamAttr(name=f"{name}_scale"),
        bias_attr=paddle.ParamAttr(name=f"{name}_offset"),
        moving_mean_name=f"{name}_mean",
        moving_variance_name=f"{name}_variance",
    )


class ConvNorm(nn.Layer):
    """A convolution and its normalisation, under FresResNet's names."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, name: str) -> None:
        super().__init__()
        attribute = paddle.ParamAttr(name=f"{name}_weights")
        self._conv = nn.Conv2D(
            inputs, outputs, kernel, stride=stride, padding=kernel // 2, weight_attr=attribute, bias_attr=False
        )
        self._batch_norm = _norm(outputs, "bn_conv1" if name == "conv1" else f"bn{name[3:]}")

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self._batch_norm(self._conv(x))


class FresUnit(nn.Layer):
    def __init__(self, inputs: int, outputs: int, stride: int, name: str) -> None:
        super().__init__()
        self._batch_norm = _norm(inputs, f"bn_{name[3:]}_before")
        self.conv0 = ConvNorm(inputs, outputs, 3, 1, f"{name}_branch2a")
        self.prelu = nn.PReLU(1)
        self.conv1 = ConvNorm(outputs, outputs, 3, stride, f"{name}_branch2b")
        self.short = ConvNorm(inputs, outputs, 1, stride, f"{name}_branch1") if stride == 2 else None

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = self.conv1(self.prelu(self.conv0(self._batch_norm(x))))
        return y + (x if self.short is None else self.short(x))


class FresHead(nn.Layer):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self._batch_norm_1 = _norm(channels, "bn_fc_1")
        weight, bias = paddle.ParamAttr(name="fc.w_0"), paddle.ParamAttr(name="fc.b_0")
        self.fc = nn.Linear(channels * 49, SIZE, weight_attr=weight, bias_attr=bias)
        self._batch_norm_2 = _norm(SIZE, "bn_fc_2")

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self._batch_norm_2(self.fc(self._batch_norm_1(x).flatten(1)))


class FresResNet50(nn.Layer):
    """FresResNet50 of an eighth of its channels, as Arcface-Paddle names it: one slope for all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = ConvNorm(3, 8, 3, 1, "conv1")
        self.prelu = nn.PReLU(1)
        self.block_list = nn.LayerList()
        before = 8
        for stage, count in enumerate(UNITS):
            after = 8 << stage
            for index in range(count):
                name = f"res{stage + 2}{chr(97 + index)}"
                unit = self.add_sublayer(name, FresUnit(before, after, 2 if index == 0 else 1, name))
                self.block_list.append(unit)
                before = after
        self.fc = FresHead(before)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.prelu(self.conv(x))
        for unit in self.block_list:
            x = unit(x)
        return self.fc(x)


def _randomise(network: nn.Layer) -> None:
    random = np.random.default_rng(0)
    for key, value in network.state_dict().items():
        if value.ndim == 1:
            value.set_value(random.uniform(0.2, 0.8, value.shape).astype(np.float32))
        elif key.endswith("fc.weight"):
            value.set_value((random.standard_normal(value.shape) * 0.02).astype(np.float32))


@pytest.fixture(scope="module")
def fres() -> Iterator[FresResNet50]:
    with paddle.utils.unique_name.guard():
        network = FresResNet50()
    _randomise(network)
    network.eval()
    yield network


def _save_parameters(network: nn.Layer, folder: Path) -> None:
    folder.mkdir()
    for parameter in network.state_dict().values():
        paddle.save(parameter, str(folder / f"{parameter.name}.pdparam"))


def _save_shards(folder: Path, centres: np.ndarray, ranks: int) -> None:
    """Cut class centres (classes, D) as Arcface-Paddle does, its mistake in the last rank's number included."""
    classes, size = centres.shape
    share = -(-classes // ranks)
    for rank in range(ranks):
        count = classes % share if classes % ranks and rank == ranks - 1 else share
        rows = np.full((count, size), 9, np.float32)  # what lies beyond the classes was never trained
        held = centres[rank * share : rank * share + count]
        rows[: len(held)] = held
        paddle.save(paddle.to_tensor(rows.T.copy()), str(folder / f"dist@fc@rank@{rank:05d}.w_0.pdparam"))
        momentum = paddle.to_tensor(rows.T * 0.5)
        paddle.save(momentum, str(folder / f"dist@fc@rank@{rank:05d}.w_0_velocity_0.pdopt"))
    meta = {"pretrain_world_size": ranks, "embedding_size": size, "num_classes": classes, "epoch": 3, "lr_state": {}}
    (folder / "meta.json").write_text(json.dumps(meta))


def _features(network: nn.Layer) -> np.ndarray:
    pictures = np.random.default_rng(5).uniform(-1, 1, (2, 3, 112, 112)).astype(np.float32)
    with paddle.no_grad():
        return network(paddle.to_tensor(pictures)).numpy()


def _assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory, fres: FresResNet50) -> Path:
    source = tmp_path_factory.mktemp("fres") / "24"
    _save_parameters(fres, source)
    _save_shards(source, np.random.default_rng(2).standard_normal((9, SIZE)).astype(np.float32), 4)
    folder = tmp_path_factory.mktemp("imported") / "r50"
    result = import_model(source, folder)
    assert (result.network, result.class_centres) == ("iresnet50", 9)
    return folder


def test_fres_resnet_becomes_an_iresnet_that_computes_the_same(imported: Path, fres: FresResNet50) -> None:
    weights = imported / "training.pdparams"
    _assert_same(_features(open_backbone("iresnet50", weights)), _features(fres))


@pytest.mark.parametrize(("start", "stop"), [(0, 9), (2, 7)])
def test_class_centres_and_momentum_are_resumed_on_any_ranks(imported: Path, start: int, stop: int) -> None:
    identity = RunIdentity("iresnet50", SIZE, 9, 512, 100)
    restored = restore(imported / "resume", identity, RowRange(start, stop), say=print)
    assert restored is not None and restored.shard is not None
    centres = np.random.default_rng(2).standard_normal((9, SIZE)).astype(np.float32)
    np.testing.assert_array_equal(restored.shard.weight, centres[start:stop])
    np.testing.assert_allclose(restored.shard.momentum, centres[start:stop] * 0.5)
    assert "momentum of the class centres" not in restored.missing


def test_a_state_dict_of_fres_resnet_and_class_centres_of_plsc(tmp_path: Path, fres: FresResNet50) -> None:
    path = tmp_path / "FresResNet50.pdparams"
    paddle.save(fres.state_dict(), str(path))
    for rank in (0, 1):
        head = np.full((SIZE, 2), rank, np.float32)
        write_state_dict(tmp_path / f"FresResNet50_rank{rank}.pdparams", {"head.weight": head})
    arrays, centres = read_paddle_file(path)
    assert centres is not None and [shard[0, 0] for shard in centres.shards] == [0, 1]
    assert "head.weight" not in arrays
    network = read_network(path)
    assert network.name == "iresnet50" and network.centres is not None and len(network.centres) == 4
    _assert_same(_features(network.layer), _features(fres))
    (tmp_path / "FresResNet50_rank0.pdparams").unlink()
    with pytest.raises(ModelFileError, match=r"ranks \[1\] are there, one in between is missing"):
        read_paddle_file(path)


class PublishedMobileFaceNet:
    """Our MobileFaceNet with the parameter names of Arcface-Paddle's, which makes convolutions and norms twice."""

    def __new__(cls) -> nn.Layer:  # type: ignore[misc]
        with paddle.utils.unique_name.guard():
            network = build_backbone("MobileFaceNet_128", embedding_size=SIZE, width=0.125)
            for layer in network.sublayers():
                for part in ("weight", "bias"):
                    made = getattr(layer, part, None)
                    if isinstance(layer, (nn.Conv2D, nn.BatchNorm2D)) and made is not None:
                        setattr(layer, part, paddle.create_parameter(made.shape, made.dtype))
        _randomise(network)
        network.eval()
        return network


def test_a_mobilefacenet_whose_parameters_paddle_has_counted(tmp_path: Path) -> None:
    network = PublishedMobileFaceNet()
    _save_parameters(network, tmp_path / "7")
    assert (tmp_path / "7" / "create_parameter_0.w_0.pdparam").exists()
    found = read_network(tmp_path / "7")
    assert (found.name, found.centres) == ("MobileFaceNet_128", None)
    _assert_same(_features(found.layer), _features(network))
    (tmp_path / "7" / "p_re_lu_3.w_0.pdparam").unlink()
    with pytest.raises(ModelFileError, match="the checkpoint holds nothing for"):
        read_network(tmp_path / "7")


def _static_names(network: FresResNet50) -> dict[str, np.ndarray]:
    """The parameters as a static graph counts them, in the order in which the program makes its layers."""
    counts: dict[str, int] = {}
    named: dict[str, np.ndarray] = {}

    def take(kind: str, parts: dict[str, paddle.Tensor]) -> None:
        number = counts.setdefault(kind, 0)
        counts[kind] += 1
        named.update({f"{kind}_{number}.{part}": value.numpy() for part, value in parts.items()})

    def norm(layer: nn.BatchNorm) -> None:
        parts = {"w_0": layer.weight, "b_0": layer.bias, "w_1": layer._mean, "w_2": layer._variance}
        take("batch_norm", parts)

    def convolution(layer: ConvNorm) -> None:
        take("conv2d", {"w_0": layer._conv.weight})
        norm(layer._batch_norm)

    convolution(network.conv)
    take("prelu", {"w_0": network.prelu._weight})
    for unit in network.block_list:
        norm(unit._batch_norm)
        convolution(unit.conv0)
        take("prelu", {"w_0": unit.prelu._weight})
        convolution(unit.conv1)
        if unit.short is not None:
            convolution(unit.short)
    norm(network.fc._batch_norm_1)
    take("fc", {"w_0": network.fc.fc.weight, "b_0": network.fc.fc.bias})
    norm(network.fc._batch_norm_2)
    return named


def test_a_fres_resnet_of_a_static_graph(tmp_path: Path, fres: FresResNet50) -> None:
    named = _static_names(fres)
    assert len(named) == len([key for key in fres.state_dict() if not key.startswith("block_list.")])
    for name, values in named.items():
        paddle.save(paddle.to_tensor(values), str(tmp_path / f"{name}.pdparam"))
    found = read_network(tmp_path)
    assert found.name == "iresnet50"
    _assert_same(_features(found.layer), _features(fres))


def test_a_fres_resnet_whose_files_have_the_keys_of_its_state_dict(tmp_path: Path, fres: FresResNet50) -> None:
    """As PLSC 2.2 writes them; of its class centres the last rank's are left, which is told by their number."""
    for key, value in fres.state_dict().items():
        paddle.save(value, str(tmp_path / f"{key}.pdparam"))
    paddle.save(paddle.ones([SIZE, 6]), str(tmp_path / "weight.pdparam"))
    for ranks, expected in ((1, 6), (2, 0)):
        (tmp_path / "meta.json").write_text(json.dumps({"pretrain_world_size": ranks, "num_classes": 6 * ranks}))
        found = read_network(tmp_path)
        assert found.name == "iresnet50"
        assert (0 if found.centres is None else len(found.centres)) == expected
        _assert_same(_features(found.layer), _features(fres))


@pytest.mark.parametrize(("classes", "ranks"), [(5, 4), (9, 4), (8, 4), (3, 1), (20, 8)])
def test_class_centres_of_every_cut(tmp_path: Path, classes: int, ranks: int) -> None:
    centres = np.arange(classes * 3, dtype=np.float32).reshape(classes, 3)
    _save_shards(tmp_path, centres, ranks)
    _, found = read_parameter_folder(tmp_path)
    assert found is not None and found.momenta is not None and len(found) == classes
    np.testing.assert_array_equal(np.concatenate(found.shards), centres)
    np.testing.assert_array_equal(np.concatenate(found.momenta), centres / 2)


def test_class_centres_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    _save_shards(tmp_path, np.zeros((8, 3), np.float32), 4)
    (tmp_path / "dist@fc@rank@00002.w_0.pdparam").unlink()
    with pytest.raises(ModelFileError, match=r"ranks \[0, 1, 3\]; meta.json says 4"):
        read_parameter_folder(tmp_path)
    _save_shards(tmp_path, np.zeros((8, 3), np.float32), 4)
    (tmp_path / "meta.json").write_text(json.dumps({"num_classes": 12, "pretrain_world_size": 4}))
    with pytest.raises(ModelFileError, match=r"hold \[2, 2, 2, 2\] class centres, not all of 12"):
        read_parameter_folder(tmp_path)
    for document in ("[]", '{"num_classes": -1}', '{"num_classes": "many"}', "{" * 100_000):
        (tmp_path / "meta.json").write_text(document)
        with pytest.raises(ModelFileError, match=r"meta\.json"):
            read_parameter_folder(tmp_path)


def test_a_parameter_of_a_static_graph_is_read_without_eval(tmp_path: Path) -> None:
    """Static graphs pickle a tensor as eval('data', {'data': array})."""
    content = tmp_path / "a.pdparam"
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_state_dict(tmp_path / "one", {"data": values})
    inner = (tmp_path / "one").read_bytes()[2:-1]
    content.write_bytes(b"\x80\x04cbuiltins\neval\n(X\x04\x00\x00\x00data" + inner + b"tR.")
    np.testing.assert_array_equal(read_parameter(content), values)
    hostile = b"\x80\x04cbuiltins\neval\n(X\x10\x00\x00\x00__import__('os')" + inner + b"tR."
    content.write_bytes(hostile)
    with pytest.raises(ModelFileError, match="refused and not run"):
        read_parameter(content)


def test_weights_of_the_published_toolkit(tmp_path: Path) -> None:
    """A .pdparams of 2021 is known by its keys; of another size than any network it must be named."""
    network = build_backbone("iresnet18", embedding_size=SIZE, width=0.125)
    paddle.save(network.state_dict(), str(tmp_path / "backbone.pdparams"))
    assert read_network(tmp_path / "backbone.pdparams").name == "iresnet18"
    network = build_backbone("MobileFaceNet_128", embedding_size=SIZE, width=0.125)
    paddle.save(network.state_dict(), str(tmp_path / "mobile.pdparams"))
    with pytest.raises(ModelFileError, match="name it with --network"):
        read_network(tmp_path / "mobile.pdparams")
    assert read_network(tmp_path / "mobile.pdparams", network="MobileFaceNet_128").name == "MobileFaceNet_128"
