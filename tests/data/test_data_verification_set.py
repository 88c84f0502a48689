"""Verification sets: all published spellings in, our own out, pairs from lists and datasets."""

import os
import pickle
import random

import numpy as np
import pytest
from published_layouts import bin_bytes, face_jpeg, write_image_set

from arcface_paddle import images
from arcface_paddle.data import VerificationSet, open_dataset, read_verification_set, write_verification_set
from arcface_paddle.data.pairs import draw_pairs, load_pairs, pairs_from_dataset, read_pair_list
from arcface_paddle.errors import ConfigError, DataError, ImageError

PICTURES = [face_jpeg(number) for number in range(4)]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("as_array", [False, True], ids=["bytes", "arrays"])
@pytest.mark.parametrize("flags", [[True, False], [np.bool_(True), np.bool_(False)], np.array([True, False]), [1, 0]])
def test_reads_what_others_pickle(tmp_path, protocol, as_array, flags):
    pictures = [np.frombuffer(picture, np.uint8) for picture in PICTURES] if as_array else PICTURES
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps((pictures, flags), protocol))
    loaded = read_verification_set(tmp_path / "lfw.bin")
    assert loaded.name == "lfw" and len(loaded) == 2 and loaded.images == PICTURES
    assert loaded.issame.dtype == bool and loaded.issame.tolist() == [True, False]
    np.testing.assert_array_equal(loaded.decode(3), images.decode_crop(PICTURES[3]))


def test_reads_a_python_2_pickle(tmp_path):
    def text(content):
        return b"T" + len(content).to_bytes(4, "little") + content

    body = b"".join(map(text, PICTURES))
    (tmp_path / "lfw.bin").write_bytes(b"\x80\x02](" + body + b"e](\x88\x89e\x86.")
    loaded = read_verification_set(tmp_path / "lfw.bin")
    assert loaded.images == PICTURES and loaded.issame.tolist() == [True, False]


def test_other_sizes_are_resized():
    assert VerificationSet("x", [face_jpeg(0, side=160)] * 2, np.array([True])).decode(0).shape == (112, 112, 3)
    with pytest.raises(ImageError, match="x: picture 1"):
        VerificationSet("x", [b"a", b"b"], np.array([True])).decode(1)


class Payload:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_malicious_set_is_not_executed(tmp_path):
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps((PICTURES, [True, Payload(tmp_path / "bait")])))
    with pytest.raises(DataError, match=r"lfw\.bin: the pickle asks for posix\.mkdir"):
        read_verification_set(tmp_path / "lfw.bin")
    assert not (tmp_path / "bait").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps((PICTURES, [True])), "4 pictures for 1 pairs"),
        (pickle.dumps(([], [])), "0 pictures for 0 pairs"),
        (pickle.dumps((PICTURES, [True, 2])), "issame of pair 1 is 2"),
        (pickle.dumps((["text"] * 4, [True, False])), "picture 0 is of type str"),
        (pickle.dumps(([np.zeros(4, np.float32)] * 4, [True, False])), "picture 0 is of type ndarray"),
        (pickle.dumps({"bins": []}), "expected a pair"),
        (pickle.dumps((b"ab", [True])), "expected lists"),
        (pickle.dumps((PICTURES, [True, False]))[:-20], "damaged pickle"),
        (bin_bytes(b"a.jpg", PICTURES[0], 4), "damaged pickle"),
    ],
)
def test_wrong_sets_are_named(tmp_path, content, message):
    (tmp_path / "lfw.bin").write_bytes(content)
    with pytest.raises(DataError, match=rf"lfw\.bin: .*{message}"):
        read_verification_set(tmp_path / "lfw.bin")
    with pytest.raises(DataError, match="no such verification set"):
        read_verification_set(tmp_path / "other.bin")


def test_written_sets_are_plain_pickles_with_the_same_bytes_each_time(tmp_path):
    same_object = PICTURES[0]
    write_verification_set(tmp_path / "a.bin", [same_object, same_object, *PICTURES[2:]], [True, np.bool_(False)])
    write_verification_set(tmp_path / "b.bin", [bytes(bytearray(same_object)), *PICTURES[:1], *PICTURES[2:]], [1, 0])
    content = (tmp_path / "a.bin").read_bytes()
    assert content == (tmp_path / "b.bin").read_bytes()
    bins, issame = pickle.loads(content, encoding="bytes")  # what the published readers do
    assert bins == [same_object, same_object, *PICTURES[2:]] and issame == [True, False]
    assert [type(flag) for flag in issame] == [bool, bool]
    assert read_verification_set(tmp_path / "a.bin").images == bins
    with pytest.raises(DataError, match="3 pictures for 2 pairs"):
        write_verification_set(tmp_path / "c.bin", PICTURES[:3], [True, False])


@pytest.mark.parametrize("separator", ["\t", " "])
def test_pair_lists(tmp_path, separator):
    for number, picture in enumerate(PICTURES):
        (tmp_path / f"{number}.jpg").write_bytes(picture)
    (tmp_path / "4.bin").write_bytes(bin_bytes(b"4.jpg", PICTURES[0], 4))
    rows = [("0.jpg", "1.jpg", "1"), ("2.jpg", "4.bin", "0")]
    (tmp_path / "pairs.txt").write_text("\ufeff# mine\n\n" + "\n".join(separator.join(row) for row in rows), "utf-8")
    pictures, issame = load_pairs(read_pair_list(tmp_path / "pairs.txt"))
    assert pictures == [*PICTURES[:3], PICTURES[0]] and issame == [True, False]
    (tmp_path / "lists").mkdir()
    (tmp_path / "pairs.txt").rename(tmp_path / "lists/pairs.txt")
    assert load_pairs(read_pair_list(tmp_path / "lists/pairs.txt", root=tmp_path)) == (pictures, issame)


