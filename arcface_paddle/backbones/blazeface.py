"""BlazeFace for pictures taken at arm's length ("back camera", Bazarevsky et al. 2019, https://arxiv.org/abs/1907.05047).

The network is fully convolutional: any input whose height and width are multiples of 32 works. It gives raw head maps;
anchors, decoding and non-maximum suppression are the business of ``arcface_paddle.pipeline.detection``.
"""

from __future__ import annotations

import paddle
import paddle.nn.functional as functional
from paddle import nn

VALUES_PER_ANCHOR = 16  # box centre, width and height, and six keypoints
ANCHORS_OF_STRIDE = {16: 2, 32: 6}

# (input channels, output channels, stride) of the 31 single blocks.
_BLOCKS = (
    *[(24, 24, 1)] * 7,
    (24, 24, 2),
    *[(24, 24, 1)] * 7,
    (24, 48, 2),
    *[(48, 48, 1)] * 7,
    (48, 96, 2),
    *[(96, 96, 1)] * 7,
)

# TensorFlow's SAME for even inputs, in Paddle's order top, bottom, left, right.
_SAME_3X3 = {1: [1, 1, 1, 1], 2: [0, 1, 0, 1]}
_SAME_5X5_STRIDE_2 = [1, 2, 1, 2]


class BlazeBlock(nn.Layer):
    """Depthwise 3x3 and pointwise convolution with a shortcut: pooled at stride 2, zeros as added channels."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2D(
            in_channels, in_channels, 3, stride=stride, padding=_SAME_3X3[stride], groups=in_channels
        )
        self.pointwise = nn.Conv2D(in_channels, out_channels, 1)
        self.pool = nn.MaxPool2D(2, 2) if stride == 2 else None
        self.doubles = out_channels == 2 * in_channels

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        shortcut = x if self.pool is None else self.pool(x)
        if self.doubles:
            # Not functional.pad: Paddle 3.3 with oneDNN corrupts memory when it pads channels.
            shortcut = paddle.concat([shortcut, paddle.zeros_like(shortcut)], axis=1)
        return functional.relu(self.pointwise(self.depthwise(x)) + shortcut)


class BlazeFace(nn.Layer):
    """Map (B, 3, H, W) float32 in -1..1 to four head maps.

    Returns of ``forward``, for stride 16 with 2 anchors a cell and stride 32 with 6:
        boxes_16 (B, 32, H/16, W/16), boxes_32 (B, 96, H/32, W/32): per anchor x, y of the centre relative to the
        anchor's, width, height, then x, y of six keypoints relative to the anchor's centre, all in input pixels.
        scores_16 (B, 2, H/16, W/16), scores_32 (B, 6, H/32, W/32): logits.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2D(3, 24, 5, stride=2, padding=_SAME_5X5_STRIDE_2)
        self.blocks = nn.Sequential(*[BlazeBlock(before, after, stride=stride) for before, after, stride in _BLOCKS])
        self.coarse_depthwise = nn.Conv2D(96, 96, 3, stride=2, padding=_SAME_3X3[2], groups=96)
        self.coarse_pointwise = nn.Conv2D(96, 96, 1)
        self.scores_16 = nn.Conv2D(96, ANCHORS_OF_STRIDE[16], 1)
        self.scores_32 = nn.Conv2D(96, ANCHORS_OF_STRIDE[32], 1)
        self.boxes_16 = nn.Conv2D(96, ANCHORS_OF_STRIDE[16] * VALUES_PER_ANCHOR, 1)
        self.boxes_32 = nn.Conv2D(96, ANCHORS_OF_STRIDE[32] * VALUES_PER_ANCHOR, 1)

    def forward(self, x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        fine = self.blocks(functional.relu(self.stem(x)))
        coarse = functional.relu(self.coarse_pointwise(self.coarse_depthwise(fine)))
        return self.boxes_16(fine), self.boxes_32(coarse), self.scores_16(fine), self.scores_32(coarse)
