"""Networks that OpenVINO compiled are kept between processes, and never stand in the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle.pipeline.engines import compiled_cache, openvino_engine
from arcface_paddle.pipeline.model_files import open_model
from arcface_paddle.pipeline.runtime import RuntimeOptions, open_runtime

pytest.importorskip("openvino")

CROPS = np.random.default_rng(0).standard_normal((2, 3, 48, 48)).astype(np.float32)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARCFACE_PADDLE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def features(model: str = "FaceRefiner", precision: str = "fp32") -> np.ndarray:
    folder = open_model(model)
    options = RuntimeOptions(engine="openvino", threads=1, precision=precision)
    return open_runtime(folder.graph_file, folder.weights_file, options=options).run([CROPS])[0]


def kept(home: Path) -> list[Path]:
    return sorted((home / "compiled").glob("*"))


def never_read(*_: object) -> None:
    raise AssertionError("the network was read and compiled again")


def test_the_second_process_compiles_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = features()
    assert len(kept(home)) == 1
    monkeypatch.setattr(openvino_engine, "_read", never_read)
    assert np.array_equal(features(), compiled)


def test_weights_and_precision_have_places_of_their_own(home: Path, tmp_path: Path) -> None:
    expected = features()
    folder = shutil.copytree(open_model("FaceRefiner").path, tmp_path / "changed")
    weights = bytearray((folder / "inference.pdiparams").read_bytes())
    weights[-400:] = np.full(100, 0.5, np.float32).tobytes()
    (folder / "inference.pdiparams").write_bytes(weights)
    options = RuntimeOptions(engine="openvino", threads=1, precision="fp32")
    files = folder / "inference.pdmodel", folder / "inference.pdiparams"
    changed = open_runtime(*files, options=options).run([CROPS])
    assert not all(np.array_equal(one, other) for one, other in zip(changed, [expected] * 3))
    assert len(kept(home)) == 2


@pytest.mark.parametrize("damage", [b"", b"rubbish", None], ids=["empty", "rubbish", "cut"])
def test_a_damaged_file_is_compiled_anew(home: Path, damage: bytes) -> None:
    expected = features()
    [file] = kept(home)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1000] if damage is None else damage)
    assert np.array_equal(features(), expected)
    assert file.stat().st_size == pytest.approx(len(whole), abs=100), "OpenVINO does not always write the same"


def test_a_network_of_another_build_is_compiled_anew(home: Path) -> None:
    expected = features()
    [file] = kept(home)
    compiled_cache.CompiledCache(file).store(b"what another build wrote")
    assert np.array_equal(features(), expected)
    assert len(file.read_bytes()) > 1000


def test_a_home_that_cannot_be_written_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("ARCFACE_PADDLE_HOME", str(tmp_path / "file" / "home"))  # root, too, cannot make this folder
    assert features().shape == (2, 4)


def test_only_so_many_are_kept(home: Path) -> None:
    for index in range(compiled_cache._MOST_FILES + 3):
        path = home / "compiled" / f"{index:03}.compiled"
        compiled_cache.CompiledCache(path).store(b"x")
        os.utime(path, (index, index))
    names = [path.name for path in kept(home)]
    assert len(names) == compiled_cache._MOST_FILES
    assert names[0] == "003.compiled"


def test_processes_may_compile_at_the_same_time(home: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests/pipeline'); import test_compiled_cache as t; print(t.features().sum())"
    )
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(3)]
    results = {process.communicate(timeout=240)[0] for process in started}
    assert [process.returncode for process in started] == [0, 0, 0]
    assert len(results) == 1
    assert len(kept(home)) == 1
