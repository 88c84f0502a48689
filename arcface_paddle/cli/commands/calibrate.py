"""Find a recogniser's similarity thresholds on labelled faces and write them into its card (model.json).

    arcface-paddle calibrate exported/ --data people/
    arcface-paddle calibrate exported/ --data lfw.bin --data own.bin --dry_run
    arcface-paddle calibrate FaceFusion --photographs people/

A labelled set (one folder per person, label.txt, .rec, packed) of ALIGNED crops gives all its pairs and a search
threshold, a .bin verification set gives its pairs. Photographs as they are (--photographs, one folder per person) go
through detection and the model's own alignment first; models that do not take 112x112 crops (ResNet29) and fusions of
several (FaceFusion) are calibrated so. From then on the pipeline uses the thresholds: --far 1e-2, 1e-3 or
1e-4 between two pictures, the search threshold in galleries, and a probability of the same person for equal prior odds.
A threshold for which there are too few pairs is left empty; --set gives one that is known from elsewhere.
Use faces as they will be met in practice: thresholds carry over to other pictures only as far as those resemble them.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from typing import TYPE_CHECKING, Optional, Union

from arcface_paddle.cli.console import write_json_result
from arcface_paddle.cli.evaluation_flags import add_engine_flags, embedder_settings
from arcface_paddle.cli.flags import add_bool, add_detection_options, published_group
from arcface_paddle.cli.tables import text_table
from arcface_paddle.cli.writable import require_writable_folder, require_writable_text
from arcface_paddle.errors import ConfigError, ModelFileError
from arcface_paddle.evaluation.choices import THRESHOLDS
from arcface_paddle.pipeline.settings import CENTRE, DEFAULT_DETECTOR, LARGEST, ONE

if TYPE_CHECKING:  # what evaluates is imported where it is used, so that --help is quick
    from arcface_paddle.evaluation.card_calibration import CalibrationSettings, CardCalibration, MeasuredSet
    from arcface_paddle.pipeline.cards import Calibration
    from arcface_paddle.pipeline.model_files import FusionFolder, ModelFolder

COMMON_CROP = (112, 112)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("model", help="folder of an exported model, or a known model such as MobileFace")
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data", action="append", default=[], metavar="PATH", help="labelled set or .bin of pairs; repeatable"
    )
    data.add_argument(
        "--photographs",
        action="append",
        default=[],
        metavar="DIR",
        help="folder with one folder of photographs per person, whose faces are found and aligned; repeatable",
    )
    data.add_argument("--label_file", help="of a labelled set (default: label.txt in it)")
    data.add_argument("--describe", default="", metavar="TEXT", help="what the data are, for the card")
    add_bool(
        data, "--mirrored", default=True, help="embed as the pipeline does, averaged with the mirrored picture (true)"
    )
    add_bool(published_group(parser), "--flip", dest="mirrored", default=argparse.SUPPRESS, help="= --mirrored")
    data.add_argument("--gallery_people", type=int, default=200, help="gallery assumed when only .bin are given (200)")
    data.add_argument("--batch_size", type=int, default=64, help="crops per call of the network (64)")
    add_engine_flags(data)
    finding = parser.add_argument_group("faces of photographs")
    finding.add_argument("--det_model", default=DEFAULT_DETECTOR, help="detector: name or folder (%(default)s)")
    add_detection_options(finding)
    finding.add_argument(
        "--faces", choices=[CENTRE, LARGEST, ONE], default=CENTRE, help="which of several counts (%(default)s)"
    )
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
    from arcface_paddle.evaluation.card_calibration import CalibrationSettings, calibrate_on_pairs, write_calibration

    if not args.data and not args.photographs:
        raise ConfigError("nothing to measure on; give --data (aligned crops, .bin) or --photographs")
    if args.batch_size < 1 or args.gallery_people < 1:
        raise ConfigError(f"--batch_size {args.batch_size}, --gallery_people {args.gallery_people}; allowed: 1 or more")
    require_writable_text(args.json, option="--json")
    settings = CalibrationSettings(
        label_file=args.label_file,
        mirror=args.mirrored,
        batch_size=args.batch_size,
        gallery_people=args.gallery_people,
        given=_given_thresholds(args.set),
        describe=args.describe,
        note=args.note,
        progress=True,
    )
    folder = _open_folder(args.model)
    if folder.path.is_file() and not args.dry_run:
        raise ModelFileError(
            f"{folder.path}: a file alone has no card to write into; import it first: "
            f"arcface-paddle import {folder.path} --output DIR"
        )
    if not args.dry_run:
        require_writable_folder(str(folder.path), option="MODEL")
    measured = [*_measured_crops(args, folder, settings), *_measured_photographs(args)]
    calibration = calibrate_on_pairs(folder.card, measured, settings=settings)
    print(_table(calibration))
    if args.json:
        write_json_result(args.json, calibration.document())
    if args.dry_run:
        print("dry run: no card written")
        return 0
    print(f"written: {write_calibration(folder, calibration.chosen)}")
    return 0


def _open_folder(model: str) -> Union[ModelFolder, FusionFolder]:
    from arcface_paddle.pipeline.cards import RECOGNITION
    from arcface_paddle.pipeline.model_files import find_card, open_fusion, open_model

    if find_card(model, task=RECOGNITION).fusion is None:
        return open_model(model, task=RECOGNITION)
    return open_fusion(model)


def _measured_crops(
    args: argparse.Namespace, folder: Union[ModelFolder, FusionFolder], settings: CalibrationSettings
) -> list[MeasuredSet]:
    """Compare the pairs of what ``--data`` names."""
    from arcface_paddle.evaluation.card_calibration import measure_crops
    from arcface_paddle.evaluation.embedder import model_embedder
    from arcface_paddle.pipeline.model_files import FusionFolder

    if not args.data:
        return []
    if isinstance(folder, FusionFolder) or folder.card.input.size_wh != COMMON_CROP:
        raise ConfigError(
            f"--data holds 112x112 crops of the common template, which {folder.card.name} does not take; give "
            "--photographs DIR, one folder of photographs per person"
        )
    embedder = model_embedder(folder, name=args.model, options=embedder_settings(args, network=None).runtime)
    return measure_crops(embedder.embed, args.data, settings=settings)


def _measured_photographs(args: argparse.Namespace) -> list[MeasuredSet]:
    """Compare the pairs of what ``--photographs`` names."""
    if not args.photographs:
        return []
    from arcface_paddle.cli.console import complain
    from arcface_paddle.evaluation.photograph_pairs import measure_photographs
    from arcface_paddle.pipeline.opening import open_pipeline
    from arcface_paddle.pipeline.picture_workers import PictureWorkers
    from arcface_paddle.pipeline.settings import PipelineSettings

    options = embedder_settings(args, network=None).runtime
    settings = PipelineSettings(
        det_model=args.det_model,
        rec_model=args.model,
        det_thresh=args.det_thresh,
        min_face=args.min_face,
        rotate=args.rotate,
        mirrored=args.mirrored,
        max_batch_size=args.batch_size,
        runtime=dataclasses.replace(options, precision="fp32"),  # figures do not depend on the processor
    )
    workers = PictureWorkers(open_pipeline(settings).analyzer)
    return [
        measure_photographs(workers, folder, faces=args.faces, complain=complain, shown=True)
        for folder in args.photographs
    ]


def _given_thresholds(assignments: list[str]) -> dict[str, float]:
    """Read NAME=VALUE; what is no number becomes NaN, which is no cosine and refused as such."""
    given = {}
    for text in assignments:
        name, _, value = text.partition("=")
        if name not in THRESHOLDS:
            raise ConfigError(f"--set {text!r}; allowed: {', '.join(THRESHOLDS)}, such as far_1e3=0.5")
        try:
            given[name] = float(value)
        except ValueError:
            given[name] = math.nan
    return given


def _table(calibration: CardCalibration) -> str:
    before, chosen, logistic = calibration.before, calibration.chosen, calibration.measured.logistic
    rows = []
    for name, point in zip(THRESHOLDS, (*calibration.measured.points, calibration.search)):
        rows.append(
            [
                name,
                _number(getattr(before, name, None)),
                _number(point.threshold),
                _number(getattr(chosen, name)),
                point.remark or f"{point.false_accepts} of {point.impostors:,} strangers accepted",
            ]
        )
    assert chosen.logistic is not None
    slope, intercept = chosen.logistic
    rows.append(
        [
            *("logistic", _logistic(before), f"{logistic.slope:.3f}, {logistic.intercept:.3f}", _logistic(chosen)),
            f"even odds at {-intercept / slope:.3f}",
        ]
    )
    return text_table(["threshold", "card before", "measured", "card now", "evidence"], rows)


def _logistic(calibration: Optional[Calibration]) -> Optional[str]:
    if calibration is None or calibration.logistic is None:
        return None
    slope, intercept = calibration.logistic
    return f"{slope:.3f}, {intercept:.3f}"


def _number(value: Optional[float]) -> Optional[str]:
    return None if value is None else f"{value:.4f}"
