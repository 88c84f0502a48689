"""Tracks and names of a rendered film against each frame decided by itself: identities, names, looks, times.

    python tools/benchmark.py tracks --seeds 12,14 --folder /tmp/films

Six known people and a stranger cross, leave, return, turn away and stand half hidden in each film. The constants of
``arcface_paddle/video`` were tuned on the seeds 1, 2, 11 and 13; others are to be reported. Films are rendered once,
two frames a second and core, and kept in the folder: frames, the film as .mp4, who is where (truth.json), and portraits
of the known people from other days (gallery).
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import defaultdict
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from arcface_paddle import files, images
from arcface_paddle.pipeline.analyzer import Analyzer
from arcface_paddle.pipeline.gallery import Gallery, collect_faces, list_from_tree
from arcface_paddle.pipeline.opening import open_pipeline
from arcface_paddle.pipeline.settings import PipelineSettings
from arcface_paddle.synthetic.film import FilmSettings, SyntheticFilm
from arcface_paddle.types import UNKNOWN, Face
from arcface_paddle.video.frames import VideoFrame
from arcface_paddle.video.track_settings import TrackSettings
from arcface_paddle.video.tracking import FaceTracks
from arcface_paddle.video.writing import VideoWriter
from benchmarks.tracking_scores import COUNTED_VISIBLE, COUNTED_YAW_DEG, Scores, Told, Truth, name_changes

NAME = "tracks"

_PORTRAITS = 3


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", default="12,14", help="films, by their seeds (%(default)s)")
    parser.add_argument("--seconds", type=float, default=16.0, help="length of a film (%(default)s)")
    parser.add_argument("--every", type=int, default=1, help="take every so manieth frame (%(default)s)")
    parser.add_argument(
        "--search_interval",
        type=float,
        default=TrackSettings.search_s,
        help="seconds between two searches of a whole frame; 0: search every frame (%(default)s)",
    )
    parser.add_argument("--folder", type=Path, default=Path("/tmp/arcface_films"), help="where films are kept")
    parser.add_argument("--rec_model", help="recogniser (the default one)")
    parser.add_argument("--no_unique", action="store_true", help="let a person be in a frame twice")


def run(args: argparse.Namespace) -> List[Dict[str, Any]]:
    rows = []
    for seed in map(int, args.seeds.split(",")):
        folder = kept_film(FilmSettings(seed=seed, seconds=args.seconds), args.folder)
        analyzer = opened_analyzer(folder / "gallery", rec_model=args.rec_model)
        settings = TrackSettings(unique=not args.no_unique, search_s=args.search_interval)
        rows += measured(folder, analyzer, every=args.every, settings=settings)
    return rows


def kept_film(settings: FilmSettings, folder: Path) -> Path:
    """Render a film with truth and gallery into a folder of its own, unless it is there."""
    target = folder / f"film{settings.seed}_{settings.seconds:g}s"
    if target.is_dir():
        return target
    film = SyntheticFilm(settings)
    with files.atomic_folder(target) as made:
        for person in film.known:
            for number, portrait in enumerate(film.portraits(person, _PORTRAITS)):
                images.write_image(made / "gallery" / f"Person {person}" / f"{number}.jpg", portrait)
        truth = []
        with VideoWriter(made / "film.mp4", fps=settings.fps) as writer:
            for frame in film.frames():
                writer.write(frame.image, time_s=frame.time_s)
                name = f"{frame.index:05d}.jpg"
                images.write_image(made / "frames" / name, frame.image, quality=95)
                shown = [
                    [one.person, *(round(float(edge), 2) for edge in one.box_xyxy), round(one.visible, 3), one.yaw_deg]
                    for one in frame.shown
                ]
                truth.append({"time_s": frame.time_s, "frame": name, "faces": shown})
        files.write_json(made / "truth.json", {"known": len(film.known), "frames": truth})
    return target


def opened_analyzer(gallery_folder: Path, *, rec_model: Optional[str]) -> Analyzer:
    """Open the pipeline with a gallery of the portraits."""
    settings = PipelineSettings(rec_model=rec_model)
    plain = open_pipeline(settings)
    assert plain.model is not None
    pictures, _ = list_from_tree(gallery_folder)
    found = collect_faces(pictures, plain.analyzer, embedding_size=plain.model.embedding_size)
    gallery = Gallery.empty(plain.model).with_faces(found.entries, found.embeddings)
    return open_pipeline(settings, gallery=gallery).analyzer


def measured(folder: Path, analyzer: Analyzer, *, every: int, settings: TrackSettings) -> List[Dict[str, Any]]:
    """Take a film with tracks and without, and return a row for each way."""
    alone, told, final = _Way(), _Way(), _Way()
    tracks = FaceTracks(analyzer, settings)
    later: List[Tuple[float, Sequence[Face], List[Truth]]] = []
    for step in _steps(folder, every, tracks):
        frames = [frame for frame, _ in step]
        for (frame, truth), found in zip(step, tracks.find(analyzer, frames)):
            alone.add(frame.time_s, analyzer.analyze(frame.image).faces, truth)
            faces = tracks.decide(analyzer, frame, found, source="film").faces
            told.add(frame.time_s, faces, truth)
            later.append((frame.time_s, faces, truth))
    confirmed = {entry.track for entry in tracks.finish()}
    names = tracks.final_faces()
    for time_s, faces, truth in later:
        known = [(face, *names[face.track]) for face in faces if face.track is not None]
        final.tell(
            time_s, [Told(f.detection.box_xyxy, n, _known(name)) for f, n, name in known if n in confirmed], truth
        )
    looks = round(tracks.looks / max(1, tracks.appearances), 4)
    return [
        {"film": folder.name, "way": "each frame alone (baseline)", **alone.row(), "looks per face": 1.0},
        {"film": folder.name, "way": "tracks, as told meanwhile", **told.row(), "looks per face": looks},
        {"film": folder.name, "way": "tracks, in the end", **final.row(), "looks per face": looks},
    ]


def _steps(folder: Path, every: int, tracks: FaceTracks) -> Iterator[List[Tuple[VideoFrame, List[Truth]]]]:
    """Give the frames as a session gives those of a file: as many at once as one search is made for."""
    shown = ((VideoFrame(i, time_s, image), truth) for i, (time_s, image, truth) in enumerate(_frames(folder, every)))
    first, second = itertools.islice(shown, 2)
    shown = itertools.chain((first, second), shown)
    at_once = tracks.frames_at_once(1 / (second[0].time_s - first[0].time_s))
    while step := list(itertools.islice(shown, at_once)):
        yield step


class _Way:
    """One way of taking a film: its scores, and the names that it told of each track or, without tracks, person."""

    def __init__(self) -> None:
        self._scores = Scores()
        self._history: Dict[int, List[Optional[str]]] = defaultdict(list)
        self._times: Dict[int, List[float]] = defaultdict(list)

    def add(self, time_s: float, faces: Sequence[Face], truth: Sequence[Truth]) -> None:
        told = [Told(face.detection.box_xyxy, _number(face), _known(face.name)) for face in faces]
        self.tell(time_s, told, truth)

    def tell(self, time_s: float, told: Sequence[Told], truth: Sequence[Truth]) -> None:
        for one, person in zip(told, self._scores.add(time_s, told, truth)):
            key = one.track if one.track > 0 else person  # frames alone: as if somebody had linked them faultlessly
            if key is not None:
                self._history[key].append(one.name)
                self._times[key].append(time_s)

    def row(self) -> Dict[str, Any]:
        seconds = {key: times[-1] - times[0] for key, times in self._times.items()}
        return {**self._scores.row(), "name changes per 30 s": round(name_changes(self._history, seconds), 3)}


def _number(face: Face) -> int:
    """Return the track; frames alone have their names in its place, all strangers one."""
    if face.track is not None:
        return face.track
    return -1 - int.from_bytes((_known(face.name) or "").encode()[-4:], "big")


def _known(name: Optional[str]) -> Optional[str]:
    return None if name == UNKNOWN else name


def _frames(folder: Path, every: int) -> Iterator[Tuple[float, np.ndarray, List[Truth]]]:
    content = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    for frame in content["frames"][::every]:
        truth = [
            Truth(
                np.array(box, np.float64),
                person,
                f"Person {person}" if person < content["known"] else None,
                visible >= COUNTED_VISIBLE and abs(yaw) <= COUNTED_YAW_DEG,
            )
            for person, *box, visible, yaw in frame["faces"]
        ]
        yield frame["time_s"], images.read_image(folder / "frames" / frame["frame"]), truth
