from __future__ import annotations

import contextlib
import functools
import http.server
import io
import json
import shutil
import struct
import tarfile
import threading
from pathlib import Path
from typing import Callable, Iterator

import paddle
import pytest

from arcface_paddle.errors import ModelFileError
from arcface_paddle.pipeline import cards, model_files
from arcface_paddle.pipeline.fetching import fetch_archive
from arcface_paddle.pipeline.graph_checks import check_graph, check_weights, operators_of
from arcface_paddle.pipeline.model_files import open_model, shipped_folder

EXPECTED = ("inference.pdmodel", "inference.pdiparams")


def copy_of(name: str, target: Path, *, with_card: bool = True) -> Path:
    shutil.copytree(shipped_folder(name), target)
    if not with_card:
        (target / cards.CARD_NAME).unlink()
    return target


def test_names_that_users_type_resolve_to_the_shipped_models() -> None:
    assert open_model("BlazeFace", task=cards.DETECTION).path.name == "BlazeFace"
    assert open_model("MobileFace", task=cards.RECOGNITION).path.name == "MobileFace"
    archives = {name: model.archive for name, model in model_files.REGISTRY.items() if model.archive}
    assert archives == {
        "BlazeFace-FPN-SSH": "blazeface_fpn_ssh_1000e_v1.0_infer.tar",
        "MobileFace-128": "mobileface_v1.0_infer.tar",
        "ArcFace": "arcface_iresnet50_v1.0_infer.tar",
    }


def test_a_model_for_another_task_is_refused() -> None:
    with pytest.raises(ModelFileError, match="face detection, not for face recognition"):
        open_model("BlazeFace", task=cards.RECOGNITION)


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(ModelFileError, match="neither a model folder nor a known model; known: BlazeFace"):
        open_model("RetinaNet")


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "\ud800"])
def test_what_cannot_be_the_name_of_a_folder_is_no_model(name: str) -> None:
    with pytest.raises(ModelFileError, match="neither a model folder nor a known model") as caught:
        open_model(name)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("model", [None, 5, b"MobileFace", ["MobileFace"]])
def test_a_model_is_a_name_or_a_folder(model: object) -> None:
    with pytest.raises(ModelFileError, match=f"of type {type(model).__name__}; allowed: a known name, or its folder"):
        model_files.find_folder(model)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_shipped_file_with_one_changed_byte_is_refused(name: str, tmp_path: Path) -> None:
    folder = copy_of("FaceRefiner", tmp_path / "model")
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ModelFileError, match=f"{name}: damaged or exchanged"):
        open_model(folder)


def test_missing_files_are_named(tmp_path: Path) -> None:
    folder = copy_of("FaceRefiner", tmp_path / "model")
    (folder / "inference.pdiparams").unlink()
    with pytest.raises(ModelFileError, match=r"no inference\.pdiparams"):
        open_model(folder)
    (folder / "inference.pdmodel").unlink()
    with pytest.raises(ModelFileError, match="holds no model"):
        open_model(folder)


def test_a_folder_without_a_card_takes_the_preset_of_its_task(tmp_path: Path) -> None:
    folder = copy_of("MobileFace", tmp_path / "my-model", with_card=False)
    model = open_model(folder, task=cards.RECOGNITION)
    assert model.card.name == "my-model" and model.card.input.mean == (0.5, 0.5, 0.5)
    assert len(model.weights_sha256()) == 64
    chosen = open_model(folder, task=cards.DETECTION, preset="blazeface-fpn-ssh-imagenet")
    assert chosen.card.input.mean == (0.485, 0.456, 0.406)
    with pytest.raises(ModelFileError, match="say what the model is by a preset"):
        open_model(folder)
    with pytest.raises(ModelFileError, match="allowed: blazeface-fpn-ssh"):
        open_model(folder, preset="vgg")


@pytest.mark.parametrize("damage", ["empty", "half", "text", "zeros"])
@pytest.mark.parametrize("name", EXPECTED)
def test_damage_is_found_without_a_card(name: str, damage: str, tmp_path: Path) -> None:
    folder = copy_of("FaceRefiner", tmp_path / "model", with_card=False)
    content = (folder / name).read_bytes()
    new = {"empty": b"", "half": content[: len(content) // 2], "text": b"hello world\n", "zeros": bytes(5000)}[damage]
    (folder / name).write_bytes(new)
    with pytest.raises(ModelFileError, match=name) as caught:
        open_model(folder, preset="aligned-112")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"{}", b"\xff\xff"])
def test_damaged_json_graphs(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "inference.json"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"inference\.json"):
        check_graph(path)


