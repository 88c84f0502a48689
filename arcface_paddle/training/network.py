"""Which network a run trains, and building it: the settings, the network's own values, or those of ``--pretrained``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional

import paddle
from paddle import nn

from arcface_paddle import devices, distributed
from arcface_paddle.backbones import BACKBONES, build_backbone, canonical_name, find_backbone, options_of
from arcface_paddle.backbones.batch_renorm import norms_of_maps, use_batch_renorm, use_group_norm
from arcface_paddle.backbones.channels_last import CHANNELS_LAST, use_channels_last
from arcface_paddle.backbones.cpu_kernels.layers import use_kernels
from arcface_paddle.backbones.cpu_kernels.operators import Kernels
from arcface_paddle.backbones.cpu_speed import use_cpu_layers
from arcface_paddle.backbones.imagenet import ImageNetNetwork, is_of_paddle_vision, trunk_arrays
from arcface_paddle.backbones.normalization import (
    freeze_batch_norm,
    use_native_sync_batch_norm,
    use_synchronised_batch_norm,
)
from arcface_paddle.backbones.weights import has_group_norm, load_arrays
from arcface_paddle.errors import ConfigError
from arcface_paddle.training.config import DEFAULT_NETWORK, NetworkConfig, TrainConfig, config_from
from arcface_paddle.training.pretrained import PretrainedWeights, open_pretrained

_FLAGS_OF_ONEDNN = ("FLAGS_use_onednn", "FLAGS_use_mkldnn")
"""With either, Paddle 3.3.1 on CPU gives compiled backbones no gradient at all, or a wrong one."""


@dataclass(frozen=True, eq=False)
class NetworkChoice:
    """The network of a run, with nothing left open.

    Attributes:
        name: a key of ``BACKBONES``.
        embedding_size: length of the feature.
        width: factor on the channel counts.
        pretrained: weights to start from; None = random ones.
        dropout: probability before the last layer; None = the network's own.
        norm: ``batch``, ``batch_renorm`` or ``group``, see ``NetworkConfig``.
        data_format: ``NCHW`` or ``NHWC``, likewise.
    """

    name: str
    embedding_size: int
    width: float
    pretrained: Optional[PretrainedWeights]
    dropout: Optional[float] = None
    norm: str = "batch"
    data_format: str = "NCHW"

    def written_into(self, config: TrainConfig) -> TrainConfig:
        """Return ``config`` with the choice in place of what it left open."""
        return config_from(
            {"network": self.name, "embedding_size": self.embedding_size, "width": self.width}, base=config
        )


def choose_network(settings: NetworkConfig) -> NetworkChoice:
    """Fill in what the settings leave open: from ``--pretrained``, else the network's own values.

    Raises:
        ConfigError: an unknown network, or a setting that contradicts the card of ``--pretrained``.
        CheckpointError, ModelFileError: ``--pretrained`` cannot be read.
    """
    pretrained = open_pretrained(settings.pretrained) if settings.pretrained else None
    known: Optional[str] = None
    size, width = settings.embedding_size, settings.width
    if pretrained is not None:
        if pretrained.has_card:
            _refuse_contradictions(settings, pretrained)
        known, size, width = pretrained.network, size or pretrained.embedding_size, width or pretrained.width
    name = canonical_name(settings.network or known or DEFAULT_NETWORK)
    size = size or find_backbone(name).embedding_size
    return NetworkChoice(name, size, width or 1.0, pretrained, settings.dropout, settings.norm, settings.data_format)


def build_network(
    choice: NetworkChoice,
    *,
    batch_norm: str,
    say: Callable[[str], None],
    mode: str = "dynamic",
    kernels: Optional[Kernels] = None,
) -> nn.Layer:
    """Build the network in training mode, with the same weights on all ranks.

    Args:
        choice: what to build.
        batch_norm: ``local``, ``sync``, ``native_sync`` or ``frozen``, see ``NetworkConfig``.
        say: gets what the user should know.
        mode: ``dynamic``, ``static`` or ``cinn``, see ``RunConfig``.
        kernels: operators for the CPU, for mode ``dynamic`` and the usual data format; None = Paddle's.

    Raises:
        ConfigError: values that the network or the device refuses, or an option that it does not have.
        CheckpointError: the weights to start from do not fit the network.
    """
    if batch_norm == "native_sync" or mode == "cinn":
        devices.require_cuda("batch_norm native_sync" if mode != "cinn" else "mode cinn")
    network = build_backbone(choice.name, embedding_size=choice.embedding_size, width=choice.width, **_options(choice))
    if choice.norm != "batch" and not norms_of_maps(network):
        raise ConfigError(f"--norm {choice.norm}: {choice.name} has no BatchNorm to replace; leave it out")
    if choice.pretrained is not None:
        _refuse_other_norm(network, choice, choice.pretrained)
    if choice.norm == "group":
        network = use_group_norm(network)
    if choice.pretrained is not None:
        _load_pretrained(network, choice.pretrained, say=say)
    if batch_norm == "sync":
        network = use_synchronised_batch_norm(network)
    elif batch_norm == "native_sync":
        network = use_native_sync_batch_norm(network)
    elif batch_norm == "frozen":
        network = freeze_batch_norm(network)
    if choice.norm == "batch_renorm":  # of what is there by now, synchronised or not
        network = use_batch_renorm(network)
    if choice.data_format == CHANNELS_LAST:
        network = use_channels_last(network, name=choice.name)
    if mode != "dynamic":
        network = compile_network(network, say=say, mode=mode)
    elif kernels is not None:
        use_kernels(network, kernels)
    elif not devices.is_accelerator() and choice.data_format != CHANNELS_LAST:
        use_cpu_layers(network)  # which are of the other order, and not for the compiler
    distributed.broadcast_parameters(list(network.state_dict().values()))
    network.train()
    return network


def starts_trained(network: nn.Layer, choice: NetworkChoice) -> bool:
    """Tell whether the whole network starts from the weights of a face recogniser, not only a trunk of ImageNet's."""
    if choice.pretrained is None:
        return False
    return not (isinstance(network, ImageNetNetwork) and is_of_paddle_vision(network, choice.pretrained.arrays))


