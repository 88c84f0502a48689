"""What ``subcentres`` has found, written down: a list, a page with pictures, a label file without the doubted ones."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Iterator

import numpy as np

from arcface_paddle import __version__, files
from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.doctor.fix import CleanResult, write_kept, write_lines
from arcface_paddle.doctor.location import locate, short_path
from arcface_paddle.doctor.subcentres import SubcentreReport
from arcface_paddle.errors import DataError, ImageError
from arcface_paddle.reports import charts, html

_REASON_FAR = "far from the dominant sub-centre"
_REASON_OTHER = "nearer to another sub-centre"
_EXAMPLES_OF_CLASS = 3
_BINS = 36  # of 5 degrees


def reason_of(report: SubcentreReport, index: int) -> str:
    """Return why a picture is doubted."""
    return _REASON_FAR if report.angle_deg[index] > report.rule.max_angle_deg else _REASON_OTHER


def write_list(dataset: FaceDataset, report: SubcentreReport, path: files.PathLike) -> None:
    """Write a line for each doubted picture, the largest angle first.

    The columns are index, line of the label file, path, label, angle to the dominant sub-centre in degrees, nearest and
    dominant sub-centre, reason. Raises ``OSError`` when it cannot be written.
    """
    write_lines(Path(path), _lines(dataset, report))


def write_without(dataset: FaceDataset, report: SubcentreReport, target: files.PathLike) -> CleanResult:
    """Write a label file without the doubted pictures, its labels numbered anew, see ``fix.write_kept``.

    Raises:
        ConfigError: ``target`` exists already.
        DataError: nothing would be left.
    """
    reasons = [reason_of(report, index) for index in np.flatnonzero(report.doubted).tolist()]
    removed = {reason: reasons.count(reason) for reason in (_REASON_FAR, _REASON_OTHER) if reason in reasons}
    return write_kept(dataset, ~report.doubted, target, removed=removed, removed_lines=_lines(dataset, report))


def write_page(dataset: FaceDataset, report: SubcentreReport, path: files.PathLike, *, pictures: int = 24) -> None:
    """Write a page that shows the doubted pictures beside some that lie next to the dominant sub-centre of their class.

    Args:
        dataset: where the pictures are.
        report: what was found.
        path: the new file.
        pictures: doubted pictures shown; the rest is counted.

    Raises:
        OSError: it cannot be written.
    """
    now = datetime.datetime.now(datetime.timezone.utc)
    subtitle = f"{dataset.name} · arcface_paddle {__version__} · {now:%Y-%m-%d %H:%M} UTC"
    doubted = report.worst_first().tolist()
    parts = [_overview(dataset, report), _angles(report), _doubted(dataset, report, doubted[:pictures])]
    if len(doubted) > pictures:
        parts.append(html.paragraph(f"... and {len(doubted) - pictures:,} more, see the list."))
    html.write_page(path, "Doubtful labels by sub-centres", parts, subtitle=subtitle)


def _lines(dataset: FaceDataset, report: SubcentreReport) -> Iterator[str]:
    yield "# index\tline\tpath\tlabel\tangle_deg\tnearest\tdominant\treason"
    doubted = report.worst_first().tolist()
    places = locate(dataset, doubted)
    for index in doubted:
        place = places[index]
        line = "" if place.line is None else place.line
        angle, nearest, dominant = report.angle_deg[index], report.nearest[index], report.dominant[place.label]
        path, reason = short_path(dataset, index), reason_of(report, index)
        yield f"{index}\t{line}\t{path}\t{place.label}\t{angle:.2f}\t{nearest}\t{dominant}\t{reason}"


def _overview(dataset: FaceDataset, report: SubcentreReport) -> html.Html:
    doubted = int(report.doubted.sum())
    known = report.nearest >= 0
    apart = report.nearest[known] != report.dominant[dataset.labels[known]]
    return html.join(
        [
            html.tiles(
                [
                    ("images", len(dataset)),
                    ("doubted", doubted),
                    ("identities with a doubted image", len(np.unique(dataset.labels[report.doubted]))),
                    ("nearer to another sub-centre", int(apart.sum())),
                    ("unreadable", report.unreadable),
                ]
            ),
            html.notice(
                f"{doubted:,} of {len(dataset):,} images are doubted ({doubted / len(dataset):.1%})",
                tone="bad" if doubted else "good",
            ),
        ]
    )


def _angles(report: SubcentreReport) -> html.Html:
    known = report.angle_deg[report.nearest >= 0]
    if not len(known):
        return html.section("Angles", "No image could be read.")
    axes = charts.Axes("Angle to the dominant sub-centre of the own class", "degrees", "images")
    text = f"Doubted above {report.rule.max_angle_deg:g} degrees."
    if report.rule.nondominant:
        text += " Doubted too: nearer to another sub-centre."
    return html.section("Angles", text, charts.histogram(known, axes=axes, bins=_BINS))


def _doubted(dataset: FaceDataset, report: SubcentreReport, shown: list[int]) -> html.Html:
    if not shown:
        return html.section("Doubted images", "None.")
    cards = []
    for index in shown:
        label = int(dataset.labels[index])
        caption = f"{report.angle_deg[index]:.0f}°: {short_path(dataset, index)}"
        figures = [_figure(dataset, index, caption)]
        figures += [_figure(dataset, other, "of the class") for other in _examples(dataset, report, label)]
        cards.append((f"label {label}: {reason_of(report, index)}", html.grid(figures)))
    return html.section("Doubted images", html.cards(cards))


def _examples(dataset: FaceDataset, report: SubcentreReport, label: int) -> list[int]:
    """Return the pictures of a class that lie nearest to its dominant sub-centre."""
    own = np.flatnonzero((dataset.labels == label) & ~report.doubted & (report.nearest >= 0))
    chosen: list[int] = own[np.argsort(report.angle_deg[own], kind="stable")][:_EXAMPLES_OF_CLASS].tolist()
    return chosen


def _figure(dataset: FaceDataset, index: int, caption: str) -> html.Html:
    try:
        return html.image(dataset.read_image(index), alt=caption, caption=caption)
    except (DataError, ImageError):  # it could be read a moment ago
        return html.paragraph(caption)
