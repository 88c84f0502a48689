"""From aligned crops to embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Protocol, Sequence, Union

import numpy as np

from arcface_paddle.errors import ConfigError, ImageError, ModelFileError
from arcface_paddle.pipeline.alignment import align_face, recognizer_spec
from arcface_paddle.pipeline.cards import RECOGNITION, ModelCard
from arcface_paddle.pipeline.model_files import ModelFolder
from arcface_paddle.pipeline.preprocessing import to_blob
from arcface_paddle.pipeline.runtime import Execution, InferenceRuntime
from arcface_paddle.types import Detection, Face


@dataclass(frozen=True, eq=False)
class Embeddings:
    """What a recogniser makes of N crops.

    Attributes:
        vectors: (N, D) float32, L2-normalised.
        norms: (N,) float32, length of each feature before normalisation: a rough measure of quality.
    """

    vectors: np.ndarray
    norms: np.ndarray

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        return f"Embeddings({len(self.vectors)} faces, {self.vectors.shape[-1]}-D)"


class FaceRecognizer(Protocol):
    """Whoever cuts faces out and embeds them: ``Recognizer``, or several of them as ``fusion.FusedRecognizer``.

    Attributes:
        card: of the model.
        weights_sha256: tells its weights from those of every other model.
        preprocessing_sha256: likewise all that turns a photograph into its input.
        mirrored: whether an embedding is the mean over the face and its mirror image.
        embedding_size: D.
        execution: engine, precision and threads of the network, of the first if there are several.
    """

    card: ModelCard
    weights_sha256: str
    preprocessing_sha256: str
    mirrored: bool

    @property
    def embedding_size(self) -> int: ...
    @property
    def execution(self) -> Execution: ...

    def align(self, image: np.ndarray, detections: Sequence[Detection]) -> np.ndarray:
        """Cut the faces of one picture (H, W, 3) uint8 RGB out; the first axis of the result counts them."""

    def pictures_of(self, crops: np.ndarray) -> np.ndarray:
        """Return of what ``align`` gave a picture a face, (N, height, width, 3) uint8 RGB."""

    def embed(self, crops: Union[np.ndarray, Sequence[np.ndarray]]) -> Embeddings:
        """Embed what ``align`` gave, for one picture or several joined along the first axis."""


def require_embedding(face: Face) -> np.ndarray:
    """Return the embedding (D,) float32 of a face. Raises ``ConfigError`` when no recogniser ran on it."""
    if face.embedding is None:
        raise ConfigError("the analyzer gives no embeddings; it needs a recogniser")
    return face.embedding


class Recognizer:
    """A recogniser: a model's card and its loaded network.

    Args:
        model: the folder, as ``model_files.open_model`` gives it.
        runtime: the loaded network.
        max_batch_size: crops per run of the network; fewer where an ONNX file takes no more.
        mirrored: add the features of the mirrored crop. It doubles the time; on 245 portraits TAR@FAR 1e-3 rose from
            88.4 to 89.7 %. Gallery and probe must agree on it.
    """

    def __init__(
        self, model: ModelFolder, runtime: InferenceRuntime, *, max_batch_size: int = 16, mirrored: bool = True
    ) -> None:
        if model.card.task != RECOGNITION:
            raise ModelFileError(f"{model.path}: is a model for {model.card.task}, not for {RECOGNITION}")
        if max_batch_size < 1:
            raise ConfigError(f"max_batch_size is {max_batch_size}; allowed: 1 or more")
        self.card: ModelCard = model.card
        self.weights_sha256 = model.weights_sha256()
        self.preprocessing_sha256 = model.card.preprocessing_sha256()
        self.mirrored = mirrored
        self._model = model
        self._runtime = runtime
        self._max_batch_size = min(max_batch_size, model.fixed_batch() or max_batch_size)
        self._embedding_size: Optional[int] = recognizer_spec(model.card).embedding_size or None

    def __repr__(self) -> str:
        size = "" if self._embedding_size is None else f", {self._embedding_size}-D"
        return f"Recognizer({self.card.name!r}{size}{', mirrored' if self.mirrored else ''})"

    @property
    def execution(self) -> Execution:
        """Engine, precision and threads of the network."""
        return self._runtime.execution

    @property
    def embedding_size(self) -> int:
        """D; the network is asked once when the card does not say."""
        if self._embedding_size is None:
            width, height = self.card.input.size_wh
            self._embedding_size = self._features([np.zeros((height, width, 3), np.uint8)]).shape[1]
        return self._embedding_size

    def align(self, image: np.ndarray, detections: Sequence[Detection]) -> np.ndarray:
        """Return the aligned crops (N, height, width, 3) uint8 RGB of faces of one picture."""
        width, height = self.card.input.size_wh
        crops = np.empty((len(detections), height, width, 3), np.uint8)
        for crop, detection in zip(crops, detections):
            crop[:] = align_face(image, detection, self.card)
        return crops

    def pictures_of(self, crops: np.ndarray) -> np.ndarray:
        """Return aligned crops (N, height, width, 3) uint8 RGB as they are."""
        return crops

    def embed(self, crops: Union[np.ndarray, Sequence[np.ndarray]]) -> Embeddings:
        """Embed aligned crops.

        Args:
            crops: (N, 112, 112, 3) uint8 RGB, N may be 0; the size is the card's.

        Raises:
            ImageError: crops of another shape or type.
            ModelFileError: the network gives something that is not finite or of another size than the card says.
        """
        features = self.features(crops)
        norms = np.linalg.norm(features, axis=1)
        if not np.isfinite(norms).all():
            raise ModelFileError(f"{self._model.path}: the network gave values that are not finite")
        return Embeddings(features / np.maximum(norms, 1e-12)[:, None], norms)

    def features(self, crops: Union[np.ndarray, Sequence[np.ndarray]]) -> np.ndarray:
        """Return what the network gives for aligned crops, before normalisation and whether finite or not.

        Args:
            crops: (N, 112, 112, 3) uint8 RGB, N may be 0; the size is the card's.

        Returns:
            (N, D) float32; with mirroring, the mean over each crop and its mirror image.

        Raises:
            ImageError: crops of another shape or type.
            ModelFileError: the network gives another size than the card says.
        """
        self._check(crops)
        if len(crops) == 0:
            return np.zeros((0, self.embedding_size), np.float32)
        batches = range(0, len(crops), self._max_batch_size)
        return np.concatenate([self._features(crops[start : start + self._max_batch_size]) for start in batches])

    def _features(self, crops: Union[np.ndarray, Sequence[np.ndarray]]) -> np.ndarray:
        """Run one batch; with mirroring, the mean of both features."""
        blob = to_blob(list(crops), self.card.input)
        features = self._run(blob)
        if self.mirrored:
            features = (features + self._run(np.ascontiguousarray(blob[:, :, :, ::-1]))) / 2
        return features

    def _run(self, blob: np.ndarray) -> np.ndarray:
        features = self._runtime.run([blob])[0]
        expected = self._embedding_size or features.shape[-1]
        if features.shape != (len(blob), expected):
            raise ModelFileError(
                f"{self._model.path}: the network gave {features.shape} for {len(blob)} crops, the card says "
                f"{expected} values each"
            )
        return features.astype(np.float32, copy=False)

    def _check(self, crops: Union[np.ndarray, Sequence[np.ndarray]]) -> None:
        width, height = self.card.input.size_wh
        if not isinstance(crops, (np.ndarray, Sequence)) or isinstance(crops, (str, bytes, bytearray, memoryview)):
            raise ImageError(f"crops are of type {type(crops).__name__}; allowed: an array or a list of them")
        for index, crop in enumerate(crops):
            if not isinstance(crop, np.ndarray):
                raise ImageError(f"crop {index} is of type {type(crop).__name__}; allowed: an array of uint8")
            if crop.shape != (height, width, 3) or crop.dtype != np.uint8:
                raise ImageError(
                    f"crop {index} is {crop.dtype} of shape {crop.shape}; allowed: uint8 of ({height}, {width}, 3)"
                )
