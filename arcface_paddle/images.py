"""The border for pictures: whatever comes in leaves as RGB uint8 (H, W, 3), upright, or as an ``ImageError``.

Nothing else in the package decodes, converts colours or resizes by hand.

What a file claims to be decides nothing: decoders are chosen by its first bytes, from a list. Pillow alone knows some
sixty formats, one of which (EPS) starts another program on what the file holds; OpenCV would read several, PFM and EXR
among them, into arrays that are not pictures.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import math
import os
import struct
import threading
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Mapping, Optional, Union

import cv2
import numpy as np
from PIL import Image, ImageFile, features

from arcface_paddle import files
from arcface_paddle.errors import ImageError
from arcface_paddle.image_headers import JPEG_START, declared_size, suffix_by_content

ImageSource = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, np.ndarray, Image.Image]
"""What ``load_image`` takes: a path, encoded bytes, an array, or a picture that Pillow has opened."""

MAX_PIXELS = 178_956_970
"""Largest picture that is decoded (Pillow's own error limit); larger ones are taken for decompression bombs."""

MAX_CROP_PIXELS = 16_000_000
"""Largest training crop that is decoded: a hundred times what any recogniser looks at, a photograph of 4000 x 4000.

A crop is decoded by the million, by many workers at once, so that 1 KB of PNG must not be able to ask for gigabytes.
"""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})
"""Suffixes, lower case, that make a file of a folder count as a picture."""

_FORMAT_OF_SUFFIX = {
    ".png": "PNG", ".bmp": "BMP", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF",
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG",
}  # fmt: skip
WRITABLE_SUFFIXES = frozenset(_FORMAT_OF_SUFFIX)
"""Suffixes, lower case, under which pictures can be written; what is to be written under another becomes a PNG."""

# MAX_PIXELS is enforced below with an error of our own; Pillow's earlier warning would only add noise.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

# What Pillow's plugins raise on damaged input (they do not agree on one class).
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    IndexError,
    KeyError,
    OverflowError,
    MemoryError,
    RuntimeError,  # AVIF
    struct.error,
    zlib.error,
)

_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "TIFF", "GIF", "PPM")
_FORMATS_OF_PHONES = (
    "MPO",
    "HEIF",
    "AVIF",
)  # MPO begins as a JPEG; of the others the first bytes tell
_STRIP_PIXELS = 1 << 20  # converted at a time: large enough to be fast, small enough to cost next to nothing

_ORIENTATION_TAG, _EXIF_FOLDER_TAG, _TIFF_XMP_TAG = 0x0112, 0x8769, 700

_pillow_limit_lock = threading.Lock()

