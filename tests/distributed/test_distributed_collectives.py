"""Collectives over 1, 2 and 3 processes, and runs that lose a rank."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from arcface_paddle import distributed
from arcface_paddle.errors import ConfigError

sys.path.insert(0, str(Path(__file__).parent))
from launch import launch, run_ranks, start

HERE = Path(__file__).parent


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_collectives(ranks):
    for output in run_ranks([str(HERE / "collectives_worker.py")], ranks, timeout_s=90.0):
        assert output.rstrip().endswith("checked")


@pytest.mark.parametrize(
    ("manner", "words"),
    [
        ("kill", "rank 2 is lost (its process has ended)"),
        ("raise", "rank 2 is lost (its process has ended)"),
        ("freeze", "rank 2 is lost (no sign of life for 3 s)"),
    ],
)
def test_a_lost_rank_ends_the_run_on_all_ranks(tmp_path, manner, words):
    logs = [tmp_path / f"{rank}.log" for rank in range(3)]
    processes = start([str(HERE / "lost_rank_worker.py"), manner], logs)
    try:
        begin = time.monotonic()
        codes = [process.wait(60.0) for process in processes[:2]]
        assert time.monotonic() - begin < 40.0
        assert codes == [2, 2]
        # Whoever is inside of a collective at that moment may hear of it from Gloo first.
        for log in logs[:2]:
            assert any(
                text in log.read_text() for text in (words, "rank 2 is lost (as rank 0", "another rank has ended")
            )
        assert words in logs[0].read_text() or manner != "freeze"
    finally:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
    if manner == "raise":
        assert "a bad sample" in logs[2].read_text()


def test_all_ranks_end_when_rank_0_may_not_listen():
    environment = {"ARCFACE_PADDLE_INTERFACE": "192.0.2.1"}  # an address that no machine has
    first, second = launch([str(HERE / "collectives_worker.py")], 2, timeout_s=60.0, environment=environment)
    assert "ConfigError: rank 0 cannot listen at '192.0.2.1'" in first.output
    assert "rank 1: rank 0 found no address to listen at" in second.output
    assert (first.code, second.code) == (1, 1)


def test_alone_everything_is_the_identity():
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
    distributed.init()
    distributed.barrier()
    assert distributed.gather_json([1, "a"]) == [[1, "a"]]
    distributed.finish()


def test_an_incomplete_environment_is_named(monkeypatch):
    for name in [name for name in os.environ if name.startswith("PADDLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    with pytest.raises(ConfigError, match=r"PADDLE_TRAINER_ID.*paddle\.distributed\.launch"):
        distributed.init()
