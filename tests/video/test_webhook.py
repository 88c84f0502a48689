"""Events over HTTP: signed, retried, bounded, never in the way; against a real server on this machine."""

from __future__ import annotations

import hashlib
import hmac
import http.server
import json
import threading
import time

import pytest

from arcface_paddle.errors import ConfigError
from arcface_paddle.video import webhook
from arcface_paddle.video.webhook import SECRET_VARIABLE, Webhook

SECRET = "a secret of the receiver"


class Receiver:
    """An HTTP server that answers with what it is told, 204 when nothing is left."""

    def __init__(self, *answers: int, pause_s: float = 0.0) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.paths: list[str] = []
        left, seen, paths = list(answers), self.requests, self.paths

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(pause_s)
                seen.append((dict(self.headers), body))
                paths.append(self.path)
                self.send_response(left.pop(0) if left else 204)
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/events"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def test_events_arrive_in_order_signed_and_after_a_failure(monkeypatch):
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    with Receiver(503, 429) as receiver:
        hook = Webhook(receiver.url, first_pause_s=0.01)
        for number in range(3):
            hook.send({"event": "entered", "track": number, "person": "Zoë"})
        hook.close()
    assert (hook.delivered, hook.lost, hook.problem) == (3, 0, "")
    assert [json.loads(body)["track"] for _, body in receiver.requests] == [0, 0, 0, 1, 2]
    identities = [headers["X-Arcface-Id"] for headers, _ in receiver.requests]
    assert len(set(identities)) == 3 and len(set(identities[:3])) == 1, "an event keeps its number"
    for headers, body in receiver.requests:
        signed = headers["X-Arcface-Timestamp"].encode() + b"." + body
        expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        assert headers["X-Arcface-Signature"] == f"sha256={expected}"
        assert headers["Content-Type"].startswith("application/json")


def test_an_address_that_is_not_ascii_is_written_as_http_carries_it():
    with Receiver() as receiver:
        address = receiver.url.replace("127.0.0.1", "ünter:pässword@127.0.0.1") + "/ü?größe=1&x=%20#part"
        hook = Webhook(address, secret=SECRET)
        hook.send({"event": "entered"})
        hook.close()
    assert (hook.delivered, hook.problem) == (1, "")
    assert receiver.paths == ["/events/%C3%BC?gr%C3%B6%C3%9Fe=1&x=%20"]


@pytest.mark.parametrize("answer", [400, 302])
def test_what_is_refused_is_not_repeated_and_redirects_lead_nowhere(answer):
    with Receiver(answer) as receiver:
        hook = Webhook(receiver.url.replace("http://", "http://me:word@"), secret=SECRET, first_pause_s=0.01)
        hook.send({"event": "left"})
        hook.close()
    assert len(receiver.requests) == 1 and hook.lost == 1
    assert receiver.requests[0][0]["Authorization"] == "Basic bWU6d29yZA=="
    assert f"answered {answer}" in hook.problem and "word" not in hook.problem


def test_nobody_waits_for_a_dead_or_slow_address(monkeypatch):
    monkeypatch.setattr(webhook, "_MOST_WAITING", 5)
    with Receiver(pause_s=0.5) as receiver:
        hook = Webhook(receiver.url, secret=SECRET)
        began = time.monotonic()
        for number in range(50):
            hook.send({"track": number})
        assert time.monotonic() - began < 0.4, "sending only queues"
        hook.close(timeout_s=0.2)
    assert time.monotonic() - began < 3 and hook.lost >= 44 and hook.problem
    hook = Webhook("http://127.0.0.1:1/nobody", secret=SECRET, first_pause_s=30)
    hook.send({"track": 1})
    began = time.monotonic()
    hook.close(timeout_s=0.3)
    assert time.monotonic() - began < 2 and hook.lost == 1 and "cannot be reached" in hook.problem


@pytest.mark.parametrize(
    "url",
    ["ftp://host/x", "file:///etc/passwd", "https://", "host/x", "http://a b/", "http://h:99999/", "http://a..b/x"],
)
def test_other_addresses_are_refused(url):
    with pytest.raises(ConfigError, match="allowed: an address that begins with http"):
        Webhook(url, secret=SECRET)


@pytest.mark.parametrize("secret", [None, "", "too short"])
def test_without_a_secret_nothing_is_sent(secret, monkeypatch):
    monkeypatch.delenv(SECRET_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=SECRET_VARIABLE):
        Webhook("https://example.org/x", secret=secret)
