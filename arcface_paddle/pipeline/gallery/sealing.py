"""Encryption of a gallery file and its journal: AES-256-GCM of the package ``cryptography``.

An encrypted file is a head of 64 bytes, then pieces of 1 MiB, each with a tag of 16 bytes::

    magic (8)   id of the key (8)   salt (32)   zeros (16)

Every file has a key of its own, made by HKDF-SHA256 of the key and a random salt, so that a piece's number is enough of
a nonce. The head is authenticated with every piece, the number of a piece and whether it is the last one are in its
nonce: a file that was cut off, put together anew or of which a bit was changed is refused. That somebody puts back a
whole older file, or cuts a journal off where a change ends, cannot be told by the file alone.

Records of the journal have a key of their own, a random nonce each (a torn record is written anew at the same place),
and are bound to their place. The journal's head holds the salt of the file that it continues.
"""

from __future__ import annotations

import importlib
import io
import os
import secrets
from typing import Any, BinaryIO, Optional

import numpy as np

from arcface_paddle.errors import GalleryError, MissingDependencyError
from arcface_paddle.pipeline.gallery import keys
from arcface_paddle.pipeline.gallery.keys import GalleryKey

MAGIC = b"AFPSEAL1"
HEAD_BYTES = 64
SALT_BYTES = 32

_PIECE_BYTES = 1 << 20
_TAG_BYTES = 16
_NONCE_BYTES = 12


def is_sealed(content: bytes) -> bool:
    """Tell by the first bytes whether this is an encrypted gallery file."""
    return content.startswith(MAGIC)


