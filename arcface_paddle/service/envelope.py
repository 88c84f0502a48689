"""What surrounds every request, as ASGI layers: id, log line, metrics, headers, limits of bodies, the sender's page."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from typing import Any, Awaitable, Callable, MutableMapping, Optional

from arcface_paddle.service.errors import ForbiddenError, ServiceError, SlowUploadError, TooLargeError, status_and_code
from arcface_paddle.service.metrics import ServiceMetrics
from arcface_paddle.service.request_log import log_request
from arcface_paddle.service.service_settings import Limits, is_loopback

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CONTENT_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
SECURITY_HEADERS = {
    "content-security-policy": _CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}
_NOT_MATCHED = "unmatched"
_BASE64_OVERHEAD = 1.4  # 4/3, and the JSON around it; a form's boundaries are less
_PICTURE_ROUTES = re.compile(r"/v1/(detect|embed|identify|compare|people/[^/]+/faces)/?")


OnRefusal = Callable[[str], None]
"""Is told the code of an answer that the application did not give."""


def ignore_refusal(_code: str) -> None:
    """Do nothing with the code of a refusal."""


class Envelope:
    """The outermost layer: gives each request an id, answers with headers, and notes what became of it."""

    def __init__(self, app: App, *, metrics: ServiceMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status = 500
        start = time.perf_counter()

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _with_headers(message.get("headers", ()), scope["path"], request_id)
            await send(message)

        self._metrics.in_progress.inc()
        try:
            await self._app(scope, receive, sending)
        finally:
            self._metrics.in_progress.dec()
            self._note(scope, status, time.perf_counter() - start)

    def _note(self, scope: Scope, status: int, taken_s: float) -> None:
        route, method = route_of(scope), scope["method"] if scope["method"] in _METHODS else "OTHER"
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.request_s.labels(route).observe(taken_s)
        log_request(scope, route=route, method=method, status=status, taken_s=taken_s)


class BodyLimit:
    """Refuses bodies that are too large for their route, or that take too long to come."""

    def __init__(self, app: App, *, limits: Limits, on_refusal: OnRefusal = ignore_refusal) -> None:
        self._app = app
        self._limits = limits
        self._on_refusal = on_refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _LimitedBody(receive, send, most_bytes=self._most_bytes(scope["path"]), upload_s=self._limits.upload_s)
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > body.most_bytes:
            self._on_refusal(status_and_code(body.too_large())[1])
            await send_problem(send, body.too_large())
            return
        try:
            await self._app(scope, body.receive, body.send)
        except (TooLargeError, SlowUploadError) as error:
            if error is not body.error:
                raise
        if body.error is not None:
            self._on_refusal(status_and_code(body.error)[1])

    def _most_bytes(self, path: str) -> int:
        if path.rstrip("/") == "/v1/jobs/enrol":
            return self._limits.job_bytes
        if _PICTURE_ROUTES.fullmatch(path):
            pictures = 2 if path.startswith("/v1/compare") else 1
            return int(pictures * self._limits.picture_bytes * _BASE64_OVERHEAD) + self._limits.json_bytes
        return self._limits.json_bytes


class _LimitedBody:
    """The two ends of one request; what its body did wrong is answered in place of what the application says."""

    def __init__(self, receive: Receive, send: Send, *, most_bytes: int, upload_s: float) -> None:
        self.most_bytes = most_bytes
        self.error: Optional[ServiceError] = None
        self._receive = receive
        self._send = send
        self._upload_s = upload_s
        self._end = time.monotonic() + upload_s
        self._received = 0
        self._complete = False
        self._started = False

    def too_large(self) -> TooLargeError:
        return TooLargeError(f"the body has more than {self.most_bytes:,} bytes, which is the most allowed here")

    async def receive(self) -> Message:
        if self._complete:  # what comes now is the end of the connection, for which one may wait long
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._end - time.monotonic()))
        except asyncio.TimeoutError:
            slow = SlowUploadError(f"the body did not arrive within {self._upload_s:g} s")
            raise await self._refuse(slow) from None
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
            if self._received > self.most_bytes:
                raise await self._refuse(self.too_large())
        return message

    async def send(self, message: Message) -> None:
        if self.error is None:
            self._started = True
            await self._send(message)

    async def _refuse(self, error: ServiceError) -> ServiceError:
        self.error = error
        if not self._started:
            await send_problem(self._send, error, close=True)
        return error


class OwnPagesOnly:
    """Keeps pages of other sites from using a service without keys: a browser on this machine would carry them in.

    The name that was asked for must be one of this machine, so that a site cannot point its own name here; a request
    that a page sent must come from a page of the service, or of an origin that was allowed.
    """

    def __init__(self, app: App, *, origins: tuple[str, ...], on_refusal: OnRefusal = ignore_refusal) -> None:
        self._app = app
        self._origins = origins
        self._on_refusal = on_refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            problem = self._problem(headers, scope.get("scheme", "http"))
            if problem:
                error = ForbiddenError(problem)
                self._on_refusal(status_and_code(error)[1])
                await send_problem(send, error)
                return
        await self._app(scope, receive, send)

    def _problem(self, headers: dict[str, str], scheme: str) -> str:
        host, origin = headers.get("host", ""), headers.get("origin", "")
        if not is_loopback(_without_port(host)):
            return "a service without keys answers under the names of this machine only, such as localhost"
        if origin and origin not in (f"{scheme}://{host}", *self._origins):
            return "a page of another site may not use this service; allow its origin with --cors"
        if not origin and headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            return "a page of another site may not use this service; allow its origin with --cors"
        return ""


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def route_of(scope: Scope) -> str:
    """Return the pattern of the route that answered, and never a path, in which anything may stand."""
    return str(getattr(scope.get("route"), "path", None) or _NOT_MATCHED)


async def send_problem(send: Send, error: ServiceError, *, close: bool = False) -> None:
    """Answer with an error, without the application."""
    status, code = status_and_code(error)
    body = json.dumps({"code": code, "message": str(error)}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if close:  # the rest of the body is not read
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _with_headers(headers: Any, path: str, request_id: str) -> list[tuple[bytes, bytes]]:
    own = {**SECURITY_HEADERS, "x-request-id": request_id}
    if path.startswith("/v1/") or path == "/metrics":
        own["cache-control"] = "no-store"
    kept = [(name, value) for name, value in headers if name.decode("latin-1").lower() not in own]
    return [*kept, *((name.encode(), value.encode()) for name, value in own.items())]


def _request_id(scope: Scope) -> str:
    given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def _without_port(host: str) -> str:
    return host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
