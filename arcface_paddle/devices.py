"""The device that this process computes on, and how numbers come to it and back: CPU, CUDA GPU, or a plugged-in one.

Whatever is not the CPU works on its own while the host prepares the next operations, so all of them take the same ways
through this package: collectives of their own library, mixed precision, no waiting between log lines. Paddle knows
CUDA GPUs by name; other accelerators are plugged into it as shared libraries
(https://www.paddlepaddle.org.cn/documentation/docs/en/dev_guides/custom_device_docs/index_en.html) and are called
``gpu`` by our flags, too.

Two facts about Paddle 3.3 shape the copies, seen with slow ones: ``Tensor.item()`` and ``paddle.to_tensor`` of an array
keep Python's lock while they wait for the device, so that no other thread runs, the heartbeat of the ranks included;
``Tensor.numpy()`` and copies between tensors let it go.
"""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from pathlib import Path
from typing import Any, Iterator, Optional

import numpy as np
import paddle

from arcface_paddle import temporaries
from arcface_paddle.errors import ConfigError

LEAST_PADDLE = (3, 0)
"""Below it exported models neither load nor come into being, and many functions have other names."""
PADDLE_INDEX = "https://www.paddlepaddle.org.cn/packages/stable/cu126/"
"""Where Paddle's GPU builds are since version 3; the common package index ends with 2.6.2."""


def choose_device(wanted: str) -> str:
    """Return Paddle's name of the device: under a launcher each process takes the accelerator that it was given.

    Args:
        wanted: ``auto`` (an accelerator where Paddle has one), ``cpu``, ``gpu``, or one of several as ``gpu:1``.

    Raises:
        ConfigError: another name, or an accelerator where Paddle sees none.
    """
    kind, _, number = wanted.partition(":")
    if kind not in ("auto", "cpu", "gpu") or (number and (kind != "gpu" or not number.isdecimal())):
        raise ConfigError(f"device is {wanted!r}; allowed: auto, cpu, gpu, or one of several as gpu:1")
    accelerator = None if kind == "cpu" else _accelerator()
    if kind == "gpu" and accelerator is None:
        raise ConfigError(
            "device is gpu, but this paddle sees none; use --device cpu, or install paddlepaddle-gpu from "
            f"Paddle's own index: pip install paddlepaddle-gpu -i {PADDLE_INDEX}"
        )
    if accelerator is None:
        return "cpu"
    given = os.environ.get(f"FLAGS_selected_{accelerator}s", "0")  # the launcher's spelling
    return f"{accelerator}:{number or given.split(',')[0]}"


def use_device(wanted: str) -> str:
    """Compute on a device from here on and return its name, see ``choose_device``.

    It must come before anything is built, and before the process group is joined: both take the device as it is then.
    """
    device = choose_device(wanted)
    paddle.set_device(device)
    return device


@contextlib.contextmanager
def on_cpu() -> Iterator[None]:
    """Compute on the CPU inside; what was built before stays where it is."""
    before = paddle.get_device()
    paddle.set_device("cpu")
    try:
        yield
    finally:
        paddle.set_device(before)


def is_accelerator() -> bool:
    """Tell whether the device of this process is not the CPU."""
    return not paddle.get_device().startswith("cpu")


def collectives_backend() -> str:
    """Return Paddle's name of the library for collectives on this device: ``gloo``, ``nccl`` or ``xccl``."""
    kind = paddle.get_device().partition(":")[0]
    return {"cpu": "gloo", "gpu": "nccl"}.get(kind, "xccl")


def to_device(array: np.ndarray) -> paddle.Tensor:
    """Copy an array to the device, same shape and dtype, without waiting for the work that is queued there."""
    if not is_accelerator():
        return paddle.to_tensor(array)
    if array.size == 0:  # no memory to copy from
        return paddle.empty(list(array.shape), dtype=str(array.dtype))
    # Between page-locked memory and a CUDA device the copy takes its place in the queue, and Paddle keeps the source
    # alive until it is done.
    kind, _, number = paddle.get_device().partition(":")
    place = paddle.CUDAPlace(int(number or 0)) if kind == "gpu" else paddle.CustomPlace(kind, int(number or 0))
    return _copy(staged(array), place)


def staged(array: np.ndarray) -> paddle.Tensor:
    """Copy an array to where the device fetches it from: page-locked memory for CUDA."""
    if paddle.get_device().startswith("gpu"):
        return paddle.to_tensor(array, place=paddle.CUDAPinnedPlace())
    return host_tensor(array)


