"""--profile: a table that adds up, a trace that holds the phases, and nothing of it where it is not asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_training_runs import Listener, saved_files, settings
from tiny_data import write_dataset

from arcface_paddle.training.profile import PHASES, NoProfile, StepProfile, phase_table
from arcface_paddle.training.run import build_run
from arcface_paddle.training.trainer import train


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), identities=10, pictures=3)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_profiled_run_writes_table_and_trace_and_trains_the_same(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes = {"steps": 4, "accumulation": 2, "batch_size": 6}
    listener = Listener()
    train(settings(data, tmp_path / "a", profile=1, **changes), say=listener)
    train(settings(data, tmp_path / "b", **changes), say=Listener())
    assert saved_files(tmp_path / "a", 4) == saved_files(tmp_path / "b", 4)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"} and not (tmp_path / "b" / "profile").exists()

    table = (tmp_path / "a" / "profile" / "table.txt").read_text().splitlines()
    (heading,) = [
        number for number, line in enumerate(listener.lines) if line.startswith("profile of 1 steps behind 3")
    ]
    assert listener.lines[heading + 1 : heading + 1 + len(table)] == table
    rows = {cells(line)[0]: cells(line)[1:] for line in table if line.startswith("| ")}
    assert list(rows) == ["phase", *PHASES, "other", "step"]
    assert all(float(rows[name][0]) > 0 for name in PHASES)
    assert sum(float(rows[name][0]) for name in (*PHASES, "other")) == pytest.approx(float(rows["step"][0]), abs=0.05)

    events = json.loads((tmp_path / "a" / "profile" / "trace.json").read_text())["traceEvents"]
    names = [event["name"].split("[")[0] for event in events if event.get("cat") == "PythonUserDefined"]
    times = {"data": 1, "forward": 2, "classifier": 3, "backward": 2, "exchange": 2, "update": 1}
    assert {phase: names.count(phase) for phase in PHASES} == times  # of a step with two passes
    assert any("conv2d" in event["name"] for event in events), "the operations of paddle are in the trace"


def test_the_table_by_hand():
    steps = [{**dict.fromkeys(PHASES, each), "step": whole} for each, whole in ((0.001, 0.010), (0.002, 0.030))]
    lines = [cells(line) for line in phase_table(steps).splitlines()]
    assert ["update", "1.50", "1.00", "2.00", "7.5 %"] in lines
    assert ["other", "11.00", "4.00", "18.00", "55.0 %"] in lines
    assert ["step", "20.00", "10.00", "30.00", "100.0 %"] in lines


def test_a_run_that_ends_within_the_warm_up_says_so(tmp_path):
    profile = StepProfile(tmp_path / "profile", steps=2)
    for _ in range(3):
        profile.begin_step()
        with profile.phase("forward"):
            pass
        assert profile.end_step() == []
    assert profile.finish() == ["no profile: the run has ended within the 3 steps of warm-up that come before it"]
    assert profile.finish() == [] and not (tmp_path / "profile").exists()


def test_a_run_that_ends_before_all_steps_are_profiled_writes_what_there_is(tmp_path):
    profile = StepProfile(tmp_path / "profile", steps=9)
    for _ in range(4):
        profile.begin_step()
        profile.end_step()
    assert profile.finish()[0].startswith("profile of 1 steps behind 3")
    assert {path.name for path in (tmp_path / "profile").iterdir()} == {"table.txt", "trace.json"}


def test_a_run_of_fewer_steps_than_the_warm_up_tells_its_user(data, tmp_path):
    listener = Listener()
    train(settings(data, tmp_path, profile=1, steps=1, batch_size=6), say=listener)
    (told,) = [line for line in listener.lines if "profile" in line]
    assert told == "no profile: the run has ended within the 3 steps of warm-up that come before it"


def test_nothing_is_measured_where_nobody_asks(data, tmp_path):
    own = build_run(settings(data, tmp_path), say=Listener())
    assert type(own.profile) is NoProfile
    assert own.profile.phase("forward") is own.profile.phase("update")  # one object that does nothing
