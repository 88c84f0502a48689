"""Which trained network is exported."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping, Optional

from paddle import nn

from arcface_paddle.backbones import build_backbone
from arcface_paddle.backbones.weights import embedding_size_of, load_arrays
from arcface_paddle.errors import CheckpointError, ModelFileError
from arcface_paddle.weight_files import read_state_dict


@dataclass(frozen=True)
class NetworkSource:
    """A backbone by name and the file of its weights.

    Attributes:
        network: a name of ``backbones.BACKBONES``.
        weights: path of the ``.pdparams`` file.
        embedding_size: length of the feature; None = what the weights say.
        width: factor on the channel counts, as in training.
        options: further arguments of ``build_backbone``.
    """

    network: str
    weights: str
    embedding_size: Optional[int] = None
    width: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> nn.Layer:
        """Build the network in evaluation mode with its weights.

        Raises:
            ConfigError: an unknown network or option.
            CheckpointError: the weights are missing, damaged or belong to another network.
        """
        try:
            arrays = read_state_dict(self.weights)
        except ModelFileError as error:
            raise CheckpointError(str(error)) from error
        size = embedding_size_of(arrays) if self.embedding_size is None else self.embedding_size
        network = build_backbone(self.network, embedding_size=size, width=self.width, **dict(self.options))
        load_arrays(network, arrays, name=str(self.weights))
        network.eval()
        return network
