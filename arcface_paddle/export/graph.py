"""What is exported: the network, optionally with mirrored average and L2 normalisation inside the graph."""

from __future__ import annotations

from dataclasses import dataclass

import paddle
from paddle import nn

from arcface_paddle.export.folding import fold_batch_norm

INPUT_NAME = "x"
INPUT_SHAPE = (3, 112, 112)
_SMALLEST_NORM = 1e-12  # added, so that a feature of zeros does not become NaN


@dataclass(frozen=True)
class GraphSettings:
    """What the exported graph does besides the network itself.

    Attributes:
        mirror: add the features of the mirrored picture (the published flip test).
        normalize: divide by the L2 norm at the end.
        fold: fold batch normalisations where that is exact.
    """

    mirror: bool = False
    normalize: bool = False
    fold: bool = True


class EmbeddingGraph(nn.Layer):
    """Map ``x`` (B, 3, 112, 112) float32 to features or embeddings (B, D) float32."""

    def __init__(self, network: nn.Layer, settings: GraphSettings) -> None:
        super().__init__()
        self.network = network
        self.mirror = settings.mirror
        self.normalize = settings.normalize

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        features = self.network(x)
        if self.mirror:
            features = features + self.network(paddle.flip(x, axis=[3]))
        return _l2_normalized(features) if self.normalize else features


def _l2_normalized(features: paddle.Tensor) -> paddle.Tensor:
    # Not F.normalize: Paddle 3.3 cannot trace its maximum() into the format of Paddle 2, but norm and + it can.
    return features / (paddle.linalg.norm(features, p=2, axis=1, keepdim=True) + _SMALLEST_NORM)


def build_graph(network: nn.Layer, settings: GraphSettings) -> EmbeddingGraph:
    """Wrap ``network`` for export; when folding, a copy of it."""
    if settings.fold:
        network, _ = fold_batch_norm(network, input_shape=(1, *INPUT_SHAPE))
    graph = EmbeddingGraph(network, settings)
    graph.eval()
    return graph
