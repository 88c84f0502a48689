"""HRNetV2-W18 (Wang et al. 2020, https://arxiv.org/abs/1908.07919) for 112x112 faces.

Branches of full, half, quarter and eighth size run beside each other and exchange what they found; at the end all are
brought to the largest size and joined (the "V2" representation of the paper). Of the stem's two convolutions of stride
2 only one is there, as in the published face recogniser on HRNet: the branches then have 56, 28, 14 and 7 pixels a
side. The head is that recogniser's too: 1x1 convolution, mean over the map, linear layer, normalisation.
"""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn

_STEM_CHANNELS = 64
_FIRST_STAGE_UNITS = 4
_EXPANSION = 4  # of the bottlenecks of the first stage
_UNITS_PER_BRANCH = 4
# Paper, table 1: how often the stages with two, three and four branches exchange.
_MODULES = (1, 4, 3)
_BATCH_NORM_MOMENTUM = 0.9  # weight of the old running statistics (torch counts the other way round)


class HRNet(nn.Layer):
    """Map (B, 3, 112, 112) float32 faces to (B, embedding_size) features that are not normalised.

    Args:
        embedding_size: length of a feature.
        width_mult: factor on all channel counts except the embedding; those of the branches are rounded to multiples
            of ``width``'s parity, 2, the others to multiples of 8.
        width: channels of the branch of full size at ``width_mult`` 1; each next branch has twice as many.
    """

    def __init__(self, embedding_size: int = 512, width_mult: float = 1.0, *, width: int = 18) -> None:
        super().__init__()
        stem = _scaled(_STEM_CHANNELS, width_mult, 8)
        narrowest = _scaled(width, width_mult, 2)
        self.stem = ConvNorm(3, stem, stride=2)
        wide = stem * _EXPANSION
        self.stage1 = nn.Sequential(
            *(Bottleneck(stem if unit == 0 else wide, stem) for unit in range(_FIRST_STAGE_UNITS))
        )
        channels = [wide]
        transitions, stages = [], []
        for number, modules in enumerate(_MODULES, 2):
            before, channels = channels, [narrowest * 2**branch for branch in range(number)]
            transitions.append(Transition(before, channels))
            stages.append(nn.Sequential(*(ExchangeModule(channels) for _ in range(modules))))
        self.transitions, self.stages = nn.LayerList(transitions), nn.LayerList(stages)
        self.mix = ConvNorm(sum(channels), sum(channels), kernel=1)
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.fc = nn.Linear(sum(channels), embedding_size)
        self.features = nn.BatchNorm1D(embedding_size, momentum=_BATCH_NORM_MOMENTUM)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        branches = [self.stage1(self.stem(x))]
        for transition, stage in zip(self.transitions, self.stages):
            branches = stage(transition(branches))
        joined = paddle.concat([branches[0], *(_upsampled(x, 2**k) for k, x in enumerate(branches[1:], 1))], axis=1)
        pooled = self.pool(self.mix(joined)).flatten(1)
        with paddle.amp.auto_cast(enable=False):
            return self.features(self.fc(pooled.astype("float32")))


class ConvNorm(nn.Layer):
    """Convolution without bias, batch normalisation, and ReLU unless the block is linear."""

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2D(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias_attr=False)
        self.bn = nn.BatchNorm2D(out_channels, momentum=_BATCH_NORM_MOMENTUM)
        self.linear = linear

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.bn(self.conv(x))
        return x if self.linear else F.relu(x)


class BasicUnit(nn.Layer):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = ConvNorm(channels, channels, linear=True)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return F.relu(self.second(self.first(x)) + x)


class Bottleneck(nn.Layer):
    """1x1, 3x3 and 1x1 convolution, four times as wide at the end, beside a shortcut."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        out_channels = channels * _EXPANSION
        self.narrow = ConvNorm(in_channels, channels, kernel=1)
        self.filter = ConvNorm(channels, channels)
        self.widen = ConvNorm(channels, out_channels, kernel=1, linear=True)
        self.shortcut = (
            nn.Identity() if in_channels == out_channels else ConvNorm(in_channels, out_channels, kernel=1, linear=True)
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return F.relu(self.widen(self.filter(self.narrow(x))) + self.shortcut(x))


class Transition(nn.Layer):
    """Give every branch its channels, and begin a new branch of half the size from the smallest."""

    def __init__(self, before: list[int], channels: list[int]) -> None:
        super().__init__()
        kept = [nn.Identity() if own == wanted else ConvNorm(own, wanted) for own, wanted in zip(before, channels)]
        self.kept = nn.LayerList(kept)
        self.new = ConvNorm(before[-1], channels[-1], stride=2)

    def forward(self, branches: list[paddle.Tensor]) -> list[paddle.Tensor]:
        return [*(layer(x) for layer, x in zip(self.kept, branches)), self.new(branches[-1])]


class ExchangeModule(nn.Layer):
    """Four units on each branch; then each becomes the sum of all, brought to its size and channels."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.branches = nn.LayerList(
            [nn.Sequential(*(BasicUnit(own) for _ in range(_UNITS_PER_BRANCH))) for own in channels]
        )
        self.exchange = nn.LayerList(
            [
                nn.LayerList([_bridge(channels, source, target) for source in range(len(channels))])
                for target in range(len(channels))
            ]
        )

    def forward(self, branches: list[paddle.Tensor]) -> list[paddle.Tensor]:
        branches = [layers(x) for layers, x in zip(self.branches, branches)]
        results = []
        for target, bridges in enumerate(self.exchange):
            total = branches[target]
            for source, bridge in enumerate(bridges):
                if source != target:
                    change = bridge(branches[source])
                    total = total + (_upsampled(change, 2 ** (source - target)) if source > target else change)
            results.append(F.relu(total))
        return results


def _bridge(channels: list[int], source: int, target: int) -> nn.Layer:
    """Return the layers from one branch to another: 1x1 where it is to grow, 3x3 of stride 2 for each halving."""
    if source == target:
        return nn.Identity()
    if source > target:
        return ConvNorm(channels[source], channels[target], kernel=1, linear=True)
    halvings = [ConvNorm(channels[source], channels[source], stride=2) for _ in range(target - source - 1)]
    return nn.Sequential(*halvings, ConvNorm(channels[source], channels[target], stride=2, linear=True))


def _upsampled(x: paddle.Tensor, factor: int) -> paddle.Tensor:
    # Not F.interpolate: oneDNN in Paddle 3.3 cannot take over its scale, an attribute that is a list of doubles.
    _, channels, height, width = x.shape
    wide = x.unsqueeze([3, 5]).expand([-1, -1, -1, factor, -1, factor])
    return wide.reshape([-1, channels, height * factor, width * factor])


def _scaled(channels: int, factor: float, multiple: int) -> int:
    return max(multiple, int(channels * factor / multiple + 0.5) * multiple)
