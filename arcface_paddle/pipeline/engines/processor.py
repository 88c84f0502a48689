"""Which instructions the processor has, as Linux tells it."""

from __future__ import annotations

import platform
from pathlib import Path

_FACTS = Path("/proc/cpuinfo")


def has_bfloat16_instructions() -> bool:
    """Tell whether the processor computes in bfloat16; True where it cannot be asked.

    Engines also offer bfloat16 where they must convert to and from float32 around every layer, which costs time.
    """
    return _has_any("avx512_bf16", "amx_bf16")


def has_int8_instructions() -> bool:
    """Tell whether the processor multiplies and adds bytes four at a time, so that it pays; True if it cannot be asked.

    AVX-VNNI without AVX-512 is not counted: nothing was measured there.
    """
    return _has_any("avx512_vnni", "amx_int8")


def _has_any(*flags: str) -> bool:
    try:
        facts = _FACTS.read_text(encoding="ascii", errors="replace")
    except OSError:
        return True
    return platform.machine() not in ("x86_64", "AMD64") or any(flag in facts for flag in flags)
