"""Flags that choose models, engine and thresholds, and the pipeline that they make; shared by several commands."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import Any, Optional

from tqdm import tqdm

from arcface_paddle import files
from arcface_paddle.errors import ConfigError
from arcface_paddle.pipeline.analyzer import Analyzer
from arcface_paddle.pipeline.builders import DEFAULT_DETECTOR, DEFAULT_RECOGNIZER, build_detector, build_recognizer
from arcface_paddle.pipeline.cards import ModelCard
from arcface_paddle.pipeline.detection.base import Detector
from arcface_paddle.pipeline.gallery import Gallery, ModelIdentity, identity_of
from arcface_paddle.pipeline.model_files import PRESETS
from arcface_paddle.pipeline.portrait import PortraitAnalyzer
from arcface_paddle.pipeline.runtime import AUTO, ENGINES, PRECISIONS, RuntimeOptions

FALSE_ACCEPTANCE_RATES = {"1e-2": "far_1e2", "1e-3": "far_1e3", "1e-4": "far_1e4"}

_TRUE, _FALSE = ("true", "t", "1", "yes"), ("false", "f", "0", "no")


@dataclass(frozen=True, eq=False)
class OpenPipeline:
    """Loaded models and what is to be said about them.

    Attributes:
        analyzer: finds, embeds and names faces, as far as was asked for.
        model: the recogniser's identity; None without one.
        caution: about the gallery or its threshold, for the user; may be empty.
        facts: models and thresholds in use, as JSON values.
    """

    analyzer: Analyzer
    model: Optional[ModelIdentity]
    caution: str
    facts: dict[str, Any]


def parse_bool(text: str) -> bool:
    """Read true/t/1/yes or false/f/0/no, in any case."""
    lowered = text.strip().lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither of {'/'.join(_TRUE)} nor of {'/'.join(_FALSE)}")


def add_bool(parser: argparse._ActionsContainer, *flags: str, default: Optional[bool], **extra: Any) -> None:
    """Declare a flag that takes a truth value, or none for true."""
    parser.add_argument(*flags, type=parse_bool, nargs="?", const=True, default=default, metavar="BOOL", **extra)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Declare which models run, and how."""
    models = parser.add_argument_group("models")
    models.add_argument("--det_model", default=DEFAULT_DETECTOR, help="detector: name or folder (%(default)s)")
    models.add_argument("--rec_model", default=DEFAULT_RECOGNIZER, help="recogniser: name or folder (%(default)s)")
    for flag in ("--det_preset", "--rec_preset"):
        models.add_argument(flag, choices=PRESETS, help="preprocessing of a model folder without a card")
    models.add_argument("--det_thresh", type=float, help="least detection score, 0 to 1 (default: the model's card)")
    add_bool(
        models, "--flip", "--mirror", dest="flip", default=None,
        help="average the embedding with that of the mirrored face (default: as the gallery was made, else yes)",
    )  # fmt: skip
    engine = parser.add_argument_group("engine")
    add_bool(engine, "--use_gpu", default=False, help="run on the GPU (false)")
    add_bool(engine, "--enable_mkldnn", default=True, help="use oneDNN on the CPU (true)")
    engine.add_argument("--cpu_threads", type=int, help="CPU threads (default: all that the process may use)")
    engine.add_argument("--max_batch_size", type=int, default=16, help="most faces per run of a model (%(default)s)")
    engine.add_argument("--precision", choices=PRECISIONS, default="fp32", help="arithmetic (%(default)s)")
    engine.add_argument("--backend", choices=[AUTO, *ENGINES], default=AUTO, help="engine (%(default)s)")


def add_threshold_options(parser: argparse._ActionsContainer) -> None:
    """Declare from which similarity on a face gets a name."""
    parser.add_argument(
        "--rec_thresh", type=float, help="least similarity (signed cosine) for a name (default: the model's card)"
    )
    parser.add_argument(
        "--far",
        choices=sorted(FALSE_ACCEPTANCE_RATES),
        help="take the card's threshold for this rate of false acceptances between two pictures instead",
    )


def runtime_options(args: argparse.Namespace) -> RuntimeOptions:
    """Return how networks run, from the flags."""
    return RuntimeOptions(
        engine=args.backend,
        device="gpu" if args.use_gpu else "cpu",
        threads=args.cpu_threads,
        onednn=args.enable_mkldnn,
        precision=args.precision,
    )


