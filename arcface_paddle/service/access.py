"""Who asks: the key of a request, checked against its route's role and the rate of the key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Callable, Optional

from fastapi import Depends, Request

from arcface_paddle.errors import ConfigError
from arcface_paddle.service.errors import ForbiddenError, MisconfiguredError, UnauthorizedError
from arcface_paddle.service.running import RunningService
from arcface_paddle.service.service_settings import ROLES, is_loopback

ANYBODY = "anybody"
"""The id of whoever uses a service without keys."""


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        key_id: of the key; ``ANYBODY`` without keys.
        request_id: of the request.
        role: what they may do, one of ``ROLES``.
        label: whose the key is; None without keys.
    """

    key_id: str
    request_id: str
    role: str
    label: Optional[str] = None


def service_of(request: Request) -> RunningService:
    """Return the service of the application that got a request."""
    service: RunningService = request.app.state.service
    return service


def requires(role: str) -> Callable[[Request], Caller]:
    """Return a dependency that lets keys of a role pass, at the rate that they are allowed."""

    def check(request: Request) -> Caller:
        return check_caller(request, role)

    return check


def check_caller(request: Request, role: str) -> Caller:
    """Return who asks.

    Raises:
        UnauthorizedError: no key, or one that is not valid.
        ForbiddenError: its role does not suffice.
        RateLimitedError: it asks too often.
        MisconfiguredError: the file of keys is damaged.
    """
    service = service_of(request)
    request_id = request.scope["state"]["request_id"]
    if not service.settings.auth:
        return Caller(ANYBODY, request_id, role=ROLES[-1])
    try:
        key = service.keys.check(_presented(request))
    except ConfigError as error:  # it names a file, which is for the log only
        raise MisconfiguredError("the keys of this service cannot be read; its log says why") from error
    if key is None:
        raise UnauthorizedError("a valid key is needed: send 'Authorization: Bearer KEY'")
    request.scope["state"]["key_id"] = key.id
    service.limiter.take(key.id)
    if not key.may(role):
        raise ForbiddenError(f"the role {role!r} is needed; this key has {key.role!r}")
    return Caller(key.id, request_id, role=key.role, label=key.label)


def check_metrics_caller(request: Request) -> None:
    """Let programs on this machine pass, and keys of the role admin. Raises as ``check_caller``."""
    behind_proxy = any(name in request.headers for name in ("forwarded", "x-forwarded-for"))
    if request.client is None or behind_proxy or not is_loopback(request.client.host):
        check_caller(request, "admin")


def _presented(request: Request) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")


Service = Annotated[RunningService, Depends(service_of)]
Reader = Annotated[Caller, Depends(requires("read"))]
Writer = Annotated[Caller, Depends(requires("write"))]
Admin = Annotated[Caller, Depends(requires("admin"))]
