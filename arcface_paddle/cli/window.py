"""A window on the user's screen that shows pictures or frames while they are recognised (``--show``)."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from arcface_paddle.errors import ConfigError

if TYPE_CHECKING:  # --help of the commands that open windows imports nothing heavy
    import numpy as np

_TITLE = "arcface-paddle: q or Esc ends"
_LONGEST_SIDE = 1600  # pixels that a usual screen has room for
_ENDING_KEYS = frozenset({ord("q"), ord("Q"), 27})
_FRAME_MS, _POLL_MS = 1, 50  # how long the window may look for a key: between frames, and while a picture stands
_PROBE_TIMEOUT_S = 30.0

# Qt ends the whole process where there is no screen, so that another process has to try; not with a module of this name
# that lies in the folder of the pictures.
_PROBE = (
    "import sys; sys.path = [path for path in sys.path if path]; "
    "import cv2; cv2.namedWindow('probe'); cv2.destroyAllWindows()"
)
_BUILT_WITHOUT = "not implemented"  # in OpenCV's error, of the builds without windows


def require_display() -> None:
    """Check that a window can be opened here.

    Raises:
        ConfigError: OpenCV's build has no windows, or there is no screen.
    """
    command = [sys.executable, "-c", _PROBE]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PROBE_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise ConfigError(f"--show: the screen does not answer within {_PROBE_TIMEOUT_S:.0f} s") from None
    if done.returncode == 0:
        return
    if _BUILT_WITHOUT in done.stderr.decode("utf-8", errors="replace"):
        raise ConfigError(
            "--show needs the build of OpenCV that has windows in place of the headless one: pip uninstall "
            "opencv-python-headless, then pip install --force-reinstall --no-deps opencv-python"
        )
    raise ConfigError(
        "--show: no screen can be opened here (on Linux: is DISPLAY or WAYLAND_DISPLAY set?); without --show the "
        "annotated copies go to --output"
    )


class Window:
    """Shows one picture after the other.

    Attributes:
        ended: whether the user wants no more: by a key, or by closing the window.
    """

    def __init__(self) -> None:
        self.ended = False
        self._is_open = False

    def frame(self, image: np.ndarray) -> None:
        """Show a frame (H, W, 3) uint8 RGB and go on at once."""
        if not self.ended:
            self._show(image)
            self._poll(_FRAME_MS)

    def picture(self, image: np.ndarray) -> None:
        """Show a picture (H, W, 3) uint8 RGB until a key is pressed or the window is closed."""
        if self.ended:
            return
        self._show(image)
        while not self._poll(_POLL_MS):
            pass

    def close(self) -> None:
        """Take the window away."""
        import cv2

        if self._is_open:
            self._is_open = False
            cv2.destroyWindow(_TITLE)
            cv2.waitKey(1)  # lets it happen

    def _show(self, image: np.ndarray) -> None:
        import cv2

        from arcface_paddle import images

        factor = min(1.0, _LONGEST_SIDE / max(image.shape[:2]))
        size_wh = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
        shown = images.resize(image, size_wh) if factor < 1 else image
        if not self._is_open:
            cv2.namedWindow(_TITLE, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)
            self._is_open = True
        cv2.imshow(_TITLE, cv2.cvtColor(shown, cv2.COLOR_RGB2BGR))

    def _poll(self, wait_ms: int) -> bool:
        """Look for a key or a closed window; return whether there was either."""
        import cv2

        key = cv2.waitKey(wait_ms)
        gone = cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) < 1
        if gone:
            self._is_open = False
        self.ended = self.ended or gone or ((key & 0xFF) in _ENDING_KEYS and key >= 0)
        return gone or key >= 0
