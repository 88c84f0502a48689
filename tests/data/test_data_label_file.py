"""label.txt: what is read, what is refused and how it is said."""

import random
import re
import time
import tracemalloc

import numpy as np
import pytest

from arcface_paddle.data import label_file
from arcface_paddle.data.label_file import read_label_file, write_label_file
from arcface_paddle.errors import DataError


def read(tmp_path, content):
    path = tmp_path / "label.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    samples = read_label_file(path)
    return [(samples.paths[index], int(samples.labels[index])) for index in range(len(samples))]


@pytest.mark.parametrize(
    "content",
    [
        b"a.jpg\t0\nb c.jpg\t12\n",
        b"a.jpg\t0\nb c.jpg\t12",
        b"a.jpg\t0\r\nb c.jpg\t12\r\n",
        b"\xef\xbb\xbfa.jpg\t0\r\nb c.jpg\t12",
        b"# path\tlabel\n#\n\na.jpg\t0\n   \n\r\n#b\t1\nb c.jpg\t012\n",
    ],
    ids=["plain", "no last newline", "crlf", "bom", "comments and blanks"],
)
def test_accepted_spellings(tmp_path, content):
    assert read(tmp_path, content) == [("a.jpg", 0), ("b c.jpg", 12)]


def test_largest_label_and_unicode_paths(tmp_path):
    assert read(tmp_path, "图像/一.jpg\t2147483647\né.jpg\t1\n") == [("图像/一.jpg", 2147483647), ("é.jpg", 1)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"a.jpg 0", "path and label are separated by spaces; use one tab: 'a.jpg 0'"),
        (b"a.jpg", "the label is missing: 'a.jpg'"),
        (b"a.jpg\t", "the label is missing"),
        (b"a.jpg\t ", "the label is missing"),
        (b"\t0", "the path is missing"),
        (b"a.jpg\t0\t1", "3 columns"),
        (b"a.jpg\t-1", "negative label -1"),
        (b"a.jpg\t2147483648", "label 2147483648 is too large"),
        (b"a.jpg\t99999999999999999999999", "is too large"),
        (b"a.jpg\tBob", "the label 'Bob' is not an integer"),
        (b"a.jpg\t1.0", "the label '1.0' is not an integer"),
        (b"a.jpg\t0x1", "not an integer"),
        (b"a.jpg\t 1", "must be plain digits"),
        (b"a.jpg\t+1", "must be plain digits"),
        (b"\xff\xfe.jpg\t1", "is not UTF-8"),
        (b"a\0.jpg\t1", "a zero byte"),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""], ids=["lf", "crlf", "eof"])
def test_wrong_lines_are_named_by_file_and_line(tmp_path, line, message, end):
    path = tmp_path / "label.txt"
    path.write_bytes(b"# comment\nfine.jpg\t0\n\nfine.jpg\t1\n" + line + end)
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}:5: .*{re.escape(message)}"):
        read_label_file(path)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"# nothing\n", b"\xef\xbb\xbf"])
def test_empty_files(tmp_path, content):
    with pytest.raises(DataError, match="no sample in the label file"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    "content",
    [
        b"a.jpg 0\nb.jpg 12\n",
        b"\xef\xbb\xbf# a tab\there\n\na.jpg 0\r\n#b\tc d\r\n  \r\nb.jpg 12",
        b"a.jpg 0\nb.jpg 012\n",
    ],
)
def test_a_file_separated_by_one_space_as_the_published_page_prints_it(tmp_path, content):
    assert read(tmp_path, content) == [("a.jpg", 0), ("b.jpg", 12)]
    assert read_label_file(tmp_path / "label.txt").is_spaced
    (tmp_path / "tabs.txt").write_bytes(b"a b 0\t0\na.jpg\t0\n")
    assert not read_label_file(tmp_path / "tabs.txt").is_spaced


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"b c.jpg 1", "ambiguous: 2 spaces, where the path ends is not certain: 'b c.jpg 1'"),
        (b"b.jpg  1", "ambiguous: 2 spaces"),
        (b"b.jpg 1 ", "ambiguous: 2 spaces"),
        (b"b c\t1", "a tab, but the first sample is separated by a space: 'b c\\\\t1'"),
        (b"b.jpg\t1", "a tab, but the first sample"),
        (b"b.jpg", "the label is missing: 'b.jpg'"),
        (b"b.jpg x", "the label 'x' is not an integer"),
        (b"b.jpg -1", "negative label -1"),
        (b" 1", "the path is missing"),
    ],
)
def test_ambiguous_lines_of_a_spaced_file_are_refused(tmp_path, monkeypatch, line, message):
    monkeypatch.setattr(label_file, "_BLOCK_BYTES", 16)
    with pytest.raises(DataError, match=rf"^.*label\.txt:3: {message}"):
        read(tmp_path, b"a.jpg 0\nc.jpg 1\n" + line + b"\nd.jpg 2\n")
    with pytest.raises(DataError, match=r"label\.txt:1: .*use one tab"):
        read(tmp_path, b"my face.jpg 0\nc.jpg 1\n")


