"""Find all pictures of a person in a folder that 'arcface-paddle people' has looked through.

    arcface-paddle find "Ada Lovelace" photos
    arcface-paddle find "Ada Lovelace" photos --with "Charles Babbage" --without Byron --sort time
    arcface-paddle find unknown.jpg photos --html found.html            (a picture in place of a name)
    arcface-paddle find Ada photos --min_face 80 --links ada/

Names are those of the groups in people.json, or with --gallery those of a gallery. Nothing is embedded again.
exit codes: 0 also when nothing is found, 1 some pictures could not be shown, 2 error
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from arcface_paddle.cli import flags, writable
from arcface_paddle.cli.main import EXIT_OK, EXIT_PARTIAL
from arcface_paddle.errors import ConfigError
from arcface_paddle.pipeline.settings import LARGEST, ONE_FACE_CHOICES

if TYPE_CHECKING:  # what decodes and recognises is imported where it is used, so that --help is quick
    import numpy as np

    from arcface_paddle.library.embedded import EmbeddedPeople
    from arcface_paddle.library.finding import FoundFace, FoundPicture
    from arcface_paddle.pipeline.cards import ModelCard
    from arcface_paddle.pipeline.gallery import Gallery
    from arcface_paddle.pipeline.opening import OpenPipeline

_FORMATS = ("text", "paths", "json", "csv")
_ORDERS = ("similarity", "time")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of ``find``."""
    parser.add_argument("who", metavar="NAME|PICTURE", help="a person's name, or a picture of the person")
    parser.add_argument("folder", metavar="FOLDER", help="the pictures, or the folder of their people.json")
    parser.add_argument("--people", metavar="FILE", help="the people file (default: people.json in FOLDER-people)")
    parser.add_argument("--gallery", metavar="FILE", help="take names from this gallery instead")
    who = parser.add_argument_group("who else")
    who.add_argument(
        "--with",
        dest="together",
        action="append",
        default=[],
        metavar="NAME",
        help="who is on the picture, too; may be repeated",
    )
    who.add_argument(
        "--without", action="append", default=[], metavar="NAME", help="who is not on the picture; may be repeated"
    )
    faces = parser.add_argument_group("which faces")
    faces.add_argument(
        "--min_face", type=float, default=0.0, metavar="PX", help="least longer side of a face in pixels"
    )
    faces.add_argument(
        "--min_quality", type=float, default=0.0, metavar="SCORE", help="least quality of a face, 0 to 1"
    )
    faces.add_argument(
        "--faces", choices=ONE_FACE_CHOICES, default=LARGEST, help="of a PICTURE with several (%(default)s)"
    )
    flags.add_threshold_options(faces)
    faces.add_argument(
        "--rec_model", help="folder of the recogniser of the library, where it is none of the known ones"
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--sort", choices=_ORDERS, default=_ORDERS[0], help="by similarity, or the oldest first (%(default)s)"
    )
    output.add_argument("--top", type=flags.positive, metavar="N", help="the first N only")
    output.add_argument("--format", choices=_FORMATS, default=_FORMATS[0], help="of the list (%(default)s)")
    output.add_argument("--output", metavar="FILE", help="of the list (default: the terminal)")
    output.add_argument("--html", metavar="FILE", help="write a page of the pictures, too")
    output.add_argument("--links", metavar="DIR", help="make a folder of links to the pictures, too")
    output.add_argument("--copies", action="store_true", help="copies instead of links in --links")
    flags.add_engine_options(parser)


def run(args: argparse.Namespace) -> int:
    """Look for somebody and show what was found."""
    from arcface_paddle.library.finding import FaceFilter, find_pictures_of

    _check(args)
    search = _Search(args)
    found = find_pictures_of(
        [search.faces_of(who) for who in (args.who, *args.together)],
        [search.faces_of(who) for who in args.without],
        search.embedded.people,
        faces=FaceFilter(args.min_face, args.min_quality),
        order=args.sort,
    )
    return _show(args, found[: args.top], search.embedded)


def _check(args: argparse.Namespace) -> None:
    if not 0 <= args.min_quality <= 1:
        raise ConfigError(f"--min_quality is {args.min_quality:g}; allowed: 0 to 1")
    if args.min_face < 0:
        raise ConfigError(f"--min_face is {args.min_face:g}; allowed: 0 or more pixels")
    if args.copies and args.links is None:
        raise ConfigError("--copies says what is in the folder of --links; give --links DIR, too")
    writable.require_writable_texts({"--output": args.output, "--html": args.html})
    writable.require_writable_folder(args.links, option="--links")


