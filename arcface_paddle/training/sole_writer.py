"""One training at a time writes into an output folder: a second one would set aside or mix up what the first saves."""

from __future__ import annotations

import contextlib
from typing import Iterator

from arcface_paddle import files
from arcface_paddle.errors import ConfigError


@contextlib.contextmanager
def sole_writer(output: files.PathLike) -> Iterator[None]:
    """Keep other trainings out of a folder, which is made where it is missing; see ``files.claimed_folder``.

    Raises:
        ConfigError: another training writes there, or the folder cannot be made.
    """
    with contextlib.ExitStack() as stack:
        try:
            is_ours = stack.enter_context(files.claimed_folder(output))
        except OSError as error:
            raise ConfigError(f"cannot write to the output folder {output}: {error.strerror or error}") from None
        if not is_ours:
            raise ConfigError(
                f"another training writes into the output folder {output}: give another --output, or wait for its end"
            )
        yield
