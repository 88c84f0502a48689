"""Walking through folders."""

import os
import sys

import pytest

from arcface_paddle.data.tree import files_below, subfolders, system_folders
from arcface_paddle.errors import DataError


def put(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_files_come_sorted_by_code_point_depth_first(tmp_path):
    put(tmp_path, "b.jpg", "a/2.jpg", "a/1/x.jpg", "B.jpg", "é/1.jpg", "a.jpg")
    assert list(files_below(tmp_path)) == ["B.jpg", "a/1/x.jpg", "a/2.jpg", "a.jpg", "b.jpg", "é/1.jpg"]
    assert list(files_below(tmp_path, "a")) == ["a/1/x.jpg", "a/2.jpg"]
    assert list(subfolders(tmp_path)) == ["a", "é"]


def test_hidden_and_system_names_are_nobody(tmp_path):
    put(
        tmp_path,
        ".a/1.jpg",
        "a/.1.jpg",
        "a/1.jpg",
        "a/@eaDir/1.jpg",
        "#Recycle/1.jpg",
        "lost+found/x",
        "#recycle2/1.jpg",
    )
    assert list(subfolders(tmp_path)) == ["#recycle2", "a"]
    assert system_folders(tmp_path) == ["#Recycle", "lost+found"]
    assert list(files_below(tmp_path)) == ["#recycle2/1.jpg", "a/1.jpg"]
    (tmp_path / "a/lost+found").write_bytes(b"a file of that name is a file")
    assert "a/lost+found" in list(files_below(tmp_path))


def test_links_are_followed_but_never_in_circles(tmp_path):
    put(tmp_path, "in/a/1.jpg", "out/2.jpg")
    (tmp_path / "in/b").symlink_to(tmp_path / "out")
    (tmp_path / "in/a/up").symlink_to(tmp_path / "in")
    (tmp_path / "in/self").symlink_to("self")
    (tmp_path / "in/gone").symlink_to("nowhere")
    assert list(files_below(tmp_path / "in")) == ["a/1.jpg", "b/2.jpg", "gone", "self"]
    assert list(subfolders(tmp_path / "in")) == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "message"), [("none", "none: no such folder"), ("file", "file: is a file; a folder is expected")]
)
@pytest.mark.parametrize("walk", [subfolders, files_below, system_folders])
def test_what_is_no_folder(tmp_path, walk, name, message):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(DataError, match=message):
        list(walk(tmp_path / name))


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_may_not_be_listed(tmp_path):
    put(tmp_path, "a/1.jpg")
    (tmp_path / "a").chmod(0)
    try:
        with pytest.raises(DataError, match="a: cannot be listed: Permission denied"):
            list(files_below(tmp_path))
    finally:
        (tmp_path / "a").chmod(0o700)
