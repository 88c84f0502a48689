"""The teacher of a distillation: what it is, what it makes of the pictures of a batch, and what that says of a student.

The teacher sees each picture as it is stored, cut to its own crop as for recognition, and its mirror image where the
student's pictures are mirrored. The student sees what training makes of it: so it learns that random changes do not
matter, and the teacher's embedding of a picture never changes, so that it can be kept.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional, Sequence

import numpy as np
import paddle

from arcface_paddle import devices, distributed
from arcface_paddle.backbones import canonical_name
from arcface_paddle.backbones.weights import open_backbone
from arcface_paddle.data import FaceDataset
from arcface_paddle.data.parallel import ordered_map
from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.evaluation.embedder import network_embedder
from arcface_paddle.evaluation.model_opening import weights_in
from arcface_paddle.evaluation.ranks import device_of_rank
from arcface_paddle.files import sha256_of_file
from arcface_paddle.heads.distillation import Lesson, LessonWeights, lesson_of
from arcface_paddle.pipeline.builders import build_recognizer
from arcface_paddle.pipeline.cards import CARD_NAME
from arcface_paddle.pipeline.model_files import GRAPH_FILES
from arcface_paddle.pipeline.runtime import RuntimeOptions
from arcface_paddle.training.config import DistillationConfig
from arcface_paddle.training.teacher_cache import TeacherCache, content_key
from arcface_paddle.types import Detection

_BATCH_SIZE = 64
_WHOLE_PICTURE = Detection(np.array([0.0, 0.0, 112.0, 112.0], np.float32), 1.0, is_crop=True)


@dataclass(frozen=True)
class TeacherModel:
    """A trained recogniser.

    Attributes:
        name: as the user gave it.
        identity: tells it from every other: hashes of weights and of what it does to a picture.
        embedding_size: T.
        embed: crops, (112, 112, 3) uint8 RGB each, to (N, T) float32 unit vectors.
    """

    name: str
    identity: str
    embedding_size: int
    embed: Callable[[Sequence[np.ndarray]], np.ndarray]


class Teacher:
    """A teacher at work in a run."""

    def __init__(
        self, model: TeacherModel, dataset: FaceDataset, settings: DistillationConfig, *, workers: int = 1
    ) -> None:
        """Take the model and the pictures.

        Args:
            model: the trained recogniser.
            dataset: gives the pictures by their index.
            settings: weights of the losses, and the cache.
            workers: threads that read and decode.

        Raises:
            DataError: the cache cannot be read.
        """
        self.model = model
        self._dataset = dataset
        self._weights = LessonWeights(settings.embedding_weight, settings.relation_weight, settings.contrast_weight)
        self._workers = max(1, workers)
        self._cache: Optional[TeacherCache] = None
        if settings.teacher_cache is not None:
            self._cache = TeacherCache(
                settings.teacher_cache, teacher=model.identity, embedding_size=model.embedding_size
            )

    @property
    def cached(self) -> int:
        """Number of embeddings that are kept already."""
        return 0 if self._cache is None else len(self._cache)

    def targets(self, indices: np.ndarray) -> np.ndarray:
        """Return the teacher's embeddings of samples, (B, T) float32 unit vectors.

        Raises:
            DataError: a picture has become unreadable since the loader has read it, or what the teacher gives is unfit.
        """
        if self._cache is None:
            return self._embedded(indices)
        encoded = ordered_map(self._dataset.read_encoded, indices.tolist(), workers=self._workers)
        keys = np.stack([content_key(content) for content in encoded])
        found = [self._cache.find(key) for key in keys]
        missing = [place for place, vector in enumerate(found) if vector is None]
        if missing:
            vectors = self._embedded(indices[missing])
            self._cache.add(keys[missing], vectors)
            for place, vector in zip(missing, vectors):
                found[place] = vector
        return np.stack([vector for vector in found if vector is not None])

    def lesson(self, features: paddle.Tensor, targets: np.ndarray) -> Lesson:
        """Hold a pass of the student, (B, D), against the teacher's embeddings (B, T); all ranks together."""
        return lesson_of(features, devices.to_device(targets), weights=self._weights)

    def _embedded(self, indices: np.ndarray) -> np.ndarray:
        crops = list(ordered_map(self._dataset.read_image, indices.tolist(), workers=self._workers))
        vectors = self.model.embed(crops)
        if vectors.shape != (len(indices), self.model.embedding_size) or not np.isfinite(vectors).all():
            raise DataError(
                f"--teacher {self.model.name} gave an array of shape {vectors.shape} for {len(indices)} pictures; "
                f"needed: ({len(indices)}, {self.model.embedding_size}) with finite values"
            )
        return vectors


