"""What every command says and writes in the same way: complaints, progress, result files."""

from __future__ import annotations

import sys
from typing import Any

from arcface_paddle import files
from arcface_paddle.errors import ConfigError


def complain(message: str) -> None:
    """Say on stderr what is wrong with one input, without breaking a progress bar."""
    from tqdm import tqdm  # here, so that commands without complaints start sooner

    tqdm.write(files.one_line(message), file=sys.stderr)


def write_json_result(path: str, content: dict[str, Any]) -> None:
    """Write the file that ``--json`` names, atomically. Raises ``ConfigError`` when it cannot be written."""
    try:
        files.write_json(path, content)
    except OSError as error:
        raise ConfigError(f"--json {path}: cannot be written: {error.strerror or error}") from None


def write_text_result(path: str, text: str, *, option: str) -> None:
    """Write a result file atomically. Raises ``ConfigError`` when it cannot be written."""
    try:
        files.write_text(path, text)
    except OSError as error:
        raise ConfigError(f"{option} {path}: cannot be written: {error.strerror or error}") from None