def _options(choice: NetworkChoice) -> dict[str, float]:
    """Return the further arguments of the network.

    Raises:
        ConfigError: it has no dropout, but one is asked for.
    """
    if choice.dropout is None:
        return {}
    if "dropout" not in options_of(choice.name):
        able = [name for name in BACKBONES if "dropout" in options_of(name)]
        raise ConfigError(
            f"--dropout {choice.dropout:g}: {choice.name} has no dropout; leave it out, or take {', '.join(able)}"
        )
    return {"dropout": choice.dropout}


def _refuse_other_norm(network: nn.Layer, choice: NetworkChoice, pretrained: PretrainedWeights) -> None:
    """Refuse weights of GroupNorm for BatchNorm and the other way round; ``network`` has BatchNorm."""
    own_is_group = has_group_norm(pretrained.arrays, network)
    if own_is_group != (choice.norm == "group"):
        own = "group" if own_is_group else "batch"
        raise ConfigError(
            f"--norm {choice.norm}: the weights {pretrained.path} are not of a network with it; take --norm {own}"
        )


def _load_pretrained(network: nn.Layer, pretrained: PretrainedWeights, *, say: Callable[[str], None]) -> None:
    arrays, path = pretrained.arrays, str(pretrained.path)
    if isinstance(network, ImageNetNetwork) and is_of_paddle_vision(network, arrays):
        load_arrays(network.trunk, trunk_arrays(arrays), name=path)
        say(
            f"trunk starts from the ImageNet weights {path}: their classifier is dropped and the first convolution "
            "takes the training input (std 0.5) in place of ImageNet's; head and class centres start at random"
        )
        return
    load_arrays(network, arrays, name=path)
    say(f"backbone starts from {path}")
    if pretrained.adapted:
        say(f"{pretrained.source}: {pretrained.adapted}")


def compile_network(network: nn.Layer, *, say: Callable[[str], None], mode: str = "static") -> nn.Layer:
    """Let the network run as a compiled program; keys and weights stay, and any batch size goes through one program.

    Paddle's default would be its compiler CINN wherever a build has it, whose results differ by rounding; so it is
    named here only where ``mode`` is ``cinn``.

    Raises:
        ConfigError: ``mode`` is ``cinn``, and this Paddle is built without it.
    """
    if mode == "cinn" and not paddle.is_compiled_with_cinn():
        raise ConfigError("mode cinn: this Paddle is built without CINN, its compiler; choose mode static or dynamic")
    wrong = [name for name in _FLAGS_OF_ONEDNN if _is_on(name)]
    if wrong:
        paddle.set_flags(dict.fromkeys(wrong, False))
        say(f"{' and '.join(wrong)} switched off: in mode {mode} it gives the backbone no gradients or wrong ones")
    say(f"mode {mode}: the backbone is compiled at its first step, and again at the first validation")
    devices.translate_outside_home()
    picture = paddle.static.InputSpec([None, 3, 112, 112], "float32", name="images")
    backend = "CINN" if mode == "cinn" else None
    return paddle.jit.to_static(network, input_spec=[picture], full_graph=True, backend=backend)


def _is_on(flag: str) -> bool:
    try:
        return bool(paddle.get_flags(flag)[flag])
    except ValueError:  # this Paddle knows no such name: 3.0 has the older one alone
        return False


def _refuse_contradictions(settings: NetworkConfig, model: PretrainedWeights) -> None:
    given = {
        "network": None if settings.network is None else canonical_name(settings.network),
        "embedding_size": settings.embedding_size,
        "width": settings.width,
    }
    if model.network is None and settings.network is None:
        raise ConfigError(f"--pretrained {model.source}: its network is not known; name it with --network")
    for option, value in given.items():
        own = getattr(model, option)
        if value is not None and own is not None and value != own:
            raise ConfigError(
                f"--pretrained {model.source} has {option} {own}, which --{option} {value} contradicts: "
                f"leave --{option} out"
            )