# OpenCV 4.11 and later decode to RGB directly, which saves a pass over every training crop.
_DECODES_TO_RGB = hasattr(cv2, "IMREAD_COLOR_RGB")
_CROP_FLAGS = getattr(cv2, "IMREAD_COLOR_RGB", cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION

_SUFFIXES_WITH_FRAMES = frozenset({".gif", ".webp", ".png", ".tif", ".avif"})
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_KEYS_OF_XMP = ("xmp", "XML:com.adobe.xmp")  # JPEG, WebP, TIFF; PNG


@dataclass(frozen=True, eq=False)
class PictureHeader:
    """What a picture's file says before a pixel of it is decoded.

    Attributes:
        stored_size_wh: width and height in the order in which the file stores rows and columns.
        orientation: how it is to be turned to stand upright, 1 to 8 as in EXIF; HEIF gives upright pixels, hence 1.
        exif: EXIF tags by number, those of the picture and of the exposure, as Pillow gives them; unchecked.
        xmp: the embedded XMP packet; empty where there is none.
    """

    stored_size_wh: tuple[int, int]
    orientation: int
    exif: Mapping[int, Any]
    xmp: bytes


def picture_formats() -> tuple[str, ...]:
    """Return the formats that are decoded, by Pillow's names; the only place that knows them.

    MPO, which phones write, is a JPEG to Pillow until it is open. HEIF and AVIF are not among them: their decoders, of
    which a user may have none, see only files that begin like one, see ``missing_decoder``.
    """
    return _FORMATS


def missing_decoder(suffix: Optional[str]) -> str:
    """Return what is to be done before pictures of a kind can be decoded, or nothing when they can be.

    Args:
        suffix: the kind, as ``suffix_by_content`` names it.
    """
    if suffix == ".heic" and importlib.util.find_spec("pillow_heif") is None:
        return "install arcface-paddle[heif]"
    if suffix == ".avif" and not features.check("avif"):
        return "needs Pillow 11.3 or later"
    return ""


def load_image(source: ImageSource, *, max_pixels: Optional[int] = None) -> np.ndarray:
    """Read a picture from a path, from encoded bytes, from an array or from Pillow.

    Args:
        source: path of a file; encoded bytes (JPEG, PNG, BMP, WebP, TIFF, ...); an RGB array, see ``from_array``; or a
            PIL image, see ``from_pillow``.
        max_pixels: refuse larger files; None for ``MAX_PIXELS``.

    Returns:
        (H, W, 3) uint8 RGB, upright by its EXIF orientation, owning its memory.

    Raises:
        ImageError: no such file, not a picture, damaged, larger than ``max_pixels``, or another object.
    """
    if isinstance(source, np.ndarray):
        return from_array(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return decode_image(bytes(source), name="the given bytes", max_pixels=max_pixels)
    if isinstance(source, Image.Image):
        return from_pillow(source, max_pixels=max_pixels)
    if isinstance(source, (str, os.PathLike)):
        return read_image(source, max_pixels=max_pixels)
    raise ImageError(
        f"a picture cannot be made of an object of type {type(source).__name__}; allowed: path, encoded bytes, "
        "(H, W, 3) uint8 RGB array, PIL image"
    )


def read_image(
    path: files.PathLike, *, max_pixels: Optional[int] = None, longest_side: Optional[int] = None
) -> np.ndarray:
    """Read a picture file into (H, W, 3) uint8 RGB; see ``decode_image``. Raises ``ImageError`` as it does."""
    return decode_image(read_file(path), name=files.printable(path), max_pixels=max_pixels, longest_side=longest_side)


def read_file(path: files.PathLike) -> bytes:
    """Return the bytes of a picture file, still encoded.

    Raises:
        ImageError: the file does not exist, cannot be read or is empty.
    """
    name = files.plain(files.printable(path))
    try:
        content = files.read_bytes(path)
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise ImageError(f"{name}: is a folder, not a picture") from None
    except OSError as error:
        raise ImageError(f"{name}: cannot be read: {error.strerror or error}") from None
    if not content:
        raise ImageError(f"{name}: the file is empty")
    return content


def decode_image(
    content: bytes,
    *,
    name: str = "image",
    max_pixels: Optional[int] = None,
    longest_side: Optional[int] = None,
) -> np.ndarray:
    """Decode an encoded picture with all care: orientation, palette, alpha, CMYK, 16 bit, damage.

    Transparent pixels are laid over white. Of an animation or of several pages the first one is taken; ``count_frames``
    tells how many there are. ``name`` only serves error messages.

    Args:
        content: the file.
        name: what to call it in errors.
        max_pixels: refuse larger pictures by their header; None for ``MAX_PIXELS``.
        longest_side: where so many pixels are enough for the longer side, such as for a page or a contact sheet, a
            JPEG is decoded at 1/2, 1/4 or 1/8 of its size, never below; other formats come in full size.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: not a picture, damaged or truncated, or larger than ``max_pixels``.
    """
    if not content:
        raise ImageError(f"{name}: zero bytes, not a picture")
    kind = suffix_by_content(content)
    if missing_decoder(kind):
        raise ImageError(f"{name}: a picture of the kind {kind}; {missing_decoder(kind)}")
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    with _decoding_errors(name, limit), _pillow_admits(limit), _open(content) as image:
        _refuse_large(image, name, limit)
        if longest_side is not None:
            _shrink_while_decoding(image, longest_side)
        image.load()
        return _to_rgb(image, name)


def read_header(path: files.PathLike) -> PictureHeader:
    """Read size, orientation, EXIF and XMP of a picture file without decoding it.

    Raises:
        ImageError: no such file, not a picture, or damaged where it begins.
    """
    name = files.printable(path)
    with contextlib.ExitStack() as opened:
        try:
            stream = opened.enter_context(files.open_regular(path))
            start = stream.read(512)
            stream.seek(0)
        except OSError as error:
            raise ImageError(f"{name}: cannot be read: {error.strerror or error}") from None
        with _decoding_errors(name, MAX_PIXELS):
            image = opened.enter_context(Image.open(stream, formats=_formats_for(start)))
            return PictureHeader(image.size, _orientation_of(image), _exif_of(image), _xmp_of(image))


def count_frames(content: bytes) -> int:
    """Return how many frames or pages an encoded picture has: 1 for a still picture and for what cannot be read.

    What phones write counts as one: behind the photograph an MPO holds a preview or a map of depth.
    """
    if suffix_by_content(content) not in _SUFFIXES_WITH_FRAMES:
        return 1
    with contextlib.suppress(Image.DecompressionBombError, *_DECODE_ERRORS), _open(content) as image:
        return int(getattr(image, "n_frames", 1))
    return 1


def decode_crop(content: bytes, *, name: str = "image") -> np.ndarray:
    """Decode a small training crop the fast way: no orientation, no alpha, no 16 bit.

    Meant for datasets of aligned faces, where millions of JPEG files of one make are read. JPEG, PNG, BMP and WebP go
    to OpenCV; any other format goes to Pillow, so that none of OpenCV's rarer decoders ever sees a file from elsewhere.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: not a picture, a JPEG without its end marker, or more than ``MAX_CROP_PIXELS``.
    """
    if content[:3] == JPEG_START and content[-2:] != b"\xff\xd9" and b"\xff\xd9" not in content[-64:]:
        # OpenCV fills what is missing of a truncated JPEG with grey and says nothing.
        raise ImageError(f"{name}: truncated JPEG (no end marker in {len(content)} bytes)")
    size = declared_size(content)
    if size is None:
        return _decode_rare_crop(content, name)
    width, height = size
    if not width or not height:
        raise ImageError(f"{name}: damaged picture (no width and height in {len(content)} bytes)")
    if width * height > MAX_CROP_PIXELS:
        raise ImageError(_too_large(name, width, height, MAX_CROP_PIXELS))
    try:
        image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), _CROP_FLAGS)
    except cv2.error:
        image = None
    if image is None:
        raise ImageError(f"{name}: not a picture that can be decoded ({len(content)} bytes)")
    return image if _DECODES_TO_RGB else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def encoded_size(content: bytes, *, name: str = "image") -> tuple[int, int]:
    """Return width and height of an encoded crop, of JPEG, PNG, BMP and WebP without decoding it.

    Raises:
        ImageError: as ``decode_crop``.
    """
    width, height = declared_size(content) or (0, 0)
    if not width or not height:
        height, width = decode_crop(content, name=name).shape[:2]
    return width, height


