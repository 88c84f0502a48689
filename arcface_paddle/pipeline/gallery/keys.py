"""Keys that gallery files are encrypted with: where they come from, and how one is made.

A key comes from the environment or from a file, never from the command line, which every user of a machine can read.
Of several keys the first one encrypts and all of them decrypt. So a key is exchanged without a break: put the new one
first, ``gallery rekey`` every file, remove the old one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional, Sequence

from arcface_paddle import files
from arcface_paddle.errors import GalleryError

VARIABLE = "ARCFACE_PADDLE_GALLERY_KEY"
"""Environment variable that holds keys."""

FILE_VARIABLE = "ARCFACE_PADDLE_GALLERY_KEY_FILE"
"""Environment variable that names a file of keys; it is read anew whenever a gallery is."""

SECRET_BYTES = 32
ID_BYTES = 8

_SEPARATORS = re.compile(r"[\s,]+")
_MOST_BYTES = 1 << 16


@dataclass(frozen=True)
class GalleryKey:
    """A key.

    Attributes:
        id: 8 bytes that tell keys apart and say nothing of the secret.
        secret: 32 bytes.
    """

    id: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def of(cls, secret: bytes) -> GalleryKey:
        """Return the key of a secret."""
        return cls(hashlib.sha256(b"arcface-paddle gallery key id" + secret).digest()[:ID_BYTES], secret)


def known_keys() -> tuple[GalleryKey, ...]:
    """Return the keys of the environment, the one that encrypts first; none where galleries are not encrypted.

    Raises:
        GalleryError: both variables are set, the file cannot be read, or what is there is no key.
    """
    text, path = os.environ.get(VARIABLE, ""), os.environ.get(FILE_VARIABLE, "")
    if text and path:
        raise GalleryError(f"{VARIABLE} and {FILE_VARIABLE} are both set; keep one of them")
    if path:
        return read_keys(path)
    return _parsed(text, origin=VARIABLE) if text else ()


def read_keys(path: files.PathLike) -> tuple[GalleryKey, ...]:
    """Read a file of keys, one a line; ``#`` begins a comment.

    Raises:
        GalleryError: it cannot be read, or holds something else.
    """
    return _parsed(_text_of(path), origin=str(path))


def make_key(path: files.PathLike) -> GalleryKey:
    """Make a key and put it into a file that only its owner may read, before those that are in it.

    Raises:
        GalleryError: what is there is no file of keys, or it cannot be written.
    """
    before = _text_of(path) if Path(path).exists() else ""
    if before:
        _parsed(before, origin=str(path))
    key = GalleryKey.of(secrets.token_bytes(SECRET_BYTES))
    try:
        with files.atomic_writer(path, mode=0o600) as stream:
            stream.write(f"{base64.urlsafe_b64encode(key.secret).decode()}\n{before}".encode())
    except OSError as error:
        raise GalleryError(f"{path}: cannot write the key: {error.strerror or error}") from None
    return key


def key_of(key_id: bytes, *, name: str) -> GalleryKey:
    """Return the key of an encrypted gallery.

    Raises:
        GalleryError: there is none, or it is another one.
    """
    known = known_keys()
    for key in known:
        if key.id == key_id:
            return key
    if not known:
        raise GalleryError(
            f"{name}: is encrypted (key {key_id.hex()}) and no key is given; set {FILE_VARIABLE} or {VARIABLE}"
        )
    raise GalleryError(f"{name}: is encrypted with the key {key_id.hex()}; the one given is {_listed(known)}")


def _listed(keys: Sequence[GalleryKey]) -> str:
    return ", ".join(key.id.hex() for key in keys)


def _text_of(path: files.PathLike) -> str:
    try:
        with files.open_regular(path) as stream:
            return stream.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise GalleryError(f"{path}: cannot read the key of galleries: {error.strerror or error}") from None


def _parsed(text: str, *, origin: str) -> tuple[GalleryKey, ...]:
    lines = [line.partition("#")[0] for line in text.splitlines()]
    words = [word for word in _SEPARATORS.split(" ".join(lines)) if word]
    found = [_secret_of(word) for word in words]
    whole = [secret for secret in found if secret is not None]
    if not whole or len(whole) != len(found):
        raise GalleryError(  # never with what was found there: it may be a secret of something else
            f"{origin}: holds no key; allowed: {SECRET_BYTES} random bytes as base64 or hexadecimal digits, one or "
            "several; 'arcface-paddle gallery key FILE' makes one"
        )
    return tuple(GalleryKey.of(secret) for secret in whole)


def _secret_of(word: str) -> Optional[bytes]:
    try:
        if len(word) == 2 * SECRET_BYTES:
            return bytes.fromhex(word)
        secret = base64.b64decode(word.replace("-", "+").replace("_", "/"), validate=True)
    except (ValueError, binascii.Error):
        return None
    return secret if len(secret) == SECRET_BYTES else None
