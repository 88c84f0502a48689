"""Weight files: names and shapes in both directions, what a file tells of its network, every way of not fitting."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from arcface_paddle.backbones import BACKBONES, build_backbone
from arcface_paddle.backbones.weights import embedding_size_of, load_arrays, network_of, open_backbone, width_of
from arcface_paddle.errors import CheckpointError, ConfigError
from arcface_paddle.weight_files import read_state_dict, write_state_dict


def arrays_of(network):
    return {key: tensor.numpy() for key, tensor in network.state_dict().items()}


@pytest.fixture(scope="module")
def network():
    return build_backbone("MobileFaceNet_128", embedding_size=24, width=0.125)


@pytest.fixture
def weights(network, tmp_path):
    path = tmp_path / "net.pdparams"
    write_state_dict(path, arrays_of(network))
    return path


@pytest.mark.parametrize("name", ["MobileFaceNet_128", "MobileFaceNet_192", "iresnet18", "iresnet34"])
def test_a_file_goes_both_ways_between_us_and_paddle(name, tmp_path):
    source = build_backbone(name, embedding_size=12, width=0.125)
    write_state_dict(tmp_path / "ours.pdparams", arrays_of(source))
    by_paddle = paddle.load(str(tmp_path / "ours.pdparams"))
    assert list(by_paddle) == list(source.state_dict())
    target = build_backbone(name, embedding_size=12, width=0.125)
    target.set_state_dict(by_paddle)
    paddle.save(target.state_dict(), str(tmp_path / "paddles.pdparams"))
    back = open_backbone(name.upper(), tmp_path / "paddles.pdparams")
    for key, array in arrays_of(source).items():
        np.testing.assert_array_equal(back.state_dict()[key].numpy(), array, err_msg=key)


@pytest.mark.parametrize("name", sorted(BACKBONES))
@pytest.mark.parametrize(("size", "width"), [(None, 0.125), (40, 0.25)])
def test_a_file_tells_its_network_embedding_size_and_width(name, size, width):
    if name.endswith(("101", "152", "200")) and width == 0.25:
        return  # seconds, and nothing that the others do not show
    arrays = arrays_of(build_backbone(name, embedding_size=size, width=width))
    assert embedding_size_of(arrays) == (size or BACKBONES[name].embedding_size)
    # The widest stage of EdgeFace_S has 304 channels, of which rounding does not leave an eighth or a quarter.
    assert width_of(arrays, network=name) == pytest.approx(width, rel=0.06 if name == "EdgeFace_S" else 0.0)
    is_ambiguous = name in ("vit_t", "vit_s") or (size and name.startswith("MobileFaceNet"))
    assert network_of(arrays) == (None if is_ambiguous else name)


def test_arrays_of_no_known_network_tell_nothing():
    arrays = {"layer1.0.conv1.weight": np.zeros((3, 2), np.float32), "head": np.zeros(3, np.float32)}
    assert (network_of(arrays), embedding_size_of(arrays), width_of(arrays)) == (None, None, 1.0)


def test_the_size_in_the_file_counts_unless_another_is_asked_for(weights):
    assert open_backbone("MobileFaceNet_128", weights).linear1.conv.weight.shape == [24, 64, 1, 1]
    with pytest.raises(CheckpointError, match=r"linear1\.conv\.weight is \(24, 64, 1, 1\) instead of \(32, 64, 1, 1\)"):
        open_backbone("MobileFaceNet_128", weights, embedding_size=32)
    with pytest.raises(CheckpointError, match="check the name of the network, embedding_size and width"):
        open_backbone("MobileFaceNet_128", weights, width=0.5)
    with pytest.raises(ConfigError, match="did you mean MobileFaceNet_128"):
        open_backbone("MobileFaceNet128", weights)


@pytest.mark.parametrize("kept", [0, 10, 1000, -1])
def test_a_truncated_file_is_refused(weights, kept):
    content = weights.read_bytes()
    weights.write_bytes(content[:kept])
    with pytest.raises(CheckpointError, match=r"net\.pdparams"):
        open_backbone("MobileFaceNet_128", weights)


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"\x80\x04]\x94.", b"\x80\x04cos\nsystem\n."])
def test_a_file_that_is_no_state_dict_is_refused(tmp_path, content):
    (tmp_path / "odd.pdparams").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"odd\.pdparams"):
        open_backbone("MobileFaceNet_128", tmp_path / "odd.pdparams")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("conv1.bn._mean"), r"conv1\.bn\._mean is missing"),
        (lambda arrays: arrays.update(head=np.zeros(2, np.float32)), "head is not part of the network"),
        (
            lambda arrays: arrays.update({"conv1.bn.bias": np.zeros(9, np.float32)}),
            r"conv1\.bn\.bias is \(9,\) instead",
        ),
        (lambda arrays: arrays.update({"conv1.bn.bias": np.full(8, np.inf, np.float32)}), "holds NaN or infinity"),
        (
            lambda arrays: arrays.update({"conv1.conv.weight": np.zeros((8, 3, 9), np.float32)}),
            r"is \(8, 3, 9\) instead",
        ),
        (lambda arrays: arrays.clear(), r"conv1\.conv\.weight is missing; .* and \d+ more differences"),
    ],
    ids=["missing", "extra", "shape", "infinite", "rank", "empty"],
)
def test_arrays_that_do_not_fit_are_named_and_change_nothing(network, change, message):
    before = arrays_of(network)
    arrays = {key: array + 1.0 for key, array in before.items()}
    change(arrays)
    with pytest.raises(CheckpointError, match=message):
        load_arrays(network, arrays, name="other.pdparams")
    for key, array in arrays_of(network).items():
        np.testing.assert_array_equal(array, before[key])


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_precisions_are_converted(network, dtype):
    target = build_backbone("MobileFaceNet_128", embedding_size=24, width=0.125)
    arrays = {key: array.astype(dtype) for key, array in arrays_of(network).items()}
    load_arrays(target, arrays, name="other precision")
    for key, array in arrays.items():
        tensor = target.state_dict()[key]
        assert tensor.dtype == paddle.float32
        np.testing.assert_array_equal(tensor.numpy(), array.astype(np.float32))


def test_opened_networks_are_in_evaluation_mode_and_give_the_same_features(network, weights):
    images = paddle.randn([3, 3, 112, 112])
    opened = open_backbone("mobilefacenet_128", weights)
    assert not opened.training
    network.eval()
    with paddle.no_grad():
        np.testing.assert_array_equal(opened(images).numpy(), network(images).numpy())
    assert read_state_dict(weights).keys() == opened.state_dict().keys()
