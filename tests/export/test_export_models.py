"""Exported models equal their network in every format, through the gate, or do not exist."""

from __future__ import annotations

import importlib.util
import os
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from paddle import nn
from paddle.jit.dy2static import utils as dy2static_utils
from paddle.utils import unique_name

from arcface_paddle import devices, files, temporaries
from arcface_paddle.backbones import BACKBONES, build_backbone
from arcface_paddle.errors import CheckpointError, ConfigError, ModelFileError
from arcface_paddle.export import exporter
from arcface_paddle.export.exporter import embed_with_folder, export_model, install, parity_crops, staging_beside
from arcface_paddle.export.graph import GraphSettings, build_graph
from arcface_paddle.export.network_source import NetworkSource
from arcface_paddle.export.parity import check_parity
from arcface_paddle.export.saving import FORMATS, forget_call_stacks, save_model
from arcface_paddle.pipeline import build_recognizer
from arcface_paddle.pipeline.cards import read_card
from arcface_paddle.pipeline.onnx_conversion import onnx_from_paddle
from arcface_paddle.pipeline.runtime import RuntimeOptions, open_runtime
from arcface_paddle.weight_files import write_state_dict

FIXTURES = Path(__file__).parents[1] / "fixtures"
WIDTH = 0.25


def save_weights(path: Path, name: str, *, width: float = WIDTH) -> NetworkSource:
    network = build_backbone(name, width=width)
    random = np.random.default_rng(0)
    arrays = {key: value.numpy() for key, value in network.state_dict().items()}
    for key in arrays:
        if key.endswith(("_mean", "_variance")):
            arrays[key] = random.uniform(0.5, 1.5, arrays[key].shape).astype(np.float32)
        if key.endswith(("bn3.weight", "res_layer.4.weight", "second.bn.weight")):
            arrays[key] *= 0.2  # untrained residual branches of a deep network would overflow
        if key.endswith(("gamma", "gamma_xca", "layer_scale", "project.1.weight")):
            arrays[key] = random.uniform(0.1, 0.5, arrays[key].shape).astype(np.float32)  # they start at next to 0
    write_state_dict(path, arrays)
    return NetworkSource(name, str(path))


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> NetworkSource:
    return save_weights(tmp_path_factory.mktemp("weights") / "run.pdparams", "MobileFaceNet_128")


# Deeper networks of the same layers, and one that takes minutes: tests/backbones/test_learning.py exports them, in one
# format.
DEEPER = {"HRNetV2_W18", "ResNet101", "ResNet152", "IR_101", "IR_152", "IR_SE_101", "IR_SE_152"}
QUICK = {"MobileFaceNet_128", "MobileFaceNet_192", "MobileNetV3_small", "mbf", "mbf_large"}
QUICK |= {name for name in BACKBONES if "iresnet" in name}
EXPORTED = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in BACKBONES if name not in DEEPER
]
WRITABLE = [name for name in FORMATS if name != "onnx" or importlib.util.find_spec("paddle2onnx")]


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTED)
def test_every_backbone_in_every_format(tmp_path, name, monkeypatch):
    weights = save_weights(tmp_path / "w.pdparams", name)
    settings = GraphSettings(mirror=name == "MobileFaceNet_128", normalize=name != "iresnet34")
    monkeypatch.setattr(exporter, "parity_crops", lambda: parity_crops()[3:10])  # faces and noise; deep ones are slow
    for model_format in WRITABLE:
        result = export_model(weights, tmp_path / model_format, model_format=model_format, settings=settings)
        assert result.parity.min_cosine > 0.99999
        assert result.parity.max_relative_norm_error < 1e-3
        assert result.parity.images == 7


def test_folder_drops_into_the_pipeline(tmp_path, source):
    folder = tmp_path / "model"
    export_model(source, folder, model_format="json", settings=GraphSettings(normalize=True))
    card = read_card(folder / "model.json")
    assert card.recognizer.embedding_size == 128
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    vectors = build_recognizer(str(folder)).embed(crops).vectors
    expected = embed_with_folder(folder)(crops)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1, atol=1e-5)


def test_mirror_inside_the_graph_does_not_see_left_from_right(tmp_path, source):
    export_model(source, tmp_path / "m", model_format="json", settings=GraphSettings(mirror=True))
    embed, crops = embed_with_folder(tmp_path / "m"), parity_crops()
    flipped = np.ascontiguousarray(crops[:, :, ::-1])
    np.testing.assert_allclose(embed(crops), embed(flipped), rtol=1e-3, atol=1e-4)