def test_a_json_graph_with_its_two_parts_passes(tmp_path: Path) -> None:
    path = tmp_path / "inference.json"
    for further in ({}, {"more": 1}):
        path.write_text(json.dumps({"base_code": {}, "program": {}, **further}))
        check_graph(path)


def test_whole_files_pass_the_checks() -> None:
    for name in ("BlazeFace", "FaceRefiner", "MobileFace"):
        check_graph(shipped_folder(name) / "inference.pdmodel")
        check_weights(shipped_folder(name) / "inference.pdiparams")


def tensor(kind: int, dims: list[int], values: int, *, levels: tuple[bytes, ...] = ()) -> bytes:
    """Write a tensor of a .pdiparams as Paddle does."""
    described = b"\x08" + varint(kind) + b"".join(b"\x10" + varint(dim) for dim in dims)
    lod = b"".join(struct.pack("<Q", len(level)) + level for level in levels)
    head = struct.pack("<IQ", 0, len(levels)) + lod + struct.pack("<Ii", 0, len(described)) + described
    return head + bytes(values)


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def is_whole(path: Path, content: bytes) -> bool:
    path.write_bytes(content)
    try:
        check_weights(path)
    except ModelFileError:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *(("BOOL", 1), ("INT16", 2), ("INT32", 4), ("INT64", 8), ("FP16", 2), ("FP32", 4), ("FP64", 8)),
        *(("UINT8", 1), ("INT8", 1), ("BF16", 2)),
    ],
)
def test_tensors_of_every_type_are_measured(name: str, size: int, tmp_path: Path) -> None:
    kind = int(getattr(paddle.base.core.VarDesc.VarType, name))
    path, whole = tmp_path / "w.pdiparams", tensor(kind, [3, 200], 600 * size)
    assert is_whole(path, whole) and is_whole(path, whole + whole)
    assert not is_whole(path, whole[:-1]) and not is_whole(path, whole + bytes(1))


def test_tensors_with_levels_and_of_unknown_kinds(tmp_path: Path) -> None:
    path = tmp_path / "w.pdiparams"
    assert is_whole(path, tensor(0, [5], 5, levels=(bytes(16),) * 8))
    assert not is_whole(path, tensor(0, [5], 5, levels=(bytes(16),) * 9))
    for dim in (127, 128, 16_383, 16_384):
        assert is_whole(path, tensor(0, [dim], dim)) and not is_whole(path, tensor(0, [dim], dim - 1))
    assert is_whole(path, tensor(0, [], 1)) and not is_whole(path, tensor(99, [5], 5))
    assert not is_whole(path, b"\x01" + tensor(0, [5], 5)[1:])
    described = b"\x08\x00\x10\x05"
    for version, length in [(1, 4), (0, 1), (0, -1), (0, 10)]:
        assert not is_whole(path, struct.pack("<IQIi", 0, 0, version, length) + described + bytes(5))
    without_type = struct.pack("<IQIi", 0, 0, 0, 2) + b"\x10\x05" + bytes(5)
    assert not is_whole(path, without_type)


def test_operators_stand_behind_fields_of_any_kind(tmp_path: Path) -> None:
    def field(number: int, content: bytes) -> bytes:
        return varint(number << 3 | 2) + varint(len(content)) + content

    others = varint(1 << 3) + varint(300) + varint(2 << 3 | 1) + bytes(8) + varint(20 << 3 | 5) + bytes(4)
    operators = b"".join(others + field(4, others + field(3, name) + field(5, b"x")) for name in (b"conv2d", b"relu"))
    (tmp_path / "a.pdmodel").write_bytes(field(1, others + operators) + field(4, b"\x08\x00"))
    assert operators_of(tmp_path / "a.pdmodel") == {"conv2d", "relu"}


# ---------------------------------------------------------------- fetching


def test_operators_are_read_from_the_graph_and_damage_gives_none(tmp_path: Path) -> None:
    graph = shipped_folder("CenterFace") / "inference.pdmodel"
    expected = {
        "feed",
        "fetch",
        "conv2d",
        "conv2d_transpose",
        "depthwise_conv2d",
        "elementwise_add",
        "relu",
        "reshape2",
    }
    assert operators_of(graph) == expected
    assert operators_of(tmp_path / "none.pdmodel") == operators_of(tmp_path / "inference.json") == frozenset()
    content = graph.read_bytes()
    damaged = tmp_path / "inference.pdmodel"
    for cut in (*range(1, 60), len(content) // 2):
        damaged.write_bytes(content[:cut])
        assert operators_of(damaged) <= expected
    damaged.write_bytes(bytes(255 - byte for byte in content))
    assert not operators_of(damaged)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[[str, bytes], str]]:
    """Serve bytes from 127.0.0.1; gives a function (name, content) -> URL."""
    root = tmp_path / "served"
    root.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(root))) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()

        def serve(name: str, content: bytes) -> str:
            (root / name).write_bytes(content)
            return f"http://127.0.0.1:{httpd.server_address[1]}/{name}"

        yield serve
        httpd.shutdown()
        thread.join()


