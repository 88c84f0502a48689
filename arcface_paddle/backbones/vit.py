"""Vision transformers for faces: ViT-T, -S, -B of insightface's arcface_torch, FaceViT of PLSC, with their key names.

Patches of 9x9 pixels (12 x 12 = 144 of them; the last four rows and columns of 112x112 are not seen), learned position
embeddings, no class token, pre-norm blocks (Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929) with ReLU6 and
8 heads, and a head that reads all tokens at once: FC-BN-FC-BN over 144 * C values. PLSC's FaceViT is the same network.

Parameters, with features of length 512: T 19.1 M, S 76.0 M, B 113.8 M; multiply-adds 1.5 G, 5.7 G, 11.4 G as published.

The published training may also hide a tenth of the patches; the published runs on WebFace42M do without it (``vit_t``
and ``vit_s``) or with 5 % (``vit_b``). It is not built here, so there is no ``mask_token`` among the weights.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from arcface_paddle.backbones.transformer_layers import BATCH_NORM_MOMENTUM, DropPath, scaled_channels, small_normal

_PATCH = 9  # pixels
_TOKENS = (112 // _PATCH) ** 2
_HEADS = 8
_MLP_RATIO = 4
_HEAD_EPSILON = 2e-5  # of the two batch normalisations of the published head


class VisionTransformer(nn.Layer):
    """Map (B, 3, 112, 112) float32 faces to (B, embedding_size) features that are not normalised.

    Attention weights and the head run in float32 also under automatic mixed precision, as published.

    Args:
        embedding_size: length of a feature.
        width_mult: factor on ``channels``, rounded to multiples of 8.
        channels: values of a token.
        depth: number of blocks.
        drop_path: probability of leaving out the last block's branches; it grows linearly from 0 at the first.

    Raises:
        ConfigError: ``drop_path`` is not in [0, 1[.
    """

    undecayed_parameters: ClassVar[frozenset[str]] = frozenset({"pos_embed"})

    def __init__(
        self,
        embedding_size: int = 512,
        width_mult: float = 1.0,
        *,
        channels: int,
        depth: int,
        drop_path: float = 0.05,
    ) -> None:
        super().__init__()
        channels = scaled_channels(channels, width_mult)
        self.patch_embed = PatchEmbedding(channels)
        self.pos_embed = self.create_parameter([1, _TOKENS, channels], attr=small_normal())
        self.blocks = nn.LayerList([Block(channels, drop_path=rate) for rate in np.linspace(0, drop_path, depth)])
        self.norm = nn.LayerNorm(channels)
        self.feature = nn.Sequential(
            nn.Linear(channels * _TOKENS, channels, weight_attr=small_normal(), bias_attr=False),
            nn.BatchNorm1D(channels, momentum=BATCH_NORM_MOMENTUM, epsilon=_HEAD_EPSILON),
            nn.Linear(channels, embedding_size, weight_attr=small_normal(), bias_attr=False),
            nn.BatchNorm1D(embedding_size, momentum=BATCH_NORM_MOMENTUM, epsilon=_HEAD_EPSILON),
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        with paddle.amp.auto_cast(enable=False):
            return self.feature(self.norm(x.astype("float32")).flatten(1))


class PatchEmbedding(nn.Layer):
    """Map a picture to one token a patch, (B, 144, channels), row by row."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        bound = float(np.sqrt(1.0 / (3 * _PATCH**2)))
        initial = paddle.ParamAttr(initializer=nn.initializer.Uniform(-bound, bound))
        self.proj = nn.Conv2D(3, channels, _PATCH, stride=_PATCH, weight_attr=initial)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.proj(x).flatten(2).transpose([0, 2, 1])


class Block(nn.Layer):
    """Attention and a two-layer perceptron, each behind a layer normalisation and beside a shortcut."""

    def __init__(self, channels: int, *, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = Attention(channels)
        self.drop_path = DropPath(float(drop_path))
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Perceptron(channels)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Attention(nn.Layer):
    """Multi-head self-attention between the tokens (B, 144, channels); queries, keys and values have no bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.head_channels = channels // _HEADS
        self.qkv = nn.Linear(channels, 3 * channels, weight_attr=small_normal(), bias_attr=False)
        self.proj = nn.Linear(channels, channels, weight_attr=small_normal())

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        parts = self.qkv(x).reshape([-1, _TOKENS, 3, _HEADS, self.head_channels]).transpose([2, 0, 3, 1, 4])
        with paddle.amp.auto_cast(enable=False):
            query, key, value = (part.astype("float32") for part in paddle.unbind(parts))
            weights = F.softmax((query * self.head_channels**-0.5) @ key.transpose([0, 1, 3, 2]), axis=-1)
        return self.proj((weights @ value).transpose([0, 2, 1, 3]).reshape([-1, _TOKENS, _HEADS * self.head_channels]))


class Perceptron(nn.Layer):
    """Two linear layers with ReLU6 between them, on every token by itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, _MLP_RATIO * channels, weight_attr=small_normal())
        self.fc2 = nn.Linear(_MLP_RATIO * channels, channels, weight_attr=small_normal())

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.fc2(F.relu6(self.fc1(x)))
