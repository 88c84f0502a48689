"""Targets of the service and of what it keeps: bodies, bulk enrolments, keys, records, galleries in a database."""

from __future__ import annotations

import io
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Callable

import fuzz_seeds as seeds
import numpy as np
from fuzz_target import Parse, Target, of_content, of_file

_MOST_PIXELS = 4_000_000


class _Request:
    """What the parsers of bodies use of a request; the body comes in pieces."""

    def __init__(self, body: bytes, content_type: str) -> None:
        self.headers = {"content-type": content_type}
        self._body = body

    async def body(self) -> bytes:
        return self._body

    async def stream(self) -> Any:
        for begin in range(0, len(self._body), 700):
            yield self._body[begin : begin + 700]


def _limits() -> Any:
    from arcface_paddle.service.service_settings import Limits

    return Limits(picture_pixels=_MOST_PIXELS)


def _run(steps: Any) -> Any:
    """Run a parser that waits for nothing but our own pieces without an event loop, which would open sockets."""
    try:
        steps.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits for something")


def _body(content_type: str) -> Callable[[bytes, Path], Parse]:
    def prepare(content: bytes, folder: Path) -> Parse:
        from arcface_paddle.service.uploads import decode, read_upload

        limits = _limits()
        request: Any = _Request(content, content_type)

        def parse() -> None:
            decode(_run(read_upload(request, limits=limits)), name="image", limits=limits)

        return parse

    return prepare


def _forms() -> list[bytes]:
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    return [head + seeds.pictures()[1] + b"\r\n--b--\r\n"]


def _json_bodies() -> list[bytes]:
    import base64

    return [seeds.json_bytes({"image_base64": base64.b64encode(seeds.pictures()[1]).decode()})]


def _spooled(fill: Callable[[Any, bytes], None]) -> Callable[[bytes, Path], Parse]:
    """Return a ``prepare`` for a bulk enrolment; the nameless file in which pictures wait is made before the watch."""

    def prepare(content: bytes, folder: Path) -> Parse:
        from arcface_paddle.service.picture_spool import PictureSpool
        from arcface_paddle.service.uploads import decode

        limits = _limits()
        spool = PictureSpool(limits)

        def parse() -> None:
            try:
                fill(spool, content)
                for picture in spool.pictures[:4]:
                    decode(spool.read(picture), name=picture.shown, limits=limits)
            finally:
                spool.close()

        return parse

    return prepare


def _fill_zip(spool: Any, content: bytes) -> None:
    spool._file.write(content)
    spool.open_zip()


def _fill_form(spool: Any, content: bytes) -> None:
    from arcface_paddle.service.forms import receive_form

    request: Any = _Request(content, 'multipart/form-data; boundary="b"')
    _run(receive_form(request, spool))


def _zips() -> list[bytes]:
    import zipfile

    members = {"Ada/1.jpg": seeds.pictures()[1], "甲/2.png": seeds.pictures()[0], "x/": b""}
    return [seeds.zipped(members, compression=kind) for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]


def _many_forms() -> list[bytes]:
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="Ada/%d.jpg"\r\n\r\n'
    parts = [head % number + seeds.pictures()[number] + b"\r\n" for number in (0, 1)]
    return [b"".join(parts) + b"--b--\r\n"]


def _model_body(content: bytes) -> None:
    """Check a JSON body as FastAPI does, which answers 422 by itself where pydantic refuses."""
    from pydantic import BaseModel, ValidationError

    from arcface_paddle.errors import DataError
    from arcface_paddle.service import schemas
    from arcface_paddle.service.people_records import as_utc

    bodies: tuple[type[BaseModel], ...] = (schemas.PersonIn, schemas.PersonPatch, schemas.MergeIn, schemas.NameIn)
    refused = 0
    for body in bodies:
        try:
            read = body.model_validate_json(content)
        except ValidationError:
            refused += 1
            continue
        expires = getattr(read, "expires", None)
        if expires is not None:
            as_utc(expires)
    if refused == len(bodies):
        raise DataError("no body that any route takes")


