"""Group the faces of a photo library by person: who are all these people?

arcface-paddle people photos                       writes photos-people/people.json and a folder of links per person
arcface-paddle people photos --tree copies --output albums
arcface-paddle people photos --corrections ~/Downloads/corrections.json    what was done on photos-people/people.html
arcface-paddle people photos --xmp --to_gallery people.index               the names for other programs, and for ours

Nothing has to be labelled and no parameter to be set. Pictures are never changed. What was found in a picture is kept
in a store beside the results, so that the next run looks at new and changed pictures only, and groups keep their ids.
exit codes: 0 all pictures were looked at, 1 some could not be read (each is reported), 2 error, 130 interrupted (what
has been looked at is kept; the next run goes on)
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Iterable, Sequence

from arcface_paddle.cli import album_flags, flags, writable
from arcface_paddle.cli.main import EXIT_OK, EXIT_PARTIAL

if TYPE_CHECKING:  # what decodes and recognises is imported where it is used, so that --help is quick
    from arcface_paddle.library.folder_run import PeopleSettings
    from arcface_paddle.pipeline.analyzer import Analyzer
    from arcface_paddle.pipeline.inputs import FoundPicture
    from arcface_paddle.pipeline.picture_workers import PictureWorkers
    from arcface_paddle.pipeline.settings import PipelineSettings

TREES = ("links", "copies", "none")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of ``people``."""
    parser.add_argument("folder", metavar="FOLDER", help="the pictures; folders inside are searched, too")
    parser.add_argument("--output", metavar="DIR", help="folder of the results (default: FOLDER-people, beside FOLDER)")
    parser.add_argument("--store", metavar="DIR", help="folder of the embeddings (default: store in the output)")
    parser.add_argument(
        "--tree",
        choices=TREES,
        default=TREES[0],
        help="a folder for each person, with links to the pictures or copies of them (%(default)s)",
    )
    album_flags.add_album_options(parser)
    flags.add_search_options(parser)
    flags.add_workers_option(parser)
    flags.add_model_options(parser)
    parser.set_defaults(rec_model="FaceFusion")


def run(args: argparse.Namespace) -> int:
    """Look at the pictures, group the faces, write the results."""
    from arcface_paddle.cli.console import complain
    from arcface_paddle.library import folder_run

    settings = people_settings(args)
    for option, folder in (("--output", settings.output_folder), ("--store", settings.store_folder)):
        writable.require_writable_folder(str(folder), option=option)
    album_flags.check_album_arguments(args)
    said = album_flags.SaidSoFar(args, settings.output_folder)
    pipeline = flags.pipeline_settings(args)
    album_flags.check_gallery(args, pipeline)
    result = folder_run.update_library(
        settings,
        pipeline,
        open_workers=lambda count: _open_workers(args, pipeline, count),
        show=_show,
        corrections_for=said.corrections_for,
    )
    for problem in [*result.report.problems, *said.problems]:
        complain(problem)
    if result.listing.sentence():
        complain(result.listing.sentence())
    print(f"{settings.people_file}: {folder_run.sentence(result)}")
    published = album_flags.publish_album(args, result.people, settings.output_folder, corrections=said.corrections)
    said.remember_taken_back()
    return EXIT_PARTIAL if result.report.problems or said.problems or published.problems else EXIT_OK


def people_settings(args: argparse.Namespace) -> PeopleSettings:
    """Return the settings that the flags make."""
    from arcface_paddle.library.folder_run import PeopleSettings

    return PeopleSettings(
        folder=args.folder,
        output=args.output,
        store=args.store,
        tree=args.tree,
        recursive=not args.no_recursive,
        exclude=tuple(args.exclude),
        max_pixels=args.max_pixels,
    )


def _open_workers(args: argparse.Namespace, pipeline: PipelineSettings, count: int) -> PictureWorkers[Analyzer]:
    """Load the models for a number of new pictures."""
    from arcface_paddle.pipeline.opening import open_pipeline
    from arcface_paddle.pipeline.picture_workers import PictureWorkers

    workers, settings = flags.worker_settings(args, pipeline, pictures=count)
    return PictureWorkers(
        open_pipeline(settings).analyzer, reopen=lambda: open_pipeline(settings).analyzer, count=workers
    )


def _show(pictures: Sequence[FoundPicture]) -> Iterable[FoundPicture]:
    from arcface_paddle.progress import progress

    return progress(pictures, desc="looking", unit="picture")
