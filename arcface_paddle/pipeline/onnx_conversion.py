"""Paddle inference models as ONNX, in memory, through paddle2onnx."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
import sys
from pathlib import Path
from typing import Iterator, Optional

from arcface_paddle import files
from arcface_paddle.errors import MissingDependencyError, ModelFileError

_GROUP_NORM_EPSILON = re.compile(rb'"1\.group_norm","A":\[\{"AT":\{"#":"0\.a_f64","D":([^}]+)\},"N":"epsilon"')
"""In the JSON that Paddle 3 writes of a graph."""


def onnx_from_paddle(graph_file: Path, weights_file: Optional[Path], *, opset: int) -> bytes:
    """Convert ``.pdmodel`` or ``.json`` with its ``.pdiparams`` to the bytes of an ONNX file of any batch size.

    Raises:
        MissingDependencyError: paddle2onnx is not installed.
        ConfigError: there is no folder for temporary files.
        ModelFileError: it cannot convert this network, or there is no room for temporary files.
    """
    try:
        import paddle2onnx
    except ImportError:
        purpose = "turning a Paddle model into ONNX"
        raise MissingDependencyError("paddle2onnx", extra="onnx", purpose=purpose) from None
    # Its advice (".pdmodel is deprecated", "temporary files will be deleted") concerns nobody who exports a model.
    logging.getLogger("paddle2onnx").setLevel(logging.ERROR)
    content = None
    room = _room_for(graph_file, weights_file)
    # It ends the process by sys.exit when Paddle cannot load the files, or lets through what the disk says.
    with _stdout_silenced(), _room_for_temporaries(room), contextlib.suppress(SystemExit, OSError):
        content = paddle2onnx.export(str(graph_file), str(weights_file), opset_version=opset, verbose=False)
    if content is None:
        raise ModelFileError(f"{graph_file}: paddle2onnx cannot convert it")
    return _with_group_norm_epsilons(bytes(content), graph_file)


def _room_for(graph_file: Path, weights_file: Optional[Path]) -> int:
    """Return how many bytes the graph takes that is written on the way: one of Paddle 2 is written anew."""
    if graph_file.suffix != ".pdmodel" or weights_file is None:
        return 0
    return graph_file.stat().st_size + weights_file.stat().st_size


@contextlib.contextmanager
def _room_for_temporaries(size: int) -> Iterator[None]:
    """Let paddle2onnx write on the way into a folder that goes even if the process is killed, and has room.

    On a full disk Paddle writes a part of the weights and says nothing, and the others are accidental numbers then.
    """
    if not size:
        yield
        return
    with files.scratch_folder() as folder:
        vars(importlib.import_module("paddle2onnx.convert"))["PADDLE2ONNX_EXPORT_TEMP_DIR"] = str(folder)
        _require_room(folder.parent, size)
        yield
        _require_room(folder.parent, size)  # others may have written there, too


def _require_room(folder: Path, size: int) -> None:
    try:
        files.require_room(folder, size=size)
    except OSError as error:
        raise ModelFileError(f"{folder}: cannot be written: {error.strerror or error}; make room there") from None


def _with_group_norm_epsilons(content: bytes, graph_file: Path) -> bytes:
    """Give the group normalisations of an ONNX file, there instance normalisations, the epsilon of the Paddle graph.

    Paddle 3 writes it as a double, paddle2onnx 2 reads a float, and what it then stores is an accidental number.
    """
    epsilons = [float(text) for text in _GROUP_NORM_EPSILON.findall(graph_file.read_bytes())]
    if not epsilons:
        return content
    import onnx  # a dependency of paddle2onnx

    model = onnx.load_from_string(content)
    nodes = [node for node in model.graph.node if node.op_type == "InstanceNormalization"]
    if len(nodes) != len(epsilons):
        raise ModelFileError(f"{graph_file}: paddle2onnx turns its group normalisations into something unknown")
    for node, epsilon in zip(nodes, epsilons):
        for attribute in node.attribute:
            if attribute.name == "epsilon":
                attribute.f = epsilon
    return bytes(model.SerializeToString())


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
