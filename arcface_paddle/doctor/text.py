"""The report as text for the terminal."""

from __future__ import annotations

from typing import Any, Iterable, Sequence

from prettytable import PrettyTable

from arcface_paddle.doctor.document import locate_findings, statistics_document
from arcface_paddle.doctor.examination import Report
from arcface_paddle.doctor.findings import PROBLEM, Finding, Kind
from arcface_paddle.doctor.location import Location

_PLACES_PER_FINDING = 3  # a finding of a thousand copies must fit the terminal; JSON has them all
_LABELS_PER_FINDING = 4


def report_text(report: Report, *, rows_per_kind: int = 10) -> str:
    """Return the report as tables: facts, images per identity, one table for each kind of finding, the verdict.

    Args:
        report: what was found.
        rows_per_kind: findings shown of each kind; the rest is counted.
    """
    places = locate_findings(report)
    facts = statistics_document(report)
    parts = [
        _table(("fact", "value"), fact_rows(report, facts)),
        _table(("images per identity", "identities"), facts["images_per_identity_histogram"].items()),
    ]
    parts += [_kind_text(report, kind, places=places, rows=rows_per_kind) for kind in report.ledger.kinds_found()]
    parts.append(verdict(report))
    return "\n\n".join(parts)


def fact_rows(report: Report, facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the leading facts as (name, value) for text and page; ``facts`` as of ``statistics_document``."""
    per_identity, size = facts["images_per_identity"], facts["encoded_bytes"]
    rows = [
        ("dataset", report.dataset.name),
        ("images", f"{facts['images']:,}" + (f", {report.examined:,} examined" if report.settings.sample else "")),
        ("identities", f"{facts['identities']:,} (classes: {facts['num_classes']:,})"),
        (
            "images per identity",
            f"{per_identity['min']} to {per_identity['max']}, median {per_identity['median']:g}, "
            f"mean {per_identity['mean']:.1f}",
        ),
        ("broken images", f"{facts['broken']:,}"),
        ("surplus exact duplicates", f"{facts['exact_duplicate_surplus']:,}"),
    ]
    if facts["readable"]:
        sizes = ", ".join(f"{name}: {count:,}" for name, count in list(facts["sizes"].items())[:3])
        more = f" and {facts['distinct_sizes'] - 3} more" if facts["distinct_sizes"] > 3 else ""
        rows += [
            ("picture sizes", sizes + more),
            ("bytes per picture", f"{size['min']:,} to {size['max']:,}, median {size['median']:,.0f}"),
            ("mean of R, G, B", ", ".join(f"{value:.1f}" for value in facts["color_mean_rgb"])),
            ("deviation of R, G, B", ", ".join(f"{value:.1f}" for value in facts["color_std_rgb"])),
        ]
    if facts["own_similarity"]:
        own = facts["own_similarity"]
        rows.append(
            (
                "similarity to own identity",
                f"median {own['median']:.3f}, 5 % below {own['percentile_5']:.3f}",
            )
        )
    rows.append(("time", f"{report.seconds:.1f} s"))
    return rows


def verdict(report: Report) -> str:
    """Return the last line: how many findings are problems."""
    notes = sum(report.ledger.counts.values()) - report.problems
    tail = f"; {notes:,} {'note or ignored finding' if notes == 1 else 'notes or ignored findings'}" if notes else ""
    if report.problems == 0:
        return f"no problems found{tail}"
    return f"{report.problems:,} problem{'s' if report.problems > 1 else ''} found{tail}"


def _kind_text(report: Report, kind: Kind, *, places: dict[int, Location], rows: int) -> str:
    count = report.ledger.counts[kind.key]
    findings = report.ledger.listed(kind.key)[:rows]
    word = "problem" if kind.severity == PROBLEM and kind.key not in report.settings.ignored else "note"
    lines = [f"{kind.title}: {count:,} ({word}: {kind.key})", kind.advice]
    lines.append(_table(("where", "label", "what"), (_finding_row(finding, places) for finding in findings)))
    if count > len(findings):
        lines.append(f"... and {count - len(findings):,} more (see the JSON or HTML report)")
    return "\n".join(lines)


def _finding_row(finding: Finding, places: dict[int, Location]) -> tuple[str, str, str]:
    shown = finding.samples[:_PLACES_PER_FINDING]
    where = [str(places[index]) for index in shown]
    if len(finding.samples) > len(shown):
        where.append(f"and {len(finding.samples) - len(shown)} more")
    labels = [str(label) for label in dict.fromkeys(finding.labels or (places[index].label for index in shown))]
    more = ", ..." if len(labels) > _LABELS_PER_FINDING else ""
    return "\n".join(where) or "-", ", ".join(labels[:_LABELS_PER_FINDING]) + more, finding.detail


def _table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    table = PrettyTable(list(headers), align="l")
    table.add_rows([list(row) for row in rows])
    table.max_width = 72
    return str(table.get_string())
