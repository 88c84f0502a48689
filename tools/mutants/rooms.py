"""What is changed, and which tests should notice."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Room:
    """Attributes: ``sources`` and ``tests`` are files, folders or patterns, relative to the root."""

    sources: tuple[str, ...]
    tests: tuple[str, ...]

    def source_files(self, root: Path) -> list[str]:
        """Return the files that are changed, in order."""
        return [
            str(path.relative_to(root).as_posix()) for pattern in self.sources for path in sorted(root.glob(pattern))
        ]


ROOMS = {
    "safe_pickle": Room(
        ("arcface_paddle/safe_pickle.py", "arcface_paddle/pickle_machine.py"),
        ("tests/test_safe_pickle.py", "tests/test_safe_pickle_hostile.py"),
    ),
    "heads": Room(("arcface_paddle/heads/*.py",), ("tests/heads",)),
    "training": Room(("arcface_paddle/training/*.py",), ("tests/training",)),
    "evaluation": Room(("arcface_paddle/evaluation/*.py",), ("tests/evaluation",)),
    "pipeline": Room(("arcface_paddle/pipeline/**/*.py",), ("tests/pipeline",)),
}
