"""Mixed precision of the backbone: which operators compute in 16 bits."""

from __future__ import annotations

from typing import Any

import paddle

from arcface_paddle import devices

_ALSO_IN_HALF = frozenset({"prelu"})
"""Paddle's lists leave PReLU out, and level O1 takes the wider type of its inputs: float32, because its slopes are.

Every activation behind a convolution would be written and read in float32. On CUDA the kernels are there in float16 and
bfloat16 (paddle/phi/kernels/gpu/prelu_kernel.cu and prelu_grad_kernel.cu); of plugged-in accelerators nobody knows.
"""


def mixed_precision(precision: str) -> Any:
    """Return the context in which the backbone's forward pass runs: level O1, or nothing at all.

    Args:
        precision: ``float32``, ``float16`` or ``bfloat16``; on CPU all mean float32.
    """
    enabled = precision != "float32" and devices.is_accelerator()
    dtype = "bfloat16" if precision == "bfloat16" else "float16"
    return paddle.amp.auto_cast(enable=enabled, dtype=dtype, custom_white_list=operators_in_half(paddle.get_device()))


def operators_in_half(device: str) -> frozenset[str]:
    """Return the operators that compute in 16 bits on a device, besides those of Paddle's own list."""
    return _ALSO_IN_HALF if device.partition(":")[0] == "gpu" else frozenset()
