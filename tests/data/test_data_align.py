"""From photographs to aligned faces: which face, under which name, and what an earlier run has left."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.data import open_dataset
from arcface_paddle.data.align import (
    FaceCutter,
    align_photographs,
    list_photographs,
    open_face_cutter,
)
from arcface_paddle.errors import ConfigError, DataError, ImageError
from arcface_paddle.pipeline.alignment import align_face

DEMO = Path(__file__).resolve().parents[2] / "demo"
HOPPER = DEMO / "gallery/Grace Hopper/portrait_1984.jpg"
BIDEN = DEMO / "queries/biden_relit.jpg"
GROUP = DEMO / "queries/group.jpg"


@pytest.fixture
def cutter():
    return open_face_cutter("BlazeFace", "MobileFace", faces="centre")


def align(source, target, **options):
    """Align a folder as a run of its own does, with models loaded anew."""
    cutter = open_face_cutter("BlazeFace", "MobileFace", faces="centre")
    return align_photographs(list_photographs(source), target, cutter, **options)


def put(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def copy(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


# ---------------------------------------------------------------------------------------------------------------
# Which face


def test_which_face_is_cut(cutter):
    photograph = images.read_image(GROUP)
    found = cutter.detector.detect(photograph)  # largest first
    assert len(found) == 4
    middle = min(found, key=lambda one: abs(float(one.box_xyxy[[0, 2]].mean()) - photograph.shape[1] / 2))
    for faces, expected in (("largest", found[0]), ("centre", middle)):
        face = FaceCutter(cutter.detector, cutter.card, faces).cut(photograph)
        np.testing.assert_array_equal(face.crop, align_face(photograph, expected, cutter.card))
        assert face.face_count == 4
    with pytest.raises(ImageError, match=r"^4 faces found$"):
        FaceCutter(cutter.detector, cutter.card, "one").cut(photograph)
    with pytest.raises(ImageError, match=r"^no face found$"):
        cutter.cut(np.full((200, 200, 3), 128, np.uint8))


def test_a_dataset_takes_one_face_of_a_photograph():
    with pytest.raises(ConfigError, match="faces 'all'; allowed: one, centre, largest"):
        open_face_cutter("BlazeFace", "MobileFace", faces="all")


# ---------------------------------------------------------------------------------------------------------------
# Whole folders


def test_a_run_that_an_older_version_had_begun_goes_on(tmp_path):
    for name in ("ann/1.jpg", "bob/2.jpg"):
        copy(HOPPER, tmp_path / "in" / name)
    earlier = images.encode_image(np.zeros((112, 112, 3), np.uint8))
    (tmp_path / "out/ann").mkdir(parents=True)
    (tmp_path / "out/ann/1.jpg.png").write_bytes(earlier)
    report = align(tmp_path / "in", tmp_path / "out")
    assert (report.faces, report.people, report.bad) == (2, 2, ())
    dataset = open_dataset(tmp_path / "out")
    assert [dataset.paths[index] for index in range(2)] == ["ann/1.jpg.png", "bob/2.png"]
    assert dataset.read_encoded(0) == earlier and not (tmp_path / "out/ann/1.png").exists()


def test_a_photograph_added_beside_one_of_its_stem_does_not_get_its_face(tmp_path, cutter):
    copy(HOPPER, tmp_path / "in/ann/1.jpg")
    report = align(tmp_path / "in", tmp_path / "out")
    assert report.faces == 1 and report.renamed == ()
    images.write_image(tmp_path / "in/ann/1.bmp", images.read_image(BIDEN))  # comes first from now on
    for _ in range(2):
        report = align(tmp_path / "in", tmp_path / "out")
        ((path, reason),) = report.bad
        assert path.endswith("in/ann/1.bmp") and "out/ann/1.png: holds another face" in reason
        assert report.renamed == (("ann/1.jpg", "ann/1.jpg.png", "ann/1.bmp"),) and report.faces == 1
        dataset = open_dataset(tmp_path / "out")
        expected = cutter.cut(images.read_image(HOPPER)).crop
        np.testing.assert_array_equal(dataset.read_image(0), expected)
    report = align(tmp_path / "in", tmp_path / "new")
    assert report.faces == 2 and report.bad == ()
    again = align(tmp_path / "in", tmp_path / "new")
    assert again == report


def test_several_faces_are_counted(tmp_path):
    copy(GROUP, tmp_path / "in/ann/1.jpg")
    copy(HOPPER, tmp_path / "in/ann/2.jpg")
    done = []
    report = align(tmp_path / "in", tmp_path / "out", progress=done.append)
    assert (report.faces, report.people, report.several) == (2, 1, 1) and sum(done) == 2
    assert (tmp_path / "out/people.txt").read_text() == "0\tann\n"


def test_a_list_finds_names_of_other_systems_and_leaves_no_folder(tmp_path):
    put(tmp_path, "outside.jpg", "in/people/1.jpg", "in/Jose\u0301.jpg", "in/3.jpg")
    lines = ["people\\1.jpg\tAnn", "Jos\u00e9.jpg\tJos\u00e9", ".\\3.jpg\tAnn", "..\\outside.jpg\tEve"]
    lines += ["../outside.jpg\tEve", f"{tmp_path}/outside.jpg\tEve", "no name"]
    (tmp_path / "list.txt").write_text("\n".join(lines), encoding="utf-8")
    listed = list_photographs(tmp_path / "in", label_file=tmp_path / "list.txt")
    assert [listed.dataset.paths[index] for index in range(3)] == ["people/1.jpg", "Jose\u0301.jpg", "3.jpg"]
    assert listed.people == ["Ann", "Jos\u00e9"] and listed.dataset.labels.tolist() == [0, 1, 0]
    assert [reason for _, reason in listed.bad][1:] == ["lies outside of the source"] * 3
    (tmp_path / "list.txt").write_text("../outside.jpg\tEve")
    with pytest.raises(DataError, match=r"list\.txt: lists no photograph that can be used"):
        list_photographs(tmp_path / "in", label_file=tmp_path / "list.txt")


def test_what_is_a_photograph_is_told_by_its_content(tmp_path):
    copy(HOPPER, tmp_path / "in/ann/download.jfif")
    copy(HOPPER, tmp_path / "in/ann/no suffix")
    copy(HOPPER, tmp_path / "in/@eaDir/thumbnail.jpg")
    copy(HOPPER, tmp_path / "in/bob/#recycle/deleted.jpg")
    copy(HOPPER, tmp_path / "in/bob/1.jpg")
    copy(HOPPER, tmp_path / "in/nobody.jpg")
    (tmp_path / "in/bob/notes.txt").write_text("no photograph")
    photographs = list_photographs(tmp_path / "in")
    paths = [photographs.dataset.paths[index] for index in range(len(photographs))]
    assert paths == ["ann/download.jfif", "ann/no suffix", "bob/1.jpg"] and photographs.people == ["ann", "bob"]
    said = "1 file is no picture and was passed over: notes.txt; 2 folders were not searched: #recycle, @eaDir"
    assert photographs.not_looked_at == said
    ((path, reason),) = photographs.bad
    assert path == "nobody.jpg" and reason.startswith("stands beside the folders of persons")
    report = align(tmp_path / "in", tmp_path / "out")
    assert report.faces == 3 and len(report.bad) == 1
    assert (tmp_path / "out/label.txt").read_text() == "ann/download.png\t0\nann/no suffix.png\t0\nbob/1.png\t1\n"


def test_no_face_at_all(tmp_path):
    images.write_image(tmp_path / "in/ann/wall.jpg", np.full((200, 200, 3), 128, np.uint8))
    with pytest.raises(DataError, match=r"none of the 1 photographs gave a face; .*wall\.jpg: no face found"):
        align(tmp_path / "in", tmp_path / "out")


def test_a_face_cutter_looks_for_the_faces_that_it_is_told_of():
    photograph = images.read_image(HOPPER)
    sideways = np.ascontiguousarray(np.rot90(photograph))
    upright = open_face_cutter("CenterFace", "MobileFace").cut(photograph).crop
    turned = open_face_cutter("CenterFace", "MobileFace", rotate="90").cut(sideways).crop
    assert np.abs(turned.astype(int) - upright).mean() < 12  # of the upright crop's mirror image it is 50
    with pytest.raises(ImageError, match="no face found"):
        open_face_cutter("CenterFace", "MobileFace", min_face=400).cut(photograph)
