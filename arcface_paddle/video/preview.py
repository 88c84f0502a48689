"""The annotated frames in a browser while a run works, where there is no screen: MJPEG on the loopback address.

Nothing waits for a viewer: the run leaves its newest frame here, and each viewer's thread takes the newest whenever the
viewer has taken the one before. A frame becomes a JPEG once, and only if somebody looks.
"""

from __future__ import annotations

import contextlib
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Optional

import numpy as np

from arcface_paddle import images
from arcface_paddle.errors import ConfigError

HOST = "127.0.0.1"
_BOUNDARY = "frame"
_QUALITY = 80
_LONGEST_WAIT_S = 1.0  # for the next frame; then a viewer's thread looks whether the run has ended
_SLOWEST_VIEWER_S = 10.0  # for one frame; then it counts as gone

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>arcface-paddle: preview</title>
<style>
body { margin: 0; background: #14181d; color: #d7dde4; font: 16px/1.4 system-ui, sans-serif; }
main { display: grid; place-items: center; min-height: 100vh; }
img { max-width: 100vw; max-height: 100vh; }
p { padding: 1em; }
</style></head><body><main><img id="frames" src="/frames.mjpg" alt="annotated frames"></main>
<script>
// A browser tells neither of a stream that ends nor of one that breaks: so the run is asked whether it is there.
setInterval(() => fetch("/alive").catch(() => {
  document.querySelector("main").innerHTML = "<p>The run has ended.</p>";
}), 2000);
</script></body></html>
"""


class Preview:
    """A small HTTP server of this run's frames; a context manager that ends with it.

    Attributes:
        address: of the page.
    """

    def __init__(self, port: int) -> None:
        """Listen on ``port`` of the loopback address; 0 takes a free one.

        Raises:
            ConfigError: the port is taken, or may not be used.
        """
        self._newest: Optional[np.ndarray] = None
        self._number = 0
        self._jpeg: tuple[int, bytes] = (0, b"")
        self._changed = threading.Condition()
        self._encoding = threading.Lock()
        self._ended = False
        try:
            self._server = _Server((HOST, port), self)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"the preview cannot listen at {HOST}:{port}: {reason}; give another port") from None
        self.address = f"http://{HOST}:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, name="preview", daemon=True)

    def __enter__(self) -> Preview:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def frame(self, image: np.ndarray) -> None:
        """Show (H, W, 3) uint8 RGB, which must not be changed afterwards; returns at once."""
        with self._changed:
            self._newest = image
            self._number += 1
            self._changed.notify_all()

    def next_jpeg(self, after: int) -> Optional[tuple[int, bytes]]:
        """Wait for a frame that is newer than number ``after`` and return its number and JPEG; None at the end."""
        with self._changed:
            while self._number <= after and not self._ended:
                self._changed.wait(_LONGEST_WAIT_S)
            if self._ended or self._newest is None:
                return None
            number, image = self._number, self._newest
        with self._encoding:
            if self._jpeg[0] < number:
                self._jpeg = (number, images.encode_image(image, suffix=".jpg", quality=_QUALITY))
            return self._jpeg


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # a viewer that does not read must not keep the process
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], preview: Preview) -> None:
        self.preview = preview
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of viewers that went away."""


class _Handler(BaseHTTPRequestHandler):
    """Answers one viewer."""

    server: _Server
    timeout = _SLOWEST_VIEWER_S

    def do_GET(self) -> None:
        """Answer with the page, a sign of life, or the frames."""
        if not self._is_asked_by_own_name():
            self.send_error(HTTPStatus.FORBIDDEN)
        elif self.path == "/":
            self._send(PAGE.encode(), content_type="text/html; charset=utf-8")
        elif self.path == "/alive":
            self._send(b"", content_type="text/plain")
        elif self.path == "/frames.mjpg":
            self._send_frames()
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, *_: Any) -> None:
        """Keep requests out of the terminal, where the run speaks."""

    def _is_asked_by_own_name(self) -> bool:
        """Refuse pages of other sites, whose names lead here by a trick of DNS."""
        return self.headers.get("Host", "").partition(":")[0] in (HOST, "localhost")

    def _send(self, content: bytes, *, content_type: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _send_frames(self) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        number = 0
        with contextlib.suppress(OSError):  # the viewer is gone
            while True:
                found = self.server.preview.next_jpeg(number)
                if found is None:
                    return
                number, content = found
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n"
                self.wfile.write(head.encode() + content + b"\r\n")
