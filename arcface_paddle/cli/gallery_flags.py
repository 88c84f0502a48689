"""Flags of building a gallery, which ``test_recognition --build_index`` and ``gallery`` share."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any, Optional, Sequence

from arcface_paddle.cli import flags, writable
from arcface_paddle.cli.console import complain
from arcface_paddle.errors import ConfigError
from arcface_paddle.pipeline.settings import (
    DECISIONS,
    DEFAULT_DECISION,
    DETECT,
    LARGEST,
    ONE,
    ONE_FACE_CHOICES,
    PORTRAIT,
)
from arcface_paddle.progress import progress

if TYPE_CHECKING:  # what decodes and recognises is imported where it is used, so that --help is quick
    from arcface_paddle.pipeline.gallery import LabelledPicture, Rejection
    from arcface_paddle.pipeline.gallery.collecting import ImageAnalyzer
    from arcface_paddle.pipeline.gallery.enrolment import EnrolmentReport, ListedPeople
    from arcface_paddle.pipeline.opening import MadeByModel, OpenPipeline
    from arcface_paddle.pipeline.picture_workers import PictureWorkers


def add_picture_options(parser: argparse.ArgumentParser, *, group: Optional[argparse._ActionsContainer] = None) -> None:
    """Declare where the pictures of known people are and how they are read; ``group`` is where the help lists them."""
    container = parser if group is None else group
    container.add_argument(
        "--img_dir",
        metavar="DIR",
        help="pictures of known people; without --label, a folder each, or a file each where there are no folders",
    )
    container.add_argument("--label", metavar="FILE", help="lines of: path inside --img_dir, tab, name")
    container.add_argument(
        "--faces",
        choices=ONE_FACE_CHOICES,
        help="of several faces in a gallery picture, take the one nearest to the centre (centre) or the largest; or "
        f"report the picture and leave it out (one) ({ONE})",
    )
    # It keeps an attribute of its own: users of the Python interface set args.pick_largest.
    flags.published_group(parser).add_argument("--pick_largest", action="store_true", help="= --faces largest")


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
        ConfigError: no folder of pictures given, contradicting flags, or the gallery cannot be written.
    """
    if args.img_dir is None:
        raise ConfigError(
            f"{option} needs --img_dir FOLDER, and --label FILE unless the folder has a folder or a picture a person"
        )
    faces_wanted(args)
    check_target(target, option=option)


def shown(gallery: str) -> str:
    """Return how a gallery is called, without passwords."""
    from arcface_paddle.pipeline.gallery.stores import shown_uri

    return shown_uri(gallery)


def check_target(target: str, *, option: str) -> None:
    """Check before the long work that a gallery file can be written; what keeps others says so itself.

    Raises:
        ConfigError: it is a folder, or its folder may not be written to.
    """
    from arcface_paddle.pipeline.gallery.stores import is_engine_uri

    if not is_engine_uri(target):
        writable.require_writable_file(target, option=option)


def say_unencrypted(source: str, target: str) -> None:
    """Say on stderr that an encrypted gallery goes to where it is not encrypted."""
    from arcface_paddle.pipeline.gallery.editing import is_encrypted

    if is_encrypted(source):
        complain(f"{shown(source)} is encrypted; {shown(target)} is not: see to its disk yourself")


def build(args: argparse.Namespace, *, target: str) -> dict[str, Any]:
    """Build a gallery as the flags say and return the report as JSON values; what was not taken is said on stderr.

    Raises:
        GalleryError: no picture gave a face, or the file cannot be written.
    """
    from arcface_paddle.pipeline.gallery.enrolment import build_gallery

    people = listed_people(args)
    pipeline, workers = open_building_pipeline(args, pictures=len(people.pictures))
    report = build_gallery(
        target,
        people,
        pipeline=pipeline,
        decision=args.decision or DEFAULT_DECISION,
        faces=faces_wanted(args),
        progress=shown_progress,
        on_rejection=say_rejected,
        workers=workers,
    )
    say_rest(report)
    return report.to_dict()


def listed_people(args: argparse.Namespace) -> ListedPeople:
    """List the pictures that ``--img_dir`` and ``--label`` name, and say which lines were not understood."""
    from arcface_paddle.pipeline.gallery.enrolment import EnrolmentSettings, list_people

    exclude = tuple(getattr(args, "exclude", None) or ())
    people = list_people(EnrolmentSettings(args.img_dir, args.label, exclude))
    if people.named_by_file:
        count = len({picture.name for picture in people.pictures})
        complain(f"{args.img_dir}: has no folders of persons, so that each file is one, by its name: {count} people")
    for rejection in people.rejections:
        say_rejected(rejection)
    return people


def open_building_pipeline(
    args: argparse.Namespace, *, pictures: int, extended: Optional[MadeByModel] = None
) -> tuple[OpenPipeline, PictureWorkers[ImageAnalyzer]]:
    """Load the models; ``--rec`` without ``--det`` says that a picture is one face, aligned crop or portrait.

    Args:
        args: parsed flags.
        pictures: how many there are to look at.
        extended: what made the gallery that pictures are added to: flags that were not given are those of its making.

    Returns:
        The models, and the workers that look at the pictures with them.
    """
    from arcface_paddle.pipeline.opening import open_pipeline, recognizer_of
    from arcface_paddle.pipeline.picture_workers import PictureWorkers

    model = None if extended is None else extended.model
    settings = flags.pipeline_settings(args, mirrored=None if model is None else model.mirrored)
    settings = dataclasses.replace(settings, rec_model=settings.rec_model or recognizer_of(extended))
    contents = DETECT if args.det or not args.rec else PORTRAIT
    count, settings = flags.worker_settings(args, settings, pictures=pictures)
    pipeline = open_pipeline(settings, contents=contents)
    first: ImageAnalyzer = pipeline.analyzer
    workers = PictureWorkers(first, reopen=lambda: open_pipeline(settings, contents=contents).analyzer, count=count)
    return pipeline, workers


def faces_wanted(args: argparse.Namespace) -> str:
    """Return which of several faces counts. Raises ``ConfigError`` when ``--pick_largest`` contradicts ``--faces``."""
    if args.pick_largest and args.faces not in (None, LARGEST):
        raise ConfigError(f"--pick_largest contradicts --faces {args.faces}; give one")
    return LARGEST if args.pick_largest else args.faces or ONE


def shown_progress(pictures: Sequence[LabelledPicture]) -> Any:
    """Return the pictures with a progress bar on stderr."""
    return progress(pictures, unit="picture")


def say_rejected(rejection: Rejection) -> None:
    """Say on stderr why a picture or line was not taken."""
    who = f" ({rejection.name})" if rejection.name else ""
    detail = rejection.detail
    complain(detail if rejection.source in detail else f"{rejection.source}{who}: {detail}")


def say_rest(report: EnrolmentReport) -> None:
    """Say on stderr how much was not added, after every single picture has been named."""
    if report.already_there:
        complain(f"{report.already_there} pictures are in the gallery already and were not added again")
    if report.rejected:
        complain(f"{len(report.rejected)} pictures or lines were not added, see above")
    passed_over = report.listing.sentence()
    if passed_over:
        complain(passed_over)
