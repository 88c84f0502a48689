"""Commands on closed and full folders, pipes, devices, links in a circle and closed output; see ``fault_matrix``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from arcface_paddle.cli.writable import require_writable_folder
from arcface_paddle.errors import ConfigError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="gives up privileges as Linux does")
MATRIX = Path(__file__).with_name("fault_matrix.py")


def assert_all_end_well(*flags: str) -> None:
    ended = subprocess.run([sys.executable, str(MATRIX), *flags], capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-2000:]
    assert ended.stdout.rstrip().endswith("cases end badly")
    assert int(ended.stdout.split()[-4]) > 20  # "0 of N cases end badly"


def test_a_link_that_leads_nowhere_is_refused_before_the_work(tmp_path: Path) -> None:
    for name, target in (("circle", "circle"), ("nowhere", "gone")):
        (tmp_path / name).symlink_to(tmp_path / target)
        with pytest.raises(ConfigError, match=f"^--output .*{name} is a link that leads nowhere"):
            require_writable_folder(str(tmp_path / name / "new"), option="--output")


def test_looking_at_datasets_survives_every_fault() -> None:
    assert_all_end_well("--only", "data info")


@pytest.mark.long
def test_a_sample_of_all_commands_survives_every_fault() -> None:
    assert_all_end_well("--share", "37", "--first", "5")
