"""Networks that an engine has compiled, kept in the cache folder, so that the next process starts sooner.

What is kept is worth only time: a folder that cannot be written, a full disk or a damaged file are no error, the
network is compiled again. Processes may share the folder; files appear as a whole.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Sequence

from arcface_paddle import files
from arcface_paddle.pipeline.model_files import cache_folder

_SUFFIX = ".compiled"
_MOST_FILES = 40  # ten models in four precisions or versions; the longest unused go
_HASH_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class CompiledCache:
    """The place of one compiled network.

    Attributes:
        path: its file; None when there is no home folder to keep it in.
    """

    path: Optional[Path]

    @classmethod
    def for_model(cls, model: Sequence[Path], *, facts: Sequence[str]) -> CompiledCache:
        """Name the place by the content of the model's files and by what else decides the result.

        Args:
            model: graph and weights.
            facts: version of the engine, processor, precision.
        """
        key = hashlib.sha256("\0".join(facts).encode())
        try:
            for file in model:
                key.update(files.sha256_of_file(file).encode())
            return cls(cache_folder().parent / "compiled" / f"{key.hexdigest()}{_SUFFIX}")
        except (OSError, RuntimeError):  # a file that its reader will complain of; no home folder
            return cls(None)

    def load(self) -> Optional[bytes]:
        """Return what was stored; None when there is nothing, or not as it was written."""
        if self.path is None:
            return None
        try:
            stored = self.path.read_bytes()
        except OSError:
            return None
        digest, content = stored[:_HASH_BYTES], stored[_HASH_BYTES:]
        if hashlib.sha256(content).digest() != digest:
            return None
        with contextlib.suppress(OSError):
            self.path.touch()
        return content

    def store(self, content: bytes) -> None:
        """Keep a compiled network, and let the longest unused ones go."""
        if self.path is None:
            return
        with contextlib.suppress(OSError):
            files.write_bytes(self.path, hashlib.sha256(content).digest() + content)
            _drop_oldest(self.path.parent)

    def discard(self) -> None:
        """Remove what the engine does not accept."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                self.path.unlink()


def _drop_oldest(folder: Path) -> None:
    stored = sorted(folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime)
    for path in stored[: max(0, len(stored) - _MOST_FILES)]:
        path.unlink(missing_ok=True)
