from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.backbones import build_backbone
from arcface_paddle.cli.main import run_module
from arcface_paddle.data.verification_set import write_verification_set
from arcface_paddle.weight_files import write_state_dict

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "evaluation"))
from linear_model import write_onnx

ROOT = Path(__file__).resolve().parents[2]


def write_set(path, *, pairs=40, seed=0, suffix=".jpg", size=112):
    """Pairs of painted patterns, the same or another one, with noise; every second pair is genuine."""
    generator = np.random.default_rng(seed)
    pictures, issame = [], []
    for pair in range(pairs):
        left, other = generator.integers(0, 256, (2, 7, 7, 3), dtype=np.uint8)
        issame.append(pair % 2 == 0)
        for pattern in (left, left if issame[-1] else other):
            smooth = cv2.resize(pattern, (size, size), interpolation=cv2.INTER_CUBIC).astype(np.float64)
            noisy = np.clip(smooth + generator.normal(0, 20, smooth.shape), 0, 255).astype(np.uint8)
            pictures.append(images.encode_image(noisy, suffix=suffix))
    write_verification_set(path, pictures, issame)
    return pictures, issame


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    write_set(folder / "lfw.bin")
    write_set(folder / "own.bin", pairs=11, seed=1, suffix=".png", size=150)
    return folder


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run's folder with a narrow network of random weights: enough to tell painted patterns apart."""
    import paddle

    paddle.seed(0)
    network = build_backbone("MobileFaceNet_128", embedding_size=24, width=0.125)
    folder = tmp_path_factory.mktemp("run")
    state = {key: np.asarray(tensor.numpy()) for key, tensor in network.state_dict().items()}
    write_state_dict(folder / "MobileFaceNet_128.pdparams", state)
    return folder


def valid(capsys, *flags):
    code = run_module("valid", [str(flag) for flag in flags], prog="valid.py")
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_published_command_prints_the_published_lines(sets, run_folder, tmp_path, capsys, monkeypatch):
    (tmp_path / "MS1M_bin").symlink_to(sets)
    (tmp_path / "emore_arcface").symlink_to(run_folder)
    monkeypatch.chdir(tmp_path)
    code, out, err = valid(capsys, "--network", "MobileFaceNet_128", "--checkpoint", "emore_arcface")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("[lfw][0]XNorm: ")
    assert lines[1].startswith("[lfw][0]Accuracy-Flip: ")
    assert lines[2].startswith("[lfw][0]Accuracy-Highest: ")
    assert "cfp_fp.bin is missing and left out" in err
    assert "agedb_30.bin is missing and left out" in err


def write_bcolz_set(folder, *, pairs):
    """A bcolz folder as bcolz writes it with clevel 0, by hand: one row a chunk, BGR planes from -1 to 1."""
    (folder / "meta").mkdir(parents=True)
    (folder / "data").mkdir()
    generator = np.random.default_rng(0)
    for number in range(2 * pairs):
        pattern = generator.integers(0, 256, (7, 7, 3), dtype=np.uint8)
        picture = cv2.resize(pattern, (112, 112), interpolation=cv2.INTER_CUBIC)
        rows = ((picture[:, :, ::-1].transpose(2, 0, 1) / 255 - 0.5) / 0.5).astype("<f4").tobytes()
        head = struct.pack("<BBBBIII", 2, 1, 0x23, 4, len(rows), len(rows), len(rows) + 16)
        (folder / f"data/__{number}.blp").write_bytes(b"blpk" + struct.pack("<BBBBq", 1, 0, 0, 0, 1) + head + rows)
    (folder / "meta/sizes").write_text(json.dumps({"shape": [2 * pairs, 3, 112, 112]}))
    (folder / "meta/storage").write_text(json.dumps({"dtype": "float32", "chunklen": 1}))
    np.save(f"{folder}_list.npy", np.arange(pairs) % 2 == 0)


def test_a_bcolz_set_gives_the_figures_of_its_bin(run_folder, tmp_path, capsys):
    write_bcolz_set(tmp_path / "sets/cfp_fp", pairs=20)
    assert run_module("data_convert", [str(tmp_path / "sets"), str(tmp_path / "bins"), "--to", "val"]) == 0
    capsys.readouterr()
    lines = []
    for data_dir in ("sets", "bins"):
        flags = ("--checkpoint", run_folder, "--data_dir", tmp_path / data_dir, "--val_targets", "cfp_fp")
        code, out, _ = valid(capsys, *flags)
        assert code == 0
        lines.append([line for line in out.splitlines() if line.startswith("[cfp_fp]")])
    assert lines[0] == lines[1] and len(lines[0]) == 3


