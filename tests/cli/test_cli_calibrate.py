from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.cli.main import run_module
from arcface_paddle.data.verification_set import write_verification_set
from arcface_paddle.errors import ConfigError
from arcface_paddle.evaluation.calibration import all_pairs, calibrate, probability
from arcface_paddle.pipeline.builders import build_recognizer
from arcface_paddle.pipeline.cards import read_card
from arcface_paddle.pipeline.opening import ThresholdSettings, choose_threshold, open_pipeline
from arcface_paddle.pipeline.probability import same_person_probability
from arcface_paddle.pipeline.settings import PipelineSettings, RuntimeOptions

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "inference_model" / "MobileFace"


def painted(generator, pattern, *, size=112, noise=60):
    smooth = cv2.resize(pattern, (size, size), interpolation=cv2.INTER_CUBIC).astype(np.float64)
    return np.clip(smooth + generator.normal(0, noise, smooth.shape), 0, 255).astype(np.uint8)


def write_people(folder, *, people=15, pictures=3, size=112):
    generator = np.random.default_rng(0)
    for person in range(people):
        pattern = generator.integers(0, 256, (7, 7, 3), dtype=np.uint8)
        for index in range(pictures):
            crop = painted(generator, pattern, size=size)
            images.write_image(folder / f"p{person:02d}" / f"{index}.png", crop)
    return folder


def write_pairs(path, *, pairs=150):
    generator = np.random.default_rng(1)
    pictures, issame = [], []
    for pair in range(pairs):
        first, other = generator.integers(0, 256, (2, 7, 7, 3), dtype=np.uint8)
        issame.append(pair % 3 == 0)
        for pattern in (first, first if issame[-1] else other):
            pictures.append(images.encode_image(painted(generator, pattern), suffix=".jpg"))
    write_verification_set(path, pictures, issame)
    return path


@pytest.fixture
def model(tmp_path):
    """A copy of the shipped recogniser, whose card may be written."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("inference.pdmodel", "inference.pdiparams", "model.json", "training.pdparams"):
        shutil.copy(SHIPPED / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return write_people(tmp_path_factory.mktemp("data") / "people")


def run_calibrate(capsys, *flags):
    code = run_module("calibrate", ["--threads", "1", *map(str, flags)], prog="arcface-paddle calibrate")
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def expected_result(model, people):
    """The same calibration by way of the pipeline's recogniser."""
    crops, labels = [], []
    for path in sorted(people.glob("*/*.png")):
        crops.append(images.read_image(path))
        labels.append(path.parent.name)
    vectors = build_recognizer(model).embed(np.stack(crops)).vectors.astype(np.float64)
    return calibrate(all_pairs(vectors, np.array(labels)))


def test_card_gets_what_the_pipeline_then_uses(model, people, capsys, tmp_path):
    expected = expected_result(model, people)
    before = read_card(model / "model.json")
    code, out, _ = run_calibrate(
        capsys, model, "--data", people, "--describe", "painted people", "--json", tmp_path / "figures.json"
    )
    assert code == 0
    card = read_card(model / "model.json")
    calibration = card.recognizer.calibration
    assert calibration.far_1e2 == pytest.approx(expected.points[0].threshold, abs=2e-3)
    assert calibration.far_1e3 is None  # 945 impostor pairs
    assert calibration.far_1e4 is None
    assert calibration.identification >= calibration.far_1e2
    assert "45 pictures of 15 people in people (painted people)" in calibration.statement
    assert "45 pairs of one person, 945 of two" in calibration.statement
    assert "9 of 945 pairs of strangers accepted" in calibration.statement
    assert "equal prior odds" in calibration.statement
    assert choose_threshold(card, ThresholdSettings(far="1e-2")) == calibration.far_1e2
    for similarity in (0.0, 0.5, 0.9):
        assert same_person_probability(card, similarity) == pytest.approx(
            float(probability(expected.logistic, np.array(similarity))), abs=0.02
        )
    assert card.files == before.files
    assert card.input == before.input
    assert card.notice == before.notice
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["thresholds"][0]["false_accepts"] == 9
    assert figures["card"]["far_1e2"] == calibration.far_1e2
    assert "too few pairs: 945 of strangers, at least 1,000 needed" in out


