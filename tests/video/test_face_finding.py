"""Faces that are followed from one searched frame to its neighbours, with the shipped detectors."""

from __future__ import annotations

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.pipeline import build_detector
from arcface_paddle.pipeline.analyzer import Analyzer
from arcface_paddle.pipeline.demo_photographs import QUERIES, photographs_folder
from arcface_paddle.pipeline.detection.base import FollowingDetector
from arcface_paddle.pipeline.detection.boxes import iou
from arcface_paddle.types import Detection
from arcface_paddle.video.face_finding import FaceFinder, moved
from arcface_paddle.video.frames import VideoFrame
from arcface_paddle.video.track_settings import TrackSettings
from arcface_paddle.video.tracking import FaceTracks

WEAK = 0.25


@pytest.fixture(scope="module")
def detector():
    return build_detector()


@pytest.fixture(scope="module")
def frames():
    """Five frames of a face that goes to the right, a sixth of its width a frame."""
    picture = images.read_image(photographs_folder() / QUERIES / "biden_relit.jpg")
    picture = images.resize(picture, (240, 300))
    return [np.roll(picture, 12 * shift, axis=1) for shift in range(5)]


def counted(detector, monkeypatch):
    calls = []
    search = detector.search
    monkeypatch.setattr(detector, "search", lambda image, **rest: calls.append(image) or search(image, **rest))
    return calls


def hidden(image, face):
    left, top, right, bottom = face.box_xyxy.astype(int)
    covered = image.copy()
    covered[max(0, top - 10) : bottom + 10, max(0, left - 10) : right + 10] = 90
    return covered


def test_one_frame_is_searched_and_the_face_is_found_in_all(detector, frames, monkeypatch):
    alone = [detector.detect(image) for image in frames]
    assert isinstance(detector, FollowingDetector) and [len(one) for one in alone] == [1] * 5
    searches = counted(detector, monkeypatch)
    found = FaceFinder(threshold=WEAK).step(detector, frames)
    assert len(searches) == 1 and searches[0] is frames[2]
    assert [one.is_searched for one in found] == [False, False, True, False, False]
    for here, (face,) in zip(found, alone):
        (same,) = [one for one in here.detections if one.score >= 0.5]
        assert iou(same.box_xyxy, face.box_xyxy) > 0.8
        eyes = np.linalg.norm(face.landmarks[1] - face.landmarks[0])
        assert np.linalg.norm(same.landmarks - face.landmarks, axis=1).max() < 0.2 * eyes


def test_a_face_that_was_hidden_in_the_searched_frame_is_found_where_a_track_expects_it(detector, frames):
    (face,) = detector.detect(frames[0])
    (last,) = detector.detect(frames[4])
    covered = [*frames[:2], hidden(frames[2], detector.detect(frames[2])[0]), *frames[3:]]
    finder = FaceFinder(threshold=WEAK)
    found = finder.step(detector, covered)
    assert not any(one.score >= 0.5 for here in found for one in here.detections)
    (again,) = finder.completed(detector, covered[4], found[4], [moved(face, last.box_xyxy + 8)])
    assert iou(again.box_xyxy, last.box_xyxy) > 0.8 and again.score >= 0.5
    assert list(finder.completed(detector, covered[2], found[2], [face])) == list(found[2].detections), "it is hidden"


def test_one_face_that_two_tracks_expect_is_told_of_once(detector, frames):
    (face,) = detector.detect(frames[0])
    near = moved(face, face.box_xyxy + np.array([6, 4, 6, 4]))
    assert len(detector.follow(frames[0], [face, near], threshold=WEAK)) == 1
    assert detector.follow(frames[0], [], threshold=WEAK) == []
    nowhere = moved(face, np.array([2.0, 2.0, 42.0, 42.0]))
    assert detector.follow(np.full_like(frames[0], 120), [nowhere], threshold=WEAK) == []


def test_frames_are_searched_by_their_times(detector, frames):
    times = [0.0, 0.04, 0.08, 0.6, 0.64]  # a gap, as a variable frame rate has them
    shown = [VideoFrame(index, time_s, image) for index, (time_s, image) in enumerate(zip(times, frames))]
    for search_s, searched in ((0.2, [False, True, False, False, True]), (0.0, [True] * 5)):
        tracks = FaceTracks(Analyzer(detector), TrackSettings(search_s=search_s))
        assert tracks.frames_at_once(25.0) == (5 if search_s else 1)
        found = tracks.find(Analyzer(detector), shown)
        assert [one.is_searched for one in found] == searched
        for frame, one in zip(shown, found):
            (face,) = tracks.decide(Analyzer(detector), frame, one, source="frame").faces
            assert face.track is not None


def test_a_detector_that_cannot_follow_searches_every_frame(frames):
    blaze = build_detector(model="BlazeFace")
    usual = blaze.threshold
    found = FaceFinder(threshold=WEAK).step(blaze, frames[:2])
    assert [one.is_searched for one in found] == [True, True] and blaze.threshold == usual
    assert all(one.detections for one in found)
    assert FaceFinder(threshold=WEAK).completed(blaze, frames[0], found[0], []) == found[0].detections


def test_landmarks_move_with_the_box():
    face = Detection(np.array([10, 20, 30, 60], np.float32), 0.9, np.array([[20, 40]] * 5, np.float32))
    there = moved(face, np.array([0.0, 0.0, 40.0, 80.0]))
    np.testing.assert_allclose(there.landmarks, [[20, 40]] * 5)
    np.testing.assert_allclose(moved(face, face.box_xyxy + 5).landmarks, [[25, 45]] * 5)