def open_teacher(source: str, *, mirrored: bool) -> TeacherModel:
    """Load a trained recogniser, in evaluation mode.

    Args:
        source: an exported model's folder, the name of a shipped model, fused ones included, an ``.onnx`` file, a
            run's folder or a ``.pdparams`` file.
        mirrored: whether an embedding is the mean over a picture and its mirror image.

    Raises:
        ConfigError: an unknown network.
        CheckpointError, ModelFileError: it cannot be loaded.
    """
    path = Path(source)
    is_folder_of_weights = path.is_dir() and not any((path / name).is_file() for name in (CARD_NAME, *GRAPH_FILES))
    if path.suffix == ".pdparams" or is_folder_of_weights:
        return _from_weights(source, path if path.suffix == ".pdparams" else weights_in(path, None), mirrored=mirrored)
    return _from_model(source, mirrored=mirrored)


def refuse_other_size(model: TeacherModel, embedding_size: int, settings: DistillationConfig) -> None:
    """Refuse to compare embeddings of different lengths. Raises ``ConfigError``."""
    if settings.needs_same_size and model.embedding_size != embedding_size:
        raise ConfigError(
            f"--teacher {model.name} gives embeddings of {model.embedding_size} values, the student of "
            f"{embedding_size}: take --embedding_size {model.embedding_size}, or teach relations only, which bear "
            "other lengths, with --embedding_weight 0 and --contrast_weight 0"
        )


def _from_model(source: str, *, mirrored: bool) -> TeacherModel:
    """Load an exported model, which gets its crops as recognition gives them to it."""
    device = device_of_rank("gpu" if devices.is_accelerator() else "cpu")
    threads = max(1, (os.cpu_count() or 1) // distributed.launched_local_size())
    # Figures must not depend on the processor, as those of bfloat16 would.
    options = RuntimeOptions(device=device, precision="fp32", threads=threads)
    recognizer = build_recognizer(source, max_batch_size=_BATCH_SIZE, mirrored=mirrored, options=options)

    def embed(crops: Sequence[np.ndarray]) -> np.ndarray:
        own = np.concatenate([recognizer.align(crop, [_WHOLE_PICTURE]) for crop in crops])
        return recognizer.embed(own).vectors

    identity = f"{recognizer.weights_sha256} {recognizer.preprocessing_sha256} mirrored={mirrored}"
    return TeacherModel(source, identity, recognizer.embedding_size, embed)


def _from_weights(source: str, path: Path, *, mirrored: bool) -> TeacherModel:
    """Load the weights of a training, which take pictures as training does."""
    try:
        name = canonical_name(path.stem)
    except ConfigError as error:
        raise ConfigError(f"--teacher {path}: the file's name must be that of its network: {error}") from None
    embed_batch = network_embedder(open_backbone(name, path)).embed

    def embed(crops: Sequence[np.ndarray]) -> np.ndarray:
        parts = []
        for start in range(0, len(crops), _BATCH_SIZE):
            batch = np.stack(crops[start : start + _BATCH_SIZE])
            features = embed_batch(batch)
            if mirrored:
                features = features + embed_batch(np.ascontiguousarray(batch[:, :, ::-1]))
            parts.append(features / np.linalg.norm(features, axis=1, keepdims=True))
        return np.concatenate(parts).astype(np.float32)

    size = embed([np.zeros((112, 112, 3), np.uint8)]).shape[1]
    return TeacherModel(source, f"{name} {sha256_of_file(path)} mirrored={mirrored}", size, embed)
