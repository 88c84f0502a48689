"""Tell whether two pictures show the same person: similarity, estimated probability and verdict.

arcface-paddle compare A.jpg B.jpg
arcface-paddle compare A.jpg B.jpg --far 1e-4 --json

The verdict uses the threshold of the model's card for FAR 1e-3 between two pictures, unless --far or --rec_thresh
say otherwise. The probability assumes that both answers were equally likely before; it is missing when the model was
never calibrated. Of several faces in a picture the one nearest to the centre counts, weighted by its size; --faces
chooses otherwise, and how many faces were found is always said. The second line says on what the threshold rests.
exit codes: 0 the same person, 1 two persons, 2 error (no face, unreadable picture, ...)
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING

from arcface_paddle.cli import flags
from arcface_paddle.pipeline.settings import ALIGNED, CENTRE, DETECT, LARGEST, ONE, ONE_FACE_CHOICES

if TYPE_CHECKING:  # what decodes and recognises is imported where it is used, so that --help is quick
    from arcface_paddle.pipeline.comparison import Comparison

EXIT_SAME = 0
EXIT_DIFFERENT = 1

_WHICH_COUNTS = {CENTRE: "the one nearest to the centre counts", LARGEST: "the largest counts", ONE: ""}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", metavar="A", help="a picture")
    parser.add_argument("second", metavar="B", help="another picture")
    parser.add_argument("--aligned", action="store_true", help="pictures are aligned crops already; find no faces")
    parser.add_argument(
        "--faces",
        choices=ONE_FACE_CHOICES,
        default=CENTRE,
        help="of several faces in a picture, take the one nearest to the centre (centre) or the largest, or refuse the "
        "picture (one) (%(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a line")
    flags.add_threshold_options(parser)
    flags.add_distance_options(parser, aliases=flags.published_group(parser))
    flags.add_model_options(parser)


def run(args: argparse.Namespace) -> int:
    from arcface_paddle import images
    from arcface_paddle.pipeline.comparison import compare_faces
    from arcface_paddle.pipeline.distances import distance_of
    from arcface_paddle.pipeline.opening import open_pipeline

    pipeline = open_pipeline(flags.pipeline_settings(args), contents=ALIGNED if args.aligned else DETECT)
    result = compare_faces(
        pipeline.analyzer,
        images.read_image(args.first),
        images.read_image(args.second),
        threshold_settings=flags.threshold_settings(args),
        faces=args.faces,
        sources=(args.first, args.second),
    )
    document = {**asdict(result), "similarity": round(result.similarity, 4)}
    line = describe(result, faces=args.faces)
    if args.show_distance:
        assert pipeline.model is not None
        metric = flags.distance_metric(args)
        document["distance"] = round(distance_of(result.similarity, metric, pipeline.model.similarity), 4)
        line = f"distance {document['distance']:.4f} ({metric})   {line}"
    print(json.dumps(document) if args.json else f"{line}\n{describe_basis(result)}")
    return EXIT_SAME if result.same_person else EXIT_DIFFERENT


def describe_basis(result: Comparison) -> str:
    """Return on what the threshold rests, in a line; of a card that tells a whole page it is the first sentence."""
    first = re.match(r".+?\.(?=\s|$)", result.evidence)
    evidence = (first.group() if first else result.evidence).rstrip(".")
    return f"threshold: {'; '.join(filter(None, [evidence, result.note]))}"


def describe(result: Comparison, *, faces: str) -> str:
    """Return the result as one line."""
    estimate = "not calibrated" if result.probability is None else f"{100 * result.probability:.1f} %"
    reason = f"at FAR {result.far}" if result.far else "as given"
    verdict = "the same person" if result.same_person else "two persons"
    found = f"faces found: {result.faces_found[0]} and {result.faces_found[1]}"
    if max(result.faces_found) > 1:
        found += f", {_WHICH_COUNTS[faces]}"
    return (
        f"similarity {result.similarity:+.4f}   probability of the same person {estimate}   "
        f"verdict: {verdict} (threshold {result.threshold:.3f} {reason})   {found}"
    )
