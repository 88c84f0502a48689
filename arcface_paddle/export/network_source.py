"""Which trained network is exported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from paddle import nn

from arcface_paddle.backbones.weights import open_backbone


@dataclass(frozen=True)
class NetworkSource:
    """A backbone by name and the file of its weights.

    Attributes:
        network: a name of ``backbones.BACKBONES``.
        weights: path of the ``.pdparams`` file.
        embedding_size: length of the feature; None = as in the weights.
        width: factor on the channel counts; None = as in the weights.
    """

    network: str
    weights: str
    embedding_size: Optional[int] = None
    width: Optional[float] = None

    def load(self) -> nn.Layer:
        """Build the network in evaluation mode with its weights; raises what ``open_backbone`` raises."""
        return open_backbone(self.network, self.weights, embedding_size=self.embedding_size, width=self.width)
