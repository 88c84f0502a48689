"""What the first bytes of an encoded picture say: its kind and its size, read without a decoder.

Nothing here believes more than it has seen: what is damaged has no kind (None) or no size (0, 0).
"""

from __future__ import annotations

from typing import Callable, Optional

JPEG_START, _PNG_START = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_PNG_CHUNK_BYTES = 12  # of length, kind and checksum around what a chunk holds

_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15 without DHT, JPG and DAC
_MARKERS_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})  # a stuffed zero, TEM, RST0 to RST7, SOI
_MARKERS_OF_THE_END = frozenset({0xD9, 0xDA})  # EOI, SOS

_SUFFIX_OF_SIGNATURE = (
    (JPEG_START, ".jpg"),
    (_PNG_START, ".png"),
    (b"BM", ".bmp"),
    (b"GIF8", ".gif"),
    (b"II*\x00", ".tif"),
    (b"MM\x00*", ".tif"),
)
_SUFFIX_OF_PORTABLE_MAP = {b"P5": ".pgm", b"P6": ".ppm"}
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})


def suffix_by_content(content: bytes) -> Optional[str]:
    """Return the usual suffix of an encoded picture by its first bytes, or None when it is not known."""
    for signature, suffix in _SUFFIX_OF_SIGNATURE:
        if content.startswith(signature):
            return suffix
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    if content[4:8] == b"ftyp":
        return _suffix_by_brands(content)
    return _SUFFIX_OF_PORTABLE_MAP.get(content[:2]) if content[2:3].isspace() else None


def _suffix_by_brands(content: bytes) -> Optional[str]:
    """Tell HEIC and AVIF from the films and sounds that begin with the same box (ISO/IEC 23008-12, 10.2 and 10.3)."""
    listed = content[16 : min(int.from_bytes(content[:4], "big"), 512)]
    brands = {content[8:12], *(listed[at : at + 4] for at in range(0, len(listed), 4))}
    if brands & _AVIF_BRANDS:  # first: AVIF lists the brands of HEIF, too
        return ".avif"
    return ".heic" if brands & _HEIF_BRANDS else None


def declared_size(content: bytes) -> Optional[tuple[int, int]]:
    """Return the width and height that a JPEG, PNG, BMP or WebP declares, (0, 0) of a damaged one, None of others."""
    read_size = _SIZE_OF_START.get(content[:2])
    return None if read_size is None else read_size(content)


def _jpeg_size(content: bytes) -> tuple[int, int]:
    """Return width and height from the frame header of a JPEG, found as libjpeg finds it; (0, 0) if there is none.

    Pillow would do too, but takes a quarter of the time of decoding a crop; this takes a hundredth.
    """
    position, end = 2, len(content) - 9
    while position < end:
        if content[position] != 0xFF:  # bytes between two segments are stepped over
            position = content.find(b"\xff", position)
            if not 0 <= position < end:
                break
        marker = content[position + 1]
        if marker in _FRAME_HEADERS:
            height, width = content[position + 5 : position + 7], content[position + 7 : position + 9]
            return int.from_bytes(width, "big"), int.from_bytes(height, "big")
        if marker in _MARKERS_OF_THE_END:
            break
        if marker == 0xFF:  # any number of these may fill the space before a marker
            position += 1
        elif marker in _MARKERS_WITHOUT_LENGTH:
            position += 2
        else:
            position += 2 + max(2, content[position + 2] << 8 | content[position + 3])
    return 0, 0


def _png_size(content: bytes) -> tuple[int, int]:
    """Return width and height of a PNG, whose header must come first."""
    if content[:8] != _PNG_START or content[12:16] != b"IHDR" or not _png_chunks_fit(content):
        return 0, 0
    return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")


def _png_chunks_fit(content: bytes) -> bool:
    """Tell whether each chunk ends inside of the file; OpenCV reserves and clears what a chunk says, up to 4 GB."""
    position = len(_PNG_START)
    while position + _PNG_CHUNK_BYTES <= len(content):
        kind = content[position + 4 : position + 8]
        position += _PNG_CHUNK_BYTES + int.from_bytes(content[position : position + 4], "big")
        if kind == b"IEND":
            break
    return position <= len(content)


def _bmp_size(content: bytes) -> tuple[int, int]:
    """Return width and height of a BMP; the height is negative where the first row is the top one."""
    if int.from_bytes(content[14:18], "little") == 12:  # OS/2
        return int.from_bytes(content[18:20], "little"), int.from_bytes(content[20:22], "little")
    width, height = (int.from_bytes(content[at : at + 4], "little", signed=True) for at in (18, 22))
    return abs(width), abs(height)


def _webp_size(content: bytes) -> tuple[int, int]:
    """Return width and height of a WebP: of the canvas (VP8X), or of a lossless (VP8L) or lossy picture."""
    kind = content[12:16] if content[8:12] == b"WEBP" and len(content) >= 30 else b""
    if kind == b"VP8X":
        return 1 + int.from_bytes(content[24:27], "little"), 1 + int.from_bytes(content[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = (int.from_bytes(content[at : at + 2], "little") & 0x3FFF for at in (26, 28))
        return width, height
    return 0, 0


_SIZE_OF_START: dict[bytes, Callable[[bytes], tuple[int, int]]] = {
    b"\xff\xd8": _jpeg_size,
    b"\x89P": _png_size,
    b"BM": _bmp_size,
    b"RI": _webp_size,
}
"""By the first two bytes: reads width and height of a picture, (0, 0) of what is none. OpenCV decodes these formats."""
