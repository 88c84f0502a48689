"""What strangers and mishaps send: the right status, nobody in, nothing lost, nothing executed."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import struct
import threading
import time
import zipfile
import zlib
from pathlib import Path

import pytest

from arcface_paddle.pipeline.gallery import Gallery
from arcface_paddle.service import uploads
from arcface_paddle.service.client import ServiceCallError
from arcface_paddle.service.enrolling import source_of
from arcface_paddle.service.envelope import BodyLimit
from arcface_paddle.service.errors import BadRequestError
from arcface_paddle.service.request_log import LOGGER, JsonFormatter
from arcface_paddle.service.service_settings import Limits

MARKUP = '<img src=x onerror="alert(1)">'


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that claims to be huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 999)) + chunk(b"IEND", b"")
    )


def status_and_code(answer) -> tuple[int, str]:
    document = answer.json()
    assert set(document) == {"code", "message"} and "\n" not in document["message"]
    assert "Traceback" not in answer.text and "site-packages" not in answer.text
    return answer.status_code, document["code"]


RAW = {"content-type": "application/octet-stream"}
FORM = {"content-type": "multipart/form-data; boundary=x"}
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "headers, body, expected",
    [
        (RAW, png_bomb(60_000, 60_000), (413, "too_large")),
        (RAW, b"no picture at all", (422, "bad_image")),
        (RAW, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", (422, "bad_image")),
        (RAW, b"", (400, "bad_request")),
        (RAW, b"x" * 300_000, (413, "too_large")),
        ({}, b"x", (415, "unsupported_media")),
        ({"content-type": "text/html"}, b"<html>", (415, "unsupported_media")),
        ({"content-type": "application/x-www-form-urlencoded"}, b"image=a", (415, "unsupported_media")),
        (JSON, b"{", (400, "bad_request")),
        (JSON, b"[" * 100_000, (400, "bad_request")),
        (JSON, b"[]", (400, "bad_request")),
        (JSON, b'{"a": [' + b"[]," * 50_000 + b"[]]}", (400, "bad_request")),
        (JSON, b"\xff\xfe", (400, "bad_request")),
        (JSON, b'{"image_base64": 7}', (400, "bad_request")),
        (JSON, b'{"image_base64": "*"}', (400, "bad_request")),
        (JSON, b'{"image_base64": "\\ud800"}', (400, "bad_request")),
        (JSON, b'{"image_base64": ""}', (400, "bad_request")),
        ({"content-type": "multipart/form-data"}, b"", (400, "bad_request")),
        (FORM, b"--y\r\n", (400, "bad_request")),
        (FORM, b"", (400, "bad_request")),
        (FORM, b"--x--\r\n", (400, "bad_request")),
        (FORM, b"--x\r\n\r\nabc\r\n--x--\r\n", (400, "bad_request")),
        (FORM, b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\nabc', (400, "bad_request")),
        (FORM, b"--x\r\n" + b"A: b\r\n" * 5000, (400, "bad_request")),
        ({"content-type": "multipart/form-data; boundary=" + "y" * 5000}, b"--", (400, "bad_request")),
    ],
)  # fmt: skip
def test_bodies_that_cannot_be_get_their_status(open_service, headers, body, expected):
    service = open_service(limits=Limits(picture_bytes=200_000, json_bytes=20_000))
    assert status_and_code(service.http.post("/v1/detect", headers=headers, content=body)) == expected
    assert service.client.gallery()["faces"] == 3


@pytest.mark.parametrize("value", [b"[],", b"{},", b"1,", b'"":[],'])
def test_a_body_of_countless_values_is_refused_before_it_is_read(value, monkeypatch):
    body = b'{"a": [' + value * 20_000 + b"[]]}"
    monkeypatch.setattr(json, "loads", lambda _: pytest.fail("millions of objects are made while everybody waits"))
    with pytest.raises(BadRequestError, match="more than 10,000 values"):
        uploads._of_json(body, ("image",), Limits())


def test_a_picture_twice_in_a_form_is_not_guessed_at(service, pictures):
    files = [("image", ("a", pictures["hopper"])), ("image", ("b", pictures["biden"]))]
    assert status_and_code(service.http.post("/v1/detect", files=files)) == (400, "bad_request")


@pytest.mark.parametrize(
    "path, body, expected",
    [
        ("/v1/people", b'{"name": ""}', (422, "bad_value")),
        ("/v1/people", b'{"name": 7}', (422, "bad_value")),
        ("/v1/people", b'{"name": "a", "role": "admin"}', (422, "bad_value")),
        ("/v1/people", b'{"name": "a\\u001b[2Jb"}', (409, "gallery")),
        ("/v1/people", b'{"name": "\\ud800"}', (422, "bad_value")),
        ("/v1/people", b'{"name": "unknown"}', (409, "gallery")),
        ("/v1/people", b'{"name": "' + b"a" * 201 + b'"}', (422, "bad_value")),
        ("/v1/people", b'{"name": "a", "expires": "tomorrow"}', (422, "bad_value")),
        ("/v1/people", b'{"name": "a", "expires": 1e300}', (422, "bad_value")),
        ("/v1/people", b'{"name": "a", "expires": "0001-01-01T00:00:00+14:00"}', (422, "bad_value")),
        ("/v1/people", b'{"name": "a", "expires": "9999-12-31T23:59:00-14:00"}', (422, "bad_value")),
        ("/v1/people", b"{", (422, "bad_value")),
        ("/v1/people", b"[" * 30_000, (400, "bad_request")),
        ("/v1/people", b'{"name": "' + b"a" * 100_000 + b'"}', (413, "too_large")),
        ("/v1/people/..%2f..%2fetc%2fpasswd/merge", b'{"into": "x"}', (404, "not_found")),
        ("/v1/identify?k=0", b"x", (422, "bad_value")),
        ("/v1/identify?k=1e9", b"x", (422, "bad_value")),
        ("/v1/identify?threshold=nan", b"x", (422, "bad_value")),
        ("/v1/identify?threshold=.5&fpir=.1", b"x", (400, "bad_value")),
        ("/v1/jobs/enrol", b"x", (415, "unsupported_media")),
    ],
)  # fmt: skip
def test_values_that_cannot_be_get_their_status(service, path, body, expected):
    assert status_and_code(service.http.post(path, headers=JSON, content=body)) == expected
    assert service.client.people()["total"] == 3


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "offset=-1", "offset=99999999999999999999", "limit=a"])
def test_pages_that_cannot_be_get_their_status(service, query):
    assert status_and_code(service.http.get(f"/v1/people?{query}")) == (422, "bad_value")


def test_ids_and_paths_of_no_avail(service, gallery):
    for path in (
        "/v1/people/a'; DROP TABLE people; --",
        "/v1/people/%00",
        "/v1/people/\U0001f600",
        "/v1/jobs/../keys",
    ):
        assert status_and_code(service.http.get(path))[0] == 404, path
    for path in ("/page/../app.py", "/page/%2e%2e/app.py", "/page/..%2fapp.py", "/page//etc/passwd", "/page/%00.js",
                 "/page/../../../setup.py", "/page/"):  # fmt: skip
        assert status_and_code(service.http.get(path)) == (404, "not_found"), path
    assert status_and_code(service.http.put("/v1/people")) == (405, "method_not_allowed")
    refused = service.http.request("BREW", "/v1/people")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, POST")
    assert service.http.put("/v1/people/x").headers["allow"] == "DELETE, GET, PATCH"
    assert service.client.people()["total"] == 3


def files_beside(gallery: Path) -> set[str]:
    """What lies around a gallery, without its own journal."""
    found = {str(path.relative_to(gallery.parent)) for path in gallery.parent.rglob("*")}
    return found - {f"{gallery.name}.journal"}


def test_names_are_kept_as_text_and_never_as_paths(service, pictures, gallery):
    names = [MARKUP, "../../etc/passwd", "a\\b", "'; DROP TABLE people; --", "%n%s", "\u202egnp.exe", "李小龙"]
    before = files_beside(gallery)
    for name in names:
        person = service.client.create_person(name)
        service.client.add_face(person["id"], pictures["hopper"])
        assert service.client.person(person["id"])["name"] == name
    answer = service.http.get("/v1/people")
    assert (
        answer.headers["content-type"] == "application/json" and answer.headers["x-content-type-options"] == "nosniff"
    )
    assert set(names) < set(Gallery.load(gallery).names)
    assert files_beside(gallery) == before


@pytest.mark.parametrize("name", ["../../x.jpg", "C:\\x.jpg", "\x1b[2J.jpg", "..", "", "a" * 5000, "\u202e"])
def test_what_a_picture_is_called_harms_nobody(name):
    source = source_of(name, token="1")
    assert source.startswith("upload-1") and len(source) < 100 and source.isprintable()
    assert ".." not in source.split("/") and source != source_of(name)


def test_the_page_of_the_interface_is_text(service):
    page = service.http.get("/docs").text
    assert "<script" not in page and "/v1/people/{person_id}/faces" in page and "/v1/identify" in page
    assert "http://" not in page and "https://" not in page  # nothing from elsewhere


def test_openapi_has_examples_and_the_answers_that_are_errors(service):
    schema = service.http.get("/openapi.json").json()
    for name, part in schema["components"]["schemas"].items():
        assert part.get("examples") or name in ("ModelsOut", "UnknownOut"), name
    body = schema["paths"]["/v1/identify"]["post"]["requestBody"]["content"]
    assert {"multipart/form-data", "application/json", "image/*"} <= set(body)
    answers = schema["paths"]["/v1/identify"]["post"]["responses"]
    assert {"200", "400", "401", "413", "422", "429", "503"} <= set(answers)


def test_what_nobody_foresaw_is_logged_and_says_nothing_of_itself(service, monkeypatch, caplog):
    def fail(**_: object) -> None:
        raise RuntimeError("with Secret Name in it")

    monkeypatch.setattr(service.service.people, "page", fail)
    with caplog.at_level(logging.INFO, logger=LOGGER.name):
        answer = service.http.get("/v1/people", headers={"X-Request-Id": "mine-7"})
    assert status_and_code(answer) == (500, "internal") and "Secret" not in answer.text
    assert answer.headers["x-request-id"] == "mine-7" and "default-src" in answer.headers["content-security-policy"]
    lines = [JsonFormatter().format(record) for record in caplog.records if record.name == LOGGER.name]
    failure = next(json.loads(line) for line in lines if "unforeseen" in line)
    assert failure["error"] == "RuntimeError" and failure["request"] == "mine-7"
    assert any("test_service_hostile.py" in place for place in failure["at"]) and "Secret" not in "".join(lines)


def test_too_many_faces_are_not_embedded(open_service, pictures):
    service = open_service(limits=Limits(faces=3))
    with pytest.raises(ServiceCallError) as caught:
        service.client.embed(pictures["group"])
    assert (caught.value.status, caught.value.code) == (422, "too_many_faces")
    assert service.client.embed(pictures["hopper"])["faces"]


def test_a_full_queue_says_when_to_come_back(open_service, pictures):
    service = open_service(limits=Limits(queue_length=1))
    release = threading.Event()
    held = [service.service.pool.submit(lambda worker: release.wait(20)) for _ in range(3)]  # two workers, one waits
    try:
        with pytest.raises(ServiceCallError) as caught:
            service.client.detect(pictures["hopper"])
        assert (caught.value.status, caught.value.code) == (503, "busy") and caught.value.retry_after_s >= 1
        assert not service.client.is_ready() and service.http.get("/v1/health/live").status_code == 200
    finally:
        release.set()
    assert [future.result(20) for future in held] == [True] * 3
    assert service.client.is_ready() and len(service.client.detect(pictures["hopper"])["faces"]) == 1


def test_work_that_takes_too_long_is_given_up(open_service, pictures):
    service = open_service(limits=Limits(work_s=0.2))
    release = threading.Event()
    held = [service.service.pool.submit(lambda worker: release.wait(20)) for _ in range(2)]
    try:
        with pytest.raises(ServiceCallError) as caught:
            service.client.detect(pictures["hopper"])
        assert (caught.value.status, caught.value.code) == (504, "timed_out")
    finally:
        release.set()
    assert all(future.result(20) for future in held)


def test_an_upload_that_trickles_is_ended():
    async def ask() -> list[dict]:
        sent: list[dict] = []

        async def never() -> dict:
            await asyncio.sleep(20)
            raise AssertionError("waited for the whole upload")

        async def send(message) -> None:
            sent.append(message)

        async def app(scope, receive, send) -> None:
            await receive()

        scope = {"type": "http", "path": "/v1/detect", "headers": []}
        await BodyLimit(app, limits=Limits(upload_s=0.05))(scope, never, send)
        return sent

    start = time.monotonic()
    head, body = asyncio.run(ask())
    assert head["status"] == 408 and json.loads(body["body"])["code"] == "slow_upload"
    assert time.monotonic() - start < 5


def test_a_body_that_says_nothing_of_its_length_is_cut_off(open_service):
    service = open_service(limits=Limits(picture_bytes=1000, json_bytes=1000))
    taken = []

    def endless():
        for number in range(10_000):
            taken.append(number)
            yield b"x" * 1000

    answer = service.http.post("/v1/detect", headers=RAW, content=endless())
    assert status_and_code(answer) == (413, "too_large")


def test_removing_people_while_they_are_searched(service, pictures):
    """Searches go on, and give each person with their id or not at all."""
    client = service.client
    ids = {person["name"]: person["id"] for person in client.people()["people"]}
    answers, errors = [], []

    def search() -> None:
        try:
            for _ in range(12):
                answers.extend(client.identify(pictures["hopper"])["faces"])
        except ServiceCallError as error:
            errors.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for round_number in range(5):
        client.remove_person(ids["Grace Hopper"])
        ids["Grace Hopper"] = client.create_person("Grace Hopper")["id"]
        client.add_face(ids["Grace Hopper"], pictures["hopper"])
        client.change_person(ids["Joe Biden"], name=f"Joe Biden {round_number}")
        client.change_person(ids["Joe Biden"], name="Joe Biden")
    for thread in threads:
        thread.join()
    assert errors == [] and len(answers) == 36
    assert {face["name"] for face in answers} <= {"Grace Hopper", None}
    assert all((face["name"] is None) == (face["person"] is None) for face in answers)
    assert client.people()["total"] == 3 and client.gallery()["faces"] == 3


def test_a_disk_that_is_gone_is_said_without_its_place(service, pictures, gallery):
    [hopper] = service.client.people(search="Grace")["people"]
    saved = gallery.read_bytes()
    gallery.unlink()
    with pytest.raises(ServiceCallError) as caught:
        service.client.remove_person(hopper["id"])
    assert (caught.value.status, caught.value.code) == (503, "gallery_unavailable")
    assert str(gallery) not in str(caught.value)
    gallery.write_bytes(saved)
    service.client.remove_person(hopper["id"])
    assert service.client.people()["total"] == 2


def zipped(members: dict[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def test_zips_that_cannot_be_get_their_status(open_service):
    service = open_service(limits=Limits(job_pictures=3))
    for body, expected in (
        (b"no zip", (400, "bad_request")),
        (b"PK\x05\x06" + b"\xff" * 18, (413, "too_large")),
        (zipped({"a/b.jpg": b"x"})[:-30], (400, "bad_request")),
        (zipped({}), (400, "bad_request")),
        (zipped({f"a/{number}.jpg": b"x" for number in range(4)}), (413, "too_large")),
    ):
        answer = service.http.post("/v1/jobs/enrol", headers={"content-type": "application/zip"}, content=body)
        assert status_and_code(answer) == expected, body[:30]


def test_members_of_a_zip_that_cannot_be_are_reported(open_service, pictures, tmp_path):
    service = open_service(limits=Limits(picture_bytes=100_000))
    members = {
        "people/Grace Hopper/1.jpg": pictures["hopper"],
        "Grace Hopper/zeros.jpg": b"\0" * 5_000_000,  # 5 KB in the zip
        "../../evil/../x.jpg": pictures["hopper"],
        "flat.jpg": pictures["hopper"],
        "unknown/1.jpg": pictures["hopper"],
        "__MACOSX/Grace/._1.jpg": b"x",
        "Ada/.hidden.jpg": b"x",
    }
    job = service.client.wait_for(service.client.enrol_zip(zipped(members))["id"], timeout_s=60)
    assert (job["state"], job["total"], job["done"], job["enrolled"]) == ("done", 5, 5, 1)
    codes = {problem["picture"]: problem["code"] for problem in job["problems"]}
    assert codes == {
        "Grace Hopper/zeros.jpg": "too_large",
        "../x.jpg": "bad_request",
        "flat.jpg": "bad_request",
        "unknown/1.jpg": "bad_request",
    }
    assert not (tmp_path.parent / "evil").exists() and service.client.people()["total"] == 3
