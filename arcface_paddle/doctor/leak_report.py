"""What a leak check found: as text, as JSON values, as a page with pictures, and as a label file without the leaks."""

from __future__ import annotations

import datetime
from typing import Any, Iterator, Optional

import numpy as np

from arcface_paddle import __version__, files, images
from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.doctor.fix import CleanResult, write_kept
from arcface_paddle.doctor.leaks import LeakReport, LeakThreshold
from arcface_paddle.doctor.location import locate, short_path
from arcface_paddle.doctor.scan import read_checked
from arcface_paddle.errors import ImageError
from arcface_paddle.reports import charts, html

FORMAT = 1
"""Version of the document's layout; it rises when a key changes its meaning or goes."""

_LISTED = 10_000
_SHOWN_PX = 112
_OWN_PICTURES = 3
_PERCENTILES = (1, 25, 50, 75, 99, 100)
_BINS = 30


def leak_document(report: LeakReport) -> dict[str, Any]:
    """Return the report as JSON values.

    Keys: ``format``, ``version``, ``synthetic``, ``real``, ``people``, ``real_people``, ``compared_pictures``,
    ``unreadable_pictures``, ``resized_pictures``, ``false_alarm_rate``, ``thresholds``, ``distributions``,
    ``leak_count`` and ``leaks``.
    """
    rows = report.leaks[:_LISTED].tolist()
    return {
        "format": FORMAT,
        "version": __version__,
        "synthetic": report.synthetic.name,
        "real": report.real.name,
        "people": len(report.people),
        "real_people": len(report.real_people),
        "compared_pictures": list(report.compared),
        "unreadable_pictures": list(report.unreadable),
        "resized_pictures": list(report.resized),
        "false_alarm_rate": report.settings.false_alarm,
        "thresholds": {
            "means": _threshold_document(report.mean_threshold),
            "pictures": _threshold_document(report.picture_threshold),
        },
        "distributions": {
            "nearest_real_person_by_means": _percentiles(report.mean.similarity),
            "nearest_other_real_person_by_means": _percentiles(report.real_nearest),
            "nearest_real_picture": _percentiles(report.picture.similarity),
        },
        "leak_count": len(report.leaks),
        "leaks": [_leak_document(report, row) for row in rows],
    }


def leak_text(report: LeakReport, *, rows: int = 10) -> str:
    """Return the report as lines of text, with the first ``rows`` leaks."""
    synthetic, real = report.compared
    lines = [
        f"{report.synthetic.name}: {len(report.people):,} people, {synthetic:,} pictures",
        f"{report.real.name}: {len(report.real_people):,} people, {real:,} pictures",
        f"means:    {_threshold_words(report.mean_threshold)}",
        f"pictures: {_threshold_words(report.picture_threshold)}",
    ]
    for name, values in (("nearest real person of a synthetic one", report.mean.similarity),
                         ("nearest other real person of a real one", report.real_nearest)):  # fmt: skip
        found = _percentiles(values)
        if found:
            lines.append(f"{name}, by means: median {found['50']:.3f}, largest {found['100']:.3f}")
    if any(report.unreadable):
        lines.append(f"left out: {report.unreadable[0]} and {report.unreadable[1]} pictures that cannot be read")
    if any(report.resized):
        lines.append(
            f"resized: {report.resized[0]} and {report.resized[1]} pictures; aligned crops of 112x112 are needed"
        )
    lines.append(_verdict(report))
    lines += [f"  {_leak_words(report, row)}" for row in report.leaks[:rows].tolist()]
    if len(report.leaks) > rows:
        lines.append(f"  ... and {len(report.leaks) - rows:,} more")
    return "\n".join(lines)


