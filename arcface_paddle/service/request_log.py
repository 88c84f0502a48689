"""Log lines in JSON: which route, how long, which key; no path, query, name, picture or embedding."""

from __future__ import annotations

import json
import logging
import traceback
from typing import Any, MutableMapping, Optional

from arcface_paddle.errors import ConfigError, GalleryError
from arcface_paddle.service.people_records import utc_now

LOGGER = logging.getLogger("arcface_paddle.service")
_FIELDS = "service_fields"


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON. Of an error it shows class and place, as its text could hold a name."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {"time": utc_now(), "level": record.levelname.lower(), "message": record.getMessage()}
        line.update(getattr(record, _FIELDS, {}))
        if record.exc_info and record.exc_info[0] is not None:
            frames = traceback.extract_tb(record.exc_info[2])
            line["error"] = record.exc_info[0].__name__
            line["cause"] = _cause(record.exc_info[1])
            line["at"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-8:]]
        return json.dumps(line, ensure_ascii=True)


def _cause(error: Optional[BaseException]) -> str:
    """Return what the system or the package said of files, in which no name of a person stands."""
    while error is not None and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError):
        return f"{error.filename or ''}: {error.strerror or error}"
    known = isinstance(error, (ConfigError, GalleryError))
    return str(error) if known else type(error).__name__


def log_request(scope: MutableMapping[str, Any], *, route: str, method: str, status: int, taken_s: float) -> None:
    """Note a request that was answered."""
    state = scope.get("state", {})
    fields = {
        "request": state.get("request_id", ""),
        "key": state.get("key_id", ""),
        "method": method,
        "route": route,
        "status": status,
        "ms": round(taken_s * 1000, 1),
    }
    LOGGER.info("request", extra={_FIELDS: fields})


def log_failure(scope: MutableMapping[str, Any], error: BaseException) -> None:
    """Note an error that nobody foresaw."""
    fields = {"request": scope.get("state", {}).get("request_id", "")}
    LOGGER.error("unforeseen error", exc_info=(type(error), error, error.__traceback__), extra={_FIELDS: fields})


def logging_settings(*, level: str = "INFO") -> dict[str, Any]:
    """Return settings for ``logging.config.dictConfig``: JSON lines on stderr, of this service and of its server."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": f"{__name__}.JsonFormatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            LOGGER.name: {"handlers": ["stderr"], "level": level, "propagate": False},
            "python_multipart": {"level": "ERROR"},  # warns of every form that strangers got wrong
            "uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        },
    }
