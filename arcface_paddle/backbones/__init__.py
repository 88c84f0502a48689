"""Networks that turn a face crop into a feature, by name.

``BACKBONES`` says what there is; ``build_backbone`` makes one. Naming and checking them does not import paddle.
"""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Mapping, Optional

from arcface_paddle.errors import ConfigError

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Backbone:
    """Where a network is and how it is made.

    Attributes:
        module: module in this package.
        class_name: a ``paddle.nn.Layer`` whose constructor takes ``embedding_size`` and ``width_mult``.
        embedding_size: default length of the feature.
        arguments: what this name fixes of the constructor's further arguments.
    """

    module: str
    class_name: str
    embedding_size: int
    arguments: Mapping[str, Any] = field(default_factory=dict)


def _iresnet(*units: int) -> Backbone:
    return Backbone("iresnet", "IResNet", 512, {"units": units})


BACKBONES: Mapping[str, Backbone] = {
    "MobileFaceNet_128": Backbone("mobilefacenet", "MobileFaceNet", 128),
    "MobileFaceNet_192": Backbone("mobilefacenet", "MobileFaceNet", 192, {"stride_2_padding": "tf_same"}),  # shipped
    "iresnet18": _iresnet(2, 2, 2, 2),
    "iresnet34": _iresnet(3, 4, 6, 3),
    "iresnet50": _iresnet(3, 4, 14, 3),
    "iresnet100": _iresnet(3, 13, 30, 3),
    "iresnet200": _iresnet(6, 26, 60, 6),
}

ALIASES: Mapping[str, str] = {
    "MobileFaceNet": "MobileFaceNet_128",
    "MobileFace": "MobileFaceNet_128",
    "iResNet18": "iresnet18",
    "iResNet34": "iresnet34",
    "iResNet50": "iresnet50",
    "iResNet100": "iresnet100",
    "iResNet200": "iresnet200",
}
"""Published spellings. FresResNet50 and FresResNet100 are other networks (one PReLU slope per layer, other keys)."""


def find_backbone(name: str) -> Backbone:
    """Return the entry of a name or published spelling.

    Raises:
        ConfigError: there is none.
    """
    known = ALIASES.get(name, name)
    if known not in BACKBONES:
        raise ConfigError(f"no network {name!r}; choose from {', '.join(BACKBONES)} (or {', '.join(ALIASES)})")
    return BACKBONES[known]


def build_backbone(name: str, *, embedding_size: Optional[int] = None, width: float = 1.0, **options: Any) -> nn.Layer:
    """Build a network that maps (B, 3, 112, 112) float32 RGB, (x/255 - 0.5)/0.5, to (B, D) un-normalised features.

    Args:
        name: a key of ``BACKBONES`` or ``ALIASES``.
        embedding_size: D; None = the default of the name.
        width: factor on the channel counts, rounded to multiples of 8.
        **options: further arguments of the network's constructor, such as ``dropout`` of an iResNet.

    Raises:
        ConfigError: an unknown name, an option that this network does not have, or a value out of range.
    """
    entry = find_backbone(name)
    size = entry.embedding_size if embedding_size is None else embedding_size
    if size < 1 or not 0.0 < width <= 16.0:
        raise ConfigError(f"{name}: embedding_size is {size} (allowed: 1 or more), width is {width} (allowed: ]0, 16])")
    network_class = getattr(importlib.import_module(f"{__name__}.{entry.module}"), entry.class_name)
    allowed = set(inspect.signature(network_class).parameters) - {"embedding_size", "width_mult", *entry.arguments}
    unknown = sorted(set(options) - allowed)
    if unknown:
        raise ConfigError(f"{name} has no option {', '.join(unknown)}; it has: {', '.join(sorted(allowed)) or 'none'}")
    return network_class(embedding_size=size, width_mult=width, **{**entry.arguments, **options})
