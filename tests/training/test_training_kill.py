"""kill -9 at random moments, saving included; ``python tests/training/kill_loop.py`` does it 50 times."""

from __future__ import annotations

import pytest
from kill_loop import SAVE_EVERY, kill_often


@pytest.mark.slow
def test_every_killed_run_resumes_and_loses_no_saved_step(tmp_path):
    outcomes = kill_often(tmp_path, kills=6, seed=11)
    assert len(outcomes) == 6
    assert outcomes[-1]["resumed"] > 0
    assert all(outcome["logged"] - outcome["resumed"] <= SAVE_EVERY for outcome in outcomes)
