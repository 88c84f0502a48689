"""Which files of a folder are pictures, and what is said of the others."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from arcface_paddle import image_headers, images
from arcface_paddle.errors import ImageError
from arcface_paddle.pipeline.inputs import find_pictures, is_system_folder

JPEG = images.encode_image(np.full((8, 8, 3), 90, np.uint8), suffix=".jpg")
HEIC = (24).to_bytes(4, "big") + b"ftypheic\0\0\0\0mif1heic" + bytes(40)
AVIF = (28).to_bytes(4, "big") + b"ftypmif1\0\0\0\0mif1avifmiaf" + bytes(40)
FILM = (24).to_bytes(4, "big") + b"ftypisom\0\0\2\0isommp41" + bytes(40)


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def names_in(listing) -> list[str]:
    return [picture.relative.as_posix() for picture in listing.pictures]


def test_content_decides_and_not_the_suffix(tmp_path):
    fill(
        tmp_path,
        {
            "a.jfif": JPEG,
            "b.JPE": JPEG,
            "c": JPEG,
            "d.dat": JPEG,
            "e.jpg": b"this is text",
            "f.png": b"",
            "g.txt": b"BM is how this text begins, and no picture does",
            "h.md": b"P6 is the sixth chapter",
            "i.pdf": b"%PDF-1.7",
            "j.mp4": FILM,
            "k.scan": images.encode_image(np.full((8, 8, 3), 90, np.uint8), suffix=".bmp"),
            "l": b"P6 2 1 255\n\x01\x02\x03\x04\x05\x06",
            "m": b"P5\n# made by hand\n1 1 255\n\x01",
        },
    )
    listing = find_pictures([tmp_path])
    # e.jpg and f.png promise to be pictures: their errors are told when they are opened
    assert names_in(listing) == ["a.jfif", "b.JPE", "c", "d.dat", "e.jpg", "f.png", "k.scan", "l", "m"]
    assert {reason: skipped.count for reason, skipped in listing.skipped.items()} == {".txt": 1, ".md": 1, ".pdf": 1}
    assert [video.path.name for video in listing.videos] == ["j.mp4"]
    assert listing.not_looked_at == 4
    assert listing.to_dict()["files"][".pdf"] == {"count": 1, "examples": [str(tmp_path / "i.pdf")]}


def test_the_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    fill(tmp_path, {f"{i}.heic": HEIC for i in range(2)})
    fill(tmp_path, {"phone.jpg": HEIC, "a.txt": b"x", "b.TXT": b"x", "c.jpg": JPEG})
    expected = "3 files were not looked at: 3 .heic (install arcface-paddle[heif]); "
    expected += "2 files are no pictures and were passed over: a.txt, b.TXT"
    assert find_pictures([tmp_path]).sentence() == expected
    fill(tmp_path, {"@eaDir/c.jpg": JPEG, ".git/x/c.jpg": JPEG})
    assert find_pictures([tmp_path]).sentence() == f"{expected}; 2 folders were not searched: .git, @eaDir"
    (tmp_path / "a.txt").unlink()
    only = find_pictures([tmp_path / "c.jpg"])
    assert only.sentence() == "" and only.not_looked_at == 0


def test_many_reasons_make_one_line(tmp_path):
    fill(tmp_path, {f"a.x{i}": b"x" for i in range(12)})
    sentence = find_pictures([tmp_path]).sentence()
    assert sentence.startswith("12 files are no pictures and were passed over: 1 ") and sentence.endswith(", 6 others")


@pytest.mark.parametrize(("content", "suffix"), [(HEIC, ".heic"), (AVIF, ".avif"), (FILM, None)])
def test_brands_of_phones(content, suffix):
    assert image_headers.suffix_by_content(content) == suffix


@pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is None, reason="needs pillow_heif")
def test_photographs_of_phones_are_pictures_where_they_can_be_decoded(tmp_path):
    fill(tmp_path, {"a.jpg": HEIC, "b.HEIC": HEIC})
    assert names_in(find_pictures([tmp_path])) == ["a.jpg", "b.HEIC"]


def test_raw_files_are_not_taken_for_tiff(tmp_path):
    for name in ("a.tif", "b.NEF"):
        Image.new("RGB", (8, 8)).save(tmp_path / name, "TIFF")
    listing = find_pictures([tmp_path])
    assert names_in(listing) == ["a.tif"] and "1 .nef (raw of a camera" in listing.sentence()


SYSTEM = ["#recycle", "@eaDir", "$RECYCLE.BIN", "lost+found", "__MACOSX", ".thumbnails", "System Volume Information",
          ".Trash-1000", ".Trash", ".git", "@Recycle", "LOST+FOUND"]  # fmt: skip


def test_system_folders_are_not_searched(tmp_path):
    for name in SYSTEM:
        assert is_system_folder(name)
        fill(tmp_path, {f"{name}/a.jpg": JPEG, f"Ada/{name}/b.jpg": JPEG})
    for name in ("Ada", "recycle", "#1", "@home", "lost and found"):
        assert not is_system_folder(name)
    fill(tmp_path, {"Ada/a.jpg": JPEG, "Ada/SYNOPHOTO_THUMB_XL.jpg": JPEG})
    listing = find_pictures([tmp_path])
    assert names_in(listing) == ["Ada/a.jpg"]
    assert listing.folders == dict.fromkeys(SYSTEM, 2) and "thumbnails of a Synology" in listing.skipped
    assert names_in(find_pictures([tmp_path / "#recycle"])) == ["a.jpg"], "a folder that is named itself is searched"


def test_hidden_pictures_are_counted_and_what_systems_leave_is_not(tmp_path):
    fill(tmp_path, {".secret.jpg": JPEG, ".DS_Store": b"\0\0\0\1Bud1", "._a.jpg": b"\0\5\x16\7", "a.jpg": JPEG})
    assert find_pictures([tmp_path]).sentence() == "1 file was not looked at: 1 hidden"


def test_what_programs_write_beside_pictures_is_missed_by_nobody(tmp_path):
    fill(tmp_path, {"a.jpg": JPEG, "a.jpg.xmp": b"<x/>", "A.XMP": b"<x/>", "picture.xmp": JPEG})
    listing = find_pictures([tmp_path])
    assert names_in(listing) == ["a.jpg", "picture.xmp"]  # content decides, here as everywhere
    assert listing.sentence() == ""


def test_several_sources_in_their_order_and_every_file_once(tmp_path):
    fill(tmp_path, {"b/2.jpg": JPEG, "b/10.jpg": JPEG, "a/1.jpg": JPEG, "a/sub/3.jpg": JPEG})
    listing = find_pictures([tmp_path / "b", tmp_path / "a" / "1.jpg", tmp_path / "a", tmp_path / "b" / "2.jpg"])
    assert [str(p.path.relative_to(tmp_path)) for p in listing.pictures] == [
        "b/10.jpg", "b/2.jpg", "a/1.jpg", "a/sub/3.jpg"]  # fmt: skip
    assert [p.root for p in listing.pictures] == [tmp_path / "b", tmp_path / "b", None, tmp_path / "a"]
    assert names_in(find_pictures([tmp_path / "a"], recursive=False)) == ["1.jpg"]
    fill(tmp_path, {"film.mp4": FILM})
    assert names_in(find_pictures([tmp_path / "film.mp4"])) == ["film.mp4"], "its own error tells more than a count"


def test_links_are_followed_but_never_in_a_circle(tmp_path):
    fill(tmp_path, {"in/a.jpg": JPEG, "elsewhere/b.jpg": JPEG})
    (tmp_path / "in" / "up").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "there").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "again.jpg").symlink_to("a.jpg")
    (tmp_path / "in" / "self").symlink_to("self")
    (tmp_path / "in" / "gone.jpg").symlink_to("none.jpg")
    listing = find_pictures([tmp_path / "in"])
    assert names_in(listing) == ["a.jpg", "there/b.jpg"]
    assert listing.not_looked_at == 2 and "links to nothing" in listing.sentence()


def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    assert find_pictures([tmp_path]).not_looked_at == 1


def test_exclude(tmp_path):
    fill(tmp_path, {"a.jpg": JPEG, "a_small.jpg": JPEG, "2019/b.jpg": JPEG, "x/2019/c.jpg": JPEG, "x/d.jpg": JPEG})
    assert names_in(find_pictures([tmp_path], exclude=["*_small.jpg"])) == [
        "2019/b.jpg", "a.jpg", "x/2019/c.jpg", "x/d.jpg"]  # fmt: skip
    assert names_in(find_pictures([tmp_path], exclude=["2019/", "a*"])) == ["x/d.jpg"]
    listing = find_pictures([tmp_path], exclude=["x/2019"])
    assert "x/2019/c.jpg" not in names_in(listing) and "2019/b.jpg" in names_in(listing)
    assert listing.sentence() == "", "what the user left out is no surprise"


def test_the_folder_of_results_is_left_out(tmp_path):
    fill(tmp_path, {"a.jpg": JPEG, "output/a.jpg": JPEG})
    listing = find_pictures([tmp_path], leave_out=[tmp_path / "output", tmp_path / "not_there_yet"])
    assert names_in(listing) == ["a.jpg"] and listing.folders == {"output": 1}
    assert names_in(find_pictures([tmp_path / "output"], leave_out=[tmp_path / "output"])) == ["a.jpg"]


def test_missing_source_and_folder_without_pictures(tmp_path):
    with pytest.raises(ImageError, match="no such file or folder"):
        find_pictures([tmp_path, tmp_path / "none"])
    fill(tmp_path, {"film.mp4": FILM})
    with pytest.raises(ImageError, match=r"holds no pictures; 1 file was not looked at: 1 \.mp4"):
        find_pictures([tmp_path]).require_pictures()


def test_an_unreadable_folder_is_said(tmp_path):
    fill(tmp_path, {"closed/a.jpg": JPEG})
    (tmp_path / "closed").chmod(0)
    try:
        if os.access(tmp_path / "closed", os.R_OK):
            pytest.skip("this user may read everything")
        assert "closed (may not be read)" in find_pictures([tmp_path]).sentence()
    finally:
        (tmp_path / "closed").chmod(0o755)
        shutil.rmtree(tmp_path / "closed")


def test_names_that_are_no_text_can_be_said(tmp_path):
    try:
        fill(tmp_path, {os.fsdecode(b"x/caf\xe9.\xe9"): b"x", os.fsdecode(b".\xe9/a"): b"x"})
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    listing = find_pictures([tmp_path])
    assert (
        listing.sentence()
        == "1 file is no picture and was passed over: caf\\xe9.\\xe9; 1 folder was not searched: .\\xe9"
    )
    assert listing.to_dict()["files"][".\\xe9"]["examples"] == [f"{tmp_path}/x/caf\\xe9.\\xe9"]
