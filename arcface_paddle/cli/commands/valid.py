"""Verify recognisers on lfw-style sets by the published protocol, and beyond it.

    python valid.py --network MobileFaceNet_128 --checkpoint emore_arcface
    python valid.py --model MobileFace --data_dir sets --val_targets lfw,own.bin --report report/
    python valid.py --model run_a --model run_b --model exported/ --val_targets all --report comparison/

Prints the published log lines, then accuracy, TAR@FAR with 95 % intervals, EER and AUC per set and model.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path
from typing import Callable, Iterator, Optional

from prettytable import PrettyTable

from arcface_paddle import files
from arcface_paddle.cli.writable import require_writable_file, require_writable_folder
from arcface_paddle.data.verification_set import VerificationSet, read_verification_set
from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.evaluation.embedding import EmbeddingSettings, evaluate_sets
from arcface_paddle.evaluation.model_opening import DEFAULT_NETWORK, EmbedderSettings, open_embedders
from arcface_paddle.evaluation.ranks import Ranks
from arcface_paddle.evaluation.report import (
    ModelResults,
    far_text,
    percent,
    point_text,
    report_document,
    write_report,
)
from arcface_paddle.evaluation.similarity import MEASURES, measure_by_name
from arcface_paddle.evaluation.verification import log_lines
from arcface_paddle.pipeline.runtime import AUTO, ENGINES


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
        help="instead of --checkpoint, repeatable: a run's folder, a .pdparams or .onnx file, an exported folder, "
        "or a known model such as MobileFace",
    )
    add_engine_flags(model)
    data = parser.add_argument_group("sets")
    data.add_argument("--data_dir", default="MS1M_bin", help="folder of the sets (MS1M_bin)")
    data.add_argument(
        "--val_targets",
        default="lfw,cfp_fp,agedb_30",
        help="names in --data_dir or paths of .bin files, by commas; 'all' takes every .bin of --data_dir",
    )
    protocol = parser.add_argument_group("protocol")
    protocol.add_argument("--batch_size", type=int, default=64, help="crops per call of the network (64)")
    protocol.add_argument("--sim", default="diff", choices=list(MEASURES), help=_measures_help())
    protocol.add_argument("--no_flip", action="store_true", help="leave the mirrored pictures out")
    output = parser.add_argument_group("output")
    output.add_argument("--report", metavar="DIR", help="write report.html, report.png and report.json there")
    output.add_argument("--json", metavar="FILE", help="write all figures to a file")


def add_engine_flags(group: argparse._ArgumentGroup) -> None:
    """Declare the flags that say where models run; shared by the evaluating commands."""
    group.add_argument("--engine", choices=[AUTO, *ENGINES], default=AUTO, help="of exported models (%(default)s)")
    group.add_argument("--device", default="cpu", help="cpu or gpu (cpu)")
    group.add_argument("--threads", type=int, help="CPU threads of exported models (all)")


def run(args: argparse.Namespace) -> int:
    """Evaluate every model on every set."""
    if args.batch_size < 1:
        raise ConfigError(f"--batch_size is {args.batch_size}; allowed: 1 or more")
    require_writable_folder(args.report, option="--report")
    require_writable_file(args.json, option="--json")
    measure = measure_by_name(args.sim)
    with joined_ranks() as ranks:
        main_rank = ranks is None or ranks.rank() == 0
        sets = open_sets(args.data_dir, args.val_targets, say=main_rank)
        settings = EmbeddingSettings(args.batch_size, mirror=not args.no_flip, progress=main_rank)
        models = []
        for embedder in _embedders(args):
            results = evaluate_sets(embedder.embed, sets.values(), settings=settings, measure=measure, ranks=ranks)
            models.append(ModelResults(embedder.name, embedder.description, results))
            if main_rank:
                _print_log_lines(models[-1], single=len(args.model) <= 1)
        if main_rank:
            print(_summary_table(models))
            print(_tar_table(models))
            print(f"compared by {args.sim}: {MEASURES[args.sim].meaning}")
            title = f"Verification of {', '.join(model.model for model in models)}"
            publish(args, report_document(models), lambda: write_report(args.report, models, sets, title=title))
    return 0


@contextlib.contextmanager
def joined_ranks() -> Iterator[Optional[Ranks]]:
    """Join the process group of ``paddle.distributed.launch``; None for an ordinary run of one process."""
    if "PADDLE_TRAINERS_NUM" not in os.environ:  # no launcher; ONNX models then need no paddle at all
        yield None
        return
    from arcface_paddle import distributed

    with distributed.process_group():
        yield distributed


def open_sets(data_dir: str, targets: str, *, say: bool = True) -> dict[str, VerificationSet]:
    """Read the sets named by ``targets``; one that is missing is said on stderr.

    Raises:
        DataError: a set is damaged, two have one name, or none was found.
    """
    if targets == "all":
        paths = sorted(Path(data_dir).glob("*.bin"))
    else:
        paths = [_set_path(data_dir, name.strip()) for name in targets.split(",") if name.strip()]
    sets: dict[str, VerificationSet] = {}
    for path in paths:
        if not path.is_file():
            if say:
                print(f"verification set {path} is missing and left out", file=sys.stderr)
            continue
        found = read_verification_set(path)
        if found.name in sets:
            raise DataError(f"{path}: a second set called {found.name}; rename one of the files")
        sets[found.name] = found
    if not sets:
        raise DataError(
            f"no verification set found: --val_targets {targets} --data_dir {data_dir}; expected files such as "
            f"{Path(data_dir) / 'lfw.bin'} (make one from your own pairs with 'arcface-paddle data')"
        )
    return sets


def _embedders(args: argparse.Namespace) -> list:
    network = args.network
    if not args.model and network is None:
        network = DEFAULT_NETWORK
    settings = EmbedderSettings(network=network, engine=args.engine, device=args.device, threads=args.threads)
    return open_embedders(args.model or [args.checkpoint], settings=settings)


def _set_path(data_dir: str, name: str) -> Path:
    if name.endswith(".bin"):
        return Path(name) if Path(name).is_file() else Path(data_dir) / name
    return Path(data_dir) / f"{name}.bin"


def _print_log_lines(model: ModelResults, *, single: bool) -> None:
    if not single:
        print(f"{model.model}:")
    for result in model.results:
        print("\n".join(log_lines(result, step=0, highest=result.accuracy.mean)))


def publish(args: argparse.Namespace, document: dict, write: Callable[[], Path]) -> None:
    """Write what ``--json`` and ``--report`` ask for; ``write`` makes the report and returns its page.

    Raises:
        DataError: a file cannot be written.
    """
    try:
        if args.json:
            files.write_json(args.json, document)
        if args.report:
            print(f"report: {write()}")
    except OSError as error:
        raise DataError(f"{error.filename or args.report or args.json}: cannot be written: {error.strerror}") from None


def _summary_table(models: list[ModelResults]) -> PrettyTable:
    table = PrettyTable(["model", "set", "same", "different", "accuracy %", "XNorm", "VAL@FAR 1e-3", "AUC", "EER"])
    table.align = "l"
    for model in models:
        for result in model.results:
            val, eer = result.validation_rate.val, result.equal_error_rate
            table.add_row(
                [
                    model.model,
                    result.name,
                    result.genuine,
                    result.impostors,
                    f"{100 * result.accuracy.mean:.3f} +- {100 * result.accuracy.std:.3f}",
                    f"{result.xnorm:.4f}",
                    "-" if val is None else percent(val),
                    "-" if result.auc is None else f"{result.auc:.5f}",
                    "-" if eer is None else percent(eer),
                ]
            )
    return table


def _tar_table(models: list[ModelResults]) -> PrettyTable:
    targets = [point.far_target for point in models[0].results[0].operating_points]
    table = PrettyTable(["TAR [95 %]", "set", *map(far_text, targets)])
    table.align = "l"
    for model in models:
        for result in model.results:
            table.add_row([model.model, result.name, *map(point_text, result.operating_points)])
    return table


def _measures_help() -> str:
    lines = (f"{name} = {measure.meaning} ({measure.fared})" for name, measure in MEASURES.items())
    return "how embeddings are compared, with the AUC of 3,000 synthetic pairs: " + "; ".join(lines).replace("%", "%%")
