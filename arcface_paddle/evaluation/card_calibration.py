"""Calibrating a recogniser: measure it on labelled faces, choose its thresholds, write them into its card."""

from __future__ import annotations

import dataclasses
import datetime
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence, Union

import numpy as np

from arcface_paddle.data.kinds import open_dataset
from arcface_paddle.data.verification_set import read_verification_set
from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.evaluation.calibration import (
    FPIR_TARGET,
    CalibrationResult,
    PairScores,
    all_pairs,
    calibrate,
    describe_points,
    gallery_threshold,
)
from arcface_paddle.evaluation.choices import THRESHOLDS
from arcface_paddle.evaluation.documents import point_document
from arcface_paddle.evaluation.embedder import Embed
from arcface_paddle.evaluation.embedding import EmbeddingSettings, embed_crops
from arcface_paddle.evaluation.metrics import OperatingPoint, operating_points
from arcface_paddle.evaluation.verification import compare_pairs, l2_normalized
from arcface_paddle.pipeline.cards import CARD_NAME, Calibration, ModelCard, SimilaritySpec, edit_card
from arcface_paddle.pipeline.model_files import FusionFolder, ModelFolder

_TAIL_RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


@dataclass(frozen=True)
class CalibrationSettings:
    """What a calibration is told.

    Attributes:
        label_file: of labelled sets; None for ``label.txt`` in them.
        mirror: embed as the pipeline does by default, averaged with the mirrored picture.
        batch_size: crops per run of the network.
        gallery_people: size of the gallery that is assumed when only pairs are known.
        given: thresholds known from other data, by the names of ``THRESHOLDS``; they replace what was measured.
        describe: what the data are, in words, for the card.
        note: added to the card's statement; needed with ``given``, to say where those come from.
        progress: show the progress, see ``arcface_paddle.progress``.
    """

    label_file: Optional[str] = None
    mirror: bool = True
    batch_size: int = 64
    gallery_people: int = 200
    given: Mapping[str, float] = field(default_factory=dict)
    describe: str = ""
    note: str = ""
    progress: bool = False

    def __post_init__(self) -> None:
        unknown = sorted(set(self.given) - set(THRESHOLDS))
        if unknown:
            raise ConfigError(f"there is no threshold {unknown[0]!r} to set; allowed: {', '.join(THRESHOLDS)}")
        for name, value in self.given.items():
            if not -1 <= value <= 1:
                raise ConfigError(f"--set {name}={value}: a threshold is a similarity, between -1 and 1")
        if self.given and not self.note:
            raise ConfigError("--set needs --note, which says on what data the threshold was found")


@dataclass(frozen=True)
class CardCalibration:
    """What was measured and what of it goes into the card.

    Attributes:
        measured: thresholds between two pictures and the probability.
        search: the threshold of a search, measured or estimated; without a figure where pairs are too few.
        before: what the card says now; None when it says nothing.
        chosen: what it is to say.
    """

    measured: CalibrationResult
    search: OperatingPoint
    before: Optional[Calibration]
    chosen: Calibration

    def document(self) -> dict[str, Any]:
        """Return everything that was measured, for JSON."""
        return {
            "genuine_pairs": self.measured.genuine,
            "impostor_pairs": self.measured.impostor,
            "pictures": self.measured.pictures,
            "people": self.measured.people,
            "thresholds": [point_document(point) for point in self.measured.points],
            "search": {**point_document(self.search), "fpir_target": FPIR_TARGET},
            "logistic": dataclasses.asdict(self.measured.logistic),
            "card": dataclasses.asdict(self.chosen),
        }


def calibrate_card(
    card: ModelCard, embed: Embed, *, data: Sequence[str], settings: CalibrationSettings
) -> CardCalibration:
    """Measure a recogniser on labelled faces and choose the thresholds of its card; nothing is written.

    Args:
        card: of the recogniser.
        embed: the recogniser, see ``evaluation.embedder``.
        data: labelled sets of aligned crops, and ``.bin`` verification sets.
        settings: what else is known.

    Raises:
        DataError: data that cannot be read, are not aligned, or are too few for any threshold.
    """
    return calibrate_on_pairs(card, measure_crops(embed, data, settings=settings), settings=settings)


