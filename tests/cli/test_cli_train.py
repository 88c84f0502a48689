"""The train command: flags as published, precedence, exit codes, one line per error."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))
from tiny_data import write_dataset

from arcface_paddle.cli.commands import train
from arcface_paddle.cli.main import run_module
from arcface_paddle.errors import ConfigError
from arcface_paddle.training.config import load_config, options
from arcface_paddle.training.network import choose_network
from arcface_paddle.training.sole_writer import sole_writer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), identities=6, pictures=2)


def parse(*argv: str):
    parser = argparse.ArgumentParser()
    train.configure(parser)
    return train.config_of(parser.parse_args(argv))


def flags(data: Path, output: Path, **changes) -> list[str]:
    values = {
        "data_dir": data, "output": output, "logdir": "", "val_targets": "", "width": 0.125, "embedding_size": 8,
        "batch_size": 4, "steps": 2, "log_every": 1, "num_workers": 0, **changes,
    }  # fmt: skip
    return [f"--{name}={value}" for name, value in values.items()]


def test_the_published_command():
    config = parse(
        "--network", "MobileFaceNet_128", "--lr=0.1", "--batch_size", "512", "--weight_decay", "2e-4",
        "--embedding_size", "128", "--logdir=log", "--output", "emore_arcface", "--resume", "0",
    )  # fmt: skip
    published, default = (choose_network(each.network).written_into(each) for each in (config, parse()))
    assert published == default


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--resume", "1"], (True, True, False)),
        (["--is_bin", "False"], (False, False, False)),
        (["--is_bin=no", "--fp16"], (False, False, True)),
        (["--fp16", "t", "--resume", "yes"], (True, True, True)),
    ],
)
def test_truth_values_of_flags(argv, expected):
    config = parse(*argv)
    assert (config.run.resume, config.data.is_bin, config.optimizer.fp16) == expected


def test_the_rank_of_old_launchers_is_accepted():
    assert parse("--local_rank", "3", "--lr", "0.2").optimizer.lr == 0.2


def test_help_is_grouped_and_shows_every_default():
    parser = argparse.ArgumentParser(formatter_class=argparse.RawTextHelpFormatter)
    train.configure(parser)
    text = parser.format_help()
    titles = [line[:-1] for line in text.splitlines() if line.endswith(":") and line[0].isalpha()]
    assert [title for title in titles if title not in ("options", "optional arguments")] == list(
        train.GROUP_TITLES.values()
    )
    for option in options():
        (described,) = [line for line in text.split("\n  --") if line.startswith(f"{option.name} ")]
        assert "default: " in described or option.default is None, option.name
        assert described.count("default: ") <= 1, option.name


def test_flags_override_the_file_which_overrides_the_defaults(tmp_path):
    (tmp_path / "c.yaml").write_text("lr: 0.3\nbatch_size: 64\n")
    config = parse("--config", str(tmp_path / "c.yaml"), "--lr", "0.2")
    assert (config.optimizer.lr, config.data.batch_size, config.data.is_bin) == (0.2, 64, True)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_loads_and_says_how_to_run_it(path):
    config = load_config(path)
    header = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert any(line.startswith("#   python ") for line in header)
    assert any(line.startswith("# Expected") for line in header)
    assert config.network.network or config.network.pretrained


def test_there_is_a_recipe_for_every_published_scale():
    names = {path.stem for path in (ROOT / "configs").glob("*.yaml")}
    assert {"ms1m_mobilefacenet", "ms1m_iresnet50", "glint360k_iresnet100_partialfc", "synthetic_2core"} <= names


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": "fast"}, "flag: lr is 'fast'; a number is needed"),
        ({"is_bin": "maybe"}, "'maybe' is not a truth value"),
        ({"data_dir": "no/such"}, "no/such"),
        ({"num_classes": 3}, "num_classes is 3"),
        ({"batch_size": 999}, "make batch_size smaller"),
        ({"network": "Nonesuch"}, "no network 'Nonesuch'"),
        ({"pretrained": "Nonesuch"}, "Nonesuch"),
        ({"pretrained": "none.pdparams"}, "none.pdparams"),
        ({"config": "none.yaml"}, "cannot read the configuration none.yaml"),
        ({"output": "/dev/null/out"}, "cannot write to the output folder /dev/null/out"),
    ],
)
def test_errors_are_one_line_and_exit_2(data, tmp_path, capsys, changes, message):
    assert run_module("train", flags(data, tmp_path, **changes) if "output" not in changes else
                      flags(data, Path(changes["output"])), prog="train.py") == 2  # fmt: skip
    error = capsys.readouterr().err
    assert error.startswith("train.py: error: ")
    assert message in error
    assert error.count("\n") == 1


def test_an_unknown_key_in_the_file(data, tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("learning_rate: 0.3\n")
    assert run_module("train", ["--config", str(tmp_path / "c.yaml")], prog="train.py") == 2
    assert "unknown key learning_rate; the keys are: " in capsys.readouterr().err


def test_finished_and_with_unreadable_samples(data, tmp_path, capsys):
    assert run_module("train", [*flags(data, tmp_path / "a"), "--local-rank=0"], prog="train.py") == 0
    said = capsys.readouterr().out
    assert "finished at step 2" in said
    assert said.startswith("--local_rank 0 is ignored: the launcher tells each process its rank by itself\n")
    broken = write_dataset(tmp_path / "data", identities=6, pictures=2)
    (broken / "images" / "00000003.bin").unlink()
    assert run_module("train", flags(broken, tmp_path / "b", steps=3), prog="train.py") == 1
    assert "00000003.bin" in (tmp_path / "b" / "training.log").read_text()


def test_fine_tuning_the_shipped_recogniser_needs_its_name_only(data, tmp_path, capsys):
    """Network, embedding size and input come from the model, and the run's configuration records them."""
    short = ["--pretrained=MobileFace", f"--data_dir={data}", "--logdir=", "--val_targets=none", "--batch_size=2"]
    assert run_module("train", [*short, f"--output={tmp_path}", "--steps=1"], prog="train.py") == 0
    output = capsys.readouterr().out
    assert "backbone starts from" in output and "centres start as the mean embeddings of their pictures" in output
    assert "MobileFaceNet_192, embedding 192, ArcFace" in output
    assert "is missing" not in output
    network = load_config(tmp_path / "config.yaml").network
    assert (network.network, network.embedding_size, network.width) == ("MobileFaceNet_192", 192, 1.0)
    assert (tmp_path / "MobileFaceNet_192.pdparams").is_file()
    again = ["--config", str(tmp_path / "config.yaml"), "--resume=1", "--steps=2"]
    assert run_module("train", again, prog="train.py") == 0
    assert "at step 1, epoch" in capsys.readouterr().out


