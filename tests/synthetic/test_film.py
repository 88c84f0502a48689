"""Rendered films: the same frames from the same settings, and faces where the film says they are."""

from __future__ import annotations

import numpy as np
import pytest

from arcface_paddle.errors import ConfigError
from arcface_paddle.pipeline import build_detector
from arcface_paddle.pipeline.detection.boxes import iou
from arcface_paddle.synthetic.film import FilmSettings, SyntheticFilm

SETTINGS = FilmSettings(seed=3, size_wh=(200, 150), fps=5, seconds=4, cast=1, face_px=(44, 50))


@pytest.fixture(scope="module")
def film() -> SyntheticFilm:
    return SyntheticFilm(SETTINGS)


def test_faces_are_where_the_film_says(film):
    frame = film.frame(10)
    assert frame.image.shape == (150, 200, 3) and frame.image.dtype == np.uint8 and frame.time_s == 2.0
    clear = [one for one in frame.shown if one.visible > 0.9]
    found = build_detector().detect(frame.image)
    assert clear and all(max(iou(one.box_xyxy, face.box_xyxy) for face in found) > 0.3 for one in clear)
    assert len(found) <= len(frame.shown)


def test_any_frame_can_be_drawn_alone_and_a_film_moves(film):
    again = SyntheticFilm(SETTINGS).frame(10)
    assert (again.image == film.frame(10).image).all()
    [before], [after] = film.frame(8).shown, again.shown
    assert before.person == after.person and before.box_xyxy[0] - after.box_xyxy[0] > 5, "they stroll to the left"


def test_the_last_of_the_cast_is_a_stranger(film):
    assert list(film.known) == [] and SETTINGS.frame_count == 20


@pytest.mark.parametrize("wrong", [{"cast": 0}, {"cast": 8}, {"fps": 0}, {"seconds": -1}])
def test_settings_out_of_range(wrong):
    with pytest.raises(ConfigError, match="allowed"):
        FilmSettings(**wrong)
