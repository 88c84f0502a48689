"""Changes that were looked at and that no test notices, ``tests/mutation_equivalent.yaml``."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Optional

import yaml

from mutants.operators import Mutant


@dataclasses.dataclass(frozen=True)
class Reviewed:
    """A reviewed change.

    Attributes:
        file, function: as of :class:`operators.Mutant`.
        change: pattern that has to fit the whole change.
        reason: why nobody could notice, or why no test of the room does.
        line: part of the changed line, where the change alone does not say which one is meant.
        nth: number of the change among equal ones of the function, from 0, where the line does not say it either.
        noticeable: somebody could notice, on another machine or with more time: it counts as a survivor.
        every: the pattern means several changes, all of them for the same reason.
    """

    file: str
    function: str
    change: str
    reason: str
    line: str = ""
    nth: Optional[int] = None
    noticeable: bool = False
    every: bool = False

    def covers(self, mutant: Mutant) -> bool:
        """Tell whether a mutant is this one."""
        same_place = mutant.file == self.file and mutant.function == self.function and self.line in mutant.shown
        same_place = same_place and self.nth in (None, mutant.nth)
        return same_place and re.fullmatch(self.change, mutant.change) is not None


def read_reviewed(path: Path) -> list[Reviewed]:
    """Read the reviewed list."""
    entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    return [Reviewed(**entry) for entry in entries]


def review_of(mutant: Mutant, reviewed: list[Reviewed]) -> Optional[Reviewed]:
    """Return what was found about a mutant, if anybody looked at it."""
    return next((entry for entry in reviewed if entry.covers(mutant)), None)
