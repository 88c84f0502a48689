"""Verification sets by the names that users give: what is found, what is missing, what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.evaluation.ranks import is_main, joined_ranks
from arcface_paddle.evaluation.sets import find_sets

sys.path.insert(0, str(Path(__file__).parent))
from painted_people import write_pairs


@pytest.fixture
def folder(tmp_path):
    for name in ("own", "lfw"):
        write_pairs(tmp_path / f"{name}.bin", pairs=2)
    return tmp_path


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        ("lfw,own", ["lfw", "own"]),
        ("own, lfw", ["own", "lfw"]),
        ("own.bin", ["own"]),
        (" lfw ,, ", ["lfw"]),
        ("all", ["lfw", "own"]),
    ],
)
def test_names_in_the_order_asked_for(folder, targets, names):
    found = find_sets(folder, targets)
    assert list(found.sets) == names
    assert found.missing == ()
    assert all(len(found.sets[name]) == 2 for name in names)


def test_a_path_goes_before_a_name_of_the_folder(folder, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write_pairs(elsewhere / "lfw.bin", pairs=5)
    assert len(find_sets(folder, str(elsewhere / "lfw.bin")).sets["lfw"]) == 5
    monkeypatch.chdir(elsewhere)
    assert len(find_sets(folder, "lfw.bin").sets["lfw"]) == 5
    assert len(find_sets(folder, "lfw").sets["lfw"]) == 2


def test_what_is_missing_is_told_and_the_rest_is_read(folder, capsys):
    found = find_sets(folder, "lfw,cfp_fp,agedb_30.bin")
    assert list(found.sets) == ["lfw"]
    assert found.missing == (folder / "cfp_fp.bin", folder / "agedb_30.bin")
    assert capsys.readouterr() == ("", "")  # a library says nothing


@pytest.mark.parametrize("targets", ["none", "None", " NONE "])
def test_none_leaves_nothing_to_evaluate(folder, targets):
    with pytest.raises(ConfigError, match="nothing to evaluate"):
        find_sets(folder, targets)


@pytest.mark.parametrize("targets", ["", ",", "cfp_fp", "all"])
def test_not_one_set(tmp_path, targets):
    with pytest.raises(DataError, match=r"no verification set found: .* expected files such as .*lfw\.bin"):
        find_sets(tmp_path, targets)


def test_two_sets_of_one_name(folder, tmp_path_factory):
    other = write_pairs(tmp_path_factory.mktemp("other") / "lfw.bin", pairs=2)
    with pytest.raises(DataError, match="a second set called lfw"):
        find_sets(folder, f"lfw,{other}")


def test_a_damaged_set_is_not_left_out_in_silence(folder):
    (folder / "own.bin").write_bytes(b"no pickle")
    with pytest.raises(DataError, match=r"own\.bin"):
        find_sets(folder, "lfw,own")


def test_one_process_needs_no_group(monkeypatch):
    monkeypatch.delenv("PADDLE_TRAINERS_NUM", raising=False)
    with joined_ranks("cpu") as ranks:
        assert ranks is None
    assert is_main(None)
