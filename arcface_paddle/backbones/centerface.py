"""CenterFace (Xu et al. 2019, https://arxiv.org/abs/1911.03599): faces as points of a heat map, with five landmarks.

A MobileNetV2 (Sandler et al. 2018) gives maps at strides 4, 8, 16 and 32; three transposed convolutions bring the
coarsest back to stride 4, each time adding the finer one. There are no anchors: a cell of the map says how likely a
face's centre lies in it, how large the face is, where in the cell its centre stands, and where its landmarks are. The
network is fully convolutional: any input whose height and width are multiples of 32 works.
"""

from __future__ import annotations

import paddle
import paddle.nn.functional as functional
from paddle import nn

STRIDE = 4
"""Input pixels per cell of the maps."""
SIZE_MULTIPLE = 32
"""Height and width of the input are multiples of this."""

_NECK_CHANNELS = 24

# Per level of the pyramid (strides 4, 8, 16, 32): (channels in, channels out, stride of the first, number) of its
# groups of inverted residuals; the first group of all has no expansion.
_LEVELS = (
    ((32, 16, 1, 1), (16, 24, 2, 2)),
    ((24, 32, 2, 3),),
    ((32, 64, 2, 4), (64, 96, 1, 3)),
    ((96, 160, 2, 3), (160, 320, 1, 1)),
)
_EXPANSION = 6
# TensorFlow's habit, in which the weights were trained; Paddle's default is 1e-5.
_BATCH_NORM_EPSILON = 1e-3


class InvertedResidual(nn.Layer):
    """Widen (1x1), filter (depthwise 3x3), narrow (1x1, linear), with a shortcut where the shape stays."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.expand = nn.Conv2D(in_channels, inner, 1) if expansion > 1 else None
        self.filter = nn.Conv2D(inner, inner, 3, stride=stride, padding=1, groups=inner)
        self.narrow = nn.Conv2D(inner, out_channels, 1)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        inner = x if self.expand is None else functional.relu(self.expand(x))
        narrow = self.narrow(functional.relu(self.filter(inner)))
        return x + narrow if self.has_shortcut else narrow


class UpsampleAndAdd(nn.Layer):
    """Bring a map to twice its size and add the finer map of the pyramid, both with the neck's channels."""

    def __init__(self, finer_channels: int) -> None:
        super().__init__()
        self.upsample = nn.Conv2DTranspose(_NECK_CHANNELS, _NECK_CHANNELS, 2, stride=2, bias_attr=False)
        self.norm = nn.BatchNorm2D(_NECK_CHANNELS, epsilon=_BATCH_NORM_EPSILON)
        self.lateral = nn.Conv2D(finer_channels, _NECK_CHANNELS, 1)

    def forward(self, coarse: paddle.Tensor, finer: paddle.Tensor) -> paddle.Tensor:
        return functional.relu(self.norm(self.upsample(coarse))) + functional.relu(self.lateral(finer))


class CenterFace(nn.Layer):
    """Map (B, 3, H, W) float32 RGB of 0 to 255 to four maps at stride 4.

    Returns of ``forward``, all (B, C, H/4, W/4):
        heat, C = 1: logit that a face's centre lies in the cell.
        size, C = 2: natural logarithm of height and width in cells.
        offset, C = 2: y and x of the centre from the cell's middle, in cells.
        landmarks, C = 10: y, x of image-left eye, image-right eye, nose, image-left and image-right mouth corner, from
        the box's top left corner, in heights and widths of the box.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2D(3, 32, 3, stride=2, padding=1)
        self.levels = nn.LayerList([_level(groups) for groups in _LEVELS])
        self.top = nn.Conv2D(_LEVELS[-1][-1][1], _NECK_CHANNELS, 1)
        self.neck = nn.LayerList([UpsampleAndAdd(groups[-1][1]) for groups in reversed(_LEVELS[:-1])])
        self.mix = nn.Conv2D(_NECK_CHANNELS, _NECK_CHANNELS, 3, padding=1)
        self.heat = nn.Conv2D(_NECK_CHANNELS, 1, 1)
        self.size = nn.Conv2D(_NECK_CHANNELS, 2, 1)
        self.offset = nn.Conv2D(_NECK_CHANNELS, 2, 1)
        self.landmarks = nn.Conv2D(_NECK_CHANNELS, 10, 1)

    def forward(self, x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        x = functional.relu(self.stem(x))
        pyramid = []
        for level in self.levels:
            x = level(x)
            pyramid.append(x)
        x = functional.relu(self.top(x))
        for step, finer in zip(self.neck, reversed(pyramid[:-1])):
            x = step(x, finer)
        x = functional.relu(self.mix(x))
        return self.heat(x), self.size(x), self.offset(x), self.landmarks(x)


def _level(groups: tuple[tuple[int, int, int, int], ...]) -> nn.Sequential:
    blocks = []
    for in_channels, out_channels, stride, count in groups:
        expansion = _EXPANSION if in_channels != 32 or out_channels != 16 else 1
        blocks.append(InvertedResidual(in_channels, out_channels, stride=stride, expansion=expansion))
        for _ in range(count - 1):
            blocks.append(InvertedResidual(out_channels, out_channels, stride=1, expansion=_EXPANSION))
    return nn.Sequential(*blocks)
