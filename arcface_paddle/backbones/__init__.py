"""Networks that turn a face crop into a feature, by name.

``BACKBONES`` says what there is; ``build_backbone`` makes one. Naming and checking them does not import paddle.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping, Optional

from arcface_paddle.errors import ConfigError
from arcface_paddle.files import PathLike

if TYPE_CHECKING:
    from paddle import nn


LARGEST_WIDTH = 16.0  # factor on the channel counts


@dataclass(frozen=True)
class TellingKeys:
    """Names of the arrays of a state_dict that tell what its network is like.

    Attributes:
        stem: the convolution that sees the picture.
        feature: an array as long as the feature; if it is that of a normalisation, it is the last one.
        width: an array whose first axis grows with the width.
        channels: its length at width 1.
    """

    stem: str
    feature: str
    width: str
    channels: int


@dataclass(frozen=True)
class Backbone:
    """Where a network is and how it is made.

    Attributes:
        module: module in this package.
        class_name: a ``paddle.nn.Layer`` whose constructor takes ``embedding_size`` and ``width_mult``.
        embedding_size: default length of the feature.
        arguments: what this name fixes of the constructor's further arguments.
        keys: what tells its weights from those of other networks; None = they tell nothing.
    """

    module: str
    class_name: str
    embedding_size: int
    arguments: Mapping[str, Any] = field(default_factory=dict)
    keys: Optional[TellingKeys] = None


def _mobilefacenet(embedding_size: int, **arguments: Any) -> Backbone:
    keys = TellingKeys("conv1.conv.weight", "linear1.bn.weight", "conv1.conv.weight", 64)
    return Backbone("mobilefacenet", "MobileFaceNet", embedding_size, arguments, keys)


def _iresnet(*units: int) -> Backbone:
    keys = TellingKeys("conv1.weight", "features.weight", "conv1.weight", 64)
    return Backbone("iresnet", "IResNet", 512, {"units": units}, keys)


def _mbf(*units: int, scale: int) -> Backbone:
    keys = TellingKeys("layers.0.layers.0.weight", "features.layers.3.weight", "conv_sep.layers.0.weight", 512)
    return Backbone("mbf", "Mbf", 512, {"units": units, "scale": scale}, keys)


def _vit(*, channels: int, depth: int) -> Backbone:
    keys = TellingKeys("patch_embed.proj.weight", "feature.3.weight", "patch_embed.proj.weight", channels)
    return Backbone("vit", "VisionTransformer", 512, {"channels": channels, "depth": depth}, keys)


def _edgeface(*channels: int, heads: int, rank_ratio: float) -> Backbone:
    keys = TellingKeys("stem.0.weight", "head.fc.linear2.bias", "head.norm.weight", channels[-1])
    arguments = {"channels": channels, "heads": heads, "rank_ratio": rank_ratio}
    return Backbone("edgeface", "EdgeFace", 512, arguments, keys)


def _facelivt(class_name: str, *, width: str) -> Backbone:
    keys = TellingKeys("stem.0.conv.weight", "head.linear.bias", width, 320)
    return Backbone("facelivt", class_name, 512, {}, keys)


def _ir(*units: int, squeeze: bool) -> Backbone:
    keys = TellingKeys("input_layer.0.weight", "output_layer.4.weight", "input_layer.0.weight", 64)
    return Backbone("ir", "IR", 512, {"units": units, "squeeze": squeeze}, keys)


def _imagenet(trunk: str, *, stem: str, width: str, channels: int) -> Backbone:
    keys = TellingKeys(f"trunk.{stem}.weight", "head.features.weight", f"trunk.{width}.weight", channels)
    return Backbone("imagenet", "ImageNetNetwork", 512, {"trunk": trunk}, keys)


def _resnet(depth: int) -> Backbone:
    return _imagenet(f"resnet{depth}", stem="conv1", width="layer4.0.conv1", channels=512)


BACKBONES: Mapping[str, Backbone] = {
    "MobileFaceNet_128": _mobilefacenet(128),
    "MobileFaceNet_192": _mobilefacenet(192, stride_2_padding="tf_same"),  # shipped
    "MobileNetV2": _imagenet("mobilenet_v2", stem="features.0.0", width="features.17.conv.2", channels=320),
    # The large one first: it has all the names of arrays of the small one, and more.
    "MobileNetV3_large": _imagenet("mobilenet_v3_large", stem="conv.0", width="blocks.14.expand_conv.0", channels=960),
    "MobileNetV3_small": _imagenet("mobilenet_v3_small", stem="conv.0", width="blocks.10.expand_conv.0", channels=576),
    "LightNet": Backbone(
        "lightnet", "LightNet", 512, {}, TellingKeys("layers.0.weight", "fc.bias", "layers.17.weight", 1024)
    ),
    "HRNetV2_W18": Backbone(
        "hrnet", "HRNet", 512, {"width": 18}, TellingKeys("stem.conv.weight", "features.weight", "stem.conv.weight", 64)
    ),
    "ResNet50": _resnet(50),
    "ResNet101": _resnet(101),
    "ResNet152": _resnet(152),
    "IR_50": _ir(3, 4, 14, 3, squeeze=False),
    "IR_101": _ir(3, 13, 30, 3, squeeze=False),
    "IR_152": _ir(3, 8, 36, 3, squeeze=False),
    "IR_SE_50": _ir(3, 4, 14, 3, squeeze=True),
    "IR_SE_101": _ir(3, 13, 30, 3, squeeze=True),
    "IR_SE_152": _ir(3, 8, 36, 3, squeeze=True),
    "iresnet18": _iresnet(2, 2, 2, 2),
    "iresnet34": _iresnet(3, 4, 6, 3),
    "iresnet50": _iresnet(3, 4, 14, 3),
    "iresnet100": _iresnet(3, 13, 30, 3),
    "iresnet200": _iresnet(6, 26, 60, 6),
    "mbf": _mbf(1, 4, 6, 2, scale=2),  # of insightface's arcface_torch
    "mbf_large": _mbf(2, 8, 12, 4, scale=4),
    "vit_t": _vit(channels=256, depth=12),
    "vit_s": _vit(channels=512, depth=12),
    "vit_b": _vit(channels=512, depth=24),
    "EdgeFace_XS": _edgeface(32, 64, 100, 192, heads=4, rank_ratio=0.6),
    "EdgeFace_S": _edgeface(48, 96, 160, 304, heads=8, rank_ratio=0.5),
    "FaceLiVT_S": _facelivt("FaceLiVT", width="stages.3.1.0.norm.weight"),
    "FaceLiVTv2_S": _facelivt("FaceLiVTv2", width="stages.3.1.1.scale"),
}

ALIASES: Mapping[str, str] = {
    "MobileFaceNet": "MobileFaceNet_128",
    "MobileFace": "MobileFaceNet_128",
    "iResNet18": "iresnet18",
    "iResNet34": "iresnet34",
    "iResNet50": "iresnet50",
    "iResNet100": "iresnet100",
    "iResNet200": "iresnet200",
    "MobileNet_V2": "MobileNetV2",
    "MobileNet_V3_Small": "MobileNetV3_small",
    "MobileNet_V3_Large": "MobileNetV3_large",
    "ResNet_50": "ResNet50",
    "ResNet_101": "ResNet101",
    "ResNet_152": "ResNet152",
    "HRNetV2": "HRNetV2_W18",
    "mobilenet_v2_x1.0": "MobileNetV2",
    "mobilenet_v3_small_x1.0": "MobileNetV3_small",
    "mobilenet_v3_large_x1.0": "MobileNetV3_large",
    "FaceViT_tiny_patch9_112": "vit_t",
    "FaceViT_small_patch9_112": "vit_s",
    "FaceViT_base_patch9_112": "vit_b",
    "vit_t_dp005_mask0": "vit_t",
    "vit_s_dp005_mask_0": "vit_s",
    "vit_b_dp005_mask_005": "vit_b",
    "edgeface_xs_gamma_06": "EdgeFace_XS",
    "edgeface_s_gamma_05": "EdgeFace_S",
}
"""Published spellings. Weights of FresResNet50 and FresResNet100 (one PReLU slope a layer, other keys) become those of
iresnet50 and iresnet100 by ``arcface-paddle import``."""
_ALIASES_SHOWN = 2  # in errors, which are to stay readable


def canonical_name(name: str) -> str:
    """Return the key of ``BACKBONES`` that ``name`` stands for; upper and lower case count as equal.

    Args:
        name: a key of ``BACKBONES``, or a published spelling (a key of ``ALIASES``), in any case.

    Raises:
        ConfigError: there is no such network; the message lists the names and proposes the most similar one.
    """
    # A name of its own goes before a published spelling that differs from it in case only.
    by_lower_case = {key.lower(): known for key, known in [*ALIASES.items(), *((key, key) for key in BACKBONES)]}
    lowered = name.strip().lower()
    if lowered in by_lower_case:
        return by_lower_case[lowered]
    similar = difflib.get_close_matches(lowered, by_lower_case, n=1)
    meant = f"did you mean {by_lower_case[similar[0]]}? " if similar else ""
    spellings = f"{', '.join(list(ALIASES)[:_ALIASES_SHOWN])} and other published spellings"
    raise ConfigError(
        f"no network {name!r}; {meant}choose from {', '.join(BACKBONES)} (or {spellings}); "
        "'arcface-paddle models backbones' tells what they are"
    )


def is_same_network(name: str, other: str) -> bool:
    """Tell whether two names are spellings of one network; names that are not known must be equal."""
    try:
        return canonical_name(name) == canonical_name(other)
    except ConfigError:
        return name == other


def find_backbone(name: str) -> Backbone:
    """Return the entry of a name or published spelling, see ``canonical_name``.

    Raises:
        ConfigError: there is none.
    """
    return BACKBONES[canonical_name(name)]


def find_weights_file(folder: PathLike, network: str) -> Optional[Path]:
    """Return the ``.pdparams`` file of a network in a run's folder, or None.

    The file may bear any spelling of the network's name: earlier versions named it as the user had typed it.
    The given spelling goes before the canonical one, and that before all others.

    Raises:
        ConfigError: an unknown network.
    """
    canonical = canonical_name(network)
    found = [path for path in sorted(Path(folder).glob("*.pdparams")) if is_same_network(path.stem, canonical)]
    order = (network, canonical)
    return min(found, key=lambda path: order.index(path.stem) if path.stem in order else len(order), default=None)


def build_backbone(name: str, *, embedding_size: Optional[int] = None, width: float = 1.0, **options: Any) -> nn.Layer:
    """Build a network that maps (B, 3, 112, 112) float32 RGB, (x/255 - 0.5)/0.5, to (B, D) un-normalised features.

    Args:
        name: a key of ``BACKBONES`` or ``ALIASES``, in any case.
        embedding_size: D; None = the default of the name.
        width: factor on the channel counts, rounded to multiples of 8.
        **options: further arguments of the network's constructor, such as ``dropout`` of an iResNet.

    Raises:
        ConfigError: an unknown name, an option that this network does not have, or a value out of range.
    """
    entry = find_backbone(name)
    size = entry.embedding_size if embedding_size is None else embedding_size
    if size < 1 or not 0.0 < width <= LARGEST_WIDTH:
        raise ConfigError(
            f"{name}: embedding_size is {size} (allowed: 1 or more), width is {width} (allowed: ]0, {LARGEST_WIDTH:g}])"
        )
    allowed = options_of(name)
    unknown = sorted(set(options) - allowed)
    if unknown:
        raise ConfigError(f"{name} has no option {', '.join(unknown)}; it has: {', '.join(sorted(allowed)) or 'none'}")
    return _network_class(entry)(embedding_size=size, width_mult=width, **{**entry.arguments, **options})


def options_of(name: str) -> frozenset[str]:
    """Return what else ``build_backbone`` takes for a network, such as ``dropout``.

    Raises:
        ConfigError: an unknown name.
    """
    entry = find_backbone(name)
    parameters = inspect.signature(_network_class(entry)).parameters
    return frozenset(parameters) - {"embedding_size", "width_mult", *entry.arguments}


def _network_class(entry: Backbone) -> Any:
    return getattr(importlib.import_module(f"{__name__}.{entry.module}"), entry.class_name)
