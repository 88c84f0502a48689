"""Starting from trained weights: a ``.pdparams`` file, or the recogniser shipped with the package."""

from __future__ import annotations

from paddle import nn

from arcface_paddle.backbones.weights import load_backbone


def load_pretrained(network: nn.Layer, source: str) -> str:
    """Fill a network from ``--pretrained`` and return what was done, in words.

    Raises:
        CheckpointError: no such file or model, or it belongs to another network.
    """
    load_backbone(network, source)
    return f"backbone starts from {source}; the class centres start at random"
