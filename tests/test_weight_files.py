"""The .pdparams reader and writer against paddle's own, and against files that try to run code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import paddle
import pytest

from arcface_paddle.errors import ModelFileError
from arcface_paddle.weight_files import read_state_dict, write_state_dict


class _Payload:
    def __init__(self, target) -> None:
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


def _network() -> paddle.nn.Layer:
    return paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4), paddle.nn.PReLU(4))


def test_reads_what_paddle_saves(tmp_path):
    network = _network()
    paddle.save(network.state_dict(), str(tmp_path / "a.pdparams"))
    state = read_state_dict(tmp_path / "a.pdparams")
    expected = network.state_dict()
    assert list(state) == list(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(state[key], value.numpy())


def test_paddle_loads_what_is_written(tmp_path):
    network, other = _network(), _network()
    write_state_dict(tmp_path / "a.pdparams", {key: value.numpy() for key, value in network.state_dict().items()})
    other.set_state_dict(paddle.load(str(tmp_path / "a.pdparams")))
    for key, value in network.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[key].numpy(), value.numpy())


def test_weights_of_torch_are_to_be_imported_first():
    path = Path(__file__).parent / "fixtures" / "torch" / "tiny.pt"
    with pytest.raises(ModelFileError, match="import it first: arcface-paddle import"):
        read_state_dict(path)


def test_round_trip_of_scalars_and_empty_dicts(tmp_path):
    write_state_dict(tmp_path / "a.pdparams", {"step": np.array(3, np.int64), "ok": np.array([True, False])})
    state = read_state_dict(tmp_path / "a.pdparams")
    assert state["step"] == 3
    assert state["ok"].tolist() == [True, False]
    write_state_dict(tmp_path / "b.pdparams", {})
    assert read_state_dict(tmp_path / "b.pdparams") == {}


def test_reads_live_tensors_and_bfloat16(tmp_path):
    values = paddle.to_tensor([1.0, -2.5, 3.0])
    paddle.save({"list": values.astype("bfloat16")}, str(tmp_path / "a.pdparams"))
    np.testing.assert_array_equal(read_state_dict(tmp_path / "a.pdparams")["list"], values.numpy())


def test_a_payload_is_refused_and_not_run(tmp_path):
    victim = tmp_path / "made_by_payload"
    (tmp_path / "evil.pdparams").write_bytes(pickle.dumps({"conv.weight": _Payload(victim)}))
    with pytest.raises(ModelFileError, match=r"evil\.pdparams.*mkdir.*refused"):
        read_state_dict(tmp_path / "evil.pdparams")
    assert not victim.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged pickle"),
        (b"PK\x03\x04 zip", "damaged pickle"),
        (pickle.dumps([1, 2]), "holds a list"),
        (pickle.dumps({"a": "text"}), "entry 'a' is not an array"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    (tmp_path / "x.pdparams").write_bytes(content)
    with pytest.raises(ModelFileError, match=message):
        read_state_dict(tmp_path / "x.pdparams")


def test_truncated_and_missing_files(tmp_path):
    write_state_dict(tmp_path / "a.pdparams", {"w": np.zeros((100, 100), np.float32)})
    content = (tmp_path / "a.pdparams").read_bytes()
    (tmp_path / "b.pdparams").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelFileError, match=r"b\.pdparams: damaged"):
        read_state_dict(tmp_path / "b.pdparams")
    with pytest.raises(ModelFileError, match="cannot read the weights"):
        read_state_dict(tmp_path / "none.pdparams")
