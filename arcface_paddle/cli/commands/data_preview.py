"""Show pictures of a dataset and what augmentation makes of them, as one picture or page.

arcface-paddle data preview MS1M_bin --output preview.png
arcface-paddle data preview MS1M_bin --output preview.png --augment adaface,compression
arcface-paddle data preview people/ --output preview.html --augment all --pictures 8

With --augment (and --ccrop) each augmentation gets a row, the original beside results of its range; below, rows show
samples as training with the same --seed sees them, epoch by epoch, each augmentation with its probability.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Sequence

from arcface_paddle.cli.data_flags import add_source, open_source, positive_int
from arcface_paddle.cli.main import EXIT_OK
from arcface_paddle.cli.writable import require_writable_picture
from arcface_paddle.data import augment_settings
from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.training.config import parse_bool

if TYPE_CHECKING:
    from arcface_paddle.data.preview import PreviewRow

_ALL = "all"
_PAGES = (".html", ".htm")
_PICTURES = (".png", ".jpg", ".jpeg", ".webp")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_source(parser)
    parser.add_argument("--output", required=True, metavar="FILE", help="a picture (.png, .jpg, .webp) or page (.html)")
    parser.add_argument(
        "--pictures", type=positive_int, default=24, help="samples shown, drawn at random (%(default)s)"
    )
    parser.add_argument("--augment", default="", help=f"{augment_settings.HELP}; here also {_ALL}")
    parser.add_argument("--ccrop", action="store_true", help="take the middle 112 of 128 first, as train --ccrop does")
    parser.add_argument("--flip", type=parse_bool, default=True, help="mirror half of them, as in training (true)")
    parser.add_argument("--seed", type=int, default=0, help="that of the training to preview (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Read, change and write."""
    items = [item for item in args.augment.split(",") if item.strip()]
    steps = augment_settings.parse_steps(list(augment_settings.STEPS) if items == [_ALL] else items)
    if items != [_ALL]:
        augment_settings.refuse_two_crops(steps, ccrop=args.ccrop)
    suffix = Path(args.output).suffix.lower()
    if suffix not in (*_PAGES, *_PICTURES):
        raise ConfigError(f"--output {args.output}: allowed: {', '.join((*_PICTURES, *_PAGES))}")
    require_writable_picture(args.output, option="--output")
    from arcface_paddle import images
    from arcface_paddle.data.preview import PreviewSettings, draw_sheet, preview_rows

    settings = PreviewSettings(args.pictures, steps, ccrop=args.ccrop, flip=args.flip, seed=args.seed)
    dataset = open_source(args)
    rows = preview_rows(dataset, settings)
    try:
        if suffix in _PAGES:
            _write_page(args.output, rows, title=f"Preview of {dataset.name}")
        else:
            images.write_image(args.output, draw_sheet(rows))
    except OSError as error:
        raise DataError(f"{args.output}: cannot be written: {error.strerror or error}") from None
    print(f"wrote {args.output}: {sum(len(row.pictures) for row in rows)} pictures in {len(rows)} rows")
    return EXIT_OK


def _write_page(path: str, rows: Sequence[PreviewRow], *, title: str) -> None:
    from arcface_paddle.reports import html

    sections = []
    for row in rows:
        figures = [
            html.image(picture, alt=caption or "changed", caption=caption or None)
            for picture, caption in zip(row.pictures, row.captions)
        ]
        sections.append(html.section(row.title or "more", html.grid(figures)))
    html.write_page(path, title, sections)
