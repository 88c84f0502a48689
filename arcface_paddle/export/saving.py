"""Write a network as an inference model: ``inference.pdmodel``, ``inference.json`` or ``inference.onnx``.

``pdmodel`` is the format of Paddle 2, readable by Paddle 2.6 and Paddle 3; ``json`` is that of Paddle 3.
Both come with ``inference.pdiparams``. All three take any batch size.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import ContextManager, Optional

import paddle
from paddle.static import InputSpec

from arcface_paddle import devices, files
from arcface_paddle.errors import ConfigError, ModelFileError
from arcface_paddle.export.graph import INPUT_NAME, INPUT_SHAPE
from arcface_paddle.pipeline.onnx_conversion import onnx_from_paddle

FORMATS = ("pdmodel", "json", "onnx")
ONNX_FILE = "inference.onnx"
_STEM = "inference"
_ONNX_OPSET = 17  # per-channel quantisation needs 13 or newer


def save_model(graph: paddle.nn.Layer, folder: Path, *, model_format: str) -> list[str]:
    """Save ``graph`` (input ``x`` (B, 3, 112, 112) float32) into ``folder`` and return the names of the files.

    Raises:
        ConfigError: an unknown format.
        MissingDependencyError: ONNX without paddle2onnx.
        ModelFileError: the conversion to ONNX failed, or the disk is full.
    """
    if model_format not in FORMATS:
        raise ConfigError(f"format is {model_format!r}; allowed: {', '.join(FORMATS)}")
    devices.require_paddle()
    if model_format == "onnx":
        save_onnx(graph, folder / ONNX_FILE)
        return [ONNX_FILE]
    with _old_format() if model_format == "pdmodel" else contextlib.nullcontext():
        _save_paddle(graph, folder / _STEM)
    if model_format == "pdmodel":
        forget_call_stacks(folder / f"{_STEM}.pdmodel")
    # The third file of the old format serves the training of static graphs; no predictor reads it.
    (folder / f"{_STEM}.pdiparams.info").unlink(missing_ok=True)
    return [f"{_STEM}.{model_format}", f"{_STEM}.pdiparams"]


def _old_format() -> ContextManager[None]:
    from paddle.pir_utils import OldIrGuard  # Paddle 2 has none

    return OldIrGuard()


def _save_paddle(graph: paddle.nn.Layer, stem: Path) -> None:
    devices.translate_outside_home()
    spec = InputSpec([None, *INPUT_SHAPE], "float32", INPUT_NAME)
    try:
        paddle.jit.save(graph, str(stem), input_spec=[spec])
    except RuntimeError as error:  # Paddle's own; it does not say why the system refused
        refused = re.search(r"Cannot open (?:.*[/\\])?(.+) to save variables", str(error))
        if refused is None:
            raise
        place = stem.absolute().parent.parent
        raise ModelFileError(f"{place}: cannot be written: Paddle cannot make {refused[1]}; make room there") from None
    _require_room(stem.parent)


def _require_room(folder: Path) -> None:
    """Refuse what was written to a full disk: Paddle writes what fits, and says nothing."""
    try:
        files.require_room(folder)
    except OSError as error:
        reason = error.strerror or error
        raise ModelFileError(f"{folder.absolute().parent}: cannot be written: {reason}; make room there") from None


def forget_call_stacks(path: Path) -> None:
    """Remove from a .pdmodel where each operator was made: paths of this machine, and what called the export.

    Without them the same network gives the same file, wherever and however it is exported.

    Raises:
        ModelFileError: the file is not whole.
        OSError: it cannot be read or written.
    """
    try:
        program = paddle.base.core.ProgramDesc(path.read_bytes())
    except ValueError:  # Paddle's own error of a file that its writer left unfinished
        folder = path.absolute().parent.parent
        raise ModelFileError(f"{folder}: cannot be written: Paddle has left half a graph; make room there") from None
    for block in map(program.block, range(program.num_blocks())):
        for operator in map(block.op, range(block.op_size())):
            operator.remove_attr("op_callstack")
    path.write_bytes(program.serialize_to_string())


def save_onnx(graph: paddle.nn.Layer, path: Path) -> None:
    """Save ``graph`` as an ONNX file; raises what ``convert_to_onnx`` raises."""
    with files.scratch_folder() as folder:
        stem = folder / _STEM
        _save_paddle(graph, stem)
        convert_to_onnx(Path(f"{stem}.json"), Path(f"{stem}.pdiparams"), path)


def convert_to_onnx(graph_file: Path, weights_file: Optional[Path], path: Path) -> None:
    """Convert a Paddle inference model to an ONNX file.

    Raises:
        MissingDependencyError: paddle2onnx is not installed.
        ModelFileError: it cannot convert this network.
    """
    files.write_bytes(path, onnx_from_paddle(graph_file, weights_file, opset=_ONNX_OPSET))
