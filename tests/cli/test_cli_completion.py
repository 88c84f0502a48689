"""Shell completion knows every command and flag."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from arcface_paddle.cli import main
from arcface_paddle.cli.commands import completion


def complete(script: str, line: str) -> list[str]:
    """Return what bash offers at the end of a command line, with the script loaded."""
    words = line.split(" ")
    code = (
        f"{script}\n"
        f"COMP_WORDS=({' '.join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}\n"
        f"COMP_LINE={line!r}; COMP_POINT={len(line)}\n"
        "$(complete -p arcface-paddle | sed 's/.*-F \\([^ ]*\\).*/\\1/') arcface-paddle "
        f"{words[-1]!r} {words[-2]!r}\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    finished = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    return finished.stdout.split()


@pytest.fixture(scope="module")
def script() -> str:
    pytest.importorskip("shtab")
    if shutil.which("bash") is None:
        pytest.skip("no bash on this machine")
    command = [sys.executable, "-m", "arcface_paddle", "completion", "bash"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("arcface-paddle enc", {"encode"}),
        ("arcface-paddle recognize --rec_t", {"--rec_thresh"}),
        ("arcface-paddle data doc", {"doctor"}),
        ("arcface-paddle data doctor --no_emb", {"--no_embedding"}),
        ("arcface-paddle recognize --engine open", {"openvino"}),
    ],
)
def test_bash_offers_what_fits(script, line, offered):
    assert set(complete(script, line)) == offered


def test_every_command_is_known():
    choices = next(action.choices for action in completion.full_parser()._actions if action.dest == "command")
    assert set(choices) == set(main.COMMANDS)


def test_another_shell_is_refused(capsys):
    with pytest.raises(SystemExit):
        main.main(["completion", "fish"])
    assert "bash" in capsys.readouterr().err