def host_tensor(array: np.ndarray) -> paddle.Tensor:
    """Copy an array into a tensor in host memory, whatever the device is."""
    return paddle.to_tensor(array, place=paddle.CPUPlace())


def to_host(tensor: paddle.Tensor) -> np.ndarray:
    """Wait for a tensor and copy it to the host, same shape and dtype; other threads run meanwhile."""
    return np.asarray(tensor.numpy())


def wait_for_device() -> None:
    """Wait until everything that is queued has been computed."""
    if is_accelerator():
        paddle.device.synchronize()


def peak_memory_bytes() -> Optional[int]:
    """Return the largest memory allocated on a CUDA GPU so far; None elsewhere."""
    if not paddle.get_device().startswith("gpu"):
        return None
    return int(paddle.device.cuda.max_memory_allocated())


def require_precision(precision: str) -> None:
    """Refuse a precision that the accelerator does not compute in: Paddle would only warn, and compute in float32.

    Args:
        precision: ``float32``, ``float16`` or ``bfloat16``.

    Raises:
        ConfigError: the accelerator does not have it. On CPU everything is allowed, and computed in float32.
    """
    if not is_accelerator():
        return
    device = paddle.get_device()
    if precision == "bfloat16" and not paddle.amp.is_bfloat16_supported():
        raise ConfigError(f"precision bfloat16: {device} has none (NVIDIA: from Ampere on); use --fp16, or float32")
    if precision == "float16" and not paddle.amp.is_float16_supported():
        raise ConfigError(f"precision float16: {device} has none (NVIDIA: from compute capability 5.3 on); use float32")


def require_cuda(option: str) -> None:
    """Refuse what only CUDA GPUs have.

    Args:
        option: its name and value, for the error.

    Raises:
        ConfigError: the device is another one.
    """
    device = paddle.get_device()
    if not device.startswith("gpu"):
        raise ConfigError(f"{option} is for CUDA GPUs, the device is {device}; leave it out")


def search_convolutions() -> None:
    """Let cuDNN try all of its ways to convolve for every new shape, and keep the fastest.

    Raises:
        ConfigError: the device is no CUDA GPU.
    """
    require_cuda("cudnn_search")
    paddle.set_flags({"FLAGS_cudnn_exhaustive_search": True})


def require_paddle(version: str = paddle.__version__) -> None:
    """Refuse a Paddle that is too old to load or to export models.

    Args:
        version: of the installed Paddle; ``0.0.0`` is what nightly builds say.

    Raises:
        ConfigError: it is below 3.0.
    """
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if any(numbers) and numbers < LEAST_PADDLE:
        raise ConfigError(
            f"Paddle {version} is too old: inference and export need 3.0 or newer: pip install 'paddlepaddle>=3.0', "
            f"or for GPUs pip install 'paddlepaddle-gpu>=3.0' -i {PADDLE_INDEX}"
        )


@functools.lru_cache(maxsize=1)
def translate_outside_home() -> None:
    """Let Paddle keep the Python that it makes of a network for a static graph in a temporary folder of ours.

    Paddle takes ``~/.cache``, which may be closed to us, and where that of a killed process stays for ever; ours goes
    with the process (``temporaries``). Where the system has no folder for temporary files, as on a full disk, it is
    made in the home folder after all.
    """
    from paddle.jit.dy2static import utils

    for place in (tempfile.gettempdir, Path("~").expanduser):
        with contextlib.suppress(OSError, RuntimeError):  # the latter where nobody knows the home folder
            folder = temporaries.new_folder(Path(place()) / "arcface_paddle", mode=0o700)
            vars(utils)["get_temp_dir"] = functools.partial(str, folder.path)
            return


def _accelerator() -> Optional[str]:
    """Return the kind of accelerator that Paddle has: ``gpu``, or the name of the first plugged-in one."""
    if paddle.is_compiled_with_cuda():
        return "gpu" if paddle.device.cuda.device_count() > 0 else None
    for kind in paddle.device.get_all_custom_device_type() or ():
        if any(device.partition(":")[0] == kind for device in paddle.device.get_available_custom_device()):
            return str(kind)
    return None


def _copy(tensor: paddle.Tensor, place: Any) -> paddle.Tensor:
    return tensor._copy_to(place, False)
