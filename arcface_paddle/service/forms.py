"""Forms with files, taken apart while they arrive: nothing is written to disk that the receiver does not write.

The frameworks' own parsers put every file of more than a megabyte into a folder for temporary files, and keep all
smaller ones in memory: neither suits a bulk enrolment of thousands, nor a container that may not write.
"""

from __future__ import annotations

from typing import Any, Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from arcface_paddle.service.errors import BadRequestError


class PartReceiver(Protocol):
    """Whoever takes the parts of a form, one after the other."""

    def begin(self, field: str, file_name: str) -> None:
        """A part begins; the file name is empty for a plain field, and may hold anything."""

    def data(self, content: bytes) -> None: ...
    def end(self) -> None: ...


async def receive_form(request: Request, receiver: PartReceiver) -> None:
    """Give the parts of a form to a receiver while the body arrives.

    Raises:
        BadRequestError: a malformed form; and what the receiver raises.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise BadRequestError("the form names no boundary in its Content-Type")
    parts = _Parts(receiver)
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        async for chunk in request.stream():
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise BadRequestError(f"the form cannot be read: {error}"[:300]) from None
    if not parts.complete:
        raise BadRequestError("the form ends before its last boundary")


class _Parts:
    """Turns what the parser reports into parts.

    Attributes:
        complete: the last boundary was seen.
    """

    def __init__(self, receiver: PartReceiver) -> None:
        self.complete = False
        self._receiver = receiver
        self._name, self._value = b"", b""
        self._disposition = b""

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._data,
            "on_part_end": self._receiver.end,
            "on_end": self._complete,
        }

    def _begin(self) -> None:
        self._name = self._value = self._disposition = b""

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _headers_end(self) -> None:
        options = parse_options_header(self._disposition)[1]
        if b"name" not in options:
            raise BadRequestError("a part of the form has no name")
        field, file_name = (options.get(key, b"").decode("utf-8", "replace") for key in (b"name", b"filename"))
        self._receiver.begin(field, file_name.replace("%22", '"'))  # as browsers write a quotation mark

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._receiver.data(bytes(data[start:end]))

    def _complete(self) -> None:
        self.complete = True