def test_far_that_was_not_measured_is_refused_by_the_pipeline(model, people, capsys):
    assert run_calibrate(capsys, model, "--data", people)[0] == 0
    with pytest.raises(ConfigError, match="1e-4"):
        choose_threshold(read_card(model / "model.json"), ThresholdSettings(far="1e-4"))


def test_pairs_of_a_verification_set_and_given_thresholds(model, capsys, tmp_path):
    pairs = write_pairs(tmp_path / "own.bin")
    code, out, _ = run_calibrate(
        capsys,
        *(model, "--data", pairs, "--flip", "--set", "far_1e3=0.9", "--set", "identification=0.95"),
        *("--note", "far_1e3 from the gate at the door"),
    )
    assert code == 0
    calibration = read_card(model / "model.json").recognizer.calibration
    assert (calibration.far_1e3, calibration.identification) == (0.9, 0.95)
    assert calibration.far_1e2 is not None
    assert "50 pairs of one person, 100 of two" in calibration.statement
    assert "with mirrored pictures" in calibration.statement
    assert "far_1e3, identification" in calibration.statement
    assert calibration.statement.endswith("Far_1e3 from the gate at the door.")
    assert "0.5200" in out  # what the card had before


@pytest.mark.parametrize("flag", ["--mirrored", "--flip"])
def test_mirroring_has_one_spelling_and_its_earlier_one(model, people, capsys, flag):
    assert run_calibrate(capsys, model, "--data", people, flag, "false")[0] == 0
    assert ", without mirrored pictures: " in read_card(model / "model.json").recognizer.calibration.statement


def test_search_threshold_falls_back_to_the_strictest_known(model, capsys, tmp_path):
    pairs = write_pairs(tmp_path / "own.bin")
    assert run_calibrate(capsys, model, "--data", pairs)[0] == 0
    calibration = read_card(model / "model.json").recognizer.calibration
    assert calibration.identification == calibration.far_1e2
    assert "Search: no threshold of its own (too few pairs" in calibration.statement


def test_dry_run_writes_nothing(model, people, capsys):
    before = (model / "model.json").read_bytes()
    code, out, _ = run_calibrate(capsys, model, "--data", people, "--dry_run")
    assert code == 0
    assert "dry run: no card written" in out
    assert (model / "model.json").read_bytes() == before


def test_folder_without_a_card_gets_one(model, people, capsys):
    (model / "model.json").unlink()
    (model / "training.pdparams").unlink()
    assert run_calibrate(capsys, model, "--data", people)[0] == 0
    card = read_card(model / "model.json")
    assert card.name == "model"
    assert card.notice == ""
    assert set(card.files) == {"inference.pdmodel", "inference.pdiparams"}


def test_shipped_card_keeps_the_behaviour_that_was_measured_on_photographs():
    calibration = read_card(SHIPPED / "model.json").recognizer.calibration
    assert calibration.identification == 0.58  # 99.2 % of known persons named, 0.8 % of strangers accepted
    assert 0.42 <= calibration.far_1e2 < calibration.far_1e3 <= 0.52
    assert calibration.logistic is not None
    assert "245 portraits" in calibration.statement
    assert "synthetic" in calibration.statement


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--data", "nothing"), "nothing"),
        (("--data", "alone"), "calibration needs two people or more"),
        (("--data", "large"), "4 pictures are not 112x112"),
        (("--data", "few"), "pairs of two persons are too few for any threshold"),
        (("--data", "few", "--set", "far=1"), "--set 'far=1'; allowed: far_1e2, far_1e3, far_1e4, identification"),
        (("--data", "few", "--set", "far_1e2=1.5"), "between -1 and 1"),
        (("--data", "few", "--set", "far_1e2=x"), "between -1 and 1"),
        (("--data", "few", "--set", "far_1e2=0.5"), "--set needs --note"),
        (("--data", "few", "--batch_size", "0"), "--batch_size 0"),
        (("--data", "few", "--json", "few"), "--json few: is a folder"),
    ],
)
def test_wrong_use_is_said_in_one_line_and_the_card_stays(model, capsys, monkeypatch, tmp_path, flags, message):
    write_people(tmp_path / "alone", people=1)
    write_people(tmp_path / "large", people=2, pictures=2, size=130)
    write_people(tmp_path / "few", people=2)
    monkeypatch.chdir(tmp_path)
    before = (model / "model.json").read_bytes()
    code, _, err = run_calibrate(capsys, model, *flags)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert (model / "model.json").read_bytes() == before


