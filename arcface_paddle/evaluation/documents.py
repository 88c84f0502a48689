"""Results as plain dictionaries for JSON: every figure with what it was measured on."""

from __future__ import annotations

import dataclasses
from typing import Any

from arcface_paddle.evaluation.identification import IdentificationResult
from arcface_paddle.evaluation.ijb import TemplateSearch, TemplateVerification
from arcface_paddle.evaluation.metrics import OperatingPoint
from arcface_paddle.evaluation.verification import ValidationRate, VerificationResult

CMC_RANKS = (1, 5, 10, 20, 50)


def verification_document(result: VerificationResult) -> dict[str, Any]:
    """Return a verification result; thresholds of folds are distances, the others similarities."""
    return {
        "set": result.name,
        "measure": result.measure,
        "genuine_pairs": result.genuine,
        "impostor_pairs": result.impostors,
        "xnorm": result.xnorm,
        "accuracy": {
            "mean": result.accuracy.mean,
            "std": result.accuracy.std,
            "folds": result.accuracy.folds.tolist(),
            "distance_thresholds": result.accuracy.thresholds.tolist(),
        },
        "val_at_far": validation_rate_document(result.validation_rate),
        "tar_at_far": [point_document(point) for point in result.operating_points],
        "equal_error_rate": result.equal_error_rate,
        "auc": result.auc,
        "best_threshold": result.best_threshold,
        "histogram": {
            "edges": result.histogram.edges.round(6).tolist(),
            "genuine": result.histogram.genuine.tolist(),
            "impostor": result.histogram.impostor.tolist(),
        },
    }


def validation_rate_document(rate: ValidationRate) -> dict[str, Any]:
    """Return VAL and the FAR that was realised; without figures, and with the reason, where pairs are too few."""
    document = {**dataclasses.asdict(rate), "remark": rate.remark}
    if rate.remark:
        document.update(val=None, val_std=None, far=None)
    return document


def identification_document(result: IdentificationResult) -> dict[str, Any]:
    """Return an identification result; the open-set points give TPIR as ``tar`` and FPIR as ``far_target``."""
    return {
        "set": result.name,
        "people": result.people,
        "mated_probes": result.mated,
        "unmated_probes": result.unmated,
        "rank": {str(k): result.rank(k) for k in CMC_RANKS if k <= result.people},
        "rank_1_interval": dataclasses.asdict(result.rank_1_interval),
        "cmc": result.cmc[:100].tolist(),
        "tpir_at_fpir": [point_document(point) for point in result.open_set],
    }


def template_document(verification: TemplateVerification) -> dict[str, Any]:
    """Return a 1:1 result of IJB-B or IJB-C."""
    points = []
    for point, published in zip(verification.operating_points, verification.published_tar):
        points.append({**point_document(point), "published_tar": published})
    return {
        "set": verification.name,
        "genuine_pairs": verification.genuine,
        "impostor_pairs": verification.impostors,
        "auc": verification.auc,
        "tar_at_far": points,
    }


def search_document(search: TemplateSearch) -> dict[str, Any]:
    """Return a 1:N result of IJB-B or IJB-C."""
    return {
        "closed": identification_document(search.closed),
        "open": {name: identification_document(result) for name, result in search.open.items()},
    }


def point_document(point: OperatingPoint) -> dict[str, Any]:
    """Return an operating point with its intervals as dictionaries and the reason where there is no figure."""
    return {**dataclasses.asdict(point), "remark": point.remark}
