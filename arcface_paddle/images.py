"""The border for pictures: whatever comes in leaves as RGB uint8 (H, W, 3), upright, or as an ``ImageError``.

Nothing else in the package decodes, converts colours or resizes by hand.
"""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import Optional, Union

import cv2
import numpy as np
from PIL import Image, ImageOps

from arcface_paddle import files
from arcface_paddle.errors import ImageError

ImageSource = Union[str, "os.PathLike[str]", bytes, np.ndarray]

MAX_PIXELS = 178_956_970
"""Largest picture that is decoded (Pillow's own error limit); larger ones are taken for decompression bombs."""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})
"""Suffixes, lower case, that make a file of a folder count as a picture."""

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
    struct.error,
    zlib.error,
)

# OpenCV 4.11 and later decode to RGB directly, which saves a pass over every training crop.
_DECODES_TO_RGB = hasattr(cv2, "IMREAD_COLOR_RGB")
_CROP_FLAGS = getattr(cv2, "IMREAD_COLOR_RGB", cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION

_SUFFIX_OF_SIGNATURE = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"BM", ".bmp"),
    (b"GIF8", ".gif"),
    (b"II*\x00", ".tif"),
    (b"MM\x00*", ".tif"),
)
_SUFFIX_OF_PORTABLE_MAP = {b"P5": ".pgm", b"P6": ".ppm"}


def load_image(source: ImageSource) -> np.ndarray:
    """Read a picture from a path, from encoded bytes or from an array.

    Args:
        source: path of a file; encoded bytes (JPEG, PNG, BMP, WebP, TIFF, ...); or an RGB array, see
            ``from_array``.

    Returns:
        (H, W, 3) uint8 RGB, upright by its EXIF orientation, owning its memory.

    Raises:
        ImageError: no such file, not a picture, damaged, animated, or larger than ``MAX_PIXELS``.
    """
    if isinstance(source, np.ndarray):
        return from_array(source)
    if isinstance(source, bytes):
        return decode_image(source, name="the given bytes")
    return read_image(source)


def read_image(path: files.PathLike) -> np.ndarray:
    """Read a picture file into (H, W, 3) uint8 RGB. Raises ``ImageError`` as ``load_image`` does."""
    return decode_image(read_file(path), name=str(path))