def write_leak_page(report: LeakReport, path: files.PathLike, *, shown: int = 24) -> None:
    """Write the page atomically, with the leaks and the people who come nearest without being leaks.

    Raises:
        OSError: the file cannot be written.
    """
    now = datetime.datetime.now(datetime.timezone.utc)
    subtitle = (
        f"{report.synthetic.name} against {report.real.name} · arcface_paddle {__version__} · {now:%Y-%m-%d %H:%M} UTC"
    )
    html.write_page(path, "Leak check", _parts(report, shown), subtitle=subtitle)


def write_without_leaks(report: LeakReport, target: files.PathLike) -> CleanResult:
    """Write a label file of the synthetic set without the leaks, see ``fix.write_kept``.

    Raises:
        ConfigError: ``target`` exists already.
        DataError: nothing would be left.
    """
    leaked = np.isin(report.synthetic.labels, report.people[report.leaks])
    return write_kept(
        report.synthetic,
        ~leaked,
        target,
        removed={"near a real person": int(leaked.sum())},
        removed_lines=_removed_lines(report, np.flatnonzero(leaked)),
    )


def _removed_lines(report: LeakReport, removed: np.ndarray) -> Iterator[str]:
    yield "# index\tpath\tlabel\treason"
    words = {int(report.people[row]): _leak_words(report, row) for row in report.leaks.tolist()}
    for index in removed.tolist():
        label = int(report.synthetic.labels[index])
        yield f"{index}\t{short_path(report.synthetic, index)}\t{label}\t{words[label]}"


def _threshold_document(threshold: LeakThreshold) -> dict[str, Any]:
    return {
        "similarity": None if threshold.similarity is None else round(threshold.similarity, 4),
        "comparisons": threshold.comparisons,
        "rate_of_one_comparison": float(f"{threshold.rate:.3g}"),
        "measured_tail": [[rate, round(similarity, 4)] for rate, similarity in threshold.measured],
        "card_tail": [[rate, round(similarity, 4)] for rate, similarity in threshold.card],
        "reason": threshold.reason,
    }


def _threshold_words(threshold: LeakThreshold) -> str:
    if threshold.similarity is None:
        return f"not judged: {threshold.reason}"
    return f"leak from {threshold.similarity:.3f} on, {threshold.comparisons:,} comparisons; {threshold.reason}"