def test_damaged_model_is_not_blessed_with_new_hashes(model, people, capsys):
    content = bytearray((model / "inference.pdiparams").read_bytes())
    content[1000] ^= 1
    (model / "inference.pdiparams").write_bytes(content)
    code, _, err = run_calibrate(capsys, model, "--data", people)
    assert code == 2
    assert "damaged or exchanged" in err


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be made read-only this way")
def test_card_that_cannot_be_written(model, people, capsys, monkeypatch):
    def refuse(path, value):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("arcface_paddle.files.write_json", refuse)
    code, _, err = run_calibrate(capsys, model, "--data", people)
    assert code == 2
    assert "model.json: cannot be written: Permission denied" in err


def write_photographs(folder):
    """Three people in seven small photographs each: smaller, darker, mirrored."""
    for person in ("Barack Obama", "Grace Hopper", "Joe Biden"):
        [path, *_] = sorted((ROOT / "demo" / "gallery" / person).glob("*.jpg"))
        photograph = images.load_image(path)
        for index in range(7):
            factor = (200 - 10 * index) / photograph.shape[0]
            small = cv2.resize(photograph, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            shaded = (small * (1 - 0.06 * index)).astype(np.uint8)
            images.write_image(folder / person / f"{index}.png", shaded[:, :: -1 if index % 2 else 1])
    images.write_image(folder / "Joe Biden" / "wall.png", np.full((80, 80, 3), 90, np.uint8))
    return folder


def test_a_fusion_is_calibrated_on_photographs_as_it_sees_them(capsys, tmp_path):
    photographs = write_photographs(tmp_path / "photographs")
    fusion = tmp_path / "fusion"
    fusion.mkdir()
    shutil.copy(SHIPPED.parent / "FaceFusion" / "model.json", fusion)
    code, _, said = run_calibrate(capsys, fusion, "--photographs", photographs)
    assert code == 0 and "wall.png: no face found" in said
    card = read_card(fusion / "model.json")
    calibration = card.recognizer.calibration
    assert "21 photographs of 3 people in photographs" in calibration.statement
    assert "63 pairs of one person, 147 of two" in calibration.statement
    analyzer = open_pipeline(
        PipelineSettings(rec_model=str(fusion), runtime=RuntimeOptions(threads=1, precision="fp32"))
    ).analyzer
    faces = [
        (path.parent.name, analyzer.analyze(path).faces[0].embedding) for path in sorted(photographs.glob("*/?.png"))
    ]
    strangers = [
        card.recognizer.similarity.of_cosine(float(embedding @ other))
        for index, (person, embedding) in enumerate(faces)
        for somebody, other in faces[index + 1 :]
        if person != somebody
    ]
    assert calibration.far_1e2 == pytest.approx(np.sort(strangers)[-2], abs=2e-4)  # one of 147 may be above
    assert dict(calibration.tail)[0.01] == calibration.far_1e2


@pytest.mark.parametrize(
    "flags, said",
    [
        (["FaceFusion", "--data", "crops"], "which FaceFusion does not take; give --photographs DIR"),
        (["ResNet29", "--data", "crops"], "which ResNet29 does not take; give --photographs DIR"),
        (["FaceFusion"], "nothing to measure on; give --data"),
        (["MobileFace", "--photographs", "nowhere"], "nowhere: no such folder"),
        (["MobileFace", "--photographs", "."], "shows faces of 0 people"),
    ],
)
def test_what_cannot_be_measured_is_said(flags, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images.write_image(tmp_path / "wall.png", np.full((80, 80, 3), 90, np.uint8))
    code, _, error = run_calibrate(capsys, *flags, "--dry_run")
    assert code == 2 and said in error.strip().splitlines()[-1]
