"""Keeps the engines from reporting about their users; it must be called before one of them is imported."""

from __future__ import annotations

import os
import sys


def forbid_telemetry() -> None:
    """Turn off what OpenVINO and ONNX Runtime send and leave in the home folder, for this process and its children.

    ``import openvino`` writes an identifier into the home folder and sends an event to Google Analytics
    (``openvino/tools/ovc/__init__.py``). Its own way out is a missing ``openvino_telemetry``, for which it brings a
    stub that does nothing; None in ``sys.modules`` is Python's way of saying that a module cannot be imported.

    ONNX Runtime (seen in 1.32) writes an identifier and a database of events below ``~/.cache/Microsoft`` on Linux too,
    unless its variable says no. Whoever has set that variable has decided for themselves.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # documented, but not in the types
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