@dataclass(frozen=True, eq=False)
class MeasuredSet:
    """The cosines of the pairs of one set, and what it is in words."""

    scores: PairScores
    described: str


def calibrate_on_pairs(
    card: ModelCard, measured_sets: Sequence[MeasuredSet], *, settings: CalibrationSettings
) -> CardCalibration:
    """Choose the thresholds of a card by pairs that were compared, those of ``photograph_calibration`` for one.

    Args:
        card: of the recogniser.
        measured_sets: at least one; pairs across sets are not formed.
        settings: what else is known.

    Raises:
        DataError: too few pairs for any threshold.
    """
    cosines = _pooled([one.scores for one in measured_sets])
    described = " and ".join(one.described for one in measured_sets)
    scores = cosines if card.recognizer is None else _in_similarities(cosines, card.recognizer.similarity)
    measured = calibrate(scores)
    search = measured.identification or gallery_threshold(scores.impostor, people=settings.gallery_people)
    chosen = _choose(measured, search, settings.given)
    chosen = dataclasses.replace(chosen, statement=_statement(measured, search, described, settings))
    if "identification" not in settings.given:  # a tail would go before what was set
        chosen = _with_tail(chosen, scores, described, settings)
    return CardCalibration(measured, search, card.recognizer.calibration if card.recognizer else None, chosen)


def _in_similarities(cosines: PairScores, similarity: SimilaritySpec) -> PairScores:
    """Turn cosines into what the card calls a similarity, in which all thresholds are."""
    top = None if cosines.top_stranger is None else similarity.of_cosine(cosines.top_stranger)
    return dataclasses.replace(
        cosines,
        genuine=similarity.of_cosine(cosines.genuine),
        impostor=similarity.of_cosine(cosines.impostor),
        top_stranger=top,
    )


def _with_tail(chosen: Calibration, scores: PairScores, described: str, settings: CalibrationSettings) -> Calibration:
    """Add how similar strangers are, at every rate for which there are enough pairs; nothing for fewer than two."""
    points = operating_points(scores.genuine, scores.impostor, far_targets=_TAIL_RATES)
    tail = tuple((point.far_target, _rounded_up(point.threshold)) for point in points if point.threshold is not None)
    if len(tail) < 2:
        return chosen
    what = f"{described} ({settings.describe})" if settings.describe else described
    evidence = f"{what}: {len(scores.impostor):,} pairs of strangers"
    return dataclasses.replace(chosen, tail=tail, tail_evidence=evidence)


def _rounded_up(threshold: float) -> float:
    """Rounded down, a threshold might let in the very pair that it was found to refuse."""
    return min(1.0, math.ceil(threshold * 1e4) / 1e4)


def write_calibration(folder: Union[ModelFolder, FusionFolder], chosen: Calibration) -> Path:
    """Write thresholds into the card of a model's folder, which may have had none, and return the card's path.

    Raises:
        ModelFileError: it cannot be written.
    """

    def calibrated(card: ModelCard) -> ModelCard:
        assert card.recognizer is not None, "only recognisers are calibrated"
        notice = "" if card.notice.startswith("Not calibrated") else card.notice
        recognizer = dataclasses.replace(card.recognizer, calibration=chosen)
        return dataclasses.replace(card, notice=notice, recognizer=recognizer)

    # The name of the preset that stands in for a missing card says nothing about this model.
    stand_in = dataclasses.replace(folder.card, name=folder.path.resolve().name)
    edit_card(folder.path, calibrated, when_missing=stand_in)
    return folder.path / CARD_NAME


def measure_crops(embed: Embed, data: Sequence[str], *, settings: CalibrationSettings) -> list[MeasuredSet]:
    """Compare the pairs of labelled sets of aligned crops and of ``.bin`` verification sets, see ``calibrate_card``."""
    return [_measured_set(embed, path, settings) for path in data]


def _measured_set(embed: Embed, path: str, settings: CalibrationSettings) -> MeasuredSet:
    """Compare the pairs of a set of crops."""
    if Path(path).suffix == ".bin":
        return MeasuredSet(_pairs_of_set(embed, path, settings), f"the pairs of {Path(path).name}")
    scores = _pairs_of_people(embed, path, settings)
    return MeasuredSet(scores, f"{scores.pictures} pictures of {scores.people} people in {Path(path).resolve().name}")


