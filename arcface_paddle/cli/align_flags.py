"""Flags of the commands that align photographs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from arcface_paddle.cli.flags import add_detection_options
from arcface_paddle.data.data_settings import ALIGN_CHOICES
from arcface_paddle.pipeline.settings import CENTRE, CROP_RECOGNIZER, DEFAULT_DETECTOR, LARGEST

if TYPE_CHECKING:
    from arcface_paddle.data.align import FaceCutter

FACES_IN_WORDS = {
    CENTRE: "the face nearest to the middle, weighted by its size",
    LARGEST: "the largest face",
}
"""What was taken of several faces."""


def add_face_cutting(parser: argparse._ActionsContainer, *, default: str) -> None:
    """Declare which models align, and which of several faces is taken; ``default`` says so in the help."""
    parser.add_argument("--det_model", default=DEFAULT_DETECTOR, help="detector: name or folder (%(default)s)")
    parser.add_argument(
        "--rec_model",
        default=CROP_RECOGNIZER,
        help="recogniser whose alignment is used: name or folder (%(default)s)",
    )
    add_detection_options(parser)
    parser.add_argument(
        "--faces",
        choices=ALIGN_CHOICES,
        help="of several faces take none (one), the one nearest to the middle weighted by its size (centre), or the "
        f"largest (default: {default})",
    )


def face_cutter(args: argparse.Namespace, *, faces: str) -> FaceCutter:
    """Load what the flags of ``add_face_cutting`` name."""
    from arcface_paddle.data.align import open_face_cutter

    return open_face_cutter(
        args.det_model,
        args.rec_model,
        det_thresh=args.det_thresh,
        min_face=args.min_face,
        rotate=args.rotate,
        faces=faces,
    )
