"""Workers that look at pictures: a detector for each, one recogniser for all, and a queue that does not grow."""

from __future__ import annotations

import asyncio
import dataclasses
import queue
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Callable, Optional, TypeVar

import numpy as np

from arcface_paddle.pipeline.analyzer import Analyzer
from arcface_paddle.pipeline.builders import build_recognizer
from arcface_paddle.pipeline.detection.base import Detector
from arcface_paddle.pipeline.gallery import Gallery, ModelIdentity, identity_of
from arcface_paddle.pipeline.opening import open_detector, recognizer_of
from arcface_paddle.pipeline.recognition import FaceRecognizer
from arcface_paddle.pipeline.settings import PipelineSettings, available_cores
from arcface_paddle.service.batching import BatchingRecognizer, ignore_batch
from arcface_paddle.service.errors import BusyError, TimedOutError, TooManyFacesError
from arcface_paddle.service.service_settings import Limits
from arcface_paddle.types import Detection

Result = TypeVar("Result")

_USUAL_WORK_S = 0.2  # of a picture, before any was timed
_SMOOTHING = 0.1


@dataclass(frozen=True, eq=False)
class FaceModels:
    """Loaded models of a service.

    Attributes:
        detectors: one for each worker, each with one thread.
        recognizer: one for all.
        identity: of the recogniser, as galleries record it.
        det_model, rec_model: their names or folders.
    """

    detectors: tuple[Detector, ...]
    recognizer: FaceRecognizer
    identity: ModelIdentity
    det_model: str
    rec_model: str


def open_models(
    settings: PipelineSettings, *, made_by: Optional[ModelIdentity] = None, workers: Optional[int] = None
) -> FaceModels:
    """Load the models. Call it in the main thread: Paddle's converter ends the process in any other.

    Args:
        settings: which models, and how they run.
        made_by: the recogniser that made the gallery; None for a new gallery.
        workers: how many detectors; None for one more than threads.

    Raises:
        ModelFileError: a model is missing or damaged.
        ConfigError: options that cannot work here.
    """
    single = dataclasses.replace(settings, runtime=dataclasses.replace(settings.runtime, threads=1))
    count = workers or (settings.runtime.threads or available_cores()) + 1
    rec_model = settings.rec_model or recognizer_of(None if made_by is None else Gallery.empty(made_by))
    mirrored = settings.mirrored if settings.mirrored is not None else made_by is None or made_by.mirrored
    recognizer = build_recognizer(
        rec_model,
        max_batch_size=settings.max_batch_size,
        mirrored=mirrored,
        preset=settings.rec_preset,
        options=settings.runtime,
    )
    detectors = tuple(open_detector(single) for _ in range(count))
    return FaceModels(detectors, recognizer, identity_of(recognizer), settings.det_model, rec_model)


class LimitedDetector:
    """A detector that refuses pictures with too many faces, before any of them is embedded."""

    def __init__(self, detector: Detector, *, most_faces: int) -> None:
        self.threshold = detector.threshold
        self._detector = detector
        self._most_faces = most_faces

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Find the faces of a picture (H, W, 3) uint8 RGB. Raises ``TooManyFacesError``."""
        found = self._detector.detect(image)
        if len(found) > self._most_faces:
            raise TooManyFacesError(
                f"the picture shows {len(found)} faces; allowed: {self._most_faces}; send it in parts"
            )
        return found


@dataclass(frozen=True, eq=False)
class Worker:
    """What one thread works with.

    Attributes:
        finder: finds faces, and nothing else.
        analyzer: finds and embeds faces.
    """

    finder: Analyzer
    analyzer: Analyzer


class InferencePool:
    """Threads that look at pictures, one after the other each.

    Attributes:
        finished: how often work ended, well or not.

    Args:
        models: as many workers as there are detectors.
        limits: length of the queue, faces, time.
        on_batch: told of the number of faces of each run of the recogniser.
    """

    def __init__(self, models: FaceModels, *, limits: Limits, on_batch: Callable[[int], None] = ignore_batch) -> None:
        self.recognizer = BatchingRecognizer(models.recognizer, on_batch=on_batch)
        self.worker_count = len(models.detectors)
        self._limits = limits
        self._workers: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for detector in models.detectors:
            limited = LimitedDetector(detector, most_faces=limits.faces)
            self._workers.put(Worker(Analyzer(limited), Analyzer(limited, self.recognizer)))
        self._of_thread = threading.local()
        self._threads = ThreadPoolExecutor(self.worker_count, thread_name_prefix="faces")
        self._guard = threading.Lock()
        self._unfinished = 0
        self.finished = 0
        self._mean_work_s = _USUAL_WORK_S
        self._stopping = False

    @property
    def waiting(self) -> int:
        """How many pictures wait for a worker."""
        return max(0, self._unfinished - self.worker_count)

    @property
    def is_full(self) -> bool:
        return self._stopping or self.waiting >= self._limits.queue_length

    def submit(self, work: Callable[[Worker], Result]) -> Future[Result]:
        """Let a worker do some work.

        Raises:
            BusyError: the queue is full, or the service is stopping.
        """
        with self._guard:
            if self.is_full:
                wait_s = max(1, round(self._mean_work_s * self._unfinished / self.worker_count))
                what = "the service is stopping" if self._stopping else f"{self.waiting} pictures are waiting already"
                raise BusyError(f"{what}; try again in {wait_s} s", retry_after_s=wait_s)
            self._unfinished += 1
            future = self._threads.submit(self._timed, work)
        future.add_done_callback(self._finished)
        return future

    async def run(self, work: Callable[[Worker], Result]) -> Result:
        """Let a worker do some work, and wait for it. Who stops waiting gives up what has not been begun.

        Raises:
            BusyError: as ``submit``.
            TimedOutError: it is not done in time.
        """
        future = self.submit(work)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._limits.work_s)
        except asyncio.TimeoutError:
            raise TimedOutError(
                f"not done within {self._limits.work_s:g} s; send a smaller picture, or try again later"
            ) from None

    def close(self) -> None:
        """Take no more work, and wait until what is there is done."""
        with self._guard:  # not between the question whether there is room and the answer
            self._stopping = True
        self._threads.shutdown(wait=True)

    def _timed(self, work: Callable[[Worker], Result]) -> Result:
        worker: Optional[Worker] = getattr(self._of_thread, "worker", None)
        if worker is None:  # a thread keeps its worker: engines prepare a network for the thread that runs it
            worker = self._of_thread.worker = self._workers.get_nowait()
        start = time.perf_counter()
        try:
            return work(worker)
        finally:
            taken_s = time.perf_counter() - start
            self._mean_work_s += _SMOOTHING * (taken_s - self._mean_work_s)

    def _finished(self, _future: Future[Result]) -> None:
        with self._guard:
            self._unfinished -= 1
            self.finished += 1
