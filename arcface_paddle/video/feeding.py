"""Frames read ahead in a thread of their own, so that decoding overlaps with what is done with them.

From a file every frame is wanted: the thread waits while enough of them are ready. A camera or a stream does not wait:
the oldest frame that nobody has taken gives way to the newest, so that what is shown is never older than a moment.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from typing import Iterator, Optional

from arcface_paddle.video.frames import FrameSource, VideoFrame

_PATIENCE_S = 2.0  # for a read to end when nobody wants more; a stalled stream keeps its thread for longer


class FrameFeed:
    """The frames of a source, read ahead; a context manager that closes the source.

    Attributes:
        dropped: frames that were never given, because newer ones came before they were taken.
    """

    def __init__(self, source: FrameSource, *, ahead: int) -> None:
        """Take an open source; reading begins with the context.

        Args:
            source: closed by this feed, in the thread that reads it.
            ahead: how many frames are held at most.
        """
        self.dropped = 0
        self._source = source
        self._ready: deque[VideoFrame] = deque()
        self._ahead = ahead
        self._changed = threading.Condition()
        self._stopped = False
        self._ended = False
        self._caught = _Caught()
        self._thread = threading.Thread(target=self._read, name="frames", daemon=True)

    def __enter__(self) -> FrameFeed:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopped = True
            self._ready.clear()
            self._changed.notify_all()
        self._source.stop()
        self._thread.join(_PATIENCE_S)

    def __iter__(self) -> Iterator[VideoFrame]:
        """Give the frames in order. What went wrong while reading is raised here."""
        while True:
            with self._changed:
                while not self._ready and not self._ended:
                    self._changed.wait()
                if not self._ready:
                    break
                frame = self._ready.popleft()
                self._changed.notify_all()
            yield frame
        if self._caught.error is not None:
            raise self._caught.error

    def _read(self) -> None:
        with self._caught, contextlib.closing(self._source):
            for frame in self._source:
                if not self._offer(frame):
                    break
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _offer(self, frame: VideoFrame) -> bool:
        """Hold a frame ready; return False when nobody wants more."""
        with self._changed:
            if self._source.is_live and len(self._ready) >= self._ahead:
                self._ready.popleft()
                self.dropped += 1
            while len(self._ready) >= self._ahead and not self._stopped:
                self._changed.wait()
            if self._stopped:
                return False
            self._ready.append(frame)
            self._changed.notify_all()
            return True


class _Caught:
    """A context that keeps the error that leaves it, for another thread to raise."""

    def __init__(self) -> None:
        self.error: Optional[BaseException] = None

    def __enter__(self) -> _Caught:
        return self

    def __exit__(self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: object) -> bool:
        self.error = error
        return True