def from_array(array: np.ndarray, *, color_order: str = "RGB") -> np.ndarray:
    """Turn an array into (H, W, 3) uint8 RGB.

    Args:
        array: uint8 or uint16, (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); the fourth channel is opacity.
        color_order: ``"RGB"`` or ``"BGR"`` (what OpenCV gives).

    Raises:
        ImageError: another shape or type, or an empty array.
    """
    if color_order not in ("RGB", "BGR"):
        raise ImageError(f"color_order is {color_order!r}; allowed: 'RGB', 'BGR'")
    if not isinstance(array, np.ndarray):
        raise ImageError(f"an object of type {type(array).__name__} is no array; load_image takes other kinds, too")
    array = np.asarray(array)  # a subclass may have its own idea of a shape
    refuse_endless(array)
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ImageError(f"array of type {array.dtype}; allowed: uint8 or uint16 with the full range of values")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise ImageError(f"array of shape {array.shape}; allowed: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)")
    if array.shape[2] == 1:
        return np.repeat(array, 3, axis=2)
    color = array[:, :, 2::-1] if color_order == "BGR" else array[:, :, :3]
    if array.shape[2] == 4:
        opacity = array[:, :, 3:].astype(np.uint16)
        color = ((color * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(color).copy() if color.base is array else np.ascontiguousarray(color)


def refuse_endless(array: np.ndarray) -> None:
    """Refuse what ``np.broadcast_to`` has made of a few bytes, and what would be terabytes when it is copied.

    Raises:
        ImageError: more than ``MAX_PIXELS`` pixels that do not lie in memory.
    """
    if array.ndim >= 2 and 0 in array.strides and math.prod(array.shape[:2]) > MAX_PIXELS:
        raise ImageError(f"array of shape {array.shape} that repeats a few values; allowed: {MAX_PIXELS:,} pixels")


def from_pillow(image: Image.Image, *, max_pixels: Optional[int] = None) -> np.ndarray:
    """Turn a picture that Pillow has opened or made into (H, W, 3) uint8 RGB; it is left as it is.

    Orientation, palette, alpha and depth are treated as in files. Of several frames the current one is taken.

    Raises:
        ImageError: closed, damaged, larger than ``max_pixels`` (None for ``MAX_PIXELS``), without pixels, or opened
            from a format outside of ``picture_formats``.
    """
    if not isinstance(image, Image.Image):
        raise ImageError(f"an object of type {type(image).__name__} is no PIL image; load_image takes other kinds, too")
    name = file_name_of(image) or "the given PIL image"
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    if image.format is not None and image.format not in (*picture_formats(), *_FORMATS_OF_PHONES):
        raise ImageError(f"{name}: {image.format} is not decoded; allowed: {', '.join(picture_formats())}")
    if isinstance(image, ImageFile.ImageFile) and image.tile and image.fp is None:  # Pillow would fail an assertion
        raise ImageError(f"{name}: the PIL image was closed before its pixels were read")
    width, height = image.size
    if not width or not height:
        raise ImageError(f"{name}: {width}x{height} pixels, not a picture")
    if width * height > limit:
        raise ImageError(_too_large(name, width, height, limit))
    with _decoding_errors(name, limit), _pillow_admits(limit):
        image.load()
        return _to_rgb(image, name)


def file_name_of(image: Image.Image) -> str:
    """Return the name of the file that Pillow has opened a picture from, as text; empty where it was made."""
    name = getattr(image, "filename", "")
    return files.printable(os.fsdecode(name)) if isinstance(name, (str, bytes, os.PathLike)) else ""


def resize(image: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """Resize an (H, W, 3) picture to ``size_wh``: area average when shrinking, bilinear when growing."""
    height, width = image.shape[:2]
    shrinks = size_wh[0] < width or size_wh[1] < height
    return cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def shrink(image: np.ndarray, *, longest_side: int) -> np.ndarray:
    """Shrink an (H, W, 3) picture so that no side is longer than ``longest_side`` pixels; keep a smaller one."""
    height, width = image.shape[:2]
    if max(width, height) <= longest_side:
        return image
    scale = longest_side / max(width, height)
    return resize(image, (max(1, round(width * scale)), max(1, round(height * scale))))


def recompress(image: np.ndarray, *, quality: int) -> np.ndarray:
    """Return what a JPEG of this quality (1 to 100) keeps of (H, W, 3) uint8 RGB; ten times as fast as by Pillow."""
    content = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = cv2.imdecode(content, _CROP_FLAGS)
    assert decoded is not None, "OpenCV cannot read its own JPEG"
    return decoded if _DECODES_TO_RGB else cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


def encode_image(image: np.ndarray, *, suffix: str = ".png", quality: int = 95) -> bytes:
    """Encode (H, W, 3) uint8 RGB in the format that ``suffix`` names, one of ``WRITABLE_SUFFIXES`` in any case.

    Raises:
        ImageError: a suffix that cannot be written, or more pixels than the format can hold (WebP: 16383 a side).
    """
    format_name = _FORMAT_OF_SUFFIX.get(suffix.lower())
    if format_name is None:
        allowed = ", ".join(sorted(WRITABLE_SUFFIXES))
        raise ImageError(f"cannot write pictures with suffix {suffix!r}; allowed: {allowed}")
    buffer = io.BytesIO()
    options = {"quality": quality} if format_name in ("JPEG", "WEBP") else {}
    try:
        Image.fromarray(image).save(buffer, format_name, **options)
    except (OSError, ValueError) as error:
        height, width = image.shape[:2]
        raise ImageError(f"{width}x{height} pixels cannot be written as {format_name}: {error}") from None
    return buffer.getvalue()


def write_image(path: files.PathLike, image: np.ndarray, *, quality: int = 95) -> None:
    """Write (H, W, 3) uint8 RGB to ``path`` atomically; the format follows the suffix.

    Raises:
        ImageError: the suffix is not known or the file cannot be written.
    """
    try:
        content = encode_image(image, suffix=Path(path).suffix, quality=quality)
    except ImageError as error:
        raise ImageError(f"{files.printable(path)}: {error}") from None
    write_encoded(path, content)


def write_encoded(path: files.PathLike, content: bytes) -> None:
    """Write what ``encode_image`` gave to ``path`` atomically. Raises ``ImageError`` when it cannot be written."""
    try:
        files.write_bytes(path, content)
    except OSError as error:
        raise ImageError(f"{files.printable(path)}: cannot be written: {error.strerror or error}") from None


def is_image_path(path: files.PathLike) -> bool:
    """Tell whether the suffix is one of ``IMAGE_SUFFIXES`` (hidden files are not pictures)."""
    name = Path(path).name
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES


def _open(content: bytes) -> Image.Image:
    """Read a picture's header; its pixels are decoded by ``load``."""
    return Image.open(io.BytesIO(content), formats=_formats_for(content))


def _formats_for(content: bytes) -> tuple[str, ...]:
    kind = suffix_by_content(content)
    if kind == ".avif" and not missing_decoder(kind):
        return ("AVIF",)
    if kind == ".heic" and not missing_decoder(kind):
        import pillow_heif

        pillow_heif.register_heif_opener()  # does no more than put the decoder into Pillow's list, again if need be
        return ("HEIF",)
    return picture_formats()


@contextlib.contextmanager
def _decoding_errors(name: str, max_pixels: int) -> Iterator[None]:
    """Turn all that Pillow raises on unsuitable or damaged input into ``ImageError``."""
    try:
        yield
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageError(f"{name}: more than {max_pixels:,} pixels; scale it down first") from None
    except Image.UnidentifiedImageError:
        raise ImageError(f"{name}: not a picture in a known format (JPEG, PNG, BMP, WebP, TIFF)") from None
    except _DECODE_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImageError(f"{name}: damaged or truncated picture ({reason})") from None


@contextlib.contextmanager
def _pillow_admits(max_pixels: int) -> Iterator[None]:
    """Raise Pillow's own limit, a global of its, as long as a larger picture is decoded that the user allowed."""
    if Image.MAX_IMAGE_PIXELS is None or max_pixels <= 2 * Image.MAX_IMAGE_PIXELS:
        yield
        return
    with _pillow_limit_lock:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = max_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _refuse_large(image: Image.Image, name: str, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(_too_large(name, width, height, max_pixels))


def _too_large(name: str, width: int, height: int, max_pixels: int) -> str:
    return f"{name}: {width}x{height} is more than {max_pixels:,} pixels; scale it down first"


def _shrink_while_decoding(image: Image.Image, longest_side: int) -> None:
    """Tell the decoder of a JPEG to leave out what is not needed; other formats ignore it."""
    scale = max(1, max(image.size) // max(1, longest_side))
    if scale > 1:
        width, height = image.size
        image.draft(None, (max(1, width // scale), max(1, height // scale)))


def _to_rgb(image: Image.Image, name: str) -> np.ndarray:
    """Convert strip by strip, so that a large picture costs little beside its pixels and the result."""
    width, height = image.size
    orientation = _orientation_of(image)
    upright = np.empty((width, height, 3) if orientation >= 5 else (height, width, 3), np.uint8)
    as_stored = _as_stored(upright, orientation)
    scale = _scale_of_deep_gray(image, name) if image.mode.startswith("I") or image.mode == "F" else None
    for rows, strip in _strips(image):
        as_stored[rows] = _strip_to_rgb(strip) if scale is None else _strip_of_deep_gray(strip, scale)
    return upright


def _strips(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    width, height = image.size
    count = max(1, _STRIP_PIXELS // width)
    if count >= height:
        yield slice(0, height), image
        return
    for top in range(0, height, count):
        bottom = min(height, top + count)
        yield slice(top, bottom), image.crop((0, top, width, bottom))


def _strip_to_rgb(strip: Image.Image) -> np.ndarray:
    if strip.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in strip.info:
        strip = strip.convert("RGBA")
        strip = Image.alpha_composite(Image.new("RGBA", strip.size, (255, 255, 255, 255)), strip)
    return np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))


def _orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where there is none or it cannot be understood."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except _DECODE_ERRORS:
        return 1  # an unreadable EXIF block says nothing about orientation
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _exif_of(image: Image.Image) -> dict[int, Any]:
    """Return the EXIF tags of the picture and of its exposure; none where they cannot be understood."""
    try:
        exif = image.getexif()
        return {**exif.get_ifd(_EXIF_FOLDER_TAG), **exif}
    except _DECODE_ERRORS:
        return {}


def _xmp_of(image: Image.Image) -> bytes:
    for packet in (*map(image.info.get, _KEYS_OF_XMP), getattr(image, "tag_v2", {}).get(_TIFF_XMP_TAG)):
        if packet:
            return packet.encode("utf-8", "replace") if isinstance(packet, str) else bytes(packet)
    # Pillow before 11 leaves the packet of a JPEG among the segments that it did not look at.
    for _, segment in getattr(image, "applist", ()):
        if segment.startswith(_JPEG_XMP):
            return bytes(segment[len(_JPEG_XMP) :])
    return b""


def _as_stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """Return the view of an upright (H, W, 3) in which rows and columns run as the file stores them."""
    view = upright.transpose(1, 0, 2) if orientation >= 5 else upright
    view = view[::-1] if orientation in (3, 4, 6, 7) else view
    return view[:, ::-1] if orientation in (2, 3, 7, 8) else view


def _scale_of_deep_gray(image: Image.Image, name: str) -> tuple[int, int]:
    """Return factor and divisor that bring 16-bit, 32-bit and float grayscale to 8 bits, by the range it uses."""
    low, top = 0.0, 0.0
    for _, strip in _strips(image):
        values = np.asarray(strip)
        if not np.isfinite(values).all():
            raise ImageError(f"{name}: grayscale picture with values that are not finite")
        low, top = min(low, float(values.min())), max(top, float(values.max()))
    if low < 0 or top > 65535:
        raise ImageError(f"{name}: grayscale values {low:g} to {top:g}; allowed: 0 to 65535")
    if values.dtype.kind == "f" and top <= 1:
        return 255, 1
    return (1, 257) if top > 255 or values.dtype == np.uint16 else (1, 1)


def _strip_of_deep_gray(strip: Image.Image, scale: tuple[int, int]) -> np.ndarray:
    factor, divisor = scale
    return np.rint(np.asarray(strip) * np.float32(factor) / divisor).astype(np.uint8)[:, :, None]


def _decode_rare_crop(content: bytes, name: str) -> np.ndarray:
    """Decode a format that no size is read of here, as OpenCV would: the first frame, opacity ignored."""
    with _decoding_errors(name, MAX_CROP_PIXELS):
        try:
            image = _open(content)
        except Image.UnidentifiedImageError:
            raise ImageError(f"{name}: not a picture that can be decoded ({len(content)} bytes)") from None
        with image:
            width, height = image.size
            if width * height > MAX_CROP_PIXELS:
                raise ImageError(_too_large(name, width, height, MAX_CROP_PIXELS))
            if image.mode.startswith("I") or image.mode == "F":
                return _to_rgb(image, name)
            return np.array(image.convert("RGB"))
