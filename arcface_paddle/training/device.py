"""The device that this process trains on."""

from __future__ import annotations

import os

import paddle

from arcface_paddle.errors import ConfigError


def choose_device(wanted: str) -> str:
    """Return the paddle name of the device: under a launcher each process takes the GPU that it was given.

    Args:
        wanted: ``auto``, ``cpu`` or ``gpu``.

    Raises:
        ConfigError: ``gpu`` where paddle sees none.
    """
    has_gpu = paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if wanted == "gpu" and not has_gpu:
        raise ConfigError("device is gpu, but this paddle sees none; use --device cpu, or install paddlepaddle-gpu")
    if wanted == "cpu" or not has_gpu:
        return "cpu"
    given = os.environ.get("FLAGS_selected_gpus", "0")  # noqa: SIM112  # the launcher's spelling
    return f"gpu:{given.split(',')[0]}"
