"""Targets of photograph libraries: people files, corrections, the store of faces, XMP, what cameras write."""

from __future__ import annotations

import io
import json
import struct
import tempfile
import zlib
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import fuzz_seeds as seeds
import numpy as np
from fuzz_target import Parse, Target, of_content, of_file
from PIL import Image

_PICTURE, _OTHER = "a1" * 32, "b2" * 32


@cache
def _people() -> Any:
    from arcface_paddle.library import documents, records

    faces = tuple(
        records.LibraryFace(records.face_id_of(_PICTURE, n), _PICTURE, seeds.array(4), None, 0.9, 0.8, 9.0, n)
        for n in range(4)
    )
    ids = [face.face_id for face in faces]
    pictures = (
        records.LibraryPicture(_PICTURE, "a.jpg", (12, 9)),
        records.LibraryPicture(_OTHER, "甲/b.jpg", (9, 12), duplicate_of=_PICTURE, copies=("c.jpg",)),
    )
    grouping = records.Grouping(
        (records.Group("g1", (ids[0], ids[1]), "Ada", 0.7),),
        (records.UncertainFace(ids[2], (records.GroupCandidate("g1", 0.4),)),),
        (ids[3],),
        records.GroupingFacts("M sha256:0", "linkage", 0.5, "of tests", {"faces": 4}, "f"),
    )
    return documents.PeopleDocument("root", "store", pictures, faces, grouping)


@cache
def _people_file() -> bytes:
    from arcface_paddle.library import documents, records

    made = _people()
    library = records.Library(made.root, made.pictures, made.faces, seeds.unit(4, 8))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "people.json"
        documents.write_people(path, library, grouping=made.grouping, store="store")
        return path.read_bytes()


def _read_people(path: Path) -> None:
    """Read a people file, and ask of it what the page and the sidecars ask: what loads must be usable."""
    from arcface_paddle.library.documents import read_people, write_people
    from arcface_paddle.library.records import Library
    from arcface_paddle.library.sidecars import SidecarPlace, names_in_xmp

    people = read_people(path)
    people.grouping.group_of()
    library = Library(people.root, people.pictures, people.faces, seeds.unit(4, 8))
    write_people(path.with_name("again.json"), library, grouping=people.grouping, store=people.store)
    names_in_xmp(people, SidecarPlace())
    json.dumps([face.box_xyxy.tolist() for face in people.faces])


def _corrections(path: Path) -> None:
    from arcface_paddle.library.correction_files import read_corrections

    for action in read_corrections(path, _people().grouping).actions:
        action.to_json()


def _correction_seeds() -> list[bytes]:
    ids = [face.face_id for face in _people().faces]
    actions: list[dict[str, Any]] = [
        {"do": "name", "group": "g1", "name": "Ada"},
        {"do": "merge", "groups": ["g1", ids[2:]]},
        {"do": "split", "faces": ids[:1], "from": "g1"},
        {"do": "move", "faces": ids[2:3], "to": "g1"},
        {"do": "not_person", "faces": ids[:1], "name": "Ada"},
        {"do": "unknown", "faces": ids[3:]},
        {"do": "birth", "name": "Ada", "date": "2010-05-01"},
    ]
    return [seeds.json_bytes({"format": "arcface-paddle-corrections", "version": 1, "actions": actions})]


def _memory(path: Path) -> None:
    from arcface_paddle.library.correction_files import CorrectionMemory
    from arcface_paddle.library.correction_rules import corrections_of

    memory = CorrectionMemory.load(path.parent)
    json.dumps([action.to_json() for action in memory.actions])
    corrections_of(memory.actions)


def _memory_seeds() -> list[bytes]:
    ids = [face.face_id for face in _people().faces]
    actions = [{"do": "name", "faces": ids[:2], "name": "Ada"}, {"do": "birth", "name": "Ada", "born": "2010-05-01"}]
    actions += [{"do": "not_person", "faces": ids[:1], "others": ids[2:]}]
    sets = [{"sha256": "0" * 64, "taken": "2026-01-31T12:00:00Z", "actions": actions}]
    return [seeds.json_bytes({"format": "arcface-paddle-corrections-memory", "version": 1, "sets": sets})]


def _sheets(path: Path) -> None:
    from arcface_paddle.library.face_sheets import FaceSheets

    FaceSheets(path.parent)


def _sheet_seeds() -> list[bytes]:
    places = {"a-0": [0, 3, [0, 1, 20, 30]], "a-1": [1, 0, [5, -5, 9, 9]]}
    return [seeds.json_bytes({"format": "arcface-paddle-face-sheets", "version": 1, "places": places})]


# the store of faces


@cache
def _identity() -> Any:
    from arcface_paddle.library.store import ScanIdentity

    return ScanIdentity("M", "0" * 64, "1" * 64, True, 8, "D 2", "0.5 20 none")


@cache
def _payloads() -> tuple[bytes, ...]:
    from arcface_paddle.library import store

    picture = store.StoredPicture(
        _PICTURE, (12, 9), None, 5, np.zeros((48, 48), np.uint8), seeds.array(2, 4), seeds.array(2, 5, 2),
        seeds.array(2), seeds.array(2), seeds.unit(2, 8),
    )  # fmt: skip
    return (
        store.encode_picture(picture),
        store.encode_picture(store.unreadable(_OTHER, "damaged", max_pixels=9)),
        store._encode_path("a.jpg", store.FileState(7, 8), _PICTURE),
        store._encode({"kind": "gone", "path": "a.jpg"}),
        store._encode({"kind": "dropped", "sha256": _PICTURE}),
    )


