"""Rendered people with names: identity-labelled faces from nothing but a CC0 head mesh and a seed.

``SyntheticFaces(seed).render(identity, image)`` gives one picture with its landmarks, pose and light; ``write_dataset``
writes whole datasets. Synthetic people are for learning, testing and bootstrapping: accuracy on real faces stays far
below training on real data.
"""

from __future__ import annotations

from arcface_paddle.synthetic.generator import SyntheticFaces, SyntheticImage
from arcface_paddle.synthetic.shards import Shard
from arcface_paddle.synthetic.writer import DatasetSettings, WriteReport, merge_dataset, write_dataset, write_shard

__all__ = [
    "DatasetSettings",
    "Shard",
    "SyntheticFaces",
    "SyntheticImage",
    "WriteReport",
    "merge_dataset",
    "write_dataset",
    "write_shard",
]
