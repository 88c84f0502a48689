"""Bulk enrolments: many pictures of many people, worked on behind the requests, with progress."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from arcface_paddle.errors import ArcfaceError
from arcface_paddle.service.audit import AuditLog
from arcface_paddle.service.enrolling import new_face
from arcface_paddle.service.errors import BadRequestError, BusyError, NotFoundError, status_and_code
from arcface_paddle.service.gallery_store import NewFace, PeopleStore
from arcface_paddle.service.inference import InferencePool, Worker
from arcface_paddle.service.picture_spool import PictureSpool, WaitingPicture
from arcface_paddle.service.request_log import log_failure
from arcface_paddle.service.service_settings import Limits

WAITING, RUNNING, DONE, CANCELLED, FAILED = "waiting", "running", "done", "cancelled", "failed"
_KEPT = 100  # ended jobs whose results can be asked for
_WRITTEN_AT_ONCE = 32  # faces; each writing makes the gallery anew
_BUSY_PAUSE_S = 0.05
_PROBLEMS_KEPT = 1000


@dataclass(eq=False)
class EnrolJob:
    """A bulk enrolment.

    Attributes:
        id: 16 hexadecimal digits.
        spool: its pictures.
        caller: id of the key that sent it.
        state: one of the constants above.
        done: pictures whose faces are on disk, or that gave none.
        enrolled: faces that are on disk.
        problems: pictures that gave none: name, code and message each.
    """

    spool: PictureSpool
    caller: str
    request: str
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    state: str = WAITING
    total: int = 0
    done: int = 0
    enrolled: int = 0
    problems: list[dict[str, str]] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def report(self, picture: str, error: ArcfaceError) -> None:
        """Note that a picture gave no face."""
        self.done += 1
        if len(self.problems) < _PROBLEMS_KEPT:
            message = str(error)
            self.problems.append({"picture": picture, "code": status_and_code(error)[1], "message": message})


class EnrolJobs:
    """The bulk enrolments of a service: one at a time, each with all but one worker, so that requests go on.

    Args:
        pool: who looks at the pictures.
        people: who gets the faces.
        audit: told what was enrolled.
        limits: how many may wait.
    """

    def __init__(self, pool: InferencePool, people: PeopleStore, audit: AuditLog, *, limits: Limits) -> None:
        self._pool = pool
        self._people = people
        self._audit = audit
        self._limits = limits
        self._guard = threading.Lock()
        self._jobs: OrderedDict[str, EnrolJob] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="jobs")

    def require_room(self) -> None:
        """Raise ``BusyError`` when as many jobs wait as may."""
        with self._guard:
            if sum(job.state in (WAITING, RUNNING) for job in self._jobs.values()) >= self._limits.jobs:
                raise BusyError(f"{self._limits.jobs} jobs are waiting already; try again later", retry_after_s=60)

    def start(self, job: EnrolJob) -> None:
        """Begin a job, or let it wait for those before it. Raises ``BusyError``."""
        self.require_room()
        job.total = len(job.spool.pictures)
        with self._guard:
            self._jobs[job.id] = job
            ended = [other.id for other in self._jobs.values() if other.state not in (WAITING, RUNNING)]
            for job_id in ended[: max(0, len(self._jobs) - _KEPT)]:
                del self._jobs[job_id]
        self._thread.submit(self._run, job)

    def job(self, job_id: str) -> EnrolJob:
        """Return a job. Raises ``NotFoundError``."""
        with self._guard:
            if job_id not in self._jobs:
                raise NotFoundError(f"there is no job {job_id[:40]!r}; jobs are forgotten when the service ends")
            return self._jobs[job_id]

    def cancel(self, job_id: str) -> EnrolJob:
        """End a job early; what it has enrolled stays. Raises ``NotFoundError``."""
        job = self.job(job_id)
        job.cancelled.set()
        return job

    def close(self) -> None:
        """End all jobs early."""
        with self._guard:
            for job in self._jobs.values():
                job.cancelled.set()
        self._thread.shutdown(wait=True)

    def _run(self, job: EnrolJob) -> None:
        job.state = RUNNING
        try:
            self._enrol(job)
            job.state = CANCELLED if job.cancelled.is_set() else DONE
        except ArcfaceError as error:  # the gallery cannot be written, say
            job.problems.append({"picture": "", "code": status_and_code(error)[1], "message": str(error)})
        except OSError as error:
            log_failure({}, error)
        finally:
            job.state = FAILED if job.state == RUNNING else job.state
            job.spool.close()

    def _enrol(self, job: EnrolJob) -> None:
        looking: deque[tuple[WaitingPicture, Future[NewFace]]] = deque()
        found: list[tuple[str, NewFace]] = []
        most = max(1, self._pool.worker_count - 1)
        for picture in job.spool.pictures:
            if job.cancelled.is_set():
                break
            try:
                looking.append((picture, self._begin(job, picture)))
            except ArcfaceError as error:
                job.report(picture.shown, error)
            if len(looking) >= most:
                self._take(job, looking.popleft(), found)
            if len(found) >= _WRITTEN_AT_ONCE:
                self._write(job, found)
        while looking:
            self._take(job, looking.popleft(), found)
        self._write(job, found)

    def _begin(self, job: EnrolJob, picture: WaitingPicture) -> Future[NewFace]:
        if picture.person is None:
            raise BadRequestError(picture.problem)
        upload = job.spool.read(picture)

        def look(worker: Worker) -> NewFace:
            return new_face(worker, upload, limits=self._limits)

        while True:
            try:
                return self._pool.submit(look)
            except BusyError:
                if job.cancelled.wait(_BUSY_PAUSE_S):
                    raise

    def _take(
        self, job: EnrolJob, looked: tuple[WaitingPicture, Future[NewFace]], found: list[tuple[str, NewFace]]
    ) -> None:
        picture, future = looked
        assert picture.person is not None, "only such pictures are looked at"
        try:
            found.append((picture.person, future.result()))
        except ArcfaceError as error:
            job.report(picture.shown, error)

    def _write(self, job: EnrolJob, found: list[tuple[str, NewFace]]) -> None:
        if not found:
            return
        people = self._people.enrol(found)
        for person_id, faces in people.items():
            self._audit.record("job.enrol", key=job.caller, request=job.request, person=person_id, faces=faces)
        job.done += len(found)
        job.enrolled += len(found)
        found.clear()
