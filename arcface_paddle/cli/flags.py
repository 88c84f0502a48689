"""Flags that several commands share, one spelling each, and the settings that they make.

Names that the published tool had, and earlier names of ours, stay as aliases; the help of every command lists them
under "published names".
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any, Optional

from arcface_paddle.errors import ConfigError
from arcface_paddle.pipeline.settings import (
    AUTO,
    DEFAULT_DETECTOR,
    DEFAULT_FPIR,
    DEFAULT_RECOGNIZER,
    DISTANCE_METRICS,
    ENGINES,
    FALSE_ACCEPTANCE_RATES,
    PRECISIONS,
    PRESETS,
    ROTATIONS,
    PipelineSettings,
    RuntimeOptions,
    ThresholdSettings,
)

PUBLISHED_NAMES = "published names"

_TRUE, _FALSE = ("true", "t", "1", "yes"), ("false", "f", "0", "no")


def parse_bool(text: str) -> bool:
    """Read true/t/1/yes or false/f/0/no, in any case."""
    lowered = text.strip().lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither of {'/'.join(_TRUE)} nor of {'/'.join(_FALSE)}")


def add_bool(parser: argparse._ActionsContainer, *flags: str, default: Any, **extra: Any) -> None:
    """Declare a flag that takes a truth value, or none for true."""
    parser.add_argument(*flags, type=parse_bool, nargs="?", const=True, default=default, metavar="BOOL", **extra)


def published_group(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Return the group of aliases of a parser, made at the first call."""
    for group in parser._action_groups:
        if group.title == PUBLISHED_NAMES:
            return group
    return parser.add_argument_group(PUBLISHED_NAMES, "other spellings, kept for scripts that have them")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Declare which models run, and how; ``pipeline_settings`` reads them."""
    models = parser.add_argument_group("models")
    models.add_argument("--det_model", default=DEFAULT_DETECTOR, help="detector: name, folder or .onnx (%(default)s)")
    models.add_argument(
        "--rec_model",
        help=f"recogniser: name, folder or .onnx (default: the one that made the gallery, else {DEFAULT_RECOGNIZER})",
    )
    for flag in ("--det_preset", "--rec_preset"):
        models.add_argument(flag, choices=PRESETS, help="preprocessing of a model folder without a card")
    add_detection_options(models)
    add_bool(
        models, "--mirrored", default=None,
        help="average the embedding with that of the mirrored face (default: as the gallery was made, else yes)",
    )  # fmt: skip
    models.add_argument("--max_batch_size", type=int, default=16, help="most faces per run of a model (%(default)s)")
    aliases = published_group(parser)
    add_bool(aliases, "--flip", "--mirror", dest="mirrored", default=argparse.SUPPRESS, help="= --mirrored")
    add_engine_options(parser)


def add_detection_options(parser: argparse._ActionsContainer) -> None:
    """Declare which faces are looked for."""
    parser.add_argument("--det_thresh", type=float, help="least detection score, 0 to 1 (default: the model's card)")
    parser.add_argument("--min_face", type=int, metavar="PX",
                        help="smallest face, its longer side in pixels of the picture; large values save time on large "
                        "pictures, small ones are looked for everywhere (default: 16, and in large pictures only where "
                        "they show small faces at all)")  # fmt: skip
    parser.add_argument("--rotate", choices=ROTATIONS, default=AUTO,
                        help="degrees clockwise that make pictures stand upright; auto turns those in which nothing "
                        "plausible does (%(default)s)")  # fmt: skip


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Declare where and how networks run; ``runtime_options`` reads them."""
    engine = parser.add_argument_group("engine")
    engine.add_argument("--engine", choices=[AUTO, *ENGINES], default=AUTO,
                        help="what runs the models; auto: the fastest that is installed (%(default)s)")  # fmt: skip
    engine.add_argument("--device", help="cpu, gpu or gpu:1 (cpu)")
    engine.add_argument("--threads", type=int,
                        help="CPU threads of a network (default: as many as the process may use)")  # fmt: skip
    engine.add_argument("--precision", choices=PRECISIONS, default=AUTO,
                        help="auto: bf16 where processor, engine and network allow it; fp16 is for GPUs "
                        "(%(default)s)")  # fmt: skip
    add_bool(engine, "--tensorrt", default=False,
             help="with --device gpu: TensorRT computes what it can; each new size takes long (false)")  # fmt: skip
    aliases = published_group(parser)
    aliases.add_argument("--backend", dest="engine", choices=[AUTO, *ENGINES], default=argparse.SUPPRESS,
                         help="= --engine")  # fmt: skip
    # These three keep attributes of their own: users of the Python interface set args.use_gpu and args.cpu_threads.
    add_bool(aliases, "--use_gpu", default=False, help="= --device gpu")
    add_bool(aliases, "--enable_mkldnn", default=True, help="use oneDNN on the CPU in the engine paddle (true)")
    aliases.add_argument("--cpu_threads", type=int, help="= --threads")


