"""One of two ranks: the same run with gradients exchanged whole, as by default, and in tiny pieces with a resume.

Usage: bucket_worker.py DATA FOLDER OPTION=VALUE...; a run's output is FOLDER/whole, default or tiny.
"""

from __future__ import annotations

import sys
from pathlib import Path

from arcface_paddle import distributed
from arcface_paddle.training import pictures
from arcface_paddle.training.config import TrainConfig, config_from
from arcface_paddle.training.exchange import BucketedExchange
from arcface_paddle.training.run import build_run
from arcface_paddle.training.trainer import train

STEPS = 2
TINY_MB = 0.01


def settings(name: str, **changes: object) -> TrainConfig:
    """Return those of a run, with what the command line asks for."""
    data, folder, *options = sys.argv[1:]
    given = dict(option.split("=", 1) for option in options)
    values = {
        "data_dir": data, "output": str(Path(folder) / name), "logdir": "", "val_targets": "", "width": 0.125,
        "embedding_size": 8, "global_batch_size": 8, "steps": STEPS, "warmup_steps": 0, "decay": "constant",
        "save_every": 1000, "num_workers": 1, "lr": 0.2, **given, **changes,
    }  # fmt: skip
    return config_from(values)


def silent(_: str) -> None:
    """Take a line and tell it to nobody."""


def check_turns() -> None:
    """Pieces are on their way while gradients of the first layers are still to come."""
    run = build_run(settings("none", bucket_mb=TINY_MB), say=silent)
    exchange = run.exchange
    assert isinstance(exchange, BucketedExchange) and len(exchange._buckets) > 4, "no pieces"
    begun: list[int] = []
    middle = [weight for weight in run.network.parameters() if not weight.stop_gradient][40]
    middle._register_backward_hook(lambda: begun.append(len(exchange._begun)))
    exchange.begin_with_next_pass()
    run.network(pictures.on_device(next(run.loader.epoch(0)), run.upload)).sum().backward()
    assert len(begun) == 1 and 1 < begun[0] < len(exchange._buckets), begun
    exchange.finish()
    run.loader.close()


def main() -> None:
    """Train all of them."""
    with distributed.process_group(timeout_s=20.0):
        train(settings("whole", bucket_mb=0.0), say=silent)
        train(settings("default"), say=silent)
        train(settings("tiny", bucket_mb=TINY_MB, steps=1), say=silent)
        train(settings("tiny", bucket_mb=TINY_MB, resume=1), say=silent)
        check_turns()


if __name__ == "__main__":
    main()
