"""A one-to-many test of a model on a labelled set: split, embed, search, summarise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np

from arcface_paddle.data.dataset import FaceDataset
from arcface_paddle.evaluation.embedder import Embedder
from arcface_paddle.evaluation.embedding import EmbeddingSettings, embed_crops
from arcface_paddle.evaluation.identification import (
    IdentificationResult,
    SplitSettings,
    identification_result,
    rank_probes,
    split_gallery_probes,
)
from arcface_paddle.evaluation.ranks import Ranks
from arcface_paddle.evaluation.verification import l2_normalized


@dataclass(frozen=True)
class ModelIdentification:
    """What one model reached on a gallery and its probes."""

    model: str
    description: str
    result: IdentificationResult


def identify_people(
    embedder: Embedder,
    dataset: FaceDataset,
    *,
    split: SplitSettings,
    settings: EmbeddingSettings,
    pooling: str = "mean",
    ranks: Optional[Ranks] = None,
) -> ModelIdentification:
    """Search the probes of a labelled set in its gallery; all ranks get the result.

    Args:
        embedder: the model.
        dataset: aligned crops with labels; ``resized_count`` afterwards tells how many were not 112x112.
        split: how pictures become gallery and probes; the same seed gives every model the same split.
        settings: batch size and mirror pass.
        pooling: how the pictures of a person count, see ``rank_probes``.
        ranks: the process group; None for one process.

    Raises:
        ConfigError: a setting out of range.
        DataError: nobody has enough pictures, or one cannot be decoded.
    """
    parts = split_gallery_probes(dataset.labels, settings=split)
    used = np.concatenate([parts.gallery, parts.probes])
    features = embed_crops(
        embedder.embed,
        lambda row: dataset.read_image(int(used[row])),
        len(used),
        name=dataset.name,
        settings=settings,
        ranks=ranks,
    )
    gallery, probes = np.split(l2_normalized(features.summed), [len(parts.gallery)])
    people = dataset.labels[parts.gallery]
    ranking = rank_probes(probes, dataset.labels[parts.probes], gallery, people, pooling=pooling)
    result = identification_result(ranking, name=Path(dataset.name).name, people=len(np.unique(people)))
    return ModelIdentification(embedder.name, embedder.description, result)