class RecordCipher:
    """Encrypts records of a journal.

    Args:
        key: of the gallery.
        salt: of the file that the journal continues.
    """

    def __init__(self, key: GalleryKey, salt: bytes) -> None:
        self._cipher = _cipher_of(key, salt, purpose=b"journal")

    def seal(self, content: bytes, *, offset: int) -> bytes:
        """Encrypt a record that is to stand at byte ``offset`` of the journal."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + bytes(self._cipher.encrypt(nonce, content, offset.to_bytes(8, "big")))

    def open(self, sealed: bytes, *, offset: int) -> Optional[bytes]:
        """Decrypt a record; None when it is not what was written there."""
        try:
            return bytes(self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], offset.to_bytes(8, "big")))
        except _refusals():
            return None


class TextCipher:
    """Encrypts short texts so that equal ones stay equal (AES-SIV), for databases that look them up.

    Args:
        key: of the gallery.
    """

    def __init__(self, key: GalleryKey) -> None:
        self._key = key
        derive = _load("kdf.hkdf").HKDF(
            algorithm=_load("hashes").SHA256(), length=64, salt=None, info=b"arcface-paddle gallery texts"
        )
        self._cipher = _load("ciphers.aead").AESSIV(derive.derive(key.secret))

    def seal(self, text: str) -> bytes:
        """Return the encrypted text: the id of the key, then what it gives."""
        # AES-SIV encrypts no empty text, so that a byte goes before each.
        return self._key.id + bytes(self._cipher.encrypt(b"\0" + text.encode("utf-8", "surrogatepass"), None))

    def open(self, sealed: bytes, *, name: str) -> str:
        """Return the text. Raises ``GalleryError`` when it is not one that this key has encrypted."""
        try:
            content = bytes(self._cipher.decrypt(sealed[keys.ID_BYTES :], None))
        except _refusals():
            raise GalleryError(f"{name}: an encrypted text is damaged; restore it from a backup") from None
        return content[1:].decode("utf-8", "surrogatepass")


def opened_text(sealed: bytes, *, name: str) -> str:
    """Return a text that any of the known keys has encrypted. Raises ``GalleryError`` when its key is not known."""
    return TextCipher(keys.key_of(sealed[: keys.ID_BYTES], name=name)).open(sealed, name=name)


class SealedWriter(io.RawIOBase):
    """Encrypts what is written into it; nothing of it reaches the disk in plain text. ``finish`` ends the file.

    Args:
        stream: takes the encrypted file.
        key: of the gallery.
    """

    def __init__(self, stream: BinaryIO, key: GalleryKey) -> None:
        self.salt = secrets.token_bytes(SALT_BYTES)
        self._stream = stream
        self._head = _head_of(key, self.salt)
        self._cipher = _cipher_of(key, self.salt, purpose=b"file")
        self._waiting = bytearray()
        self._pieces = 0
        self._position = 0
        stream.write(self._head)

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        return self._position

    def write(self, content: Any) -> int:
        view = memoryview(content).cast("B")
        for first in range(0, len(view), _PIECE_BYTES):
            self._waiting += view[first : first + _PIECE_BYTES]
            while len(self._waiting) > _PIECE_BYTES:  # one piece is held back: it may be the last
                self._write_piece(last=False)
        self._position += len(view)
        return len(view)

    def finish(self) -> None:
        """Write the last piece."""
        self._write_piece(last=True)

    def _write_piece(self, *, last: bool) -> None:
        piece = bytes(self._waiting[:_PIECE_BYTES])
        del self._waiting[:_PIECE_BYTES]
        self._stream.write(self._cipher.encrypt(_nonce(self._pieces, last=last), piece, self._head))
        self._pieces += 1


class SealedReader(io.RawIOBase):
    """An encrypted gallery file as the plain one that it holds; only a piece at a time is in memory.

    Args:
        stream: the encrypted file, at its beginning.
        name: for messages.

    Raises:
        GalleryError: no key, another one, or the file is cut off or damaged.
    """

    def __init__(self, stream: BinaryIO, *, name: str) -> None:
        self._stream = stream
        self._name = name
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        self._head = stream.read(HEAD_BYTES)
        body = size - HEAD_BYTES
        self._pieces = -(-body // (_PIECE_BYTES + _TAG_BYTES))
        if len(self._head) < HEAD_BYTES or self._pieces < 1 or not is_sealed(self._head):
            raise self._damaged()
        begin = len(MAGIC) + keys.ID_BYTES
        self.salt = self._head[begin : begin + SALT_BYTES]
        self.key = keys.key_of(self._head[len(MAGIC) : begin], name=name)
        self._cipher = _cipher_of(self.key, self.salt, purpose=b"file")
        self._size = body - self._pieces * _TAG_BYTES
        self._position = 0
        self._number = -1
        self._piece = b""
        self._require_piece(self._pieces - 1)  # the last one: nothing is missing after it

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and self._position < self._size:
            number, begin = divmod(self._position, _PIECE_BYTES)
            self._require_piece(number)
            part = memoryview(self._piece)[begin : begin + len(view) - done]
            view[done : done + len(part)] = part
            done += len(part)
            self._position += len(part)
        return done

    def array(self, begin: int, size: int) -> np.ndarray:
        """Return (size,) uint8, what the plain file has from byte ``begin`` on.

        Raises:
            EOFError: it ends before that.
        """
        if begin + size > self._size:
            raise EOFError(f"{begin + size - self._size} bytes are missing")
        content = np.empty(size, np.uint8)
        self.seek(begin)
        self.readinto(content)
        return content

    def _require_piece(self, number: int) -> None:
        if number == self._number:
            return
        self._stream.seek(HEAD_BYTES + number * (_PIECE_BYTES + _TAG_BYTES))
        sealed = self._stream.read(_PIECE_BYTES + _TAG_BYTES)
        try:
            nonce = _nonce(number, last=number == self._pieces - 1)
            self._piece = bytes(self._cipher.decrypt(nonce, sealed, self._head))
        except _refusals():
            raise self._damaged() from None
        self._number = number

    def _damaged(self) -> GalleryError:
        return GalleryError(f"{self._name}: the encrypted gallery is damaged or cut off; restore it from a backup")


def _head_of(key: GalleryKey, salt: bytes) -> bytes:
    return (MAGIC + key.id + salt).ljust(HEAD_BYTES, b"\0")


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(_NONCE_BYTES - 1, "big") + (b"\1" if last else b"\0")


def _cipher_of(key: GalleryKey, salt: bytes, *, purpose: bytes) -> Any:
    """Return AES-256-GCM with a key for one file and one purpose."""
    aead = _load("ciphers.aead")
    derive = _load("kdf.hkdf").HKDF(
        algorithm=_load("hashes").SHA256(), length=32, salt=salt, info=b"arcface-paddle gallery " + purpose
    )
    return aead.AESGCM(derive.derive(key.secret))


def _refusals() -> tuple[type[Exception], ...]:
    exceptions = importlib.import_module("cryptography.exceptions")
    return exceptions.InvalidTag, ValueError  # ValueError: shorter than a nonce or a tag


def _load(name: str) -> Any:
    try:
        return importlib.import_module(f"cryptography.hazmat.primitives.{name}")
    except ImportError:
        raise MissingDependencyError("cryptography", extra="encryption", purpose="an encrypted gallery") from None
