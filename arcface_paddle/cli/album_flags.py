"""Flags of 'people' for what goes in beside the pictures and comes out beside people.json."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from arcface_paddle.cli import gallery_flags, writable
from arcface_paddle.errors import ConfigError

if TYPE_CHECKING:  # what decodes and recognises is imported where it is used, so that --help is quick
    from arcface_paddle.library.album import AlbumReport, AlbumSettings
    from arcface_paddle.library.sidecars import SidecarPlace

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


def sidecar_place(args: argparse.Namespace) -> SidecarPlace:
    """Return where XMP files are."""
    from arcface_paddle.library.sidecars import SidecarPlace

    return SidecarPlace(Path(args.xmp_dir) if args.xmp_dir else None, args.xmp_names or _NAMINGS[0])


def album_settings(args: argparse.Namespace) -> AlbumSettings:
    """Return what is to be written."""
    from arcface_paddle.library.album import AlbumSettings

    sidecars = sidecar_place(args) if args.xmp or args.xmp_dir else None
    return AlbumSettings(not args.no_page, sidecars, Path(args.to_gallery) if args.to_gallery else None)


def describe_album(report: AlbumReport, args: argparse.Namespace) -> list[str]:
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
