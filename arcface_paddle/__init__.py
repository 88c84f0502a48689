"""Face recognition on PaddlePaddle: from raw photographs to a trained model, a gallery and named faces.

Importing this package does no work and does not import paddle; the public names below are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "1.0.0"

_HOME_OF_NAME = {
    "Analyzer": "arcface_paddle.pipeline.analyzer",
    "Candidate": "arcface_paddle.types",
    "Detection": "arcface_paddle.types",
    "Face": "arcface_paddle.types",
    "Gallery": "arcface_paddle.pipeline.gallery",
    "ImageResult": "arcface_paddle.types",
    "InsightFace": "arcface_paddle.cli.insightface_api",
    "build_detector": "arcface_paddle.pipeline",
    "build_recognizer": "arcface_paddle.pipeline",
    "load_image": "arcface_paddle.images",
    "parser": "arcface_paddle.cli.insightface_api",
}

__all__ = ["__version__", *sorted(_HOME_OF_NAME)]


def __getattr__(name: str) -> Any:
    home = _HOME_OF_NAME.get(name)
    if home is None:
        raise AttributeError(f"module 'arcface_paddle' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return __all__
