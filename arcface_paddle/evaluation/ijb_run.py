"""IJB-B or IJB-C with a model: read and align the pictures, embed them, evaluate templates by every setting."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Sequence

import numpy as np

from arcface_paddle import images
from arcface_paddle.evaluation.embedder import Embedder
from arcface_paddle.evaluation.embedding import Decode, EmbeddingSettings, embed_crops
from arcface_paddle.evaluation.ijb import (
    IjbSet,
    TemplateSearch,
    TemplateSettings,
    TemplateVerification,
    image_features,
    pool_templates,
    search_templates,
    verify_templates,
)
from arcface_paddle.evaluation.ranks import Ranks
from arcface_paddle.pipeline.alignment import estimate_similarity
from arcface_paddle.pipeline.model_files import preset_card
from arcface_paddle.pipeline.preprocessing import warp


@dataclass(frozen=True)
class ModelTemplates:
    """What one model reached on IJB-B or IJB-C, per setting; ``searches`` is empty when there is no 1:N list."""

    model: str
    description: str
    verifications: Sequence[TemplateVerification]
    searches: Sequence[TemplateSearch]


def evaluate_ijb(
    embedder: Embedder,
    ijb: IjbSet,
    *,
    protocols: Sequence[TemplateSettings],
    batch_size: int = 64,
    progress: bool = False,
    ranks: Optional[Ranks] = None,
) -> ModelTemplates:
    """Compare and search the templates of a set; all ranks get the result.

    The pictures are embedded once, and mirrored only if a protocol needs it.

    Args:
        embedder: the model.
        ijb: the metadata, as ``ijb_files.read_ijb`` gives them.
        protocols: the settings of the template protocol.
        batch_size: crops per run of the network.
        progress: show the progress, see ``arcface_paddle.progress``.
        ranks: the process group; None for one process.

    Raises:
        DataError: a picture cannot be read, or a list names a template without pictures.
    """
    settings = EmbeddingSettings(batch_size, mirror=any(one.flip for one in protocols), progress=progress)
    features = embed_crops(
        embedder.embed, aligned_pictures(ijb), len(ijb.pictures), name=ijb.name, settings=settings, ranks=ranks
    )
    verifications, searches = [], []
    for protocol in protocols:
        weighted = image_features(features, ijb.detector_scores, settings=protocol)
        embeddings, numbers = pool_templates(weighted, ijb.templates, ijb.media)
        verifications.append(verify_templates(embeddings, numbers, ijb, settings=protocol))
        if ijb.probes is not None and ijb.galleries:
            searches.append(search_templates(embeddings, numbers, ijb, settings=protocol))
    return ModelTemplates(embedder.name, embedder.description, verifications, searches)


def aligned_pictures(ijb: IjbSet) -> Decode:
    """Return a function that reads a loose crop and aligns it by its five landmarks, as the published script does."""
    card = preset_card("aligned-112")
    assert card.recognizer is not None
    template = np.asarray(card.recognizer.template)

    def decode(index: int) -> np.ndarray:
        picture = images.read_image(Path(ijb.folder) / ijb.pictures[index])
        transform = estimate_similarity(ijb.landmarks[index], template)
        return warp(picture, transform, size_wh=card.input.size_wh)

    return decode
