"""``arcface-paddle import``, and insightface's ONNX files given to the recognising commands as they are."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from arcface_paddle.cli.main import main
from arcface_paddle.evaluation.model_opening import open_embedder
from arcface_paddle.pipeline import build_recognizer, cards
from arcface_paddle.pipeline.model_files import open_model

sys.path.insert(0, str(Path(__file__).parents[1] / "pipeline"))
from scrfd_making import write_recognizer, write_scrfd


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("buffalo")
    write_scrfd(folder / "det_10g.onnx")
    write_recognizer(folder / "w600k_r50.onnx")
    return folder


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dark, with noise that is dark enough, and one cell of 8 pixels that the detector takes for a face."""
    pixels = np.random.default_rng(0).integers(0, 100, (640, 640, 3)).astype(np.uint8)
    pixels[320:328, 320:328] = 255
    path = tmp_path_factory.mktemp("people") / "Ann" / "a.png"
    path.parent.mkdir()
    cv2.imwrite(str(path), pixels)
    return path


def recognised(det: Path, rec: Path, picture: Path, output: Path) -> dict:
    models = ["--det_model", str(det), "--rec_model", str(rec), "--rotate", "0", "--threads", "1"]
    index, found = output.with_suffix(".index"), output.with_suffix(".json")
    assert main(["recognize", *models, "--build_index", str(index), "--img_dir", str(picture.parents[1])]) == 0
    flags = ["--det", "--rec", "--index", str(index), "--output", str(output), "--json", str(found)]
    assert main(["recognize", *models, *flags, "--input", str(picture)]) == 0
    (image,) = json.loads(found.read_text(encoding="utf-8"))["images"]
    return dict(image)


def test_files_of_insightface_work_without_a_card(models: Path, picture: Path, tmp_path: Path) -> None:
    image = recognised(models / "det_10g.onnx", models / "w600k_r50.onnx", picture, tmp_path / "out")
    (face,) = image["faces"]
    # Its points are 1 to 2 strides from the cell's corner.
    np.testing.assert_allclose(face["landmarks"][0], [320 + 8, 320 + 8 * (1 + 1 / 9)], atol=0.02)
    assert face["detection_score"] > 0.99 and face["name"] == "Ann" and face["similarity"] > 0.99


def test_imported_onnx_models_are_the_same_models(
    models: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, task in (("det_10g", cards.DETECTION), ("w600k_r50", cards.RECOGNITION)):
        source = models / f"{name}.onnx"
        assert main(["import", str(source), "--output", str(tmp_path / name), "--licence", "mine"]) == 0
        folder = open_model(tmp_path / name, task=task)
        assert (folder.card.name, folder.card.licence) == (
            name,
            "mine",
        )
        assert f"{name}.onnx (sha256 " in folder.card.source
        assert sorted(path.name for path in folder.path.iterdir()) == ["inference.onnx", "model.json"]
        assert folder.graph_file.read_bytes() == source.read_bytes()
    printed = capsys.readouterr().out
    assert "ONNX model, face detection" in printed and "parity gate passed: 14 pictures" in printed
    given = recognised(models / "det_10g.onnx", models / "w600k_r50.onnx", picture, tmp_path / "a")
    imported = recognised(tmp_path / "det_10g", tmp_path / "w600k_r50", picture, tmp_path / "b")
    assert given["faces"] == imported["faces"]


def test_a_file_alone_has_no_card_to_calibrate(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", str(models / "w600k_r50.onnx"), "--data", "pairs.bin"]) == 2
    assert "import it first: arcface-paddle import" in capsys.readouterr().err
    assert not (models / "model.json").exists()


def test_verification_feeds_a_model_of_mxnet_with_plain_pixels(tmp_path: Path) -> None:
    path = write_recognizer(tmp_path / "a.onnx", normalising=True)
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    expected = build_recognizer(path, mirrored=False).features(crops)
    np.testing.assert_allclose(open_embedder(str(path)).embed(crops), expected, rtol=0.02, atol=0.02)


def test_errors_are_one_line_and_nothing_is_written(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.pt").write_bytes(b"PK\x03\x04 and no more")
    for flags in ([str(tmp_path / "a.pt")], [str(models / "det_10g.onnx"), "--network", "iresnet50"], [str(models)]):
        assert main(["import", *flags, "--output", str(tmp_path / "out")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
    assert "name one of these files, such as" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt"]