def test_utf16_and_missing_file(tmp_path):
    with pytest.raises(DataError, match="UTF-16"):
        read(tmp_path, "a\t0\n".encode("utf-16"))
    with pytest.raises(DataError, match="no such label file"):
        read_label_file(tmp_path / "other.txt")
    with pytest.raises(DataError, match="cannot be read"):
        read_label_file(tmp_path)


def slow_twin(content):
    """The obvious reader."""
    rows = []
    for line in content.decode("utf-8-sig").split("\n"):
        line = line[:-1] if line.endswith("\r") else line
        if not line.strip() or line.startswith("#"):
            continue
        path, label = line.split("\t")
        rows.append((path, int(label)))
    return rows


@pytest.mark.parametrize("seed", range(20))
def test_equals_the_obvious_reader_across_block_borders(tmp_path, monkeypatch, seed):
    chance = random.Random(seed)
    monkeypatch.setattr(label_file, "_BLOCK_BYTES", chance.choice([1, 7, 64, 1000]))
    lines = []
    for _ in range(chance.randrange(1, 200)):
        path = "".join(chance.choice("ab/ é#") for _ in range(chance.randrange(1, 30))).lstrip("#") or "x"
        label = chance.randrange(10 ** chance.randrange(1, 10))
        lines.append(chance.choice([f"{path}\t{label}"] * 8 + ["", "  ", "# note\twith tab"]))
    content = ("x\t0\n" + "".join(line + chance.choice(["\n", "\r\n"]) for line in lines)).encode()
    assert read(tmp_path, content) == slow_twin(content)


def test_wrong_line_in_a_later_block_has_the_right_number(tmp_path, monkeypatch):
    monkeypatch.setattr(label_file, "_BLOCK_BYTES", 50)
    with pytest.raises(DataError, match=r"label\.txt:901: negative"):
        read(tmp_path, "a.jpg\t0\n" * 900 + "b.jpg\t-5\n" + "a.jpg\t0\n" * 100)


def test_write_and_read_back(tmp_path):
    samples = [("a b.jpg", 0), ("图/1.jpg", 7)]
    assert write_label_file(tmp_path / "new/label.txt", samples) == 2
    assert read(tmp_path, (tmp_path / "new/label.txt").read_bytes()) == samples
    for bad in [("a\tb", 0), ("a\nb", 0), ("#a", 0), ("", 0), ("a", -1), ("a", 2**31)]:
        with pytest.raises(DataError):
            write_label_file(tmp_path / "bad.txt", [bad])
    assert not (tmp_path / "bad.txt").exists()


def test_a_million_lines_start_fast_and_small(tmp_path):
    path = tmp_path / "label.txt"
    path.write_bytes(b"".join(b"images/%08d.bin\t%d\n" % (number, number // 68) for number in range(1_000_000)))
    tracemalloc.start()
    try:
        begin = time.process_time()
        samples = read_label_file(path)
        seconds = time.process_time() - begin
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(samples.labels, np.arange(1_000_000) // 68)
    assert samples.paths[999_999] == "images/00999999.bin"
    # The bar is 5 s and 1 GB for 5.8 million lines; here a sixth of it.
    assert seconds < 0.86 and peak_bytes < 172e6