def _log_of(payloads: Any) -> bytes:
    from arcface_paddle.library.record_log import MAGIC

    return MAGIC + b"".join(struct.pack("<II", len(one), zlib.crc32(one)) + one for one in payloads)


def _store_with(folder: Path, *, log: bytes, identity: bytes) -> Parse:
    from arcface_paddle.library.store import read_embeddings

    inner = folder / _identity().key
    inner.mkdir()
    (inner / "faces.log").write_bytes(log)
    (inner / "identity.json").write_bytes(identity)
    return lambda: [picture.face_count for picture in read_embeddings(folder, model=_identity().model).values()]


def _identity_bytes() -> bytes:
    return seeds.json_bytes(asdict(_identity()))


def _store_log(content: bytes, folder: Path) -> Parse:
    return _store_with(folder, log=content, identity=_identity_bytes())


def _store_record(content: bytes, folder: Path) -> Parse:
    """Parse one record, behind a right checksum, both ways in which a store is read."""
    from arcface_paddle.library.store import FaceStore

    read = _store_with(folder, log=_log_of([_payloads()[0], content]), identity=_identity_bytes())

    def parse() -> None:
        read()
        with FaceStore(folder, _identity()) as opened:
            opened.paths()

    return parse


def _store_identity(content: bytes, folder: Path) -> Parse:
    return _store_with(folder, log=_log_of(_payloads()), identity=content)


# XMP and EXIF


def _xmp(content: bytes) -> None:
    """Read the regions of a packet, and put a name into it; what was written must be read again."""
    from arcface_paddle.library import xmp

    xmp.read_regions(content, name="a.xmp")
    face = xmp.NamedFace("a1-0", "Ada \x1b 甲", [1.0, 2.0, 5.0, 7.0])
    merged = xmp.merge_regions(content, [face], stored_size_wh=(12, 9), orientation=6, name="a.xmp")
    if merged.content is not None:
        xmp.read_regions(merged.content, name="what was written")


def _xmp_seeds() -> list[bytes]:
    from arcface_paddle.library import xmp

    face = xmp.NamedFace("a1-0", "Ada", [1.0, 2.0, 5.0, 7.0])
    merged = xmp.merge_regions(None, [face], stored_size_wh=(12, 9), orientation=1, name="x")
    assert merged.content is not None
    folder = seeds.FIXTURES / "xmp"
    return [merged.content, *(path.read_bytes() for path in sorted(folder.glob("*.xmp")))]


def _header(path: Path) -> None:
    """Read what a picture says of itself: size, turn, time, XMP."""
    from arcface_paddle import images
    from arcface_paddle.library.capture_time import capture_time, sort_key, to_text

    header = images.read_header(path)
    taken = capture_time(header.exif)
    to_text(taken)
    sort_key(taken)
    if header.xmp:
        _xmp(header.xmp)


def _header_seeds() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x0132] = "2024:05:01 12:00:00"
    inner = exif.get_ifd(0x8769)
    inner.update({0x9003: "2024:05:01 12:00:00", 0x9291: "25", 0x9011: "+02:00"})
    found = []
    for name in ("JPEG", "PNG", "WEBP", "TIFF"):
        stream = io.BytesIO()
        more = {"xmp": _xmp_seeds()[0]} if name in ("JPEG", "WEBP") else {}
        Image.fromarray(seeds.picture()).save(stream, name, exif=exif, **more)  # type: ignore[arg-type]
        found.append(stream.getvalue())
    return found


def _capture_time(content: bytes) -> None:
    from arcface_paddle.library.capture_time import capture_time, from_text, sort_key, to_text

    parts = [*content.split(b"\n"), b"", b"", b""]
    for values in (parts, [part.decode("latin-1") for part in parts]):
        taken = capture_time({0x9003: values[0], 0x9291: values[1], 0x9011: values[2]})  # type: ignore[index]
        sort_key(taken)
        assert from_text(to_text(taken)) == taken


def _times() -> list[bytes]:
    return [b"2024:05:01 12:00:00\n25\n+02:00", b"2024-05-01T12:00:00\n123456789\nZ", b"0000:00:00 00:00:00\n\n-14:00"]


TARGETS = (
    Target("people_json", lambda: [_people_file()], of_file("people.json", _read_people), may_write="again.json"),
    Target("corrections", _correction_seeds, of_file("c.json", _corrections)),
    Target("corrections_memory", _memory_seeds, of_file("corrections.json", _memory)),
    Target("face_sheets", _sheet_seeds, of_file("index.json", _sheets)),
    Target("store_log", lambda: [_log_of(_payloads())], _store_log),
    Target("store_record", lambda: list(_payloads()), _store_record, may_write="faces.log"),
    Target("store_identity", lambda: [_identity_bytes()], _store_identity),
    Target("xmp", _xmp_seeds, of_content(_xmp)),
    Target("picture_header", _header_seeds, of_file("a.jpg", _header)),
    Target("capture_time", _times, of_content(_capture_time)),
)
