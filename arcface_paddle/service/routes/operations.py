"""For those who run the service: health, metrics, models, sizes."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from arcface_paddle.service import schemas
from arcface_paddle.service.access import Reader, Service, check_metrics_caller
from arcface_paddle.service.routes.bodies import ANSWERS

router = APIRouter(tags=["operations"])


@router.get("/v1/health/live")
async def live() -> schemas.HealthOut:
    """Say that the process answers."""
    return schemas.HealthOut(status="ok")


@router.get("/v1/health/ready", responses={503: {"model": schemas.HealthOut}})
async def ready(service: Service, response: Response) -> schemas.HealthOut:
    """Say whether requests are taken: not when the queue is full, nor while the service is stopping."""
    if service.is_ready:
        return schemas.HealthOut(status="ok")
    response.status_code = 503
    return schemas.HealthOut(status="stopping" if service.stopping else "busy")


@router.get("/metrics", response_class=PlainTextResponse, responses=ANSWERS)
def metrics(request: Request, service: Service) -> Response:
    """Return the metrics for Prometheus, to programs on this machine or to a key of the role admin."""
    check_metrics_caller(request)
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/v1/access", responses=ANSWERS)
def access(service: Service, caller: Reader) -> schemas.AccessOut:
    """Say who asks and what they may do, so that a program need not offer what would be refused."""
    auth = service.settings.auth
    return schemas.AccessOut(auth=auth, key=caller.key_id if auth else None, name=caller.label, role=caller.role)


@router.get("/v1/models", responses=ANSWERS)
def models(service: Service, _caller: Reader) -> schemas.ModelsOut:
    """Return the models in use, and which similarity means which rate of false acceptances."""
    return service.models_out()


@router.get("/v1/gallery", responses=ANSWERS)
def gallery(service: Service, _caller: Reader) -> schemas.GalleryOut:
    """Return how large the gallery is."""
    people = service.people
    model = people.model
    return schemas.GalleryOut(
        people=people.people_count(),
        faces=people.face_count(),
        model=None if model is None else model.name,
        engine=people.engine,
        bytes=people.size_bytes(),
        crops=people.keeps_crops,
    )
