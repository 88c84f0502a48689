"""What a file or folder is that somebody wants to import, told by its content."""

from __future__ import annotations

from pathlib import Path

from arcface_paddle import files
from arcface_paddle.errors import ModelFileError
from arcface_paddle.export.importing.paddle_checkpoint import META, PARAMETER
from arcface_paddle.export.importing.tflite_file import IDENTIFIER
from arcface_paddle.export.importing.torch_file import is_torch_file

TORCH = "weights of torch"
TORCH_RUN = "checkpoint folder of arcface_torch"
PADDLE = "weights of Paddle"
PADDLE_RUN = "checkpoint folder of Arcface-Paddle or PLSC"
ONNX = "ONNX model"
TFLITE = "TensorFlow Lite model"

TORCH_SHARD = "checkpoint_gpu_{}.pt"
"""What arcface_torch calls the checkpoint of a rank."""
_PICKLES = (b"\x80", b"(", b"c")
_HEAD_BYTES = 16
_LISTED = 5
_FILES = (".onnx", ".pt", ".pth", ".pdparams", ".tflite")
_KNOWN = "a .pt, .pth, .pdparams, .onnx or .tflite file, or a folder of one .pdparam file per parameter"


def kind_of(path: Path) -> str:
    """Return which of the kinds of this module a path is.

    Raises:
        ModelFileError: there is nothing, or nothing that can be imported.
    """
    if path.is_dir():
        return _kind_of_folder(path)
    try:
        with files.open_regular(path) as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror or error}") from None
    if not head:
        raise ModelFileError(f"{path}: the file is empty")
    if is_torch_file(head):
        return TORCH
    if head[4:8] == IDENTIFIER:
        return TFLITE
    if path.suffix == ".onnx":
        return ONNX
    if head[:1] in _PICKLES and path.suffix != PARAMETER:
        return PADDLE
    raise ModelFileError(f"{path}: begins with {head[:8]!r} and is nothing that can be imported: {_KNOWN}")


def _kind_of_folder(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    if any(name.endswith(PARAMETER) for name in names):
        return PADDLE_RUN
    if TORCH_SHARD.format(0) in names:
        return TORCH_RUN
    listed = ", ".join(names[:_LISTED]) or "nothing"
    also = f" ({META} alone is not enough)" if META in names else ""
    files = [name for name in names if Path(name).suffix in _FILES]
    if files:
        raise ModelFileError(f"{folder}: holds {listed}: name one of these files, such as {folder / files[0]}")
    raise ModelFileError(f"{folder}: holds {listed}, and nothing that can be imported{also}: {_KNOWN}")
