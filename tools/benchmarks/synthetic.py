"""Synthetic faces: speed, how a recogniser trained on real faces separates them, how a detector finds them.

The floors are those of the first prototype, measured on 40 people with 9 pictures each and, for the
detector, on 120 whole pictures. Recogniser and detector are the shipped ones. The floors of the detector are those of
BlazeFace alone at its native 256 pixels; the whole detector with its second scale and refiner has rows of its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from arcface_paddle.evaluation.metrics import area_under_curve, operating_point
from arcface_paddle.pipeline import builders, cards, model_files
from arcface_paddle.pipeline.detection.base import Detector
from arcface_paddle.pipeline.detection.blazeface import BlazeFaceDetector
from arcface_paddle.pipeline.runtime import open_runtime
from arcface_paddle.pipeline.settings import DetectionSettings
from arcface_paddle.synthetic.generator import SyntheticFaces, SyntheticImage
from arcface_paddle.types import Detection
from benchmarks.separation import genuine_and_impostor, rank1

NAME = "synthetic"

_NEAR_FRONTAL_DEG = 25.0
_DETECTOR_THRESHOLD = 0.5
_CENTRE = slice(28, 84)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this benchmark."""
    parser.add_argument("--seed", type=int, default=0, help="seed of the population")
    parser.add_argument("--identities", type=int, default=40, help="people (the floors were measured on 40)")
    parser.add_argument("--images", type=int, default=9, help="pictures of each person (the floors: 9)")
    parser.add_argument("--frames", type=int, default=120, help="whole pictures for the detector (the floors: 120)")
    parser.add_argument("--frame_size", type=int, default=320, help="pixels per side of the whole pictures")


def run(args: argparse.Namespace) -> List[Dict[str, Any]]:
    """Return one row per measure: value, floor, whether it is met."""
    faces = SyntheticFaces(args.seed)
    start = time.perf_counter()
    faces.render(args.identities, 0)
    first_s = time.perf_counter() - start
    start_cpu = time.process_time()
    shown = [faces.render(identity, image) for identity in range(args.identities) for image in range(args.images)]
    speed = len(shown) / (time.process_time() - start_cpu)
    rows = [
        _row("pictures of 112x112 per CPU second, new people included", speed, floor=10.0),
        _row("seconds to the first picture, compiling or loading machine code", first_s),
    ]
    rows += _appearance_rows(shown)
    rows += _recognition_rows(shown)
    rows += _detection_rows(args)
    rows.append(_row("same bytes in two fresh processes", float(_same_in_two_processes(args.seed)), floor=1.0))
    return rows


def digest_of_pictures(seed: int) -> str:
    """Return the hash of a few pictures of two people."""
    faces = SyntheticFaces(seed)
    digest = hashlib.sha256()
    for identity in (3, 4):
        for image in range(4):
            digest.update(faces.render(identity, image).image.tobytes())
    return digest.hexdigest()


def _row(what: str, value: float, *, floor: Optional[float] = None, ceiling: Optional[float] = None) -> Dict[str, Any]:
    bound, met = "", ""
    if floor is not None:
        bound, met = f">= {floor:g}", "yes" if value >= floor else "NO"
    elif ceiling is not None:
        bound, met = f"<= {ceiling:g}", "yes" if value <= ceiling else "NO"
    return {"measure": what, "value": round(value, 4), "floor": bound, "met": met}


def _appearance_rows(shown: List[SyntheticImage]) -> List[Dict[str, Any]]:
    centre = np.stack([picture.image for picture in shown])[:, _CENTRE, _CENTRE]
    return [
        _row("centre of the crops: mean (photographs 117, prototype 141)", float(centre.mean())),
        _row("centre of the crops: deviation (photographs 63, prototype 50)", float(centre.std())),
    ]


def _recognition_rows(shown: List[SyntheticImage]) -> List[Dict[str, Any]]:
    crops = np.stack([picture.image for picture in shown])
    labels = np.array([picture.label for picture in shown])
    sessions = np.array([picture.session for picture in shown])
    rows = []
    for mirrored in (False, True):
        embeddings = builders.build_recognizer("MobileFace", mirrored=mirrored).embed(crops).vectors
        similarity = embeddings @ embeddings.T
        rows += _separation_rows(similarity, labels, sessions, "mirrored sum" if mirrored else "single view")
    return rows