def test_what_contradicts_the_model_is_refused_in_one_line(data, tmp_path, capsys):
    changes = {"pretrained": "MobileFace", "width": 1}
    assert run_module("train", flags(data, tmp_path / "out", **changes), prog="train.py") == 2
    error = capsys.readouterr().err
    assert "--pretrained MobileFace has embedding_size 192, which --embedding_size 8 contradicts" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_network_trains_by_default_its_own_embedding_size_under_its_canonical_name(data, tmp_path, capsys):
    own = [flag for flag in flags(data, tmp_path, network="iResNet18", width=0.125) if "embedding_size" not in flag]
    assert run_module("train", own, prog="train.py") == 0
    assert "iresnet18, embedding 512," in capsys.readouterr().out
    assert (tmp_path / "iresnet18.pdparams").is_file()
    assert load_config(tmp_path / "config.yaml").network.embedding_size == 512


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_saves_and_exits_with_130(data, tmp_path, number):
    command = [sys.executable, str(ROOT / "train.py"), *flags(data, tmp_path, steps=100_000, save_every=100_000)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(tmp_path / "console", "wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 90
        while "Global Step: 2 " not in (tmp_path / "console").read_text():
            assert process.poll() is None, (tmp_path / "console").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(60) == 130
    finally:
        process.kill()
    text = (tmp_path / "console").read_text()
    assert f"stopped by {number.name} at step" in text
    assert "Traceback" not in text
    assert len(list((tmp_path / "checkpoints").glob("step_*"))) == 1


def test_a_terminal_that_hangs_up_saves_and_exits_with_130(data, tmp_path):
    """Writing to the terminal fails from then on, with "Input/output error"; the checkpoint comes all the same."""
    master, terminal = os.openpty()
    command = [sys.executable, str(ROOT / "train.py"), *flags(data, tmp_path, steps=100_000, save_every=100_000)]
    process = subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True,
    )  # fmt: skip
    os.close(terminal)
    shown = b""
    try:
        while b"Global Step: 2 " not in shown:
            shown += os.read(master, 65536)
        os.close(master)
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 130
    finally:
        process.kill()
    assert "stopped by SIGHUP at step" in (tmp_path / "training.log").read_text()
    assert len(list((tmp_path / "checkpoints").glob("step_*"))) == 1


def test_help_is_fast_and_complete():
    begin = time.monotonic()
    process = subprocess.run([sys.executable, str(ROOT / "train.py"), "--help"], capture_output=True, text=True)
    assert process.returncode == 0
    for flag in ("--network", "--sample_rate", "--resume", "--val_targets", "--config"):
        assert flag in process.stdout
    assert "130 stopped by Ctrl-C" in process.stdout
    assert "With --resume auto the same command, given again, goes on" in process.stdout
    assert time.monotonic() - begin < 20
    code = "import arcface_paddle.cli.commands.train, sys; print('paddle' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_a_file_with_both_precisions_is_refused(tmp_path):
    (tmp_path / "c.yaml").write_text("fp16: true\n")
    with pytest.raises(ConfigError, match="fp16 and bf16"):
        parse("--config", str(tmp_path / "c.yaml"), "--bf16")


def test_a_logdir_that_is_a_file_is_refused_before_anything_is_read(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert run_module("train", [*flags(tmp_path / "no data", tmp_path / "out"), f"--logdir={tmp_path / 'file'}"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith(f"--logdir {tmp_path / 'file'}: {tmp_path / 'file'} is a file, not a folder")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.name == "nt", reason="Windows locks no folders")
def test_a_second_training_into_the_same_folder_is_refused(data, tmp_path, capsys):
    with sole_writer(tmp_path / "out"):
        (tmp_path / "out" / "training.log").write_text("of the first one")
        assert run_module("train", flags(data, tmp_path / "out")) == 2
    assert "another training writes into the output folder" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["training.log"]  # nothing was set aside
    with sole_writer(tmp_path / "out"), sole_writer(tmp_path / "new" / "other"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # a refused run leaves nothing behind
