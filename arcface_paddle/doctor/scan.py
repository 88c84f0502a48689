"""The one pass over all pictures: read, decode, fingerprint, measure; about 30 bytes are kept per image."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Optional

import cv2
import numpy as np

from arcface_paddle import image_headers, images
from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.data.parallel import ordered_map
from arcface_paddle.doctor.doctor_settings import DoctorSettings
from arcface_paddle.doctor.findings import Finding, Ledger
from arcface_paddle.errors import DataError, ImageError
from arcface_paddle.pipeline.picture_hashes import content_digest, gray_thumbnail, perceptual_hash, pixel_digest
from arcface_paddle.progress import progress

_CHUNK = 128  # images per task of a thread: few enough for an even end, many enough that handing over costs nothing
_GREY_TAIL_ROWS = 8  # one row of JPEG blocks
_JPEG_FILL = 128  # the level that the JPEG library gives to blocks that it has no data for
_NAME = "picture"  # in the decoders' errors; the report knows the path


class Status(IntEnum):
    """What became of an image in the scan; everything but ``GOOD`` was not used further."""

    GOOD = 0
    BROKEN = 1
    NOT_EXAMINED = 255


@dataclass(eq=False)
class ColorFacts:
    """Running sums over pixels, and how the middle of coloured pictures is tinted.

    Attributes:
        pixels: number of pixels.
        sums: (3,) float64, sum of levels per channel, RGB.
        squares: (3,) float64, sum of squared levels.
        red_wins: coloured pictures whose middle is redder than blue.
        blue_wins: coloured pictures whose middle is bluer than red.
    """

    pixels: int = 0
    sums: np.ndarray = field(default_factory=lambda: np.zeros(3))
    squares: np.ndarray = field(default_factory=lambda: np.zeros(3))
    red_wins: int = 0
    blue_wins: int = 0

    def add(self, image: np.ndarray, *, colored: bool) -> None:
        """Take in an (H, W, 3) uint8 RGB picture."""
        height, width = image.shape[:2]
        means, deviations = (values.ravel() for values in cv2.meanStdDev(image))
        self.pixels += height * width
        self.sums += means * (height * width)
        self.squares += (means**2 + deviations**2) * (height * width)
        if colored:
            middle = image[height // 4 : height - height // 4, width // 4 : width - width // 4]
            red, _, blue, _ = cv2.mean(middle)
            self.red_wins += red > blue
            self.blue_wins += blue > red

    def merge(self, other: ColorFacts) -> None:
        """Take in the sums of another part of the dataset."""
        self.pixels += other.pixels
        self.sums += other.sums
        self.squares += other.squares
        self.red_wins += other.red_wins
        self.blue_wins += other.blue_wins

    def mean_std(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and population standard deviation per channel in levels (0 to 255), each (3,)."""
        if not self.pixels:
            return np.full(3, np.nan), np.full(3, np.nan)
        mean = self.sums / self.pixels
        return mean, np.sqrt(np.maximum(self.squares / self.pixels - mean**2, 0))


@dataclass(eq=False)
class ScanFacts:
    """What the scan knows of each image (arrays over the whole dataset) and of all together.

    Attributes:
        status: (N,) uint8, values of ``Status``.
        content: (N,) uint64, digest of the encoded bytes.
        pixels: (N,) uint64, digest of the decoded pixels.
        perceptual: (N,) uint64, perceptual hash.
        encoded_bytes: (N,) uint32, size of the encoded picture.
        colors: sums over all good images.
        sizes: number of good images by (width, height).
    """

    status: np.ndarray
    content: np.ndarray
    pixels: np.ndarray
    perceptual: np.ndarray
    encoded_bytes: np.ndarray
    colors: ColorFacts = field(default_factory=ColorFacts)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)

    @classmethod
    def empty(cls, count: int) -> ScanFacts:
        """Return facts of ``count`` images of which nothing is known yet."""
        return cls(
            status=np.full(count, Status.NOT_EXAMINED, dtype=np.uint8),
            content=np.zeros(count, dtype=np.uint64),
            pixels=np.zeros(count, dtype=np.uint64),
            perceptual=np.zeros(count, dtype=np.uint64),
            encoded_bytes=np.zeros(count, dtype=np.uint32),
        )

    def good(self) -> np.ndarray:
        """Return the indices of the images that could be decoded, ascending, int64."""
        return np.flatnonzero(self.status == Status.GOOD)


def scan(dataset: FaceDataset, chosen: np.ndarray, *, settings: DoctorSettings, ledger: Ledger) -> ScanFacts:
    """Read and measure the chosen images; broken and unusual ones go into the ledger.

    Args:
        dataset: any reader; only ``read_encoded`` and ``path_of`` are used, from several threads.
        chosen: (M,) int64 indices to examine, ascending.
        settings: what counts as unusual.
        ledger: takes the findings about single images.
    """
    facts = ScanFacts.empty(len(dataset))
    chunks = [chosen[at : at + _CHUNK] for at in range(0, len(chosen), _CHUNK)]
    scanner = _ChunkScanner(dataset, settings, facts)
    with progress(total=len(chosen), desc="reading", unit="img") as bar:
        for chunk, part in zip(chunks, ordered_map(scanner.scan, chunks, workers=settings.workers)):
            facts.colors.merge(part.colors)
            facts.sizes.update(part.sizes)
            for finding in part.findings:
                ledger.add(finding)
            bar.update(len(chunk))
    return facts


