"""What the loggers write, read back from their files; and that Weights & Biases asks nobody on the network."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from arcface_paddle.errors import ConfigError, MissingDependencyError
from arcface_paddle.training.config import TrainConfig, config_from, plain_settings
from arcface_paddle.training.run_log import RunLog, read_metrics

FIGURES = {10: {"loss": 3.5, "learning_rate": 0.1, "nothing": float("nan")}, 20: {"accuracy_lfw": 0.875}}
FINITE = {("loss", 10): 3.5, ("learning_rate", 10): 0.1, ("accuracy_lfw", 20): 0.875}


def write(output: Path, logdir: Path, loggers: tuple[str, ...], figures=None, *, first_step: int = 0) -> None:
    log = RunLog(output, str(logdir), say=lambda _text: None, active=True, loggers=loggers)
    log.open(first_step=first_step, settings=plain_settings(TrainConfig()))
    for step, values in (figures or FIGURES).items():
        log.scalars(step, values)
    log.close()


def tensorboard_events(logdir: Path):
    """Read the event files: per record 8 bytes of length, 4 of checksum, the event, 4 of checksum."""
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(logdir.glob("events.out.tfevents.*")):
        content, place = path.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            yield Event.FromString(content[place + 12 : place + 12 + length])
            place += length + 16


def tensorboard_scalars(logdir: Path) -> dict[tuple[str, int], float]:
    values = [(value, event.step) for event in tensorboard_events(logdir) for value in event.summary.value]
    return {(value.tag, step): value.simple_value for value, step in values if value.HasField("simple_value")}


def wandb_records(logdir: Path) -> list:
    """Read the offline logs: 7 bytes of file header; per record 4 of checksum, 2 of length, 1 of type, the record."""
    from wandb.proto.wandb_internal_pb2 import Record

    records = []
    for path in sorted(logdir.glob("wandb/offline-run-*/run-*.wandb")):
        content, place = path.read_bytes(), 7
        while place < len(content):
            _, length, kind = struct.unpack_from("<IHB", content, place)
            assert kind == 1, "a record that is cut over blocks: too much for this reader"
            records.append(Record.FromString(content[place + 7 : place + 7 + length]))
            place += length + 7
    return records


def wandb_scalars(records: list) -> dict[tuple[str, int], float]:
    found = {}
    for record in records:
        row = {(item.key or item.nested_key[0]): json.loads(item.value_json) for item in record.history.item}
        names = [name for name in row if not name.startswith("_") and name != "global_step"]
        found.update({(name, row["global_step"]): row[name] for name in names})
    return found


@pytest.fixture
def offline(monkeypatch, tmp_path) -> None:
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_NAME", "WANDB_RUN_ID", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def test_tensorboard_gets_scalars_and_settings(tmp_path):
    pytest.importorskip("tensorboardX")
    write(tmp_path / "out", tmp_path / "log", ("tensorboard",))
    assert tensorboard_scalars(tmp_path / "log") == pytest.approx(FINITE)
    texts = [value for event in tensorboard_events(tmp_path / "log") for value in event.summary.value if value.tensor]
    shown = b"".join(value.tensor.string_val[0] for value in texts if value.tensor.string_val).decode()
    assert "| network | None |" in shown and "| lr | 0.1 |" in shown


def test_tensorboard_drops_what_a_resumed_run_makes_again(tmp_path):
    pytest.importorskip("tensorboardX")
    write(tmp_path / "out", tmp_path / "log", ("tensorboard",), first_step=10)
    markers = [event for event in tensorboard_events(tmp_path / "log") if event.HasField("session_log")]
    assert [(event.session_log.status, event.step) for event in markers] == [(1, 11)]  # START: later steps are gone


def test_several_loggers_write_beside_each_other(tmp_path):
    pytest.importorskip("tensorboardX")
    write(tmp_path / "out", tmp_path / "log", ("visualdl", "tensorboard"))
    from visualdl import LogReader

    (path,) = (tmp_path / "log").glob("vdlrecords.*")
    assert [row.value for row in LogReader(file_path=str(path)).get_data("scalar", "loss")] == [3.5]
    assert tensorboard_scalars(tmp_path / "log")["loss", 10] == 3.5
    assert [row["step"] for row in read_metrics(tmp_path / "out")] == [10, 20]


def test_visualdl_leaves_nothing_at_home(tmp_path):
    """Its import makes ~/.visualdl, and fails where the home folder may not be written."""
    pytest.importorskip("visualdl")
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import sys; from pathlib import Path; from arcface_paddle.training.loggers import RunFacts, find_loggers\n"
        "[opener] = find_loggers(('visualdl',), 'log'); writer = opener(RunFacts(Path('out'), 0))\n"
        "writer.scalars(1, {'loss': 3.5}); writer.close()"
    )
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "HOME": str(home), "USERPROFILE": str(home), "PYTHONPATH": root}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)
    assert list((tmp_path / "log").glob("vdlrecords.*"))
    assert list(home.iterdir()) == []


def test_none_writes_no_log_of_a_logger(tmp_path):
    assert config_from({"logger": "none"}).run.logger == ()
    write(tmp_path / "out", tmp_path / "log", ())
    assert not (tmp_path / "log").exists() and len(read_metrics(tmp_path / "out")) == 2


@pytest.mark.usefixtures("offline")
def test_wandb_writes_offline_and_goes_on_under_the_same_name(tmp_path):
    wandb = pytest.importorskip("wandb")
    first, second = tmp_path / "first", tmp_path / "second"  # folders of one log are named by the second of their start
    write(tmp_path / "out", first, ("wandb",))
    wandb.teardown()  # as the end of the process does: waits until its helper has written everything
    write(tmp_path / "out", second, ("wandb",), {10: {"loss": 3.25}}, first_step=9)  # a step that is made again
    wandb.teardown()
    assert wandb_scalars(wandb_records(first)) == pytest.approx(FINITE)
    assert wandb_scalars(wandb_records(second)) == pytest.approx({("loss", 10): 3.25})
    records = wandb_records(first) + wandb_records(second)
    runs = [record.run for record in records if record.HasField("run")]
    assert {run.run_id for run in runs} == {(tmp_path / "out" / "wandb_run.txt").read_text().strip()}
    assert {(run.project, run.display_name) for run in runs} == {("arcface-paddle", "out")}
    assert ("lr", "0.1") in [(item.key, item.value_json) for item in runs[0].config.update]


@pytest.mark.usefixtures("offline")
def test_a_wrong_word_for_wandb_is_one_line(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    wandb.teardown()  # it reads the environment once
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    log = RunLog(tmp_path / "out", str(tmp_path / "log"), say=print, active=True, loggers=("wandb",))
    with pytest.raises(ConfigError, match=r"the log for Weights & Biases cannot begin: .*mode") as caught:
        log.open()
    assert "\n" not in str(caught.value)
    wandb.teardown()


@pytest.mark.usefixtures("offline")
def test_wandb_asks_nobody_on_the_network(tmp_path):
    """Every connection of the process is seen by an audit hook; its helper process runs offline too."""
    pytest.importorskip("wandb")
    program = (
        "import sys\n"
        "peers = []\n"
        "sys.addaudithook(lambda event, values: peers.append((event, values))\n"
        "                 if event in ('socket.connect', 'socket.sendto', 'socket.getaddrinfo') else None)\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from test_training_loggers import write\n"
        "write(Path(sys.argv[2]), Path(sys.argv[3]), ('wandb',))\n"
        "remote = [peer for peer in peers if not isinstance(peer[1][1], str)]\n"  # a text: in the file system
        "assert all(str(peer[1][1][0]) in ('127.0.0.1', '::1', 'localhost') for peer in remote), remote\n"
    )
    folders = [str(Path(__file__).parent), str(tmp_path / "out"), str(tmp_path / "log")]
    result = subprocess.run([sys.executable, "-c", program, *folders], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "wandb" not in result.stdout, "silent on the terminal"
    helper = "".join(path.read_text() for path in (tmp_path / "log").glob("wandb/offline-run-*/logs/debug-*.log"))
    assert helper and "api.wandb.ai" not in helper and "sentry.io" not in helper


@pytest.mark.parametrize(
    ("name", "module", "message"),
    [
        ("tensorboard", "tensorboardX", r"TensorBoard log in .*arcface-paddle\[tensorboard\]"),
        ("wandb", "wandb", r"Weights & Biases in .*arcface-paddle\[wandb\]"),
    ],
)
def test_a_missing_package_is_named_with_its_extra_before_anything_is_created(
    tmp_path, monkeypatch, name, module, message
):
    monkeypatch.setitem(sys.modules, module, None)
    log = RunLog(tmp_path / "out", str(tmp_path / "log"), say=print, active=True, loggers=("visualdl", name))
    with pytest.raises(MissingDependencyError, match=message):
        log.open()
    assert list(tmp_path.iterdir()) == []


def test_wrong_words_and_a_missing_folder_are_refused():
    with pytest.raises(ConfigError, match=r"logger is \('tensorbored',\); allowed: visualdl, tensorboard, wandb"):
        config_from({"logger": "tensorbored"})
    with pytest.raises(ConfigError, match="logger tensorboard writes into --logdir, which is empty"):
        config_from({"logger": "visualdl,tensorboard", "logdir": ""})
    assert config_from({"logdir": ""}).run.logger == ("visualdl",)  # as ever: no log folder, no VisualDL
