"""Flags of 'people' for what goes in beside the pictures and comes out beside people.json."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from arcface_paddle.cli import gallery_flags, writable
from arcface_paddle.errors import ConfigError

if TYPE_CHECKING:  # what decodes and recognises is imported where it is used, so that --help is quick
    from arcface_paddle.library.album import AlbumReport
    from arcface_paddle.library.assembly import AssembledLibrary
    from arcface_paddle.library.documents import PeopleDocument
    from arcface_paddle.library.records import Corrections
    from arcface_paddle.library.sidecars import SidecarPlace
    from arcface_paddle.pipeline.settings import PipelineSettings

_NAMINGS = ("full", "stem")


def add_album_options(parser: argparse.ArgumentParser) -> None:
    """Declare corrections, page, sidecars and gallery."""
    said = parser.add_argument_group("corrections", "what was said of faces is remembered beside people.json")
    said.add_argument("--corrections", metavar="FILE", help="take what was done on the page: its corrections.json")
    said.add_argument(
        "--undo_corrections", action="store_true", help="take back the corrections file that was taken last"
    )
    said.add_argument(
        "--read_xmp", action="store_true", help="take names that other programs have written: XMP files, or in pictures"
    )
    out = parser.add_argument_group("results beside people.json")
    out.add_argument("--no_page", action="store_true", help="do not write people.html")
    out.add_argument(
        "--to_gallery", metavar="FILE", help="put the named people into a gallery, without embedding again"
    )
    out.add_argument(
        "--xmp",
        action="store_true",
        help="write the names into an XMP file beside each picture; pictures stay as they are",
    )
    out.add_argument("--xmp_dir", metavar="DIR", help="write these XMP files into this folder instead")
    out.add_argument(
        "--xmp_names",
        choices=_NAMINGS,
        help="photo.jpg.xmp (full, as digiKam and darktable) or photo.xmp (stem, as Adobe); a file that is there "
        "already is taken, whichever it is (full)",
    )


def check_album_arguments(args: argparse.Namespace) -> None:
    """Refuse what cannot work, before the long work. Raises ``ConfigError``."""
    if args.xmp_names and not (args.xmp or args.xmp_dir or args.read_xmp):
        raise ConfigError("--xmp_names says how XMP files are called; give --xmp, --xmp_dir or --read_xmp, too")
    if args.corrections and not Path(args.corrections).is_file():
        raise ConfigError(f"--corrections {args.corrections}: no such file")
    writable.require_writable_folder(args.xmp_dir, option="--xmp_dir")
    if args.to_gallery is not None:
        gallery_flags.check_target(args.to_gallery, option="--to_gallery")


def check_gallery(args: argparse.Namespace, pipeline: PipelineSettings) -> None:
    """Refuse a gallery of another model before the long work. Raises ``GalleryError``."""
    if args.to_gallery is None or not Path(args.to_gallery).exists():
        return
    from arcface_paddle.library.embedded import gallery_identity
    from arcface_paddle.library.folder_run import identify_models
    from arcface_paddle.pipeline.gallery import Gallery

    Gallery.load(args.to_gallery).require_model(gallery_identity(identify_models(pipeline)[0]))


def sidecar_place(args: argparse.Namespace) -> SidecarPlace:
    """Return where XMP files are."""
    from arcface_paddle.library.sidecars import SidecarPlace

    return SidecarPlace(Path(args.xmp_dir) if args.xmp_dir else None, args.xmp_names or _NAMINGS[0])


class SaidSoFar:
    """What was said of a library until now, with what the flags add; a wrong file is refused before the long work.

    Attributes:
        corrections: what must hold, as soon as the faces are known.
        problems: XMP that cannot be read, a line each.
    """

    def __init__(self, args: argparse.Namespace, output: Path) -> None:
        from arcface_paddle.library.album import take_corrections
        from arcface_paddle.library.records import NO_CORRECTIONS

        self._args = args
        self._changed = bool(args.corrections or args.undo_corrections or args.read_xmp)
        self._memory = take_corrections(output, given=args.corrections, take_back=args.undo_corrections)
        self.corrections: Corrections = NO_CORRECTIONS
        self.problems: list[str] = []

    def corrections_for(self, assembled: AssembledLibrary) -> Corrections:
        """Return what must hold, and remember what was added."""
        from arcface_paddle.library.album import corrections_for
        from arcface_paddle.library.sidecars import names_in_xmp

        if self._args.read_xmp:
            found = names_in_xmp(assembled.library, sidecar_place(self._args))
            self.problems = [f"{path}: {reason}" for path, reason in found.problems]
            self._memory = self._memory.with_xmp(found.names)
        self.corrections = corrections_for(self._memory, assembled)
        if self._changed and not self._args.undo_corrections:
            self._memory.save()
        return self.corrections

    def remember_taken_back(self) -> None:
        """Remember what was taken back, once everything is written.

        After an error the same command is given again, and must not take back one file more. Raises ``DataError``.
        """
        if self._args.undo_corrections:
            self._memory.save()


def publish_album(
    args: argparse.Namespace, people: PeopleDocument, output: Path, *, corrections: Corrections
) -> AlbumReport:
    """Write what the flags ask for, and say so."""
    from arcface_paddle.cli.console import complain
    from arcface_paddle.library.album import AlbumSettings, publish
    from arcface_paddle.progress import progress

    sidecars = sidecar_place(args) if args.xmp or args.xmp_dir else None
    settings = AlbumSettings(not args.no_page, sidecars, Path(args.to_gallery) if args.to_gallery else None)
    folder = " ".join(shlex.quote(word) for word in (args.folder, *(["--output", args.output] if args.output else [])))
    report = publish(
        people,
        output,
        settings,
        command=f"arcface-paddle people {folder} --corrections corrections.json",
        corrections=corrections,
        progress=lambda pictures: progress(pictures, desc="faces", unit="picture"),
    )
    for problem in report.problems:
        complain(problem)
    for line in _described(report, args):
        print(line)
    return report


def _described(report: AlbumReport, args: argparse.Namespace) -> list[str]:
    """Return what was written, a line each."""
    lines = []
    if report.page is not None:
        lines.append(f"{report.page}: look at the groups, name and correct them")
    if report.sidecars is not None:
        done = report.sidecars
        lines.append(
            f"XMP files: {len(done.written)} written, {done.unchanged} as they should be, {len(done.removed)} removed"
        )
        if done.left_to_others:
            path, name = done.left_to_others[0]
            lines.append(
                f"{len(done.left_to_others)} faces are called otherwise by another program, and stay so in XMP: {name} "
                f"in {path}{', ...' if len(done.left_to_others) > 1 else ''}; --read_xmp takes its names"
            )
    if report.enrolled is not None:
        lines.append(f"{args.to_gallery}: {report.enrolled} faces")
    return lines
