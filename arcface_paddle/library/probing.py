"""The embedding of one face of a picture, to be compared with those of a library."""

from __future__ import annotations

import numpy as np

from arcface_paddle import files
from arcface_paddle.errors import ConfigError, ImageError
from arcface_paddle.pipeline.choosing import choose_faces
from arcface_paddle.pipeline.gallery.entries import ModelIdentity
from arcface_paddle.pipeline.opening import OpenPipeline
from arcface_paddle.pipeline.recognition import require_embedding


def embed_one_face(pipeline: OpenPipeline, picture: files.PathLike, *, model: ModelIdentity, faces: str) -> np.ndarray:
    """Return the embedding of a face, (D,) float32, L2-normalised.

    Args:
        pipeline: open models.
        picture: the picture.
        model: that made the library's embeddings.
        faces: which of several faces counts, one of ``settings.ONE_FACE_CHOICES``.

    Raises:
        ConfigError: the pipeline has another model.
        ImageError: the picture cannot be read, or shows no face, or several where ``faces`` is ``one``.
    """
    name = files.printable(picture)
    if pipeline.model is None or model.difference_to(pipeline.model):
        mine = "no recogniser" if pipeline.model is None else model.difference_to(pipeline.model)
        raise ConfigError(
            f"the library was embedded by {model.name}, which cannot be used here ({mine}); "
            "run 'arcface-paddle people' again, or give a name in place of a picture"
        )
    result = pipeline.analyzer.analyze(picture, source=name)
    if not result.faces:
        raise ImageError(f"{name}: no face found")
    chosen = choose_faces(result, faces)
    if not chosen:
        raise ImageError(f"{name}: {len(result.faces)} faces found; choose with --faces centre or largest")
    return require_embedding(chosen[0])
