"""A client of the service, which needs nothing but Python.

client = ServiceClient("https://faces.example.org", key="afp_...")
person = client.create_person("Grace Hopper", consent="form 17")
client.add_face(person["id"], "hopper.jpg")
for face in client.identify("group.jpg")["faces"]:
    print(face["name"], face["similarity"])
"""

from __future__ import annotations

import json
import re
import secrets
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Callable, Mapping, NamedTuple, Optional, Sequence, TypedDict, Union, cast
from urllib.parse import quote, urlencode

from arcface_paddle.errors import ArcfaceError, ConfigError
from arcface_paddle.files import PathLike

Picture = Union[bytes, PathLike]
"""Encoded bytes, or the path of a picture."""

_RAW, _ZIP = "application/octet-stream", "application/zip"
_POLL_S = 0.2

_SECONDS = re.compile("[0-9]{1,9}")  # a date is as good as nothing


class ServiceCallError(ArcfaceError):
    """The service answered with an error, or not at all.

    Attributes:
        status: of the answer; 0 when there was none.
        code: one of the service's codes, such as ``no_face``; ``unreachable`` when there was no answer.
        request_id: under which the service's log has the request.
        retry_after_s: when to try again; None when the service did not say.
    """

    def __init__(
        self, message: str, *, status: int, code: str, request_id: str = "", retry_after_s: Optional[int] = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class FoundFace(TypedDict):
    """A face; see ``schemas.FaceOut``."""

    box: list[float]
    score: float
    landmarks: Optional[list[list[float]]]
    quality: Optional[float]
    weakness: str
    landmark_doubt: Optional[float]


class Detected(TypedDict):
    width: int
    height: int
    faces: list[FoundFace]


class EmbeddedFace(FoundFace):
    embedding: list[float]


class Embedded(TypedDict):
    width: int
    height: int
    model: str
    identity: str
    faces: list[EmbeddedFace]


class Compared(TypedDict):
    same: bool
    similarity: float
    probability: Optional[float]
    threshold: float
    message: str
    faces_a: list[FoundFace]
    faces_b: list[FoundFace]


class Candidate(TypedDict):
    person: str
    name: str
    similarity: float


class IdentifiedFace(FoundFace):
    name: Optional[str]
    person: Optional[str]
    similarity: Optional[float]
    probability: Optional[float]
    candidates: list[Candidate]


class Identified(TypedDict):
    width: int
    height: int
    threshold: float
    faces: list[IdentifiedFace]


class Person(TypedDict):
    id: str
    name: str
    faces: int
    consent: Optional[str]
    expires: Optional[str]
    created: str
    picture: Optional[str]


class People(TypedDict):
    total: int
    people: list[Person]


class StoredFace(TypedDict):
    id: str
    source: str
    quality: Optional[float]
    added: str
    picture: Optional[str]


class Access(TypedDict):
    auth: bool
    key: Optional[str]
    name: Optional[str]
    role: str


class Job(TypedDict):
    id: str
    state: str
    done: int
    total: int
    enrolled: int
    problems: list[dict[str, str]]


class CallAnswer(NamedTuple):
    """What came back: status, headers with lower-case names, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Transport = Callable[[str, str, Mapping[str, str], Optional[bytes]], CallAnswer]
"""Sends method, address, headers and body, and returns the answer, whatever its status."""


class ServiceClient:
    """Calls one service.

    Args:
        address: such as ``http://127.0.0.1:8080``.
        key: API key; None for a service without keys.
        timeout_s: longest wait for a part of an answer.
        transport: who sends; None for ``urllib``.

    All methods raise ``ServiceCallError``.
    """

    def __init__(
        self,
        address: str,
        *,
        key: Optional[str] = None,
        timeout_s: float = 60.0,
        transport: Optional[Transport] = None,
    ) -> None:
        if not address.startswith(("http://", "https://")):
            raise ConfigError(f"the address is {address!r}; allowed: http://HOST:PORT or https://HOST")
        self._address = address.rstrip("/")
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._transport = transport or _UrllibTransport(timeout_s)

    def __repr__(self) -> str:
        return f"ServiceClient({self._address!r})"

    def is_ready(self) -> bool:
        """Tell whether the service takes requests."""
        try:
            self._call("GET", "/v1/health/ready")
        except ServiceCallError:
            return False
        return True

    def models(self) -> dict[str, Any]:
        """Return the models in use and their thresholds."""
        return cast(dict[str, Any], self._call("GET", "/v1/models"))

    def gallery(self) -> dict[str, Any]:
        """Return how large the gallery is."""
        return cast(dict[str, Any], self._call("GET", "/v1/gallery"))

    def detect(self, picture: Picture) -> Detected:
        """Find the faces of a picture."""
        return cast(Detected, self._send_picture("/v1/detect", picture))

    def embed(self, picture: Picture) -> Embedded:
        """Find the faces of a picture and turn each into an embedding."""
        return cast(Embedded, self._send_picture("/v1/embed", picture))

    def compare(self, first: Picture, second: Picture) -> Compared:
        """Tell whether two pictures show one person."""
        content_type, body = _form({"image_a": ("a", _bytes_of(first)), "image_b": ("b", _bytes_of(second))}.items())
        return cast(Compared, self._call("POST", "/v1/compare", body, content_type))

    def identify(
        self, picture: Picture, *, k: int = 5, threshold: Optional[float] = None, fpir: Optional[float] = None
    ) -> Identified:
        """Find the faces of a picture and say who of the gallery they are."""
        return cast(Identified, self._send_picture("/v1/identify", picture, k=k, threshold=threshold, fpir=fpir))

    def access(self) -> Access:
        """Return who this client is to the service, and what it may do."""
        return cast(Access, self._call("GET", "/v1/access"))

    def people(self, *, search: str = "", offset: int = 0, limit: int = 50, pictures: bool = False) -> People:
        """List people in the order of names; ``pictures``: with a data URI each, where the service keeps crops."""
        wanted = "true" if pictures else None
        address = _with_query("/v1/people", search=search, offset=offset, limit=limit, pictures=wanted)
        return cast(People, self._call("GET", address))

    def person(self, person_id: str) -> Person:
        return cast(Person, self._call("GET", f"/v1/people/{quote(person_id, safe='')}"))

    def create_person(self, name: str, *, consent: Optional[str] = None, expires: Optional[str] = None) -> Person:
        """Make a person without faces; ``expires`` is a moment such as ``2027-01-31T00:00:00Z``."""
        return cast(Person, self._send_json("POST", "/v1/people", name=name, consent=consent, expires=expires))

    def change_person(self, person_id: str, **changes: Optional[str]) -> Person:
        """Change ``name``, ``consent`` or ``expires``; None takes the last two away, what is not named stays."""
        return cast(Person, self._send_json("PATCH", f"/v1/people/{quote(person_id, safe='')}", **changes))

    def remove_person(self, person_id: str) -> None:
        """Remove a person and every face of theirs."""
        self._call("DELETE", f"/v1/people/{quote(person_id, safe='')}")

    def merge_people(self, person_id: str, *, into: str) -> Person:
        """Give a person's faces to another, and remove the first."""
        return cast(Person, self._send_json("POST", f"/v1/people/{quote(person_id, safe='')}/merge", into=into))

    def faces(self, person_id: str, *, pictures: bool = False) -> list[StoredFace]:
        """List a person's faces; ``pictures``: with a data URI each, where the service keeps crops."""
        address = f"/v1/people/{quote(person_id, safe='')}/faces"
        return cast(list[StoredFace], self._call("GET", _with_query(address, pictures="true" if pictures else None)))

    def add_face(self, person_id: str, picture: Picture, *, faces: str = "one") -> StoredFace:
        """Enrol the face of a picture; ``faces``: which of several, ``one``, ``centre`` or ``largest``."""
        address = _with_query(f"/v1/people/{quote(person_id, safe='')}/faces", faces=faces)
        name = "" if isinstance(picture, bytes) else Path(picture).name
        content_type, body = _form([("image", (name or "picture", _bytes_of(picture)))])
        return cast(StoredFace, self._call("POST", address, body, content_type))

    def remove_face(self, person_id: str, face_id: str) -> None:
        self._call("DELETE", f"/v1/people/{quote(person_id, safe='')}/faces/{quote(face_id, safe='')}")

    def enrol(self, pictures: Sequence[tuple[str, Picture]]) -> Job:
        """Begin to enrol many pictures, each with the name of its person; ``wait_for`` waits for the end."""
        parts = []
        for number, (name, picture) in enumerate(pictures):
            file_name = f"{number}" if isinstance(picture, bytes) else Path(picture).name
            parts.append(("files", (f"{name}/{file_name}", _bytes_of(picture))))
        content_type, body = _form(parts)
        return cast(Job, self._call("POST", "/v1/jobs/enrol", body, content_type))

    def enrol_zip(self, zipped: Picture) -> Job:
        """Begin to enrol the pictures of a zip, which has a folder for each person."""
        return cast(Job, self._call("POST", "/v1/jobs/enrol", _bytes_of(zipped), _ZIP))

    def job(self, job_id: str) -> Job:
        return cast(Job, self._call("GET", f"/v1/jobs/{quote(job_id, safe='')}"))

    def cancel(self, job_id: str) -> Job:
        return cast(Job, self._call("DELETE", f"/v1/jobs/{quote(job_id, safe='')}"))

    def wait_for(self, job_id: str, *, timeout_s: float = 3600.0) -> Job:
        """Wait until a job has ended. Raises ``TimeoutError`` when it has not by then."""
        end = time.monotonic() + timeout_s
        while True:
            job = self.job(job_id)
            if job["state"] not in ("waiting", "running"):
                return job
            if time.monotonic() > end:
                raise TimeoutError(f"the job {job_id} has not ended within {timeout_s:g} s")
            time.sleep(_POLL_S)

    def _send_picture(self, path: str, picture: Picture, **query: Union[int, float, str, None]) -> Any:
        return self._call("POST", _with_query(path, **query), _bytes_of(picture), _RAW)

    def _send_json(self, method: str, path: str, **values: Optional[str]) -> Any:
        return self._call(method, path, json.dumps(values).encode(), "application/json")

    def _call(self, method: str, path: str, body: Optional[bytes] = None, content_type: str = "") -> Any:
        headers = {**self._headers, "Accept": "application/json"}
        if content_type:
            headers["Content-Type"] = content_type
        answer = self._transport(method, self._address + path, headers, body)
        if answer.status >= 400:
            raise _error_of(answer)
        return _document_of(answer) if answer.body else None


class _UrllibTransport:
    """Sends with the standard library; it follows no redirections, which would carry the key elsewhere."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._opener = urllib.request.build_opener(_NoRedirection)

    def __call__(self, method: str, url: str, headers: Mapping[str, str], body: Optional[bytes]) -> CallAnswer:
        request = urllib.request.Request(url, body, dict(headers), method=method)
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                return CallAnswer(answer.status, _lower(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return CallAnswer(error.code, _lower(error.headers), error.read())
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise ServiceCallError(f"{url}: no answer: {reason}", status=0, code="unreachable") from None


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any, **_more: Any) -> None:
        return None


def _document_of(answer: CallAnswer) -> Any:
    """Return the JSON of an answer. Raises ``ServiceCallError`` when a proxy, say, gave something else."""
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        raise ServiceCallError(
            f"the answer is not the service's own: no JSON ({error!s:.200})",
            status=answer.status,
            code="unknown",
            request_id=answer.headers.get("x-request-id", ""),
        ) from None


def _error_of(answer: CallAnswer) -> ServiceCallError:
    """Return the error of an answer, also of one that a proxy gave in words of its own."""
    try:
        document = json.loads(answer.body)
        code, message = str(document["code"]), str(document["message"])
        message = message.strip() or f"status {answer.status} without a word"
    except (ValueError, KeyError, TypeError, RecursionError):
        code, message = "unknown", f"the answer has status {answer.status} and is not the service's own"
    retry_after = answer.headers.get("retry-after", "")
    return ServiceCallError(
        message,
        status=answer.status,
        code=code,
        request_id=answer.headers.get("x-request-id", ""),
        retry_after_s=int(retry_after) if _SECONDS.fullmatch(retry_after) else None,
    )


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _bytes_of(picture: Picture) -> bytes:
    if isinstance(picture, bytes):
        return picture
    try:
        return Path(picture).read_bytes()
    except OSError as error:
        raise ConfigError(f"{picture}: cannot be read: {error.strerror or error}") from None


def _with_query(path: str, **query: Union[int, float, str, None]) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def _form(parts: Any) -> tuple[str, bytes]:
    """Return type and body of a form of files: (field, (file name, content)) each."""
    boundary = f"arcface-{secrets.token_hex(16)}"
    lines = []
    for field, (file_name, content) in parts:
        escaped = file_name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")  # as browsers do
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{escaped}"\r\n'
        lines += [head.encode(), f"Content-Type: {_RAW}\r\n\r\n".encode(), content, b"\r\n"]
    return f"multipart/form-data; boundary={boundary}", b"".join([*lines, f"--{boundary}--\r\n".encode()])
