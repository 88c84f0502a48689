"""The report of a verification: one self-contained HTML page, one PNG, one JSON, for one or several models."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping, Sequence

import numpy as np

from arcface_paddle import __version__, files
from arcface_paddle.evaluation.documents import verification_document
from arcface_paddle.evaluation.metrics import OperatingPoint
from arcface_paddle.evaluation.plots import Scores, score_figure
from arcface_paddle.evaluation.similarity import MEASURES
from arcface_paddle.evaluation.verification import ValidationRate, VerificationResult
from arcface_paddle.reports import html
from arcface_paddle.reports.figures import png_bytes

if TYPE_CHECKING:
    from arcface_paddle.data.verification_set import VerificationSet

HARDEST_PAIRS = 8


@dataclass(frozen=True)
class ModelResults:
    """What one model reached.

    Attributes:
        model: name for tables and legends.
        description: what it was loaded from.
        results: one per set, the same sets in the same order for every model of a report.
    """

    model: str
    description: str
    results: Sequence[VerificationResult]


def report_document(models: Sequence[ModelResults]) -> dict[str, Any]:
    """Return everything that was measured, for JSON."""
    return {
        "format": 1,
        "version": __version__,
        "models": [
            {
                "model": entry.model,
                "description": entry.description,
                "sets": [verification_document(result) for result in entry.results],
            }
            for entry in models
        ],
    }


def write_report(
    folder: files.PathLike, models: Sequence[ModelResults], sets: Mapping[str, VerificationSet], *, title: str
) -> Path:
    """Write ``report.html``, ``report.png`` and ``report.json`` into ``folder`` and return the page's path.

    Everything is composed before the first file is written.

    Args:
        folder: made when it is not there; other files in it stay.
        models: one or more.
        sets: by name, for the pictures of the hardest pairs.
        title: heading.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        OSError: the folder cannot be written.
    """
    by_set = {name: {entry.model: _scores(entry, name) for entry in models if _has(entry, name)} for name in sets}
    picture = png_bytes(score_figure(by_set))
    measure = MEASURES[models[0].results[0].measure]
    parts = [
        html.section(
            "Summary", _summary_table(models), f"Compared by {measure.name}: {measure.meaning}.", _VAL_EXPLANATION
        ),
        html.section("TAR at FAR", _tar_table(models), _TAR_EXPLANATION),
        *(_set_section(name, by_set[name], models, sets[name]) for name in sets),
        html.section("Models", html.table(["model", "loaded from"], [[m.model, m.description] for m in models])),
    ]
    page = html.page(title, parts, subtitle=f"arcface_paddle {__version__}")
    return write_files(folder, page=page, picture=picture, document=report_document(models))


def write_files(folder: files.PathLike, *, page: str, picture: bytes, document: dict[str, Any]) -> Path:
    """Write ``report.html``, ``report.png`` and ``report.json`` and return the page's path."""
    target = Path(folder)
    files.write_json(target / "report.json", document)
    files.write_bytes(target / "report.png", picture)
    files.write_text(target / "report.html", page)
    return target / "report.html"


def percent(share: float) -> str:
    """Return a share as a percentage with two decimals.

    >>> percent(0.99617)
    '99.62 %'
    """
    return f"{100 * share:.2f} %"


def point_text(point: OperatingPoint) -> str:
    """Return TAR with its interval, or in short why there is none."""
    if point.tar is None or point.tar_interval is None:
        return point.remark.split(":")[0]
    return f"{percent(point.tar)} [{100 * point.tar_interval.low:.1f}, {100 * point.tar_interval.high:.1f}]"


def val_text(rate: ValidationRate) -> str:
    """Return VAL with the FAR that was realised in units of the target, or in short why there is none.

    >>> val_text(ValidationRate(val=0.9743, val_std=0.01, far=9e-4, far_target=1e-3, impostors=2700))
    '97.43 % (FAR 0.9e-3)'
    """
    if rate.remark or rate.val is None or rate.far is None:
        return rate.remark.split(":")[0]
    power = math.floor(math.log10(rate.far_target) + 1e-9)
    in_units = rate.far / 10**power
    realised = f"{in_units:.1f}e{power}" if in_units < 100 else f"{rate.far:.2f}"
    return f"{percent(rate.val)} (FAR {realised})"


