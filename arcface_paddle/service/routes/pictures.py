"""Pictures in, faces out: found, embedded, compared, named."""

from __future__ import annotations

from typing import Annotated, Optional

from fastapi import APIRouter, Query, Request

from arcface_paddle.errors import ConfigError
from arcface_paddle.pipeline.settings import ThresholdSettings
from arcface_paddle.service import answers, schemas
from arcface_paddle.service.access import Reader, Service
from arcface_paddle.service.inference import Worker
from arcface_paddle.service.routes.bodies import PICTURE_ANSWERS, picture_body
from arcface_paddle.service.running import RunningService
from arcface_paddle.service.uploads import decode, read_upload, read_uploads

router = APIRouter(prefix="/v1", tags=["pictures"], responses=PICTURE_ANSWERS)


@router.post("/detect", openapi_extra=picture_body("image"))
async def detect(request: Request, service: Service, _caller: Reader) -> schemas.DetectOut:
    """Find the faces of a picture."""
    limits = service.settings.limits
    upload = await read_upload(request, limits=limits)
    result = await service.look(lambda worker: worker.finder.analyze(decode(upload, name="the picture", limits=limits)))
    service.metrics.faces.inc(len(result.faces))
    return answers.detect_out(result)


@router.post("/embed", openapi_extra=picture_body("image"))
async def embed(request: Request, service: Service, _caller: Reader) -> schemas.EmbedOut:
    """Find the faces of a picture and turn each into an embedding."""
    limits = service.settings.limits
    upload = await read_upload(request, limits=limits)
    result = await service.look(
        lambda worker: worker.analyzer.analyze(decode(upload, name="the picture", limits=limits))
    )
    service.metrics.faces.inc(len(result.faces))
    return answers.embed_out(result, service.models.identity)


@router.post("/compare", openapi_extra=picture_body("image_a", "image_b", raw=False))
async def compare(request: Request, service: Service, _caller: Reader) -> schemas.CompareOut:
    """Tell whether two pictures show one person, by the face nearest to the centre of each."""
    limits = service.settings.limits
    uploads = await read_uploads(request, ("image_a", "image_b"), limits=limits)

    def look(worker: Worker) -> schemas.CompareOut:
        first, second = (
            worker.analyzer.analyze(decode(upload, name=name, limits=limits))
            for upload, name in zip(uploads, ("the first picture", "the second picture"))
        )
        return answers.compare_out(first, second, card=service.card)

    return await service.look(look)


@router.post("/identify", openapi_extra=picture_body("image"))
async def identify(
    request: Request,
    service: Service,
    caller: Reader,
    k: Annotated[int, Query(ge=1, le=100, description="candidates of each face")] = 5,
    threshold: Annotated[Optional[float], Query(ge=-1, le=1, description="least similarity of a name")] = None,
    fpir: Annotated[
        Optional[float], Query(gt=0, lt=1, description="how often a search for a stranger may end with a name")
    ] = None,
) -> schemas.IdentifyOut:
    """Find the faces of a picture and say who of the gallery they are."""
    settings = threshold_settings(service, threshold=threshold, fpir=fpir)
    upload = await read_upload(request, limits=service.settings.limits)

    def look(worker: Worker) -> schemas.IdentifyOut:
        chosen = service.people.threshold(settings)
        image = decode(upload, name="the picture", limits=service.settings.limits)
        result = worker.analyzer.analyze(image)
        found = service.people.identify_faces(result.faces, top_k=k, threshold=chosen.similarity)
        service.strangers.notice(image, result.faces, found)
        service.metrics.faces.inc(len(result.faces))
        service.audit.record("identify", key=caller.key_id, request=caller.request_id, faces=len(result.faces))
        return answers.identify_out(result, found, threshold=chosen, card=service.card)

    return await service.look(look)


def threshold_settings(
    service: RunningService, *, threshold: Optional[float], fpir: Optional[float]
) -> ThresholdSettings:
    """Return what a request says of the threshold; what it does not say is as the service was started.

    Raises:
        ConfigError: it says it twice.
    """
    if threshold is not None and fpir is not None:
        raise ConfigError("threshold and fpir both set the threshold; give one")
    if threshold is None and fpir is None:
        return service.settings.pipeline.threshold
    return ThresholdSettings(similarity=threshold, fpir=fpir)
