"""What is known of the rooms, in Markdown."""

from __future__ import annotations

from typing import Optional

from mutants.campaign import CAUGHT, Campaign
from mutants.operators import Mutant
from mutants.reviewed import Reviewed, review_of

_HEAD = ("room", "mutants", "tested", "caught", "too slow or dead", "equivalent", "survivors", "caught of the rest")


def write_report(campaigns: dict[str, Campaign], reviewed: list[Reviewed], *, least: float) -> tuple[str, bool]:
    """Return the table of the rooms, all survivors and all that is equivalent, and whether enough was caught.

    Args:
        campaigns: by room.
        reviewed: what was found by looking.
        least: percent of what was tested and makes a difference that have to be caught.
    """
    rows, good, survivors, alike = [], True, [], []
    for name, campaign in campaigns.items():
        everyone = campaign.all_mutants()
        reviews = {mutant.key: review_of(mutant, reviewed) for mutant in everyone}
        counted = [
            (mutant, known)
            for mutant in everyone
            for known in [campaign.outcome(mutant)]
            if known and not _is_equivalent(reviews[mutant.key])
        ]
        caught = [known for _, known in counted if known["outcome"] == CAUGHT]
        left = [(mutant, known["outcome"]) for mutant, known in counted if known["outcome"] != CAUGHT]
        room_alike = [mutant for mutant in everyone if _is_equivalent(reviews[mutant.key])]
        share = 100 * len(caught) / len(counted) if counted else 0.0
        good = good and share >= least
        ended = sum("how" in known for known in caught)
        numbers = (len(everyone), len(counted), len(caught), ended, len(room_alike), len(left))
        rows.append([name, *map(str, numbers), f"{share:.1f} %" if counted else "-"])
        survivors += [_described(mutant, outcome, reviews[mutant.key]) for mutant, outcome in left]
        alike += [_described(mutant, "equivalent", reviews[mutant.key]) for mutant in room_alike]
    parts = ["# Mutants", _table([list(_HEAD), ["---"] * len(_HEAD), *rows]), "## Survivors", *(survivors or ["None."])]
    return "\n\n".join([*parts, "## Equivalent", *(alike or ["None."])]) + "\n", good


def _table(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _is_equivalent(review: Optional[Reviewed]) -> bool:
    return review is not None and not review.noticeable


def _described(mutant: Mutant, outcome: str, review: Optional[Reviewed]) -> str:
    place = f"{mutant.file}:{mutant.lines[0]} in {mutant.function or 'the module'}"
    reason = f"Reason: {review.reason}." if review else "Nobody has judged it yet."
    return f"- {outcome}: {place}: {mutant.change}\n  `{mutant.shown}`\n  {reason}"