@dataclass(eq=False)
class _ChunkFacts:
    colors: ColorFacts = field(default_factory=ColorFacts)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)


class _ChunkScanner:
    """Scans runs of images; each writes its own rows of the shared arrays, so threads do not meet."""

    def __init__(self, dataset: FaceDataset, settings: DoctorSettings, facts: ScanFacts) -> None:
        self._dataset = dataset
        self._settings = settings
        self._facts = facts

    def scan(self, indices: np.ndarray) -> _ChunkFacts:
        part = _ChunkFacts()
        for index in indices.tolist():
            content, image, complaint = read_checked(self._dataset, index)
            if image is None or complaint is not None:
                self._facts.status[index] = Status.BROKEN
                part.findings += [complaint] if complaint else []
            else:
                self._record(index, content, image, part)
        return part

    def _record(self, index: int, content: bytes, image: np.ndarray, part: _ChunkFacts) -> None:
        thumbnail = gray_thumbnail(image)
        facts = self._facts
        facts.status[index] = Status.GOOD
        facts.content[index] = content_digest(content)
        facts.pixels[index] = pixel_digest(image)
        facts.perceptual[index] = perceptual_hash(thumbnail)
        facts.encoded_bytes[index] = len(content)
        chroma = mean_chroma(image)
        part.colors.add(image, colored=chroma > self._settings.gray_chroma)
        part.sizes[(image.shape[1], image.shape[0])] += 1
        part.findings += self._unusual(index, image, float(thumbnail.mean()), chroma)

    def _unusual(self, index: int, image: np.ndarray, level: float, chroma: float) -> list[Finding]:
        settings = self._settings
        height, width = image.shape[:2]
        found = []
        if (width, height) != (settings.image_size, settings.image_size):
            found.append(("odd_size", f"{width}x{height} instead of {settings.image_size}x{settings.image_size}", 0.0))
        if level <= settings.dark_mean:
            found.append(("near_black", f"mean level {level:.1f} of 255", level))
        elif level >= settings.bright_mean:
            found.append(("near_white", f"mean level {level:.1f} of 255", level))
        elif chroma <= settings.gray_chroma:
            found.append(("grayscale", f"channels differ by {chroma:.2f} levels", chroma))
        return [Finding(kind, detail, (index,), score=score) for kind, detail, score in found]


def read_checked(dataset: FaceDataset, index: int) -> tuple[bytes, Optional[np.ndarray], Optional[Finding]]:
    """Read and decode one image with all checks.

    Returns:
        The encoded bytes (empty when they cannot be read), the (H, W, 3) uint8 RGB picture or None, and what is
        wrong with it or None.
    """
    try:
        content = dataset.read_encoded(index)
    except (DataError, ImageError, OSError) as error:
        reason = str(error).removeprefix(f"{dataset.path_of(index)}: ")
        return b"", None, Finding(_kind_of(error), reason, (index,))
    try:
        image = decode_checked(content)
    except ImageError as error:
        return content, None, Finding(_kind_of(error), str(error).removeprefix(f"{_NAME}: "), (index,))
    gray_rows = missing_rows(content, image)
    if gray_rows:
        detail = f"the last {gray_rows} of {len(image)} rows are the grey that decoders put for missing data"
        return content, image, Finding("truncated", detail, (index,))
    return content, image, None


def _kind_of(error: Exception) -> str:
    """Sort a reader's or decoder's complaint; they are raised in place of the system's error, which is kept."""
    if isinstance(error, FileNotFoundError) or isinstance(error.__context__, FileNotFoundError):
        return "missing"
    return "truncated" if "truncated" in str(error) else "unreadable"


def decode_checked(content: bytes) -> np.ndarray:
    """Decode as training does; anything but JPEG also by the careful decoder, which notices more damage.

    Raises:
        ImageError: one of the decoders refuses the bytes.
    """
    if image_headers.suffix_by_content(content) != ".jpg":
        images.decode_image(content, name=_NAME)
    return images.decode_crop(content, name=_NAME)


def missing_rows(content: bytes, image: np.ndarray) -> int:
    """Return how many rows at the bottom of a JPEG hold nothing but the grey of missing data (0: none).

    A JPEG that ends early but has its end marker decodes without an error; the JPEG library sets what is missing to
    level 128. Fewer than 8 rows (one block) do not count, nor does a picture that is grey throughout.
    """
    if content[:2] != b"\xff\xd8" or (image[-1] != _JPEG_FILL).any():
        return 0
    others = np.flatnonzero((image != _JPEG_FILL).any(axis=(1, 2)))
    rows = len(image) - 1 - int(others[-1]) if len(others) else 0
    return rows if rows >= _GREY_TAIL_ROWS else 0


def mean_chroma(image: np.ndarray) -> float:
    """Return the mean difference (levels) between the largest and smallest channel of each pixel."""
    red, green, blue = cv2.split(image)
    largest = cv2.max(cv2.max(red, green), blue)
    smallest = cv2.min(cv2.min(red, green), blue)
    return float(cv2.mean(cv2.subtract(largest, smallest))[0])
