"""Events sent to a web address, signed, without ever holding up the video.

Each event is one POST of JSON with these headers::

    X-Arcface-Id         the same for every attempt: who has it already can drop it
    X-Arcface-Timestamp  seconds since 1970, when the event was queued
    X-Arcface-Signature  sha256=HEX, HMAC-SHA256 with the secret over "TIMESTAMP.BODY"

A receiver recomputes the signature, compares in constant time, and refuses old time stamps. A status of 2xx is success.
Other answers (429 and 5xx) and failures of the network are tried again after 1, 2, 4, ... seconds; 4xx and redirects
are not. Events wait in a queue of bounded length; of too many, the oldest go.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import os
import secrets
import string
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from dataclasses import dataclass
from typing import Any, Optional
from urllib.parse import quote, unquote, urlsplit

from arcface_paddle.errors import ConfigError

SECRET_VARIABLE = "ARCFACE_PADDLE_WEBHOOK_SECRET"
"""The environment variable that holds the secret; a flag would show it to everybody who lists processes."""

_MOST_WAITING = 1000
_ATTEMPTS = 6
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_TIMEOUT_S = 10.0
_LEAST_SECRET = 16  # characters


@dataclass(frozen=True)
class _Delivery:
    identity: str
    timestamp: str
    body: bytes


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect could lead the events to a place that nobody named."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Webhook:
    """Sends events from a thread of its own.

    Attributes:
        delivered: events that were taken.
        lost: events that were given up, or for which there was no room.
        last_problem: why the last one was given up; empty while none was.
    """

    def __init__(self, url: str, *, secret: Optional[str] = None, first_pause_s: float = _FIRST_PAUSE_S) -> None:
        """Take an address; nothing is sent yet.

        Args:
            url: http or https.
            secret: for the signature; None for the one in the environment.
            first_pause_s: before the second attempt; each further pause is twice as long, up to half a minute.

        Raises:
            ConfigError: another kind of address, or no secret of 16 characters.
        """
        self.delivered = 0
        self.lost = 0
        self.last_problem = ""
        self._url = checked_url(url)
        self._target, self._login = _with_login_apart(url)
        self._secret = checked_secret(secret)
        self._first_pause_s = first_pause_s
        self._waiting: deque[_Delivery] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._deadline = float("inf")
        self._opener = urllib.request.build_opener(_NoRedirects)
        self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)
        self._thread.start()

    def send(self, event: dict[str, Any]) -> None:
        """Queue an event; returns at once."""
        body = json.dumps(event, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")
        delivery = _Delivery(secrets.token_hex(16), str(int(time.time())), body)
        with self._changed:
            if self._closing:
                return
            if len(self._waiting) >= _MOST_WAITING:
                self._waiting.popleft()
                self._lose("more events waited than there is room for")
            self._waiting.append(delivery)
            self._changed.notify_all()

    def close(self, *, timeout_s: float = 10.0) -> None:
        """Wait for what is queued, for a bounded time; what is left then is lost."""
        with self._changed:
            self._closing = True
            self._deadline = time.monotonic() + timeout_s
            self._changed.notify_all()
        self._thread.join(timeout_s + 0.5)
        with self._changed:
            while self._waiting:
                self._waiting.popleft()
                self._lose(self.last_problem or f"the address did not answer within {timeout_s:g} s")

    @property
    def problem(self) -> str:
        """What went wrong so far, in a sentence; empty when everything was delivered."""
        if not self.lost:
            return ""
        return f"--webhook {_without_password(self._url)}: {self.lost} events were not delivered: {self.last_problem}"

    def _run(self) -> None:
        while (delivery := self._next()) is not None:
            self._settle(delivery, done=self._deliver(delivery))
            if time.monotonic() >= self._deadline:
                return

    def _next(self) -> Optional[_Delivery]:
        """Wait for an event, and return it without taking it off the queue; None at the end."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            return self._waiting[0] if self._waiting else None

    def _settle(self, delivery: _Delivery, *, done: bool) -> None:
        """Take an event off the queue, unless it has given way to newer ones meanwhile, and count it."""
        with self._changed:
            if not self._waiting or self._waiting[0] is not delivery:
                return
            self._waiting.popleft()
            self.delivered += done
            if not done:
                self._lose(self.last_problem)

    def _deliver(self, delivery: _Delivery) -> bool:
        """Try until it is taken or there is no hope; True when it was taken."""
        pause_s = self._first_pause_s
        for attempt in range(_ATTEMPTS):
            problem, is_final = self._attempt(delivery)
            if not problem:
                return True
            self.last_problem = problem
            if is_final or attempt == _ATTEMPTS - 1 or not self._pause(pause_s):
                return False
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return False

    def _attempt(self, delivery: _Delivery) -> tuple[str, bool]:
        """Return what went wrong, empty for nothing, and whether another attempt is useless."""
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "arcface-paddle",
            "X-Arcface-Id": delivery.identity,
            "X-Arcface-Timestamp": delivery.timestamp,
            "X-Arcface-Signature": signature(self._secret, delivery.timestamp, delivery.body),
        }
        headers.update(self._login)
        request = urllib.request.Request(self._target, data=delivery.body, headers=headers, method="POST")
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S):
                return "", True
        except urllib.error.HTTPError as error:
            error.close()
            return f"the address answered {error.code}", error.code < 500 and error.code != 429
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
            return f"the address cannot be reached: {getattr(error, 'reason', error)}", False

    def _pause(self, seconds: float) -> bool:
        """Wait; False when the video has ended and there is no time left."""
        until = time.monotonic() + seconds
        with self._changed:
            while time.monotonic() < min(until, self._deadline):
                self._changed.wait(min(until, self._deadline, time.monotonic() + 60) - time.monotonic())
            return time.monotonic() < self._deadline

    def _lose(self, problem: str) -> None:
        self.lost += 1
        self.last_problem = problem


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return the value of ``X-Arcface-Signature``.

    Example:
        >>> signature("sixteen letters!", "1764028800", b"{}")[:20]
        'sha256=bc4bb9c47b714'
    """
    digest = hmac.new(secret.encode("utf-8"), timestamp.encode("ascii") + b"." + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"


def checked_url(url: str) -> str:
    """Return an address that events may be sent to. Raises ``ConfigError`` for any other."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError:  # UnicodeError is one: a name with a part that is empty or too long
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise ConfigError(f"--webhook is {url!r}; allowed: an address that begins with http:// or https:// and a host")
    return url


