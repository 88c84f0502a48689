"""Files that are damaged, foreign or made to harm: each is refused in one line, nothing runs and nothing is written."""

from __future__ import annotations

import os
import pickle
import struct
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from torch_writing import Storage, Tensor, _Global, dump, seeded, tensors_of, write_archive, write_state_dict

from arcface_paddle.errors import ModelFileError
from arcface_paddle.export.importing.importer import import_model
from arcface_paddle.export.importing.torch_file import read_torch_file

sys.path.insert(0, str(Path(__file__).parents[1] / "pipeline"))
from scrfd_making import write_recognizer, write_scrfd  # the files that the detector's tests make

FIXTURES = Path(__file__).parents[1] / "fixtures" / "torch"
SIXTEEN = {"0": np.arange(16, dtype=np.float32).tobytes()}


class Canary:
    """Runs a command when it is unpickled by somebody careless."""

    def __init__(self, folder: Path) -> None:
        self.command = f"touch {folder / 'canary'}"

    def __reduce__(self) -> tuple:
        return os.system, (self.command,)


def one_tensor(offset=0, shape=(4, 4), strides=(4, 1), count=16, key="0", kind="FloatStorage") -> dict:
    return {"weight": Tensor(Storage(key, kind, count), offset, shape, strides)}


def cut(share: float) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        content = (FIXTURES / "tiny.pt").read_bytes()
        path = folder / "a.pt"
        path.write_bytes(content[: int(len(content) * share)])
        return path

    return make


def cut_legacy(share: float) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        content = (FIXTURES / "tiny_legacy.pt").read_bytes()
        path = folder / "a.pt"
        path.write_bytes(content[: int(len(content) * share)])
        return path

    return make


def tensor(**lie: object) -> Callable[[Path], Path]:
    return lambda folder: write_archive(folder / "a.pt", one_tensor(**lie), SIXTEEN)  # type: ignore[arg-type]


def document(make: Callable[[Path], object]) -> Callable[[Path], Path]:
    return lambda folder: write_archive(folder / "a.pt", make(folder), SIXTEEN)


def expansion(folder: Path) -> Path:
    """4 bytes that a thousand tensors of a gigabyte each are made of."""
    values = {f"w{i}": Tensor(Storage("0", "FloatStorage", 1), 0, (1 << 28,), (0,)) for i in range(1000)}
    return write_archive(folder / "a.pt", values, {"0": bytes(4)})


def deflated(folder: Path) -> Path:
    bomb = {"0": bytes(20 << 20)}
    return write_archive(folder / "a.pt", one_tensor(count=5 << 20), bomb, compression=zipfile.ZIP_DEFLATED)


def overlapping(folder: Path) -> Path:
    """The directory of the archive says that an entry is larger than the file."""
    path = write_archive(folder / "a.pt", one_tensor(), SIXTEEN)
    content = bytearray(path.read_bytes())
    place = content.rindex(b"archive/data/0") - 46  # the entry in the central directory
    struct.pack_into("<II", content, place + 20, 1 << 30, 1 << 30)
    path.write_bytes(content)
    return path


def damaged_values(folder: Path) -> Path:
    path = write_archive(folder / "a.pt", one_tensor(), SIXTEEN)
    content = bytearray(path.read_bytes())
    content[content.index(SIXTEEN["0"]) + 5] ^= 1
    path.write_bytes(content)
    return path


@pytest.mark.filterwarnings("ignore:Duplicate name")
def two_of_a_name(folder: Path) -> Path:
    path = write_archive(folder / "a.pt", one_tensor(), SIXTEEN)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data.pkl", dump({}))
    return path


def torch_script(folder: Path) -> Path:
    path = write_archive(folder / "a.pt", one_tensor(), SIXTEEN)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/constants.pkl", dump(()))
    return path


def word_document(folder: Path) -> Path:
    path = folder / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../../../tmp/evil/data.pkl", dump({}))
    return path


