"""People and their faces: made, read, changed, merged and removed."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Union

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from arcface_paddle.service import answers, schemas
from arcface_paddle.service.access import Reader, Service, Writer
from arcface_paddle.service.enrolling import new_face
from arcface_paddle.service.people_records import as_utc
from arcface_paddle.service.routes.bodies import ANSWERS, PERSON_ANSWERS, PICTURE_ANSWERS, PROBLEM, picture_body
from arcface_paddle.service.uploads import read_upload

router = APIRouter(prefix="/v1/people", tags=["people"], responses=PERSON_ANSWERS)
_TAKEN: dict[Union[int, str], Any] = {409: {**PROBLEM, "description": "the name is taken, or the gallery refuses it"}}


@router.get("", responses=ANSWERS)
def list_people(
    service: Service,
    _caller: Reader,
    search: Annotated[str, Query(max_length=200, description="part of a name, in any case")] = "",
    offset: Annotated[int, Query(ge=0, le=2**40)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    pictures: Annotated[bool, Query(description="with a small picture each, where crops are kept")] = False,
) -> schemas.PeopleOut:
    """List people in the order of names."""
    total, people = service.people.page(search=search, offset=offset, limit=limit)
    if pictures:
        people = service.people.with_crops(people)
    return schemas.PeopleOut(total=total, people=[answers.person_out(person) for person in people])


@router.post("", status_code=201, responses=_TAKEN)
def create_person(body: schemas.PersonIn, service: Service, caller: Writer) -> schemas.PersonOut:
    """Make a person without faces."""
    expires = None if body.expires is None else as_utc(body.expires)
    person = service.people.create(body.name, consent=body.consent, expires=expires)
    service.audit.record("person.create", key=caller.key_id, request=caller.request_id, person=person.record.id)
    return answers.person_out(person)


@router.get("/{person_id}")
def get_person(person_id: str, service: Service, _caller: Reader) -> schemas.PersonOut:
    """Return a person."""
    return answers.person_out(service.people.person(person_id))


@router.patch("/{person_id}", responses=_TAKEN)
def change_person(person_id: str, body: schemas.PersonPatch, service: Service, caller: Writer) -> schemas.PersonOut:
    """Change what is known of a person."""
    person = service.people.person(person_id)
    if body.name is not None:
        person = service.people.rename(person_id, body.name)
    given = body.model_fields_set & {"consent", "expires"}
    if given:
        consent = body.consent if "consent" in given else person.record.consent
        new_expiry = None if body.expires is None else as_utc(body.expires)
        expires = new_expiry if "expires" in given else person.record.expires
        person = service.people.annotate(person_id, consent=consent, expires=expires)
    service.audit.record("person.change", key=caller.key_id, request=caller.request_id, person=person_id)
    return answers.person_out(person)


@router.delete("/{person_id}", status_code=204)
def remove_person(person_id: str, service: Service, caller: Writer) -> Response:
    """Remove a person and every face of theirs."""
    faces = service.people.remove(person_id)
    service.audit.record("person.delete", key=caller.key_id, request=caller.request_id, person=person_id, faces=faces)
    return Response(status_code=204)


@router.post("/{person_id}/merge", responses=_TAKEN)
def merge_people(person_id: str, body: schemas.MergeIn, service: Service, caller: Writer) -> schemas.PersonOut:
    """Give a person's faces to another, and remove the first."""
    person = service.people.merge(person_id, body.into)
    service.audit.record("person.merge", key=caller.key_id, request=caller.request_id, person=person_id, into=body.into)
    return answers.person_out(person)


@router.get("/{person_id}/faces")
def list_faces(
    person_id: str,
    service: Service,
    _caller: Reader,
    pictures: Annotated[bool, Query(description="with a small picture each, where crops are kept")] = False,
) -> list[schemas.StoredFaceOut]:
    """List a person's faces."""
    faces = service.people.faces_with_crops(person_id) if pictures else service.people.faces_of(person_id)
    return [answers.stored_face_out(face) for face in faces]


@router.post(
    "/{person_id}/faces", status_code=201, openapi_extra=picture_body("image"), responses={**PICTURE_ANSWERS, **_TAKEN}
)
async def add_face(
    person_id: str,
    request: Request,
    service: Service,
    caller: Writer,
    faces: Annotated[
        Literal["one", "centre", "largest"], Query(description="which of several faces is the person's")
    ] = "one",
) -> schemas.StoredFaceOut:
    """Enrol the face of a picture; it is on disk when the answer comes."""
    limits = service.settings.limits
    await run_in_threadpool(service.people.person, person_id)  # nobody has the id: known before the upload
    upload = await read_upload(request, limits=limits)
    found = await service.look(lambda worker: new_face(worker, upload, limits=limits, faces=faces))
    stored = (await run_in_threadpool(service.people.add_faces, person_id, [found]))[0]
    await run_in_threadpool(
        service.audit.record, "face.add", key=caller.key_id, request=caller.request_id, person=person_id, face=stored.id
    )
    return answers.stored_face_out(stored)


@router.delete("/{person_id}/faces/{face_id}", status_code=204)
def remove_face(person_id: str, face_id: str, service: Service, caller: Writer) -> Response:
    """Remove one face of a person."""
    service.people.remove_face(person_id, face_id)
    service.audit.record("face.delete", key=caller.key_id, request=caller.request_id, person=person_id, face=face_id)
    return Response(status_code=204)
