"""Paddle inference models as ONNX, in memory, through paddle2onnx."""

from __future__ import annotations

import contextlib
import logging
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
    # Its advice (".pdmodel is deprecated", "temporary files will be deleted") concerns nobody who exports a model.
    logging.getLogger("paddle2onnx").setLevel(logging.ERROR)
    content = None
    # It ends the process by sys.exit when Paddle cannot load the files.
    with _stdout_silenced(), contextlib.suppress(SystemExit):
        content = paddle2onnx.export(str(graph_file), str(weights_file), opset_version=opset, verbose=False)
    if content is None:
        raise ModelFileError(f"{graph_file}: paddle2onnx cannot convert it")
    return bytes(content)


@contextlib.contextmanager
def _stdout_silenced() -> Iterator[None]:
    """Send file descriptor 1 to nowhere: the converter's C++ part prints progress there, past Python."""
    sys.stdout.flush()
    saved, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(nowhere)
