"""Paddle inference models as ONNX, in memory, through paddle2onnx."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Iterator, Optional

from arcface_paddle.errors import MissingDependencyError, ModelFileError


def onnx_from_paddle(graph_file: Path, weights_file: Optional[Path], *, opset: int) -> bytes:
    """Convert ``.pdmodel`` or ``.json`` with its ``.pdiparams`` to the bytes of an ONNX file of any batch size.

    Raises:
        MissingDependencyError: paddle2onnx is not installed.
        ModelFileError: it cannot convert this network.
    """
    try:
        import paddle2onnx
    except ImportError:
        purpose = "turning a Paddle model into ONNX"
        raise MissingDependencyError("paddle2onnx", extra="onnx", purpose=purpose) from None
    with _stdout_to_stderr():
        content = paddle2onnx.export(str(graph_file), str(weights_file), opset_version=opset, verbose=False)
    if content is None:
        raise ModelFileError(f"{graph_file}: paddle2onnx cannot convert it")
    return bytes(content)


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Keep paddle2onnx's C++ messages off stdout, where a command may be writing JSON."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
