"""The photographs that come with the package, and their copies."""

from __future__ import annotations

from pathlib import Path

import pytest

from arcface_paddle.errors import DataError
from arcface_paddle.pipeline import demo_photographs


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(demo_photographs, "_PACKAGE", tmp_path / "package")
    return tmp_path / "package"


def put(folder: Path) -> None:
    for name in (
        "gallery/label.txt",
        "gallery/Ada/1.jpg",
        "gallery/.hidden",
        "queries/2.jpg",
        "queries/more/.x",
        "other.txt",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "DEMO_PHOTOS.md").write_text("from whom")


def test_pictures_names_and_origins_are_copied_and_nothing_else(package: Path, tmp_path: Path) -> None:
    put(package / "demo_photographs")
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "mine.txt").write_text("mine")
    copies = demo_photographs.copy_photographs(tmp_path / "target")
    names = ["DEMO_PHOTOS.md", "gallery/Ada/1.jpg", "gallery/label.txt", "queries/2.jpg"]
    assert [str(copy.relative_to(tmp_path / "target")) for copy in copies] == names
    assert [copy.read_text() for copy in copies] == ["from whom", *names[1:]]
    there = [path for path in (tmp_path / "target").rglob("*") if path.is_file()]
    assert sorted(there) == sorted([*copies, tmp_path / "target" / "mine.txt"])
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        demo_photographs.copy_photographs(tmp_path / "file")


def test_they_lie_in_the_package_or_beside_it(package: Path) -> None:
    with pytest.raises(DataError, match="install arcface-paddle again"):
        demo_photographs.photographs_folder()
    put(package.parent / "demo")
    assert demo_photographs.photographs_folder() == package.parent / "demo"
    put(package / "demo_photographs")
    assert demo_photographs.photographs_folder() == package / "demo_photographs"
