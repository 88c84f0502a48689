"""The image border: every kind of picture becomes RGB uint8 (H, W, 3) or a clear ImageError."""

import contextlib
import io
import sys

import numpy as np
import pytest
from PIL import Image, features

from arcface_paddle import image_headers, images
from arcface_paddle.errors import ImageError


@pytest.fixture
def picture() -> np.ndarray:
    """A 40x60 RGB gradient with a red corner, so that mirroring, rotation and colour order show."""
    rows, columns = np.mgrid[:40, :60]
    image = np.stack([columns * 4, rows * 6, np.full_like(rows, 30)], axis=2).astype(np.uint8)
    image[:8, :8] = (255, 0, 0)
    return image


def encode(image: Image.Image, format_name: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


def test_lossless_round_trip(picture):
    assert np.array_equal(images.decode_image(images.encode_image(picture, suffix=".png")), picture)


def test_orientation_of_exif_is_honoured(picture):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate 90 degrees clockwise to view
    content = encode(Image.fromarray(picture), "PNG", exif=exif)
    assert np.array_equal(images.decode_image(content), np.rot90(picture, -1))


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA", "CMYK", "YCbCr"])
def test_modes_become_rgb(picture, mode):
    format_name = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    decoded = images.decode_image(encode(Image.fromarray(picture).convert(mode), format_name))
    assert decoded.shape == picture.shape
    assert decoded.dtype == np.uint8
    if mode in ("RGBA", "CMYK", "YCbCr", "P"):
        assert np.abs(decoded.astype(int) - picture).mean() < 20  # the web palette of mode P has steps of 51


def test_transparent_pixels_lie_over_white(picture):
    rgba = np.dstack([picture, np.zeros(picture.shape[:2], np.uint8)])
    assert (images.decode_image(encode(Image.fromarray(rgba), "PNG")) == 255).all()
    assert (images.from_array(rgba) == 255).all()


def test_sixteen_bit_gray_is_scaled_not_clipped():
    deep = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    decoded = images.decode_image(encode(Image.fromarray(deep), "PNG"))
    assert decoded[..., 0].reshape(-1).tolist() == list(range(256))


@pytest.mark.parametrize("format_name", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(picture, format_name):
    frames = [Image.fromarray(picture), Image.fromarray(255 - picture), Image.fromarray(picture // 2)]
    lossless = {"lossless": True} if format_name == "WEBP" else {}
    animated = encode(frames[0], format_name, save_all=True, append_images=frames[1:], **lossless)
    decoded = images.decode_image(animated)
    assert np.abs(decoded.astype(int) - picture).mean() < (12 if format_name == "GIF" else 1)  # GIF has 256 colours
    assert images.count_frames(animated) == 3
    assert images.count_frames(animated[:40]) == 1 or format_name == "WEBP"


def test_still_pictures_have_one_frame_and_those_of_phones_too(picture):
    frames = [Image.fromarray(picture), Image.fromarray(255 - picture)]
    phone = encode(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert images.decode_image(phone).shape == picture.shape
    stills = [encode(frames[0], name) for name in ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF")]
    assert [images.count_frames(content) for content in (phone, *stills, b"", b"GIF89a")] == [1] * 9


def test_a_photograph_of_a_phone(picture):
    """HEIC: pixels, orientation, damage, and the limit of pixels."""
    pillow_heif = pytest.importorskip("pillow_heif")
    wide = Image.fromarray(np.ascontiguousarray(np.tile(picture, (4, 8, 1))))
    stream = io.BytesIO()
    pillow_heif.from_pillow(wide).save(stream, quality=-1, chroma=444)
    content = stream.getvalue()
    assert image_headers.suffix_by_content(content) == ".heic" and images.missing_decoder(".heic") == ""
    decoded = images.decode_image(content)
    assert decoded.shape == np.asarray(wide).shape and np.abs(decoded.astype(int) - np.asarray(wide)).mean() < 3
    for kept in (30, 100, len(content) // 2):
        with pytest.raises(ImageError, match=r"a\.heic"):
            images.decode_image(content[:kept], name="a.heic")
    with pytest.raises(ImageError, match="more than 100 pixels"):
        images.decode_image(content, max_pixels=100)


def test_a_photograph_of_a_phone_without_its_decoder(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    content = (24).to_bytes(4, "big") + b"ftypheic\0\0\0\0mif1heic" + bytes(40)
    with pytest.raises(ImageError, match=r"me\.jpg: a picture of the kind \.heic; install arcface-paddle\[heif\]"):
        images.decode_image(content, name="me.jpg")


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif(picture):
    content = encode(Image.fromarray(np.ascontiguousarray(np.tile(picture, (4, 4, 1)))), "AVIF", quality=100)
    assert image_headers.suffix_by_content(content) == ".avif"
    assert np.abs(images.decode_image(content).astype(int) - np.tile(picture, (4, 4, 1))).mean() < 5
    opened = Image.open(io.BytesIO(content))
    np.testing.assert_array_equal(images.from_pillow(opened), images.decode_image(content))
    for place in range(len(content) - 200, len(content), 20):  # its decoder has an error class of its own
        with contextlib.suppress(ImageError):
            images.decode_image(content[:place] + bytes(20) + content[place + 20 :])


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_truncated_pictures_are_refused(picture, format_name, kept):
    content = encode(Image.fromarray(np.tile(picture, (8, 8, 1))), format_name)
    with pytest.raises(ImageError, match=r"some\.jpg"):
        images.decode_image(content[: int(len(content) * kept)], name="some.jpg")


def test_decompression_bomb_is_refused_from_its_header(monkeypatch, picture):
    monkeypatch.setattr(images, "MAX_PIXELS", picture.shape[0] * picture.shape[1] - 1)
    with pytest.raises(ImageError, match="60x40 is more than"):
        images.decode_image(images.encode_image(picture))


def test_a_real_bomb_is_refused_quickly():
    with pytest.raises(ImageError, match="pixels"):
        images.decode_image(encode(Image.new("1", (40000, 40000)), "PNG"))


@pytest.mark.parametrize("content", [b"hello, I am a text file", b"\xff\xd8\xff", b"", b"BM" + b"\0" * 60])
def test_what_is_not_a_picture(tmp_path, content):
    path = tmp_path / "text.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"text\.jpg"):
        images.read_image(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        images.read_image(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match="folder"):
        images.read_image(tmp_path)


def test_names_outside_of_ascii(tmp_path, picture):
    path = tmp_path / "照片 é.png"
    images.write_image(path, picture)
    assert np.array_equal(images.load_image(path), picture)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_arrays(picture):
    assert np.array_equal(images.from_array(picture[:, :, ::-1], color_order="BGR"), picture)
    own = images.load_image(picture)
    own[:] = 0
    assert picture.any(), "the caller's array must not be shared"
    assert images.from_array(picture[:, :, 0]).shape == picture.shape
    deep = picture.astype(np.uint16) * 257
    assert np.array_equal(images.from_array(deep), picture)


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros(4, np.uint8)]
)
def test_unsuitable_arrays(array):
    with pytest.raises(ImageError, match="allowed"):
        images.from_array(array)


def test_fast_decoder_agrees_with_the_careful_one(picture):
    jpeg = images.encode_image(picture, suffix=".jpg")
    difference = images.decode_crop(jpeg).astype(int) - images.decode_image(jpeg)
    assert np.abs(difference).max() <= 3  # two JPEG libraries may round differently
    assert np.array_equal(images.decode_crop(images.encode_image(picture)), picture)


def test_fast_decoder_refuses_a_truncated_jpeg(picture):
    jpeg = images.encode_image(picture, suffix=".jpg")
    with pytest.raises(ImageError, match="truncated JPEG"):
        images.decode_crop(jpeg[: len(jpeg) // 2])
    with pytest.raises(ImageError, match="not a picture"):
        images.decode_crop(b"")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif"])
def test_size_of_an_encoded_picture(picture, suffix):
    assert images.encoded_size(images.encode_image(picture, suffix=suffix)) == (60, 40)
    for damaged in (b"", b"hello", b"\xff\xd8\xff\xe0"):
        with pytest.raises(ImageError, match="here"):
            images.encoded_size(damaged, name="here")


def test_recompressed_is_the_same_picture_with_its_colours(picture):
    fine, coarse = (images.recompress(picture, quality=quality).astype(int) for quality in (98, 10))
    assert np.abs(fine - picture).mean() < 2 < np.abs(coarse - picture).mean()


def test_suffix_by_content(picture):
    for suffix in (".png", ".jpg", ".bmp", ".webp", ".tif"):
        assert image_headers.suffix_by_content(images.encode_image(picture, suffix=suffix)) == suffix
    assert image_headers.suffix_by_content(b"hello") is None


@pytest.mark.parametrize("suffix", sorted(images.WRITABLE_SUFFIXES))
def test_every_writable_suffix(tmp_path, picture, suffix):
    images.write_image(tmp_path / f"a{suffix}", picture)
    images.write_image(tmp_path / f"A{suffix.upper()}", picture)
    assert images.read_image(tmp_path / f"a{suffix}").shape == picture.shape


def test_a_picture_too_large_for_its_format(tmp_path):
    with pytest.raises(ImageError, match=r"a\.webp: 20000x2 pixels cannot be written as WEBP"):
        images.write_image(tmp_path / "a.webp", np.zeros((2, 20000, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_writing_an_unknown_suffix(tmp_path, picture):
    with pytest.raises(ImageError, match="allowed"):
        images.write_image(tmp_path / "a.xyz", picture)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "I;16"])
def test_pillow_pictures_are_taken_as_from_a_file(picture, mode):
    made = Image.fromarray(picture).convert("L").convert("I;16") if mode == "I;16" else Image.fromarray(picture)
    made = made if made.mode == mode else made.convert(mode)
    from_file = images.decode_image(encode(made, "TIFF" if mode == "CMYK" else "PNG"))
    assert np.array_equal(images.load_image(made), from_file)
    assert made.mode == mode, "the caller's picture is left as it is"


def test_a_pillow_picture_is_turned_upright_and_its_frame_kept(picture, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as opened:
        assert np.array_equal(images.load_image(opened), np.rot90(picture, -1))
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "two.tif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "two.tif") as opened:
        opened.seek(1)
        assert images.load_image(opened)[0, 0].tolist() == [0, 0, 255]


def test_unsuitable_pillow_pictures(picture, tmp_path):
    Image.fromarray(picture).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as closed:
        pass
    with pytest.raises(ImageError, match=r"a\.png: the PIL image was closed"):
        images.load_image(closed)
    with pytest.raises(ImageError, match="60x40 is more than 2,000 pixels"):
        images.load_image(Image.fromarray(picture), max_pixels=2000)
    with pytest.raises(ImageError, match="0x4 pixels"):
        images.load_image(Image.new("RGB", (0, 4)))


def test_a_postscript_file_opened_by_pillow_is_not_run(tmp_path):
    path = tmp_path / "a.eps"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n")
    with Image.open(path) as opened, pytest.raises(ImageError, match="EPS is not decoded"):
        images.load_image(opened)


@pytest.mark.parametrize("source", [None, 3, ["a.jpg"], object()])
def test_other_objects_are_said_by_their_type(source):
    with pytest.raises(ImageError, match=f"type {type(source).__name__}; allowed: path, encoded bytes"):
        images.load_image(source)


class Lying(np.ndarray):
    """An array that tells another shape than it has."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (10**9, 10**9, 3)


def test_a_subclass_of_arrays_is_taken_for_what_lies_in_memory(picture):
    for given in (picture.view(Lying), np.ma.masked_array(picture, picture > 9)):
        taken = images.load_image(given)
        assert type(taken) is np.ndarray and taken.shape == (*np.asarray(given).shape[:2], 3)


@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_an_array_that_repeats_a_value_without_end_is_not_copied(channels, kind):
    with pytest.raises(ImageError, match="that repeats a few values; allowed: 178,956,970 pixels"):
        images.from_array(np.broadcast_to(kind(7), (20_000, 20_000, *channels)))
    assert images.from_array(np.broadcast_to(kind(7), (20, 20, *channels))).shape == (20, 20, 3)


@pytest.mark.parametrize("given", [None, 3, "a.jpg", b"", [[1]], object()])
def test_what_is_no_array_and_no_pillow_picture_is_said(given):
    for take, kind in ((images.from_array, "no array"), (images.from_pillow, "no PIL image")):
        with pytest.raises(ImageError, match=f"{type(given).__name__} is {kind}; load_image takes other kinds"):
            take(given)


@pytest.mark.parametrize(
    "name, shown", [(5, ""), (None, ""), (["a"], ""), ("a\udcff.jpg", r"a\xff.jpg"), (b"a.jpg", "a.jpg")]
)
def test_a_pillow_picture_may_be_called_anything(picture, name, shown):
    made = Image.fromarray(picture)
    made.filename = name
    assert np.array_equal(images.load_image(made), picture)
    assert images.file_name_of(made) == shown


def test_bytes_of_any_kind_and_names_that_are_none(picture):
    content = images.encode_image(picture)
    assert np.array_equal(images.load_image(bytearray(content)), picture)
    assert np.array_equal(images.load_image(memoryview(content)), picture)
    with pytest.raises(ImageError, match="not the name of a file"):
        images.read_image("a\0b.jpg")
    with pytest.raises(ImageError, match="not the name of a file"):
        images.read_image("\ud800.jpg")


def test_large_pictures_are_shrunk_and_small_ones_are_left():
    assert images.shrink(np.zeros((600, 300, 3), np.uint8), longest_side=112).shape == (112, 56, 3)
    assert images.shrink(np.zeros((2, 4000, 3), np.uint8), longest_side=112).shape == (1, 112, 3)
    small = np.zeros((40, 30, 3), np.uint8)
    assert images.shrink(small, longest_side=112) is small
