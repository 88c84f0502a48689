"""The data commands as users type them."""

import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.cli.main import main, run_module
from arcface_paddle.data import BatchLoader, LoaderOptions, open_dataset, read_verification_set
from arcface_paddle.data.augment_settings import parse_steps
from arcface_paddle.data.preview import PreviewSettings, preview_rows

ROOT = Path(__file__).resolve().parents[2]
PHOTOGRAPHS = ROOT / "demo" / "gallery"


def picture(number, suffix=".jpg"):
    tiles = np.random.default_rng(number).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return images.encode_image(images.resize(tiles, (112, 112)), suffix=suffix)


@pytest.fixture
def people(tmp_path):
    root = tmp_path / "people"
    for number in range(12):
        path = root / f"person {number // 3}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    return root


def data(*arguments):
    return main(["data", *map(str, arguments)])


def test_convert_image_bin_as_the_published_command(tmp_path):
    for name in ("a.jpg", "sub/b.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(picture(1, name[-4:]))

    def command(mode, **paths):
        flags = [f"--{key}={value}" for key, value in paths.items()]
        script = str(ROOT / "tools/convert_image_bin.py")
        return subprocess.run(
            [sys.executable, script, *flags, f"--mode={mode}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    done = command("image2bin", image_path="in", bin_path="bins")
    assert done.returncode == 0 and done.stdout == "bins: 2 files written, 0 were there, 0 left out\n", done.stderr
    (tmp_path / "in/label.txt").write_text("a.jpg\t0\n")
    done = command("image2bin", image_path="in", bin_path="bins")
    assert (
        done.returncode == 0
        and "passed over 1 files that are no pictures by their names, such as label.txt" in done.stdout
    )
    content = (tmp_path / "bins/sub/b.bin").read_bytes()
    assert content[:9] == b"\x05\0\0\0b.png" and pickle.loads(content[13:]) == picture(1, ".png")
    assert command("bin2image", image_path="out", bin_path="bins").returncode == 0
    assert (tmp_path / "out/sub/b.png").read_bytes() == picture(1, ".png")
    assert (tmp_path / "out/a.jpg").read_bytes() == picture(1)
    (tmp_path / "bins/a.bin").write_bytes(b"12345")
    done = command("bin2image", image_path="out", bin_path="bins")
    assert done.returncode == 1 and "a.bin: key length" in done.stderr
    done = command("image2bin", image_path="nothing", bin_path="bins")
    assert done.returncode == 2 and done.stderr == "convert_image_bin.py: error: nothing: no such folder\n"


@pytest.mark.parametrize(("source", "target"), [("image_path", "bin_path"), ("bin_path", "image_path")])
def test_bin2image_with_the_paths_in_either_order(tmp_path, people, monkeypatch, capsys, source, target):
    """The published README gives the folder of bins as --image_path, the published code read it as --bin_path."""
    monkeypatch.chdir(tmp_path)

    def command(mode, **paths):
        flags = [f"--{flag}={path}" for flag, path in paths.items()]
        return run_module("convert_image_bin", [*flags, f"--mode={mode}"], prog="convert_image_bin.py")

    assert command("image2bin", image_path="people", bin_path="bins") == 0
    assert command("image2bin", image_path="people", bin_path="bins") == 0
    assert "bins: 0 files written, 12 were there, 0 left out" in capsys.readouterr().out
    said = "reading .bin files from bins, writing pictures to back"
    assert command("bin2image", **{source: "bins", target: "back"}) == 0
    assert capsys.readouterr().out.splitlines() == [said, "back: 12 files written, 0 were there, 0 left out"]
    assert (tmp_path / "back/person 1/4.jpg").read_bytes() == (people / "person 1/4.jpg").read_bytes()
    (tmp_path / "back/person 1/4.jpg").unlink()
    assert command("bin2image", **{source: "bins", target: "back"}) == 0
    assert capsys.readouterr().out.splitlines() == [said, "back: 1 files written, 11 were there, 0 left out"]
    (tmp_path / "back/person 1/x.bin").write_bytes(b"")
    assert command("bin2image", **{source: "bins", target: "back"}) == 2
    assert "both hold .bin files, so it is not clear which of them to read" in capsys.readouterr().err
    assert command("bin2image", **{source: "people", target: "new"}) == 2
    assert "holds a .bin file; bin2image reads" in capsys.readouterr().err and not (tmp_path / "new").exists()


@pytest.mark.parametrize("layout", ["bin", "image", "folder", "recordio", "packed"])
def test_convert(tmp_path, people, layout, capsys):
    assert data("convert", people, tmp_path / "out", "--to", layout) == 0
    assert "12 samples written, 0 were there, 0 left out" in capsys.readouterr().out
    source, converted = open_dataset(people), open_dataset(tmp_path / "out")
    assert converted.labels.tolist() == source.labels.tolist()
    assert [converted.read_encoded(index) for index in range(12)] == [source.read_encoded(index) for index in range(12)]


def test_folders_of_systems_are_said(tmp_path, people, capsys):
    shutil.copytree(people / "person 1", people / "#recycle")
    assert data("convert", people, tmp_path / "out", "--to", "bin") == 0
    said = capsys.readouterr().out
    assert "12 samples written" in said and f"{people}: passed over the folders of systems: #recycle" in said
    assert data("info", people) == 0
    said = capsys.readouterr().out
    assert "| folders of systems, passed over | #recycle" in said and "| identities                      | 4 " in said
    shutil.copytree(people / "person 1", tmp_path / "in/#recycle")
    shutil.copytree(people / "person 1", tmp_path / "in/a")
    assert (
        run_module(
            "convert_image_bin", [*f"--image_path={tmp_path}/in --bin_path={tmp_path}/bins".split(), "--mode=image2bin"]
        )
        == 0
    )
    assert sorted(path.name for path in (tmp_path / "bins").iterdir()) == ["a"]


def test_align_says_what_it_did_not_look_at(tmp_path, capsys):
    shutil.copytree(PHOTOGRAPHS, tmp_path / "in")
    shutil.copytree(PHOTOGRAPHS / "Joe Biden", tmp_path / "in/#recycle")
    (tmp_path / "in/Joe Biden/notes.pdf").write_bytes(b"%PDF-1.4")
    (tmp_path / "in/label.txt").unlink()
    assert data("align", tmp_path / "in", tmp_path / "out") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("3 faces of 3 people, 0 left out")
    assert said[1] == "1 file is no picture and was passed over: notes.pdf; 1 folder was not searched: #recycle"


def test_convert_tells_what_it_left_out(tmp_path, people, capsys):
    (people / "person 1/4.jpg").write_bytes(b"")
    assert data("convert", people, tmp_path / "out", "--to", "bin") == 1
    assert f"left out: {people}/person 1/4.jpg: the file is empty" in capsys.readouterr().err
    assert data("convert", people, tmp_path / "out", "--to", "bin") == 1
    assert "0 samples written, 11 were there, 1 left out" in capsys.readouterr().out


def test_much_that_was_left_out_is_listed_in_a_file(tmp_path, people, capsys):
    for number in range(25):
        (people / "person 1" / f"bad {number}.jpg").write_bytes(b"")
    assert data("convert", people, tmp_path / "out", "--to", "bin") == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 21 and errors[20] == f"left out: 5 more, all of them are in {tmp_path}/out/left_out.log"
    listed = (tmp_path / "out/left_out.log").read_text().splitlines()
    assert len(listed) == 25 and all(line.endswith(": the file is empty") for line in listed)


@pytest.mark.parametrize(
    ("script", "arguments"), [("pack_dataset.py", []), ("convert_recordio.py", ["--to", "recordio"])]
)
def test_tools(tmp_path, people, script, arguments):
    command = [sys.executable, str(ROOT / "tools" / script), str(people), str(tmp_path / "out"), *arguments]
    subprocess.run(command, check=True, capture_output=True)
    assert len(open_dataset(tmp_path / "out")) == 12


def test_pack_dataset_takes_no_other_layout(tmp_path, people, capsys):
    with pytest.raises(SystemExit) as caught:
        run_module("pack_dataset", [str(people), str(tmp_path / "out"), "--to", "bin"], prog="pack_dataset.py")
    assert caught.value.code == 2 and not (tmp_path / "out").exists()
    assert capsys.readouterr().err.startswith("pack_dataset.py: error: unrecognized arguments: --to bin")


def test_info(people, capsys):
    assert data("info", people) == 0
    printed = capsys.readouterr().out
    assert "FolderDataset" in printed and "3 to 3, median 3" in printed and "| 112x112 .jpg, " in printed
    (people / "person 0/0.jpg").write_bytes(b"no picture")
    assert data("info", people) == 2
    told = capsys.readouterr()
    assert "FolderDataset" in told.out and "the first sample cannot be read: " in told.err
    assert data("info", people / "person 0") == 2
    assert "no dataset found" in capsys.readouterr().err


@pytest.mark.usefixtures("people")
def test_info_of_a_huge_label_takes_no_memory_for_the_labels_before_it(tmp_path, capsys):
    (tmp_path / "label.txt").write_text("people/person 0/0.jpg\t2147483647\n")
    assert data("info", tmp_path) == 0
    assert "2147483647" in capsys.readouterr().out


def test_pairs_from_dataset_and_list(tmp_path, people, capsys):
    assert data("pairs", tmp_path / "own.bin", "--dataset", people, "--pairs", "20", "--seed", "1") == 0
    assert "20 pairs, 10 of the same person" in capsys.readouterr().out
    assert read_verification_set(tmp_path / "own.bin").issame.tolist() == [True, False] * 10
    (people / "pairs.txt").write_text("person 0/0.jpg\tperson 0/1.jpg\t1\nperson 0/0.jpg\tperson 1/3.jpg\t0\n")
    assert data("pairs", tmp_path / "listed.bin", "--list", people / "pairs.txt") == 0
    listed = read_verification_set(tmp_path / "listed.bin")
    assert listed.images == [picture(0), picture(1), picture(0), picture(3)]
    assert "resized" not in capsys.readouterr().out
    images.write_image(people / "person 0/0.jpg", np.zeros((250, 250, 3), np.uint8))
    assert data("pairs", tmp_path / "listed.bin", "--list", people / "pairs.txt") == 0
    assert "2 of 4 pictures are not 112x112 and will be resized" in capsys.readouterr().out
    assert data("pairs", people / "pairs.txt", "--list", people / "pairs.txt") == 2
    assert "pairs.txt: holds text, which would be gone" in capsys.readouterr().err
    assert data("pairs", tmp_path / "more.bin", "--list", people / "pairs.txt", "--pairs", "20") == 2
    assert "--pairs has no meaning with --list" in capsys.readouterr().err
    assert data("pairs", tmp_path / "more.bin", "--dataset", people, "--root", people) == 2
    assert "--root has no meaning with --dataset" in capsys.readouterr().err
    assert data("pairs", tmp_path / "more.bin", "--dataset", people, "--pairs", "1000") == 2
    assert "500 genuine pairs asked for, but the dataset has 12" in capsys.readouterr().err
    assert not (tmp_path / "more.bin").exists()


def test_pairs_of_photographs_in_one_command(tmp_path, monkeypatch, capsys):
    """LFW's own layout and pairs.txt: the set is the same as that of aligning first."""
    sources = {
        "Grace_Hopper_0001": "gallery/Grace Hopper/portrait_1984.jpg",
        "Grace_Hopper_0002": "queries/hopper_relit.jpg",
        "Joe_Biden_0001": "queries/biden_relit.jpg",
        "Joe_Biden_0002": "queries/group.jpg",
    }
    for name, source in sources.items():
        target = tmp_path / "photographs" / name[:-5] / f"{name}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "demo" / source, target)
    (tmp_path / "pairs.txt").write_text("1\t2\nGrace_Hopper\t1\t2\nGrace_Hopper\t2\tJoe_Biden\t2\n")
    monkeypatch.chdir(tmp_path)
    command = ("--list", "pairs.txt", "--root", "photographs", "--align")
    assert data("pairs", "mine.bin", *command) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "mine.bin: 2 pairs, 1 of the same person",
        "1 photographs show several faces; the face nearest to the middle, weighted by its size was taken of each",
    ]
    assert said.err == "" and sorted(path.name for path in tmp_path.iterdir()) == [
        *("mine.bin", "pairs.txt", "photographs"),
    ]
    assert data("align", "photographs", "faces", "--faces", "centre") == 0
    assert data("pairs", "two_steps.bin", "--list", "pairs.txt", "--root", "faces") == 0
    in_one, in_two = (read_verification_set(tmp_path / name) for name in ("mine.bin", "two_steps.bin"))
    assert in_one.images == in_two.images and in_one.issame.tolist() == in_two.issame.tolist() == [True, False]
    capsys.readouterr()

    assert data("pairs", "one.bin", *command, "--faces", "one") == 1
    said = capsys.readouterr()
    assert said.err == "left out: pairs.txt:3: photographs/Joe_Biden/Joe_Biden_0002.jpg: 4 faces found\n"
    assert "1 of 2 pairs were left out; each of the 10 folds has 0 to 1 pairs of the same person and 0 to 0" in said.out
    assert read_verification_set(tmp_path / "one.bin").issame.tolist() == [True]


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--dataset people --align", "--align has no meaning with --dataset"),
        ("--list pairs.txt --faces one", "--faces has no meaning without --align"),
        ("--list pairs.txt --det_model x", "--det_model has no meaning without --align"),
        ("--list pairs.txt --det_thresh .5", "--det_thresh has no meaning without --align"),
        ("--list pairs.txt --align --root people", "pairs.txt:1: people/a.jpg: no such file"),
    ],
)
def test_pairs_refuses_what_has_no_meaning(tmp_path, monkeypatch, capsys, arguments, message):
    (tmp_path / "pairs.txt").write_text("a.jpg\tb.jpg\t1\n")
    monkeypatch.chdir(tmp_path)
    assert data("pairs", "out.bin", *arguments.split()) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out.bin").exists()