def add_workers_option(parser: argparse._ActionsContainer) -> None:
    """Declare how many pictures are worked on at once; ``worker_settings`` reads it."""
    parser.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="pictures worked on at the same time; --threads is shared out between them (default: one for each of "
        "these threads, up to 16)",
    )


def worker_settings(
    args: argparse.Namespace, settings: PipelineSettings, *, pictures: int
) -> tuple[int, PipelineSettings]:
    """Return how many workers there are for some pictures, and the settings of each.

    Raises:
        ConfigError: more workers than are allowed.
    """
    from arcface_paddle.pipeline.picture_workers import share_out

    count, runtime = share_out(settings.runtime, pictures=pictures, workers=args.workers)
    return count, dataclasses.replace(settings, runtime=runtime)


def add_threshold_options(parser: argparse._ActionsContainer) -> None:
    """Declare from which similarity on a face gets a name; ``threshold_settings`` reads it."""
    parser.add_argument(
        "--rec_thresh", type=float, help="least similarity of one person (default: by the model's card)"
    )
    parser.add_argument(
        "--far",
        choices=sorted(FALSE_ACCEPTANCE_RATES),
        help="take the card's threshold for this rate of false acceptances between two pictures instead",
    )


DISTANCE_NAMES = {"0": "squared_l2", "1": "arccos", **{name: name for name in DISTANCE_METRICS}}
"""What ``--distance_metric`` takes, and what it means; the numbers are those of published programs."""

_SIM_NAMES = {"diff": "squared_l2", "cos": "cosine"}


def add_distance_options(parser: argparse._ActionsContainer, *, aliases: argparse._ActionsContainer) -> None:
    """Declare thresholds and results as distances, as other programs have them; ``distance_metric`` reads the metric.

    Args:
        parser: where the help lists them.
        aliases: the group of published names.
    """
    parser.add_argument(
        "--max_threshold",
        type=float,
        metavar="DISTANCE",
        help="largest distance of one person, instead of --rec_thresh",
    )
    parser.add_argument(
        "--distance_metric",
        choices=sorted(DISTANCE_NAMES),
        help="of --max_threshold and --show_distance: 0 = squared_l2 (2 - 2 cos), 1 = arccos (acos(cos) / pi), cosine "
        "(1 - cos) (0)",
    )
    add_bool(parser, "--show_distance", default=False, help="show the distance beside the name, not the similarity")
    aliases.add_argument(
        "--sim", dest="distance_metric", type=_sim, default=argparse.SUPPRESS, metavar="{diff,cos}",
        help="= --distance_metric squared_l2 or cosine",
    )  # fmt: skip


def distance_metric(args: argparse.Namespace) -> str:
    """Return the chosen distance. Raises ``ConfigError`` when one is chosen for nothing."""
    wanted = getattr(args, "distance_metric", None)
    if wanted is not None and args.max_threshold is None and not args.show_distance:
        raise ConfigError("--distance_metric says which distance; give --max_threshold or --show_distance, too")
    return DISTANCE_NAMES[wanted or "0"]


