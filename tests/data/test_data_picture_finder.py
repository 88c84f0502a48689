"""Pictures of a list that have another suffix by now."""

import time

import pytest

from arcface_paddle.data.picture_finder import PictureFinder
from arcface_paddle.errors import DataError


def put(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


@pytest.mark.parametrize(
    ("there", "listed", "found"),
    [
        (["a.jpg", "a.png"], "a.jpg", "a.jpg"),
        (["a.png", "b.png", ".a.jpg", "a.txt"], "a.jpg", "a.png"),
        (["p/a.bin"], "p/a.jpg", "p/a.bin"),
        (["p/a.png"], ".\\p\\a.jpg", "p/a.png"),
        (["Jose\u0301/Jose\u0301.png"], "Jos\u00e9/Jos\u00e9.jpg", "Jose\u0301/Jose\u0301.png"),
        (["a.jpg.png"], "a.jpg", "a.jpg.png"),  # as earlier versions of data align wrote it
        (["a.png", "a.webp.png"], "a.webp", "a.webp.png"),  # as it writes the later of two with one stem
        (["a.png", "a.webp.png"], "a.jpg", "a.png"),
        (["x.y.png", "x.png"], "x.y.jpg", "x.y.png"),
    ],
)
def test_finds(tmp_path, there, listed, found):
    put(tmp_path, *there)
    assert PictureFinder(tmp_path).find(listed) == tmp_path / found


@pytest.mark.parametrize("listed", ["a.jpg", "p/a.jpg", "none/a.jpg", "a"])
def test_what_is_not_there_keeps_its_name(tmp_path, listed):
    put(tmp_path, "ab.png", "p/b.png", "a.txt")
    assert PictureFinder(tmp_path).find(listed) == tmp_path / listed


def test_several_of_one_stem_are_named(tmp_path):
    put(tmp_path, "a.png", "a.webp")
    with pytest.raises(DataError, match=r"a\.jpg: no such file, and 2 pictures .* same stem: a\.png, a\.webp; name"):
        PictureFinder(tmp_path).find("a.jpg")


def test_a_large_folder_is_gone_through_once(tmp_path):
    count = 5000
    put(tmp_path, *(f"{number}.png" for number in range(count)))
    finder = PictureFinder(tmp_path)
    begin = time.process_time()
    assert all(finder.find(f"{number}.jpg").suffix == ".png" for number in range(count))
    assert time.process_time() - begin < 5  # .3 s; going through it for each would take a minute
