"""The report as one self-contained HTML page with pictures."""

from __future__ import annotations

import datetime
import re
from typing import Any, Iterable, Optional

import numpy as np

from arcface_paddle import __version__, files, images
from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.doctor.document import locate_findings, statistics_document
from arcface_paddle.doctor.examination import Report
from arcface_paddle.doctor.findings import PROBLEM, Finding, Kind
from arcface_paddle.doctor.location import Location, locate, short_path
from arcface_paddle.doctor.overlap import decode_reference
from arcface_paddle.doctor.scan import read_checked
from arcface_paddle.doctor.text import fact_rows, verdict
from arcface_paddle.errors import ImageError
from arcface_paddle.reports import charts, html

_SHOWN_PX = 112  # the size of a crop: most pictures are shown as they are
_PICTURES_PER_FINDING = 6
_EXAMPLES = 14  # two rows of a page
_HISTOGRAM_BINS = 24
_FLAG = re.compile(r"(--\w+)")


def write_report_page(report: Report, path: files.PathLike, *, findings_per_kind: int = 24) -> None:
    """Write the page atomically.

    Args:
        report: what was found.
        path: the new file.
        findings_per_kind: findings shown of each kind; the rest is counted.

    Raises:
        OSError: the file cannot be written.
    """
    now = datetime.datetime.now(datetime.timezone.utc)
    subtitle = f"{report.dataset.name} · arcface_paddle {__version__} · {now:%Y-%m-%d %H:%M} UTC"
    html.write_page(path, "Dataset doctor", _parts(report, findings_per_kind), subtitle=subtitle)


def _parts(report: Report, findings_per_kind: int) -> list[html.Html]:
    places = locate_findings(report)
    facts = statistics_document(report)
    tone = "bad" if report.problems else "good"
    parts = [
        html.tiles(
            [
                ("images", facts["images"]),
                ("examined", report.examined),
                ("identities", facts["identities"]),
                ("problems", report.problems),
            ]
        ),
        html.notice(verdict(report), tone=tone),
        _overview(report),
        html.section("Facts", html.table(("fact", "value"), fact_rows(report, facts)), _charts(report, facts)),
        _examples(report),
    ]
    shower = _Shower(report, places)
    parts += [shower.section(kind, findings_per_kind) for kind in report.ledger.kinds_found()]
    parts.append(_settings(report))
    return parts


def _overview(report: Report) -> html.Html:
    kinds = report.ledger.kinds_found()
    if not kinds:
        return html.section("Findings", "Nothing was found.")
    rows = [
        (
            _badge(report, kind),
            html.link(kind.title, anchor=kind.key),
            report.ledger.counts[kind.key],
            _with_flags(kind.advice),
        )
        for kind in kinds
    ]
    return html.section("Findings", html.table(("", "kind", "count", "what it means, what to do"), rows))


def _with_flags(text: str) -> html.Html:
    """Return text in which the flags of commands stand out."""
    return html.join(html.flag(part) if part.startswith("--") else part for part in _FLAG.split(text))


def _badge(report: Report, kind: Kind) -> html.Html:
    counts = kind.severity == PROBLEM and kind.key not in report.settings.ignored
    return html.badge("problem" if counts else "note", tone="bad" if counts else "plain")


def _charts(report: Report, facts: dict[str, Any]) -> html.Html:
    per_identity = facts["images_per_identity_histogram"]
    axes = charts.Axes("Images per identity", x_title="images", y_title="identities")
    figures = [charts.bar_chart(list(per_identity), list(per_identity.values()), axes=axes)]
    good = report.scan.good()
    if len(good):
        kilobytes = report.scan.encoded_bytes[good] / 1024
        figures.append(_histogram(kilobytes, charts.Axes("Size of the encoded pictures", "KiB", "images")))
    if len(facts["sizes"]) > 1:
        axes = charts.Axes("Width x height of the pictures", x_title="pixels", y_title="images")
        figures.append(charts.bar_chart(list(facts["sizes"]), list(facts["sizes"].values()), axes=axes))
    if report.identities is not None:
        own = report.identities.own_similarity
        axes = charts.Axes("Similarity to the own identity", "cosine to the centroid of its other images", "images")
        figures.append(_histogram(own[np.isfinite(own)], axes))
    return html.grid(figures)


def _histogram(values: np.ndarray, axes: charts.Axes) -> html.Html:
    return charts.histogram(values, axes=axes, bins=_HISTOGRAM_BINS) if len(values) else html.Html()


def _examples(report: Report) -> html.Html:
    good = report.scan.good()
    if not len(good):
        return html.section("Examples", "No image could be read.")
    rng = np.random.default_rng(report.settings.seed)
    chosen = np.sort(rng.choice(good, min(_EXAMPLES, len(good)), replace=False)).tolist()
    places = locate(report.dataset, chosen)
    return html.section("Examples", html.grid(_figures(report.dataset, places, chosen)))


