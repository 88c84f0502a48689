"""What stands between a command and the terminal: nothing that a file is called can move its cursor or end the command.

Names of files, of people and of models come from others. A terminal obeys control characters in them: it clears the
screen, changes its title, or shows another text than was printed. They are shown as ``\\x1b`` instead.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import Any, Iterator, Optional, TextIO

from arcface_paddle.errors import ConfigError
from arcface_paddle.files import plain


@contextlib.contextmanager
def safe_streams() -> Iterator[None]:
    """Make standard output and error such that a command can print whatever it has.

    A stream that was closed (``>&-``) takes all and shows nothing. Characters that a terminal lacks become question
    marks, control characters on standard output are spelt out (progress bars on standard error need theirs), and a full
    disk behind it is an error of one line.
    """
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:
        for stream in before:
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        sys.stdout, sys.stderr = _Output(sys.stdout or nowhere), sys.stderr or nowhere
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


class _Output:
    """Standard output with ``write`` and ``flush`` of its own; everything else is that of the stream behind it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, control characters spelt out.

        Raises:
            ConfigError: it cannot be written.
        """
        with self._failing():
            self._stream.write(plain(text))
        return len(text)

    def flush(self) -> None:
        """Send off what was written.

        Raises:
            ConfigError: it cannot be written.
        """
        with self._failing():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        problem: Optional[str] = None
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            self._give_up()
            if error.errno != errno.EIO:  # the terminal has hung up: what runs still has to end well
                problem = error.strerror or str(error)
        if problem is not None:
            raise ConfigError(f"standard output cannot be written: {problem}; the results so far are not shown")

    def _give_up(self) -> None:
        """Lead what is still in the buffer nowhere, or the interpreter complains a second time when it ends."""
        with contextlib.suppress(OSError, ValueError, io.UnsupportedOperation), open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), self._stream.fileno())
