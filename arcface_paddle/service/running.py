"""A running service: its parts, made once and closed once. Routes get it from the application."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Callable, Optional, TypeVar

from arcface_paddle import files
from arcface_paddle.errors import ConfigError
from arcface_paddle.pipeline.alignment import recognizer_spec
from arcface_paddle.pipeline.cards import ModelCard
from arcface_paddle.pipeline.comparison import PAIR_FAR
from arcface_paddle.pipeline.gallery import ModelIdentity
from arcface_paddle.pipeline.gallery.stores import open_gallery
from arcface_paddle.pipeline.settings import ThresholdSettings
from arcface_paddle.pipeline.thresholds import pair_threshold
from arcface_paddle.service import answers, schemas
from arcface_paddle.service.audit import AUDIT, SERVICE, AuditLog
from arcface_paddle.service.face_engine import is_yet_to_be_made
from arcface_paddle.service.gallery_store import PeopleStore, open_people_store
from arcface_paddle.service.inference import FaceModels, InferencePool, Worker, open_models
from arcface_paddle.service.jobs import EnrolJobs
from arcface_paddle.service.keys import KEYS, KeyFile, make_private_folder
from arcface_paddle.service.metrics import ServiceMetrics
from arcface_paddle.service.rate_limit import RateLimiter
from arcface_paddle.service.service_settings import ServiceSettings
from arcface_paddle.service.strangers import Strangers

Result = TypeVar("Result")


@dataclass(eq=False)
class RunningService:
    """The parts of a service.

    Attributes:
        settings: what is served.
        models: loaded.
        pool: workers.
        people: gallery and records.
        keys: who may do what.
        limiter: how often.
        audit: who did what.
        strangers: unknown faces that are kept.
        jobs: bulk enrolments.
        metrics: rates, times and sizes.
        stopping: set when no more requests are to come.
    """

    settings: ServiceSettings
    models: FaceModels
    pool: InferencePool
    people: PeopleStore
    keys: KeyFile
    limiter: RateLimiter
    audit: AuditLog
    strangers: Strangers
    jobs: EnrolJobs
    metrics: ServiceMetrics
    stopping: bool = False

    @property
    def card(self) -> ModelCard:
        return self.models.recognizer.card

    @property
    def is_ready(self) -> bool:
        return not self.stopping and not self.pool.is_full

    async def look(self, work: Callable[[Worker], Result]) -> Result:
        """Let a worker look at a picture. Raises ``BusyError`` or ``TimedOutError``, and what ``work`` raises."""

        def timed(worker: Worker) -> Result:
            start = time.perf_counter()
            try:
                return work(worker)
            finally:
                self.metrics.inference_s.observe(time.perf_counter() - start)

        return await self.pool.run(timed)

    def models_out(self) -> schemas.ModelsOut:
        """Return what the route of the models answers."""
        recognizer, execution = self.models.recognizer, self.models.recognizer.execution
        spec = recognizer.card.recognizer
        return answers.models_out(
            detector={"name": self.models.det_model, "threshold": self.models.detectors[0].threshold},
            card=recognizer.card,
            recognizer={
                "name": self.models.rec_model,
                "card": recognizer.card.name,
                "embedding_size": recognizer.embedding_size,
                "identity": answers.identity_hash(self.models.identity),
                "weights_sha256": recognizer.weights_sha256,
                "mirrored": recognizer.mirrored,
                "calibration": None if spec is None or spec.calibration is None else asdict(spec.calibration),
                "execution": asdict(execution),
            },
            identify=self.people.threshold(self.settings.pipeline.threshold),
        )

    def remove_expired(self) -> int:
        """Remove the people whose time is over; returns how many those were."""
        expired = self.people.expired()
        for person_id in expired:
            faces = self.people.remove(person_id)
            self.audit.record("person.expire", key=SERVICE, person=person_id, faces=faces)
        return len(expired)

    def close(self) -> None:
        """End the work that is there, and let go of files."""
        self.stopping = True
        self.jobs.close()
        self.pool.close()
        self.people.close()


def open_service(settings: ServiceSettings, *, models: Optional[FaceModels] = None) -> RunningService:
    """Load models, open the gallery and what stands beside it, and remove people whose time is over.

    Args:
        settings: what to serve.
        models: loaded already; None to load those of the settings, in the main thread.

    Raises:
        ArcfaceError: a model, the gallery or a file cannot be used.
    """
    if models is None:
        models = open_models(settings.pipeline, made_by=model_of_gallery(settings.gallery), workers=settings.workers)
    try:
        make_private_folder(settings.state_folder)
    except OSError as error:
        raise ConfigError(
            f"{settings.state_folder}: cannot be made: {error.strerror or error}; name another by --state"
        ) from None
    people = open_people_store(
        settings.gallery,
        settings.state_folder,
        model=models.identity,
        card=models.recognizer.card,
        keep_crops=settings.keep_crops,
    )
    metrics = ServiceMetrics()
    limits = settings.limits
    pool = InferencePool(models, limits=limits, on_batch=metrics.batch_faces.observe)
    audit = AuditLog(settings.state_folder / AUDIT)
    service = RunningService(
        settings=settings,
        models=models,
        pool=pool,
        people=people,
        keys=KeyFile(settings.state_folder / KEYS),
        limiter=RateLimiter(per_minute=limits.requests_per_minute, burst=limits.burst),
        audit=audit,
        strangers=_strangers(settings, models.recognizer.card),
        jobs=EnrolJobs(pool, people, audit, limits=limits),
        metrics=metrics,
    )
    service.people.threshold(settings.pipeline.threshold)  # a wrong one is to be known before the first request
    service.keys.list()  # likewise a damaged file
    metrics.follow("queue_length", lambda: service.pool.waiting)
    metrics.follow("gallery_people", people.people_count)
    metrics.follow("gallery_faces", people.face_count)
    metrics.follow("ready", lambda: float(service.is_ready))
    service.remove_expired()
    return service


def _strangers(settings: ServiceSettings, card: ModelCard) -> Strangers:
    """Return the store of unknown faces; two of them are one stranger from the threshold of two pictures on."""
    similarity = pair_threshold(card, ThresholdSettings(far=PAIR_FAR)).similarity if settings.keep_unknown else 1.0
    return Strangers(
        most_groups=settings.limits.unknown_groups if settings.keep_unknown else 0,
        similar_from=recognizer_spec(card).similarity.cosine_of(similarity),
    )


def model_of_gallery(path: files.PathLike) -> Optional[ModelIdentity]:
    """Return the recogniser that made a gallery; None for a file that does not exist. Raises ``GalleryError``."""
    if is_yet_to_be_made(path):
        return None
    with open_gallery(path) as store:
        return store.model