def _pooled(parts: Sequence[PairScores]) -> PairScores:
    labelled = [part for part in parts if part.top_stranger is not None]
    tops = [part.top_stranger for part in labelled if part.top_stranger is not None]
    return PairScores(
        genuine=np.concatenate([part.genuine for part in parts]),
        impostor=np.concatenate([part.impostor for part in parts]),
        top_stranger=np.concatenate(tops) if tops else None,
        pictures=sum(part.pictures for part in labelled),
        people=sum(part.people for part in labelled),
    )


def _embedding(settings: CalibrationSettings) -> EmbeddingSettings:
    return EmbeddingSettings(settings.batch_size, mirror=settings.mirror, progress=settings.progress)


def _pairs_of_set(embed: Embed, path: str, settings: CalibrationSettings) -> PairScores:
    found = read_verification_set(path)
    features = embed_crops(embed, found.decode, len(found.images), name=found.name, settings=_embedding(settings))
    similarities, _, _ = compare_pairs(features.plain, features.mirrored)
    return PairScores(similarities[found.issame], similarities[~found.issame])


def _pairs_of_people(embed: Embed, path: str, settings: CalibrationSettings) -> PairScores:
    dataset = open_dataset(path, label_file=settings.label_file)
    features = embed_crops(embed, dataset.read_image, len(dataset), name=dataset.name, settings=_embedding(settings))
    if dataset.resized_count:
        raise DataError(
            f"{path}: {dataset.resized_count} pictures are not 112x112; thresholds from faces that were not aligned "
            "would be wrong: run 'arcface-paddle data align' first"
        )
    return all_pairs(l2_normalized(features.summed), dataset.labels)


def _choose(measured: CalibrationResult, search: OperatingPoint, given: Mapping[str, float]) -> Calibration:
    """Return what the card is to say, still without its statement."""
    found = dict(zip(THRESHOLDS, (*(point.threshold for point in measured.points), search.threshold)))
    values = {name: None if value is None else _rounded_up(value) for name, value in found.items()}
    values.update(given)
    known = [value for value in values.values() if value is not None]
    if not known:
        raise DataError(
            f"{measured.impostor} pairs of two persons are too few for any threshold; at least 100 are needed for FAR "
            "1e-2 (a labelled set of n pictures has about n²/2)"
        )
    # A search meets many strangers, so the strictest threshold known is the least that it needs.
    identification = values["identification"] if values["identification"] is not None else max(known)
    return Calibration(
        far_1e2=values["far_1e2"],
        far_1e3=values["far_1e3"],
        far_1e4=values["far_1e4"],
        identification=identification,
        statement="",
        logistic=(round(measured.logistic.slope, 4), round(measured.logistic.intercept, 4)),
    )


def _statement(
    measured: CalibrationResult, search: OperatingPoint, described: str, settings: CalibrationSettings
) -> str:
    """Say on what the thresholds rest, for whoever reads the card."""
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    what = f"{described} ({settings.describe})" if settings.describe else described
    mirrored = "with" if settings.mirror else "without"
    sentences = [
        f"Measured {today} on {what}, {mirrored} mirrored pictures: {measured.genuine:,} pairs of one person, "
        f"{measured.impostor:,} of two",
        describe_points(measured.points),
        f"search: {_search_text(measured, search, settings.gallery_people)}",
        "intervals take pairs as independent, which pairs that share a picture are not",
        "probability: logistic fit to the same pairs for equal prior odds of one and two persons",
    ]
    if settings.given:
        sentences.append(f"not from these data but set: {', '.join(settings.given)}")
    if settings.note:
        sentences.append(settings.note.rstrip("."))
    return ". ".join(sentence[0].upper() + sentence[1:] for sentence in sentences) + "."


def _search_text(measured: CalibrationResult, search: OperatingPoint, people: int) -> str:
    if search.threshold is None:
        return f"no threshold of its own ({search.remark})"
    if measured.identification is None:
        return (
            f"{search.threshold:.3f} for FPIR 1e-2 in a gallery of {people} people, taking comparisons as independent"
        )
    return (
        f"{search.threshold:.3f} ({search.false_accepts} of {search.impostors:,} pictures were most similar to a "
        f"stranger at or above it when searched among all others)"
    )
