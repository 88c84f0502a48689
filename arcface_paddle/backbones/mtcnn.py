"""The first two networks of MTCNN (Zhang et al. 2016, https://arxiv.org/abs/1604.02878); the third is ``onet.ONet``.

PNet slides over a picture of several sizes and proposes windows, RNet drops most of them, ONet judges the rest and
gives the landmarks. All three take RGB, (x - 127.5) / 128.
"""

from __future__ import annotations

import paddle
import paddle.nn.functional as functional
from paddle import nn


class PNet(nn.Layer):
    """Map (B, 3, H, W) float32 to proposals, one for each window of 12 x 12 pixels at a distance of 2.

    Returns of ``forward``, with h = ceil((H - 2) / 2) - 4 and w likewise:
        box (B, 4, h, w): what to add to the window's left, top, right and bottom edge, in sides of the window.
        probability (B, 2, h, w): of no face and of a face.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2D(3, 10, 3)
        self.prelu1 = nn.PReLU(10)
        self.conv2 = nn.Conv2D(10, 16, 3)
        self.prelu2 = nn.PReLU(16)
        self.conv3 = nn.Conv2D(16, 32, 3)
        self.prelu3 = nn.PReLU(32)
        self.conv4_1 = nn.Conv2D(32, 2, 1)
        self.conv4_2 = nn.Conv2D(32, 4, 1)

    def forward(self, x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        x = functional.max_pool2d(self.prelu1(self.conv1(x)), 2, 2, ceil_mode=True)
        x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
        return self.conv4_2(x), functional.softmax(self.conv4_1(x), axis=1)


class RNet(nn.Layer):
    """Map (B, 3, 24, 24) float32 crops to box (B, 4) and probability (B, 2), which mean the same as PNet's."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2D(3, 28, 3)
        self.prelu1 = nn.PReLU(28)
        self.conv2 = nn.Conv2D(28, 48, 3)
        self.prelu2 = nn.PReLU(48)
        self.conv3 = nn.Conv2D(48, 64, 2)
        self.prelu3 = nn.PReLU(64)
        self.dense4 = nn.Linear(64 * 3 * 3, 128)
        self.prelu4 = nn.PReLU(128)
        self.dense5_1 = nn.Linear(128, 2)
        self.dense5_2 = nn.Linear(128, 4)

    def forward(self, x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        x = functional.max_pool2d(self.prelu1(self.conv1(x)), 3, 2, ceil_mode=True)
        x = functional.max_pool2d(self.prelu2(self.conv2(x)), 3, 2, ceil_mode=True)
        x = self.prelu3(self.conv3(x)).flatten(1)
        x = self.prelu4(self.dense4(x))
        return self.dense5_2(x), functional.softmax(self.dense5_1(x), axis=1)
