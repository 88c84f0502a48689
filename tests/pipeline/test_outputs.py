"""Names of what a run writes: nothing is overwritten that is not its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.pipeline.outputs import CropFolder, OutputNames, crop_with_margin, encode_crops, folder_name
from arcface_paddle.pipeline.settings import OutputSettings
from arcface_paddle.types import Detection, Face, ImageResult


def faces(*names) -> ImageResult:
    detection = Detection(np.array([10, 10, 30, 30], np.float32), 0.9)
    return ImageResult("a", (60, 40), tuple(Face(detection, name=name) for name in names))


def test_pictures_keep_their_place_and_never_share_a_name(tmp_path):
    names = OutputNames(tmp_path)
    given = [
        names.for_picture(Path("/x") / place, relative=Path(place)).relative_to(tmp_path).as_posix()
        for place in ("a/1.jpg", "b/1.jpg", "a/1.JPG", "a/1.heic", "a/1", "1.jfif", "c/film.tiff", "a/1.jpg")
    ]
    assert given == ["a/1.jpg", "b/1.jpg", "a/1_1.JPG", "a/1.png", "a/1_1.png", "1.jfif", "c/film.tiff", "a/1_2.jpg"]


def test_every_name_that_is_given_can_be_written(tmp_path):
    names = OutputNames(tmp_path)
    for suffix in (".jpg", ".tiff", ".tif", ".gif", ".heic", ".jpe", ".dat", ""):
        target = names.for_picture(Path(f"a{suffix}"))
        images.write_image(target, np.zeros((4, 4, 3), np.uint8))
        assert images.read_image(target).shape == (4, 4, 3)


def test_crops_of_pictures_with_one_name_stand_beside_each_other(tmp_path):
    folder, picture = CropFolder(tmp_path), np.zeros((40, 60, 3), np.uint8)
    for place in ("x.jpg", "2019/x.jpg", "2020/x.jpg", "2020/x.png", "2019_x.jpg"):
        folder.save(encode_crops(picture, faces("Ada", "Ada", None)), relative=Path(place))
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    stems = ["2019_x", "2019_x-2", "2020_x", "2020_x-2", "x"]
    assert written == sorted([f"Ada/{s}_{n}.png" for s in stems for n in (1, 2)] + [f"face/{s}_3.png" for s in stems])


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("Ada", "Ada"),
        (None, "face"),
        ("Ada King", "Ada King"),
        ("a\x00b\x1fc", "a_b_c"),
        ("../up", ".._up"),
        ("a/b\\c:d", "a_b_c_d"),
        ("...", "_"),
        ("x" * 300, "x" * 100),
        ("x" * 99 + ". y", "x" * 99),
        ("李" * 100, "李" * 33),
        ("Con", "Con_"),
        ("lpt9.old", "lpt9.old_"),
        ("Connie", "Connie"),
    ],
)
def test_names_of_folders(name, folder):
    assert folder_name(name) == folder


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ([10, 12, 30, 20], (10, 22), (5, 35)),  # a quarter of the box on each side
        ([2, 1, 12, 9], (0, 11), (0, 14)),
        ([40, 30, 58, 39], (28, 40), (36, 60)),
    ],
)
def test_faces_are_cut_out_with_a_margin_up_to_the_edges(box, rows, columns):
    picture = np.arange(40 * 60 * 3, dtype=np.uint16).reshape(40, 60, 3)
    cut = crop_with_margin(picture, Face(Detection(np.array(box, np.float32), 0.9)))
    np.testing.assert_array_equal(cut, picture[slice(*rows), slice(*columns)])


def test_a_face_outside_of_the_picture_is_left_out():
    outside, inside = (Detection(np.array(box, np.float32), 0.9) for box in ([-40, 5, -20, 9], [5, 5, 20, 20]))
    result = ImageResult("a", (60, 40), (Face(outside, name="a"), Face(inside, name="b")))
    cut = encode_crops(np.zeros((40, 60, 3), np.uint8), result)
    assert [(crop.folder, crop.number) for crop in cut] == [("b", 2)]


def test_folders_that_are_written_to():
    assert OutputSettings().folders == () and OutputSettings(drawn="a", crops="b").folders == ("a", "b")
