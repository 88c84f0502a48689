"""Rendering on several machines: three shards are one run, bit by bit; what does not belong together is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from test_synthetic_writer import content_of

from arcface_paddle.cli.main import main
from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.synthetic import jobs
from arcface_paddle.synthetic.layout import DatasetSettings
from arcface_paddle.synthetic.shards import Shard, parse_shard
from arcface_paddle.synthetic.writer import merge_dataset, write_dataset, write_shard

SMALL = DatasetSettings(
    identities=3, images_per_identity=2, seed=6, size=32, val_identities=2, val_pairs=4, sessions_per_identity=1
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One run, and three shards of the same dataset."""
    root = tmp_path_factory.mktemp("shards")
    write_dataset(root / "whole", SMALL)
    for number in (1, 2, 3):
        report = write_shard(root / f"shard{number}", SMALL, Shard(number, 3))
        assert report.rendered_identities == len(report.people)
    return root


@pytest.fixture
def shards(folders):
    return [folders / f"shard{number}" for number in (1, 2, 3)]


@pytest.mark.parametrize("total", [1, 5, 7, 1000])
def test_shards_share_the_people_evenly_and_without_gaps(total):
    parts = [Shard(number, 3).people(total) for number in (1, 2, 3)]
    assert [person for part in parts for person in part] == list(range(total))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_three_shards_are_one_run_bit_by_bit(folders, shards, tmp_path):
    before = content_of(shards[0])
    counted = []
    report = merge_dataset(tmp_path / "set", shards[::-1], progress=counted.append)
    assert content_of(tmp_path / "set") == content_of(folders / "whole")
    assert (report.rendered_identities, sum(counted)) == (5, 10)
    assert content_of(shards[0]) == before, "the shards stay"


@pytest.mark.parametrize("layout", ["packed"])
def test_other_layouts_merge_too(folders, shards, tmp_path, layout):
    settings = replace(SMALL, format=layout, identities=2, images_per_identity=1, val_identities=0)
    write_dataset(tmp_path / "whole", settings)
    for number in (1, 2):
        write_shard(tmp_path / f"part{number}", settings, Shard(number, 2))
    merge_dataset(tmp_path / "set", [tmp_path / "part1", tmp_path / "part2"], recheck=0)
    assert content_of(tmp_path / "set") == content_of(tmp_path / "whole")


def test_an_interrupted_shard_is_resumed(folders, shards, tmp_path, monkeypatch):
    complete, begun = jobs.complete_identity, []

    def stop_at_the_second(layout, faces, identity):
        begun.append(identity)
        if len(begun) == 2:
            raise KeyboardInterrupt
        complete(layout, faces, identity)

    monkeypatch.setattr(jobs, "complete_identity", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path / "shard2", SMALL, Shard(2, 3))
    monkeypatch.undo()
    with pytest.raises(DataError, match="1 of 5 people are whole in no shard"):
        merge_dataset(tmp_path / "set", [shards[0], tmp_path / "shard2", shards[2]], recheck=0)
    report = write_shard(tmp_path / "shard2", SMALL, Shard(2, 3), existing="resume")
    assert (begun, report.rendered_identities) == ([1, 2], 1)
    assert content_of(tmp_path / "shard2") == content_of(shards[1])
    merge_dataset(tmp_path / "set", [shards[0], tmp_path / "shard2", shards[2]], existing="resume", recheck=0)
    assert content_of(tmp_path / "set") == content_of(folders / "whole")


