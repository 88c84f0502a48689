"""Several recognisers as one: each looks at its own crop of a face, and their similarities are averaged.

A card under ``fusion`` names members and weights, and has no network of its own. Let c be the cosine that a member
sees between two faces, s = (c - offset) / scale its similarity, and w its weight. The fused similarity is::

    sum(w * s) / sum(w)  =  (C - offset_f) / scale_f        with C = sum(share * c),
    share = (w / scale) / sum(w / scale),  offset_f = sum(share * offset),  scale_f = sum(w) / sum(w / scale)

C is the cosine of the members' embeddings side by side, each multiplied by the root of its share. A fused recogniser
is therefore like any other: one embedding of unit length per face, compared by its cosine.
"""

from __future__ import annotations

from typing import Sequence, Union

import numpy as np

from arcface_paddle.errors import ImageError, ModelFileError
from arcface_paddle.pipeline.alignment import align_face, recognizer_spec
from arcface_paddle.pipeline.cards import ModelCard, SimilaritySpec
from arcface_paddle.pipeline.model_files import FusionFolder
from arcface_paddle.pipeline.recognition import Embeddings, Recognizer
from arcface_paddle.pipeline.runtime import Execution
from arcface_paddle.types import Detection

_LARGEST_DEVIATION = 1e-6  # of what a card says from what follows from its members: rounding in JSON


def shares_of(similarities: Sequence[SimilaritySpec], weights: Sequence[float]) -> np.ndarray:
    """Return the members' shares (M,) float64 of the fused cosine; their sum is 1."""
    raw = np.array([weight / spec.scale for spec, weight in zip(similarities, weights)], np.float64)
    return raw / raw.sum()


def fused_similarity(similarities: Sequence[SimilaritySpec], weights: Sequence[float]) -> SimilaritySpec:
    """Return what the fused cosine is worth: the weighted mean of the members' similarities, exactly.

    Example:
        >>> fused_similarity([SimilaritySpec(), SimilaritySpec(0.857, 0.12)], [1, 0.5])
        SimilaritySpec(offset=0.6911290322580646, scale=0.29032258064516125)
    """
    per_scale = sum(weight / spec.scale for spec, weight in zip(similarities, weights))
    offsets = np.array([spec.offset for spec in similarities])
    return SimilaritySpec(float(shares_of(similarities, weights) @ offsets), sum(weights) / per_scale)


class FusedRecognizer:
    """A recogniser made of others; ``recognition.FaceRecognizer`` is its contract.

    Crops of a face are one element of a structured array with a field per member, so that the crops of several
    pictures are joined and parted like those of a single network.

    Args:
        folder: the card, and the folders of its members.
        members: the loaded members in the order of the card, alike in ``mirrored``.

    Raises:
        ModelFileError: the card does not fit its members.
    """

    def __init__(self, folder: FusionFolder, members: Sequence[Recognizer]) -> None:
        fusion = folder.fusion
        self.card: ModelCard = folder.card
        self.weights_sha256 = folder.weights_sha256()
        self.preprocessing_sha256 = folder.preprocessing_sha256()
        self.mirrored = members[0].mirrored
        self._members = tuple(members)
        similarities = [recognizer_spec(member.card).similarity for member in members]
        self._roots = np.sqrt(shares_of(similarities, fusion.weights)).astype(np.float32)
        self._crop_type = np.dtype([
            (f"crop {number}", np.uint8, (*member.card.input.size_wh[::-1], 3)) for number, member in enumerate(members)
        ])  # fmt: skip
        self._check_card(folder, fused_similarity(similarities, fusion.weights))

    def __repr__(self) -> str:
        return f"FusedRecognizer({self.card.name!r}, {', '.join(repr(member) for member in self._members)})"

    @property
    def execution(self) -> Execution:
        """Engine, precision and threads of the first member."""
        return self._members[0].execution

    @property
    def embedding_size(self) -> int:
        return sum(member.embedding_size for member in self._members)

    def align(self, image: np.ndarray, detections: Sequence[Detection]) -> np.ndarray:
        """Return the crops (N,) of faces of one picture, a field of uint8 RGB for each member."""
        crops = np.empty(len(detections), self._crop_type)
        for row, detection in enumerate(detections):
            for field, member in zip(self._fields, self._members):
                crops[field][row] = align_face(image, detection, member.card)
        return crops

    def pictures_of(self, crops: np.ndarray) -> np.ndarray:
        """Return the first member's crops (N, height, width, 3) uint8 RGB."""
        pictures: np.ndarray = crops[self._fields[0]]
        return pictures

    def embed(self, crops: Union[np.ndarray, Sequence[np.ndarray]]) -> Embeddings:
        """Embed crops as ``align`` gives them.

        Returns:
            Embeddings (N, D), the members' side by side; the norms are those of the first member.

        Raises:
            ImageError: other crops.
            ModelFileError: as ``Recognizer.embed``.
        """
        if not isinstance(crops, np.ndarray) or crops.dtype != self._crop_type:
            raise ImageError(f"{self.card.name} takes several crops a face, as its align() cuts them from photographs")
        parts = [member.embed(crops[field]) for field, member in zip(self._fields, self._members)]
        vectors = np.concatenate([root * part.vectors for root, part in zip(self._roots, parts)], axis=1)
        return Embeddings(vectors, parts[0].norms)

    @property
    def _fields(self) -> tuple[str, ...]:
        names = self._crop_type.names
        assert names is not None
        return names

    def _check_card(self, folder: FusionFolder, similarity: SimilaritySpec) -> None:
        spec, first = recognizer_spec(folder.card), self._members[0].card
        said = np.array([spec.similarity.offset, spec.similarity.scale])
        follows = np.array([similarity.offset, similarity.scale])
        if np.abs(said - follows).max() > _LARGEST_DEVIATION:
            raise ModelFileError(
                f"{folder.path}: its similarity (offset {said[0]:.6g}, scale {said[1]:.6g}) does not follow from its "
                f"members and weights (offset {follows[0]:.6g}, scale {follows[1]:.6g}); the card is damaged or made "
                "for other members"
            )
        if spec.embedding_size != self.embedding_size:
            raise ModelFileError(
                f"{folder.path}: its card says {spec.embedding_size} values, its members give {self.embedding_size}"
            )
        if (folder.card.input, spec.template) != (first.input, recognizer_spec(first).template):
            raise ModelFileError(
                f"{folder.path}: its input and template are not those of its first member {first.name}"
            )
