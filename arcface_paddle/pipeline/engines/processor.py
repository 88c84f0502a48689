"""What the processor can compute, as Linux tells it."""

from __future__ import annotations

import platform
from pathlib import Path

_FACTS = Path("/proc/cpuinfo")


def has_bfloat16_instructions() -> bool:
    """Tell whether the processor computes in bfloat16; True where it cannot be asked.

    Engines also offer bfloat16 where they must convert to and from float32 around every layer, which costs time.
    """
    try:
        facts = _FACTS.read_text(encoding="ascii", errors="replace")
    except OSError:
        return True
    return platform.machine() not in ("x86_64", "AMD64") or "avx512_bf16" in facts or "amx_bf16" in facts
