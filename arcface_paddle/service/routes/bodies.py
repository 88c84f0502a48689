"""How OpenAPI shows bodies that routes read themselves: pictures, in three forms."""

from __future__ import annotations

from typing import Any, Union

from arcface_paddle.service import schemas

PROBLEM: dict[str, Any] = {"model": schemas.Problem}
ANSWERS: dict[Union[int, str], Any] = {
    400: {**PROBLEM, "description": "a malformed body"},
    401: {**PROBLEM, "description": "no valid key"},
    403: {**PROBLEM, "description": "the key's role does not suffice"},
    422: {**PROBLEM, "description": "a value that cannot be"},
    429: {**PROBLEM, "description": "too many requests with this key"},
}
PICTURE_ANSWERS: dict[Union[int, str], Any] = {
    **ANSWERS,
    413: {**PROBLEM, "description": "more bytes or pixels than are allowed"},
    415: {**PROBLEM, "description": "a body of another type"},
    422: {**PROBLEM, "description": "no picture, no face, or several faces where one is meant"},
    503: {**PROBLEM, "description": "the queue is full; see Retry-After"},
    504: {**PROBLEM, "description": "not done in time"},
}
PERSON_ANSWERS: dict[Union[int, str], Any] = {**ANSWERS, 404: {**PROBLEM, "description": "nobody has the id"}}

_FILE = {"type": "string", "format": "binary"}
_BASE64 = {"type": "string", "contentEncoding": "base64", "examples": ["/9j/4AAQSkZJRgABAQ…"]}


def picture_body(*fields: str, raw: bool = True) -> dict[str, Any]:
    """Return what a route adds to its description that takes one picture a field."""
    content: dict[str, Any] = {
        "multipart/form-data": {"schema": _object(dict.fromkeys(fields, _FILE))},
        "application/json": {"schema": _object({f"{field}_base64": _BASE64 for field in fields})},
    }
    if raw:
        content["application/octet-stream"] = {"schema": _FILE}
        content["image/*"] = {"schema": _FILE}
    return {"requestBody": {"required": True, "content": content}}


def job_body() -> dict[str, Any]:
    """Return the same for the bulk enrolment."""
    files = {"type": "array", "items": _FILE, "description": "each with the file name NAME/FILE"}
    content = {
        "multipart/form-data": {"schema": _object({"files": files})},
        "application/zip": {"schema": {**_FILE, "description": "a folder for each person"}},
    }
    return {"requestBody": {"required": True, "content": content}}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}