def tar_of(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def whole_members(prefix: str = "model/") -> list[tuple[tarfile.TarInfo, bytes]]:
    return [(tarfile.TarInfo(prefix + name), (shipped_folder("FaceRefiner") / name).read_bytes()) for name in EXPECTED]


def left_overs(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.iterdir()) if folder.parent.exists() else []


def test_an_archive_is_fetched_once_and_opened(
    server: Callable[[str, bytes], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = model_files.REGISTRY["ArcFace"].archive
    url = server(archive, tar_of([*whole_members(), (tarfile.TarInfo("model/readme.txt"), b"hi")]))
    monkeypatch.setattr(model_files, "ARCHIVE_BASE_URL", url[: -len(archive)])
    monkeypatch.setenv(model_files.HOME_VARIABLE, str(tmp_path / "home"))
    model = open_model("ArcFace", task=cards.RECOGNITION)
    assert model.path == tmp_path / "home" / "models" / "ArcFace"
    assert sorted(path.name for path in model.path.iterdir()) == sorted(EXPECTED)
    assert model.card.name == "ArcFace"
    monkeypatch.setattr(model_files, "ARCHIVE_BASE_URL", "http://127.0.0.1:9/")
    assert open_model("ArcFace", task=cards.RECOGNITION).graph_file.is_file()


def malicious(kind: str, outside: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    link = tarfile.TarInfo("inference.pdmodel")
    link.type, link.linkname = tarfile.SYMTYPE, str(outside)
    return {
        "absolute path": [(tarfile.TarInfo(str(outside)), b"x"), *whole_members()],
        "climbing path": [(tarfile.TarInfo("../../outside"), b"x"), *whole_members("../../../")],
        "symbolic link": [(link, b""), whole_members()[1]],
        "same name twice": [*whole_members(), (tarfile.TarInfo("other/inference.pdmodel"), b"second")],
    }[kind]


@pytest.mark.parametrize("kind", ["absolute path", "climbing path", "symbolic link", "same name twice"])
def test_nothing_of_a_malicious_archive_lands_outside(
    kind: str, server: Callable[[str, bytes], str], tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    folder = tmp_path / "cache" / "deep" / "model"
    url = server("bad.tar", tar_of(malicious(kind, outside)))
    with contextlib.suppress(ModelFileError):
        fetch_archive(url, folder, expected=EXPECTED)
    assert not outside.exists()
    inside = {path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    assert inside <= set(EXPECTED)
    assert not any(path.is_symlink() for path in (tmp_path / "cache").rglob("*"))
    assert folder.exists() == (kind in ("absolute path", "climbing path"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a whole tar archive"),
        (b"<html>not found</html>" * 100, "not a whole tar archive"),
        (tar_of(whole_members())[:300_000], "not a whole tar archive"),
        (tar_of(whole_members()[:1]), r"has no inference\.pdiparams"),
        (tar_of([(tarfile.TarInfo(name), b"rubbish") for name in EXPECTED]), "not a Paddle model|damaged"),
    ],
    ids=["empty", "html", "cut off", "incomplete", "rubbish"],
)
def test_bad_archives_leave_nothing_behind(
    content: bytes, message: str, server: Callable[[str, bytes], str], tmp_path: Path
) -> None:
    folder = tmp_path / "cache" / "model"
    with pytest.raises(ModelFileError, match=message):
        fetch_archive(server("bad.tar", content), folder, expected=EXPECTED)
    assert left_overs(folder) == []


def test_no_network_says_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "model"
    with pytest.raises(ModelFileError, match=r"cannot fetch http://127\.0\.0\.1:9/.* by hand and put .*inference"):
        fetch_archive("http://127.0.0.1:9/m.tar", folder, expected=EXPECTED)
    assert left_overs(folder) == []


def test_a_missing_archive_on_the_server(server: Callable[[str, bytes], str], tmp_path: Path) -> None:
    url = server("there.tar", b"x").replace("there", "elsewhere")
    with pytest.raises(ModelFileError, match="File not found"):
        fetch_archive(url, tmp_path / "cache" / "model", expected=EXPECTED)
