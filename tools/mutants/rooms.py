"""What is changed, and which tests should notice."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Room:
    """What belongs together; all are relative to the root.

    Attributes:
        sources: patterns of the files that are changed.
        tests: files and folders of which those tests are asked that reach the change.
        with_processes: tests that start processes, so that nobody knows what they reach; they are asked of every mutant
            that the others did not notice.
        libraries: imported once, for all children together, as far as they are there.
    """

    sources: tuple[str, ...]
    tests: tuple[str, ...]
    with_processes: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ("paddle", "cv2", "matplotlib.backends.backend_agg")

    def source_files(self, root: Path) -> list[str]:
        """Return the files that are changed, in order."""
        return [
            str(path.relative_to(root).as_posix()) for pattern in self.sources for path in sorted(root.glob(pattern))
        ]


ROOMS = {
    "safe_pickle": Room(
        ("arcface_paddle/safe_pickle.py", "arcface_paddle/pickle_machine.py"),
        ("tests/test_pickle_machine.py", *(f"tests/test_safe_pickle{kind}.py" for kind in ("", "_bounds", "_hostile"))),
    ),
    "heads": Room(
        ("arcface_paddle/heads/*.py",), ("tests/heads",), ("tests/distributed/test_distributed_classifier.py",)
    ),
    "training": Room(("arcface_paddle/training/*.py",), ("tests/training", "tests/cli/test_cli_plan.py")),
    "evaluation": Room(("arcface_paddle/evaluation/*.py",), ("tests/evaluation",)),
    "pipeline": Room(("arcface_paddle/pipeline/**/*.py",), ("tests/pipeline", "tests/doctor/test_doctor_parts.py")),
}
