"""Every command takes every recogniser, and says clearly what it cannot do with one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.cli import main
from arcface_paddle.pipeline import build_recognizer, model_files
from arcface_paddle.pipeline.gallery import Gallery
from arcface_paddle.pipeline.opening import recognizer_of

DEMO = Path(__file__).parents[2] / "demo"
PEOPLE, QUERIES = DEMO / "gallery", DEMO / "queries"
OBAMA, SPEECH = PEOPLE / "Barack Obama" / "portrait_2012.jpg", QUERIES / "obama_speech_2009.jpg"
SIZES = {"MobileFace": 192, "ResNet29": 128, "FaceFusion": 320}
LATER = ("ResNet29", "FaceFusion")


def command(*arguments: object) -> int:
    return main.main([str(argument) for argument in arguments])


def recognize(*arguments: object) -> int:
    return main.run_module("recognize", [str(argument) for argument in arguments], prog="test_recognition")


@pytest.fixture(scope="module")
def galleries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("galleries")
    for name in SIZES:
        assert command("gallery", "build", folder / name, "--img_dir", PEOPLE, "--rec_model", name) == 0
    return folder


def facts_of(index: Path, target: Path, *flags: str) -> dict:
    assert (
        recognize("--det", "--rec", f"--index={index}", f"--input={SPEECH}", "--no_draw", f"--json={target}", *flags)
        == 0
    )
    found: dict = json.loads(target.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", SIZES)
def test_a_gallery_opens_with_the_model_that_made_it(name: str, galleries: Path, tmp_path: Path) -> None:
    found = facts_of(galleries / name, tmp_path / "f.json")
    assert found["rec_model"] == name and found["images"][0]["faces"][0]["name"] == "Barack Obama"
    assert recognizer_of(Gallery.load(galleries / name)) == name
    shutil.copy(galleries / name, tmp_path / "grown")
    assert (
        command("gallery", "add", tmp_path / "grown", "--img_dir", QUERIES, "--label", label_of_speech(tmp_path)) == 0
    )
    assert len(Gallery.load(tmp_path / "grown")) == 4
    assert command("gallery", "check", tmp_path / "grown") == 0


def label_of_speech(folder: Path) -> Path:
    (folder / "label.txt").write_text("obama_speech_2009.jpg\tBarack Obama\n", encoding="utf-8")
    return folder / "label.txt"


@pytest.mark.parametrize(("made", "asked"), [("MobileFace", "FaceFusion"), ("FaceFusion", "ResNet29")])
def test_a_gallery_of_one_member_and_the_fusion_do_not_mix(
    made: str, asked: str, galleries: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = recognize("--det", "--rec", f"--index={galleries / made}", f"--input={SPEECH}", f"--rec_model={asked}")
    assert status == 2
    [line] = [one for one in capsys.readouterr().err.splitlines() if one.startswith("test_recognition: ")]
    assert f"made with the model {made}, not with {asked}" in line


def test_a_gallery_of_an_unknown_model_opens_with_the_default_and_is_refused(tmp_path: Path) -> None:
    gallery = Gallery.load(copy_of_foreign(tmp_path))
    assert recognizer_of(gallery) == recognizer_of(None)
    assert recognize("--det", "--rec", f"--index={tmp_path}/g", f"--input={SPEECH}", "--no_draw") == 2


def copy_of_foreign(folder: Path) -> Path:
    import dataclasses

    from arcface_paddle.pipeline.gallery import GalleryEntry, identity_of

    model = dataclasses.replace(identity_of(build_recognizer("MobileFace")), weights_sha256="0" * 64)
    Gallery([GalleryEntry("Ada", "a.jpg")], np.eye(1, 192, dtype=np.float32), model=model).save(folder / "g")
    return folder / "g"


@pytest.mark.parametrize("name", SIZES)
def test_compare_and_encode(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("compare", OBAMA, SPEECH, "--rec_model", name, "--json") == 0
    assert json.loads(capsys.readouterr().out)["similarity"] > 0.7
    assert command("compare", OBAMA, QUERIES / "stranger_collins.jpg", "--rec_model", name) == 1
    assert command("encode", OBAMA, SPEECH, "--rec_model", name, "--output", tmp_path / "e.npy") == 0
    rows = np.load(tmp_path / "e.npy")
    assert rows.shape == (2, SIZES[name])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", LATER)
def test_aligned_crops_of_112_pixels_serve_every_recogniser(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from arcface_paddle import build_detector, load_image

    for number, path in enumerate((OBAMA, SPEECH)):
        image = load_image(path)
        [crop] = build_recognizer("MobileFace").align(image, build_detector().detect(image))
        images.write_image(tmp_path / f"{number}.png", crop)
    assert command("compare", tmp_path / "0.png", tmp_path / "1.png", "--aligned", "--rec_model", name, "--json") == 0
    assert json.loads(capsys.readouterr().out)["similarity"] > 0.7


@pytest.mark.parametrize("name", LATER)
def test_commands_of_crops_say_what_they_need(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    needs = {"ResNet29": "150x150", "FaceFusion": "MobileFace"}[name]
    crops = tmp_path / "people" / "Ada"
    crops.mkdir(parents=True)
    for number in range(2):
        noise = np.random.default_rng(number).integers(0, 256, (112, 112, 3), dtype=np.uint8)
        images.write_image(crops / f"{number}.png", noise)
    for arguments, remedy in (
        (("data", "doctor", tmp_path / "people", "--rec_model", name), needs),
        (("identify", "--data_dir", tmp_path / "people", "--model", name), needs),
        (("calibrate", name, "--data", tmp_path / "people"), "--photographs"),
    ):
        assert command(*arguments) == 2, arguments
        said = capsys.readouterr().err
        assert remedy in said and "Traceback" not in said, (arguments, said)


def test_models_list_leads_a_commercial_user(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("models", "list") == 0
    shown = capsys.readouterr().out
    assert "FaceFusion" in shown and "commercial use: ResNet29 " in shown
    assert command("models", "check", *SIZES) == 0
    [line] = [one for one in capsys.readouterr().out.splitlines() if one.startswith("FaceFusion: face recognition, ")]
    assert "3 hashes match, loads with 1 input(s)" in line and "; 2 hashes match, loads with 1 input(s)" in line
    assert command("models", "show", "FaceFusion") == 0
    shown_card = json.loads(capsys.readouterr().out)
    assert shown_card["fusion"] == {"members": ["MobileFace", "ResNet29"], "weights": [1.0, 0.5]}
    assert Path(shown_card["folder"]) == model_files.shipped_folder("FaceFusion")