def network(change: Callable[[dict], None]) -> Callable[[Path], Path]:
    """A narrow iresnet18 of torch with something wrong."""

    def make(folder: Path) -> Path:
        import json

        shapes = json.loads(str(np.load(FIXTURES / "outputs.npz")["iresnet18_shapes"]))
        state = {key: seeded(key, tuple(shape)) for key, shape in shapes.items()}
        change(state)
        return write_state_dict(folder / "a.pt", state)

    return make


def with_nan(state: dict) -> None:
    state["layer3.0.conv2.weight"][0, 0, 0, 0] = np.nan


def wrong_shape(state: dict) -> None:
    state["layer3.0.conv2.weight"] = state["layer3.0.conv2.weight"][:, :, :1]


def without_sides(state: dict) -> None:
    state["conv1.weight"] = np.array(3, np.float32)


def huge_features(folder: Path) -> Path:
    """Claims features of 100 million values, by a tensor of one value."""
    tensors, storages = tensors_of({"conv1.weight": np.zeros((64, 3, 3, 3), np.float32)})
    tensors["features.weight"] = Tensor(Storage("0", "FloatStorage", 1728), 0, (1 << 24,), (0,))
    tensors.update({f"layer{stage}.{unit}.x": tensors["conv1.weight"] for stage in range(1, 5) for unit in range(2)})
    return write_archive(folder / "a.pt", tensors, storages)


def pickled(name: str) -> Callable[[Path], Path]:
    """A pickle that runs a command, under a name of Paddle's."""

    def make(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pickle.dumps({"conv1.weight": Canary(folder)}))
        return path if path.suffix == ".pdparams" else path.parent

    return make


