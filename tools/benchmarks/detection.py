"""Recall by face size, false faces, landmark errors and time of the detectors, on pictures put together of known faces.

Rendered people and the demo photographs are pasted at known sizes and places into calm and busy backgrounds of several
widths; some pictures show a crowd of all sizes, some few faces. Of the rendered faces only open ones are taken, because
most others cannot be told apart at 16 pixels. The bars are: .97 of the faces of 16 pixels and more at every width, and
at most one false face per 20 pictures. Rendering takes about a second per person; the people are kept in a folder for
the next run.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, List, Sequence, Tuple

import cv2
import numpy as np

from arcface_paddle import images
from arcface_paddle.pipeline import RuntimeOptions, build_detector, demo_photographs
from arcface_paddle.pipeline.detection.base import Detector
from arcface_paddle.synthetic.generator import SyntheticFaces, SyntheticImage
from arcface_paddle.types import Detection
from benchmarks import scenes

NAME = "detection"

_PANORAMA_FROM = 10_000  # pixels of width; such pictures are four times as wide as high, others 16 : 9
_LEAST_BAND = 16  # pixels of width from which on the bar counts
_PHOTOGRAPHED_SHARE = 0.5  # of the faces
_FRAME_SIZE = 320
_FEW_WIDTH = 1920
_GROUP = "queries/group.jpg"
_FACES_OF_GROUP = 4


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this benchmark."""
    parser.add_argument("--models", nargs="+", default=["CenterFace", "BlazeFace"], help="names or folders")
    parser.add_argument("--widths", nargs="+", type=int, default=[640, 1920, 5000, 16000], help="of the pictures")
    parser.add_argument("--pictures", nargs="+", type=int, default=[40, 20, 6, 2], help="number per width")
    parser.add_argument("--per_band", nargs="+", type=int, default=[2, 8, 20, 40], help="faces per size and picture")
    parser.add_argument("--few", nargs="*", type=int, default=[2, 4], help="faces per picture of 1920 with few faces")
    parser.add_argument("--few_pictures", type=int, default=30, help="number of each of these")
    parser.add_argument("--people", type=int, default=60, help="rendered people")
    parser.add_argument("--frames", type=int, default=60, help="rendered pictures for the landmarks; 0 for none")
    parser.add_argument("--min_face", type=int, help="smallest face that the detectors are told to find")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", default="auto", help="what runs the models")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "arcface_paddle_rendered_people")


def run(args: argparse.Namespace) -> List[Dict[str, Any]]:
    """Return one row per detector and width, one per detector for the demo photographs and one for landmarks."""
    cv2.setNumThreads(args.threads)
    options = RuntimeOptions(engine=args.engine, threads=args.threads)
    detectors = {model: build_detector(model, min_face=args.min_face, options=options) for model in args.models}
    folder = demo_photographs.photographs_folder()
    photographed = scenes.photographed_people(folder)
    people = _mixed(photographed, scenes.kept_rendered_people(args.people, seed=args.seed, folder=args.cache))
    rows = []
    for width, pictures, per_band in zip(args.widths, args.pictures, args.per_band):
        shown = (_scene(people, width, number, per_band=per_band, seed=args.seed) for number in range(pictures))
        rows += _rows_of_scenes(detectors, shown, title=f"{pictures} of {width}")
    for faces in args.few:
        shown = (_sparse_scene(people, faces, number, seed=args.seed) for number in range(args.few_pictures))
        rows += _rows_of_scenes(detectors, shown, title=f"{args.few_pictures} of {_FEW_WIDTH}, {faces} faces")
    frames = _open_frames(args.frames, seed=args.seed + 1)
    for model, detector in detectors.items():
        rows.append({"detector": model, **_demo_row(detector, folder)})
        if frames:
            rows.append({"detector": model, **_landmark_row(detector, frames)})
    return rows


def _rows_of_scenes(
    detectors: Dict[str, Detector], shown: Iterable[scenes.Scene], *, title: str
) -> List[Dict[str, Any]]:
    """Return one row per detector for some scenes."""
    tallies = {model: _Tally.empty() for model in detectors}
    for scene in shown:
        for model, detector in detectors.items():
            tallies[model].add(scene, detector)
    return [{"detector": model, "pictures": title, **tally.row()} for model, tally in tallies.items()]


@dataclass
class _Tally:
    """What one detector found in the pictures of one width."""

    found: List[np.ndarray]
    widths: List[np.ndarray]
    false_faces: int
    seconds: List[float]

    @classmethod
    def empty(cls) -> _Tally:
        return cls([], [], 0, [])

    def add(self, scene: scenes.Scene, detector: Detector) -> None:
        start = time.process_time()
        detections = detector.detect(scene.image)
        self.seconds.append(time.process_time() - start)
        found, false_faces = match(detections, scene.boxes_xyxy)
        self.found.append(found)
        self.widths.append(scene.boxes_xyxy[:, 2] - scene.boxes_xyxy[:, 0])
        self.false_faces += false_faces

    def row(self) -> Dict[str, Any]:
        found, widths = np.concatenate(self.found), np.concatenate(self.widths)
        row: Dict[str, Any] = {
            f"{label} px": f"{found[of_band].mean():.3f} of {of_band.sum()}" if of_band.any() else "-"
            for label, of_band in scenes.by_band(widths).items()
        }
        recall = float(found[widths >= _LEAST_BAND].mean())
        row[f"recall >= {_LEAST_BAND} px"] = round(recall, 4)
        row["false per picture"] = round(self.false_faces / len(self.seconds), 3)
        row["CPU ms"] = round(1e3 * float(np.median(self.seconds)), 1)
        row["bars"] = "met" if recall >= 0.97 and self.false_faces <= len(self.seconds) / 20 else "MISSED"
        return row


