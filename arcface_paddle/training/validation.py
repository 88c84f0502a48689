"""Validation during training: every rank embeds its share of the verification sets."""

from __future__ import annotations

from typing import Callable, Sequence

import numpy as np
from paddle import nn

from arcface_paddle import distributed
from arcface_paddle.data.verification_set import VerificationSet
from arcface_paddle.data.verification_sources import open_verification_set, path_of_set
from arcface_paddle.evaluation.embedder import centre_cropped, network_embedder
from arcface_paddle.evaluation.embedding import EmbeddingSettings, evaluate_sets
from arcface_paddle.evaluation.verification import VerificationResult
from arcface_paddle.files import PathLike

_BATCH_SIZE = 64


def open_verification_sets(
    data_dir: PathLike, names: Sequence[str], *, say: Callable[[str], None]
) -> list[VerificationSet]:
    """Read ``{data_dir}/{name}.bin``, or the bcolz folder of every name; a set that is missing is said and left out.

    Raises:
        DataError: a set is there but damaged.
    """
    found = []
    for name in names:
        path = path_of_set(data_dir, name)
        if path.exists():
            found.append(open_verification_set(path))
        else:
            say(f"verification set {path} is missing; {name} is left out")
    return found


def validate(network: nn.Layer, sets: Sequence[VerificationSet], *, ccrop: bool = False) -> list[VerificationResult]:
    """Evaluate a network by the published protocol, all ranks together; its training mode is kept.

    Args:
        network: the backbone.
        sets: the verification sets.
        ccrop: show it the middle of every picture, as training does with ``--ccrop``.

    Raises:
        DataError: a picture cannot be decoded, or the features are not finite.
    """
    was_training = network.training
    network.eval()
    embedder = network_embedder(network)
    try:
        return evaluate_sets(
            (centre_cropped(embedder) if ccrop else embedder).embed,
            sets,
            settings=EmbeddingSettings(batch_size=_BATCH_SIZE, progress=distributed.is_main()),
            ranks=distributed,
        )
    finally:
        if was_training:
            network.train()


def mean_accuracy(results: Sequence[VerificationResult]) -> float:
    """Return the mean accuracy over the sets."""
    return float(np.mean([result.accuracy.mean for result in results]))
