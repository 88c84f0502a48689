"""What the clients of the service's benchmark ask: everyday requests, and now and then an attack."""

from __future__ import annotations

import http.client
import json
import random
import struct
import time
import zlib
from typing import Any, Callable, NamedTuple, Optional

from arcface_paddle import images
from arcface_paddle.pipeline import demo_photographs
from benchmarks.service_process import ServerProcess

HOSTILE = "hostile: "
_RAW, _JSON = "application/octet-stream", "application/json"
_MOST_PEOPLE = 20  # that a client has enrolled at a time; then it deletes one
_SHARES = {"identify": 42, "detect": 18, "embed": 14, "compare": 10, "enrol": 8, "delete": 4, "list people": 4}
_TIMEOUT_S = 120


class Request(NamedTuple):
    """A request as it goes out."""

    method: str
    path: str
    body: Optional[bytes] = None
    content_type: str = _RAW
    key: Optional[str] = None


def load_pictures(longest_side: int) -> list[bytes]:
    """Return the demonstration's photographs as JPEG, none larger than a size, most of them of one person."""
    folder = demo_photographs.photographs_folder()
    paths = sorted(
        [*(folder / demo_photographs.QUERIES).glob("*.jpg"), *(folder / demo_photographs.GALLERY).glob("*/*.jpg")]
    )
    return [_smaller(images.read_image(path), longest_side) for path in paths]


def _smaller(image: Any, longest_side: int) -> bytes:
    scale = min(1.0, longest_side / max(image.shape[:2]))
    size_wh = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return images.encode_image(images.resize(image, size_wh), suffix=".jpg", quality=90)


class Client:
    """One client: asks one thing after the other over one connection.

    Args:
        server: whom it asks.
        pictures: what it sends.
        hostile: share of requests that are attacks.
        seed: of its choices.
    """

    def __init__(self, server: ServerProcess, pictures: list[bytes], *, hostile: float, seed: int) -> None:
        self._server = server
        self._pictures = pictures
        self._hostile = hostile
        self._random = random.Random(seed)
        self._name = f"Client {seed}"
        self._people: list[str] = []
        self._count = 0
        self._connection = http.client.HTTPConnection(server.host, server.port, timeout=_TIMEOUT_S)

    def close(self) -> None:
        self._connection.close()

    def ask(self) -> tuple[str, int, float]:
        """Ask one thing; returns what it was, the status of the answer (0 for none) and how long it took (ms)."""
        if self._random.random() < self._hostile:
            name = self._random.choice(sorted(ATTACKS))
            return (HOSTILE + name, *self._timed(lambda: self._send(ATTACKS[name](self._server.key))[0]))
        name = self._random.choices(list(_SHARES), weights=list(_SHARES.values()))[0]
        if name == "delete" and not self._people:
            name = "enrol"
        if name == "enrol" and len(self._people) >= _MOST_PEOPLE:
            name = "delete"
        return (name, *self._timed(lambda: self._everyday(name)))

    def _timed(self, work: Callable[[], int]) -> tuple[int, float]:
        begun = time.perf_counter()
        try:
            status = work()
        except (OSError, http.client.HTTPException):
            self._connection.close()  # the next request opens it anew
            status = 0
        return status, (time.perf_counter() - begun) * 1e3

    def _everyday(self, name: str) -> int:
        if name == "enrol":
            return self._enrol()
        if name == "delete":
            person = self._people.pop(self._random.randrange(len(self._people)))
            return self._send(Request("DELETE", f"/v1/people/{person}"))[0]
        if name == "list people":
            return self._send(Request("GET", f"/v1/people?offset={self._random.randrange(1000)}"))[0]
        if name == "compare":
            return self._send(form("/v1/compare", image_a=self._picture(), image_b=self._picture()))[0]
        return self._send(Request("POST", f"/v1/{name}", self._picture()))[0]

    def _enrol(self) -> int:
        self._count += 1
        person = json.dumps({"name": f"{self._name} {self._count}", "consent": "benchmark"}).encode()
        status, document = self._send(Request("POST", "/v1/people", person, _JSON))
        if status != 201:
            return status
        self._people.append(document["id"])
        return self._send(Request("POST", f"/v1/people/{document['id']}/faces?faces=largest", self._picture()))[0]

    def _picture(self) -> bytes:
        return self._random.choice(self._pictures)

    def _send(self, request: Request) -> tuple[int, Any]:
        key = self._server.key if request.key is None else request.key
        headers = {"Authorization": f"Bearer {key}", "Content-Type": request.content_type}
        self._connection.request(request.method, request.path, request.body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if answer.headers.get_content_type() == _JSON and content else None


def form(path: str, **pictures: bytes) -> Request:
    """Return a form with a file a field."""
    head = '--limit\r\nContent-Disposition: form-data; name="{}"; filename="a.jpg"\r\n\r\n'
    parts = [head.format(field).encode() + content + b"\r\n" for field, content in pictures.items()]
    return Request("POST", path, b"".join(parts) + b"--limit--\r\n", "multipart/form-data; boundary=limit")


def _picture_bomb() -> bytes:
    """Return a PNG of 40000 x 40000 pixels in a few kilobytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 40000, 40000, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(4_000_000))) + chunk(b"IEND", b"")


_BOMB = _picture_bomb()
ATTACKS: dict[str, Callable[[str], Request]] = {
    "picture bomb": lambda key: Request("POST", "/v1/identify", _BOMB),
    "no picture": lambda key: Request("POST", "/v1/embed", random.randbytes(20_000)),
    "too large": lambda key: Request("POST", "/v1/people", b'{"name": "' + b"a" * 200_000 + b'"}', _JSON),
    "nested": lambda key: Request("POST", "/v1/detect", b"[" * 50_000, _JSON),
    "wrong type": lambda key: Request("POST", "/v1/detect", b"<a/>", "application/xml"),
    "broken form": lambda key: Request("POST", "/v1/compare", b"--x\r\n\r\n", "multipart/form-data; boundary=limit"),
    "wrong key": lambda key: Request("GET", "/v1/people", key=key[:-4] + "AAAA"),
    "path": lambda key: Request("GET", "/page/..%2f..%2f..%2fetc%2fpasswd"),
    "no such person": lambda key: Request("DELETE", "/v1/people/%27%20OR%201%3D1--"),
    "control letters": lambda key: Request("POST", "/v1/people", b'{"name": "\\u001b[2J\\u0000"}', _JSON),
}
