"""ONet, the last stage of MTCNN (Zhang et al. 2016, https://arxiv.org/abs/1604.02878).

It says whether a crop shows a face, and where exactly. The toolkit uses it behind the detector: it refines
the five landmarks that alignment needs and drops false faces.
"""

from __future__ import annotations

import paddle
import paddle.nn.functional as functional
from paddle import nn


class ONet(nn.Layer):
    """Map (B, 3, 48, 48) float32 RGB crops, (x - 127.5) / 128, to box correction, landmarks and probability.

    Returns of ``forward``, in units of the crop's side:
        box (B, 4): what to add to the crop's left, top, right and bottom edge.
        landmarks (B, 10): five x, then five y, from the crop's left and top edge.
        probability (B, 2): of no face and of a face.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2D(3, 32, 3)
        self.prelu1 = nn.PReLU(32)
        self.conv2 = nn.Conv2D(32, 64, 3)
        self.prelu2 = nn.PReLU(64)
        self.conv3 = nn.Conv2D(64, 64, 3)
        self.prelu3 = nn.PReLU(64)
        self.conv4 = nn.Conv2D(64, 128, 2)
        self.prelu4 = nn.PReLU(128)
        self.dense5 = nn.Linear(128 * 3 * 3, 256)
        self.prelu5 = nn.PReLU(256)
        self.dense6_1 = nn.Linear(256, 2)
        self.dense6_2 = nn.Linear(256, 4)
        self.dense6_3 = nn.Linear(256, 10)

    def forward(self, x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        x = functional.max_pool2d(self.prelu1(self.conv1(x)), 3, 2, ceil_mode=True)
        x = functional.max_pool2d(self.prelu2(self.conv2(x)), 3, 2, ceil_mode=True)
        x = functional.max_pool2d(self.prelu3(self.conv3(x)), 2, 2, ceil_mode=True)
        x = self.prelu4(self.conv4(x)).flatten(1)
        x = self.prelu5(self.dense5(x))
        return self.dense6_2(x), self.dense6_3(x), functional.softmax(self.dense6_1(x), axis=1)
