"""Feature maps with the channels last, (B, H, W, C): the order in which tensor cores take 16 bits without reordering.

Weights, their names and the network's input and output stay, so that checkpoints serve both orders. Only the layers
between the picture and the last map compute differently; the maps are turned at both ends.
"""

from __future__ import annotations

from typing import Any

import paddle
from paddle import nn

from arcface_paddle.errors import ConfigError

CHANNELS_LAST = "NHWC"

_POINTLESS = (nn.Dropout, nn.Identity, nn.ReLU, nn.Sigmoid)  # the order of the axes is nothing to them


def use_channels_last(network: nn.Layer, *, name: str) -> nn.Layer:
    """Let a network compute with the channels last.

    Args:
        network: in which ``MAPS`` names the layer that takes the picture and the one that gives the last map.
        name: of the network, for errors.

    Raises:
        ConfigError: it does not say where its maps begin and end.
    """
    ends = getattr(network, "MAPS", None)
    if ends is None:
        raise ConfigError(
            f"--data_format {CHANNELS_LAST}: {name} is computed as NCHW only; leave it out, or take a MobileFaceNet or "
            "an iresnet"
        )
    first, last = ends
    for layer in network.sublayers():
        _turn(layer)
    getattr(network, first).register_forward_pre_hook(_channels_to_the_end)
    getattr(network, last).register_forward_post_hook(_channels_to_the_front)
    return network


def _turn(layer: nn.Layer) -> None:
    """Tell one layer where the channels are, if it asks."""
    if isinstance(layer, nn.Conv2D):
        layer._data_format, layer._channel_dim = CHANNELS_LAST, 3
    elif isinstance(layer, (nn.PReLU, nn.BatchNorm2D)) or _is_synchronised_of_maps(layer):
        layer._data_format = CHANNELS_LAST
    elif not layer.sublayers() and not isinstance(layer, (*_POINTLESS, nn.Linear, nn.BatchNorm1D, nn.SyncBatchNorm)):
        raise ConfigError(f"--data_format {CHANNELS_LAST}: nobody has seen a {type(layer).__name__} with it")


def _is_synchronised_of_maps(layer: nn.Layer) -> bool:
    return isinstance(layer, nn.SyncBatchNorm) and layer._data_format == "NCHW"  # NCL is that of a BatchNorm1D


def _channels_to_the_end(_: nn.Layer, inputs: tuple[paddle.Tensor, ...]) -> Any:
    return inputs[0].transpose([0, 2, 3, 1])


def _channels_to_the_front(_: nn.Layer, __: Any, output: paddle.Tensor) -> paddle.Tensor:
    return output.transpose([0, 3, 1, 2])
