"""``--help`` answers at once, because no command imports what it works with before it works."""

from __future__ import annotations

import subprocess
import sys

import pytest

from arcface_paddle.cli.commands.data import SUBCOMMANDS
from arcface_paddle.cli.main import COMMANDS
from arcface_paddle.pipeline.model_files import REGISTRY
from arcface_paddle.pipeline.settings import PUBLISHED_MODELS

HEAVY = ("numpy", "cv2", "PIL", "paddle", "openvino", "onnxruntime", "prettytable", "tqdm", "urllib.request", "numba")

CODE = """
import sys
from arcface_paddle.cli.main import main
try:
    status = main(sys.argv[1:])
except SystemExit as end:
    status = end.code
print("imported:", [name for name in {heavy} if name in sys.modules])
sys.exit(status)
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy(command: str) -> None:
    code = CODE.format(heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", code, command, "--help"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: arcface-paddle {command}")
    assert done.stdout.splitlines()[-1] == "imported: []"


@pytest.mark.parametrize("subcommand", SUBCOMMANDS)
def test_help_of_the_data_commands_imports_nothing_heavy(subcommand: str) -> None:
    command = [sys.executable, "-c", CODE.format(heavy=HEAVY), "data", subcommand, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "imported: []"


def test_published_models_are_those_of_the_registry() -> None:
    assert list(PUBLISHED_MODELS) == [name for name, model in REGISTRY.items() if model.archive]
