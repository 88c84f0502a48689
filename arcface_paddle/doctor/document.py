"""The report as plain values, ready for JSON; text and page are made of the same."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from arcface_paddle import __version__
from arcface_paddle.doctor.examination import Report
from arcface_paddle.doctor.findings import KINDS, Finding
from arcface_paddle.doctor.location import Location, locate
from arcface_paddle.doctor.scan import Status

FORMAT = 1
"""Version of the document's layout; it rises when a key changes its meaning or goes."""

_SIZES_LISTED = 20
_IMAGES_LISTED = 1000  # of one finding: a folder of a million equal pictures must not make a file of 100 MB


def report_document(report: Report) -> dict[str, Any]:
    """Return the whole report as JSON values.

    Keys: ``format``, ``version``, ``dataset``, ``problems``, ``examined``, ``seconds``, ``settings``,
    ``statistics``, ``counts`` (all findings by kind) and ``findings`` (the listed ones by kind).
    """
    places = locate_findings(report)
    return {
        "format": FORMAT,
        "version": __version__,
        "dataset": report.dataset.name,
        "problems": report.problems,
        "examined": report.examined,
        "seconds": round(report.seconds, 2),
        "settings": _settings_document(report),
        "statistics": statistics_document(report),
        "counts": {kind.key: report.ledger.counts[kind.key] for kind in report.ledger.kinds_found()},
        "findings": {
            kind.key: [finding_document(finding, places) for finding in report.ledger.listed(kind.key)]
            for kind in report.ledger.kinds_found()
        },
    }


def locate_findings(report: Report) -> dict[int, Location]:
    """Return where every image lies that a listed finding names (the first 1000 of a finding)."""
    findings = (finding for kind in KINDS for finding in report.ledger.listed(kind))
    return locate(report.dataset, (index for finding in findings for index in finding.samples[:_IMAGES_LISTED]))


def finding_document(finding: Finding, places: dict[int, Location]) -> dict[str, Any]:
    """Return one finding as JSON values."""
    shown = [places[index] for index in finding.samples[:_IMAGES_LISTED]]
    document: dict[str, Any] = {
        "detail": finding.detail,
        "score": finding.score,
        "images": [
            {"index": place.index, "path": _writable(place.path), "line": place.line, "label": place.label}
            for place in shown
        ],
        "image_count": len(finding.samples),
        "labels": list(finding.labels),
        "compare_with": list(finding.references),
    }
    if finding.groups:
        document["groups"] = list(finding.groups)
    if finding.verification:
        document["verification"] = [
            {"set": ref.set_name, "image": ref.image, "pair": ref.pair} for ref in finding.verification
        ]
    return document


def statistics_document(report: Report) -> dict[str, Any]:
    """Return counts, histograms, sizes and colours as JSON values."""
    facts, labels = report.scan, report.labels
    good = facts.good()
    mean, std = facts.colors.mean_std()
    return {
        "images": labels.images,
        "identities": len(labels.identities),
        "num_classes": report.dataset.num_classes,
        "readable": len(good),
        "broken": int((facts.status == Status.BROKEN).sum()),
        "images_per_identity": _spread(labels.images_of),
        "images_per_identity_histogram": dict(labels.histogram()),
        "sizes": {f"{width}x{height}": count for (width, height), count in facts.sizes.most_common(_SIZES_LISTED)},
        "distinct_sizes": len(facts.sizes),
        "encoded_bytes": _spread(facts.encoded_bytes[good]),
        "color_mean_rgb": _rounded(mean),
        "color_std_rgb": _rounded(std),
        "middle_redder_than_blue": facts.colors.red_wins,
        "middle_bluer_than_red": facts.colors.blue_wins,
        "exact_duplicate_surplus": sum(len(group) - 1 for group in report.exact_groups),
        "own_similarity": _similarity_spread(report),
    }


def _settings_document(report: Report) -> dict[str, Any]:
    settings = dict(vars(report.settings))
    settings["ignored"] = sorted(report.settings.ignored)
    settings["recogniser"] = report.identities is not None
    settings["verification_sets"] = list(report.verification)
    return settings


def _spread(values: np.ndarray) -> dict[str, Optional[float]]:
    if not len(values):
        return dict.fromkeys(("min", "median", "mean", "max"))
    return {
        "min": int(values.min()),
        "median": float(np.median(values)),
        "mean": round(float(values.mean()), 3),
        "max": int(values.max()),
    }


def _similarity_spread(report: Report) -> Optional[dict[str, float]]:
    if report.identities is None:
        return None
    own = report.identities.own_similarity
    known = own[np.isfinite(own)]
    if not len(known):
        return None
    low, median, high = np.percentile(known, [5, 50, 95])
    return {
        "percentile_5": round(float(low), 4),
        "median": round(float(median), 4),
        "percentile_95": round(float(high), 4),
    }


def _rounded(values: np.ndarray) -> Optional[list[float]]:
    return [round(float(value), 3) for value in values] if np.isfinite(values).all() else None


def _writable(path: str) -> str:
    """Replace undecodable bytes of a file name, which JSON in UTF-8 cannot hold."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")
