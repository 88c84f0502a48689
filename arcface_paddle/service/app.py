"""The application: routes, layers and errors around one running service."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import Any, AsyncIterator, Optional

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match, Route

from arcface_paddle import __version__
from arcface_paddle.errors import ArcfaceError
from arcface_paddle.pipeline.engines.heaps import give_back_freed_memory
from arcface_paddle.service.envelope import SECURITY_HEADERS, BodyLimit, Envelope, OwnPagesOnly
from arcface_paddle.service.errors import CODES_OF_STATUSES, INTERNAL, INVALID, ServiceError, status_and_code
from arcface_paddle.service.inference import FaceModels
from arcface_paddle.service.request_log import LOGGER, log_failure
from arcface_paddle.service.routes import jobs, operations, pages, people, pictures, strangers
from arcface_paddle.service.running import RunningService, open_service
from arcface_paddle.service.service_settings import ServiceSettings
from arcface_paddle.service.wall_clock import WallClock

TITLE = "arcface-paddle"
DESCRIPTION = (
    "Faces found, compared and named, and a gallery of people. Pictures come as a form, as the raw body, or in base64; "
    "errors are a code and a message; keys are sent as 'Authorization: Bearer KEY'."
)
_ROUTERS = tuple(module.router for module in (pictures, people, jobs, strangers, operations, pages))
_EXPIRY_CHECK_S = 3600.0
_MOST_PUT_FORWARD_S = 300.0  # what no clock drifts in an hour
_MEMORY_CHECK_S = 60.0


def create_app(settings: ServiceSettings, *, models: Optional[FaceModels] = None) -> FastAPI:
    """Return the application of a service, which it opens now and closes at shutdown.

    Args:
        settings: what is served.
        models: loaded already; None to load those of the settings, which is to happen in the main thread.

    Raises:
        ArcfaceError: a model, the gallery or a file cannot be used.
    """
    service = open_service(settings, models=models)
    app = FastAPI(
        title=TITLE,
        description=DESCRIPTION,
        version=__version__,
        docs_url=None,  # FastAPI's page loads its scripts from elsewhere; see ``routes.pages``
        redoc_url=None,
        lifespan=_lifespan,
        redirect_slashes=False,
    )
    app.state.service = service
    for router in _ROUTERS:
        app.include_router(router)
    _add_errors(app)
    _add_layers(app, service)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: RunningService = app.state.service
    tasks = [asyncio.create_task(work(service)) for work in (_remove_expired_hourly, _give_back_memory)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await run_in_threadpool(service.close)


async def _remove_expired_hourly(service: RunningService) -> None:
    """Remove people whose time is over, every hour; a disk that is full for an hour does not end it.

    Where the clock was put forward, people have an hour in which somebody can set it right.
    """
    clock = WallClock()
    while True:
        await asyncio.sleep(_EXPIRY_CHECK_S)
        put_forward_s = clock.put_forward_s()
        if put_forward_s > _MOST_PUT_FORWARD_S:
            LOGGER.warning(
                "the clock was put forward by %.0f s: people whose time is over by it are removed in an hour, unless "
                "it is put back",
                put_forward_s,
            )
            continue
        try:
            await run_in_threadpool(service.remove_expired)
        except (ArcfaceError, OSError, sqlite3.Error) as error:
            log_failure({}, error)


async def _give_back_memory(service: RunningService) -> None:
    """Give back every minute what pictures have left, where some came: otherwise a service seems to grow for days."""
    seen = service.pool.finished
    while True:
        await asyncio.sleep(_MEMORY_CHECK_S)
        if service.pool.finished != seen:
            seen = service.pool.finished
            await run_in_threadpool(give_back_freed_memory)


def _add_layers(app: FastAPI, service: RunningService) -> None:
    """Add the layers, the innermost first."""
    settings = service.settings

    def count(code: str) -> None:
        service.metrics.rejected.labels(code).inc()

    app.add_middleware(BodyLimit, limits=settings.limits, on_refusal=count)
    if settings.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors),
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "X-API-Key", "Content-Type", "X-Request-Id"],
            expose_headers=["X-Request-Id", "Retry-After"],
        )
    if not settings.auth:
        app.add_middleware(OwnPagesOnly, origins=settings.cors, on_refusal=count)
    app.add_middleware(Envelope, metrics=service.metrics)


def _add_errors(app: FastAPI) -> None:
    async def on_purpose(request: Request, error: Exception) -> JSONResponse:
        status, code = status_and_code(error)
        if status >= 500 and not isinstance(error, ServiceError):
            return _unforeseen(request, error)
        if error.__cause__ is not None:
            log_failure(request.scope, error)
        retry_after_s = getattr(error, "retry_after_s", None)
        headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return _problem(request, status, code, str(error), headers)

    async def of_framework(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        code = CODES_OF_STATUSES.get(error.status_code, "bad_request")
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_methods_of(request))
        return _problem(request, error.status_code, code, str(error.detail), headers)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return _problem(request, *INVALID, _first_problem(error), {})

    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        return _unforeseen(request, error)

    app.add_exception_handler(ArcfaceError, on_purpose)
    app.add_exception_handler(HTTPException, of_framework)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, unforeseen)


def _methods_of(request: Request) -> list[str]:
    """Return the methods of a path, of all of its routes; the framework tells those of the first only."""
    routes = [route for router in _ROUTERS for route in router.routes if isinstance(route, Route)]
    fitting = [route for route in routes if route.matches(request.scope)[0] != Match.NONE]
    return sorted({method for route in fitting for method in route.methods or ()})


def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    log_failure(request.scope, error)
    status, code = INTERNAL
    number = request.scope.get("state", {}).get("request_id", "")
    headers = {**SECURITY_HEADERS, "x-request-id": number}  # it may be sent outside of the layer that adds them
    return _problem(request, status, code, f"something went wrong here; the log says what under {number}", headers)


def _problem(request: Request, status: int, code: str, message: str, headers: dict[str, str]) -> JSONResponse:
    service: RunningService = request.app.state.service
    service.metrics.rejected.labels(code).inc()
    return JSONResponse({"code": code, "message": message}, status_code=status, headers=headers)


def _first_problem(error: RequestValidationError) -> str:
    first: dict[str, Any] = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    return f"{where or 'the body'}: {first['msg']}"
