"""The residual network of dlib's face recognition: 29 convolutions, 150x150 pixels, 128 numbers.

After King 2017 (http://blog.dlib.net/2017/02/high-quality-face-recognition-with-deep.html): ResNet-34 (He et al. 2015)
with fewer layers and half the filters. Its habits differ from other ResNets: the first convolution of a block that
halves the size has no padding, its shortcut is a 2x2 mean, and where the two differ by a row and a column, or in the
number of channels, the smaller is filled up with zeros at the bottom, at the right and behind the last channel.
"""

from __future__ import annotations

import paddle
import paddle.nn.functional as functional
from paddle import nn

EMBEDDING_SIZE = 128
INPUT_SIDE = 150

# (filters, blocks), the first block of every group but the first halves the size.
_GROUPS = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))


class ResidualBlock(nn.Layer):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, *, halves: bool) -> None:
        super().__init__()
        stride, padding = (2, 0) if halves else (1, 1)
        self.conv1 = nn.Conv2D(in_channels, out_channels, 3, stride=stride, padding=padding)
        self.conv2 = nn.Conv2D(out_channels, out_channels, 3, padding=1)
        self.pool = nn.AvgPool2D(2, stride=2) if halves else None
        self.added_channels = out_channels - in_channels

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = self.conv2(functional.relu(self.conv1(x)))
        if self.pool is None:
            return functional.relu(x + y)
        shortcut = self.pool(x)
        if self.added_channels:
            # Not functional.pad: Paddle 3.3 with oneDNN corrupts memory when it pads channels.
            shortcut = paddle.concat([shortcut, paddle.zeros_like(shortcut)], axis=1)
        missing = shortcut.shape[2] - y.shape[2]
        if missing:
            # Nor here: paddle2onnx writes an accidental number as the value to pad with, and OpenVINO runs its result.
            y = paddle.concat([y, paddle.zeros_like(shortcut[:, :, :missing, missing:])], axis=2)
            y = paddle.concat([y, paddle.zeros_like(shortcut[:, :, :, :missing])], axis=3)
        return functional.relu(shortcut + y)


class ResNet29(nn.Layer):
    """Map (B, 3, 150, 150) float32 RGB, (x - (122.782, 117.001, 104.298)) / 256, to (B, 128) features."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2D(3, _GROUPS[0][0], 7, stride=2)
        self.pool = nn.MaxPool2D(3, stride=2)
        blocks = []
        channels = _GROUPS[0][0]
        for group, (filters, count) in enumerate(_GROUPS):
            for index in range(count):
                blocks.append(ResidualBlock(channels, filters, halves=group > 0 and index == 0))
                channels = filters
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(channels, EMBEDDING_SIZE, bias_attr=False)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.blocks(self.pool(functional.relu(self.stem(x))))
        # A pool, not x.mean(axis=[2, 3]): Paddle's oneDNN prints a line on stdout at every start for that.
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))
