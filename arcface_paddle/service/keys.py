"""API keys: who may do what. The file holds hashes, and is read anew when it changes.

A key is ``afp_ID_SECRET``, its secret 32 random bytes. The hash is one SHA-256: scrypt and its like make guessing of
words that people choose slow, whereas 256 random bits are not guessed at any speed, and a slow hash would let
strangers keep the processor busy. The ID finds the entry, so that the secrets are compared with one other only, in
constant time; an unknown ID takes the same time.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Optional

from arcface_paddle import files
from arcface_paddle.errors import ConfigError
from arcface_paddle.files import PathLike
from arcface_paddle.service.people_records import utc_now
from arcface_paddle.service.service_settings import ROLES
from arcface_paddle.untrusted import DOCUMENT_ERRORS, read_json

KEYS = "keys.json"
"""Name of the file in the state folder."""

_FORMAT, _VERSION = "arcface-paddle-keys", 1
_PREFIX = "afp"
_SECRET_BYTES, _ID_BYTES = 32, 4
_SHA256 = re.compile("[0-9a-f]{64}")
_NOBODY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class ApiKey:
    """A key, as far as it is known.

    Attributes:
        id: 8 hexadecimal digits, the part of the key that is no secret.
        label: whose it is.
        role: one of ``ROLES``.
        sha256: of the secret.
        created: UTC.
    """

    id: str
    label: str
    role: str
    sha256: str
    created: str

    def may(self, role: str) -> bool:
        """Tell whether the key's role contains another."""
        return ROLES.index(self.role) >= ROLES.index(role)


class KeyFile:
    """The keys of a service.

    Args:
        path: the file; without it nobody has a key.
    """

    def __init__(self, path: PathLike) -> None:
        self._path = Path(path)
        self._guard = threading.Lock()
        self._signature: Optional[tuple[int, int, int]] = None
        self._keys: dict[str, ApiKey] = {}

    def list(self) -> tuple[ApiKey, ...]:
        """Return the keys as the file has them now. Raises ``ConfigError`` when it is damaged."""
        return tuple(self._current().values())

    def check(self, presented: str) -> Optional[ApiKey]:
        """Return the key that somebody presents; None when it is not valid, or not any more."""
        prefix, _, rest = presented.partition("_")
        key_id, _, secret = rest.partition("_")
        key = self._current().get(key_id)
        expected = _NOBODY if key is None else key.sha256
        same = hmac.compare_digest(_hash_of(secret), expected)
        return key if same and prefix == _PREFIX and key is not None else None

    def add(self, label: str, *, role: str) -> str:
        """Make a key and return it; it cannot be read from anywhere afterwards.

        Raises:
            ConfigError: an unknown role, an unprintable label, or the file cannot be written.
        """
        if role not in ROLES:
            raise ConfigError(f"the role is {role!r}; allowed: {', '.join(ROLES)}")
        if not label.strip() or not label.isprintable() or len(label) > 200:
            raise ConfigError(f"the name of the key is {label!r:.80}; allowed: up to 200 printable characters")
        key_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
        key = ApiKey(key_id, label.strip(), role, _hash_of(secret), utc_now())
        self._edit(lambda keys: {**keys, key_id: key})
        return f"{_PREFIX}_{key_id}_{secret}"

    def revoke(self, key_id: str) -> ApiKey:
        """Make a key invalid, in running services as well. Raises ``ConfigError`` when there is no such key."""
        removed: list[ApiKey] = []

        def without(keys: dict[str, ApiKey]) -> dict[str, ApiKey]:
            if key_id not in keys:
                raise ConfigError(f"there is no key {key_id!r}; there are: {', '.join(keys) or 'none'}")
            removed.append(keys[key_id])
            return {other: key for other, key in keys.items() if other != key_id}

        self._edit(without)
        return removed[0]

    def _edit(self, change: Callable[[dict[str, ApiKey]], dict[str, ApiKey]]) -> None:
        try:
            make_private_folder(self._path.parent)
            with files.locked(self._path):
                keys = change(self._read() if self._path.exists() else {})
                document = {"format": _FORMAT, "version": _VERSION, "keys": [asdict(key) for key in keys.values()]}
                _write_private(self._path, document)
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be written: {error.strerror or error}") from None

    def _current(self) -> dict[str, ApiKey]:
        try:
            status = self._path.stat()
        except OSError:
            return {}
        signature = status.st_ino, status.st_size, status.st_mtime_ns
        with self._guard:
            if signature != self._signature:
                self._keys, self._signature = self._read(), signature
            return self._keys

    def _read(self) -> dict[str, ApiKey]:
        try:
            document = read_json(self._path, error=ConfigError)
            if document["format"] != _FORMAT or document["version"] != _VERSION:
                raise ValueError("another format")
            keys = [ApiKey(**{name: str(value) for name, value in entry.items()}) for entry in document["keys"]]
            if any(key.role not in ROLES or not _SHA256.fullmatch(key.sha256) for key in keys):
                raise ValueError("a role or a hash that is none")
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be read: {error.strerror or error}") from None
        except DOCUMENT_ERRORS as error:
            raise ConfigError(f"{self._path}: no file of keys ({error}); restore it, or remove it") from None
        return {key.id: key for key in keys}


def make_private_folder(path: Path) -> None:
    """Make a folder that only its owner may enter, unless it is there."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)


def _write_private(path: Path, document: dict[str, Any]) -> None:
    with files.atomic_writer(path, mode=0o600) as stream:
        stream.write((json.dumps(document, ensure_ascii=False, indent=2) + "\n").encode())


def _hash_of(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
