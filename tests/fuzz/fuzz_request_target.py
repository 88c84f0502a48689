"""The service as a whole under attack: a request as it comes over the wire, through every layer, to an answer."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import fuzz_seeds as seeds
from fuzz_target import Parse, Target

from arcface_paddle.errors import DataError

_STATE = "fuzz_service"
"""Part of the name of what the service may write."""
_MOST_PEOPLE = 20


class _Service:
    """A service without keys, in this thread's own loop; it keeps what requests do to it."""

    def __init__(self, folder: Path) -> None:
        from arcface_paddle.service.app import create_app
        from arcface_paddle.service.service_settings import Limits, ServiceSettings

        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        limits = Limits(picture_pixels=1_000_000, picture_bytes=1 << 17, job_bytes=1 << 17)
        settings = ServiceSettings(gallery=folder / "fuzz_people.index", auth=False, limits=limits)
        self.loop = asyncio.new_event_loop()
        self.app = create_app(settings, models=_models())
        self.service = self.app.state.service

    def ask(self, request: dict[str, Any], body: bytes) -> tuple[int, bytes]:
        """Return status and body of the answer."""
        sent: list[Any] = []
        pieces = [body[begin : begin + 700] for begin in range(0, len(body), 700)] or [b""]

        async def receive() -> Any:
            if not pieces:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

        async def send(message: Any) -> None:
            sent.append(message)

        logging.disable(logging.CRITICAL)  # a line a request would take longer than most requests
        try:
            self.loop.run_until_complete(self.app(request, receive, send))
        finally:
            logging.disable(logging.NOTSET)
        starts = [message for message in sent if message["type"] == "http.response.start"]
        assert len(starts) == 1, f"{len(starts)} answers"
        return starts[0]["status"], b"".join(message.get("body", b"") for message in sent)

    def forget(self) -> None:
        """Keep the gallery small."""
        total, people = self.service.people.page(search="", offset=0, limit=100)
        for person, _ in people if total > _MOST_PEOPLE else ():
            self.service.people.remove(person.id)


@cache
def _models() -> Any:
    from arcface_paddle.pipeline.settings import PipelineSettings, RuntimeOptions
    from arcface_paddle.service.inference import open_models

    return open_models(PipelineSettings(rec_model="MobileFace", runtime=RuntimeOptions(threads=1)), workers=1)


@cache
def _service(folder: Path) -> _Service:
    return _Service(folder)


def _request(content: bytes, folder: Path) -> Parse:
    """Ask the service: first line, headers, an empty line, the body."""
    service = _service(folder.parent / _STATE)
    service.forget()
    head, _, body = content.partition(b"\n\n")
    first, *lines = head.split(b"\n")
    method, _, target = first.partition(b" ")
    raw_path, _, query = target.partition(b"?")
    headers = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method.decode("latin-1"),
        "scheme": "http", "path": _unquoted(raw_path), "raw_path": raw_path, "query_string": query, "root_path": "",
        "headers": headers, "client": ("127.0.0.1", 9), "server": ("127.0.0.1", 80),
    }  # fmt: skip

    def parse() -> None:
        status, answer = service.ask(scope, body)
        assert status < 500 or status == 503, f"{status}: {answer[:200]!r}"
        if status < 400:
            return
        message = answer.decode()
        if scope["path"].startswith("/v1/") and answer:  # of a file, the framework answers for a range in plain text
            problem = json.loads(answer)
            assert set(problem) == {"code", "message"}, f"{answer[:200]!r}"
            message = problem["message"]
        assert "\n" not in message and "Traceback" not in message, f"{answer[:200]!r}"
        raise DataError(message or f"status {status}")

    return parse


def _unquoted(path: bytes) -> str:
    from urllib.parse import unquote

    return unquote(path.decode("latin-1"))


def _requests() -> list[bytes]:
    picture = seeds.pictures()[1]
    host, kind = b"host: localhost\n", b"content-type: application/json\n"
    form = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n' + picture + b"\r\n--b--\r\n"
    person = b"0f8fad5bd9cb469fa165708677289501"
    return [
        b"GET /v1/people?search=a&offset=0&limit=5&pictures=true\n" + host + b"x-request-id: a-1\n\n",
        b"POST /v1/people\n" + host + kind + b'\n{"name": "Grace", "consent": "17", "expires": "2027-01-31T00:00:00Z"}',
        b"PATCH /v1/people/" + person + b"\n" + host + kind + b'\n{"name": "Ada"}',
        b"POST /v1/people/" + person + b"/merge\n" + host + kind + b'\n{"into": "' + person + b'"}',
        b"DELETE /v1/people/" + person + b"\n" + host + b"authorization: Bearer afp_01234567_x\n\n",
        b"GET /v1/people/" + person + b"/faces\n" + host + b"\n",
        b"POST /v1/detect\n" + host + b"content-type: image/jpeg\ncontent-length: 700\n\n" + picture,
        b"POST /v1/identify?k=3\n" + host + b"content-type: multipart/form-data; boundary=b\n\n" + form,
        b"POST /v1/people/" + person + b"/faces?which=largest\n" + host + b"content-type: image/jpeg\n\n" + picture,
        b"GET /v1/jobs/0123456789abcdef\n" + host + b"\n",
        b"GET /v1/gallery\n" + host + b"origin: http://localhost\nsec-fetch-site: cross-site\n\n",
        b"GET /metrics\n" + host + b"x-forwarded-for: 10.0.0.1\n\n",
        b"OPTIONS /v1/people\nhost: [::1]:80\naccess-control-request-method: POST\n\n",
        b'GET /\nhost: 127.0.0.1:80\nif-none-match: "1"\nrange: bytes=0-1\n\n',
        b"POST /v1/unknown/0/name\n" + host + kind + b'\n{"name": "Ada"}',
    ]


TARGETS = (Target("http_request", _requests, _request, may_write="fuzz_"),)
