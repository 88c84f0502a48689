"""Commands on closed and full folders, pipes, devices, links in a circle and closed output; see ``fault_matrix``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="gives up privileges as Linux does")
MATRIX = Path(__file__).with_name("fault_matrix.py")


def assert_all_end_well(*flags: str) -> None:
    ended = subprocess.run([sys.executable, str(MATRIX), *flags], capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-2000:]
    assert ended.stdout.rstrip().endswith("cases end badly")
    assert int(ended.stdout.split()[-5]) > 20  # "0 of N cases end badly"


def test_looking_at_datasets_survives_every_fault() -> None:
    assert_all_end_well("--only", "data info")


@pytest.mark.long
def test_a_sample_of_all_commands_survives_every_fault() -> None:
    assert_all_end_well("--share", "37")
