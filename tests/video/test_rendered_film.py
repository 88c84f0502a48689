"""Tracks of a rendered film with the shipped models: who, from when to when, at a fraction of the embeddings."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.pipeline.detection.boxes import iou
from arcface_paddle.pipeline.gallery import Gallery, GalleryEntry
from arcface_paddle.pipeline.opening import open_pipeline
from arcface_paddle.pipeline.settings import PipelineSettings
from arcface_paddle.synthetic.film import FilmSettings, SyntheticFilm
from arcface_paddle.types import UNKNOWN
from arcface_paddle.video.tracking import FaceTracks


@pytest.mark.long
def test_people_who_come_go_and_hide_are_told_apart():
    film = SyntheticFilm(FilmSettings(seed=12, size_wh=(480, 270), fps=12.5, seconds=6, cast=4, face_px=(44, 64)))
    plain = open_pipeline(PipelineSettings())
    entries, vectors = [], []
    for person in film.known:
        for number, portrait in enumerate(film.portraits(person, 2)):
            face = plain.analyzer.analyze(portrait).faces[0]
            entries.append(GalleryEntry(f"Person {person}", f"{person}/{number}.jpg"))
            vectors.append(face.embedding)
    gallery = Gallery(entries, np.stack(vectors), model=plain.model)
    tracks = FaceTracks(open_pipeline(PipelineSettings(), gallery=gallery).analyzer, keep_crops=True)
    seen, told = Counter(), []
    for frame in film.frames():
        for face in tracks.update(frame.image, frame.time_s).faces:
            near = max(frame.shown, key=lambda one: iou(one.box_xyxy, face.detection.box_xyxy), default=None)
            if near is not None and near.visible > 0.5 and abs(near.yaw_deg) < 60:
                told.append((near.person, face.track))
    entries_of = {entry.track: entry for entry in tracks.finish()}
    final = tracks.final_faces()
    for person, number in told:
        seen[person, final[number][1]] += 1
    for person in film.known:
        own = {name: count for (one, name), count in seen.items() if one == person}
        assert own.get(f"Person {person}", 0) >= 0.85 * sum(own.values()), seen
    stranger = {name: count for (one, name), count in seen.items() if one not in film.known}
    assert stranger.get(UNKNOWN, 0) >= 0.85 * sum(stranger.values()), seen
    assert tracks.looks <= 0.2 * tracks.appearances + len(entries_of)
    crops = [images.decode_image(entry.best.crop, name="crop") for entry in entries_of.values()]
    assert crops and all(max(crop.shape) <= 224 for crop in crops)
