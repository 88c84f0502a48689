"""Unknown faces seen since the start, and giving them names."""

from __future__ import annotations

from fastapi import APIRouter, Response

from arcface_paddle.service import answers, schemas
from arcface_paddle.service.access import Service, Writer
from arcface_paddle.service.routes.bodies import PERSON_ANSWERS, PROBLEM

router = APIRouter(prefix="/v1/unknown", tags=["unknown faces"], responses=PERSON_ANSWERS)


@router.get("")
def list_unknown(service: Service, _caller: Writer) -> schemas.UnknownOut:
    """List the groups of unknown faces, which are kept in memory only, and only with --keep_unknown."""
    groups = [
        schemas.UnknownGroup(
            id=group.id,
            faces=group.seen,
            first_seen=group.first_seen,
            last_seen=group.last_seen,
            picture=group.picture,
        )
        for group in service.strangers.list()
    ]
    return schemas.UnknownOut(enabled=service.strangers.enabled, groups=groups)


@router.post("/{group}/name", responses={409: {**PROBLEM, "description": "a name that cannot be"}})
def name_unknown(group: str, body: schemas.NameIn, service: Service, caller: Writer) -> schemas.PersonOut:
    """Enrol a group's best faces under a name, of a new person or of one who is there."""
    faces = list(service.strangers.group(group).faces)
    person = service.people.find(body.name) or service.people.create(body.name)
    service.people.add_faces(person.record.id, faces)
    service.strangers.forget(group)
    service.audit.record(
        "unknown.name", key=caller.key_id, request=caller.request_id, person=person.record.id, faces=len(faces)
    )
    return answers.person_out(service.people.person(person.record.id))


@router.delete("/{group}", status_code=204)
def forget_unknown(group: str, service: Service, _caller: Writer) -> Response:
    """Let go of a group."""
    service.strangers.group(group)
    service.strangers.forget(group)
    return Response(status_code=204)