def _sim(text: str) -> str:
    if text not in _SIM_NAMES:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not offered (correlations and ssim of embeddings say nothing of faces); allowed: diff, cos"
        )
    return _SIM_NAMES[text]


def add_search_option(parser: argparse._ActionsContainer) -> None:
    """Declare how often a stranger may get a name, and how good a picture must be: where a gallery is searched."""
    parser.add_argument(
        "--fpir",
        type=float,
        metavar="RATE",
        help="how often a search for a stranger may end with a name; the threshold follows from it, the gallery's size "
        f"and the model's card ({DEFAULT_FPIR})",
    )
    parser.add_argument(
        "--min_quality",
        type=float,
        default=PipelineSettings.min_quality,
        metavar="SCORE",
        help="faces whose picture is worse get no name; 0 to 1, the JSON says it for every face (%(default)s)",
    )


def threshold_settings(args: argparse.Namespace) -> ThresholdSettings:
    """Return what the flags say of the threshold; commands without them leave it to the card."""
    similarity, far, fpir, distance = (
        getattr(args, name, None) for name in ("rec_thresh", "far", "fpir", "max_threshold")
    )
    return ThresholdSettings(similarity, far, fpir, distance, distance_metric(args))


def runtime_options(args: argparse.Namespace) -> RuntimeOptions:
    """Return how networks run.

    Raises:
        ConfigError: a flag and its published name contradict each other, or a value is not allowed.
    """
    if args.use_gpu and args.device not in (None, "gpu") and not args.device.startswith("gpu:"):
        raise ConfigError(f"--use_gpu true contradicts --device {args.device}; give one")
    if None not in (args.threads, args.cpu_threads) and args.threads != args.cpu_threads:
        raise ConfigError(f"--threads is {args.threads} and --cpu_threads {args.cpu_threads}; give one")
    return RuntimeOptions(
        engine=args.engine,
        device=args.device or ("gpu" if args.use_gpu else "cpu"),
        threads=args.cpu_threads if args.threads is None else args.threads,
        onednn=args.enable_mkldnn,
        precision=args.precision,
        tensorrt=args.tensorrt,
    )


def pipeline_settings(args: argparse.Namespace, *, mirrored: Optional[bool] = None) -> PipelineSettings:
    """Return the settings that the flags of ``add_model_options`` make.

    Args:
        args: parsed flags.
        mirrored: what holds when ``--mirrored`` was not given.

    Raises:
        ConfigError: flags that contradict each other.
    """
    return PipelineSettings(
        det_model=args.det_model,
        rec_model=args.rec_model,
        det_preset=args.det_preset,
        rec_preset=args.rec_preset,
        det_thresh=args.det_thresh,
        min_face=args.min_face,
        rotate=args.rotate,
        mirrored=mirrored if args.mirrored is None else args.mirrored,
        max_batch_size=args.max_batch_size,
        top_k=getattr(args, "cdd_num", PipelineSettings.top_k),
        threshold=threshold_settings(args),
        min_quality=getattr(args, "min_quality", PipelineSettings.min_quality),
        runtime=runtime_options(args),
    )


def add_search_options(parser: argparse._ActionsContainer) -> None:
    """Declare how folders are searched for pictures, and how large a picture may be."""
    parser.add_argument("--no_recursive", action="store_true", help="do not search the folders inside of folders")
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out files and folders whose name, or path inside of the folder searched, matches, as "
        '"*_small.jpg" or "2019/*"; may be repeated',
    )
    parser.add_argument(
        "--max_pixels", type=positive, metavar="N", help="read pictures of up to N pixels (default: 178,956,970)"
    )


def positive(text: str) -> int:
    """Read a whole number of 1 or more."""
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return value