class _Search:
    """A library whose faces are found by name, by gallery or by picture; what is needed is loaded when it is."""

    def __init__(self, args: argparse.Namespace) -> None:
        from arcface_paddle.library.embedded import load_embedded
        from arcface_paddle.library.finding import names_of
        from arcface_paddle.library.locating import locate_people

        self._args = args
        self._pipeline: Optional[OpenPipeline] = None
        people, path = locate_people(args.folder, people=args.people)
        self.embedded: EmbeddedPeople = load_embedded(people, beside=path.parent)
        with contextlib.suppress(ConfigError):  # without its card, a cosine is taken for what it is
            self.embedded = self.embedded.judged_by(self._card())
        self._gallery = self._open_gallery()
        self._names = names_of(people) if self._gallery is None else list(self._gallery.names)

    def faces_of(self, who: str) -> list[FoundFace]:
        """Return the faces of a person who is named, or shown by a picture."""
        from arcface_paddle.library.finding import faces_called, faces_in_gallery, faces_like, require_name

        if who not in self._names and Path(who).is_file():
            probe, threshold = self._probe(who)
            return faces_like(who, self.embedded, probe, threshold=threshold)
        require_name(who, self._names, where=self._args.gallery or "the people file")
        if self._gallery is None:
            return faces_called(who, self.embedded)
        threshold = self._threshold(comparisons=self._gallery.comparisons)
        return faces_in_gallery(who, self.embedded, self._gallery, threshold=threshold)

    def _open_gallery(self) -> Optional[Gallery]:
        if self._args.gallery is None:
            return None
        from arcface_paddle.cli.console import complain
        from arcface_paddle.pipeline.gallery.stores import load_gallery

        gallery = load_gallery(self._args.gallery)
        caution = gallery.require_model(self.embedded.model)
        if caution:
            complain(caution)
        return gallery

    def _threshold(self, *, comparisons: int) -> float:
        from arcface_paddle.pipeline.thresholds import search_threshold

        asked = flags.threshold_settings(self._args)
        if asked.similarity is not None:
            return asked.similarity
        return search_threshold(self._card(), asked, comparisons=comparisons).similarity

    def _card(self) -> ModelCard:
        from arcface_paddle.library.embedded import recognizer_named
        from arcface_paddle.pipeline.model_files import find_card

        return find_card(recognizer_named(self.embedded, self._args.rec_model))

    def _probe(self, picture: str) -> tuple[np.ndarray, float]:
        """Embed one face of a picture with the model of the library; return it and the threshold."""
        from arcface_paddle.library.probing import embed_one_face

        pipeline = self._open_pipeline()
        probe = embed_one_face(pipeline, picture, model=self.embedded.model, faces=self._args.faces)
        grouping = self.embedded.people.grouping
        somebody = len(grouping.groups) + len(grouping.uncertain) + len(grouping.alone)
        return probe, self._threshold(comparisons=somebody)

    def _open_pipeline(self) -> OpenPipeline:
        from arcface_paddle.library.embedded import recognizer_named
        from arcface_paddle.pipeline.opening import open_pipeline
        from arcface_paddle.pipeline.settings import PipelineSettings

        if self._pipeline is None:
            settings = PipelineSettings(
                rec_model=recognizer_named(self.embedded, self._args.rec_model),
                mirrored=self.embedded.model.mirrored,
                runtime=flags.runtime_options(self._args),
            )
            self._pipeline = open_pipeline(settings)
        return self._pipeline


def _show(args: argparse.Namespace, found: list[FoundPicture], embedded: EmbeddedPeople) -> int:
    from arcface_paddle.cli.console import complain, write_text_result
    from arcface_paddle.library.find_results import listed, write_found_page, write_links
    from arcface_paddle.progress import progress

    text = listed(found, embedded.people, form=args.format)
    if args.output:
        write_text_result(args.output, f"{text}\n" if text else "", option="--output")
    elif text:
        print(text)
    if args.links:
        write_links(args.links, found, embedded.people, copies=args.copies)
    problems: list[str] = []
    if args.html:
        title = " + ".join([args.who, *args.together]) + "".join(f" − {name}" for name in args.without)
        shown = lambda pictures: progress(pictures, unit="picture")  # noqa: E731
        problems = write_found_page(args.html, found, embedded.people, title=title, progress=shown)
    for problem in problems:
        complain(problem)
    complain(f"{len(found)} {'picture' if len(found) == 1 else 'pictures'}")
    return EXIT_PARTIAL if problems else EXIT_OK