def test_wrong_use(tmp_path, capsys):
    for arguments in (["convert", "a"], ["convert", "a", "b", "--to", "zip"], ["nothing"], []):
        with pytest.raises(SystemExit) as caught:
            data(*arguments)
        assert caught.value.code == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("workers", ["0", "-2", "x", "1.5", ""])
def test_a_wrong_number_is_told_in_words(tmp_path, workers, capsys):
    with pytest.raises(SystemExit) as caught:
        data("convert", tmp_path, tmp_path / "out", "--to", "bin", f"--workers={workers}")
    assert caught.value.code == 2
    assert f"argument --workers: {workers!r} is not a whole number from 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("convert people out --to bin --shard_mb 5", "--shard_mb has no meaning with --to bin"),
        ("convert people taken --to bin", "target taken: taken is a file"),
        ("convert people people --to folder", "lies in the dataset people that is read"),
        ("convert people people/packed --to packed", "lies in the dataset people that is read"),
        ("align people people/aligned", "lies in the dataset people that is read"),
        ("align people taken", "target taken: taken is a file"),
        ("align nothing out", "nothing: no such folder"),
        ("pairs people --dataset people --pairs 2", "target people: is a folder"),
        ("pairs taken/x.bin --dataset people --pairs 2", "target taken/x.bin: taken is a file"),
        ("info people --kind folder --label_file taken", "a folder per identity names the labels"),
    ],
)
def test_what_cannot_work_is_said_before_the_work(tmp_path, people, monkeypatch, capsys, arguments, message):
    (tmp_path / "taken").write_text("mine")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert data(*arguments.split()) == 2
    error = capsys.readouterr().err.strip().replace(f"{tmp_path}/", "")
    assert message in error and "\n" not in error
    assert sorted(tmp_path.rglob("*")) == before and people.is_dir()


