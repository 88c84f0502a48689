"""From which similarity on two faces are one person: for a pair, and for a search among many.

A stranger who is searched meets every picture of the gallery, and each could be similar enough by accident. If one
comparison accepts a stranger at the rate FAR, a search with N comparisons names one at the rate ::

    FPIR = 1 - (1 - FAR) ** N,      so that      FAR = 1 - (1 - FPIR) ** (1 / N),  about FPIR / N

as if comparisons were independent. Pictures of one person are not, so that N counted in pictures is on the safe side.
The card's tail says which similarity belongs to that FAR. Between its points, similarity is linear in log(FAR).
"""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass
from typing import Any, Optional, Sequence

from arcface_paddle.errors import ConfigError
from arcface_paddle.pipeline.cards import PLAIN_COSINE, Calibration, ModelCard, SimilaritySpec
from arcface_paddle.pipeline.distances import similarity_at_distance
from arcface_paddle.pipeline.settings import DEFAULT_FPIR, FALSE_ACCEPTANCE_RATES, ThresholdSettings

LOOK_ALIKES = (
    "measured among people of all kinds: where people look alike (one background, relatives, dark glasses) strangers "
    "are more similar, and a higher threshold is needed"
)


@dataclass(frozen=True)
class Threshold:
    """A threshold and what it rests on.

    Attributes:
        similarity: least similarity of one person, -1 to 1.
        far: rate at which two pictures of two people reach it; None when that is not known.
        fpir: rate at which a search for a stranger ends with a name; None for a pair, and when that is not known.
        comparisons: with how many pictures (or persons) a search compares; None for a pair.
        evidence: on what pictures the rate was measured, or who gave the threshold.
        extrapolated: whether the rate lies beyond what was measured.
        note: what the evidence does not cover; empty for a threshold that was given.
    """

    similarity: float
    far: Optional[float] = None
    fpir: Optional[float] = None
    comparisons: Optional[int] = None
    evidence: str = ""
    extrapolated: bool = False
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; rates have the three digits that they are worth."""
        rates = {"far": _three_digits(self.far), "fpir": _three_digits(self.fpir)}
        return {**asdict(self), "similarity": round(self.similarity, 4), **rates}


def pair_threshold(card: ModelCard, settings: ThresholdSettings) -> Threshold:
    """Return from which similarity on two pictures show one person: the user's, or the card's for a rate.

    Without either it is the card's for searching, which is stricter than a pair needs.

    Raises:
        ConfigError: settings that contradict each other, a value out of range, or one that the card does not have.
    """
    if settings.fpir is not None:
        raise ConfigError("--fpir is about a search; two pictures are compared at --far")
    return _asked_for(card, settings) or _of_card(card)


def search_threshold(card: ModelCard, settings: ThresholdSettings, *, comparisons: int) -> Threshold:
    """Return from which similarity on a face that is searched gets a name.

    Args:
        card: of the recogniser.
        settings: a threshold or a rate between two pictures go before what follows from the tail.
        comparisons: with how many pictures or persons each face is compared.

    Raises:
        ConfigError: as ``pair_threshold``.
    """
    if settings.fpir is not None and not 0 < settings.fpir < 1:
        raise ConfigError(f"--fpir is {settings.fpir}; allowed: between 0 and 1")
    asked = _asked_for(card, settings)
    if asked is not None:
        return asked
    calibration = _calibration_of(card)
    if calibration is None or not calibration.tail:
        if settings.fpir is not None:
            raise ConfigError(
                f"the card of {card.name} does not say how similar strangers are, so --fpir cannot be met; give "
                "--rec_thresh or --far, or run 'arcface-paddle calibrate'"
            )
        return _of_card(card)
    fpir, count = settings.fpir or DEFAULT_FPIR, max(1, comparisons)
    far = max(-math.expm1(math.log1p(-fpir) / count), sys.float_info.min)  # a tiny fpir over many would become 0
    similarity = round(similarity_at(calibration.tail, far), 4)
    beyond = far < calibration.tail[-1][0]
    evidence = calibration.tail_evidence
    return Threshold(similarity, far, fpir, comparisons, evidence, extrapolated=beyond, note=LOOK_ALIKES)


def choose_threshold(card: ModelCard, settings: ThresholdSettings) -> float:
    """Return the similarity of ``pair_threshold``, with the same errors."""
    return pair_threshold(card, settings).similarity


def similarity_at(tail: Sequence[tuple[float, float]], far: float) -> float:
    """Return the similarity that strangers reach at a rate.

    Rates above the tail's first give its first similarity, which is on the safe side; below its last, the line of its
    last two points goes on, up to 1.

    Args:
        tail: two or more (FAR, similarity), FAR falling.
        far: above 0.

    Example:
        >>> similarity_at([(1e-2, 0.3), (1e-4, 0.5), (1e-5, 0.55)], 1e-3), similarity_at([(1e-2, 0.3), (1e-3, 0.4)], 1)
        (0.4, 0.3)
        >>> round(similarity_at([(1e-2, 0.3), (1e-4, 0.5), (1e-5, 0.55)], 1e-6), 3)
        0.6
    """
    if far >= tail[0][0]:
        return tail[0][1]
    right = next((i for i, (rate, _) in enumerate(tail) if rate <= far), len(tail) - 1)
    (rate_0, low), (rate_1, high) = tail[right - 1], tail[right]
    share = math.log(rate_0 / far) / math.log(rate_0 / rate_1)
    return min(1.0, low + share * (high - low))


def caution_about(card: ModelCard, threshold: Threshold) -> str:
    """Say what a user must know of a threshold for names; empty when nothing is wrong with it."""
    calibration = _calibration_of(card)
    if threshold.extrapolated and calibration is not None:
        return (
            f"the threshold {threshold.similarity:.3f} is extrapolated: {threshold.comparisons:,} comparisons a search "
            f"need a FAR of {threshold.far:.1e}, measured down to {calibration.tail[-1][0]:.0e}; check it on your data"
        )
    if threshold.evidence or calibration is None:
        return ""
    return (
        f"the threshold {threshold.similarity} is the published tool's, not measured for {card.name}; run "
        "'arcface-paddle calibrate' on labelled faces, or give --rec_thresh"
    )


def _asked_for(card: ModelCard, settings: ThresholdSettings) -> Optional[Threshold]:
    """Return the threshold that the settings name themselves, by value or by a rate between two pictures."""
    given = {
        "--rec_thresh": settings.similarity,
        "--far": settings.far,
        "--fpir": settings.fpir,
        "--max_threshold": settings.distance,
    }
    named = [flag for flag, value in given.items() if value is not None]
    if len(named) > 1:
        raise ConfigError(f"{' and '.join(named)} both set the threshold; give one")
    if settings.similarity is not None:
        if not -1 <= settings.similarity <= 1:
            raise ConfigError(f"--rec_thresh is {settings.similarity}; allowed: a similarity, -1 to 1")
        return Threshold(settings.similarity, evidence="given by the user")
    if settings.distance is not None:
        similarity = similarity_at_distance(settings.distance, settings.metric, _similarity_of(card))
        return Threshold(similarity, evidence=f"given by the user: {settings.metric} {settings.distance:g}")
    if settings.far is None:
        return None
    calibration = _required(card)
    if settings.far not in FALSE_ACCEPTANCE_RATES:
        raise ConfigError(f"--far is {settings.far!r}; allowed: {', '.join(FALSE_ACCEPTANCE_RATES)}")
    at_far: Optional[float] = getattr(calibration, FALSE_ACCEPTANCE_RATES[settings.far])
    if at_far is None:
        raise ConfigError(
            f"the card of {card.name} has no threshold at FAR {settings.far}; give --rec_thresh or another --far"
        )
    far = float(settings.far)
    from_tail = any(point == (far, at_far) for point in calibration.tail)
    evidence = calibration.tail_evidence if from_tail else f"the card of {card.name}: {calibration.statement}"
    return Threshold(at_far, far, evidence=evidence, note=LOOK_ALIKES)


def _of_card(card: ModelCard) -> Threshold:
    """Return the card's threshold of a search in a gallery of whatever size, for which no rate is known."""
    calibration = _required(card)
    measured = calibration.logistic is not None or calibration.far_1e3 is not None
    evidence = f"the card of {card.name}: {calibration.statement}" if measured else ""
    return Threshold(calibration.identification, evidence=evidence, note=LOOK_ALIKES)


def _required(card: ModelCard) -> Calibration:
    calibration = _calibration_of(card)
    if calibration is None:
        raise ConfigError(
            f"the model {card.name} has no calibrated threshold; give --rec_thresh (the published tool used 0.45), or "
            "write one into its card with 'arcface-paddle calibrate'"
        )
    return calibration


def _similarity_of(card: ModelCard) -> SimilaritySpec:
    return card.recognizer.similarity if card.recognizer else PLAIN_COSINE


def _calibration_of(card: ModelCard) -> Optional[Calibration]:
    return card.recognizer.calibration if card.recognizer else None


def _three_digits(rate: Optional[float]) -> Optional[float]:
    return None if rate is None else float(f"{rate:.3g}")
