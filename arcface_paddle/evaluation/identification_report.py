"""Reports of one-to-many tests and of IJB-B/C, for one or several models: HTML, PNG and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional, Sequence

from arcface_paddle import __version__, files
from arcface_paddle.evaluation.documents import identification_document, search_document, template_document
from arcface_paddle.evaluation.identification import IdentificationResult
from arcface_paddle.evaluation.identification_run import ModelIdentification
from arcface_paddle.evaluation.ijb_run import ModelTemplates
from arcface_paddle.evaluation.plots import Scores, cmc_figure, score_figure
from arcface_paddle.evaluation.report import far_text, percent, point_text, write_files
from arcface_paddle.reports import html
from arcface_paddle.reports.figures import png_bytes

RANKS_SHOWN = (1, 5, 10)
_EXPLANATION = (
    "TPIR: probes of people of the gallery who were named rightly; FPIR: probes of strangers who were given a name at "
    "the same threshold. In brackets 95 % Wilson intervals, probes counted as independent."
)


def identification_rows(entries: Sequence[tuple[str, IdentificationResult]]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of a table of (model, result): rank-k and TPIR@FPIR."""
    targets = [point.far_target for point in entries[0][1].open_set]
    ranks = [f"rank-{k}" for k in RANKS_SHOWN]
    head = ["model", "set", "people", "probes", *ranks, *(far_text(target, rate="FPIR") for target in targets)]
    rows = []
    for model, result in entries:
        interval = result.rank_1_interval
        first = f"{percent(result.rank(1))} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
        rows.append(
            [
                model,
                result.name,
                str(result.people),
                f"{result.mated} + {result.unmated} strangers",
                first,
                *(percent(result.rank(k)) for k in RANKS_SHOWN[1:]),
                *(point_text(point) if result.unmated else "no strangers" for point in result.open_set),
            ]
        )
    return head, rows


def template_rows(entries: Sequence[ModelTemplates]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of a table of 1:1 results; the published figure follows the one with its interval."""
    targets = [point.far_target for point in entries[0].verifications[0].operating_points]
    rows = []
    for entry in entries:
        for one in entry.verifications:
            cells = [
                point_text(point)
                if published is None or point.tar is None
                else f"{point_text(point)} ({100 * published:.2f})"
                for point, published in zip(one.operating_points, one.published_tar)
            ]
            rows.append([entry.model, one.name, "-" if one.auc is None else f"{one.auc:.5f}", *cells])
    return ["model", "set", "AUC", *map(far_text, targets)], rows


def write_identification_report(folder: files.PathLike, entries: Sequence[ModelIdentification], *, title: str) -> Path:
    """Write the report of a gallery and probe test and return the page's path.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        OSError: the folder cannot be written.
    """
    picture = png_bytes(cmc_figure({entry.model: entry.result for entry in entries}))
    head, rows = identification_rows([(entry.model, entry.result) for entry in entries])
    parts = [
        html.section("Identification", html.table(head, rows), _EXPLANATION),
        html.section("Curves", html.image(picture, alt="CMC and TPIR", width_px=1400)),
        _models_section([(entry.model, entry.description) for entry in entries]),
    ]
    page = html.page(title, parts, subtitle=f"arcface_paddle {__version__}")
    return write_files(folder, page=page, picture=picture, document=identification_report_document(entries))


def write_template_report(folder: files.PathLike, entries: Sequence[ModelTemplates], *, title: str) -> Path:
    """Write the report of IJB-B or IJB-C and return the page's path. Raises as ``write_identification_report``."""
    by_setting: dict[str, dict[str, Scores]] = {}
    for entry in entries:
        for one in entry.verifications:
            by_setting.setdefault(one.name, {})[entry.model] = Scores(one.similarities, one.issame)
    picture = png_bytes(score_figure(by_setting))
    head, rows = template_rows(entries)
    remark = (
        "In brackets 95 % Wilson intervals; in parentheses TAR as the published script reads it, at the point of the "
        "curve whose FAR is nearest to the target."
    )
    parts = [html.section("1:1", html.table(head, rows), remark)]
    if any(entry.searches for entry in entries):
        parts.append(html.section("1:N", html.table(*identification_rows(search_entries(entries))), _EXPLANATION))
    parts += [
        html.section("Curves", html.image(picture, alt="ROC, DET and similarities", width_px=1400)),
        _models_section([(entry.model, entry.description) for entry in entries]),
    ]
    page = html.page(title, parts, subtitle=f"arcface_paddle {__version__}")
    return write_files(folder, page=page, picture=picture, document=template_report_document(entries))


def search_entries(entries: Sequence[ModelTemplates]) -> list[tuple[str, IdentificationResult]]:
    """Return all 1:N results, (model, result): all galleries as one first, then each."""
    return [
        (entry.model, result)
        for entry in entries
        for search in entry.searches
        for result in (search.closed, *search.open.values())
    ]


def identification_report_document(entries: Sequence[ModelIdentification]) -> dict[str, Any]:
    """Return everything that was measured, for JSON."""
    models = [
        {"model": entry.model, "description": entry.description, **identification_document(entry.result)}
        for entry in entries
    ]
    return {"format": 1, "version": __version__, "models": models}


def template_report_document(entries: Sequence[ModelTemplates]) -> dict[str, Any]:
    """Return everything that was measured, for JSON."""
    models = [
        {
            "model": entry.model,
            "description": entry.description,
            "one_to_one": [template_document(one) for one in entry.verifications],
            "one_to_many": [search_document(search) for search in entry.searches],
        }
        for entry in entries
    ]
    return {"format": 1, "version": __version__, "models": models}


def _models_section(models: Sequence[tuple[str, Optional[str]]]) -> html.Html:
    return html.section("Models", html.table(["model", "loaded from"], models))
