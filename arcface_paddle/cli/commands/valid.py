"""Verify recognisers on lfw-style sets by the published protocol, and beyond it.

    python valid.py --network MobileFaceNet_128 --checkpoint emore_arcface
    python valid.py --model MobileFace --data_dir sets --val_targets lfw,own.bin --report report/
    python valid.py --model run_a --model run_b --model exported/ --val_targets all --report comparison/

Prints the published log lines, then accuracy, TAR@FAR with 95 % intervals, EER and AUC per set and model.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from arcface_paddle.cli.console import complain
from arcface_paddle.cli.evaluation_flags import (
    MODEL_KINDS,
    add_engine_flags,
    add_mirrored_flag,
    add_output_flags,
    check_before_work,
    embedder_settings,
    publish,
)
from arcface_paddle.cli.tables import text_table
from arcface_paddle.evaluation.choices import DEFAULT_NETWORK, MEASURE_NOTES

if TYPE_CHECKING:  # what evaluates is imported where it is used, so that --help is quick
    from arcface_paddle.evaluation.embedder import Embedder
    from arcface_paddle.evaluation.report import ModelResults


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    model = parser.add_argument_group("models")
    model.add_argument("--network", help=f"network of .pdparams files (default: {DEFAULT_NETWORK} or the file's name)")
    model.add_argument("--checkpoint", default="emore_arcface", help="folder with {network}.pdparams (emore_arcface)")
    model.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="WHAT",
        help=f"instead of --checkpoint, repeatable: {MODEL_KINDS}",
    )
    add_engine_flags(model)
    data = parser.add_argument_group("sets")
    data.add_argument("--data_dir", default="MS1M_bin", help="folder of the sets (MS1M_bin)")
    data.add_argument(
        "--val_targets",
        default="lfw,cfp_fp,agedb_30",
        help="names in --data_dir or paths, of .bin files or bcolz folders, by commas; 'all' takes all of --data_dir",
    )
    protocol = parser.add_argument_group("protocol")
    protocol.add_argument("--batch_size", type=int, default=64, help="crops per call of the network (64)")
    protocol.add_argument("--sim", default="diff", choices=list(MEASURE_NOTES), help=_measures_help())
    add_mirrored_flag(parser, protocol)
    protocol.add_argument(
        "--ccrop",
        action="store_true",
        help="enlarge each crop to 128 and embed the middle 112, for networks trained with --ccrop",
    )
    add_output_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate every model on every set."""
    from arcface_paddle.evaluation.embedding import EmbeddingSettings, evaluate_sets
    from arcface_paddle.evaluation.ranks import is_main, joined_ranks
    from arcface_paddle.evaluation.report import ModelResults, report_document, write_report
    from arcface_paddle.evaluation.sets import find_sets
    from arcface_paddle.evaluation.similarity import measure_by_name

    check_before_work(args)
    measure = measure_by_name(args.sim)
    with joined_ranks(args.device) as ranks:
        main = is_main(ranks)
        found = find_sets(args.data_dir, args.val_targets)
        for path in found.missing if main else ():
            complain(f"verification set {path} is missing and left out")
        settings = EmbeddingSettings(args.batch_size, mirror=args.mirrored, progress=main)
        models = []
        for embedder in _embedders(args):
            results = evaluate_sets(
                embedder.embed, found.sets.values(), settings=settings, measure=measure, ranks=ranks
            )
            models.append(ModelResults(embedder.name, embedder.description, results))
            if main:
                _print_log_lines(models[-1], single=len(args.model) <= 1)
        if main:
            _print_tables(models)
            print(f"compared by {args.sim}: {measure.meaning}")
            title = f"Verification of {', '.join(model.model for model in models)}"
            publish(
                args,
                report_document(models),
                lambda folder: write_report(folder, models, found.sets, title=title),
            )
    return 0


def _embedders(args: argparse.Namespace) -> list[Embedder]:
    from arcface_paddle.evaluation.embedder import centre_cropped
    from arcface_paddle.evaluation.model_opening import open_embedders

    network = args.network
    if not args.model and network is None:
        network = DEFAULT_NETWORK
    embedders = open_embedders(args.model or [args.checkpoint], settings=embedder_settings(args, network=network))
    return list(map(centre_cropped, embedders)) if args.ccrop else embedders


def _print_log_lines(model: ModelResults, *, single: bool) -> None:
    from arcface_paddle.evaluation.verification import log_lines

    if not single:
        print(f"{model.model}:")
    for result in model.results:
        print("\n".join(log_lines(result, step=0, highest=result.accuracy.mean)))


def _print_tables(models: list[ModelResults]) -> None:
    from arcface_paddle.evaluation.report import far_text, percent, point_text, val_text

    summary, points = [], []
    for model in models:
        for result in model.results:
            eer = result.equal_error_rate
            summary.append(
                [
                    *(model.model, result.name, result.genuine, result.impostors),
                    f"{100 * result.accuracy.mean:.3f} +- {100 * result.accuracy.std:.3f}",
                    f"{result.xnorm:.4f}",
                    val_text(result.validation_rate),
                    None if result.auc is None else f"{result.auc:.5f}",
                    None if eer is None else percent(eer),
                ]
            )
            points.append([model.model, result.name, *map(point_text, result.operating_points)])
    head = ["model", "set", "same", "different", "accuracy %", "XNorm", "VAL@FAR 1e-3", "AUC", "EER"]
    targets = [point.far_target for point in models[0].results[0].operating_points]
    print(text_table(head, summary, keys=2))
    print(text_table(["TAR [95 %]", "set", *map(far_text, targets)], points, keys=2))


def _measures_help() -> str:
    lines = (f"{name} = {meaning} ({fared})" for name, (meaning, fared) in MEASURE_NOTES.items())
    return "how embeddings are compared, with the AUC of 3,000 synthetic pairs: " + "; ".join(lines).replace("%", "%%")