def test_every_subcommand_has_help(capsys):
    for arguments in ([], ["info"], ["convert"], ["pairs"], ["align"], ["doctor"]):
        with pytest.raises(SystemExit) as caught:
            data(*arguments, "--help")
        assert caught.value.code == 0
        assert f"usage: arcface-paddle data {' '.join(arguments)}".strip() in capsys.readouterr().out


def test_align_photographs(tmp_path, capsys):
    source = tmp_path / "photographs"
    shutil.copytree(PHOTOGRAPHS, source)
    people = sorted(path.name for path in source.iterdir() if path.is_dir())
    nobody = source / "Aaron Empty"
    nobody.mkdir()
    images.write_image(nobody / "wall.jpg", np.full((200, 200, 3), 128, np.uint8))
    (source / people[0] / "broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    group = ROOT / "demo/queries/group.jpg"
    shutil.copy(group, source / people[1] / "group.jpg")

    assert data("align", source, tmp_path / "faces") == 1
    errors = capsys.readouterr().err
    assert "wall.jpg: no face found" in errors and "broken.jpg" in errors and "group.jpg: " in errors
    dataset = open_dataset(tmp_path / "faces")
    assert dataset.num_classes == len(people)  # numbered anew, without the one who has no face
    assert {dataset.read_image(index).shape for index in range(len(dataset))} == {(112, 112, 3)}
    assert dataset.resized_count == 0
    faces_before = len(dataset)

    assert data("align", source, tmp_path / "faces", "--largest") == 1
    assert "group.jpg" not in capsys.readouterr().err
    assert len(open_dataset(tmp_path / "faces")) == faces_before + 1


def test_align_photographs_that_a_list_names(tmp_path, capsys):
    flat = tmp_path / "flat"
    flat.mkdir()
    for person in ("Joe Biden", "Grace Hopper"):
        shutil.copy(next((PHOTOGRAPHS / person).glob("*.jpg")), flat / f"{person[0]}.jpg")
    outside = tmp_path / "outside.jpg"
    shutil.copy(flat / "J.jpg", outside)
    listed = "J.jpg\tJoe Biden\nG.jpg\tGrace Hopper\nno tab here\n../outside.jpg\tJoe Biden\nnone.jpg\tNobody\n"
    (tmp_path / "list.txt").write_text(listed)
    assert data("align", flat, tmp_path / "faces", "--label", tmp_path / "list.txt") == 1
    errors = capsys.readouterr().err
    assert "list.txt:3" in errors and "../outside.jpg: lies outside" in errors and "none.jpg: no such file" in errors
    dataset = open_dataset(tmp_path / "faces")
    assert [dataset.paths[index] for index in range(2)] == ["J.png", "G.png"]
    assert dataset.labels.tolist() == [1, 0]
    assert (tmp_path / "faces/people.txt").read_text() == "0\tGrace Hopper\n1\tJoe Biden\n"
    (tmp_path / "empty.txt").write_text("/etc/passwd\tJoe Biden\n")
    assert data("align", flat, tmp_path / "none", "--label", tmp_path / "empty.txt") == 2
    assert "lists no photograph that can be used" in capsys.readouterr().err


def test_which_of_several_faces_is_taken(tmp_path, capsys):
    """A list means the face in the middle; of a folder per person nobody knows, so the flag has to say it."""
    (tmp_path / "in/Ann").mkdir(parents=True)
    shutil.copy(ROOT / "demo/queries/group.jpg", tmp_path / "in/Ann/group.jpg")
    (tmp_path / "list.txt").write_text("Ann/group.jpg\tAnn\n")
    assert data("align", tmp_path / "in", tmp_path / "none") == 2
    assert "group.jpg: 4 faces found" in capsys.readouterr().err
    runs = {
        "listed": ("--label", tmp_path / "list.txt"),
        "centre": ("--faces", "centre"),
        "largest": ("--faces", "largest"),
        "published": ("--largest",),
        "listed-largest": ("--label", tmp_path / "list.txt", "--faces", "largest"),
    }
    faces = {}
    for name, flags in runs.items():
        assert data("align", tmp_path / "in", tmp_path / name, *flags) == 0
        word = "largest" if "largest" in name or name == "published" else "middle"
        said = capsys.readouterr().out.splitlines()
        assert said[0].endswith("1 faces of 1 people, 0 left out")
        assert said[1].startswith("1 photographs show several faces; ") and word in said[1]
        faces[name] = (tmp_path / name / "Ann/group.png").read_bytes()
    assert faces["listed"] == faces["centre"] != faces["largest"]
    assert faces["largest"] == faces["published"] == faces["listed-largest"]
    assert data("align", tmp_path / "in", tmp_path / "none", "--label", tmp_path / "list.txt", "--faces", "one") == 2
    with pytest.raises(SystemExit):
        data("align", "--help")
    assert "--largest             = --faces largest" in capsys.readouterr().out


def test_align_says_whose_face_could_not_keep_its_stem(tmp_path, capsys):
    (tmp_path / "in/Joe").mkdir(parents=True)
    for suffix in (".jpg", ".jpeg"):
        shutil.copy(ROOT / "demo/queries/biden_relit.jpg", tmp_path / f"in/Joe/1{suffix}")
    assert data("align", tmp_path / "in", tmp_path / "out") == 0
    said = "the face of Joe/1.jpg is Joe/1.jpg.png, because Joe/1.jpeg has the same stem"
    assert said in capsys.readouterr().out.splitlines()
    assert (tmp_path / "out/label.txt").read_text() == "Joe/1.png\t0\nJoe/1.jpg.png\t0\n"


def test_align_leaves_out_names_that_no_label_file_can_hold(tmp_path, capsys):
    for person in ("#1 fan", "fan"):
        shutil.copytree(PHOTOGRAPHS / "Joe Biden", tmp_path / "photographs" / person)
    assert data("align", tmp_path / "photographs", tmp_path / "faces") == 1
    assert "its name cannot stand in a label file" in capsys.readouterr().err
    assert open_dataset(tmp_path / "faces").labels.tolist() == [0]


def test_aligned_faces_are_those_the_recogniser_sees(tmp_path):
    from arcface_paddle.pipeline.alignment import align_face
    from arcface_paddle.pipeline.builders import build_detector, build_recognizer

    source = next(path for path in sorted(PHOTOGRAPHS.rglob("*.jpg")))
    (tmp_path / "in/a").mkdir(parents=True)
    shutil.copy(source, tmp_path / "in/a/a.jpg")
    assert run_module("data_align", [str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    photograph = images.read_image(source)
    expected = align_face(photograph, build_detector().detect(photograph)[0], build_recognizer("MobileFace").card)
    np.testing.assert_array_equal(open_dataset(tmp_path / "out").read_image(0), expected)


def test_a_label_file_separated_by_a_space_is_read_with_a_word(tmp_path, capsys):
    for number in range(2):
        (tmp_path / f"{number}.jpg").write_bytes(picture(number))
    (tmp_path / "label.txt").write_text("0.jpg 0\n1.jpg 1\n")
    assert data("info", tmp_path) == 0
    assert "label.txt: path and label are separated by a space, read as if it were a tab" in capsys.readouterr().out
    (tmp_path / "label.txt").write_text("0.jpg 0\n1 b.jpg 1\n")
    assert data("info", tmp_path) == 2
    assert "label.txt:2: ambiguous: 2 spaces" in capsys.readouterr().err


def test_preview_shows_samples_and_what_augmentation_makes_of_them(tmp_path, people, capsys):
    sheet = tmp_path / "sheet.png"
    assert data("preview", people, "--output", sheet, "--pictures", 10) == 0
    assert capsys.readouterr().out == f"wrote {sheet}: 10 pictures in 2 rows\n"
    small = images.read_image(sheet)
    assert data("preview", people, "--output", sheet, "--pictures", 3, "--augment", "all", "--seed", 4) == 0
    large = images.read_image(sheet)
    assert small.shape[1] == large.shape[1] == 8 + 8 * 120 and large.shape[0] > 16 * 112
    page = tmp_path / "page.html"
    assert data("preview", people, "--output", page, "--pictures", 3, "--augment", "adaface,grey:1", "--ccrop") == 0
    text = page.read_text()
    assert text.count("<img") == 3 + 6 + 4 * 8 + 3 * 8 and "low_resolution: 0.2 to 1, of 20 % of the pictures" in text


def test_preview_shows_the_pictures_of_the_loader(people):
    dataset = open_dataset(people)
    steps = parse_steps(["adaface", "brightness:1"])
    rows = preview_rows(dataset, PreviewSettings(12, steps, ccrop=True, seed=6))
    shown = {row.title: row.pictures for row in rows if row.title.startswith("as training")}
    assert len(shown) == 3
    options = LoaderOptions(batch_size=4, workers=0, seed=6, augment=steps, ccrop=True)
    with BatchLoader(dataset, options) as loader:
        for epoch in range(7):
            for batch in loader.epoch(epoch):
                for index, row in zip(batch.indices, batch.images):
                    title = f"as training sees sample {index}, epoch by epoch"
                    if title in shown:
                        pixels = np.rint((row.transpose(1, 2, 0) * 0.5 + 0.5) * 255).astype(np.uint8)
                        np.testing.assert_array_equal(shown[title][1 + epoch], pixels)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output", "a.gif"], "--output a.gif: allowed: .png"),
        (["--output", "a.png", "--augment", "turn"], "augment: 'turn' is not known"),
        (["--output", "a.png", "--augment", "light", "--ccrop"], "leave one of them out"),
    ],
)
def test_preview_refuses_in_one_line(people, capsys, flags, message):
    assert data("preview", people, *flags) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_convert_shuffles_containers_and_says_what_has_no_meaning(tmp_path, people, capsys):
    assert data("convert", people, tmp_path / "out", "--to", "tfrecord", "--shuffle", "--seed", 3, "--shard_mb", 1) == 0
    assert open_dataset(tmp_path / "out").labels.tolist() != sorted(open_dataset(tmp_path / "out").labels.tolist())
    capsys.readouterr()
    for flags, message in (
        (["--to", "bin", "--shuffle"], "--shuffle has no meaning with --to bin"),
        (["--to", "packed", "--seed", 1], "--seed has no meaning without --shuffle"),
        (["--to", "recordio", "--shard_mb", 1], "--shard_mb has no meaning with --to recordio"),
    ):
        assert data("convert", people, tmp_path / "other", *flags) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    (tmp_path / "chosen.txt").write_text("3\t0\n0\t1\n")
    assert data("info", tmp_path / "out", "--label_file", tmp_path / "chosen.txt") == 0
    assert "SelectedDataset" in capsys.readouterr().out


def test_convert_bcolz_sets(tmp_path, capsys):
    source = ROOT / "tests/fixtures/bcolz/plain"
    assert data("convert", source, tmp_path, "--to", "val") == 0
    assert capsys.readouterr().out == f"plain: done\n{tmp_path}: 1 verification sets written, 0 were there\n"
    assert len(read_verification_set(tmp_path / "plain.bin")) == 3
    assert data("convert", source, tmp_path, "--to", "val", "--shuffle") == 2
    assert "have no meaning with --to val" in capsys.readouterr().err
