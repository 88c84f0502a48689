"""When a photograph was taken: good, partial and broken EXIF, and the order that follows."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from PIL import Image

from arcface_paddle import images
from arcface_paddle.errors import ImageError
from arcface_paddle.library.capture_time import capture_time, from_text, sort_key, to_text

ORIGINAL, SUBSEC, OFFSET = 0x9003, 0x9291, 0x9011
DIGITIZED, CHANGED = 0x9004, 0x0132


def written(path: Path, *, tags: dict[int, str], orientation: int = 1) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exposure = {tag: value for tag, value in tags.items() if tag != CHANGED}
    if CHANGED in tags:
        exif[CHANGED] = tags[CHANGED]
    exif[0x8769] = exposure
    Image.new("RGB", (40, 20)).save(path, exif=exif)
    return path


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_time_fraction_and_zone_of_a_file(tmp_path, suffix):
    path = written(tmp_path / f"a{suffix}", tags={ORIGINAL: "2024:05:01 12:30:07", SUBSEC: "25", OFFSET: "+02:00"})
    header = images.read_header(path)
    assert header.stored_size_wh == (40, 20)
    expected = datetime(2024, 5, 1, 12, 30, 7, 250000, timezone(timedelta(hours=2)))
    assert capture_time(header.exif) == expected
    assert from_text(to_text(capture_time(header.exif))) == expected


def test_the_exposure_counts_before_the_scan_and_that_before_the_last_change(tmp_path):
    tags = {ORIGINAL: "2001:01:01 00:00:00", DIGITIZED: "2002:01:01 00:00:00", CHANGED: "2003:01:01 00:00:00"}
    years = []
    for gone in (None, ORIGINAL, DIGITIZED, CHANGED):
        tags.pop(gone, None)
        taken = capture_time(images.read_header(written(tmp_path / "a.jpg", tags=tags)).exif)
        years.append(taken.year if taken else None)
    assert years == [2001, 2002, 2003, None]


@pytest.mark.parametrize(
    "value",
    [
        *("0000:00:00 00:00:00", "    :  :     :  :  ", "2024:13:01 00:00:00", "2024:02:30 00:00:00", "yesterday"),
        *("", 7, None, "2024:05:01", "2024:05:01 24:00:00", b"\xff\xfe", ("2024",)),
    ],
)
def test_a_broken_time_is_none_and_the_next_field_counts(value):
    assert capture_time({ORIGINAL: value}) is None
    assert capture_time({ORIGINAL: value, CHANGED: "2020:02:03 04:05:06"}) == datetime(2020, 2, 3, 4, 5, 6)


@pytest.mark.parametrize("offset", ["", "   :  ", "+2", "+25:00", "+02:99", "Berlin", 2])
def test_a_broken_zone_or_fraction_leaves_the_time(offset):
    tags = {ORIGINAL: "2024:05:01 12:00:00\0", OFFSET: offset, SUBSEC: "x²"}
    assert capture_time(tags) == datetime(2024, 5, 1, 12)


def test_fractions_are_decimals():
    times = [capture_time({ORIGINAL: "2024:05:01 12:00:00", SUBSEC: text}) for text in ("5", "50  ", "500", "5000000")]
    assert [taken.microsecond for taken in times] == [500_000] * 4


def test_pictures_are_ordered_by_the_clock_on_the_wall_and_those_without_a_time_come_last():
    camera = datetime(2024, 5, 1, 12, 1)
    phone = [datetime(2024, 5, 1, 12, minute, tzinfo=timezone(timedelta(hours=8))) for minute in (0, 2)]
    assert sorted([None, phone[1], camera, phone[0]], key=sort_key) == [phone[0], camera, phone[1], None]


def test_a_header_of_what_is_no_picture_is_an_error(tmp_path):
    text = tmp_path / "a.jpg"
    text.write_text("no picture")
    for path in (text, tmp_path / "gone.jpg"):
        with pytest.raises(ImageError, match=path.name):
            images.read_header(path)


def test_damaged_exif_leaves_the_size(tmp_path):
    path = written(tmp_path / "a.jpg", tags={ORIGINAL: "2024:05:01 12:30:07"})
    content = path.read_bytes()
    at = content.index(b"Exif\0\0") + 6
    path.write_bytes(content[:at] + b"\xff" * 24 + content[at + 24 :])
    header = images.read_header(path)
    assert header.stored_size_wh == (40, 20)
    assert capture_time(header.exif) is None