def _settings(report: Report) -> html.Html:
    rows = [
        (name, str(sorted(value) if isinstance(value, frozenset) else value))
        for name, value in vars(report.settings).items()
    ]
    rows.append(("verification sets", ", ".join(report.verification) or "none"))
    rows.append(("recogniser", "used" if report.identities is not None else "not used"))
    return html.section("Settings", html.details("what was looked for", html.table(("setting", "value"), rows)))


class _Shower:
    """Shows findings with their pictures."""

    def __init__(self, report: Report, places: dict[int, Location]) -> None:
        self._report = report
        references = {
            index
            for kind in report.ledger.kinds_found()
            for finding in report.ledger.listed(kind.key)
            for index in finding.references
        }
        self._places = {**locate(report.dataset, references), **places}

    def section(self, kind: Kind, limit: int) -> html.Html:
        count = self._report.ledger.counts[kind.key]
        findings = self._report.ledger.listed(kind.key)[:limit]
        title = html.join([f"{kind.title} ", _badge(self._report, kind)])
        parts = [html.paragraph(f"{count:,} found. ", _with_flags(kind.advice))]
        if all(
            len(finding.samples) <= 1 and not finding.references and not finding.verification for finding in findings
        ):
            parts.append(self._table(findings))
            shown = [finding.samples[0] for finding in findings if finding.samples]
            parts.append(html.grid(_figures(self._report.dataset, self._places, shown)))
        else:
            parts.append(html.cards(self._card(finding) for finding in findings))
        if count > len(findings):
            parts.append(html.paragraph(f"... and {count - len(findings):,} more (see the JSON report)."))
        return html.section(title, *parts, anchor=kind.key)

    def _table(self, findings: Iterable[Finding]) -> html.Html:
        rows = []
        for finding in findings:
            place = self._places[finding.samples[0]] if finding.samples else None
            where = None if place is None else html.code(place.path)
            rows.append((where, None if place is None else place.line, finding.detail))
        return html.table(("where", "line", "what"), rows)

    def _card(self, finding: Finding) -> tuple[str, html.Html]:
        figures, shown = [], 0
        for prefix, group in _begin_of_groups(finding):
            figures += _figures(self._report.dataset, self._places, group, prefix=prefix)
            shown += len(group)
        figures += _figures(self._report.dataset, self._places, finding.references, prefix="compare: ")
        figures += [self._verification_figure(finding, at) for at in range(_verification_pictures(finding))]
        hidden = len(finding.samples) - shown
        tail = f" ({hidden} more images)" if hidden else ""
        return finding.detail + tail, html.grid(figures)

    def _verification_figure(self, finding: Finding, at: int) -> html.Html:
        ref = finding.verification[at]
        image = decode_reference(self._report.verification, ref)
        caption = f"{ref.set_name} picture {ref.image}, pair {ref.pair}"
        return html.image(images.shrink(image, longest_side=_SHOWN_PX), alt=caption, caption=caption)


def _verification_pictures(finding: Finding) -> int:
    """Return how many pictures of verification sets to show: one where all places hold the same picture."""
    return min(len(finding.verification), 1 if finding.kind == "verification_image" else 3)


def _begin_of_groups(finding: Finding) -> list[tuple[str, tuple[int, ...]]]:
    """Return the images that are shown of a finding, those of each of its groups with a caption that numbers it."""
    if not finding.groups:
        return [("", finding.samples[:_PICTURES_PER_FINDING])]
    sizes = finding.groups[:_PICTURES_PER_FINDING]
    each = _PICTURES_PER_FINDING // len(sizes)
    begins = np.cumsum((0, *sizes)).tolist()
    return [
        (f"cluster {number}: ", finding.samples[begin : begin + min(each, size)])
        for number, (begin, size) in enumerate(zip(begins, sizes))
    ]


def _figures(
    dataset: FaceDataset, places: dict[int, Location], indices: Iterable[int], *, prefix: str = ""
) -> list[html.Html]:
    """Return a figure for each image that can be decoded at all."""
    figures = []
    for index in indices:
        picture = _picture(dataset, index)
        if picture is not None:
            place = places[index]
            line = "" if place.line is None else f", line {place.line}"
            caption = f"{prefix}label {place.label}, {short_path(dataset, index)}{line}"
            figures.append(html.image(picture, alt=caption, caption=caption))
    return figures


def _picture(dataset: FaceDataset, index: int) -> Optional[np.ndarray]:
    try:
        image = read_checked(dataset, index)[1]
    except ImageError:
        return None
    return None if image is None else images.shrink(image, longest_side=_SHOWN_PX)
