"""Compiled loop over a painted texture: numpy would write several copies of it to memory."""

from __future__ import annotations

import numpy as np

from arcface_paddle.synthetic.kernels.compiled import compiled


@compiled
def mix_color(image: np.ndarray, color: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
    """Write ``image`` (H, W, 3) drawn towards ``color`` (3,) by ``weight`` (H, W) into ``out`` (H, W, 3) float32."""
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            share = weight[row, column]
            for channel in range(3):
                own = image[row, column, channel]
                out[row, column, channel] = own + (color[channel] - own) * share
