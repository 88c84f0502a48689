"""A run in which the last rank comes to grief in the way named by the argument; the others must not hang."""

from __future__ import annotations

import os
import signal
import sys
import time

import paddle

from arcface_paddle import distributed
from arcface_paddle.errors import ArcfaceError


def main(manner: str) -> None:
    """Reduce for ever; the last rank leaves after a second."""
    with distributed.process_group(timeout_s=3.0):
        unlucky = distributed.rank() == distributed.world_size() - 1
        begin = time.monotonic()
        while time.monotonic() - begin < 60.0:
            distributed.all_reduce_sum(paddle.ones([4]))
            if unlucky and time.monotonic() - begin > 1.0:
                come_to_grief(manner)


def come_to_grief(manner: str) -> None:
    """End or freeze this process."""
    if manner == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if manner == "freeze":
        os.kill(os.getpid(), signal.SIGSTOP)
    if manner == "raise":
        raise ValueError("a bad sample")


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except ArcfaceError as error:  # as the command frame does
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