def _percentiles(values: np.ndarray) -> dict[str, float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return {}
    return {str(share): round(float(np.percentile(known, share)), 4) for share in _PERCENTILES}


def _leak_document(report: LeakReport, row: int) -> dict[str, Any]:
    own, other = int(report.own_picture[row]), int(report.picture.row[row])
    place, real_place = locate(report.synthetic, [own])[own], locate(report.real, [other])[other]
    return {
        "label": int(report.people[row]),
        "by": [name for name, found in (("mean", report.by_mean), ("picture", report.by_picture)) if found[row]],
        "mean_similarity": round(float(report.mean.similarity[row]), 4),
        "real_label_by_mean": int(report.real_people[report.mean.row[row]]),
        "picture_similarity": round(float(report.picture.similarity[row]), 4),
        "picture": _writable(place.path),
        "real_picture": _writable(real_place.path),
        "real_label_by_picture": real_place.label,
    }


def _leak_words(report: LeakReport, row: int) -> str:
    other = int(report.picture.row[row])
    return (
        f"person {report.people[row]}: mean {report.mean.similarity[row]:.3f} to real person "
        f"{report.real_people[report.mean.row[row]]}, a picture {report.picture.similarity[row]:.3f} to one of real "
        f"person {report.real.labels[other]}"
    )


def _writable(path: str) -> str:
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def _verdict(report: LeakReport) -> str:
    count, chance = len(report.leaks), report.settings.false_alarm
    people = f"{count:,} of {len(report.people):,} synthetic people"
    rate = "" if report.settings.similarity is not None else f" (false alarm rate of the whole check {chance:g})"
    return f"{people} {'is' if count == 1 else 'are'} near a real person{rate}"


def _parts(report: LeakReport, shown: int) -> list[html.Html]:
    leaks = report.leaks
    closest = np.argsort(-report.mean.similarity, kind="stable")
    others = closest[~np.isin(closest, leaks)][:shown]
    return [
        html.tiles(
            [
                ("synthetic people", len(report.people)),
                ("real people", len(report.real_people)),
                ("near a real person", len(leaks)),
                ("false alarm rate", report.settings.false_alarm),
            ]
        ),
        html.notice(_verdict(report), tone="bad" if len(leaks) else "good"),
        _threshold_section(report),
        _distributions(report),
        _people_section("Near a real person", report, leaks[:shown], hidden=len(leaks) - shown),
        _people_section("Nearest of the others, by means", report, others, hidden=0),
    ]


def _threshold_section(report: LeakReport) -> html.Html:
    rows = [
        (name, threshold.similarity, threshold.comparisons, f"{threshold.rate:.1e}", threshold.reason)
        for name, threshold in (("means of people", report.mean_threshold), ("pictures", report.picture_threshold))
    ]
    points = [
        (name, f"{rate:.0e}", similarity)
        for name, threshold in (("means, these real people", report.mean_threshold.measured),
                                ("pictures, these real people", report.picture_threshold.measured),
                                ("pictures, card of the recogniser", report.picture_threshold.card))
        for rate, similarity in threshold
    ]  # fmt: skip
    return html.section(
        "What counts",
        html.table(("compared", "leak from", "comparisons", "rate of one", "how"), rows),
        html.details("how similar strangers are", html.table(("strangers", "rate", "similarity"), points)),
    )


def _distributions(report: LeakReport) -> html.Html:
    figures = [
        _histogram(report.mean.similarity, "Synthetic people: nearest real person", "cosine of means"),
        _histogram(report.real_nearest, "Real people: nearest other real person", "cosine of means"),
        _histogram(report.picture.similarity, "Synthetic people: nearest real picture", "cosine of pictures"),
    ]
    return html.section("How near", html.grid(figures))


def _histogram(values: np.ndarray, title: str, x_title: str) -> html.Html:
    known = values[np.isfinite(values)]
    axes = charts.Axes(title, x_title=x_title, y_title="people")
    return charts.histogram(known, axes=axes, bins=_BINS) if len(known) else html.Html()


def _people_section(title: str, report: LeakReport, rows: np.ndarray, *, hidden: int) -> html.Html:
    if not len(rows):
        return html.section(title, "Nobody.")
    parts = [html.cards((_leak_words(report, row), _pictures(report, row)) for row in rows.tolist())]
    if hidden > 0:
        parts.append(html.paragraph(f"... and {hidden:,} more (see the JSON report)."))
    return html.section(title, *parts)


def _pictures(report: LeakReport, row: int) -> html.Html:
    """Show the nearest pair of pictures, then more of both people."""
    own, other = int(report.own_picture[row]), int(report.picture.row[row])
    label, real_label = report.people[row], report.real_people[report.mean.row[row]]
    more = [index for index in _some_of(report.synthetic, label) if index != own]
    real_more = [index for index in _some_of(report.real, real_label) if index != other]
    figures = [
        _figure(report.synthetic, own, f"synthetic {label}"),
        _figure(report.real, other, f"nearest picture, real {report.real.labels[other]}"),
        *(_figure(report.synthetic, index, f"synthetic {label}") for index in more),
        *(_figure(report.real, index, f"real {real_label}, nearest by mean") for index in real_more),
    ]
    return html.grid(figure for figure in figures if figure is not None)


def _some_of(dataset: FaceDataset, label: int) -> list[int]:
    return np.flatnonzero(dataset.labels == label)[:_OWN_PICTURES].tolist()


def _figure(dataset: FaceDataset, index: int, caption: str) -> Optional[html.Html]:
    try:
        image = read_checked(dataset, index)[1]
    except ImageError:
        return None
    if image is None:
        return None
    return html.image(images.shrink(image, longest_side=_SHOWN_PX), alt=caption, caption=caption)