def _model_bodies() -> list[bytes]:
    person = {"name": "Grace Hopper", "consent": "form 17", "expires": "2027-01-31T00:00:00Z"}
    return [seeds.json_bytes(person), b'{"into": "0f8fad5bd9cb469fa165708677289501"}', b'{"name": "\\u7532"}']


def _answer(content: bytes) -> None:
    """Let the client read an answer: sound, or an error; the first byte chooses the status."""
    from arcface_paddle.service.client import CallAnswer, ServiceClient

    status, body = (200, content[1:]) if content[:1] != b"E" else (503, content[1:])
    headers = {"retry-after": body[:4].decode("latin-1")}
    client = ServiceClient("http://127.0.0.1:1", transport=lambda *_: CallAnswer(status, headers, body))
    client.people()


def _answers() -> list[bytes]:
    return [b'O{"total": 0, "people": []}', b'E{"code": "busy", "message": "wait"}', b"E<html>", b"E12\n"]


# keys and records


def _api_keys(path: Path) -> None:
    from arcface_paddle.service.keys import KeyFile

    keys = KeyFile(path)
    keys.list()
    keys.check("afp_01234567_secret")


def _key_seeds() -> list[bytes]:
    key = {"id": "01234567", "label": "desk", "role": "read", "sha256": "0" * 64, "created": "2026-01-31T12:00:00Z"}
    return [seeds.json_bytes({"format": "arcface-paddle-keys", "version": 1, "keys": [key]})]


def _gallery_keys(path: Path) -> None:
    from arcface_paddle.pipeline.gallery.keys import read_keys

    read_keys(path)


def _records(path: Path) -> None:
    """Ask the records of people what the service asks."""
    from arcface_paddle.service.people_records import PeopleRecords

    records = PeopleRecords(path)
    try:
        _, people = records.page(search="a", offset=0, limit=10)
        records.unfinished_renamings()
        records.expired("2026-01-31T12:00:00Z")
        for person in people:
            records.qualities(person.id)
            records.crops(person.id)
    finally:
        records.close()


@cache
def _record_seeds() -> tuple[bytes, ...]:
    from arcface_paddle.service.people_records import PeopleRecords

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "people.sqlite"
        records = PeopleRecords(path)
        made = records.create("Ada", consent="form 17", expires="2027-01-31T00:00:00Z")
        records.note_qualities(made.id, [("f1", 0.5)])
        records.close()
        return (path.read_bytes(),)


# galleries in a folder that FAISS searches


@cache
def _database_files() -> dict[str, bytes]:
    """The files of a gallery of two people."""
    from arcface_paddle.pipeline.gallery.entries import GalleryEntry
    from arcface_paddle.pipeline.gallery.stores.faiss_store import FaissStore

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "g"
        store = FaissStore.create(f"faiss:{folder}", _contract())
        with store.transaction():
            store.add([GalleryEntry("甲", "a.jpg"), GalleryEntry("b", "b.jpg")], seeds.unit(2, 8))
        store.close()
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def _contract() -> Any:
    from arcface_paddle.pipeline.gallery.stores.base import GalleryContract

    return GalleryContract(None, 8, "best", {})


def _database(part: str) -> Target:
    def prepare(content: bytes, folder: Path) -> Parse:
        (folder / "g").mkdir()
        for name, text in {**_database_files(), part: content}.items():
            (folder / "g" / name).write_bytes(text)

        def parse() -> None:
            from arcface_paddle.pipeline.gallery.stores import open_gallery

            with open_gallery(f"faiss:{folder / 'g'}") as store:
                store.people()
                store.search(seeds.unit(1, 8), 1)
                [block.entries for block in store.blocks()]

        return parse

    return Target(f"database_{Path(part).stem}", lambda: [_database_files()[part]], prepare, may_write="fuzz")