def _separation_rows(
    similarity: np.ndarray, labels: np.ndarray, sessions: np.ndarray, view: str
) -> List[Dict[str, Any]]:
    genuine, impostor = genuine_and_impostor(similarity, labels)
    one_day, _ = genuine_and_impostor(sessions[:, None] == sessions[None, :], labels)
    point = operating_point(genuine, impostor, far_target=1e-2)
    return [
        _row(f"AUC, {view}", area_under_curve(genuine, impostor) or 0.0, floor=0.97),
        _row(f"rank-1, {view}", rank1(similarity, labels), floor=0.964),
        _row(f"TAR@FAR 1e-2, {view}", point.tar or 0.0, floor=0.735),
        _row(
            f"AUC, different sessions only, {view}", area_under_curve(genuine[~one_day], impostor) or 0.0, floor=0.962
        ),
        _row(f"genuine cosine, {view}", float(genuine.mean()), floor=0.657),
        _row(f"impostor cosine, {view}", float(impostor.mean()), ceiling=0.24),
    ]


def _detection_rows(args: argparse.Namespace) -> List[Dict[str, Any]]:
    faces = SyntheticFaces(args.seed, size=args.frame_size, full_frame=True)
    shown = [faces.render(number // 3, number % 3) for number in range(args.frames)]
    hits, error = _detect_all(_native_blazeface(), shown)
    whole_hits, whole_error = _detect_all(builders.build_detector(), shown)
    return [
        _row(f"BlazeFace at 256 finds the face, of {args.frames} whole pictures", hits, floor=args.frames),
        _row("its keypoints against ours / eye distance, yaw < 25, no mask or hand", error, ceiling=0.094),
        _row(f"the whole detector finds the face, of {args.frames}", whole_hits),
        _row("its keypoints against ours, likewise", whole_error),
    ]


def _detect_all(detector: Detector, shown: List[SyntheticImage]) -> Tuple[int, float]:
    """Return how many faces were found, and the mean error of the keypoints on open faces near the front."""
    hits, errors = 0, []
    for picture in shown:
        found = _detection_of(picture, detector.detect(picture.image))
        if found is None:
            continue
        hits += 1
        is_open = not {"mask", "hand"} & set(picture.occluders)
        if is_open and abs(picture.pose.yaw_deg) < _NEAR_FRONTAL_DEG:
            errors.append(_keypoint_error(picture.points, found))
    return hits, float(np.mean(errors)) if errors else float("nan")


def _native_blazeface() -> BlazeFaceDetector:
    folder = model_files.open_model("BlazeFace", task=cards.DETECTION)
    assert folder.card.detector is not None, "a detector's card describes its decoder"
    native = dataclasses.replace(folder.card.detector, scales=folder.card.detector.scales[:1])
    folder = dataclasses.replace(folder, card=dataclasses.replace(folder.card, detector=native))
    runtime = open_runtime(folder.graph_file, folder.weights_file)
    return BlazeFaceDetector(folder, runtime, settings=DetectionSettings(threshold=_DETECTOR_THRESHOLD))


def _detection_of(shown: SyntheticImage, detections: List[Detection]) -> Optional[np.ndarray]:
    """Return the points of the detection whose box holds the middle of the face, or None."""
    middle = (shown.box_xyxy[:2] + shown.box_xyxy[2:]) / 2
    for detection in detections:
        box = detection.box_xyxy
        if (box[:2] <= middle).all() and (middle <= box[2:]).all() and detection.landmarks is not None:
            return detection.landmarks
    return None


def _keypoint_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the mean distance of eyes, nose and mouth centre over the distance of the eyes."""
    points = [np.concatenate([five[:3], five[3:].mean(axis=0, keepdims=True)]) for five in (ours, theirs)]
    distance = np.linalg.norm(points[0] - points[1], axis=1).mean()
    return float(distance / np.linalg.norm(ours[1] - ours[0]))


def _same_in_two_processes(seed: int) -> bool:
    digests = []
    for _ in range(2):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            digests.append(pool.submit(digest_of_pictures, seed).result())
    return digests[0] == digests[1]