def test_export_replaces_an_older_one_and_keeps_other_files(tmp_path, source):
    pytest.importorskip("paddle2onnx")
    folder = tmp_path / "inference_model"
    (folder / "BlazeFace").mkdir(parents=True)
    export_model(source, folder, model_format="json", settings=GraphSettings())
    export_model(source, folder, model_format="onnx", settings=GraphSettings())
    assert sorted(path.name for path in folder.iterdir()) == ["BlazeFace", "inference.onnx", "model.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["inference_model"]


def test_gate_failure_leaves_the_old_model(tmp_path, source, monkeypatch):
    folder = tmp_path / "model"
    export_model(source, folder, model_format="json", settings=GraphSettings())
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    honest = exporter.embed_with_folder

    def disturbed(path):
        embed = honest(path)
        return lambda batch: embed(batch) + np.linspace(0, 0.1, 128, dtype=np.float32)

    monkeypatch.setattr(exporter, "embed_with_folder", disturbed)
    with pytest.raises(ModelFileError, match="parity gate"):
        export_model(source, folder, model_format="json", settings=GraphSettings())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    with pytest.raises(ModelFileError, match="parity gate"):
        export_model(source, tmp_path / "new", model_format="json", settings=GraphSettings())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda batch: np.full((len(batch), 4), np.nan, np.float32), "not finite"),
        (lambda batch: np.ones((1, 4), np.float32), "batch of 7"),
        (lambda batch: -np.ones((len(batch), 4), np.float32), "smallest cosine -1"),
    ],
)
def test_gate_refuses(output, message):
    with pytest.raises(ModelFileError, match=message):
        check_parity(lambda batch: np.ones((len(batch), 4), np.float32), output, crops=np.zeros((7, 1), np.uint8))


def test_wrong_network_and_damaged_weights(tmp_path, source):
    with pytest.raises(CheckpointError, match="does not fit"):
        export_model(
            NetworkSource("iresnet18", source.weights), tmp_path / "m", model_format="json", settings=GraphSettings()
        )
    with pytest.raises(ConfigError, match="no network"):
        export_model(
            NetworkSource("resnet", source.weights), tmp_path / "m", model_format="json", settings=GraphSettings()
        )
    half = tmp_path / "half.pdparams"
    half.write_bytes(Path(source.weights).read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="half"):
        export_model(
            NetworkSource("MobileFaceNet_128", str(half)),
            tmp_path / "m",
            model_format="json",
            settings=GraphSettings(),
        )
    assert not (tmp_path / "m").exists()


def test_unwritable_target(tmp_path, source):
    (tmp_path / "file").write_text("in the way")
    for target in (tmp_path / "file", tmp_path / "file" / "model"):
        with pytest.raises(ModelFileError, match="cannot be written"):
            export_model(source, target, model_format="json", settings=GraphSettings())


def test_two_exports_do_not_mix_their_files(tmp_path):
    for name in ("staging", "model"):
        (tmp_path / name).mkdir()
        for file in ("inference.json", "model.json"):
            (tmp_path / name / file).write_text(name)
    with files.locked(tmp_path / "model" / "model.json"):  # as another process that writes its files
        other = threading.Thread(target=install, args=(tmp_path / "staging", tmp_path / "model"))
        other.start()
        other.join(0.1)
        assert (tmp_path / "model" / "inference.json").read_text() == "model"
    other.join()
    assert {path.name: path.read_text() for path in (tmp_path / "model").iterdir()} == {
        "inference.json": "staging",
        "model.json": "staging",
    }


def one_layer() -> nn.Layer:
    return build_graph(nn.Conv2D(3, 4, 112), GraphSettings(fold=False))


def test_a_network_becomes_a_graph_without_a_home_folder(tmp_path, monkeypatch):
    (tmp_path / "home").write_text("a file, so that nothing can be made in it")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    save_model(one_layer(), tmp_path, model_format="pdmodel")
    assert (tmp_path / "inference.pdmodel").is_file()