def match(detections: Sequence[Detection], boxes: np.ndarray) -> Tuple[np.ndarray, int]:
    """Hold detections against the faces that are there.

    A detection stands for a face if its middle is less than half of the face's width from the middle of the face and
    it is neither three times as wide nor a third; of several that do, one counts, and the others are false.

    Returns:
        (N,) which of the faces were found; number of false or double detections.
    """
    found, false_faces = np.zeros(len(boxes), bool), 0
    for detection in detections:
        left, top, right, bottom = (float(edge) for edge in detection.box_xyxy)
        widths = boxes[:, 2] - boxes[:, 0]
        offsets = np.abs((boxes[:, :2] + boxes[:, 2:]) / 2 - [(left + right) / 2, (top + bottom) / 2]).max(axis=1)
        ratios = (right - left) / widths
        fits = (offsets < widths / 2) & (ratios > 1 / 3) & (ratios < 3) & ~found
        if not fits.any():
            false_faces += 1
            continue
        found[int(np.argmin(np.where(fits, offsets, np.inf)))] = True
    return found, false_faces


def _scene(people: Sequence[scenes.Person], width: int, number: int, *, per_band: int, seed: int) -> scenes.Scene:
    height = width // 4 if width >= _PANORAMA_FROM else width * 9 // 16
    kind = ("calm", "busy")[number % 2]
    rng = scenes.scene_stream(seed, width, number)
    return scenes.compose(people, (width, height), kind=kind, bands=scenes.of_every_band(per_band), rng=rng)


def _sparse_scene(people: Sequence[scenes.Person], faces: int, number: int, *, seed: int) -> scenes.Scene:
    rng = scenes.scene_stream(seed + 1000 + faces, _FEW_WIDTH, number)
    bands, kind = scenes.few_bands(faces, rng), ("calm", "busy")[number % 2]
    return scenes.compose(people, (_FEW_WIDTH, _FEW_WIDTH * 9 // 16), kind=kind, bands=bands, rng=rng)


def _mixed(photographed: List[scenes.Person], rendered: List[scenes.Person]) -> List[scenes.Person]:
    """Repeat the few photographs so that they make up their share of the faces."""
    if not rendered:
        return photographed
    share = _PHOTOGRAPHED_SHARE / (1 - _PHOTOGRAPHED_SHARE)
    return photographed * max(1, round(share * len(rendered) / len(photographed))) + rendered


def _demo_row(detector: Detector, folder: Path) -> Dict[str, Any]:
    """Count on the demo photographs, as they are and at a third of their size."""
    wrong, seconds = 0, []
    for name, faces in [*((name, 1) for name in scenes.PHOTOGRAPHED), (_GROUP, _FACES_OF_GROUP)]:
        photograph = images.load_image(folder / name)
        third = cv2.resize(photograph, None, fx=1 / 3, fy=1 / 3, interpolation=cv2.INTER_AREA)
        for picture in (photograph, third):
            start = time.process_time()
            wrong += abs(len(detector.detect(picture)) - faces)
            seconds.append(time.process_time() - start)
    number = 2 * len(scenes.PHOTOGRAPHED) + 2
    return {
        "pictures": f"{number} demo photographs, whole and a third",
        "CPU ms": round(1e3 * float(np.median(seconds)), 1),
        "missed or false": wrong,
    }


def _open_frames(count: int, *, seed: int) -> List[SyntheticImage]:
    faces = SyntheticFaces(seed, size=_FRAME_SIZE, full_frame=True)
    shown = (faces.render(number, number % 3) for number in range(count))
    return [one for one in shown if scenes.is_open(one)]


def _landmark_row(detector: Detector, frames: Sequence[SyntheticImage]) -> Dict[str, Any]:
    """Measure the distance of landmarks to the exact ones, in eye distances."""
    errors, doubts = [], []
    for shown in frames:
        middle = shown.points.mean(axis=0)
        for face in detector.detect(shown.image):
            inside = (face.box_xyxy[:2] < middle).all() and (middle < face.box_xyxy[2:]).all()
            if inside and face.landmarks is not None:
                eyes = np.linalg.norm(shown.points[0] - shown.points[1])
                errors.append(np.linalg.norm(face.landmarks - shown.points, axis=1).mean() / eyes)
                doubts.append(face.landmark_doubt or 0.0)
    median, high, most = np.quantile(errors, [0.5, 0.95, 1.0])
    return {
        "pictures": f"{len(errors)} rendered faces, landmarks",
        "landmark error: median / 95 % / most": f"{median:.3f} / {high:.3f} / {most:.3f}",
        "doubt: median / most": f"{np.median(doubts):.3f} / {np.max(doubts):.3f}",
    }
