"""Files that a list calls by another spelling of their names."""

import os
import unicodedata
from pathlib import Path

import pytest

from arcface_paddle.pipeline.file_names import FileFinder, find_file

NFC, NFD = (unicodedata.normalize(form, "José") for form in ("NFC", "NFD"))


def put(path, content="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


@pytest.fixture
def keeps_forms(tmp_path):
    """Leave out what a file system that changes the forms of names itself cannot show."""
    put(tmp_path / "probe" / NFD)
    if (tmp_path / "probe" / NFC).exists():
        pytest.skip("this file system takes both forms for one name")


@pytest.mark.usefixtures("keeps_forms")
@pytest.mark.parametrize(("on_disk", "listed"), [(NFD, NFC), (NFC, NFD)], ids=["from-a-mac", "to-a-mac"])
def test_unicode_forms(tmp_path, on_disk, listed):
    wanted = put(tmp_path / on_disk / "deep" / f"{on_disk}.jpg")
    for name in (f"{listed}/deep/{listed}.jpg", f"{on_disk}/deep/{listed}.jpg", f".\\{listed}\\deep\\{listed}.jpg"):
        assert find_file(tmp_path, name) == wanted


@pytest.mark.usefixtures("keeps_forms")
def test_the_exact_name_comes_first(tmp_path):
    both = [put(tmp_path / f"{name}.jpg") for name in (NFC, NFD)]
    assert [find_file(tmp_path, f"{name}.jpg") for name in (NFC, NFD)] == both


@pytest.mark.parametrize("listed", ["a/b.jpg", "./a/b.jpg", ".\\a\\b.jpg", "a\\b.jpg", "a\\.\\b.jpg"])
def test_spellings_of_windows(tmp_path, listed):
    wanted = put(tmp_path / "a/b.jpg")
    assert find_file(tmp_path, listed).samefile(wanted)


@pytest.mark.skipif(os.sep == "\\", reason="there a backslash always separates")
def test_a_backslash_can_be_part_of_a_name(tmp_path):
    exact = put(tmp_path / "a\\b.jpg")
    put(tmp_path / "a/b.jpg")
    assert find_file(tmp_path, "a\\b.jpg") == exact


@pytest.mark.parametrize("listed", ["none.jpg", "a\\none.jpg", f"{NFC}/{NFC}.jpg", "nul\0.jpg", "x" * 300])
def test_what_is_not_there_keeps_its_name(tmp_path, listed):
    put(tmp_path / "a/b.jpg")
    assert find_file(tmp_path, listed) == tmp_path / listed


def test_absolute_paths_and_steps_upwards(tmp_path):
    wanted = put(tmp_path / "a" / f"{NFD}.jpg")
    assert find_file("elsewhere", str(wanted)) == wanted
    assert find_file(tmp_path / "a", f"../a/{NFC}.jpg").samefile(wanted)
    assert find_file("elsewhere", str(tmp_path / "a" / f"{NFC}.jpg")).samefile(wanted)


@pytest.mark.usefixtures("keeps_forms")
def test_a_folder_is_listed_once_for_a_whole_list_and_never_for_plain_names(tmp_path, monkeypatch):
    wanted = [put(tmp_path / f"{NFD} {number}.jpg") for number in range(5)]
    listed_folders = []
    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: listed_folders.append(path) or iterdir(path))
    finder = FileFinder(tmp_path)
    assert finder.find("missing.jpg") == tmp_path / "missing.jpg" and listed_folders == []
    assert [finder.find(f"{NFC} {number}.jpg") for number in range(5)] == wanted
    assert listed_folders == [tmp_path]