def test_val_at_a_far_that_the_pairs_cannot_show_is_not_printed(sets, run_folder, tmp_path, capsys):
    code, out, _ = valid(
        capsys,
        *("--checkpoint", run_folder, "--data_dir", sets, "--val_targets", "lfw", "--json", tmp_path / "figures.json"),
    )
    assert code == 0
    lines = [line for line in out.splitlines() if "| set |" in line or "| lfw | 20 " in line]
    head, row = ([cell.strip() for cell in line.split("|")] for line in lines[:2])
    assert row[head.index("VAL@FAR 1e-3")] == "too few pairs"
    result = json.loads((tmp_path / "figures.json").read_text())["models"][0]["sets"][0]
    assert result["val_at_far"]["val"] is None
    assert result["val_at_far"]["remark"] == "too few pairs: 18 of strangers for a threshold, at least 1,000 needed"


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_tables_fit_the_terminal(sets, run_folder, capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = valid(capsys, "--checkpoint", run_folder, "--data_dir", sets, "--val_targets", "lfw,own")
    assert code == 0
    tables = [line for line in out.splitlines() if line[:1] in ("|", "+")]
    assert max(map(len, tables)) <= columns
    words = " ".join(tables)
    for title in ("same", "accuracy %", "VAL@FAR 1e-3", "EER", "FAR 1e-2", "FAR 1e-6"):
        assert title in words
    assert "[lfw][0]Accuracy-Flip: " in out


@pytest.mark.parametrize("none", ["none", "None"])
def test_no_sets_are_nothing_to_evaluate(run_folder, sets, capsys, none):
    code, out, err = valid(capsys, "--checkpoint", run_folder, "--data_dir", sets, "--val_targets", none)
    assert (code, out) == (2, "")
    assert f"--val_targets {none}: nothing to evaluate" in err
    assert len(err.strip().splitlines()) == 1


def test_network_is_found_whatever_its_case(sets, run_folder, tmp_path, capsys):
    (tmp_path / "mobilefacenet_128.pdparams").write_bytes((run_folder / "MobileFaceNet_128.pdparams").read_bytes())
    for network in ("MobileFaceNet_128", "MOBILEFACENET_128"):
        code, out, _ = valid(
            capsys, "--network", network, "--checkpoint", tmp_path, "--data_dir", sets, "--val_targets", "lfw"
        )
        assert code == 0
        assert out.startswith("[lfw][0]XNorm: ")


def test_every_kind_of_model_in_one_report(sets, run_folder, tmp_path, capsys):
    onnx_file = write_onnx(tmp_path / "tiny.onnx")
    code, out, _ = valid(
        capsys,
        *("--model", run_folder / "MobileFaceNet_128.pdparams", "--model", "MobileFace", "--model", onnx_file),
        *("--data_dir", sets, "--val_targets", "all", "--threads", 1),
        *("--report", tmp_path / "report", "--json", tmp_path / "figures.json"),
    )
    assert code == 0
    document = json.loads((tmp_path / "figures.json").read_text())
    assert [entry["model"] for entry in document["models"]] == ["MobileFaceNet_128", "MobileFace", "tiny"]
    for entry in document["models"]:
        assert [(one["set"], one["genuine_pairs"]) for one in entry["sets"]] == [("lfw", 20), ("own", 6)]
    shipped = document["models"][1]["sets"][0]
    assert shipped["accuracy"]["mean"] > 0.9
    assert shipped["tar_at_far"][0]["remark"].startswith("too few pairs: 20 of strangers")
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert page.count("data:image/jpeg;base64,") == 3 * (8 + 8 + 6 + 5)  # the hardest pairs of each model
    assert "http://" not in page
    assert "https://" not in page
    assert (tmp_path / "report" / "report.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "report" / "report.json").read_text()) == document
    assert "too few pairs" in out


def test_shipped_model_and_its_training_weights_agree(sets, tmp_path, capsys):
    weights = ROOT / "inference_model" / "MobileFace" / "training.pdparams"
    flags = ("--data_dir", sets, "--val_targets", "lfw", "--threads", 1)
    assert valid(capsys, "--model", "MobileFace", *flags, "--json", tmp_path / "a.json")[0] == 0
    code, _, _ = valid(
        capsys, "--model", weights, "--network", "MobileFaceNet_192", *flags, "--json", tmp_path / "b.json"
    )
    assert code == 0
    first, second = (json.loads((tmp_path / name).read_text())["models"][0]["sets"][0] for name in ("a.json", "b.json"))
    assert first["accuracy"] == second["accuracy"]
    # (x - 127.5)/128 of the card against (x/255 - .5)/.5 of training: half a percent of scale.
    assert first["xnorm"] == pytest.approx(second["xnorm"], rel=0.01)


@pytest.mark.parametrize("sim", ["cos", "corr", "fft_corr", "ssim"])
def test_other_measures(sets, run_folder, tmp_path, capsys, sim):
    code, out, _ = valid(
        capsys,
        *("--model", run_folder, "--data_dir", sets, "--val_targets", "lfw", "--sim", sim, "--no_flip"),
        *("--json", tmp_path / "figures.json"),
    )
    assert code == 0
    assert f"compared by {sim}: " in out
    result = json.loads((tmp_path / "figures.json").read_text())["models"][0]["sets"][0]
    assert result["measure"] == sim
    assert result["accuracy"]["mean"] > 0.6


def bad_set(kind, folder):
    pictures, issame = write_set(folder / "bad.bin", pairs=12)
    content = (folder / "bad.bin").read_bytes()
    if kind == "truncated":
        content = content[: len(content) // 2]
    elif kind == "malicious":
        content = b"cos\nsystem\n(S'touch " + str(folder / "owned").encode() + b"'\ntR."
    elif kind == "odd counts":
        import pickle

        content = pickle.dumps((pictures[:-1], issame))
    elif kind == "no picture":
        write_verification_set(folder / "bad.bin", [*pictures[:5], b"not a picture", *pictures[6:]], issame)
        return
    elif kind == "few pairs":
        write_verification_set(folder / "bad.bin", pictures[:10], issame[:5])
        return
    (folder / "bad.bin").write_bytes(content)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated", "bad.bin"),
        ("malicious", "system"),
        ("odd counts", "23 pictures for 12 pairs"),
        ("no picture", "bad: picture 5: not a picture"),
        ("few pairs", "bad: 5 pairs; the protocol has 10 folds"),
    ],
)
def test_bad_sets_give_one_line_and_write_nothing(run_folder, sets, tmp_path, capsys, kind, message):
    (tmp_path / "sets").mkdir()
    bad_set(kind, tmp_path / "sets")
    code, _, err = valid(
        capsys,
        *("--model", run_folder, "--data_dir", tmp_path / "sets", "--val_targets", f"{sets / 'lfw.bin'},bad"),
        *("--report", tmp_path / "report", "--json", tmp_path / "figures.json"),
    )
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sets"]
    assert not (tmp_path / "sets" / "owned").exists()


def test_weights_of_another_network(sets, run_folder, capsys):
    code, _, err = valid(
        capsys,
        *("--model", run_folder / "MobileFaceNet_128.pdparams", "--network", "iresnet18"),
        *("--data_dir", sets, "--val_targets", "lfw"),
    )
    assert code == 2
    assert "does not fit IResNet" in err
    assert "check the name of the network" in err


def test_weights_with_nan_are_refused(sets, run_folder, tmp_path, capsys):
    from arcface_paddle.weight_files import read_state_dict

    state = read_state_dict(run_folder / "MobileFaceNet_128.pdparams")
    state["linear7.conv.weight"] = np.full_like(state["linear7.conv.weight"], np.nan)
    write_state_dict(tmp_path / "MobileFaceNet_128.pdparams", state)
    code, _, err = valid(capsys, "--model", tmp_path, "--data_dir", sets, "--val_targets", "lfw")
    assert code == 2
    assert "NaN" in err


def test_network_that_gives_nan_is_named_with_the_image(sets, tmp_path, capsys):
    onnx_file = write_onnx(tmp_path / "nan.onnx", weight=np.nan)
    code, _, err = valid(capsys, "--model", onnx_file, "--data_dir", sets, "--val_targets", "lfw")
    assert code == 2
    assert "lfw: the features of 80 of 80 images are not finite" in err
    assert "the first is image 0" in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--val_targets", "agedb_30"), "no verification set found"),
        (("--val_targets", "lfw", "--batch_size", "0"), "--batch_size is 0"),
        (("--val_targets", "lfw", "--model", "nothing_here"), "'nothing_here' is no model"),
        (("--val_targets", "lfw", "--checkpoint", "."), "no such file; in the folder: no .pdparams file"),
        (("--val_targets", "lfw", "--model", "gone.onnx"), "gone.onnx: no such file"),
        (("--val_targets", "lfw", "--model", "MobileFace", "--model", "MobileFace"), "MobileFace is named twice"),
        (("--val_targets", "lfw", "--model", "BlazeFace"), "is a model for face detection"),
    ],
)
def test_wrong_use_is_said_in_one_line(sets, tmp_path, capsys, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = valid(capsys, "--data_dir", sets, *flags)
    assert code == 2
    assert message in err
    assert out == ""


def test_report_into_a_place_that_is_a_file(sets, run_folder, tmp_path, capsys):
    (tmp_path / "report").write_text("in the way")
    code, out, err = valid(
        capsys, "--model", run_folder, "--data_dir", sets, "--val_targets", "lfw", "--report", tmp_path / "report"
    )
    assert code == 2
    assert "is a file, not a folder" in err
    assert out == ""  # said before the long work
    assert (tmp_path / "report").read_text() == "in the way"


def test_help_is_quick_and_does_not_import_paddle():
    code = "import sys; from arcface_paddle.cli.commands import valid; print('paddle' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