@cache
def _code_indexes() -> tuple[bytes, ...]:
    """An index of each form: what the database keeps of it, the length of that, and what FAISS wrote."""
    import faiss

    from arcface_paddle.pipeline.gallery.stores import code_index

    found = []
    for form in code_index.FORMS:
        index = code_index.CodeIndex(8, form=form, limit=1.0)
        if form == code_index.HNSW:
            index._index, index.trained_with = code_index._Graph.of(8), 6
        elif form == code_index.IVF:
            kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
            flat = faiss.IndexFlatIP(8)
            flat.add(seeds.unit(2, 8) * 127)
            index._index = faiss.IndexIVFScalarQuantizer(flat, 8, 2, kind, faiss.METRIC_INNER_PRODUCT, False)
            index._index.is_trained, index._cells, index.trained_with = True, 2, 6
        index.add(np.arange(6), seeds.unit(6, 8))
        stream = io.BytesIO()
        about = index.write(stream).encode()
        found.append(b"\n".join((form.encode(), about, stream.getvalue())))
    return tuple(found)


def _code_index(content: bytes) -> None:
    from arcface_paddle.pipeline.gallery.stores.code_index import IVF, CodeIndex

    form, _, rest = content.partition(b"\n")
    about, _, stored = rest.partition(b"\n")
    text = about.decode("utf-8", "surrogateescape")
    index = CodeIndex.read(io.BytesIO(stored), text, size=8, form=form.decode("latin-1") or IVF)
    index.numbers()
    index.search(seeds.unit(1, 8), 2)


def _contract_text(content: bytes) -> None:
    from arcface_paddle.pipeline.gallery.stores.base import GalleryContract

    GalleryContract.from_text(content.decode("utf-8", "surrogateescape"), name="g").to_text()


def _contracts() -> list[bytes]:
    from arcface_paddle.pipeline.gallery import ModelIdentity
    from arcface_paddle.pipeline.gallery.stores.base import GalleryContract

    model = ModelIdentity("M", 8, "0" * 64, "1" * 64, True)
    return [_contract().to_text().encode(), GalleryContract(model, 8, "best", {"a": 1}).to_text().encode()]


def _entity(content: bytes) -> None:
    """Read what a server of galleries keeps of a face, and what a collection says of itself."""
    from arcface_paddle.pipeline.gallery.stores import milvus_store, postgres_store

    text = content.decode("utf-8", "surrogateescape")
    milvus_store._described(text)
    if text.startswith("{"):
        milvus_store._entry(text)
    else:
        postgres_store._entry(("a", "a.jpg", "", text, None, ""))


def _entities() -> list[bytes]:
    from arcface_paddle.pipeline.gallery import documents
    from arcface_paddle.pipeline.gallery.entries import GalleryEntry

    entry = GalleryEntry("b", "b.jpg", "f" * 64, (0.0, 1.0, 2.0, 3.0), 0.5, "now")
    return [seeds.json_bytes(documents.json_of_entry(entry)), b"[0.0, 1.0, 2.0, 3.5]", b"null"]


def _webhook(content: bytes) -> None:
    from arcface_paddle.video import webhook

    url = webhook.checked_url(content.decode("utf-8", "surrogateescape"))
    webhook._with_login_apart(url)
    webhook._without_password(url)


TARGETS = (
    Target("gallery_entity", _entities, of_content(_entity)),
    Target("webhook_url", lambda: [b"https://u:p%40@host:8443/x?y=1", b"http://[::1]:80/"], of_content(_webhook)),
    Target("http_form", _forms, _body("multipart/form-data; boundary=b")),
    Target("http_json", _json_bodies, _body("application/json")),
    Target("http_raw", lambda: [seeds.pictures()[1]], _body("image/jpeg")),
    Target("http_zip", _zips, _spooled(_fill_zip)),
    Target("http_many", _many_forms, _spooled(_fill_form)),
    Target("http_body", _model_bodies, of_content(_model_body)),
    Target("http_answer", _answers, of_content(_answer)),
    Target("api_keys", _key_seeds, of_file("keys.json", _api_keys)),
    Target(
        "gallery_keys", lambda: [b"ab" * 32 + b"\n# an older one\n" + b"A" * 43 + b"=\n"], of_file("k", _gallery_keys)
    ),
    Target("people_records", lambda: list(_record_seeds()), of_file("people.sqlite", _records)),
    Target("database_index", lambda: list(_code_indexes()), of_content(_code_index)),
    Target("gallery_contract", _contracts, of_content(_contract_text)),
    _database("gallery.sqlite"),
    _database("rows.f32"),
)
