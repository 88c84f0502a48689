"""One way of ``picture``: loads its models, then times pictures that it is asked for, a line of JSON each.

It uses only what the package has had since its first release, so that older checkouts can run it.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from typing import Any, Callable

import cv2
import numpy as np

from arcface_paddle.pipeline import Analyzer, RuntimeOptions, build_detector, build_recognizer

PREDECESSORS_SIDE = 640


def main() -> None:
    analyze = opened(json.loads(sys.argv[1]))
    images: dict[str, np.ndarray] = {}
    for line in sys.stdin:
        question = json.loads(line)
        answer: dict[str, float] = {}
        if question:
            file = question["file"]
            if file not in images:
                images = {file: np.load(file)}
                analyze(images[file])
            answer = timed(functools.partial(analyze, images[file]), runs=question["runs"])
        print(json.dumps(answer), flush=True)


def opened(way: dict[str, Any]) -> Callable[[np.ndarray], int]:
    """Return what finds and embeds the faces of a picture and says how many there were."""
    named = {} if way["engine"] is None else {"engine": way["engine"]}
    if way["style"] == "predecessor":
        named["onednn"] = False
    options = RuntimeOptions(threads=way["threads"], **named)
    detector = build_detector(*[way["detector"]] if way["detector"] else [], options=options)
    recognizer_name = [way["recognizer"]] if way["recognizer"] else []
    if way["style"] == "predecessor":
        return predecessor(detector, build_recognizer(*recognizer_name, mirrored=False, options=options))
    analyzer = Analyzer(detector, build_recognizer(*recognizer_name, options=options))
    return lambda image: len(analyzer.analyze(image).faces)


def predecessor(detector: Any, recognizer: Any) -> Callable[[np.ndarray], int]:
    """Resize without regard to the shape, find, cut out each box, embed one face after the other."""
    width, height = recognizer.card.input.size_wh

    def analyze(image: np.ndarray) -> int:
        faces = detector.detect(cv2.resize(image, (PREDECESSORS_SIDE, PREDECESSORS_SIDE)))
        scale = np.array([image.shape[1], image.shape[0]] * 2) / PREDECESSORS_SIDE
        for face in faces:
            left, top, right, bottom = np.maximum(face.box_xyxy * scale, 0).astype(int)
            crop = image[top : max(bottom, top + 1), left : max(right, left + 1)]
            recognizer.embed([cv2.resize(crop, (width, height))])
        return len(faces)

    return analyze


def timed(action: Callable[[], int], *, runs: int) -> dict[str, float]:
    """Return the number of faces and the lowest time of some runs, by the wall's and by the processor's clock."""
    walls, processors, faces = [], [], 0
    for _ in range(runs):
        wall, processor = time.perf_counter(), time.process_time()
        faces = action()
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return {"faces": faces, "wall_ms": min(walls) * 1e3, "cpu_ms": min(processors) * 1e3}


if __name__ == "__main__":
    main()