def checked_secret(given: Optional[str] = None) -> str:
    """Return the secret that was given, or that of the environment. Raises ``ConfigError`` for none or a short one."""
    secret = os.environ.get(SECRET_VARIABLE) if given is None else given
    if secret is None or len(secret) < _LEAST_SECRET:
        what = "is not set" if not secret else f"has {len(secret)} characters"
        raise ConfigError(
            f"--webhook signs events with the secret in the environment variable {SECRET_VARIABLE}, which {what}; set "
            f"it to {_LEAST_SECRET} characters or more that the receiver knows, too"
        )
    return secret


def _with_login_apart(url: str) -> tuple[str, dict[str, str]]:
    """Return the address without name and password, which ``urllib`` does not understand, and them as a header.

    What is not ASCII in it is written as HTTP carries it.
    """
    parts = urlsplit(url)
    parts = parts._replace(path=_quoted(parts.path), query=_quoted(parts.query), fragment="")
    login, at, place = parts.netloc.rpartition("@")
    if not at:
        return parts.geturl(), {}
    name, _, password = login.partition(":")
    encoded = base64.b64encode(f"{unquote(name)}:{unquote(password)}".encode()).decode("ascii")
    return parts._replace(netloc=place).geturl(), {"Authorization": f"Basic {encoded}"}


def _quoted(text: str) -> str:
    return quote(text, safe=string.punctuation, errors="surrogateescape")


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
