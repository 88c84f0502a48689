"""Pictures out of requests: multipart, the raw body, or base64 in JSON; and out of encoded bytes, within limits."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.requests import Request

from arcface_paddle import images
from arcface_paddle.errors import ImageError
from arcface_paddle.service.errors import BadRequestError, TooLargeError, UnsupportedMediaError
from arcface_paddle.service.forms import receive_form
from arcface_paddle.service.service_settings import Limits

MULTIPART, JSON, RAW = "multipart/form-data", "application/json", "application/octet-stream"
_MOST_VALUES = 10_000
"""Of a JSON body with a picture. Twelve megabytes of ``[],[],…`` keep everybody waiting for seconds while they are
read, and take 300 MB; in base64 none of the signs stands that part values."""
_TYPES = f"{MULTIPART}, image/*, {RAW}, {JSON}"


@dataclass(frozen=True)
class Upload:
    """An encoded picture as it came.

    Attributes:
        content: the file.
        file_name: what the sender calls it; may be empty, and may hold anything.
    """

    content: bytes
    file_name: str = ""


async def read_upload(request: Request, *, limits: Limits) -> Upload:
    """Return the one picture of a request: the field ``image``, ``image_base64``, or the body itself.

    Raises:
        BadRequestError: no picture, or a malformed body.
        UnsupportedMediaError: another type of body.
        TooLargeError: more bytes than are allowed.
    """
    if type_of(request) == RAW or type_of(request).startswith("image/"):
        return _checked(Upload(await request.body()), "the body", limits)
    return (await read_uploads(request, ("image",), limits=limits))[0]


async def read_uploads(request: Request, fields: tuple[str, ...], *, limits: Limits) -> list[Upload]:
    """Return the pictures of several fields of a form, or of JSON where each is called ``FIELD_base64``.

    Raises:
        BadRequestError: a picture is missing, or a malformed body.
        UnsupportedMediaError: another type of body.
        TooLargeError: more bytes than are allowed.
    """
    kind = type_of(request)
    if kind == MULTIPART:
        return await _of_form(request, fields, limits)
    if kind == JSON:
        return _of_json(await request.body(), fields, limits)
    raise UnsupportedMediaError(f"the body is of type {kind[:80]!r}; allowed: {_TYPES}")


def decode(upload: Upload, *, name: str, limits: Limits) -> np.ndarray:
    """Decode a picture into (H, W, 3) uint8 RGB.

    Raises:
        TooLargeError: more pixels than are allowed, by its header.
        ImageError: no picture, or damaged.
    """
    with contextlib.suppress(ImageError):  # of a format whose header is not read without decoding
        width, height = images.encoded_size(upload.content, name=name)
        if width * height > limits.picture_pixels:
            raise TooLargeError(
                f"{name}: {width} x {height} pixels; allowed: {limits.picture_pixels:,}; make it smaller first"
            )
    return images.decode_image(upload.content, name=name, max_pixels=limits.picture_pixels)


class _WantedFiles:
    """Receives the files of some fields of a form, and passes over other fields."""

    def __init__(self, fields: tuple[str, ...], limits: Limits) -> None:
        self.uploads: dict[str, Upload] = {}
        self._fields = fields
        self._limits = limits
        self._field, self._file_name = "", ""
        self._content = bytearray()

    def begin(self, field: str, file_name: str) -> None:
        if field in self.uploads:
            raise BadRequestError(f"the form has the field {field!r:.40} twice; send one picture a request")
        self._field, self._file_name, self._content = field, file_name, bytearray()

    def data(self, content: bytes) -> None:
        if self._field in self._fields:
            self._content += content
            if len(self._content) > self._limits.picture_bytes:
                raise TooLargeError(
                    f"the field {self._field!r} has more than {self._limits.picture_bytes:,} bytes, the most allowed"
                )

    def end(self) -> None:
        if self._field in self._fields:
            self.uploads[self._field] = Upload(bytes(self._content), self._file_name)


async def _of_form(request: Request, fields: tuple[str, ...], limits: Limits) -> list[Upload]:
    wanted = _WantedFiles(fields, limits)
    await receive_form(request, wanted)
    missing = [field for field in fields if field not in wanted.uploads]
    if missing:
        raise BadRequestError(f"the form has no file {missing[0]!r}; send the picture in that field")
    return [_checked(wanted.uploads[field], f"the field {field!r}", limits) for field in fields]


def _of_json(body: bytes, fields: tuple[str, ...], limits: Limits) -> list[Upload]:
    if sum(map(body.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise BadRequestError(f"the body has more than {_MOST_VALUES:,} values; send the picture, and nothing else")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):  # Unicode errors are ValueErrors; [[[[… nests too deep
        raise BadRequestError("the body is no JSON") from None
    if not isinstance(document, dict):
        raise BadRequestError('the body is no JSON object; allowed: {"image_base64": "..."}')
    return [_checked(_of_base64(document, f"{field}_base64"), f"{field}_base64", limits) for field in fields]


def _of_base64(document: dict[str, Any], key: str) -> Upload:
    text = document.get(key)
    if not isinstance(text, str):
        raise BadRequestError(f"{key} is missing, or no text; allowed: a picture in base64")
    if text.startswith("data:"):  # as a browser's canvas gives it
        text = text.partition(",")[2]
    try:
        return Upload(base64.b64decode("".join(text.split()), validate=True))
    except (binascii.Error, ValueError):
        raise BadRequestError(f"{key} is not valid base64") from None


def _checked(upload: Upload, name: str, limits: Limits) -> Upload:
    if len(upload.content) > limits.picture_bytes:
        raise TooLargeError(f"{name} has {len(upload.content):,} bytes; allowed: {limits.picture_bytes:,}")
    if not upload.content:
        raise BadRequestError(f"{name} is empty; send an encoded picture")
    return upload


def type_of(request: Request) -> str:
    """Return the media type of a body in lower case, without its options."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
