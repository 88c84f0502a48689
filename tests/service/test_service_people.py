"""People and their faces over HTTP, and that nothing of a person stays behind."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import time
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.errors import ConfigError, GalleryError
from arcface_paddle.pipeline.gallery import Gallery, GalleryEntry, edit_gallery
from arcface_paddle.pipeline.gallery.editing import encrypt_gallery
from arcface_paddle.pipeline.gallery.stores import convert_gallery
from arcface_paddle.service import app, gallery_store, wall_clock
from arcface_paddle.service.client import ServiceCallError
from arcface_paddle.service.face_engine import FaceEngine
from arcface_paddle.service.gallery_store import RECORDS, NewFace, open_people_store
from arcface_paddle.service.people_records import PeopleRecords
from arcface_paddle.service.running import model_of_gallery
from arcface_paddle.service.service_settings import ServiceSettings


def by_name(client, name: str) -> dict:
    [person] = client.people(search=name, pictures=True)["people"]
    return person


def test_a_link_that_leads_nowhere_is_no_new_gallery(tmp_path):
    """A service on it would begin with nobody, and put its own file in the place of the link."""
    (tmp_path / "people.index").symlink_to(tmp_path / "disk that is not there" / "people.index")
    with pytest.raises(GalleryError, match="No such file"):
        model_of_gallery(tmp_path / "people.index")
    assert model_of_gallery(tmp_path / "new.index") is None


def test_a_person_is_made_enrolled_named_and_removed(service, pictures, gallery):
    client = service.client
    person = client.create_person("Eileen Collins", consent="form 17", expires="2030-01-31T00:00:00+01:00")
    assert (person["faces"], person["consent"], person["expires"]) == (0, "form 17", "2030-01-30T23:00:00Z")
    assert client.identify(pictures["stranger"])["faces"][0]["name"] is None
    face = client.add_face(person["id"], pictures["stranger"])
    assert client.faces(person["id"]) == [face] and 0 < face["quality"] <= 1
    assert client.person(person["id"])["faces"] == 1
    [found] = client.identify(pictures["stranger"])["faces"]
    assert (found["name"], found["person"]) == ("Eileen Collins", person["id"])
    assert "Eileen Collins" in Gallery.load(gallery).names
    client.remove_person(person["id"])
    assert client.identify(pictures["stranger"])["faces"][0]["name"] is None
    with pytest.raises(ServiceCallError) as caught:
        client.person(person["id"])
    assert (caught.value.status, caught.value.code) == (404, "not_found")


def test_nothing_of_a_removed_person_stays_on_disk(service, pictures, gallery):
    person = service.client.create_person("Eileen Collins", consent="a note to go")
    service.client.add_face(person["id"], pictures["stranger"])
    service.client.change_person(person["id"], name="Somebody Else")
    service.client.remove_person(person["id"])
    service.client.create_person("Next")  # reuses what SQLite freed
    for path in gallery.parent.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(word in content for word in (b"Collins", b"Somebody Else", b"a note to go")), path
    assert "Eileen Collins" not in Gallery.load(gallery).names


def crop_in(data_uri: str) -> bytes:
    head, _, content = data_uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return base64.b64decode(content)


def part_of(crop: bytes) -> bytes:
    """Return letters that only the records of people have when they keep this crop."""
    return base64.b64encode(crop)[1200:1264]


def test_crops_are_kept_where_wished_and_go_with_their_face_and_their_person(open_service, pictures, gallery):
    client = open_service(keep_crops=True).client
    assert client.gallery()["crops"] is True
    person, other = (client.create_person(name)["id"] for name in ("Eileen Collins", "Somebody Else"))
    face = client.add_face(person, pictures["stranger"])
    client.add_face(other, pictures["hopper"])
    [stored], [kept] = client.faces(person, pictures=True), client.faces(other, pictures=True)
    crop, crop_of_other = crop_in(stored["picture"]), crop_in(kept["picture"])
    assert images.decode_image(crop, name="crop").shape == (112, 112, 3) and len(crop) < 12_000
    assert client.faces(person) == [face] and face["picture"] is None  # only where it is asked for
    listed = client.people(search="Eileen", pictures=True)["people"]
    assert [one["picture"] for one in listed] == [stored["picture"]]
    assert client.people(search="Grace", pictures=True)["people"][0]["picture"] is None  # enrolled elsewhere
    on_disk = (gallery.parent / "people.index.service" / RECORDS).read_bytes
    assert part_of(crop) in on_disk() and part_of(crop_of_other) in on_disk()
    client.merge_people(other, into=person)
    assert len([one for one in client.faces(person, pictures=True) if one["picture"]]) == 2
    client.remove_face(person, face["id"])
    assert part_of(crop) not in on_disk() and part_of(crop_of_other) in on_disk()
    client.remove_person(person)
    assert part_of(crop_of_other) not in on_disk()


def test_a_bulk_enrolment_keeps_crops_and_a_service_without_the_wish_removes_them(open_service, pictures, gallery):
    client = open_service(keep_crops=True).client
    job = client.enrol([("Eileen Collins", pictures["stranger"]), ("Grace Hopper", pictures["hopper"])])
    assert client.wait_for(job["id"], timeout_s=60)["enrolled"] == 2
    crops = [crop_in(by_name(client, name)["picture"]) for name in ("Eileen", "Grace")]
    later = open_service().client
    assert later.gallery()["crops"] is False
    assert [by_name(later, name)["picture"] for name in ("Eileen", "Grace")] == [None, None]
    later.add_face(by_name(later, "Eileen")["id"], pictures["biden"])
    content = (gallery.parent / "people.index.service" / RECORDS).read_bytes()
    assert b"/9j/" not in content and all(part_of(crop) not in content for crop in crops)


def test_many_people_are_enrolled_with_few_waits_for_the_disk(service):
    people, statements = service.service.people, []
    people._records._database.set_trace_callback(statements.append)
    row = np.eye(1, 192, dtype=np.float32)[0]
    people.enrol([(f"Person {n}", NewFace(GalleryEntry("x", f"{n}.jpg"), row, 0.5, b"crop")) for n in range(40)])
    assert sum(statement.startswith("COMMIT") for statement in statements) == 2
    assert len({person.record.id for person in people.page(search="Person", offset=0, limit=100)[1]}) == 40


def test_the_same_picture_is_enrolled_once(service, pictures):
    person = service.client.create_person("Eileen Collins")
    first = service.client.add_face(person["id"], pictures["stranger"])
    assert service.client.add_face(person["id"], pictures["stranger"]) == first
    assert service.client.person(person["id"])["faces"] == 1


def test_one_face_of_several_is_removed(service, pictures):
    hopper = by_name(service.client, "Grace")
    added = service.client.add_face(hopper["id"], pictures["hopper"])
    assert len(service.client.faces(hopper["id"])) == 2
    service.client.remove_face(hopper["id"], added["id"])
    [left] = service.client.faces(hopper["id"])
    assert left["id"] != added["id"] and left["quality"] is None
    with pytest.raises(ServiceCallError) as caught:
        service.client.remove_face(hopper["id"], added["id"])
    assert caught.value.status == 404


def test_a_face_that_shares_its_picture_with_another_is_removed_alone(gallery, models):
    faces = FaceEngine.open(gallery, models.identity)
    [one] = faces.faces_of("Grace Hopper")
    other = dataclasses.replace(one, name="Joe Biden", box_xyxy=(1.0, 2.0, 3.0, 4.0))
    faces.add([other], np.eye(1, 192, dtype=np.float32))
    faces.remove_face(one)
    assert faces.faces_of("Grace Hopper") == [] and other in faces.faces_of("Joe Biden")


def test_a_picture_that_gives_no_face_to_enrol_says_why(service, pictures):
    person = service.client.create_person("Somebody")
    for picture, code in (("nobody", "no_face"), ("group", "several_faces")):
        with pytest.raises(ServiceCallError) as caught:
            service.client.add_face(person["id"], pictures[picture])
        assert (caught.value.status, caught.value.code) == (422, code)
    assert service.client.add_face(person["id"], pictures["group"], faces="largest")["id"]
    with pytest.raises(ServiceCallError) as caught:
        service.client.add_face(person["id"], pictures["group"], faces="tallest")
    assert (caught.value.status, caught.value.code) == (422, "bad_value")


def test_renaming_keeps_the_id_and_merging_keeps_the_faces(service, pictures):
    client = service.client
    hopper, biden = by_name(client, "Grace"), by_name(client, "Biden")
    assert client.change_person(hopper["id"], name=" Amazing Grace ") == {**hopper, "name": "Amazing Grace"}
    assert client.identify(pictures["hopper"])["faces"][0]["person"] == hopper["id"]
    with pytest.raises(ServiceCallError) as caught:
        client.change_person(hopper["id"], name="Joe Biden")
    assert (caught.value.status, caught.value.code) == (409, "name_taken")
    merged = client.merge_people(hopper["id"], into=biden["id"])
    assert merged == {**biden, "faces": 2}
    assert client.identify(pictures["hopper"])["faces"][0]["person"] == biden["id"]
    assert client.people()["total"] == 2
    with pytest.raises(ServiceCallError) as caught:
        client.merge_people(biden["id"], into=biden["id"])
    assert caught.value.status == 409


def test_a_change_leaves_what_it_does_not_name(service):
    person = service.client.create_person("Ada", consent="form 1", expires="2031-01-01T00:00:00Z")
    assert service.client.change_person(person["id"], consent=None) == {**person, "consent": None}
    changed = service.client.change_person(person["id"], expires=None, name="Ada L.")
    assert (changed["name"], changed["expires"], changed["consent"]) == ("Ada L.", None, None)


def test_people_are_listed_in_pages_and_searched_in_any_case(service):
    for name in ("Ärmel", "ADA", "ada lovelace"):
        service.client.create_person(name)
    assert service.client.people(search="ada")["total"] == 2
    assert [person["name"] for person in service.client.people(search="ÄRM")["people"]] == ["Ärmel"]
    pages = [service.client.people(offset=offset, limit=2)["people"] for offset in (0, 2, 4, 6)]
    names = [person["name"] for page in pages for person in page]
    assert len(names) == 6 and names == sorted(names) and pages[3] == []


def test_ids_outlive_the_service_and_people_of_other_programs_get_one(open_service, gallery):
    first = open_service()
    before = {person["name"]: person["id"] for person in first.client.people()["people"]}
    first.service.close()
    edit_gallery(gallery, lambda people: people.renamed("Joe Biden", "J. Biden"))  # as 'arcface-paddle gallery' does
    after = {person["name"]: person["id"] for person in open_service().client.people()["people"]}
    assert after["Grace Hopper"] == before["Grace Hopper"] and "J. Biden" in after


def test_a_change_of_another_program_counts_at_once(service, gallery, pictures):
    assert service.client.identify(pictures["hopper"])["faces"][0]["name"] == "Grace Hopper"
    edit_gallery(gallery, lambda people: people.renamed("Joe Biden", "J. Biden"))
    assert by_name(service.client, "J. Biden")["faces"] == 1
    edit_gallery(gallery, lambda people: people.without_person("Grace Hopper"))
    assert service.client.identify(pictures["hopper"])["faces"][0]["name"] is None


def test_a_gallery_of_another_model_that_is_put_in_its_place_answers_nobody(service, gallery, pictures, tmp_path):
    """Its embeddings are as long, and would give names to strangers."""
    before, loaded = gallery.read_bytes(), Gallery.load(gallery)
    other = dataclasses.replace(loaded.model, weights_sha256="0" * 64)
    Gallery(loaded.entries, loaded.embeddings, model=other).save(gallery)
    person = service.client.create_person("Eileen Collins")
    for call in (
        lambda: service.client.identify(pictures["hopper"]),
        lambda: service.client.add_face(person["id"], pictures["stranger"]),
    ):
        with pytest.raises(ServiceCallError) as caught:
            call()
        assert (caught.value.status, caught.value.code) == (503, "gallery_unavailable")
    assert Gallery.load(gallery).model == other and "Eileen Collins" not in Gallery.load(gallery).names
    gallery.write_bytes(before)
    assert service.client.identify(pictures["hopper"])["faces"][0]["name"] == "Grace Hopper"


def test_people_whose_time_is_over_are_removed_and_that_is_recorded(open_service, gallery):
    first = open_service()
    hopper = by_name(first.client, "Grace")
    first.client.change_person(hopper["id"], expires="2020-01-01T00:00:00Z")
    assert first.service.remove_expired() == 1 and first.client.people()["total"] == 2
    biden = by_name(first.client, "Biden")
    first.client.change_person(biden["id"], expires="2020-01-01T00:00:00Z")
    first.service.close()
    assert open_service().client.people()["total"] == 1  # at the start
    assert Gallery.load(gallery).names == ("Barack Obama",)
    lines = [json.loads(line) for line in (first.settings.state_folder / "audit.jsonl").read_text().splitlines()]
    expired = [(line["key"], line["person"], line["faces"]) for line in lines if line["action"] == "person.expire"]
    assert expired == [("service", hopper["id"], 1), ("service", biden["id"], 1)]


def test_a_clock_that_is_put_forward_removes_nobody_for_an_hour(service, monkeypatch, caplog):
    """A machine that wakes up with a wrong year must not remove everybody before its clock is set right."""
    year_s, shift_s, totals = 365 * 86400, [0], []
    of_today = service.client.change_person(by_name(service.client, "Grace")["id"], expires="2000-01-01T00:00:00Z")
    month = datetime.now(timezone.utc) + timedelta(days=30)
    service.client.change_person(by_name(service.client, "Biden")["id"], expires=month.isoformat())
    now, wall_s = gallery_store.utc_now, time.time

    async def an_hour(seconds: float) -> None:
        totals.append(service.client.people()["total"])
        shift_s[0] = [0, year_s, 0, year_s, year_s, None][len(totals) - 1]
        if shift_s[0] is None:
            raise asyncio.CancelledError

    monkeypatch.setattr(app.asyncio, "sleep", an_hour)
    monkeypatch.setattr(gallery_store, "utc_now", lambda: now() if not shift_s[0] else "2999-01-01T00:00:00Z")
    monkeypatch.setattr(wall_clock.time, "time", lambda: wall_s() + (shift_s[0] or 0))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(app._remove_expired_hourly(service.service))
    # Hours: nothing is wrong, put forward, put right, put forward again, still so.
    assert of_today["expires"] and totals == [3, 2, 2, 2, 2, 1]
    assert [record.message[:34] for record in caplog.records] == ["the clock was put forward by 31536"] * 2


@pytest.mark.parametrize("renamed", [True, False])
def test_a_renaming_that_a_crash_cut_short_is_ended_at_the_next_start(gallery, models, tmp_path, renamed):
    def store():
        return open_people_store(gallery, tmp_path, model=models.identity, card=models.recognizer.card)

    first = store()
    person = first.find("Grace Hopper")
    first.close()
    records = PeopleRecords(tmp_path / RECORDS)
    records.begin_renaming(person.record.id, "Amazing Grace")
    records.close()
    if renamed:
        edit_gallery(gallery, lambda people: people.renamed("Grace Hopper", "Amazing Grace"))
    second = store()
    again = second.person(person.record.id)
    assert (again.record.name, again.faces) == ("Amazing Grace" if renamed else "Grace Hopper", 1)
    assert second.people_count() == 3


def test_a_gallery_of_another_model_is_refused(gallery, models, tmp_path):
    other = dataclasses.replace(models.identity, weights_sha256="0" * 64)
    with pytest.raises(gallery_store.GalleryError, match="was made with the model MobileFace, not with"):
        open_people_store(gallery, tmp_path, model=other, card=models.recognizer.card)
    loaded = Gallery.load(gallery)
    nameless = tmp_path / "nameless.index"
    Gallery(loaded.entries, loaded.embeddings).save(nameless)
    with pytest.raises(gallery_store.GalleryError, match="does not say which model made it"):
        open_people_store(nameless, tmp_path, model=models.identity, card=models.recognizer.card)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / RECORDS).write_text("not a database" * 100)
    with pytest.raises(gallery_store.GalleryError, match="cannot be used"):
        PeopleRecords(tmp_path / RECORDS)


def test_a_gallery_of_another_engine_is_served_alike(open_service, gallery, models, pictures, tmp_path):
    faiss = pytest.importorskip("faiss")
    assert faiss
    uri = f"faiss:{tmp_path / 'engine'}"
    with pytest.raises(ConfigError, match="--state DIR"):
        ServiceSettings(uri).state_folder  # noqa: B018
    convert_gallery(str(gallery), uri)
    service = open_service(gallery=uri, state=tmp_path / "state")
    client = service.client
    assert client.gallery()["engine"] == "faiss" and client.gallery()["faces"] == 3
    person = client.create_person("Eileen Collins")
    client.add_face(person["id"], pictures["stranger"])
    hopper = by_name(client, "Grace")
    added = client.add_face(hopper["id"], pictures["hopper"])
    client.remove_face(hopper["id"], added["id"])
    assert client.person(hopper["id"])["faces"] == 1
    client.change_person(person["id"], name="E. Collins")
    [face] = client.identify(pictures["stranger"])["faces"]
    assert (face["name"], face["person"]) == ("E. Collins", person["id"])
    client.merge_people(person["id"], into=hopper["id"])
    client.remove_person(hopper["id"])
    assert client.identify(pictures["stranger"])["faces"][0]["name"] is None
    assert [one["name"] for one in client.people()["people"]] == ["Barack Obama", "Joe Biden"]


def test_an_encrypted_gallery_leaves_nothing_in_plain_text_beside_it_either(
    open_service, gallery, pictures, monkeypatch
):
    pytest.importorskip("cryptography")
    one = open_service(keep_crops=True)
    plain = one.client.create_person("Eileen Collins", consent="form 17")
    one.client.add_face(plain["id"], pictures["stranger"])
    [first] = one.client.faces(plain["id"], pictures=True)
    one.client.create_person("sealed:1234", consent="")
    one.service.close()
    crop = part_of(crop_in(first["picture"]))
    assert all(word in (one.settings.state_folder / RECORDS).read_bytes() for word in (b"Collins", crop))
    for key in ("a" * 64, "b" * 64 + " " + "a" * 64, "b" * 64):  # encrypted from now on; then the key is exchanged
        monkeypatch.setenv("ARCFACE_PADDLE_GALLERY_KEY", key)
        again = open_service(keep_crops=True)
        client = again.client
        assert by_name(client, "eileen")["picture"] == first["picture"]
        assert by_name(client, "eileen")["id"] == plain["id"] and client.person(plain["id"])["consent"] == "form 17"
        client.add_face(plain["id"], pictures["stranger"])
        client.change_person(plain["id"], name=f"Eileen {key[:2]}")
        assert by_name(client, "hopper")["name"] == "Grace Hopper"
        assert by_name(client, "sealed:1234")["consent"] in ("", None)
        [found] = client.identify(pictures["stranger"])["faces"]
        assert found["name"] == f"Eileen {key[:2]}"
        again.service.close()
        if key[0] == "b":
            encrypt_gallery(gallery)
        content = b"".join(path.read_bytes() for path in sorted(gallery.parent.rglob("*")) if path.is_file())
        assert not any(word in content for word in (b"Eileen", b"Hopper", b"form 17", b"gallery.json", crop))
    monkeypatch.delenv("ARCFACE_PADDLE_GALLERY_KEY")
    with pytest.raises(GalleryError, match=r"people.*: is encrypted \(key [0-9a-f]{16}\) and no key is given"):
        PeopleRecords(one.settings.state_folder / RECORDS)
