"""Files of torch: read as torch reads them, and arcface_torch's networks as torch computes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import paddle
import pytest
from torch_writing import seeded, write_archive, write_state_dict

from arcface_paddle.backbones import build_backbone
from arcface_paddle.errors import ModelFileError
from arcface_paddle.export.importing.importer import ImportSettings, import_model
from arcface_paddle.export.importing.torch_file import read_torch_file
from arcface_paddle.export.importing.torch_weights import (
    backbone_arrays,
    class_centres,
    network_from_torch,
    torch_key,
)
from arcface_paddle.pipeline import build_recognizer
from arcface_paddle.safe_pickle import load_arrays
from arcface_paddle.training.pretrained import open_pretrained
from arcface_paddle.weight_files import read_state_dict

FIXTURES = Path(__file__).parents[1] / "fixtures" / "torch"
OUTPUTS = np.load(FIXTURES / "outputs.npz")
PICTURES = np.random.default_rng(5).uniform(-1, 1, (2, 3, 112, 112)).astype(np.float32)


def state_of(name: str) -> dict[str, np.ndarray]:
    """The state_dict of which outputs.npz has torch's features."""
    shapes = json.loads(str(OUTPUTS[f"{name}_shapes"]))
    return {key: seeded(key, tuple(shape)) for key, shape in shapes.items()}


@pytest.mark.parametrize("file", ["tiny.pt", "tiny_legacy.pt"])
def test_a_file_of_torch_is_read_as_torch_reads_it(file: str) -> None:
    document = read_torch_file(FIXTURES / file)
    assert isinstance(document, dict)
    assert (document["epoch"], document["shape"], document["rates"]) == (3, (2, 3), [0.1, 0.2])
    expected = np.load(FIXTURES / "tiny.npz")
    tensors = document["state_dict_backbone"]
    assert list(tensors) == list(expected)
    for name, values in expected.items():
        assert tensors[name].shape == values.shape, name
        np.testing.assert_array_equal(tensors[name].astype(np.float32), values, err_msg=name)
    kinds = {"half": "f2", "bfloat": "f4", "double": "f8", "flags": "?", "num_batches_tracked": "i8", "weight": "f4"}
    assert {name: tensors[name].dtype for name in kinds} == {name: np.dtype(kind) for name, kind in kinds.items()}
    assert tensors["transposed"].flags.owndata and tensors["transposed"].flags.writeable


@pytest.mark.parametrize("name", ["iresnet18", "mbf"])
def test_features_are_those_of_torch(name: str, tmp_path: Path) -> None:
    path = write_state_dict(tmp_path / "backbone.pth", state_of(name))
    arrays = backbone_arrays(read_torch_file(path), name=str(path))
    chosen, network = network_from_torch(arrays, name=str(path), network=None)
    assert chosen == name
    with paddle.no_grad():
        found = network(paddle.to_tensor(PICTURES)).numpy()
    expected = OUTPUTS[f"{name}_features"]
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(
    "name", ["iresnet18", "iresnet34", "iresnet50", "iresnet100", "iresnet200", "mbf", "mbf_large"]
)
def test_every_network_of_arcface_torch_is_told_by_its_keys(name: str) -> None:
    own = {
        key: value.numpy() for key, value in build_backbone(name, embedding_size=24, width=0.125).state_dict().items()
    }
    linear = "fc.weight" if name.startswith("iresnet") else "features.layers.2.weight"
    theirs = {f"module.{torch_key(key)}": array.T if key == linear else array for key, array in own.items()}
    theirs["module.bn1.num_batches_tracked"] = np.array(3)
    chosen, network = network_from_torch(backbone_arrays(theirs, name="x"), name="x", network=None)
    assert chosen == name
    for key, value in network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), own[key], err_msg=key)


def test_names_of_torch_for_what_paddle_calls_otherwise() -> None:
    names = ("layer1.0.bn1._mean", "layer1.0.bn1._variance", "layer1.0.prelu._weight", "fc.bias")
    expected = ["layer1.0.bn1.running_mean", "layer1.0.bn1.running_var", "layer1.0.prelu.weight", "fc.bias"]
    assert list(map(torch_key, names)) == expected


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of arcface_torch on two ranks, imported."""
    run = tmp_path_factory.mktemp("work_dirs")
    for rank, rows in enumerate((3, 2)):
        shard = {"weight": seeded(f"centres {rank}", (rows, 16))}
        _write_rank(run / f"checkpoint_gpu_{rank}.pt", shard)
    folder = tmp_path_factory.mktemp("imported") / "r18"
    result = import_model(run, folder, settings=ImportSettings(licence="ours"))
    assert (result.network, result.class_centres) == ("iresnet18", 5)
    assert result.parity is not None and result.parity.min_cosine > 0.99999
    return folder


def _write_rank(path: Path, shard: dict[str, np.ndarray]) -> None:
    from torch_writing import tensors_of

    state = {**state_of("iresnet18"), **shard}  # in one row of storages
    tensors, storages = tensors_of(state)
    centres = {"weight": tensors.pop("weight")}
    document = {"epoch": 1, "state_dict_backbone": tensors, "state_dict_softmax_fc": centres}
    write_archive(path, document, storages)


def test_an_imported_model_recognises_and_can_be_trained_on(imported: Path) -> None:
    recognizer = build_recognizer(imported)
    assert recognizer.card.licence == "ours" and "checkpoint folder of arcface_torch" in recognizer.card.source
    crops = np.random.default_rng(1).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)
    assert recognizer.embed(crops).vectors.shape == (2, 16)
    start = open_pretrained(str(imported))
    assert (start.network, start.embedding_size, start.width, start.adapted) == ("iresnet18", 16, 0.125, "")
    np.testing.assert_array_equal(start.arrays["fc.weight"], state_of("iresnet18")["fc.weight"].T)


def test_class_centres_lie_ready_for_resuming(imported: Path) -> None:
    resume = imported / "resume"
    weights = read_state_dict(resume / "iresnet18.pdparams")
    np.testing.assert_array_equal(weights["conv1.weight"], state_of("iresnet18")["conv1.weight"])
    for rank, rows in enumerate((3, 2)):
        content = (resume / f"rank_{rank}_softmax_weight.pkl").read_bytes()
        np.testing.assert_array_equal(load_arrays(content, name="shard"), seeded(f"centres {rank}", (rows, 16)))
    assert not list(resume.glob("*_mom.pkl"))


def test_missing_and_left_over_keys_are_named(tmp_path: Path) -> None:
    state = state_of("iresnet18")
    del state["layer2.0.bn1.running_var"]
    state["head.weight"] = np.zeros((4, 4), np.float32)
    path = write_state_dict(tmp_path / "a.pt", state)
    with pytest.raises(ModelFileError, match=r"missing 1 \(layer2.0.bn1.running_var\); left over 1 \(head.weight\)"):
        import_model(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_network_of_ours_is_refused(tmp_path: Path) -> None:
    path = write_state_dict(tmp_path / "a.pt", {"encoder.weight": np.zeros((4, 4), np.float32)})
    with pytest.raises(ModelFileError, match=r"encoder\.weight, …"):
        import_model(path, tmp_path / "out")
    path = write_archive(tmp_path / "b.pt", {"epoch": 3, "best": 0.5}, {})
    with pytest.raises(ModelFileError, match="holds no state_dict of a network, but: epoch, best"):
        import_model(path, tmp_path / "out")
    assert class_centres({"state_dict_softmax_fc": {"weight": 3}}) is None
