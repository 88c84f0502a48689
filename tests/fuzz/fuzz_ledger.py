"""What all runs together have tried: counts and CPU time of each target and engine, in a file to go on from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Optional, Sequence

from arcface_paddle import files

FORMAT = 1
_EMPTY = {"inputs": 0, "answers": 0, "cpu_s": 0.0, "slices": 0, "next": {}, "violations": []}


class Ledger:
    """The counts of all runs.

    Attributes:
        path: of the file; None for one that is not kept.
        targets: by name, by engine: inputs, answers, seconds of CPU time, slices, the number of the next mutation of
            each seed, and what was violated.
    """

    def __init__(self, path: Optional[Path]) -> None:
        """Read what is there."""
        self.path = path
        self.targets: dict[str, dict[str, dict[str, Any]]] = {}
        if path is not None and path.exists():
            document = json.loads(path.read_text(encoding="utf-8"))
            if document.get("format") != FORMAT:
                raise SystemExit(f"{path}: no ledger of format {FORMAT}; name another file")
            self.targets = document["targets"]

    def of(self, target: str, engine: str) -> dict[str, Any]:
        """Return the counts of a target and an engine."""
        return self.targets.setdefault(target, {}).setdefault(engine, json.loads(json.dumps(_EMPTY)))

    def inputs(self, target: str) -> int:
        return sum(one["inputs"] for one in self.targets.get(target, {}).values())

    def cpu_s(self, target: str) -> float:
        return sum(one["cpu_s"] for one in self.targets.get(target, {}).values())

    def total(self) -> int:
        return sum(map(self.inputs, self.targets))

    def first(self, target: str, engine: str, seed: int) -> int:
        """Return the number of the mutation with which a seed goes on."""
        return int(self.of(target, engine)["next"].get(str(seed), 0))

    def least_tried(self, target: str, engines: Sequence[str]) -> str:
        """Return the engine that a target has seen least of."""
        return min(engines, key=lambda engine: self.of(target, engine)["inputs"])

    def add(self, row: dict[str, Any], *, seed: int) -> None:
        """Count a slice, and save."""
        counts = self.of(row["target"], row["engine"])
        for key in ("inputs", "answers", "cpu_s"):
            counts[key] = round(counts[key] + row[key], 1)
        counts["slices"] += 1
        counts["next"][str(seed)] = counts["next"].get(str(seed), 0) + row["inputs"]
        counts["violations"] = sorted({*counts["violations"], *row["violations"]})
        if self.path is not None:
            files.write_json(self.path, {"format": FORMAT, "targets": self.targets})

    def violations(self) -> list[tuple[str, str]]:
        """Return (target, what it did) of all slices."""
        return [
            (target, what)
            for target, engines in sorted(self.targets.items())
            for what in sorted({what for counts in engines.values() for what in counts["violations"]})
        ]

    def rows(self, engines: Sequence[str]) -> list[list[str]]:
        """Return the table: a target a line, the totals last."""
        lines = [
            [
                target,
                *(f"{self.of(target, engine)['inputs']:,.0f}" for engine in engines),
                f"{self.inputs(target):,.0f}",
                f"{sum(one['answers'] for one in self.targets[target].values()) / max(self.inputs(target), 1):.0%}",
                f"{self.cpu_s(target):,.0f}",
                str(len({what for one in self.targets[target].values() for what in one["violations"]})),
            ]
            for target in sorted(self.targets)
        ]
        sums = [sum(self.of(target, engine)["inputs"] for target in self.targets) for engine in engines]
        seconds = sum(map(self.cpu_s, self.targets))
        last = [f"{len(lines)} targets", *(f"{one:,.0f}" for one in sums), f"{self.total():,.0f}", ""]
        return [*lines, [*last, f"{seconds:,.0f}", str(len(self.violations()))]]
