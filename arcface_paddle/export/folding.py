"""Fold batch normalisation into the convolution or linear layer before it, and merge branches, where that is exact.

In evaluation y = gamma (Wx + b - mean) / sqrt(var + eps) + beta is again a linear map of x, with
W' = W gamma / sqrt(var + eps) and b' = (b - mean) gamma / sqrt(var + eps) + beta. A normalisation whose input does not
come straight from such a layer (the first one of an iResNet block: the convolution behind it pads with zeros) stays.

A layer that trains in several branches (structural re-parameterisation, as in FaceLiVT) says itself which single layer
computes the same: its method ``merged`` returns it, or None where there is none.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Union

import numpy as np
import paddle
from paddle import nn

Linear = Union[nn.Conv2D, nn.Linear]


@dataclass(frozen=True)
class FoldingPair:
    """Names, in the network, of a linear layer and of the normalisation that reads its output and nothing else."""

    linear: str
    batch_norm: str


def fold_batch_norm(network: nn.Layer, *, input_shape: tuple[int, ...]) -> tuple[nn.Layer, int]:
    """Return a copy of ``network`` in evaluation mode with every foldable normalisation gone, and their number.

    Layers with a method ``merged`` are replaced first, each by what it returns, and count as one.

    Args:
        network: any network; it is not changed.
        input_shape: shape of one input batch, (1, 3, 112, 112) for a recogniser; the pairs are found by watching
            one forward pass.
    """
    folded = copy.deepcopy(network)
    folded.eval()
    merged = _merge_branches(folded)
    pairs = find_pairs(folded, input_shape=input_shape)
    layers = dict(folded.named_sublayers())
    for pair in pairs:
        _absorb(layers[pair.linear], layers[pair.batch_norm])
        _replace(folded, pair.batch_norm, nn.Identity())
    return folded, merged + len(pairs)


def find_pairs(network: nn.Layer, *, input_shape: tuple[int, ...]) -> list[FoldingPair]:
    """Watch one forward pass and return the normalisations whose input is the very output of a linear layer.

    A layer that runs more than once, or whose output also reaches another watched layer, is left alone.
    """
    producer_of: dict[int, str] = {}
    kept_alive: list[paddle.Tensor] = []  # so that no id is used twice
    consumers: dict[str, list[str]] = {}
    runs: dict[str, int] = {}
    hooks = []

    def watch(name: str, layer: nn.Layer) -> None:
        def before(_: nn.Layer, inputs: tuple) -> None:
            producer = producer_of.get(id(inputs[0]))
            if producer is not None:
                consumers.setdefault(producer, []).append(name)

        def after(_: nn.Layer, inputs: tuple, output: paddle.Tensor) -> None:
            runs[name] = runs.get(name, 0) + 1
            kept_alive.append(output)
            producer_of[id(output)] = name

        hooks.append(layer.register_forward_pre_hook(before))
        hooks.append(layer.register_forward_post_hook(after))

    layers = {name: layer for name, layer in network.named_sublayers() if not layer._sub_layers}
    for name, layer in layers.items():
        watch(name, layer)
    with paddle.no_grad():
        network(paddle.zeros(input_shape))
    for hook in hooks:
        hook.remove()
    return [
        FoldingPair(producer, names[0])
        for producer, names in consumers.items()
        if len(names) == 1
        and runs[producer] == runs[names[0]] == 1
        and isinstance(layers[producer], (nn.Conv2D, nn.Linear))
        and _is_batch_norm(layers[names[0]])
    ]


def _merge_branches(network: nn.Layer) -> int:
    merged = {name: layer.merged() for name, layer in network.named_sublayers() if hasattr(layer, "merged")}
    single = {name: layer for name, layer in merged.items() if layer is not None}
    for name, layer in single.items():
        _replace(network, name, layer)
    return len(single)


def _is_batch_norm(layer: nn.Layer) -> bool:
    return all(hasattr(layer, name) for name in ("_mean", "_variance", "_epsilon"))


def _absorb(linear: Linear, batch_norm: nn.Layer) -> None:
    mean, variance = batch_norm._mean.numpy().astype(np.float64), batch_norm._variance.numpy().astype(np.float64)
    scale = 1 / np.sqrt(variance + batch_norm._epsilon)
    if batch_norm.weight is not None:
        scale = scale * batch_norm.weight.numpy()
    bias = np.zeros_like(mean) if linear.bias is None else linear.bias.numpy().astype(np.float64)
    bias = (bias - mean) * scale
    if batch_norm.bias is not None:
        bias = bias + batch_norm.bias.numpy()
    weight = linear.weight.numpy().astype(np.float64)
    # Output channels: first axis of a convolution (O, I, kH, kW), last of a linear layer (I, O).
    weight = weight * (scale.reshape(-1, 1, 1, 1) if isinstance(linear, nn.Conv2D) else scale)
    linear.weight.set_value(weight.astype(np.float32))
    if linear.bias is None:
        linear.bias = linear.create_parameter([len(bias)], is_bias=True)
    linear.bias.set_value(bias.astype(np.float32))


def _replace(network: nn.Layer, dotted: str, layer: nn.Layer) -> None:
    parent_name, _, name = dotted.rpartition(".")
    parent = dict(network.named_sublayers())[parent_name] if parent_name else network
    parent._sub_layers[name] = layer