def test_a_graph_does_not_tell_where_it_was_made(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    with unique_name.guard():
        save_model(one_layer(), tmp_path / "one", model_format="pdmodel")
    with unique_name.guard():
        save_model(one_layer(), tmp_path / "other", model_format="pdmodel")  # called from another line
    first, second = ((tmp_path / name / "inference.pdmodel").read_bytes() for name in ("one", "other"))
    assert first == second
    assert b"test_export_models" not in first and os.fsencode(Path(exporter.__file__).parent) not in first


@pytest.mark.skipif(os.name == "nt", reason="needs links")
@pytest.mark.parametrize("model_format", ["pdmodel", "json"])
def test_a_file_that_paddle_cannot_make_is_told_in_a_line(tmp_path, model_format):
    (tmp_path / "staging").mkdir()
    (tmp_path / "staging" / "inference.pdiparams").symlink_to(tmp_path / "gone" / "file")
    with pytest.raises(
        ModelFileError, match=f"^{tmp_path}: cannot be written: Paddle cannot make inference.pdiparams;"
    ):
        save_model(one_layer(), tmp_path / "staging", model_format=model_format)


def test_half_a_graph_is_told(tmp_path):
    save_model(one_layer(), tmp_path, model_format="pdmodel")
    graph = tmp_path / "inference.pdmodel"
    graph.write_bytes(graph.read_bytes()[:-3])
    with pytest.raises(ModelFileError, match=": cannot be written: Paddle has left half a graph; make room there"):
        forget_call_stacks(graph)


def test_without_a_temporary_folder_nothing_stays_in_the_home_folder(tmp_path, monkeypatch):
    def nowhere():
        raise FileNotFoundError("no usable temporary directory found")

    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    monkeypatch.setattr(dy2static_utils, "get_temp_dir", dy2static_utils.get_temp_dir)
    devices.translate_outside_home.cache_clear()
    try:
        save_model(one_layer(), tmp_path, model_format="pdmodel")
        [made] = (tmp_path / "home").iterdir()
        assert made in temporaries._unfinished, "which goes with the process"
    finally:
        devices.translate_outside_home.cache_clear()


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX limits")
@pytest.mark.parametrize("room", [0, 500])
def test_a_full_disk_is_named_though_paddle_says_nothing(tmp_path, room):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        with pytest.raises(ModelFileError, match="make room") as raised, staging_beside(tmp_path / "model") as staging:
            save_model(one_layer(), staging, model_format="json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(tmp_path) in str(raised.value)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX limits")
@pytest.mark.parametrize("room", [2_000, 100_000])
def test_a_full_disk_gives_no_network_of_accidental_weights(tmp_path, monkeypatch, room):
    pytest.importorskip("paddle2onnx")
    import resource

    save_model(one_layer(), tmp_path, model_format="pdmodel")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    graph = {path.name for path in tmp_path.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        with pytest.raises(ModelFileError, match=f"^{tmp_path}: cannot be written: File too large; make room there"):
            onnx_from_paddle(tmp_path / "inference.pdmodel", tmp_path / "inference.pdiparams", opset=17)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name for path in tmp_path.iterdir()} == graph


def test_a_model_of_paddle_2_6_2_loads_and_matches():
    # Made by Paddle 2.6.2: a strided convolution, BatchNorm, PReLU, convolution, BatchNorm; expected.npy is what that
    # version computed for this input.
    folder = FIXTURES / "paddle_2_6_2"
    runtime = open_runtime(
        folder / "inference.pdmodel", folder / "inference.pdiparams", options=RuntimeOptions(precision="fp32")
    )
    x = np.random.default_rng(0).standard_normal((3, 3, 112, 112)).astype(np.float32)
    np.testing.assert_allclose(runtime.run([x])[0], np.load(folder / "expected.npy"), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX mode")
def test_command_line(tmp_path, source, capsys):
    from arcface_paddle.cli.main import run_module

    arguments = ["--network", "MobileFaceNet_128", "--pretrained_model", source.weights]
    assert run_module("export", [*arguments, "--output", str(tmp_path / "m")]) == 0
    assert "parity gate passed" in capsys.readouterr().out
    assert (tmp_path / "m" / "inference.pdmodel").exists()
    assert (
        run_module("export", [*arguments[:-1], str(tmp_path / "none.pdparams"), "--output", str(tmp_path / "n")]) == 2
    )
    assert "none.pdparams" in capsys.readouterr().err
    assert not (tmp_path / "n").exists()
