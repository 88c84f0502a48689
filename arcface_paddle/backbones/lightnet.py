"""LightNet of egcode/facerec: eight plain 3x3 convolutions with PReLU, halved in size after every second one.

It has no normalisation at all, so it wants small learning rates; it is here for who comes from that project. The
published slopes of PReLU are one per layer.
"""

from __future__ import annotations

import paddle
from paddle import nn

from arcface_paddle.errors import ConfigError

_CHANNELS = (20, 50, 64, 128, 512, 512, 1024, 1024)
_FINAL_SIZE = 7  # height and width of the last feature map for 112x112 input


class LightNet(nn.Layer):
    """Map (B, 3, 112, 112) float32 faces to (B, embedding_size) features that are not normalised.

    Args:
        embedding_size: length of a feature.
        width_mult: factor on all channel counts except the embedding, rounded to multiples of 2.
        dropout: probability before the fully connected layer; the published one by default.

    Raises:
        ConfigError: ``dropout`` is not in [0, 1[.
    """

    def __init__(self, embedding_size: int = 512, width_mult: float = 1.0, *, dropout: float = 0.2) -> None:
        super().__init__()
        if not 0.0 <= dropout < 1.0:
            raise ConfigError(f"dropout is {dropout}; allowed: 0 <= dropout < 1")
        layers: list[nn.Layer] = []
        before = 3
        for number, published in enumerate(_CHANNELS):
            channels = max(2, int(published * width_mult / 2 + 0.5) * 2)
            # Without a normalisation the default initial weights let the signal fade: halved variance a layer.
            initial = paddle.ParamAttr(
                initializer=nn.initializer.KaimingNormal(negative_slope=0.25, nonlinearity="leaky_relu")
            )
            layers += [nn.Conv2D(before, channels, 3, padding=1, weight_attr=initial), nn.PReLU(1)]
            if number % 2:
                layers.append(nn.MaxPool2D(2, 2))
            before = channels
        self.layers = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(before * _FINAL_SIZE**2, embedding_size)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.dropout(self.layers(x).flatten(1))
        with paddle.amp.auto_cast(enable=False):
            return self.fc(x.astype("float32"))
