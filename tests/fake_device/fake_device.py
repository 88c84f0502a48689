"""Builds the fake device with g++, and runs Python with it plugged into Paddle."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Optional

import paddle

SOURCE = Path(__file__).with_suffix(".cc")
LIBRARY = "libfake_device.so"
KIND = "fake_gpu"


def missing_tool() -> Optional[str]:
    """Return what is missing to build and to use the device; None where nothing is."""
    if not sys.platform.startswith("linux"):
        return "Paddle takes plugged-in devices on Linux alone"
    if paddle.is_compiled_with_cuda():
        return "this Paddle is built for CUDA: it takes no plugged-in devices"
    if shutil.which("g++") is None:
        return "no compiler: g++ is not installed, so that the fake device cannot be built"
    header = _include_folder() / "paddle" / "phi" / "backends" / "device_ext.h"
    if not header.is_file():
        return "this Paddle comes without its headers"
    if "is_float16_supported" not in header.read_text(encoding="utf-8"):
        return f"devices are plugged into Paddle {paddle.__version__} in an older way"
    return None


def build(folder: Path) -> Path:
    """Compile the device into a folder, and return the folder for ``environment``."""
    command = ["g++", "-std=c++17", "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", f"-I{_include_folder()}"]
    subprocess.run([*command, str(SOURCE), "-o", str(folder / LIBRARY), "-lrt"], check=True, timeout=120)
    return folder


def environment(plugin: Path, **more: str) -> dict[str, str]:
    """Return the variables with which Paddle finds the device, which has no kernels for strided views."""
    variables = {"CUSTOM_DEVICE_ROOT": str(plugin), "FLAGS_use_stride_kernel": "0", "GLOG_minloglevel": "2"}
    return {**variables, "OMP_NUM_THREADS": "1", **more}


def library() -> ctypes.CDLL:
    """Return the device that is plugged into this process, with its figures and its slow copies."""
    return ctypes.CDLL(str(Path(os.environ["CUSTOM_DEVICE_ROOT"]) / LIBRARY))


def stream_notes() -> list[list[str]]:
    """Return what the device's queues were asked for since the last call: copy, record, wait or sum; queue; of what."""
    buffer = ctypes.create_string_buffer(1 << 20)
    count = library().fake_device_stream_notes(buffer, ctypes.c_size_t(len(buffer)))
    return [line.split() for line in buffer.raw[:count].decode().splitlines()]


def _include_folder() -> Path:
    return Path(paddle.__file__).parent / "include"
