"""Bulk enrolment: begun with one request, followed with others."""

from __future__ import annotations

from fastapi import APIRouter, Request

from arcface_paddle.service import schemas
from arcface_paddle.service.access import Service, Writer
from arcface_paddle.service.errors import BadRequestError, UnsupportedMediaError
from arcface_paddle.service.forms import receive_form
from arcface_paddle.service.jobs import EnrolJob
from arcface_paddle.service.picture_spool import PictureSpool
from arcface_paddle.service.routes.bodies import PERSON_ANSWERS, PICTURE_ANSWERS, job_body
from arcface_paddle.service.uploads import MULTIPART, type_of

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=PERSON_ANSWERS)


@router.post("/enrol", status_code=202, openapi_extra=job_body(), responses=PICTURE_ANSWERS)
async def enrol(request: Request, service: Service, caller: Writer) -> schemas.JobOut:
    """Enrol many pictures: a form whose files are called NAME/FILE, or a zip with a folder for each person."""
    service.jobs.require_room()  # before the upload
    job = EnrolJob(PictureSpool(service.settings.limits), caller.key_id, caller.request_id)
    started = False
    try:
        await _receive(request, job.spool)
        service.jobs.start(job)
        started = True
    finally:
        if not started:
            job.spool.close()
    return _job_out(job)


@router.get("/{job_id}")
def follow(job_id: str, service: Service, _caller: Writer) -> schemas.JobOut:
    """Say how far a job is."""
    return _job_out(service.jobs.job(job_id))


@router.delete("/{job_id}")
def cancel(job_id: str, service: Service, _caller: Writer) -> schemas.JobOut:
    """End a job early; what it has enrolled stays."""
    return _job_out(service.jobs.cancel(job_id))


async def _receive(request: Request, spool: PictureSpool) -> None:
    kind = type_of(request)
    if kind == "application/zip":
        await spool.take_zip(request.stream())
    elif kind == MULTIPART:
        await receive_form(request, spool)
        if spool.is_zip:
            spool.open_zip()
    else:
        raise UnsupportedMediaError(f"the body is of type {kind[:80]!r}; allowed: {MULTIPART}, application/zip")
    if not spool.pictures:
        raise BadRequestError("no picture came; send files called NAME/FILE in the field 'files', or a zip")


def _job_out(job: EnrolJob) -> schemas.JobOut:
    return schemas.JobOut(
        id=job.id,
        state=job.state,
        done=job.done,
        total=job.total,
        enrolled=job.enrolled,
        problems=list(job.problems),
    )
