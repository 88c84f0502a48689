"""What is exported: the network, optionally with mirrored average and L2 normalisation inside the graph."""

from __future__ import annotations

import paddle
from paddle import nn

from arcface_paddle.export.folding import fold_batch_norm

INPUT_NAME = "x"
INPUT_SHAPE = (3, 112, 112)
_SMALLEST_SQUARED_NORM = 1e-12


class EmbeddingGraph(nn.Layer):
    """Map ``x`` (B, 3, 112, 112) float32 to features or embeddings (B, D) float32.

    Args:
        network: the backbone, in evaluation mode.
        mirror: add the features of the mirrored picture before anything else (the published flip test).
        normalize: divide by the L2 norm at the end.
    """

    def __init__(self, network: nn.Layer, *, mirror: bool, normalize: bool) -> None:
        super().__init__()
        self.network = network
        self.mirror = mirror
        self.normalize = normalize

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        features = self.network(x)
        if self.mirror:
            features = features + self.network(paddle.flip(x, axis=[3]))
        return _l2_normalized(features) if self.normalize else features


def _l2_normalized(features: paddle.Tensor) -> paddle.Tensor:
    # Not F.normalize: its maximum() cannot be traced in the old format by Paddle 3.3.
    return features * paddle.rsqrt((features * features).sum(axis=1, keepdim=True) + _SMALLEST_SQUARED_NORM)


def build_graph(network: nn.Layer, *, mirror: bool, normalize: bool, fold: bool) -> EmbeddingGraph:
    """Wrap ``network`` for export; with ``fold`` on a copy whose batch normalisations are folded."""
    if fold:
        network, _ = fold_batch_norm(network, input_shape=(1, *INPUT_SHAPE))
    graph = EmbeddingGraph(network, mirror=mirror, normalize=normalize)
    graph.eval()
    return graph