def test_an_interrupted_merge_goes_on(folders, shards, tmp_path, monkeypatch):
    monkeypatch.setattr("arcface_paddle.synthetic.writer.assemble", lambda layout: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        merge_dataset(tmp_path / "set", shards, recheck=0)
    monkeypatch.undo()
    next((tmp_path / "set" / ".work" / "parts").iterdir()).unlink()
    report = merge_dataset(tmp_path / "set", shards, recheck=0, existing="resume")
    assert report.rendered_identities == 1
    assert content_of(tmp_path / "set") == content_of(folders / "whole")
    assert merge_dataset(tmp_path / "set", shards, recheck=0, existing="resume").rendered_identities == 0


def test_one_shared_folder_serves_all_shards(folders, shards, tmp_path):
    shutil.copytree(shards[2], tmp_path / "set")  # what another machine has rendered
    for number in (1, 2):
        write_shard(tmp_path / "set", SMALL, Shard(number, 3), existing="resume")
    assert write_dataset(tmp_path / "set", SMALL, existing="resume").rendered_identities == 0
    assert content_of(tmp_path / "set") == content_of(folders / "whole")
    assert write_shard(tmp_path / "set", SMALL, Shard(1, 3), existing="resume").rendered_identities == 0


def test_shards_of_another_seed_are_refused(shards, tmp_path):
    write_shard(tmp_path / "other", replace(SMALL, seed=7), Shard(2, 3))
    with pytest.raises(DataError, match=r"other: begun with seed 7, .*shard1 with 6"):
        merge_dataset(tmp_path / "set", [shards[0], tmp_path / "other", shards[2]])
    settings = tmp_path / "other" / "synthetic.json"  # the folder lies about its seed
    settings.write_text(settings.read_text().replace('"seed": 7', '"seed": 6'))
    with pytest.raises(DataError, match=r"other: picture \d of person \d is not what this machine renders"):
        merge_dataset(tmp_path / "set", [shards[0], tmp_path / "other", shards[2]])
    with pytest.raises(DataError, match="person 1 is not the same in"):
        merge_dataset(tmp_path / "set", [*shards, tmp_path / "other"], recheck=0)
    with pytest.raises(DataError, match=r"begun with seed 6, not 7"):
        write_shard(shards[0], replace(SMALL, seed=7), Shard(1, 3), existing="resume")


def test_damaged_and_missing_people_are_named(shards, tmp_path):
    shutil.copytree(shards[2], tmp_path / "cut")
    picture = next((tmp_path / "cut" / ".work" / "held_out").rglob("*.jpg"))
    picture.write_bytes(picture.read_bytes()[:-3])
    with pytest.raises(DataError, match=r"1 of 5 people are whole in no shard \([34]\); finish the shards"):
        merge_dataset(tmp_path / "set", [*shards[:2], tmp_path / "cut"], recheck=0)
    with pytest.raises(DataError, match=r"holds no synthetic\.json"):
        merge_dataset(tmp_path / "set", [tmp_path])
    for text in ("[", "[1]", '{"speed": 1}', '{"identities": "many"}', "[" * 100_000):
        (tmp_path / "synthetic.json").write_text(text)
        with pytest.raises(DataError, match=r"synthetic\.json"):
            merge_dataset(tmp_path / "set", [tmp_path])
    with pytest.raises(ConfigError, match="is one of the shards"):
        merge_dataset(shards[0], shards)
    assert not (tmp_path / "set" / "metadata.jsonl").exists()


@pytest.mark.parametrize("text", ["", "3", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "a/b"])
def test_bad_shards(text):
    with pytest.raises(ConfigError, match="allowed: I/N"):
        parse_shard(text)


def test_commands(folders, shards, tmp_path, capsys):
    flags = ["--identities", "3", "--images_per_identity", "2", "--seed", "6", "--size", "32", "--sessions", "1"]
    flags += ["--val_identities", "2", "--val_pairs", "4"]
    begun = tmp_path / "shard3"
    shutil.copytree(shards[2], begun)
    next((begun / ".work" / "parts").iterdir()).unlink()
    assert main(["synth", str(begun), *flags, "--shard", "3/3"]) == 2
    assert "not empty" in capsys.readouterr().err
    assert main(["synth", str(begun), *flags, "--shard", "3/3", "--resume"]) == 0
    assert "shard 3/3, 2 of 5 people, 1 rendered, 1 were whole" in capsys.readouterr().out
    parts = [*map(str, shards[:2]), str(begun)]
    assert main(["synth", str(tmp_path / "set"), "--merge", *parts, "--recheck", "1"]) == 0
    text = capsys.readouterr().out
    assert "6 pictures of 3 people, format bin" in text
    assert "merged: 5 people from 3 shards; 1 pictures of each rendered again, equal" in text
    assert content_of(tmp_path / "set") == content_of(folders / "whole")
    metadata = (tmp_path / "set" / "metadata.jsonl").read_text().splitlines()
    np.testing.assert_array_equal([json.loads(line)["label"] for line in metadata], [0, 0, 1, 1, 2, 2])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--shard", "5/3"], "shard 5/3"),
        (["--recheck", "1"], "--recheck is about the shards"),
        (["--merge", "a", "--seed", "4"], "--seed has no meaning with --merge"),
        (["--merge", "a", "--shard", "1/2"], "--shard has no meaning with --merge"),
        (["--merge", "no_such_folder"], "no_such_folder: holds no synthetic.json"),
        (["--shard", "1/2", "--contact_sheet", "s.png"], "which a shard is not"),
    ],
)
def test_bad_flags_are_one_line(tmp_path, capsys, flags, message):
    assert main(["synth", str(tmp_path / "set"), *flags]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "set").exists()
