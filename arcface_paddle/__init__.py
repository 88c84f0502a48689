"""Face recognition on PaddlePaddle: from raw photographs to a trained model, a gallery and named faces.

    from arcface_paddle import compare
    found = compare("passport.jpg", "door_camera.jpg")
    print(found.same_person, found.similarity, found.probability)

Who is on a picture, by a gallery that ``test_recognition --build_index=people.index --img_dir=FOLDER`` has made:

    from arcface_paddle import Gallery, PipelineSettings, open_pipeline
    pipeline = open_pipeline(PipelineSettings(), gallery=Gallery.load("people.index"))
    result = pipeline.analyzer.analyze("group.jpg")      # a path, bytes, an array or a PIL image
    print(result.faces)
    result.save("annotated.jpg")                         # a notebook shows ``result`` as a picture

Whatever a caller can do wrong is an ``ArcfaceError`` (``ImageError``, ``GalleryError``, ...) that says what to do.
Importing this package does no work and does not import paddle; the public names below are loaded on first use.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from arcface_paddle.lazy_names import loader_of

if sys.version_info < (3, 9):  # noqa: UP036 - pip refuses it, but not a copy of the repository on the path
    raise ImportError(f"arcface_paddle needs Python 3.9 or newer; {sys.executable} is {sys.version.split()[0]}")

if TYPE_CHECKING:  # for editors and type checkers; at run time __getattr__ does it
    from arcface_paddle.cli.insightface_api import InsightFace as InsightFace
    from arcface_paddle.cli.insightface_api import parser as parser
    from arcface_paddle.errors import ArcfaceError as ArcfaceError
    from arcface_paddle.errors import CheckpointError as CheckpointError
    from arcface_paddle.errors import ConfigError as ConfigError
    from arcface_paddle.errors import DataError as DataError
    from arcface_paddle.errors import GalleryError as GalleryError
    from arcface_paddle.errors import ImageError as ImageError
    from arcface_paddle.errors import MissingDependencyError as MissingDependencyError
    from arcface_paddle.errors import ModelFileError as ModelFileError
    from arcface_paddle.images import load_image as load_image
    from arcface_paddle.pipeline.analyzed import AnalyzedImage as AnalyzedImage
    from arcface_paddle.pipeline.analyzer import Analyzer as Analyzer
    from arcface_paddle.pipeline.builders import build_detector as build_detector
    from arcface_paddle.pipeline.builders import build_recognizer as build_recognizer
    from arcface_paddle.pipeline.comparison import Comparison as Comparison
    from arcface_paddle.pipeline.face_analysis import FaceAnalysis as FaceAnalysis
    from arcface_paddle.pipeline.gallery import Gallery as Gallery
    from arcface_paddle.pipeline.opening import open_pipeline as open_pipeline
    from arcface_paddle.pipeline.settings import PipelineSettings as PipelineSettings
    from arcface_paddle.pipeline.settings import RuntimeOptions as RuntimeOptions
    from arcface_paddle.pipeline.settings import ThresholdSettings as ThresholdSettings
    from arcface_paddle.pipeline.shortcuts import compare as compare
    from arcface_paddle.types import Candidate as Candidate
    from arcface_paddle.types import Detection as Detection
    from arcface_paddle.types import Face as Face
    from arcface_paddle.types import ImageResult as ImageResult

__version__ = "1.0.0"

_NAMES_BY_HOME = {
    "cli.insightface_api": ("InsightFace", "parser"),
    "errors": (
        *("ArcfaceError", "CheckpointError", "ConfigError", "DataError", "GalleryError", "ImageError"),
        *("MissingDependencyError", "ModelFileError"),
    ),
    "images": ("load_image",),
    "pipeline.analyzed": ("AnalyzedImage",),
    "pipeline.analyzer": ("Analyzer",),
    "pipeline.builders": ("build_detector", "build_recognizer"),
    "pipeline.comparison": ("Comparison",),
    "pipeline.face_analysis": ("FaceAnalysis",),
    "pipeline.gallery": ("Gallery",),
    "pipeline.opening": ("open_pipeline",),
    "pipeline.settings": ("PipelineSettings", "RuntimeOptions", "ThresholdSettings"),
    "pipeline.shortcuts": ("compare",),
    "types": ("Candidate", "Detection", "Face", "ImageResult"),
}
_HOME_OF_NAME = {name: f"arcface_paddle.{home}" for home, names in _NAMES_BY_HOME.items() for name in names}

__all__ = ["__version__", *sorted(_HOME_OF_NAME)]
__getattr__ = loader_of(__name__, _HOME_OF_NAME)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
