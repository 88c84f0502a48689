"""encode and compare on the demonstration photographs, and what they say of bad input."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.cli.main import run_module

DEMO = Path(__file__).parents[2] / "demo"
OBAMA = DEMO / "gallery" / "Barack Obama" / "portrait_2012.jpg"
SPEECH = DEMO / "queries" / "obama_speech_2009.jpg"
COLLINS = DEMO / "queries" / "stranger_collins.jpg"


def command(name: str, *arguments: object) -> int:
    return run_module(name, [str(argument) for argument in arguments])


def test_encode_a_tree(tmp_path, capsys):
    assert command("encode", DEMO / "gallery", "--output", tmp_path / "e.npz", "--rec_model", "MobileFace") == 0
    with np.load(tmp_path / "e.npz", allow_pickle=False) as table:
        assert table["persons"].tolist() == ["Barack Obama", "Grace Hopper", "Joe Biden"]
        np.testing.assert_allclose(np.linalg.norm(table["embeddings"], axis=1), 1, atol=1e-5)
    assert "3 embeddings of 192 values" in capsys.readouterr().out


def test_encode_reports_and_goes_on(tmp_path, capsys):
    people = tmp_path / "people"
    people.mkdir()
    shutil.copy(OBAMA, people)
    shutil.copy(DEMO / "queries" / "group.jpg", people)
    (people / "text.jpg").write_text("not a picture")
    assert command("encode", people, "--output", tmp_path / "e.npy", "--rec_model=MobileFace") == 1
    shown = capsys.readouterr().err
    assert "4 faces" in shown and "text.jpg" in shown
    assert np.load(tmp_path / "e.npy").shape == (1, 192)
    assert command("encode", people, "--output", tmp_path / "all.npy", "--faces=all", "--rec_model=MobileFace") == 1
    assert np.load(tmp_path / "all.npy").shape == (5, 192)


@pytest.mark.parametrize("how", ["centre", "largest"])
def test_encode_takes_the_face_that_is_meant(tmp_path, how):
    """A bystander who is larger stands at the side."""
    small = images.resize(images.load_image(OBAMA), (220, 220))
    large = images.resize(images.load_image(COLLINS), (330, 330))
    canvas = np.full((700, 1200, 3), 128, np.uint8)
    canvas[240:460, 490:710] = small
    canvas[10:340, 10:340] = large
    images.write_image(tmp_path / "both.png", canvas)
    images.write_image(tmp_path / "small.png", small)
    images.write_image(tmp_path / "large.png", large)
    expected = {"centre": "small", "largest": "large"}[how]
    assert command("encode", tmp_path / "both.png", "--faces", how, "--output", tmp_path / "both.npy") == 0
    assert command("encode", tmp_path / f"{expected}.png", "--output", tmp_path / "one.npy") == 0
    assert float(np.load(tmp_path / "both.npy")[0] @ np.load(tmp_path / "one.npy")[0]) > 0.8


def test_help_of_encode_loads_nothing_heavy():
    code = "import sys; from arcface_paddle.cli.main import main; main(['encode', '--help'])"
    heavy = "[name for name in ('numpy', 'cv2', 'PIL', 'tqdm', 'prettytable') if name in sys.modules]"
    done = subprocess.run(
        [sys.executable, "-c", f"import atexit, sys; atexit.register(lambda: print({heavy}))\n{code}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def test_encode_says_what_it_does_not_look_at(tmp_path, capsys):
    people = tmp_path / "people"
    (people / "Ada" / "@eaDir").mkdir(parents=True)
    shutil.copy(OBAMA, people / "Ada" / "a.jfif")
    shutil.copy(OBAMA, people / "Ada" / "b_small.jpg")
    shutil.copy(OBAMA, people / "Ada" / "@eaDir" / "a.jpg")
    (people / "label.txt").write_text("a list")
    assert (
        command("encode", people, "--exclude", "*_small.*", "--output", tmp_path / "e.npz", "--rec_model", "MobileFace")
        == 0
    )
    shown = capsys.readouterr().err
    assert "1 file is no picture and was passed over: label.txt; 1 folder was not searched: @eaDir" in shown
    with np.load(tmp_path / "e.npz", allow_pickle=False) as table:
        assert table["persons"].tolist() == ["Ada"] and table["sources"][0].endswith("a.jfif")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.jpg", "--output", "e.npz"], "no such file"),
        ([str(OBAMA), "--output", "e.txt"], "no format for suffix"),
        (["empty", "--output", "e.npz"], "holds no pictures"),
    ],
)
def test_encode_refuses(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert command("encode", *arguments) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_compare_says_similarity_probability_and_verdict(capsys):
    assert command("compare", OBAMA, SPEECH, "--json") == 0
    same = json.loads(capsys.readouterr().out)
    assert same["same_person"] and same["similarity"] > 0.7 and same["probability"] > 0.9
    assert same["faces_found"] == [1, 1] and same["far"] == "1e-3"
    assert command("compare", OBAMA, COLLINS) == 1
    assert "two persons" in capsys.readouterr().out


def test_compare_says_on_what_the_threshold_rests(capsys):
    command("compare", OBAMA, SPEECH, "--json", "--rec_model", "ResNet29")
    found = json.loads(capsys.readouterr().out)
    assert (found["threshold"], found["far"]) == (0.598, "1e-3")
    assert "29.6 million pairs" in found["evidence"] and "look alike" in found["note"]
    command("compare", OBAMA, SPEECH, "--rec_model", "ResNet29")
    verdict, basis = capsys.readouterr().out.splitlines()
    assert "threshold 0.598 at FAR 1e-3" in verdict
    assert basis.startswith("threshold: ") and "29.6 million pairs" in basis and "look alike" in basis
    command("compare", OBAMA, SPEECH, "--far", "1e-2", "--rec_model", "MobileFace")  # whose card tells a whole page
    basis = capsys.readouterr().out.splitlines()[1]
    assert "178,200 of two; measured among" in basis and "..." not in basis.replace("--identities 100 ...", "")
    command("compare", OBAMA, SPEECH, "--rec_thresh", "0.4")
    assert capsys.readouterr().out.splitlines()[1] == "threshold: given by the user"


def test_compare_says_how_many_faces_there_were_and_which_counts(capsys):
    group = DEMO / "queries" / "group.jpg"
    command("compare", OBAMA, group, "--json")
    assert json.loads(capsys.readouterr().out)["faces_found"] == [1, 4]
    command("compare", OBAMA, group)
    assert "faces found: 1 and 4, the one nearest to the centre counts" in capsys.readouterr().out
    command("compare", OBAMA, group, "--faces", "largest")
    assert "faces found: 1 and 4, the largest counts" in capsys.readouterr().out
    assert command("compare", OBAMA, group, "--faces", "one") == 2
    assert "group.jpg: 4 faces found" in capsys.readouterr().err
    with pytest.raises(SystemExit):  # one face is meant, so "all" is not offered
        command("compare", OBAMA, group, "--faces", "all")


def test_compare_without_a_face(tmp_path, capsys):
    images.write_image(tmp_path / "grey.png", np.full((200, 200, 3), 128, np.uint8))
    assert command("compare", OBAMA, tmp_path / "grey.png") == 2
    assert "no face found" in capsys.readouterr().err
