"""Building and extending a gallery from pictures: shared by ``test_recognition --build_index`` and ``gallery``."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any, Optional, Sequence

from tqdm import tqdm

from arcface_paddle.cli import writable
from arcface_paddle.cli.console import complain
from arcface_paddle.cli.flags import pipeline_settings
from arcface_paddle.errors import ConfigError, GalleryError
from arcface_paddle.pipeline.gallery import (
    DECISIONS,
    DEFAULT_DECISION,
    Gallery,
    LabelledPicture,
    Rejection,
    collect_faces,
    list_from_label_file,
    list_from_tree,
)
from arcface_paddle.pipeline.opening import DETECT, PORTRAIT, OpenPipeline, open_pipeline


def add_picture_options(parser: argparse._ActionsContainer) -> None:
    """Declare where the pictures of known people are and how they are read."""
    parser.add_argument("--img_dir", metavar="DIR", help="pictures of known people; without --label, a folder each")
    parser.add_argument("--label", metavar="FILE", help="lines of: path inside --img_dir, tab, name")
    parser.add_argument(
        "--pick_largest", action="store_true", help="of several faces in a gallery picture, take the largest"
    )


def add_decision_option(parser: argparse._ActionsContainer) -> None:
    """Declare how several pictures of a person decide."""
    parser.add_argument(
        "--decision",
        choices=DECISIONS,
        help="a person's score: that of the most similar picture, or of the mean of all (default: as the gallery was "
        f"made; {DEFAULT_DECISION} for a new one)",
    )


def check_arguments(args: argparse.Namespace, *, target: str, option: str) -> None:
    """Refuse what cannot work, before anything is loaded or written.

    Raises:
        ConfigError: no folder of pictures given, or the gallery cannot be written.
    """
    if args.img_dir is None:
        raise ConfigError(
            f"{option} needs --img_dir FOLDER, and --label FILE unless the folder has one folder a person"
        )
    writable.require_writable_file(target, option=option)


def build(args: argparse.Namespace, *, target: str) -> dict[str, Any]:
    """Build a gallery from ``args.img_dir``, write it to ``target`` and return a report as JSON values.

    Raises:
        GalleryError: no picture gave a face, or the file cannot be written.
    """
    pictures, rejections = list_people(args)
    pipeline = open_building_pipeline(args)
    assert pipeline.model is not None
    empty = Gallery.empty(pipeline.model, decision=args.decision or DEFAULT_DECISION, parameters=pipeline.facts)
    gallery, report = extend(empty, pictures, rejections, args=args, pipeline=pipeline)
    if not len(gallery):
        raise GalleryError(f"none of the {len(pictures)} pictures gave a face; {target} was not written")
    gallery.save(target)
    return {"gallery": target, **report}


def open_building_pipeline(args: argparse.Namespace) -> OpenPipeline:
    """Load the models; ``--rec`` without ``--det`` says that a picture is one face, aligned crop or portrait."""
    contents = DETECT if args.det or not args.rec else PORTRAIT
    return open_pipeline(pipeline_settings(args), contents=contents)


def extend(
    gallery: Gallery,
    pictures: Sequence[LabelledPicture],
    rejections: Sequence[Rejection],
    *,
    args: argparse.Namespace,
    pipeline: OpenPipeline,
) -> tuple[Gallery, dict[str, Any]]:
    """Return the gallery with the faces of ``pictures``, and the report; what was not taken is said on stderr."""
    for rejection in rejections:
        _say_rejected(rejection)
    progress = tqdm(pictures, unit="picture", disable=None)
    collected = collect_faces(
        progress, pipeline.analyzer, embedding_size=gallery.embedding_size, pick_largest=args.pick_largest
    )
    for rejection in collected.rejections:
        _say_rejected(rejection)
    extended = gallery.with_faces(collected.entries, collected.embeddings)
    repeated = len(gallery) + len(collected.entries) - len(extended)
    if repeated:
        complain(f"{repeated} pictures are in the gallery already and were not added again")
    everything = [*rejections, *collected.rejections]
    if everything:
        complain(f"{len(everything)} pictures or lines were not added, see above")
    report = {
        "faces": len(extended),
        "people": len(extended.names),
        "added": len(extended) - len(gallery),
        "already_there": repeated,
        "rejected": [asdict(rejection) for rejection in everything],
    }
    return extended, report


def list_people(args: argparse.Namespace) -> tuple[list[LabelledPicture], list[Rejection]]:
    """List the pictures that ``--img_dir`` and ``--label`` name."""
    if args.label is not None:
        return list_from_label_file(args.label, image_folder=args.img_dir)
    return list_from_tree(args.img_dir)


def _say_rejected(rejection: Rejection) -> None:
    who: Optional[str] = f" ({rejection.name})" if rejection.name else ""
    detail = rejection.detail
    complain(detail if rejection.source in detail else f"{rejection.source}{who}: {detail}")
