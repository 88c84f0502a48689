"""The doctor's command: exit codes, files written, the page, refusals, the shipped recogniser."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "doctor"))

from doctor_faults import Planted, jpeg, picture, write_clean, write_planted

from arcface_paddle.cli import main
from arcface_paddle.data.kinds import open_dataset
from arcface_paddle.data.packed import pack_dataset
from arcface_paddle.doctor.findings import KINDS


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Planted:
    return write_planted(tmp_path_factory.mktemp("planted"))


def doctor(*arguments: object) -> int:
    return main.run_module("data_doctor", [str(argument) for argument in arguments])


def test_clean_dataset_exits_0(tmp_path, capsys):
    write_clean(tmp_path / "set")
    assert doctor(tmp_path / "set", "--no_embedding") == 0
    output = capsys.readouterr().out
    assert output.rstrip().endswith("no problems found")
    assert re.search(r"identities +\| 6 \(classes: 6\)", output)


def test_command_hangs_under_data(tmp_path, capsys):
    write_clean(tmp_path / "set", identities=2, shots=2)
    assert main.main(["data", "doctor", str(tmp_path / "set"), "--no_embedding"]) == 0
    assert "no problems found" in capsys.readouterr().out


def test_problems_exit_1_with_text_json_and_page(planted, tmp_path, capsys):
    page, document = tmp_path / "r.html", tmp_path / "r.json"
    code = doctor(
        planted.root, "--no_embedding", "--val", planted.verification, "--html", page, "--json", document, "--rows", 1
    )
    output = capsys.readouterr().out
    assert code == 1
    found = json.loads(document.read_text(encoding="utf-8"))
    by_embedding = {"cluster_reject", "split_identity", "same_person", "mislabelled", "verification_identity"}
    expected = {kind: len(places) for kind, places in planted.expected.items() if kind not in by_embedding}
    assert found["counts"] == expected
    assert f"{found['problems']:,} problems found" in output
    for kind in expected:
        assert f"{KINDS[kind].title}: {expected[kind]} (" in output
    assert "... and 2 more" in output  # of three truncated images, one is shown
    truncated = planted.lines[min(planted.expected["truncated"])[0]]
    assert f"(line {truncated})" in output
    content = page.read_text(encoding="utf-8")
    assert all(KINDS[kind].title in content for kind in expected)
    assert content.count("data:image/jpeg;base64,") > 20
    assert "lfw_like picture 0" in content and "http" not in re.sub("http-equiv", "", content)


def test_ignored_kinds_do_not_count(tmp_path):
    write_clean(tmp_path / "set")
    (tmp_path / "set/images/0004.jpg").unlink()
    assert doctor(tmp_path / "set", "--no_embedding") == 1
    assert doctor(tmp_path / "set", "--no_embedding", "--ignore", "missing") == 0


def test_fix_writes_a_label_file_that_is_clean(tmp_path, capsys):
    write_clean(tmp_path / "set")
    label_file = tmp_path / "set/label.txt"
    label_file.write_text(label_file.read_text() + "images/0000.jpg\t0\n")
    assert doctor(tmp_path / "set", "--no_embedding", "--fix", tmp_path / "new.txt") == 1
    assert "30 images of 6 identities" in capsys.readouterr().out
    assert doctor(tmp_path / "set", "--no_embedding", "--label_file", tmp_path / "new.txt") == 0


def test_sample_reads_only_so_many(tmp_path, capsys):
    write_clean(tmp_path / "set")
    assert doctor(tmp_path / "set", "--no_embedding", "--sample", 10) == 0
    assert "30, 10 examined" in capsys.readouterr().out


def test_packed_dataset(tmp_path, capsys):
    write_clean(tmp_path / "set")
    pack_dataset(open_dataset(tmp_path / "set"), tmp_path / "packed")
    assert doctor(tmp_path / "packed", "--no_embedding") == 0
    assert doctor(tmp_path / "packed", "--no_embedding", "--fix", tmp_path / "new.txt") == 0
    assert f"--label_file {tmp_path / 'new.txt'}" in capsys.readouterr().out
    assert doctor(tmp_path / "packed", "--no_embedding", "--label_file", tmp_path / "new.txt") == 0


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--fix", "new.txt", "--sample", "5"], "whole dataset"),
        (["--fix", "set/label.txt"], "exists already"),
        (["--copy_rejected", "aside"], "leave out --no_embedding"),
        (["--rec_model", "ArcFace"], "--rec_model needs the recogniser"),
        (["--cluster_distance", "0.5"], "--cluster_distance needs the recogniser"),
        (["--engine", "onnxruntime"], "--engine needs the recogniser"),
        (["--backend", "onnxruntime"], "--engine needs the recogniser"),
        (["--device", "gpu"], "--device needs the recogniser"),
        (["--use_gpu"], "--use_gpu needs the recogniser"),
        (["--pictures", "5"], "add --html FILE"),
        (["--rows", "0"], "--rows is 0"),
        (["--workers", "0"], "workers is 0"),
        (["--near_radius", "40"], "near_radius is 40"),
        (["--label_file", "none.txt"], "no such label file"),
        (["--val", "none.bin"], "no such verification set"),
        (["--num_classes", "3"], "num_classes"),
        (["--json", "set"], "is a folder"),
    ],
)
def test_wrong_use_exits_2_and_writes_nothing(tmp_path, monkeypatch, capsys, flags, message):
    write_clean(tmp_path / "set", identities=4, shots=2)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert doctor("set", "--no_embedding", *flags) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("flags", [["--ignore", "nothing"], ["--kind", "hdf5"], []])
def test_wrong_flags_exit_2(flags, tmp_path):
    with pytest.raises(SystemExit) as stop:
        doctor(*([tmp_path] if flags else []), *flags)
    assert stop.value.code == 2


def test_no_dataset_there(tmp_path, capsys):
    assert doctor(tmp_path / "nothing") == 2
    assert "no such folder" in capsys.readouterr().err


def test_shipped_recogniser_takes_the_threshold_of_its_card(tmp_path, capsys):
    pytest.importorskip("paddle")
    for shot in range(3):
        (tmp_path / "p0").mkdir(exist_ok=True)
        (tmp_path / f"p0/{shot}.jpg").write_bytes(jpeg(picture(0, shot)))
    report = tmp_path / "r.json"
    code = doctor(tmp_path, "--json", report, "--cpu_threads", 1, "--copy_rejected", tmp_path / "aside")
    found = json.loads(report.read_text(encoding="utf-8"))
    assert found["settings"]["recogniser"] is True
    assert found["settings"]["match_similarity"] == 0.58
    assert 0 < found["statistics"]["own_similarity"]["median"] < 1
    rejected = found["counts"].get("cluster_reject", 0)
    assert code == (1 if found["counts"] else 0)
    assert f"copied {rejected} images to look at" in capsys.readouterr().out
