"""Pictures over HTTP: the three ways to send one, and what comes back."""

from __future__ import annotations

import base64
import time

import numpy as np
import pytest
from freed_memory import KEPT_MB, glibc, kept_by_malloc

from arcface_paddle.pipeline.analyzer import Analyzer
from arcface_paddle.pipeline.engines import heaps
from arcface_paddle.pipeline.gallery import Gallery
from arcface_paddle.pipeline.opening import open_pipeline
from arcface_paddle.pipeline.settings import PipelineSettings
from arcface_paddle.service import app
from arcface_paddle.service.client import ServiceCallError


def test_all_ways_of_sending_a_picture_find_the_same_faces(service, pictures, models):
    expected = Analyzer(models.detectors[0]).analyze(pictures["group"])
    raw = service.client.detect(pictures["group"])
    form = service.http.post("/v1/detect", files={"image": ("a.jpg", pictures["group"], "image/jpeg")}).json()
    encoded = base64.b64encode(pictures["group"]).decode()
    in_json = service.http.post("/v1/detect", json={"image_base64": encoded}).json()
    as_image = service.http.post("/v1/detect", content=pictures["group"], headers={"content-type": "image/jpeg"}).json()
    from_canvas = service.http.post("/v1/detect", json={"image_base64": f"data:image/jpeg;base64,{encoded}"}).json()
    assert raw == form == in_json == as_image == from_canvas
    assert (raw["width"], raw["height"]) == expected.size_wh
    assert [face["box"] for face in raw["faces"]] == [face.detection.to_dict()["box"] for face in expected.faces]
    assert len(raw["faces"]) == 4 and len(raw["faces"][0]["landmarks"]) == 5


def test_embeddings_are_those_of_the_pipeline(service, pictures, models):
    answer = service.client.embed(pictures["hopper"])
    [expected] = Analyzer(models.detectors[0], models.recognizer).analyze(pictures["hopper"]).faces
    [face] = answer["faces"]
    assert np.allclose(face["embedding"], expected.embedding, atol=1e-5)
    assert np.isclose(np.linalg.norm(face["embedding"]), 1, atol=1e-4)
    assert answer["model"] == "MobileFace" and answer["identity"] == service.client.models()["recognizer"]["identity"]
    assert face["quality"] == pytest.approx(expected.quality, abs=1e-3)


def test_names_are_those_of_the_command_line(service, pictures, gallery):
    answer = service.client.identify(pictures["group"], k=2)
    pipeline = open_pipeline(PipelineSettings(rec_model="MobileFace"), gallery=Gallery.load(gallery))
    expected = pipeline.analyzer.analyze(pictures["group"]).faces
    assert [face["name"] or "unknown" for face in answer["faces"]] == [face.name for face in expected]
    assert sorted(face["name"] or "" for face in answer["faces"]) == ["", "Barack Obama", "Grace Hopper", "Joe Biden"]
    assert answer["threshold"] == pytest.approx(pipeline.facts["rec_thresh"], abs=1e-4)
    for face, other in zip(answer["faces"], expected):
        assert face["similarity"] == pytest.approx(other.similarity, abs=2e-3)
        assert len(face["candidates"]) == 2
        known = face["name"] is not None
        assert known == (face["person"] is not None) == (face["similarity"] >= answer["threshold"])
        assert 0 <= face["probability"] <= 1


def test_a_threshold_of_the_request_counts(service, pictures):
    [face] = service.client.identify(pictures["hopper"], threshold=0.999)["faces"]
    assert (face["name"], face["person"]) == (None, None) and face["candidates"][0]["name"] == "Grace Hopper"
    strict, loose = (service.client.identify(pictures["hopper"], fpir=fpir)["threshold"] for fpir in (1e-4, 0.1))
    assert strict > loose
    assert service.client.identify(pictures["hopper"], fpir=1e-320)["threshold"] == 1.0


def test_two_pictures_are_compared(service, pictures):
    [hopper] = service.client.people(search="hopper")["people"]
    assert hopper["faces"] == 1
    same = service.client.compare(pictures["hopper"], pictures["hopper"])
    other = service.client.compare(pictures["hopper"], pictures["biden"])
    assert same["same"] and same["similarity"] == pytest.approx(1, abs=1e-3) and same["message"] == "the same person"
    assert not other["same"] and other["similarity"] < other["threshold"] < same["similarity"]
    assert len(other["faces_a"]) == len(other["faces_b"]) == 1
    assert 0 <= other["probability"] < same["probability"] <= 1


def test_a_picture_without_a_face_is_no_error_unless_one_is_needed(service, pictures):
    assert service.client.detect(pictures["nobody"])["faces"] == []
    assert service.client.embed(pictures["nobody"])["faces"] == []
    assert service.client.identify(pictures["nobody"])["faces"] == []
    with pytest.raises(ServiceCallError, match="second picture") as caught:
        service.client.compare(pictures["hopper"], pictures["nobody"])
    assert (caught.value.status, caught.value.code) == (422, "no_face")


def test_models_say_which_similarity_means_which_rate(service):
    answer = service.client.models()
    table = answer["thresholds"]["far_table"]
    assert [row["far"] for row in table] == sorted((row["far"] for row in table), reverse=True)
    assert [row["similarity"] for row in table] == sorted(row["similarity"] for row in table)
    assert len(table) >= 3 and answer["detector"]["name"] == "CenterFace"


@glibc
def test_memory_that_pictures_have_left_is_given_back(open_service, pictures, monkeypatch):
    monkeypatch.setattr(app, "_MEMORY_CHECK_S", 0.05)
    monkeypatch.setattr(heaps, "_all_is_kept", False)  # as training wants it, which other tests do in this process
    service = open_service()
    with kept_by_malloc() as given_back_mb:
        service.client.detect(pictures["hopper"])
        deadline = time.monotonic() + 10
        while given_back_mb() < KEPT_MB / 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
