"""Doubt labels by the sub-centres of a run (train.py --subcentres 3): list, page, and what to train on next.

arcface-paddle data noisy RUN --list noisy.tsv --html noisy.html
arcface-paddle data noisy RUN --fix label.clean.txt --start RUN_CLEAN
python train.py --config RUN_CLEAN/config.yaml
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from arcface_paddle.cli.data_flags import add_workers, positive_int
from arcface_paddle.cli.main import EXIT_OK, EXIT_PARTIAL
from arcface_paddle.cli.writable import require_writable_folder, require_writable_texts
from arcface_paddle.doctor.doctor_settings import MAX_ANGLE_DEG
from arcface_paddle.errors import ConfigError, DataError

if TYPE_CHECKING:  # what examines is imported where it is used, so that --help is quick
    from arcface_paddle.data.dataset import FaceDataset
    from arcface_paddle.doctor.subcentres import SubcentreReport
    from arcface_paddle.training.finished_run import FinishedRun

EPILOG = """\
A run with several centres a class gathers the clean pictures of a class at its dominant sub-centre; a picture further
than --angle degrees from it is doubted: 75 is the published value, for a run that has nearly ended. --nondominant
doubts those that are nearer to another sub-centre too, which takes more of the hard, right ones with it.

--fix writes a label file without the doubted pictures, with labels numbered anew; beside it LABEL.map.tsv (old and new
labels) and LABEL.removed.tsv. --start writes a folder with the network and the dominant centres: training on the
cleaned data goes on from there with one centre a class. To train from scratch instead, as the paper does, give the
cleaned label file to train.py --label_file.

exit codes: 0 no picture is doubted; 1 some are; 2 wrong use, or nothing to read; 130 interrupted
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.epilog = EPILOG
    parser.add_argument("run", help="folder of the run (train.py --output)")
    parser.add_argument("--data_dir", metavar="DIR", help="its data, if it has moved (default: as in the run)")
    parser.add_argument("--label_file", metavar="FILE", help="its label file, if it has moved (default: as in the run)")
    parser.add_argument(
        "--angle", type=float, default=MAX_ANGLE_DEG, help="largest angle to the dominant centre, degrees (%(default)g)"
    )
    parser.add_argument("--nondominant", action="store_true", help="doubt what is nearer to another sub-centre too")
    parser.add_argument("--list", metavar="FILE", help="write the doubted pictures, the worst first")
    parser.add_argument("--html", metavar="FILE", help="write a page with pictures, one file")
    parser.add_argument("--pictures", type=positive_int, default=24, help="doubted pictures on the page (%(default)s)")
    parser.add_argument("--fix", metavar="LABEL", help="write a label file without them under this new name")
    parser.add_argument("--start", metavar="DIR", help="with --fix: write where training with one centre goes on")
    parser.add_argument("--batch_size", type=positive_int, default=64, help="images per run (%(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="(%(default)s)")
    add_workers(parser)
    parser.set_defaults(default_of=parser.get_default)


def run(args: argparse.Namespace) -> int:
    """Examine, report, write; 1 when pictures are doubted."""
    from arcface_paddle import devices
    from arcface_paddle.doctor.fix import check_target
    from arcface_paddle.training.finished_run import check_start, read_finished_run

    _check_arguments(args)
    if args.fix is not None:
        check_target(args.fix)
    if args.start is not None:
        check_start(args.start)
    devices.use_device(args.device)
    finished = read_finished_run(args.run, say=print)
    if finished.centres.shape[1] == 1:
        print(f"{args.run} has one centre a class: angles are told, but noise is not gathered apart from it")
    dataset = _dataset_of(finished, args)
    report = _examine(finished, dataset, args)
    _print_summary(report, finished, args)
    _write_results(report, finished, dataset, args)
    return EXIT_PARTIAL if report.doubted.any() else EXIT_OK


def _check_arguments(args: argparse.Namespace) -> None:
    if not 0.0 < args.angle < 180.0:
        raise ConfigError(f"--angle is {args.angle:g}; allowed: above 0, below 180 degrees")
    if args.start is not None and args.fix is None:
        raise ConfigError("--start goes on with the cleaned data; add --fix LABEL")
    if args.pictures != args.default_of("pictures") and args.html is None:
        raise ConfigError("--pictures is about the page; add --html FILE")
    require_writable_texts({f"--{option}": getattr(args, option) for option in ("list", "html", "fix")})
    require_writable_folder(args.start, option="--start")


def _dataset_of(finished: FinishedRun, args: argparse.Namespace) -> FaceDataset:
    from arcface_paddle.training.config import config_from
    from arcface_paddle.training.run import open_training_data

    moved = {name: getattr(args, name) for name in ("data_dir", "label_file") if getattr(args, name) is not None}
    return open_training_data(config_from(moved, base=finished.config, origin="flag"))


def _examine(finished: FinishedRun, dataset: FaceDataset, args: argparse.Namespace) -> SubcentreReport:
    from arcface_paddle.doctor.subcentres import NoiseRule, judge_subcentres, subcentre_cosines

    embed = finished.embedder().embed
    cosines = subcentre_cosines(
        dataset, embed, centres=finished.centres, batch_size=args.batch_size, workers=args.workers
    )
    rule = NoiseRule(max_angle_deg=args.angle, nondominant=args.nondominant)
    return judge_subcentres(cosines, dataset.labels, num_classes=len(finished.centres), rule=rule)


def _print_summary(report: SubcentreReport, finished: FinishedRun, args: argparse.Namespace) -> None:
    count, doubted = len(report.doubted), int(report.doubted.sum())
    classes, subcentres, _ = finished.centres.shape
    print(f"{finished.checkpoint}: {classes:,} classes with {subcentres} sub-centres")
    print(f"{doubted:,} of {count:,} images are doubted ({doubted / count:.1%}), limit {args.angle:g} degrees")
    if report.unreadable:
        print(f"{report.unreadable:,} images cannot be read and are not judged; 'data doctor' names them")


def _write_results(
    report: SubcentreReport, finished: FinishedRun, dataset: FaceDataset, args: argparse.Namespace
) -> None:
    from arcface_paddle.doctor.noise_report import write_list, write_page, write_without

    try:
        if args.list is not None:
            write_list(dataset, report, args.list)
            print(f"wrote {args.list}")
        if args.html is not None:
            write_page(dataset, report, args.html, pictures=args.pictures)
            print(f"wrote {args.html}")
        if args.fix is not None:
            result = write_without(dataset, report, args.fix)
            print(f"wrote {result.label_file}: {result.kept:,} images of {result.identities:,} identities")
            _write_start(report, finished, dataset, args)
    except OSError as error:
        raise DataError(f"{error.filename or 'results'}: cannot be written: {error.strerror or error}") from None


def _write_start(
    report: SubcentreReport, finished: FinishedRun, dataset: FaceDataset, args: argparse.Namespace
) -> None:
    if args.start is None:
        return
    import numpy as np

    from arcface_paddle.training.finished_run import write_start

    kept_labels = np.unique(dataset.labels[~report.doubted])  # in this order the cleaned label file numbers them
    centres = report.dominant_centres(finished.centres)[kept_labels]
    config = write_start(args.start, finished, centres=centres, label_file=Path(args.fix))
    print(f"go on with one centre a class: python train.py --config {config}")
