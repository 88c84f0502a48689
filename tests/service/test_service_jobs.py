"""Bulk enrolment, strangers who get names, and batches across requests."""

from __future__ import annotations

import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from arcface_paddle.errors import ImageError
from arcface_paddle.pipeline.gallery import Gallery
from arcface_paddle.service.batching import BatchingRecognizer
from arcface_paddle.service.client import ServiceCallError
from arcface_paddle.service.service_settings import Limits

WAIT_S = 60


def test_many_pictures_are_enrolled_and_those_that_give_no_face_are_reported(service, pictures, gallery, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    job = service.client.enrol(
        [
            ("Eileen Collins", pictures["stranger"]),
            ("Grace Hopper", pictures["hopper"]),
            ('Joe "B"', pictures["biden"]),
            ("Nobody", pictures["nobody"]),
            ("Crowd", pictures["group"]),
            ("Broken", broken),
        ]
    )
    assert job["total"] == 6 and job["state"] in ("waiting", "running")
    ended = service.client.wait_for(job["id"], timeout_s=WAIT_S)
    assert (ended["state"], ended["done"], ended["enrolled"]) == ("done", 6, 3)
    problems = {problem["picture"]: problem["code"] for problem in ended["problems"]}
    assert problems == {"Nobody/3": "no_face", "Crowd/4": "several_faces", "Broken/broken.jpg": "bad_image"}
    assert service.client.identify(pictures["stranger"])["faces"][0]["name"] == "Eileen Collins"
    counts = Gallery.load(gallery).faces_by_person()
    assert (counts["Grace Hopper"], counts["Eileen Collins"], counts['Joe "B"']) == (2, 1, 1)
    assert {person["name"] for person in service.client.people()["people"]} == set(counts)


def test_a_zip_is_taken_as_a_body_and_as_the_file_of_a_form(service, pictures, tmp_path):
    path = tmp_path / "people.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("people/Eileen Collins/1.jpg", pictures["stranger"])
    first = service.client.wait_for(service.client.enrol_zip(path)["id"], timeout_s=WAIT_S)
    assert (first["state"], first["enrolled"]) == ("done", 1)
    sent = service.http.post("/v1/jobs/enrol", files={"files": ("people.zip", path.read_bytes(), "application/zip")})
    assert sent.status_code == 202
    assert service.client.wait_for(sent.json()["id"], timeout_s=WAIT_S)["state"] == "done"
    [person] = service.client.people(search="Collins")["people"]
    assert person["faces"] == 1  # the same picture is there once


def test_a_job_can_be_cancelled_and_more_than_may_wait_are_refused(open_service, pictures):
    service = open_service(limits=Limits(jobs=2))
    release = threading.Event()
    held = [service.service.pool.submit(lambda worker: release.wait(WAIT_S)) for _ in range(2)]
    try:
        jobs = [service.client.enrol([("Eileen Collins", pictures["stranger"])] * 3) for _ in range(2)]
        with pytest.raises(ServiceCallError) as caught:
            service.client.enrol([("A", pictures["stranger"])])
        assert (caught.value.status, caught.value.code) == (503, "busy")
        service.client.cancel(jobs[1]["id"])
    finally:
        release.set()
    states = [service.client.wait_for(job["id"], timeout_s=WAIT_S)["state"] for job in jobs]
    assert states == ["done", "cancelled"] and [future.result(WAIT_S) for future in held] == [True, True]
    assert service.client.job(jobs[1]["id"])["done"] == 0
    with pytest.raises(ServiceCallError) as caught:
        service.client.job("none")
    assert caught.value.status == 404


def test_requests_are_answered_while_a_job_runs(service, pictures):
    job = service.client.enrol([(f"Person {number}", pictures["stranger"]) for number in range(20)])
    answers = [service.client.detect(pictures["hopper"]) for _ in range(3)]
    assert all(len(answer["faces"]) == 1 for answer in answers)
    assert service.client.wait_for(job["id"], timeout_s=WAIT_S)["enrolled"] == 20


def test_strangers_are_kept_grouped_and_named(open_service, pictures, gallery):
    service = open_service(keep_unknown=True)
    for _ in range(2):
        service.client.identify(pictures["stranger"])
    service.client.identify(pictures["hopper"])
    listed = service.http.get("/v1/unknown").json()
    [group] = listed["groups"]
    assert listed["enabled"] and group["faces"] == 2
    assert group["picture"].startswith("data:image/jpeg;base64,/9j/") and len(group["picture"]) < 20_000
    person = service.http.post(f"/v1/unknown/{group['id']}/name", json={"name": "Eileen Collins"}).json()
    assert (person["name"], person["faces"]) == ("Eileen Collins", 2)
    [face] = service.client.identify(pictures["stranger"])["faces"]
    assert (face["name"], face["person"]) == ("Eileen Collins", person["id"])
    assert service.http.get("/v1/unknown").json()["groups"] == []
    assert service.http.post(f"/v1/unknown/{group['id']}/name", json={"name": "A"}).status_code == 404


def test_strangers_are_not_kept_unless_asked_for_and_not_without_end(open_service, pictures):
    usual = open_service()
    usual.client.identify(pictures["stranger"])
    assert usual.http.get("/v1/unknown").json() == {"enabled": False, "groups": []}
    few = open_service(keep_unknown=True, limits=Limits(unknown_groups=1))
    few.client.identify(pictures["stranger"])
    few.client.identify(pictures["hopper"], threshold=0.9999)
    [group] = few.http.get("/v1/unknown").json()["groups"]
    assert few.http.delete(f"/v1/unknown/{group['id']}").status_code == 204
    assert few.http.get("/v1/unknown").json()["groups"] == []


class Gated:
    """The recogniser, whose first batch waits for a gate.

    Attributes:
        batches: faces of each.
        begun: set when the first batch runs.
        gate: what it waits for.
    """

    def __init__(self, recognizer) -> None:
        self._recognizer = recognizer
        self.batches: list[int] = []
        self.begun, self.gate = threading.Event(), threading.Event()

    def __getattr__(self, name: str):
        return getattr(self._recognizer, name)

    def embed(self, crops):
        self.batches.append(len(crops))
        self.begun.set()
        assert self.gate.wait(WAIT_S)
        return self._recognizer.embed(crops)


def waiting_in(batching: BatchingRecognizer) -> int:
    return len(batching._waiting)


def test_faces_of_requests_that_wait_go_through_the_network_together(models):
    crops = [np.full((count, 112, 112, 3), 40 * count, np.uint8) for count in (1, 2, 3, 4)]
    expected = [models.recognizer.embed(crop).vectors for crop in crops]
    gated = Gated(models.recognizer)
    batching = BatchingRecognizer(gated, most_faces=6)
    with ThreadPoolExecutor(4) as threads:
        futures = [threads.submit(batching.embed, crops[0])]
        assert gated.begun.wait(WAIT_S)
        for number, crop in enumerate(crops[1:], 1):
            futures.append(threads.submit(batching.embed, crop))
            while waiting_in(batching) < number:
                time.sleep(0.001)
        gated.gate.set()
        results = [future.result(WAIT_S) for future in futures]
    assert gated.batches[0] == 1 and sum(gated.batches) == 10
    assert len(gated.batches) == 3 and max(gated.batches) <= 6  # three requests of 2, 3 and 4 faces in two batches
    for result, embeddings in zip(results, expected):
        assert np.allclose(result.vectors, embeddings, atol=1e-5)


def test_a_batch_that_fails_fails_for_one_request_only(models):
    good = np.zeros((2, 112, 112, 3), np.uint8)
    bad = np.zeros((1, 99, 99, 3), np.uint8)
    batching = BatchingRecognizer(models.recognizer)
    with pytest.raises(ImageError):
        batching.embed(bad)
    assert len(batching.embed(good)) == 2
    assert batching.embed(np.zeros((0, 112, 112, 3), np.uint8)).vectors.shape == (0, 192)
