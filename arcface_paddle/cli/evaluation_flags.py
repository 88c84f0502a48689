"""Flags and output that the evaluating commands share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Optional

from arcface_paddle import files
from arcface_paddle.cli.flags import add_bool, published_group
from arcface_paddle.cli.writable import require_writable_folder, require_writable_text
from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.pipeline.settings import AUTO, ENGINES

if TYPE_CHECKING:  # what evaluates is imported where it is used, so that --help is quick
    from arcface_paddle.evaluation.model_opening import EmbedderSettings

MODEL_KINDS = "a run's folder, a .pdparams or .onnx file, an exported folder, or a known model such as MobileFace"


def add_mirrored_flag(parser: argparse.ArgumentParser, group: argparse._ArgumentGroup) -> None:
    """Declare whether the mirrored pictures count too."""
    add_bool(group, "--mirrored", default=True, help="add the features of the mirrored pictures (true, as published)")
    published_group(parser).add_argument(
        "--no_flip", dest="mirrored", action="store_false", default=argparse.SUPPRESS, help="= --mirrored false"
    )


def add_engine_flags(group: argparse._ArgumentGroup) -> None:
    """Declare where models run."""
    group.add_argument("--engine", choices=[AUTO, *ENGINES], default=AUTO, help="of exported models (%(default)s)")
    group.add_argument("--device", default="cpu", help="cpu or gpu (cpu)")
    group.add_argument("--threads", type=int, help="CPU threads of exported models (all)")


def add_output_flags(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Declare where results go, and return the group for what else belongs there."""
    output = parser.add_argument_group("output")
    output.add_argument("--report", metavar="DIR", help="write report.html, report.png and report.json there")
    output.add_argument("--json", metavar="FILE", help="write all figures to a file")
    return output


def embedder_settings(args: argparse.Namespace, *, network: Optional[str]) -> EmbedderSettings:
    """Return how models are opened, from the flags of ``add_engine_flags``."""
    from arcface_paddle.evaluation.model_opening import EmbedderSettings

    return EmbedderSettings(network=network, engine=args.engine, device=args.device, threads=args.threads)


def check_before_work(args: argparse.Namespace) -> None:
    """Refuse what would fail only after the long work. Raises ``ConfigError``."""
    if args.batch_size < 1:
        raise ConfigError(f"--batch_size is {args.batch_size}; allowed: 1 or more")
    require_writable_folder(args.report, option="--report")
    require_writable_text(args.json, option="--json")


def publish(args: argparse.Namespace, document: dict[str, Any], write_report: Callable[[str], Path]) -> None:
    """Write what ``--json`` and ``--report`` ask for.

    Args:
        args: with the flags of ``add_output_flags``.
        document: everything that was measured.
        write_report: writes the report into a folder and returns its page.

    Raises:
        DataError: a file cannot be written.
    """
    try:
        if args.json:
            files.write_json(args.json, document)
        if args.report:
            print(f"report: {write_report(args.report)}")
    except OSError as error:
        raise DataError(f"{error.filename or args.report or args.json}: cannot be written: {error.strerror}") from None
