"""Changes that were looked at and change nothing that anyone could see, ``tests/mutation_equivalent.yaml``."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import yaml


@dataclasses.dataclass(frozen=True)
class Equivalent:
    """Attributes: as of :class:`operators.Mutant`; ``change`` is a pattern that has to fit the whole change."""

    file: str
    function: str
    change: str
    reason: str

    def covers(self, file: str, function: str, change: str) -> bool:
        """Tell whether a mutant is this one."""
        inside = function == self.function or (self.function and function.startswith(f"{self.function}."))
        return file == self.file and bool(inside) and re.fullmatch(self.change, change) is not None


def read_equivalents(path: Path) -> list[Equivalent]:
    """Read the reviewed list."""
    entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    return [Equivalent(**entry) for entry in entries]
