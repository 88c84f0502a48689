"""Cut the font that draws names on pictures out of WenQuanYi Micro Hei (Apache-2.0).

    apt-get download fonts-wqy-microhei && dpkg -x fonts-wqy-microhei_*.deb font
    python tools/build_font.py font/usr/share/fonts/truetype/wqy/wqy-microhei.ttc

What stays: Latin with its accents, Greek, Cyrillic, punctuation, kana, full-width forms, and every Chinese
character of Unicode 1.0 (20,902: names use many, such as 堃 赟 喆, that GB2312 and Big5 lack). Hinting, tables of
layout and glyph names go: Pillow needs none of them. The same source gives the same bytes. Needs fonttools (a
development tool, not a dependency of the package).
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

from arcface_paddle import files

DEFAULT_OUTPUT = Path(__file__).parents[1] / "arcface_paddle" / "assets" / "WenQuanYiMicroHei-subset.ttf"

UNICODE_RANGES = (
    (0x0020, 0x024F),  # Latin with accents
    (0x0250, 0x03FF),  # phonetic signs, combining accents, Greek
    (0x0400, 0x04FF),  # Cyrillic
    (0x1E00, 0x1EFF),  # Vietnamese
    (0x2010, 0x2044),  # dashes, quotation marks
    (0x20A0, 0x20BF),  # currencies
    (0x3000, 0x30FF),  # Chinese punctuation, kana
    (0x4E00, 0x9FA5),  # Chinese characters
    (0xFF00, 0xFFEF),  # full-width forms
)


def wanted_characters() -> set[int]:
    """Return every code point that the font keeps if its source has it."""
    return {point for first, last in UNICODE_RANGES for point in range(first, last + 1)}


def cut_font(source: Path) -> bytes:
    """Return the subset of the first face of ``source`` as a TrueType file."""
    options = subset.Options()
    options.hinting = False
    options.layout_features = []
    options.glyph_names = False
    options.notdef_outline = True
    options.drop_tables += ["GSUB", "GPOS", "GDEF", "kern", "DSIG"]
    font = TTFont(source, fontNumber=0, recalcTimestamp=False)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=wanted_characters())
    subsetter.subset(font)
    buffer = io.BytesIO()
    font.save(buffer)
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="wqy-microhei.ttc of the Debian package fonts-wqy-microhei")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT)
    args = parser.parse_args()
    content = cut_font(args.source)
    files.write_bytes(args.output, content)
    print(f"{args.output}: {len(content):,} bytes")


if __name__ == "__main__":
    main()
