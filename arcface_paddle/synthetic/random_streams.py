"""Random streams: every part of every person and picture draws from a stream of its own."""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """Return the generator that belongs to (``seed``, ``purpose``, ``numbers``) and to nothing else.

    Because the parts do not share a stream, a change to one (say, how beards are drawn) leaves the others as they were,
    and any picture can be drawn without those before it. One purpose always takes equally many numbers, since a zero at
    their end is the same as none.
    """
    # A checksum and not hash(), which differs from process to process.
    return np.random.default_rng([seed, zlib.crc32(purpose.encode("ascii")), *numbers])