def far_text(far_target: float, *, rate: str = "FAR") -> str:
    """Return the head of a column.

    >>> far_text(1e-3)
    'FAR 1e-3'
    """
    return f"{rate} {far_target:.0e}".replace("e-0", "e-")


_VAL_EXPLANATION = (
    "VAL: genuine pairs accepted in folds that the threshold was not chosen on; in parentheses the FAR in those folds."
)
_TAR_EXPLANATION = (
    "In brackets: 95 % Wilson interval of TAR at the threshold found, pairs counted as independent. A FAR of 1/n needs "
    "at least n impostor pairs, so that one of them may be accepted; with fewer the threshold would be a guess."
)


def _summary_table(models: Sequence[ModelResults]) -> html.Html:
    headers = ["model", "set", "pairs", "accuracy", "XNorm", "VAL@FAR 1e-3", "AUC", "EER", "best threshold"]
    rows: list[list[html.Part]] = []
    for entry in models:
        for result in entry.results:
            eer = result.equal_error_rate
            rows.append(
                [
                    entry.model,
                    result.name,
                    result.genuine + result.impostors,
                    f"{percent(result.accuracy.mean)} ± {100 * result.accuracy.std:.2f}",
                    f"{result.xnorm:.4f}",
                    val_text(result.validation_rate),
                    None if result.auc is None else f"{result.auc:.5f}",
                    None if eer is None else percent(eer),
                    None if result.best_threshold is None else f"{result.best_threshold:.3f}",
                ]
            )
    return html.table(headers, rows)


def _tar_table(models: Sequence[ModelResults]) -> html.Html:
    targets = [point.far_target for point in models[0].results[0].operating_points]
    rows: list[list[html.Part]] = [
        [entry.model, result.name, result.impostors, *(point_text(point) for point in result.operating_points)]
        for entry in models
        for result in entry.results
    ]
    return html.table(["model", "set", "impostor pairs", *map(far_text, targets)], rows)


def _set_section(
    name: str, scores: Mapping[str, Scores], models: Sequence[ModelResults], pictures: VerificationSet
) -> html.Html:
    figure = html.image(
        png_bytes(score_figure({name: scores}), dpi=100), alt=f"ROC, DET and similarities of {name}", width_px=1400
    )
    hardest = [
        html.details(f"Hardest pairs for {entry.model}", *_hardest_pairs(result, pictures))
        for entry in models
        for result in entry.results
        if result.name == name
    ]
    return html.section(name, figure, *hardest)


def _hardest_pairs(result: VerificationResult, pictures: VerificationSet) -> list[html.Html]:
    genuine, impostor = np.flatnonzero(result.issame), np.flatnonzero(~result.issame)
    genuine = genuine[np.argsort(result.similarities[genuine], kind="stable")][:HARDEST_PAIRS]
    impostor = impostor[np.argsort(-result.similarities[impostor], kind="stable")][:HARDEST_PAIRS]
    parts = []
    for what, pairs in (("One person, least similar", genuine), ("Two persons, most similar", impostor)):
        if len(pairs):
            cells = [_pair_picture(int(pair), result, pictures) for pair in pairs]
            parts += [html.paragraph(f"{what}:"), html.grid(cells)]
    return parts


def _pair_picture(pair: int, result: VerificationResult, pictures: VerificationSet) -> html.Html:
    both = np.concatenate([pictures.decode(2 * pair), pictures.decode(2 * pair + 1)], axis=1)
    similarity = result.similarities[pair]
    verdict = ""
    if result.best_threshold is not None:
        accepted = similarity >= result.best_threshold
        verdict = ", right" if accepted == result.issame[pair] else ", wrong"
    return html.image(both, alt=f"pair {pair}", caption=f"pair {pair}: {similarity:.3f}{verdict}")


def _has(entry: ModelResults, set_name: str) -> bool:
    return any(result.name == set_name for result in entry.results)


def _scores(entry: ModelResults, set_name: str) -> Scores:
    result = next(result for result in entry.results if result.name == set_name)
    return Scores(result.similarities, result.issame)
