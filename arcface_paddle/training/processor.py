"""Which operators a run computes with on CPU, and their name in its checkpoints."""

from __future__ import annotations

import os
from typing import Callable, Optional

from arcface_paddle import devices, distributed
from arcface_paddle.backbones.cpu_kernels.building import NoKernelsError, load_build
from arcface_paddle.backbones.cpu_kernels.operators import Kernels
from arcface_paddle.pipeline.model_files import cache_folder
from arcface_paddle.pipeline.settings import available_cores
from arcface_paddle.training.config import TrainConfig
from arcface_paddle.training.processor_setup import MKL_VARIABLE, needs_mkl_type
from arcface_paddle.untrusted import integer

THREADS_VARIABLE = "OMP_NUM_THREADS"
PADDLES_OWN = "Paddle's operators"


def open_kernels(config: TrainConfig, *, say: Callable[[str], None]) -> Optional[Kernels]:
    """Return the compiled operators of a run; None where it computes with Paddle's.

    Args:
        config: of the run; a compiled backbone (``mode``), and maps in another order, have operators of their own.
        say: gets one line where they are wanted and cannot be had.
    """
    settings = config.run
    if settings.cpu_kernels == "off" or settings.mode != "dynamic" or devices.is_accelerator():
        return None
    if config.network.data_format != "NCHW":
        return None
    try:
        build = load_build(cache_folder().parent / "kernels")
    except (NoKernelsError, RuntimeError) as error:  # a user without a home folder is a RuntimeError
        say(f"cpu_kernels: {error}; training with Paddle's operators, which take longer")
        return None
    return Kernels(build, threads=threads_per_process())


def threads_per_process() -> int:
    """Return how many threads a process of the run may use: ``OMP_NUM_THREADS``, else all cores that it may run on."""
    wanted = integer(os.environ.get(THREADS_VARIABLE, "").partition(",")[0])
    if wanted is not None:
        return max(1, wanted)
    return max(1, available_cores() // distributed.launched_local_size())


def arithmetic_name(kernels: Optional[Kernels]) -> str:
    """Name what decides the last bits of this process's results; empty for what Paddle does by itself."""
    parts = [] if kernels is None else [f"kernels {kernels.name}"]
    if needs_mkl_type() and os.environ.get(MKL_VARIABLE):
        parts.append(f"{MKL_VARIABLE} {os.environ[MKL_VARIABLE]}")
    return ", ".join(parts)


def say_other_arithmetic(before: str, now: str, *, say: Callable[[str], None]) -> None:
    """Say it where a run goes on with other operators than those its checkpoint was computed with."""
    if before == now:
        return
    advice = "" if before else "; --cpu_kernels off goes on exactly"
    say(
        f"computed with {before or PADDLES_OWN} so far and with {now or PADDLES_OWN} from here on: equal to rounding, "
        f"not bit for bit{advice}"
    )
