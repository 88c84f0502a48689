"""Fetching a file over HTTP that may break off: it goes on where it stopped, and is held against its hash.

What has arrived lies in a file ``PART``; beside it ``PART.from`` says of which content it is the beginning: the address
and what the server calls its version (ETag, or the time of its last change). The next try asks for the rest of that
version (RFC 9110, 13.1.5 and 14.2); a server that has another one, or knows no ranges, sends all, and all begins anew.
"""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, BinaryIO, Mapping, Optional

from tqdm import tqdm

from arcface_paddle import files
from arcface_paddle.errors import ModelFileError
from arcface_paddle.untrusted import DOCUMENT_ERRORS, read_json

TIMEOUT_S = 30.0
NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError)
_BLOCK_BYTES = 1 << 16
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_TRIES_WITHOUT_GAIN = 3  # connections in a row that bring nothing, after one that did
_RANGE = re.compile(r"bytes ([0-9]{1,15})-[0-9]{1,15}/([0-9]{1,15}|\*)")
_RANGE_NOT_SATISFIABLE, _PARTIAL_CONTENT = 416, 206


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections, but none from an encrypted connection to one that is not."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise urllib.error.URLError(f"it redirects to {newurl!r:.200}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, part: Path, *, most_bytes: int, sha256: str = "") -> str:
    """Fetch a file into ``part``, of which the beginning may be there.

    A connection that breaks is opened again as long as each brings something. When that fails, what has arrived stays
    for the next call.

    Args:
        url: its address.
        part: where to; its folder must exist.
        most_bytes: a longer file is refused.
        sha256: of the whole file, hexadecimal; empty when it is not known.

    Returns:
        The SHA-256 of what has arrived.

    Raises:
        ModelFileError: too long, cut off, or another content than ``sha256`` says; it is removed then.
        NETWORK_ERRORS: no connection, or none that lasts.
        OSError: it cannot be written.
    """
    if not _is_beginning_of(url, part, pinned=bool(sha256)):
        remove(part)
    pause_s, vain = _FIRST_PAUSE_S, 0
    while True:
        before = _size(part)
        try:
            if _receive(url, part, most_bytes=most_bytes):
                break
            problem: Exception = ConnectionError(f"{_size(part):,} bytes arrived, and then no more")
        except NETWORK_ERRORS as error:
            problem = error
        vain = 0 if _size(part) > before else vain + 1
        if vain and (not _size(part) or vain >= _TRIES_WITHOUT_GAIN or _is_refusal(problem)):
            raise problem
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    return _checked(url, part, sha256=sha256)


def remove(part: Path) -> None:
    """Remove what has arrived, and what is known of it."""
    part.unlink(missing_ok=True)
    _facts_path(part).unlink(missing_ok=True)


def _receive(url: str, part: Path, *, most_bytes: int) -> bool:
    """Fetch over one connection; tell whether all is there."""
    have = _size(part)
    request = urllib.request.Request(url, headers=_range_headers(part, have))
    try:
        response = urllib.request.build_opener(_SafeRedirects).open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != _RANGE_NOT_SATISFIABLE or not have:
            raise
        remove(part)  # what is there is no beginning of it
        return _receive(url, part, most_bytes=most_bytes)
    except (ValueError, OverflowError) as error:  # ``urllib`` follows a redirection to whatever it says
        raise urllib.error.URLError(f"it redirects to an address that is none: {error!s:.200}") from None
    with response:
        begin, total = _span(response, have)
        if begin not in (0, have):
            if not have:
                raise ModelFileError(f"{url}: the server sends a part of the file, and was asked for all of it")
            remove(part)
            return _receive(url, part, most_bytes=most_bytes)
        if total is not None and total > most_bytes:
            raise _too_long(url, part, most_bytes)
        if not begin:
            files.write_json(_facts_path(part), {"url": url, "version": _version(response.headers)})
        with part.open("r+b" if begin else "wb") as target:
            target.seek(begin)
            received = _copy(response, target, url=url, begin=begin, total=total, most_bytes=most_bytes)
    if received > most_bytes:
        raise _too_long(url, part, most_bytes)
    if total is not None and received > total:
        remove(part)
        raise ModelFileError(f"{url}: {received:,} bytes arrived where {total:,} were announced; try again")
    return total is None or received == total


def _copy(response: Any, target: BinaryIO, *, url: str, begin: int, total: Optional[int], most_bytes: int) -> int:
    """Write what arrives; return where the file ends then, which is beyond ``most_bytes`` when more came."""
    position = begin
    label = url.rsplit("/", 1)[-1]
    with tqdm(total=total, initial=begin, unit="B", unit_scale=True, desc=label, disable=None) as progress:
        for block in iter(lambda: response.read(_BLOCK_BYTES), b""):
            position += len(block)
            if position > most_bytes:
                break
            target.write(block)
            progress.update(len(block))
    return position


def _span(response: Any, have: int) -> tuple[int, Optional[int]]:
    """Return where the answer begins in the file, and how long the file is as far as the server says."""
    if response.status == _PARTIAL_CONTENT:
        found = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if found is None:
            return -1, None
        return int(found[1]), None if found[2] == "*" else int(found[2])
    announced = response.headers.get("Content-Length", "")
    return 0, int(announced) if re.fullmatch("[0-9]{1,15}", announced) else None


def _range_headers(part: Path, have: int) -> dict[str, str]:
    if not have:
        return {}
    version = _facts(part).get("version", "")
    return {"Range": f"bytes={have}-", **({"If-Range": version} if version else {})}


def _version(headers: Mapping[str, str]) -> str:
    """Return what a server calls this version of the file; a weak ETag does not vouch for bytes."""
    tag = headers.get("ETag", "")
    version = tag if tag.startswith('"') else headers.get("Last-Modified", "")
    return version if len(version) < 200 and version.isprintable() else ""


def _is_beginning_of(url: str, part: Path, *, pinned: bool) -> bool:
    """Tell whether to go on with what is there: of the same address, and of a known version or with a known hash."""
    facts = _facts(part)
    return part.is_file() and facts.get("url") == url and (pinned or bool(facts.get("version")))


def _facts(part: Path) -> dict[str, str]:
    try:
        facts = read_json(_facts_path(part), error=ModelFileError)
        return {key: str(facts[key]) for key in ("url", "version")}
    except (OSError, ModelFileError, *DOCUMENT_ERRORS):
        return {}


def _facts_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.from")


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _is_refusal(problem: Exception) -> bool:
    """Tell whether the server has answered that it will not give the file, so that asking again is in vain."""
    return isinstance(problem, urllib.error.HTTPError) and problem.code < 500


def _too_long(url: str, part: Path, most_bytes: int) -> ModelFileError:
    remove(part)
    return ModelFileError(f"{url}: more than {most_bytes:,} bytes; not fetched")


def _checked(url: str, part: Path, *, sha256: str) -> str:
    found = files.sha256_of_file(part)
    if sha256 and found != sha256.lower():
        remove(part)
        raise ModelFileError(
            f"{url}: the SHA-256 of what arrived is {found}, expected is {sha256.lower()}; it was not unpacked. Try "
            "again; if it stays so, the file on the server is another one, and should not be trusted"
        )
    return found
