"""Tell whether two pictures show the same person: similarity, estimated probability and verdict.

arcface-paddle compare A.jpg B.jpg
arcface-paddle compare A.jpg B.jpg --far 1e-4 --json

The verdict uses the threshold of the model's card for FAR 1e-3 between two pictures, unless --far or --rec_thresh
say otherwise. The probability assumes that both answers were equally likely before; it is missing when the model was
never calibrated. Of several faces in a picture the largest counts.
exit codes: 0 the same person, 1 two persons, 2 error (no face, unreadable picture, ...)
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from arcface_paddle import images
from arcface_paddle.cli import flags
from arcface_paddle.cli.commands.encode import require_embedding
from arcface_paddle.errors import ImageError
from arcface_paddle.pipeline import Analyzer
from arcface_paddle.pipeline.opening import ALIGNED, DETECT, ThresholdSettings, choose_threshold, open_pipeline
from arcface_paddle.pipeline.probability import same_person_probability
from arcface_paddle.types import Face

EXIT_SAME = 0
EXIT_DIFFERENT = 1
DEFAULT_FAR = "1e-3"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", metavar="A", help="a picture")
    parser.add_argument("second", metavar="B", help="another picture")
    parser.add_argument("--aligned", action="store_true", help="pictures are aligned crops already; find no faces")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a line")
    flags.add_threshold_options(parser)
    flags.add_model_options(parser)


def run(args: argparse.Namespace) -> int:
    pipeline = open_pipeline(flags.pipeline_settings(args), contents=ALIGNED if args.aligned else DETECT)
    recognizer = pipeline.analyzer.recognizer
    assert recognizer is not None
    far = args.far if args.far or args.rec_thresh is not None else DEFAULT_FAR
    threshold = choose_threshold(recognizer.card, ThresholdSettings(args.rec_thresh, far))
    faces = [largest_face(pipeline.analyzer, path) for path in (args.first, args.second)]
    similarity = float(np.dot(require_embedding(faces[0]), require_embedding(faces[1])))
    result = {
        "similarity": round(similarity, 4),
        "probability": same_person_probability(recognizer.card, similarity),
        "threshold": threshold,
        "far": None if args.rec_thresh is not None else far,
        "same_person": similarity >= threshold,
    }
    print(json.dumps(result) if args.json else describe(result))
    return EXIT_SAME if result["same_person"] else EXIT_DIFFERENT


def largest_face(analyzer: Analyzer, path: str) -> Face:
    """Return the largest face of a picture. Raises ``ImageError`` when there is none."""
    faces = analyzer.analyze(images.read_image(path), source=path).faces
    if not faces:
        raise ImageError(f"{path}: no face found")
    return faces[0]


def describe(result: dict[str, Any]) -> str:
    """Return the result as one line."""
    probability = result["probability"]
    estimate = "not calibrated" if probability is None else f"{100 * probability:.1f} %"
    reason = f"at FAR {result['far']}" if result["far"] else "as given"
    verdict = "the same person" if result["same_person"] else "two persons"
    return (
        f"similarity {result['similarity']:+.4f}   probability of the same person {estimate}   "
        f"verdict: {verdict} (threshold {result['threshold']:.3f} {reason})"
    )
