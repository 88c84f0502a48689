"""Pictures made to do harm: programs in disguise, decoders that nobody needs, headers that ask for gigabytes."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from arcface_paddle import image_headers, images
from arcface_paddle.errors import ImageError

EPS = b"""%%!PS-Adobe-3.0 EPSF-3.0
%%%%BoundingBox: 0 0 64 64
(%s) (w) file dup (written by PostScript) writestring closefile
showpage
%%%%EOF
"""


@pytest.fixture
def picture() -> np.ndarray:
    """A 40x60 RGB gradient whose corners differ, so that any turn shows."""
    rows, columns = np.mgrid[:40, :60]
    image = np.stack([columns * 4, rows * 6, np.full_like(rows, 30)], axis=2).astype(np.uint8)
    image[:8, :8] = (255, 0, 0)
    return image


def encode(image: Image.Image, format_name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for Ghostscript is a shell script")
@pytest.mark.parametrize("name", ["photo.jpg", "photo.png", "photo"])
def test_postscript_in_disguise_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    bait, path, programs = tmp_path / "written", tmp_path / name, tmp_path / "bin"
    programs.mkdir()
    (programs / "gs").write_text(f"#!/bin/sh\ntouch '{bait}'\necho 10.0\n")
    (programs / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # Pillow remembers whether it found one
    path.write_bytes(EPS % os.fsencode(bait))
    for decode in (images.load_image, lambda source: images.decode_crop(Path(source).read_bytes(), name=str(source))):
        with pytest.raises(ImageError, match=r"photo.*: not a picture"):
            decode(path)
    assert not bait.exists()
    with Image.open(path) as opened, pytest.raises(OSError):
        opened.load()
    assert bait.exists(), "the picture must be able to do harm, or the test shows nothing"


def rare_pictures() -> dict[str, bytes]:
    """Return pictures that Pillow or OpenCV would read if they were asked without a list."""
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16)
    made = {suffix: cv2.imencode(suffix, gray)[1].tobytes() for suffix in (".ras", ".hdr") if can_write(suffix)}
    return {
        **made,
        ".pfm": b"Pf\n2 2\n-1.0\n" + struct.pack("<4f", 0, 0.25, 0.5, 1),
        ".pcx": encode(Image.fromarray(gray), "PCX"),
        ".tga": encode(Image.fromarray(gray), "TGA"),
        ".ico": encode(Image.fromarray(gray), "ICO"),
        ".sgi": encode(Image.fromarray(gray), "SGI"),
    }


def can_write(suffix: str) -> bool:
    return cv2.haveImageWriter(f"a{suffix}")


@pytest.mark.parametrize("suffix", sorted(rare_pictures()))
def test_rare_formats_never_give_something_else_than_a_picture(suffix: str) -> None:
    """PFM belongs to the formats of Pillow's PPM decoder; it comes out as a picture, not as a 2-D array of floats."""
    content = rare_pictures()[suffix]
    if suffix == ".pfm":
        assert images.decode_crop(content).shape == (2, 2, 3) and images.decode_crop(content).dtype == np.uint8
        return
    for decode in (images.decode_crop, images.decode_image):
        with pytest.raises(ImageError, match="not a picture"):
            decode(content)