def test_lfw_pairs(tmp_path):
    for name, number, suffix in [("Ann_A", 1, "jpg"), ("Ann_A", 12, "jpg"), ("Bob", 3, "png")]:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / f"{name}_{number:04d}.{suffix}").write_bytes(PICTURES[number % 4])
    (tmp_path / "pairs.txt").write_text("10\t300\nAnn_A\t1\t12\nAnn_A\t12\tBob\t3\n")
    pictures, issame = load_pairs(read_pair_list(tmp_path / "pairs.txt"))
    assert pictures == [PICTURES[1], PICTURES[0], PICTURES[0], PICTURES[3]] and issame == [True, False]


@pytest.mark.parametrize("suffix", ["png", "bin", "jpg.png"])
def test_lists_of_photographs_find_what_was_made_of_them(tmp_path, suffix):
    (tmp_path / "Ann_A").mkdir()
    for number in (1, 2):
        content = PICTURES[number] if suffix != "bin" else bin_bytes(b"x.jpg", PICTURES[number], 4)
        (tmp_path / f"Ann_A/Ann_A_{number:04d}.{suffix}").write_bytes(content)
    (tmp_path / "pairs.txt").write_text("10\t300\nAnn_A\t1\t2\n")
    assert load_pairs(read_pair_list(tmp_path / "pairs.txt")) == ([PICTURES[1], PICTURES[2]], [True])
    (tmp_path / "pairs.txt").write_text("Ann_A/Ann_A_0001.jpg\tAnn_A/Ann_A_0002.jpg\t1\n")
    assert load_pairs(read_pair_list(tmp_path / "pairs.txt")) == ([PICTURES[1], PICTURES[2]], [True])
    (tmp_path / "Ann_A/Ann_A_0002.webp").write_bytes(PICTURES[0])
    if suffix != "jpg.png":  # which names its photograph in full
        with pytest.raises(DataError, match=r"pairs\.txt:1: .*Ann_A_0002\.jpg: no such file, and 2 pictures"):
            read_pair_list(tmp_path / "pairs.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no pair in the list"),
        ("10 300\n", "no pair in the list"),
        ("a.jpg\tb.jpg\n", r"pairs\.txt:1: .* is not path1"),
        ("\na.jpg\tb.jpg\t2\n", r"pairs\.txt:2"),
        ("a.jpg b.jpg c.jpg 1\n", r"pairs\.txt:1"),
        ("a.jpg\tb.jpg\t1\n", r"pairs\.txt:1: .*a\.jpg: no such file"),
        ("10\nAnn 1\n", r"pairs\.txt:2: .* LFW"),
        ("10\nAnn 1 x\n", r"pairs\.txt:2: .* LFW"),
    ],
)
def test_wrong_pair_lists_name_the_line(tmp_path, content, message):
    (tmp_path / "pairs.txt").write_text(content)
    with pytest.raises(DataError, match=message):
        load_pairs(read_pair_list(tmp_path / "pairs.txt"))


def test_pair_list_with_a_file_that_is_no_picture(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"text")
    (tmp_path / "pairs.txt").write_text("a.jpg\ta.jpg\t1\n")
    with pytest.raises(DataError, match=r"pairs\.txt:1: .*a\.jpg: not a picture"):
        load_pairs(read_pair_list(tmp_path / "pairs.txt"))
    with pytest.raises(DataError, match="no such list"):
        read_pair_list(tmp_path / "other.txt")


def test_drawn_pairs_are_distinct_true_and_balanced_in_every_fold():
    labels = np.array(random.Random(0).choices(range(40), k=400))
    drawn = draw_pairs(labels, 600, seed=1)
    assert drawn == draw_pairs(labels, 600, seed=1) != draw_pairs(labels, 600, seed=2)
    assert len({frozenset(pair[:2]) for pair in drawn}) == 600
    assert all((labels[first] == labels[second]) == same and first != second for first, second, same in drawn)
    folds = np.array([same for _, _, same in drawn]).reshape(10, 60)
    assert (folds.sum(axis=1) == 30).all()


def test_all_pairs_of_a_small_set_can_be_drawn():
    labels = np.array([0, 0, 1, 1, 2])
    assert {pair[:2] for pair in draw_pairs(labels, 4, seed=0) if pair[2]} == {(0, 1), (2, 3)}
    with pytest.raises(DataError, match="3 genuine pairs asked for, but the dataset has 2"):
        draw_pairs(labels, 6, seed=0)
    with pytest.raises(DataError, match="1 impostor pairs asked for, but the dataset has 0"):
        draw_pairs(np.zeros(5, int), 2, seed=0)
    with pytest.raises(ConfigError, match="even"):
        draw_pairs(labels, 3, seed=0)


def test_pairs_from_a_dataset(tmp_path):
    pictures = write_image_set(tmp_path, [0, 0, 0, 1, 1, 2])
    chosen, issame = pairs_from_dataset(open_dataset(tmp_path), 4, seed=3)
    assert issame == [True, False, True, False] and set(chosen) <= set(pictures) and len(chosen) == 8
    (tmp_path / "images/00000000.jpg").write_bytes(b"text")
    with pytest.raises(ImageError, match=r"00000000\.jpg: not a picture"):
        pairs_from_dataset(open_dataset(tmp_path), 8, seed=3)
