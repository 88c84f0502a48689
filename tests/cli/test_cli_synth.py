"""The command ``arcface-paddle synth``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from arcface_paddle.cli.main import main
from arcface_paddle.data.kinds import open_dataset
from arcface_paddle.data.verification_set import read_verification_set
from arcface_paddle.synthetic.layout import DatasetSettings

SMALL = ["--identities", "2", "--images_per_identity", "2", "--size", "40", "--sessions", "1"]


def test_dataset_pairs_and_sheet(tmp_path, capsys):
    output, sheet = tmp_path / "set", tmp_path / "sheet.png"
    arguments = ["synth", str(output), *SMALL, "--format", "folder", "--val_identities", "2", "--val_pairs", "6"]
    assert main([*arguments, "--contact_sheet", str(sheet)]) == 0
    text = capsys.readouterr().out
    assert "4 pictures of 2 people, format folder" in text
    assert "6 pairs of 2 other people" in text
    assert sheet.stat().st_size > 0
    assert len(open_dataset(output, image_size=40)) == 4
    assert len(read_verification_set(output / "synthetic.bin")) == 6
    assert main(arguments) == 2
    assert "not empty" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0
    assert "4 people were whole, 0 rendered" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--format", "zip"], "format is 'zip'"),
        (["--size", "5"], "size is 5"),
        (["--identities", "0"], "identities is 0"),
        (["--workers", "0"], "workers is 0"),
        (["--full_frame", "--val_identities", "3"], "aligned crops"),
        (["--contact_sheet", "sheet.xyz"], "--contact_sheet"),
    ],
)
def test_bad_flags_write_nothing(tmp_path, capsys, flags, message):
    assert main(["synth", str(tmp_path / "set"), *flags]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "set").exists()


def test_resume_and_overwrite_exclude_each_other(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["synth", str(tmp_path), "--resume", "--overwrite"])
    assert stopped.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_ctrl_c_ends_with_130_and_can_be_resumed(tmp_path):
    output = tmp_path / "set"
    arguments = ["synth", str(output), "--identities", "16", "--images_per_identity", "2", "--size", "40"]
    arguments += ["--sessions", "1"]
    command = [sys.executable, "-m", "arcface_paddle", *arguments, "--workers", "2"]
    # A session of its own, so that the signal reaches the workers as it does in a terminal, and nobody else.
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    parts = output / ".work" / "parts"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list(parts.glob("*.jsonl"))) < 2:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "interrupted" in error
    assert "Traceback" not in error
    whole = len(list(parts.glob("*.jsonl")))
    assert 2 <= whole < 16
    assert not (output / "metadata.jsonl").exists()
    assert main([*arguments, "--resume"]) == 0
    assert len(open_dataset(output, image_size=40)) == 32


def test_a_library_that_cannot_be_loaded_is_not_taken_for_a_full_disk(tmp_path, capsys, monkeypatch):
    def refuse(*_, **__):
        raise OSError("Could not find/load shared object file 'libllvmlite.so'")  # as llvmlite in too little memory

    monkeypatch.setattr(DatasetSettings, "population", refuse)
    assert main(["synth", str(tmp_path / "set"), *SMALL]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith("error: Could not find/load shared object file 'libllvmlite.so'")