@pytest.mark.parametrize("format_name", ["BMP", "WEBP", "TIFF", "GIF", "PPM", "PNG"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_crops_of_every_format_are_what_opencv_made_of_them(picture: np.ndarray, format_name: str, mode: str) -> None:
    if mode in ("P", "RGBA") and format_name == "PPM":
        pytest.skip("PPM has neither palette nor opacity")
    image = Image.fromarray(picture).convert(mode)
    content = encode(image, format_name, **({"lossless": True} if format_name == "WEBP" else {}))
    expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if expected is None:
        pytest.skip(f"this OpenCV does not read {format_name}")
    assert np.array_equal(images.decode_crop(content), expected[:, :, ::-1])


def test_phone_mpo_is_a_crop_too(picture: np.ndarray) -> None:
    frame = Image.fromarray(picture)
    content = encode(frame, "MPO", save_all=True, append_images=[frame])
    assert images.decode_crop(content).shape == images.decode_image(content).shape == picture.shape


def png_bomb(width: int, height: int) -> bytes:
    """Return a PNG whose header claims a size and whose pixels are missing."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + bytes(1000)


def with_size_of(content: bytes, *, at: int, size: bytes) -> bytes:
    return content[:at] + size + content[at + len(size) :]


def bombs() -> dict[str, bytes]:
    small = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    jpeg = encode(small, "JPEG")
    frame_header = jpeg.index(b"\xff\xc0")
    webp = encode(small, "WEBP", lossless=True)
    return {
        "png": png_bomb(32000, 32000),
        "jpeg": with_size_of(jpeg, at=frame_header + 5, size=struct.pack(">HH", 30000, 30000)),
        "jpeg with fill bytes": with_size_of(jpeg, at=frame_header + 5, size=struct.pack(">HH", 30000, 30000)).replace(
            b"\xff\xdb", b"\xff\xff\xff\xdb"
        ),
        "bmp": with_size_of(encode(small, "BMP"), at=18, size=struct.pack("<ii", 30000, -30000)),
        "webp": with_size_of(webp, at=21, size=struct.pack("<I", 16000 | 16000 << 14)),
        "tiff": encode(Image.new("1", (20000, 20000)), "TIFF", compression="tiff_deflate"),
        "gif": with_size_of(encode(small.convert("P"), "GIF"), at=6, size=struct.pack("<HH", 30000, 30000)),
        "ppm": b"P6 30000 30000 255\n" + bytes(1000),
    }


@pytest.mark.parametrize("kind", sorted(bombs()))
def test_a_crop_cannot_ask_for_gigabytes(kind: str) -> None:
    with pytest.raises(ImageError, match=r"x\.jpg: (\d+x\d+ is )?more than 16,000,000 pixels"):
        images.decode_crop(bombs()[kind], name="x.jpg")


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "BMP", "WEBP"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"lossless": True}, {"exif": bytes(3000)}], ids=str)
def test_sizes_are_read_from_headers(format_name: str, options: dict) -> None:
    for mode in ("RGB", "L", "RGBA"):
        if mode == "RGBA" and format_name == "JPEG":
            continue
        content = encode(Image.new(mode, (61, 40)), format_name, **options)
        assert image_headers.declared_size(content) == (61, 40)


def test_damaged_headers_are_refused() -> None:
    jpeg = encode(Image.new("RGB", (8, 8)), "JPEG")
    for content in (b"\xff\xd8\xff" + bytes(100) + b"\xff\xd9", b"BM", b"\x89PNG" + bytes(50), b"RIFFxxxxWEBPVP8 "):
        with pytest.raises(ImageError, match=r"damaged|not a picture"):
            images.decode_crop(content)
    for length in range(2, 40):  # a frame header that is cut off in any place
        with pytest.raises(ImageError):
            images.decode_crop(jpeg[: jpeg.index(b"\xff\xc0") + length] + b"\xff\xd9")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_pillow_turns_it(picture: np.ndarray, orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(Image.fromarray(picture), "PNG", exif=exif)
    expected = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    decoded = images.decode_image(content)
    assert np.array_equal(decoded, expected) and decoded.flags.c_contiguous and decoded.flags.owndata


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "LA", "RGBA", "1", "I;16"])
def test_strips_join_without_a_seam(picture: np.ndarray, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.arange(2400, dtype=np.uint16).reshape(40, 60) * 27)
    else:
        image = Image.fromarray(np.dstack([picture, picture[:, :, 0]])).convert(mode)
    content = encode(image, "PNG")
    whole = images.decode_image(content)
    monkeypatch.setattr(images, "_STRIP_PIXELS", 60 * 7)
    assert np.array_equal(images.decode_image(content), whole)


def test_the_limit_of_pixels_can_be_given(picture: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    images.write_image(path, picture)
    pixels = picture.shape[0] * picture.shape[1]
    for load in (images.load_image, images.read_image, lambda p, **k: images.decode_image(p.read_bytes(), **k)):
        assert load(path, max_pixels=pixels).shape == picture.shape
        with pytest.raises(ImageError, match=f"60x40 is more than {pixels - 1:,} pixels"):
            load(path, max_pixels=pixels - 1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels // 4)  # Pillow refuses twice as many
    with pytest.raises(ImageError, match="more than"):
        images.read_image(path, max_pixels=pixels // 4)
    assert images.read_image(path, max_pixels=pixels).shape == picture.shape
    assert pixels // 4 == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(("longest", "side"), [(800, 800), (799, 800), (400, 400), (399, 400), (120, 200), (1, 100)])
def test_a_jpeg_is_decoded_as_small_as_will_do(longest: int, side: int) -> None:
    content = encode(Image.new("RGB", (800, 600), (200, 30, 60)), "JPEG")
    small = images.decode_image(content, longest_side=longest)
    assert small.shape == (side * 3 // 4, side, 3)
    assert np.abs(small.astype(int) - (200, 30, 60)).max() <= 3
    assert images.decode_image(encode(Image.new("L", (800, 600)), "PNG"), longest_side=longest).shape == (600, 800, 3)


MEASURE = """
import sys
from arcface_paddle import image_headers, images
def peak_mb():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
images.load_image(sys.argv[2])
before = peak_mb()
decoded = images.load_image(sys.argv[1])
print(peak_mb() - before, decoded.nbytes / 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from Linux's /proc")
@pytest.mark.parametrize(
    ("mode", "suffix", "factor"),
    [("L", ".png", 4 / 3), ("L", ".jpg", 4 / 3), ("RGB", ".png", 7 / 3), ("RGBA", ".png", 7 / 3)],
)
def test_a_large_picture_costs_little_beside_its_pixels(tmp_path: Path, mode: str, suffix: str, factor: float) -> None:
    """Pillow holds a byte per pixel of greyscale and four of colour, the result three, a strip 20 to 40 MB."""
    side = 13_000 if mode == "L" else 6_000
    large, small = tmp_path / f"large{suffix}", tmp_path / f"small{suffix}"
    Image.new(mode, (side, side)).save(large)
    Image.new(mode, (8, 8)).save(small)
    command = [sys.executable, "-c", textwrap.dedent(MEASURE), str(large), str(small)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    grown, decoded = map(float, done.stdout.split())
    assert grown < factor * decoded + 50, f"{grown:.0f} MB for a picture of {decoded:.0f} MB"
