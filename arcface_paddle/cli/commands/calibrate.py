"""Find a recogniser's similarity thresholds on labelled faces and write them into its card (model.json).

    arcface-paddle calibrate exported/ --data people/
    arcface-paddle calibrate exported/ --data lfw.bin --data own.bin --dry_run

A labelled set (one folder per person, label.txt, .rec, packed) of ALIGNED crops gives all its pairs and a search
threshold, a .bin verification set gives its pairs. From then on the pipeline uses the thresholds: --far 1e-2, 1e-3 or
1e-4 between two pictures, the search threshold in galleries, and a probability of the same person for equal prior odds.
A threshold for which there are too few pairs is left empty; --set gives one that is known from elsewhere.
Use faces as they will be met in practice: thresholds carry over to other pictures only as far as those resemble them.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import math
from pathlib import Path
from typing import Optional

import numpy as np
from prettytable import PrettyTable

from arcface_paddle.cli.commands.valid import add_engine_flags
from arcface_paddle.cli.console import write_json_result
from arcface_paddle.cli.flags import add_bool
from arcface_paddle.cli.writable import require_writable_file
from arcface_paddle.data import open_dataset, read_verification_set
from arcface_paddle.errors import ConfigError, DataError, ModelFileError
from arcface_paddle.evaluation.calibration import (
    FPIR_TARGET,
    CalibrationResult,
    PairScores,
    all_pairs,
    calibrate,
    describe_points,
    gallery_threshold,
)
from arcface_paddle.evaluation.documents import point_document
from arcface_paddle.evaluation.embedder import Embed
from arcface_paddle.evaluation.embedding import EmbeddingSettings, embed_crops
from arcface_paddle.evaluation.metrics import OperatingPoint
from arcface_paddle.evaluation.model_opening import EmbedderSettings, open_embedder
from arcface_paddle.evaluation.verification import compare_pairs, l2_normalized
from arcface_paddle.pipeline.cards import CARD_NAME, RECOGNITION, Calibration, ModelCard, write_card
from arcface_paddle.pipeline.model_files import ModelFolder, open_model

THRESHOLDS = ("far_1e2", "far_1e3", "far_1e4", "identification")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("model", help="folder of an exported model, or a known model such as MobileFace")
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data", action="append", required=True, metavar="PATH", help="labelled set or .bin of pairs; repeatable"
    )
    data.add_argument("--label_file", help="of a labelled set (default: label.txt in it)")
    data.add_argument("--describe", default="", metavar="TEXT", help="what the data are, for the card")
    add_bool(data, "--flip", default=True, help="embed as the pipeline does, averaged with the mirrored picture (true)")
    data.add_argument("--gallery_people", type=int, default=200, help="gallery assumed when only .bin are given (200)")
    data.add_argument("--batch_size", type=int, default=64, help="crops per call of the network (64)")
    add_engine_flags(data)
    result = parser.add_argument_group("result")
    result.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"a threshold known from other data, which --note must name; repeatable: {', '.join(THRESHOLDS)}",
    )
    result.add_argument("--note", default="", help="added to the statement of the card")
    result.add_argument("--dry_run", action="store_true", help="show, write no card")
    result.add_argument("--json", metavar="FILE", help="write what was measured to a file")


def run(args: argparse.Namespace) -> int:
    """Measure, show, write."""
    if args.batch_size < 1 or args.gallery_people < 1:
        raise ConfigError(f"--batch_size {args.batch_size}, --gallery_people {args.gallery_people}; allowed: 1 or more")
    require_writable_file(args.json, option="--json")
    given = _given_thresholds(args.set, note=args.note)
    folder = open_model(args.model, task=RECOGNITION)
    settings = EmbedderSettings(engine=args.engine, device=args.device, threads=args.threads)
    embed = open_embedder(str(folder.path), settings=settings).embed
    scores, described = _measure(embed, args)
    result = calibrate(scores)
    search = _search_point(result, scores, people=args.gallery_people)
    present = folder.card.recognizer.calibration if folder.card.recognizer else None
    statement = _statement(result, search, described, args, tuple(given))
    chosen = _choose(result, search, given=given, statement=statement)
    print(_table(result, search, present, chosen))
    if args.json:
        write_json_result(args.json, _document(result, search, chosen))
    if args.dry_run:
        print("dry run: no card written")
        return 0
    _write(folder, chosen)
    print(f"written: {folder.path / CARD_NAME}")
    return 0


def _given_thresholds(assignments: list[str], *, note: str) -> dict[str, float]:
    given = {}
    for text in assignments:
        name, _, value = text.partition("=")
        if name not in THRESHOLDS:
            raise ConfigError(f"--set {text!r}; allowed: {', '.join(THRESHOLDS)}, such as far_1e3=0.5")
        try:
            given[name] = float(value)
        except ValueError:
            given[name] = math.nan
        if not -1 <= given[name] <= 1:
            raise ConfigError(f"--set {text!r}: a threshold is a cosine, between -1 and 1")
    if given and not note:
        raise ConfigError("--set needs --note, which says on what data the threshold was found")
    return given


def _measure(embed: Embed, args: argparse.Namespace) -> tuple[PairScores, str]:
    """Compare the pairs of every set; pairs across sets are not formed."""
    settings = EmbeddingSettings(args.batch_size, mirror=args.flip, progress=True)
    parts, texts = [], []
    for path in args.data:
        if Path(path).suffix == ".bin":
            parts.append(_pairs_of_set(embed, path, settings))
            texts.append(f"the pairs of {Path(path).name}")
        else:
            parts.append(_pairs_of_people(embed, path, args.label_file, settings))
            texts.append(f"{parts[-1].pictures} pictures of {parts[-1].people} people in {Path(path).resolve().name}")
    labelled = [part for part in parts if part.top_stranger is not None]
    tops = [part.top_stranger for part in labelled if part.top_stranger is not None]
    pooled = PairScores(
        genuine=np.concatenate([part.genuine for part in parts]),
        impostor=np.concatenate([part.impostor for part in parts]),
        top_stranger=np.concatenate(tops) if tops else None,
        pictures=sum(part.pictures for part in labelled),
        people=sum(part.people for part in labelled),
    )
    return pooled, " and ".join(texts)


def _pairs_of_set(embed: Embed, path: str, settings: EmbeddingSettings) -> PairScores:
    found = read_verification_set(path)
    features = embed_crops(embed, found.decode, len(found.images), name=found.name, settings=settings)
    similarities, _, _ = compare_pairs(features.plain, features.mirrored)
    return PairScores(similarities[found.issame], similarities[~found.issame])


def _pairs_of_people(embed: Embed, path: str, label_file: Optional[str], settings: EmbeddingSettings) -> PairScores:
    dataset = open_dataset(path, label_file=label_file)
    features = embed_crops(embed, dataset.read_image, len(dataset), name=dataset.name, settings=settings)
    if dataset.resized_count:
        raise DataError(
            f"{path}: {dataset.resized_count} pictures are not 112x112; thresholds from faces that were not aligned "
            "would be wrong: run 'arcface-paddle data align' first"
        )
    return all_pairs(l2_normalized(features.summed), dataset.labels)


def _search_point(result: CalibrationResult, scores: PairScores, *, people: int) -> OperatingPoint:
    return result.identification or gallery_threshold(scores.impostor, people=people)


def _choose(
    result: CalibrationResult, search: OperatingPoint, *, given: dict[str, float], statement: str
) -> Calibration:
    measured = dict(zip(THRESHOLDS, (*(point.threshold for point in result.points), search.threshold)))
    # Rounded up: rounded down, a threshold might let in the very pair that it was found to refuse.
    values = {name: None if value is None else math.ceil(value * 1e4) / 1e4 for name, value in measured.items()}
    values.update(given)
    known = [value for value in values.values() if value is not None]
    if not known:
        raise DataError(
            f"{result.impostor} pairs of two persons are too few for any threshold; at least 100 are needed for FAR "
            "1e-2 (a labelled set of n pictures has about n²/2)"
        )
    # A search meets many strangers, so the strictest threshold known is the least that it needs.
    identification = values["identification"] if values["identification"] is not None else max(known)
    return Calibration(
        far_1e2=values["far_1e2"],
        far_1e3=values["far_1e3"],
        far_1e4=values["far_1e4"],
        identification=identification,
        statement=statement,
        logistic=(round(result.logistic.slope, 4), round(result.logistic.intercept, 4)),
    )


def _statement(
    result: CalibrationResult, search: OperatingPoint, described: str, args: argparse.Namespace, given: tuple[str, ...]
) -> str:
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    what = f"{described} ({args.describe})" if args.describe else described
    flip = "with" if args.flip else "without"
    sentences = [
        f"Measured {today} on {what}, {flip} mirrored pictures: {result.genuine:,} pairs of one person, "
        f"{result.impostor:,} of two",
        describe_points(result.points),
        f"search: {_search_text(result, search, args.gallery_people)}",
        "intervals take pairs as independent, which pairs that share a picture are not",
        "probability: logistic fit to the same pairs for equal prior odds of one and two persons",
    ]
    if given:
        sentences.append(f"not from these data but set: {', '.join(given)}")
    if args.note:
        sentences.append(args.note.rstrip("."))
    return ". ".join(sentence[0].upper() + sentence[1:] for sentence in sentences) + "."


def _search_text(result: CalibrationResult, search: OperatingPoint, people: int) -> str:
    if search.threshold is None:
        return f"no threshold of its own ({search.remark})"
    if result.identification is None:
        return (
            f"{search.threshold:.3f} for FPIR 1e-2 in a gallery of {people} people, taking comparisons as independent"
        )
    return (
        f"{search.threshold:.3f} ({search.false_accepts} of {search.impostors:,} pictures were most similar to a "
        f"stranger at or above it when searched among all others)"
    )


def _table(
    result: CalibrationResult, search: OperatingPoint, present: Optional[Calibration], chosen: Calibration
) -> PrettyTable:
    table = PrettyTable(["threshold", "card before", "measured", "card now", "evidence"])
    table.align = "l"
    for name, point in zip(THRESHOLDS, (*result.points, search)):
        measured = "-" if point.threshold is None else f"{point.threshold:.4f}"
        before = "-" if present is None else _number(getattr(present, name))
        evidence = point.remark or f"{point.false_accepts} of {point.impostors:,} strangers accepted"
        table.add_row([name, before, measured, _number(getattr(chosen, name)), evidence])
    before = "-" if present is None or present.logistic is None else f"{present.logistic[0]}, {present.logistic[1]}"
    fitted = f"{result.logistic.slope:.3f}, {result.logistic.intercept:.3f}"
    now = "-" if chosen.logistic is None else f"{chosen.logistic[0]:.3f}, {chosen.logistic[1]:.3f}"
    table.add_row(["logistic", before, fitted, now, f"even odds at {-_ratio(chosen):.3f}"])
    return table


def _ratio(chosen: Calibration) -> float:
    assert chosen.logistic is not None
    slope, intercept = chosen.logistic
    return intercept / slope


def _number(value: Optional[float]) -> str:
    return "-" if value is None else f"{value:.4f}"


def _document(result: CalibrationResult, search: OperatingPoint, chosen: Calibration) -> dict:
    return {
        "genuine_pairs": result.genuine,
        "impostor_pairs": result.impostor,
        "pictures": result.pictures,
        "people": result.people,
        "thresholds": [point_document(point) for point in result.points],
        "search": {**point_document(search), "fpir_target": FPIR_TARGET},
        "logistic": dataclasses.asdict(result.logistic),
        "card": dataclasses.asdict(chosen),
    }


def _write(folder: ModelFolder, chosen: Calibration) -> None:
    card = folder.card
    assert card.recognizer is not None
    if not (folder.path / CARD_NAME).exists():
        card = dataclasses.replace(card, name=folder.path.resolve().name)  # the preset's own name says nothing
    card = _without_stale_notice(card)
    assert card.recognizer is not None
    card = dataclasses.replace(card, recognizer=dataclasses.replace(card.recognizer, calibration=chosen))
    try:
        write_card(folder.path, card)
    except OSError as error:
        raise ModelFileError(f"{folder.path / CARD_NAME}: cannot be written: {error.strerror or error}") from None


def _without_stale_notice(card: ModelCard) -> ModelCard:
    return dataclasses.replace(card, notice="") if card.notice.startswith("Not calibrated") else card
