"""From photographs to named faces: ``build_detector`` and ``build_recognizer``, and ``Analyzer`` over both.

    analyzer = Analyzer(build_detector(), build_recognizer())
    for face in analyzer.analyze("group.jpg").faces:
        print(face.detection.box_xyxy, face.embedding)

Importing this package does not import paddle; the builders do when they load a network.
"""

from __future__ import annotations

from arcface_paddle.lazy_names import loader_of

_HOME_OF_NAME = {
    "AnalyzedImage": "arcface_paddle.pipeline.analyzed",
    "Analyzer": "arcface_paddle.pipeline.analyzer",
    "Comparison": "arcface_paddle.pipeline.comparison",
    "Detector": "arcface_paddle.pipeline.detection.base",
    "ModelCard": "arcface_paddle.pipeline.cards",
    "PipelineSettings": "arcface_paddle.pipeline.settings",
    "Recognizer": "arcface_paddle.pipeline.recognition",
    "RuntimeOptions": "arcface_paddle.pipeline.runtime",
    "build_detector": "arcface_paddle.pipeline.builders",
    "build_recognizer": "arcface_paddle.pipeline.builders",
    "compare": "arcface_paddle.pipeline.shortcuts",
    "open_pipeline": "arcface_paddle.pipeline.opening",
}

__all__ = sorted(_HOME_OF_NAME)
__getattr__ = loader_of(__name__, _HOME_OF_NAME)


def __dir__() -> list[str]:
    return __all__
