"""One recogniser for many workers: faces of requests that wait at the same time go through the network together."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Callable, Optional, Sequence, Union

import numpy as np

from arcface_paddle.pipeline.cards import ModelCard
from arcface_paddle.pipeline.recognition import Embeddings, FaceRecognizer
from arcface_paddle.pipeline.runtime import Execution
from arcface_paddle.types import Detection


@dataclass(eq=False)
class _Waiting:
    """Crops of one request, and what came of them."""

    crops: np.ndarray
    result: Optional[Embeddings] = None


def ignore_batch(_faces: int) -> None:
    """Do nothing with the size of a batch."""


class BatchingRecognizer:
    """A ``FaceRecognizer`` that several threads use, and that runs the crops of all that wait as one batch.

    Nobody waits for a batch to fill: whoever finds the network idle runs at once and takes along what came while it
    was busy. A batch that fails fails for the one who ran it; the others then run theirs themselves.

    Args:
        recognizer: the network.
        most_faces: faces of a batch, unless one request alone has more.
        on_batch: told of the number of faces of each batch.
    """

    def __init__(
        self, recognizer: FaceRecognizer, *, most_faces: int = 32, on_batch: Callable[[int], None] = ignore_batch
    ) -> None:
        self.card: ModelCard = recognizer.card
        self.weights_sha256 = recognizer.weights_sha256
        self.preprocessing_sha256 = recognizer.preprocessing_sha256
        self.mirrored = recognizer.mirrored
        self._recognizer = recognizer
        self._most_faces = most_faces
        self._on_batch = on_batch
        self._waiting: deque[_Waiting] = deque()
        self._guard = threading.Lock()
        self._network = threading.Lock()

    @property
    def embedding_size(self) -> int:
        return self._recognizer.embedding_size

    @property
    def execution(self) -> Execution:
        return self._recognizer.execution

    def align(self, image: np.ndarray, detections: Sequence[Detection]) -> np.ndarray:
        return self._recognizer.align(image, detections)

    def pictures_of(self, crops: np.ndarray) -> np.ndarray:
        return self._recognizer.pictures_of(crops)

    def embed(self, crops: Union[np.ndarray, Sequence[np.ndarray]]) -> Embeddings:
        """Embed crops as ``FaceRecognizer.embed`` does, together with those of others who wait."""
        mine = _Waiting(np.asarray(crops))
        with self._guard:
            self._waiting.append(mine)
        with self._network:
            if mine.result is None:
                self._run(self._batch_with(mine))
        assert mine.result is not None
        return mine.result

    def _batch_with(self, mine: _Waiting) -> list[_Waiting]:
        """Take ``mine`` and what others wait with, in the order in which they came."""
        batch, faces = [mine], len(mine.crops)
        with self._guard:
            if mine in self._waiting:  # not so after a batch that another ran with it and that failed
                self._waiting.remove(mine)
            while self._waiting and faces + len(self._waiting[0].crops) <= self._most_faces:
                batch.append(self._waiting.popleft())
                faces += len(batch[-1].crops)
        return batch

    def _run(self, batch: Sequence[_Waiting]) -> None:
        embedded = self._recognizer.embed(np.concatenate([waiting.crops for waiting in batch]))
        first = 0
        for waiting in batch:
            rows = slice(first, first + len(waiting.crops))
            waiting.result = Embeddings(embedded.vectors[rows], embedded.norms[rows])
            first = rows.stop
        self._on_batch(first)
