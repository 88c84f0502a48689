"""valid.py on two ranks: the work is shared and the figures are those of one process."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from launch import ROOT, launch

from arcface_paddle import images
from arcface_paddle.cli.main import run_module
from arcface_paddle.data.verification_set import write_verification_set


def write_set(path, *, pairs, damage=None):
    generator = np.random.default_rng(0)
    pictures, issame = [], []
    for pair in range(pairs):
        left, other = generator.integers(0, 256, (2, 7, 7, 3), dtype=np.uint8)
        issame.append(pair % 2 == 0)
        for pattern in (left, left if issame[-1] else other):
            smooth = cv2.resize(pattern, (112, 112), interpolation=cv2.INTER_CUBIC)
            pictures.append(images.encode_image(smooth, suffix=".jpg"))
    if damage is not None:
        pictures[damage] = b"not a picture"
    write_verification_set(path, pictures, issame)


@pytest.mark.slow
def test_two_ranks_equal_one(tmp_path, capsys):
    write_set(tmp_path / "own.bin", pairs=13)
    flags = ["--model=MobileFace", f"--data_dir={tmp_path}", "--val_targets=own", "--threads=1", "--batch_size=8"]
    assert run_module("valid", [*flags, f"--json={tmp_path / 'one.json'}"]) == 0
    capsys.readouterr()
    results = launch([str(ROOT / "valid.py"), *flags, f"--json={tmp_path / 'two.json'}"], 2, timeout_s=150)
    assert [result.code for result in results] == [0, 0], results
    assert "Accuracy-Flip" in results[0].output
    assert "Accuracy-Flip" not in results[1].output
    one, two = (json.loads((tmp_path / name).read_text())["models"][0]["sets"][0] for name in ("one.json", "two.json"))
    assert two["accuracy"] == one["accuracy"]
    assert two["xnorm"] == pytest.approx(one["xnorm"], rel=1e-5)
    assert two["auc"] == pytest.approx(one["auc"], abs=1e-9)


@pytest.mark.slow
def test_picture_that_one_rank_cannot_decode_ends_both(tmp_path):
    write_set(tmp_path / "own.bin", pairs=12, damage=20)
    flags = ["--model=MobileFace", f"--data_dir={tmp_path}", "--val_targets=own", "--threads=1"]
    results = launch([str(ROOT / "valid.py"), *flags, f"--json={tmp_path / 'two.json'}"], 2, timeout_s=150)
    assert all(result.code == 2 for result in results), results
    assert "own: picture 20: not a picture" in results[0].output
    assert not (tmp_path / "two.json").exists()