def open_pipeline(
    args: argparse.Namespace, *, det: bool, rec: bool, gallery: Optional[Gallery], portraits: bool = False
) -> OpenPipeline:
    """Load the models that ``det`` and ``rec`` ask for; with a gallery, faces get names.

    Args:
        args: the flags that this module declares.
        det: find faces.
        rec: embed faces.
        gallery: names faces.
        portraits: without ``det``, look for the face of a picture that is not an aligned crop.

    Raises:
        ModelFileError: a model is missing or damaged.
        GalleryError: the gallery was made with another model.
        ConfigError: no threshold is known, or options that cannot work here.
    """
    options = runtime_options(args)
    detector: Optional[Detector] = None
    facts: dict[str, Any] = {}
    if det or portraits:
        detector = build_detector(args.det_model, threshold=args.det_thresh, preset=args.det_preset, options=options)
        facts.update(det_model=args.det_model, det_thresh=detector.threshold)
    if not rec:
        return OpenPipeline(Analyzer(detector, None), None, "", facts)
    recognizer = build_recognizer(
        args.rec_model,
        max_batch_size=args.max_batch_size,
        mirrored=_mirrored(args.flip, gallery),
        preset=args.rec_preset,
        options=options,
    )
    model = identity_of(recognizer)
    facts.update(rec_model=args.rec_model, flip=model.mirrored)
    naming: dict[str, Any] = {}
    caution = ""
    if gallery is not None:
        caution = gallery.require_model(model) or _threshold_caution(recognizer.card, args.rec_thresh)
        threshold = choose_threshold(recognizer.card, rec_thresh=args.rec_thresh, far=args.far)
        naming = {"gallery": gallery, "top_k": args.cdd_num, "threshold": threshold}
        facts.update(index=args.index, rec_thresh=threshold, decision=gallery.decision)
    if detector is not None and not det:
        return OpenPipeline(PortraitAnalyzer(detector, recognizer, **naming), model, caution, facts)
    return OpenPipeline(Analyzer(detector, recognizer, **naming), model, caution, facts)


def choose_threshold(card: ModelCard, *, rec_thresh: Optional[float], far: Optional[str]) -> float:
    """Return the least similarity for a name: the user's, the card's at ``far``, or the card's for searching.

    Raises:
        ConfigError: both were given, the value is no cosine, or the card does not have it.
    """
    if rec_thresh is not None and far is not None:
        raise ConfigError("--rec_thresh and --far both set the threshold; give one")
    if rec_thresh is not None:
        if not -1 <= rec_thresh <= 1:
            raise ConfigError(f"--rec_thresh is {rec_thresh}; allowed: a cosine, -1 to 1")
        return rec_thresh
    calibration = card.recognizer.calibration if card.recognizer else None
    if calibration is None:
        raise ConfigError(
            f"the model {card.name} has no calibrated threshold; give --rec_thresh (the published tool used 0.45), or "
            "write one into its card with 'arcface-paddle calibrate'"
        )
    if far is None:
        return calibration.identification
    threshold: Optional[float] = getattr(calibration, FALSE_ACCEPTANCE_RATES[far])
    if threshold is None:
        raise ConfigError(f"the card of {card.name} has no threshold at FAR {far}; give --rec_thresh or another --far")
    return threshold


def complain(message: str) -> None:
    """Say on stderr what is wrong with one input, without breaking a progress bar."""
    tqdm.write(" ".join(message.splitlines()), file=sys.stderr)


def write_json_result(path: str, content: dict[str, Any]) -> None:
    """Write the file that ``--json`` names, atomically. Raises ``ConfigError`` when it cannot be written."""
    try:
        files.write_json(path, content)
    except OSError as error:
        raise ConfigError(f"--json {path}: cannot be written: {error.strerror or error}") from None


def write_text_result(path: str, text: str, *, option: str) -> None:
    """Write a result file atomically. Raises ``ConfigError`` when it cannot be written."""
    try:
        files.write_text(path, text)
    except OSError as error:
        raise ConfigError(f"{option} {path}: cannot be written: {error.strerror or error}") from None


def _threshold_caution(card: ModelCard, rec_thresh: Optional[float]) -> str:
    """Say that names rest on a threshold which nobody measured for this model; empty when somebody did."""
    calibration = card.recognizer.calibration if card.recognizer else None
    if rec_thresh is not None or calibration is None or calibration.logistic or calibration.far_1e3 is not None:
        return ""
    return (
        f"the threshold {calibration.identification} is the published tool's, not measured for {card.name}; run "
        "'arcface-paddle calibrate' on labelled faces, or give --rec_thresh"
    )


def _mirrored(flip: Optional[bool], gallery: Optional[Gallery]) -> bool:
    if flip is not None:
        return flip
    if gallery is None:
        return True
    return gallery.model is not None and gallery.model.mirrored  # a published index.bin never is
