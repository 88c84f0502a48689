"""Small sound inputs of every format, made by the package itself: where mutation begins."""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import tarfile
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any, Iterator

import numpy as np
from PIL import Image

from arcface_paddle import images, safe_pickle, weight_files
from arcface_paddle.data import bin_record, recordio, tfrecord, verification_set

FIXTURES = Path(__file__).parents[1] / "fixtures"


def array(*shape: int, seed: int = 0) -> np.ndarray:
    return _normal(shape, seed).copy()


@cache
def _normal(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def unit(count: int, size: int) -> np.ndarray:
    rows = array(count, size)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def picture(width: int = 12, height: int = 9) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@cache
def pictures() -> tuple[bytes, ...]:
    """One picture in every format that Pillow writes, in several modes, with EXIF, of several frames."""
    plain = Image.fromarray(picture())
    found = [images.encode_image(picture(), suffix=suffix) for suffix in (".png", ".jpg")]
    for name in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "TGA", "ICO", "DDS", "AVIF", "SGI", "JPEG2000",
                 "PCX", "SPIDER", "IM", "MPO", "QOI"):  # fmt: skip
        for mode in ("RGB", "RGBA", "L", "P", "I;16", "F", "CMYK", "1"):
            stream = io.BytesIO()
            try:
                plain.convert(mode).save(stream, name)
            except (OSError, ValueError, KeyError):  # not every format has every mode
                continue
            found.append(stream.getvalue())
    turned = Image.Exif()
    turned[0x0112] = 6
    for name, more in (("JPEG", {"exif": turned, "progressive": True}), ("TIFF", {"compression": "tiff_lzw"}),
                       ("TIFF", {"compression": "jpeg"}), ("TIFF", {"compression": "tiff_deflate"}),
                       ("GIF", {"save_all": True, "append_images": [plain]}),
                       ("WEBP", {"lossless": True})):  # fmt: skip
        stream = io.BytesIO()
        plain.save(stream, name, **more)  # type: ignore[arg-type]
        found.append(stream.getvalue())
    found.append(b"PF\n4 3\n-1.0\n" + array(4, 3, 3).tobytes())
    found.append(b"Pf\n4 3\n-1.0\n" + array(4, 3).tobytes())
    found.append(b"BLP2" + struct.pack("<IBBBBII", 1, 1, 0, 0, 0, 4, 4) + bytes(2000))
    return tuple(found)


def bin_records() -> list[bytes]:
    return [bin_record.encode_record("a/1.jpg", pictures()[1]), bin_record.encode_record("", b"x") * 2]


def records() -> list[bytes]:
    found = []
    for labels in ((3.0,), (1.0, 2.0)):
        stream = io.BytesIO()
        head = recordio.encode_image_record(recordio.ImageRecord((4.0, 7.0), 0, b""))
        for payload in (head, *(recordio.encode_image_record(recordio.ImageRecord(labels, key, b"jpeg" * key))
                                for key in (1, 2))):  # fmt: skip
            recordio.write_record(stream, payload)
        found.append(stream.getvalue())
    return found


def record_indexes() -> list[bytes]:
    """The index of the first of ``records``."""
    content, offsets = records()[0], []
    magic = struct.pack("<I", recordio.MAGIC)
    while (position := content.find(magic, offsets[-1] + 4 if offsets else 0)) >= 0:
        offsets.append(position)
    return ["".join(f"{key}\t{offset}\n" for key, offset in enumerate(offsets)).encode()]


def parameters() -> list[bytes]:
    """A parameter as Paddle's dynamic graph saves it: ``tuple((name, array))``."""
    import pickle

    class AsPaddle:
        def __reduce__(self) -> Any:
            return tuple, (("linear_0.w_0", array(2, 3)),)

    return [pickle.dumps(AsPaddle(), protocol=protocol) for protocol in (2, 4)]


def tfrecords() -> list[bytes]:
    stream = io.BytesIO()
    for label in (0, 1):
        example: dict[str, Any] = {"image/source_id": label, "image/encoded": pictures()[1], "image/filename": b"a.jpg"}
        tfrecord.write_record(stream, tfrecord.encode_example(example))
    return [stream.getvalue()]


def verification_sets() -> list[bytes]:
    return [verification_set.verification_bytes([pictures()[1], pictures()[0]] * 2, [True, False])]


def state_dicts() -> list[bytes]:
    return [weight_files.dump_state_dict({"conv.weight": array(2, 3), "bn._mean": array(3)})]


def pickled_arrays() -> list[bytes]:
    return [safe_pickle.dump_array(array(4, 3)), safe_pickle.dump_array(np.arange(6).reshape(2, 3))]


def published_index() -> list[bytes]:
    import pickle

    rows = {"label": ["甲 a.jpg", "b b.jpg"], "feature": [row.reshape(1, 8) for row in unit(2, 8)]}
    return [pickle.dumps(rows, protocol=2), pickle.dumps(rows, protocol=4), safe_pickle.dump_array(unit(2, 8))]


@cache
def gallery() -> bytes:
    """A gallery file of two people."""
    from arcface_paddle.pipeline.gallery import Gallery
    from arcface_paddle.pipeline.gallery.entries import GalleryEntry

    entries = [GalleryEntry(name="甲", path="a.jpg"), GalleryEntry(name="b", path="b.jpg")]
    with tempfile.TemporaryDirectory() as folder:
        Gallery(entries, unit(2, 8)).save(Path(folder) / "g.index")
        return (Path(folder) / "g.index").read_bytes()


def gallery_members() -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(gallery())) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@cache
def large_gallery_members() -> dict[str, bytes]:
    """The parts of a gallery whose entries are in columns."""
    from arcface_paddle.pipeline.gallery import collection, storage
    from arcface_paddle.pipeline.gallery.columns import EntryColumns
    from arcface_paddle.pipeline.gallery.entries import GalleryEntry

    entries = [GalleryEntry("b", "b.jpg"), GalleryEntry("甲", "a.jpg", "f" * 64, (0.0, 1.0, 2.0, 3.0), 0.5, "now")]
    header = {**collection.FileHeader(None, "best", {}, ()).to_json(), "version": collection.COLUMNS_VERSION}
    stream = io.BytesIO()
    arrays = EntryColumns.of(entries).arrays()
    storage.write(stream, header, [unit(2, 8)], shape=(2, 8), arrays=arrays)
    with zipfile.ZipFile(stream) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@contextlib.contextmanager
def gallery_key() -> Iterator[None]:
    """Have a key for galleries in the environment."""
    from arcface_paddle.pipeline.gallery import keys

    before = os.environ.get(keys.VARIABLE)
    os.environ[keys.VARIABLE] = "ab" * 32
    try:
        yield
    finally:
        del os.environ[keys.VARIABLE]
        if before is not None:
            os.environ[keys.VARIABLE] = before


@cache
def sealed_gallery() -> bytes:
    """An encrypted gallery file of two people."""
    from arcface_paddle.pipeline.gallery import Gallery
    from arcface_paddle.pipeline.gallery.entries import GalleryEntry

    with tempfile.TemporaryDirectory() as folder, gallery_key():
        Gallery([GalleryEntry("甲", "a.jpg"), GalleryEntry("b", "b.jpg")], unit(2, 8)).save(Path(folder) / "g.index")
        return (Path(folder) / "g.index").read_bytes()


def zipped(members: dict[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return stream.getvalue()


def tar(members: dict[str, bytes], *, mode: str = "w") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def json_bytes(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
