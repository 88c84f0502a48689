from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.cli.main import run_module

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "evaluation"))
from ijb_layout import write_ijb


def write_people(folder, *, people=12, pictures=4, size=112, noise=50):
    generator = np.random.default_rng(0)
    for person in range(people):
        pattern = generator.integers(0, 256, (7, 7, 3), dtype=np.uint8)
        smooth = cv2.resize(pattern, (size, size), interpolation=cv2.INTER_CUBIC).astype(np.float64)
        for index in range(pictures):
            noisy = np.clip(smooth + generator.normal(0, noise, smooth.shape), 0, 255).astype(np.uint8)
            images.write_image(folder / f"p{person:02d}" / f"{index}.jpg", noisy)
    return folder


def identify(capsys, *flags):
    code = run_module("identify", ["--threads", "1", *map(str, flags)], prog="arcface-paddle identify")
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("pooling", ["mean", "best"])
def test_labelled_folder(tmp_path, capsys, pooling):
    people = write_people(tmp_path / "people")
    code, out, err = identify(
        capsys,
        *("--data_dir", people, "--pooling", pooling, "--gallery_images", 2, "--stranger_share", 0.5),
        *("--json", tmp_path / "figures.json", "--report", tmp_path / "report"),
    )
    assert code == 0
    assert "resized" not in err
    (model,) = json.loads((tmp_path / "figures.json").read_text())["models"]
    assert model["model"] == "MobileFace"
    assert (model["people"], model["mated_probes"], model["unmated_probes"]) == (6, 12, 24)
    assert model["rank"]["1"] > 0.8
    assert model["tpir_at_fpir"][0]["tar"] is not None
    assert "too few pairs: 24 of strangers, at least 100 needed" in model["tpir_at_fpir"][1]["remark"]
    assert "12 + 24 strangers" in out
    assert (tmp_path / "report" / "report.html").read_text().count("data:image/png") == 1


def test_pictures_of_another_size_are_said(tmp_path, capsys):
    people = write_people(tmp_path / "people", people=4, size=120)
    code, _, err = identify(capsys, "--data_dir", people)
    assert code == 0
    assert "16 pictures were not 112x112 and were resized; photographs must be aligned first" in err


def test_ijb_layout_is_aligned_pooled_and_searched(tmp_path, capsys):
    write_ijb(tmp_path / "IJBC", people=6)
    code, out, _ = identify(
        capsys,
        *("--ijb", tmp_path / "IJBC", "--setting", "N1D1F1", "--setting", "N0D0F0"),
        *("--json", tmp_path / "figures.json", "--report", tmp_path / "report"),
    )
    assert code == 0
    (model,) = json.loads((tmp_path / "figures.json").read_text())["models"]
    assert [one["set"] for one in model["one_to_one"]] == ["IJBC 1:1 N1D1F1", "IJBC 1:1 N0D0F0"]
    for one in model["one_to_one"]:
        assert (one["genuine_pairs"], one["impostor_pairs"]) == (18, 135)
        assert one["auc"] > 0.98  # the painted people are told apart only when the alignment is right
    for search in model["one_to_many"]:
        assert search["closed"]["rank"]["1"] > 0.9
        assert set(search["open"]) == {"G1", "G2"}
    assert "IJBC 1:N G1+G2 N1D1F1" in out
    assert (tmp_path / "report" / "report.html").is_file()


def test_ijb_without_the_search_lists(tmp_path, capsys):
    write_ijb(tmp_path / "IJBB", prefix="ijbb", people=4)
    (tmp_path / "IJBB" / "meta" / "ijbb_1N_probe_mixed.csv").unlink()
    code, out, err = identify(capsys, "--ijb", tmp_path / "IJBB")
    assert code == 0
    assert "IJBB 1:1 N1D1F1" in out
    assert "no 1:N gallery and probe lists" in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--ijb", "."), "neither ijbb_face_tid_mid.txt nor ijbc_face_tid_mid.txt"),
        (("--ijb", ".", "--setting", "F1"), "--setting 'F1'; allowed: all, N1D1F1"),
        (("--data_dir", "nothing"), "nothing"),
        (("--data_dir", "people", "--gallery_images", "4"), "none of 3 people has more than 4 pictures"),
        (("--data_dir", "people", "--stranger_share", "1.5"), "stranger_share 1.5"),
        (("--data_dir", "people", "--batch_size", "0"), "--batch_size is 0"),
        (("--data_dir", "people", "--json", "people"), "--json people: is a folder"),
        (("--data_dir", "people", "--model", "x.pdparams"), "which network is this"),
    ],
)
def test_wrong_use_is_said_in_one_line(tmp_path, capsys, monkeypatch, flags, message):
    write_people(tmp_path / "people", people=3, pictures=2)
    monkeypatch.chdir(tmp_path)
    code, out, err = identify(capsys, *flags, "--report", "report")
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert out == ""
    assert not Path("report").exists()


def test_missing_ijb_picture_is_named(tmp_path, capsys):
    write_ijb(tmp_path / "IJBC", people=2)
    (tmp_path / "IJBC" / "loose_crop" / "5.jpg").unlink()
    code, _, err = identify(capsys, "--ijb", tmp_path / "IJBC", "--json", tmp_path / "figures.json")
    assert code == 2
    assert "5.jpg: no such file" in err
    assert not (tmp_path / "figures.json").exists()
