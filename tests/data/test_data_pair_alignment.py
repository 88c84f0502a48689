"""From photographs and a list of pairs to a verification set."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.data.align import open_face_cutter
from arcface_paddle.data.pair_alignment import FOLDS, align_pairs, fold_balance, photographs_of
from arcface_paddle.data.pairs import Pair, read_pair_list
from arcface_paddle.errors import DataError

DEMO = Path(__file__).resolve().parents[2] / "demo"
PHOTOGRAPHS = {
    "Grace_Hopper/Grace_Hopper_0001.jpg": "gallery/Grace Hopper/portrait_1984.jpg",
    "Grace_Hopper/Grace_Hopper_0002.jpg": "queries/hopper_relit.jpg",
    "Joe_Biden/Joe_Biden_0001.jpg": "queries/biden_relit.jpg",
}


@pytest.fixture
def lfw(tmp_path):
    """Photographs as LFW lays them out, and a wall in which nobody is."""
    for name, source in PHOTOGRAPHS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(DEMO / source, tmp_path / name)
    images.write_image(tmp_path / "Joe_Biden/Joe_Biden_0002.jpg", np.full((250, 250, 3), 90, np.uint8))
    (tmp_path / "pairs.txt").write_text(
        "1\t2\nGrace_Hopper\t1\t2\nJoe_Biden\t1\t2\nGrace_Hopper\t1\tJoe_Biden\t1\nGrace_Hopper\t2\tJoe_Biden\t2\n"
    )
    return tmp_path


@pytest.fixture
def cutter():
    return open_face_cutter("BlazeFace", "MobileFace", faces="centre")


def test_pairs_are_aligned_and_those_without_a_face_left_out(lfw, cutter):
    (lfw / "Joe_Biden/Joe_Biden_0003.jpg").write_bytes(b"\xff\xd8\xff damaged")
    with (lfw / "pairs.txt").open("a") as stream:
        stream.write("Joe_Biden\t1\t3\n")
    done = []
    aligned = align_pairs(read_pair_list(lfw / "pairs.txt"), cutter, progress=done.append)
    assert aligned.issame == [True, False] and aligned.several == 0 and sum(done) == 5
    assert [place.rpartition(":")[2] for place, _ in aligned.left_out] == ["3", "5", "6"]
    assert [reason.rpartition("/")[2] for _, reason in aligned.left_out][:2] == [
        "Joe_Biden_0002.jpg: no face found"
    ] * 2
    assert "Joe_Biden_0003.jpg: " in aligned.left_out[2][1]
    order = ["Grace_Hopper/Grace_Hopper_0001.jpg", "Grace_Hopper/Grace_Hopper_0002.jpg"]
    order += ["Grace_Hopper/Grace_Hopper_0001.jpg", "Joe_Biden/Joe_Biden_0001.jpg"]
    for content, name in zip(aligned.pictures, order):
        expected = cutter.cut(images.read_image(lfw / name)).crop
        assert expected.shape == (112, 112, 3)
        np.testing.assert_array_equal(images.decode_image(content), expected)


def test_no_pair_is_left(lfw, cutter):
    (lfw / "pairs.txt").write_text("Joe_Biden/Joe_Biden_0002.jpg\tJoe_Biden/Joe_Biden_0002.jpg\t1\n")
    with pytest.raises(DataError, match=r"none of the 1 pairs is left; .*pairs\.txt:1: .*0002\.jpg: no face found"):
        align_pairs(read_pair_list(lfw / "pairs.txt"), cutter)


def test_a_missing_photograph_is_said_first(lfw):
    (lfw / "Joe_Biden/Joe_Biden_0002.jpg").unlink()
    pairs = read_pair_list(lfw / "pairs.txt")
    with pytest.raises(DataError, match=r"pairs\.txt:3: .*Joe_Biden_0002\.jpg: no such file"):
        photographs_of(pairs)
    assert photographs_of(pairs[:1]) == [pairs[0].first, pairs[0].second]


@pytest.mark.parametrize("count", [1, 5, 20])
def test_left_out_pairs_leave_the_folds_balanced(lfw, count):
    """A list in LFW's order, each fold first the genuine pairs and then the impostor ones."""
    face, wall = lfw / "Joe_Biden/Joe_Biden_0001.jpg", lfw / "Joe_Biden/Joe_Biden_0002.jpg"
    issame = ([True] * 30 + [False] * 30) * FOLDS
    assert fold_balance(issame) == (30, 30, 30, 30)
    lost = set(np.random.default_rng(count).choice(len(issame), count, replace=False).tolist())
    pairs = [Pair(face, wall if number in lost else face, same, f"x:{number}") for number, same in enumerate(issame)]
    aligned = align_pairs(pairs, open_face_cutter("BlazeFace", "MobileFace"))
    assert {place for place, _ in aligned.left_out} == {f"x:{number}" for number in lost}
    kept = [same for number, same in enumerate(issame) if number not in lost]
    assert sum(aligned.issame) == sum(kept) and len(aligned.issame) == len(kept)
    most_lost = max(sum(number // 60 == fold for number in lost) for fold in range(FOLDS))
    fewest_same, most_same, fewest_other, most_other = fold_balance(aligned.issame)
    assert most_same - fewest_same <= 1 + most_lost and most_other - fewest_other <= 1 + most_lost
    folds = np.array_split(np.array(aligned.issame), FOLDS)
    assert (fewest_same, most_same) == (min(map(np.sum, folds)), max(map(np.sum, folds)))
    without = [pair for pair in pairs if pair.second == face]
    assert align_pairs(without, open_face_cutter("BlazeFace", "MobileFace")).issame == kept  # nothing is moved


def test_a_photograph_of_many_pairs_is_aligned_once(lfw, cutter):
    path = lfw / "Grace_Hopper/Grace_Hopper_0001.jpg"
    done = []
    aligned = align_pairs([Pair(path, path, True, f"x:{number}") for number in range(50)], cutter, progress=done.append)
    assert sum(done) == 1 and len(aligned.pictures) == 100 and len({id(picture) for picture in aligned.pictures}) == 1