def read_file(path: files.PathLike) -> bytes:
    """Return the bytes of a picture file, still encoded.

    Raises:
        ImageError: the file does not exist, cannot be read or is empty.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ImageError(f"{path}: is a folder, not a picture") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not content:
        raise ImageError(f"{path}: the file is empty")
    return content


def decode_image(content: bytes, *, name: str = "image") -> np.ndarray:
    """Decode an encoded picture with all care: orientation, palette, alpha, CMYK, 16 bit, damage.

    Transparent pixels are laid over white. ``name`` only serves error messages.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: not a picture, damaged or truncated, several frames, or larger than ``MAX_PIXELS``.
    """
    if not content:
        raise ImageError(f"{name}: zero bytes, not a picture")
    try:
        with Image.open(io.BytesIO(content)) as image:
            _refuse_unsuitable(image, name)
            image.load()
            return _to_rgb(_upright(image), name)
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageError(f"{name}: more than {MAX_PIXELS:,} pixels; scale it down first") from None
    except Image.UnidentifiedImageError:
        raise ImageError(f"{name}: not a picture in a known format (JPEG, PNG, BMP, WebP, TIFF)") from None
    except _DECODE_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImageError(f"{name}: damaged or truncated picture ({reason})") from None


def decode_crop(content: bytes, *, name: str = "image") -> np.ndarray:
    """Decode a small training crop the fast way (OpenCV): no orientation, no alpha, no 16 bit.

    Meant for datasets of aligned faces, where millions of JPEG files of one make are read.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: not a picture, or a JPEG without its end marker.
    """
    if content[:2] == b"\xff\xd8" and content[-2:] != b"\xff\xd9" and b"\xff\xd9" not in content[-64:]:
        # OpenCV fills what is missing of a truncated JPEG with grey and says nothing.
        raise ImageError(f"{name}: truncated JPEG (no end marker in {len(content)} bytes)")
    buffer = np.frombuffer(content, dtype=np.uint8)
    try:
        image = cv2.imdecode(buffer, _CROP_FLAGS) if buffer.size else None
    except cv2.error:  # a header that claims more pixels than OpenCV's limit
        image = None
    if image is None:
        raise ImageError(f"{name}: not a picture that can be decoded ({len(content)} bytes)")
    return image if _DECODES_TO_RGB else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


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


def resize(image: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """Resize an (H, W, 3) picture to ``size_wh``: area average when shrinking, bilinear when growing."""
    height, width = image.shape[:2]
    shrinks = size_wh[0] < width or size_wh[1] < height
    return cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def encode_image(image: np.ndarray, *, suffix: str = ".png", quality: int = 95) -> bytes:
    """Encode (H, W, 3) uint8 RGB in the format that ``suffix`` names (``.png``, ``.jpg``, ``.webp``, ``.bmp``).

    Raises:
        ImageError: a suffix that cannot be written.
    """
    formats = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP", ".tif": "TIFF"}
    format_name = formats.get(suffix.lower())
    if format_name is None:
        raise ImageError(f"cannot write pictures with suffix {suffix!r}; allowed: {', '.join(sorted(formats))}")
    buffer = io.BytesIO()
    options = {"quality": quality} if format_name in ("JPEG", "WEBP") else {}
    Image.fromarray(image).save(buffer, format_name, **options)
    return buffer.getvalue()


def write_image(path: files.PathLike, image: np.ndarray, *, quality: int = 95) -> None:
    """Write (H, W, 3) uint8 RGB to ``path`` atomically; the format follows the suffix.

    Raises:
        ImageError: the suffix is not known or the file cannot be written.
    """
    content = encode_image(image, suffix=Path(path).suffix, quality=quality)
    try:
        files.write_bytes(path, content)
    except OSError as error:
        raise ImageError(f"{path}: cannot be written: {error.strerror or error}") from None


def suffix_by_content(content: bytes) -> Optional[str]:
    """Return the usual suffix of an encoded picture by its first bytes, or None when it is not known."""
    for signature, suffix in _SUFFIX_OF_SIGNATURE:
        if content.startswith(signature):
            return suffix
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    return _SUFFIX_OF_PORTABLE_MAP.get(content[:2]) if content[2:3].isspace() else None


def is_image_path(path: files.PathLike) -> bool:
    """Tell whether the suffix is one of ``IMAGE_SUFFIXES`` (hidden files are not pictures)."""
    name = Path(path).name
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES


def _refuse_unsuitable(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name}: {width}x{height} is more than {MAX_PIXELS:,} pixels; scale it down first")
    # MPO is what phones write: an ordinary JPEG with a preview or depth map behind it.
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise ImageError(f"{name}: {image.format} with {frames} frames; save one frame as a still picture")


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except _DECODE_ERRORS:
        return image  # an unreadable EXIF block says nothing about orientation


def _to_rgb(image: Image.Image, name: str) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep_gray(np.asarray(image), name)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def _from_deep_gray(values: np.ndarray, name: str) -> np.ndarray:
    """Bring 16-bit, 32-bit and float grayscale to 8 bits by the range that the values use."""
    if not np.isfinite(values).all():
        raise ImageError(f"{name}: grayscale picture with values that are not finite")
    top = float(values.max(initial=0))
    if float(values.min(initial=0)) < 0 or top > 65535:
        raise ImageError(f"{name}: grayscale values {values.min()} to {values.max()}; allowed: 0 to 65535")
    if values.dtype.kind == "f" and top <= 1:
        values = values * 255
    elif top > 255 or values.dtype == np.uint16:
        values = values / 257
    return from_array(np.rint(values).astype(np.uint8))