def one_line_of_text(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text("a picture of me, honestly\n")
        return folder / name

    return make


def external(kind: str) -> Callable[[Path], Path]:
    """An ONNX model whose weights are at a path of its choice."""

    def make(folder: Path) -> Path:
        path = write_recognizer(folder / "a.onnx")
        model = onnx.load(str(path))
        values = model.graph.initializer[0]
        values.ClearField("raw_data")
        values.data_location = TensorProto.EXTERNAL
        values.external_data.add(key="location", value="../../../../etc/passwd")
        if kind == "constant":
            model.graph.node.insert(0, helper.make_node("Constant", [], ["matrix"], value=values))
            del model.graph.initializer[0]
        elif kind == "nested":
            inner = helper.make_graph([], "inner", [], [], [values])
            model.graph.node.insert(0, helper.make_node("If", ["c"], ["x"], then_branch=inner, else_branch=inner))
        path.write_bytes(model.SerializeToString())
        return path

    return make


def cut_onnx(folder: Path) -> Path:
    path = write_recognizer(folder / "a.onnx")
    path.write_bytes(path.read_bytes()[:-2000])
    return path


def nested_graphs(folder: Path) -> Path:
    graph = helper.make_graph([], "g", [], [])
    for _ in range(20):
        graph = helper.make_graph([helper.make_node("If", ["c"], ["x"], then_branch=graph)], "g", [], [])
    path = folder / "a.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def wrong_tables(folder: Path) -> Path:
    """Says that it is a SCRFD and gives a third of the anchors."""
    return write_scrfd(folder / "a.onnx", strides=(8, 16, 32), anchors=1)


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "nothing": (lambda folder: folder / "a.pt", "cannot read"),
    "empty file": (lambda folder: (folder / "a.pt", (folder / "a.pt").write_bytes(b""))[0], "empty"),
    "empty folder": (lambda folder: folder, "holds nothing"),
    "text": (one_line_of_text("a.pt"), "nothing that can be imported"),
    **{f"zip cut at {share}": (cut(share), "damaged zip|not a file of torch") for share in (0.02, 0.3, 0.8, 0.99)},
    **{f"row cut at {share}": (cut_legacy(share), "damaged|cut off|nothing that") for share in (0.005, 0.2, 0.7, 0.99)},
    "zip bomb": (deflated, "compressed or encrypted"),
    "expansion": (expansion, "expands to more than"),
    "larger than the file": (overlapping, "damaged or cut off"),
    "checksum": (damaged_values, "checksum"),
    "two entries": (two_of_a_name, "two entries of one name"),
    "script": (torch_script, "TorchScript"),
    "path in zip": (word_document, r"without NAME/data\.pkl"),
    "command": (document(lambda folder: {"weight": Canary(folder)}), r"posix\.system|nt\.system"),
    "foreign class": (document(lambda folder: {"args": _Global("argparse", "Namespace")}), r"argparse\.Namespace"),
    "calls a type": (document(lambda folder: {"a": Tensor("text", 0, (1,), (1,))}), "a storage is needed"),
    "beyond the storage": (tensor(offset=1), "reaches 17 values into a storage that has 16"),
    "beyond the entry": (tensor(count=1 << 20, shape=(1 << 20,), strides=(1,)), r"64 bytes; 4194304 are needed"),
    "negative stride": (tensor(strides=(-4, 1)), "strides"),
    "negative offset": (tensor(offset=-1), "a storage is needed"),
    "huge numbers": (tensor(shape=(1 << 61, 4), strides=(1 << 61, 1)), "reaches|strides"),
    "many axes": (tensor(shape=(1,) * 40, strides=(1,) * 40), "of shape"),
    "path as a key": (tensor(key="../../../../etc/passwd"), "lacks its entry"),
    "negative count": (tensor(count=-1), "unknown way"),
    "self": (document(lambda folder: _self_containing()), "nested deeper|contains itself"),
    "NaN": (network(with_nan), "holds NaN or infinity"),
    "wrong shape": (network(wrong_shape), r"layer3\.0\.conv2\.weight is .* instead of"),
    "no sides": (network(without_sides), "without sides"),
    "huge features": (huge_features, "features of 16777216 values|expands"),
    "command in .pdparams": (pickled("a.pdparams"), "refused and not run"),
    "command in .pdparam": (pickled("7/conv1_weights.pdparam"), "refused and not run"),
    "text as .pdparams": (one_line_of_text("a.pdparams"), "nothing that can be imported"),
    "text as .onnx": (one_line_of_text("a.onnx"), "not an ONNX model, or damaged"),
    "cut .onnx": (cut_onnx, "not an ONNX model, or damaged"),
    **{f"external {kind}": (external(kind), "another file") for kind in ("initializer", "constant", "nested")},
    "nested graphs": (nested_graphs, "nested deeper"),
    "NaN in .onnx": (lambda folder: write_recognizer(folder / "a.onnx", scale=np.nan), "not finite"),
    "wrong tables": (wrong_tables, "its card promises"),
}


def _self_containing() -> dict:
    document: dict = {}
    document["self"] = document
    return document


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(name: str, tmp_path: Path) -> None:
    make, message = HOSTILE[name]
    (tmp_path / "in").mkdir()
    source = make(tmp_path / "in")
    began = time.perf_counter()
    with pytest.raises(ModelFileError, match=message) as caught:
        import_model(source, tmp_path / "out")
    assert time.perf_counter() - began < 20
    text = str(caught.value)
    assert "\n" not in text and len(text) < 600
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert not (tmp_path / "in" / "canary").exists()


def test_a_careless_reader_would_have_run_the_command(tmp_path: Path) -> None:
    """The canary sings where pickles are executed."""
    pickle.loads(pickle.dumps(Canary(tmp_path)))
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("file", ["tiny.pt", "tiny_legacy.pt"])
def test_scribbles_on_a_file_of_torch_are_refused_or_read(file: str, tmp_path: Path) -> None:
    content, random = (FIXTURES / file).read_bytes(), np.random.default_rng(0)
    path = tmp_path / "a.pt"
    for _ in range(300):
        damaged = bytearray(content[: random.integers(1, len(content))] if random.random() < 0.3 else content)
        for place in random.integers(0, len(damaged), random.integers(1, 6)):
            damaged[place] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            read_torch_file(path)
        except ModelFileError as error:
            assert "\n" not in str(error)
