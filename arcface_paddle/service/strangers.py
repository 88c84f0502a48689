"""Faces that nobody of the gallery has, kept in memory so that somebody can name them."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Optional, Sequence

import numpy as np

from arcface_paddle.pipeline.gallery import GalleryEntry
from arcface_paddle.pipeline.recognition import require_embedding
from arcface_paddle.service.crops import crop_of, data_uri
from arcface_paddle.service.errors import NotFoundError
from arcface_paddle.service.gallery_store import Answer, NewFace
from arcface_paddle.service.people_records import utc_now
from arcface_paddle.types import Face

_FACES_KEPT = 5  # of a group, the best
_LEAST_QUALITY = 0.3  # a worse face joins whatever is near


@dataclass(eq=False)
class Group:
    """Faces of one stranger.

    Attributes:
        id: 8 hexadecimal digits.
        faces: the best, best first, each with a crop.
        seen: how often they were seen.
        first_seen, last_seen: UTC.
        mean: (D,) float32, L2-normalised.
    """

    id: str
    faces: list[NewFace] = field(default_factory=list)
    seen: int = 0
    first_seen: str = ""
    last_seen: str = ""
    mean: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def picture(self) -> str:
        """The best picture as a data URI."""
        return data_uri(self.faces[0].crop) or ""


class Strangers:
    """Groups of unknown faces since the start.

    Args:
        most_groups: the one that was not seen for longest gives way; 0 keeps nothing.
        similar_from: cosine to a group's mean from which on a face joins it.
    """

    def __init__(self, *, most_groups: int, similar_from: float) -> None:
        self.enabled = most_groups > 0
        self._most_groups = most_groups
        self._similar_from = similar_from
        self._guard = threading.Lock()
        self._groups: OrderedDict[str, Group] = OrderedDict()

    def notice(self, image: np.ndarray, faces: Sequence[Face], found: Sequence[Answer]) -> None:
        """Keep the faces of a picture (H, W, 3) uint8 RGB that have no name."""
        if not self.enabled:
            return
        for face, answer in zip(faces, found):
            if answer.best is None and (face.quality or 0) >= _LEAST_QUALITY:
                self._keep(face, crop_of(image, face.detection.box_xyxy))

    def list(self) -> list[Group]:
        """Return the groups, the one seen last first."""
        with self._guard:
            return list(reversed(self._groups.values()))

    def group(self, group_id: str) -> Group:
        """Return a group. Raises ``NotFoundError``."""
        with self._guard:
            if group_id not in self._groups:
                raise NotFoundError(f"there is no group {group_id[:40]!r}")
            return self._groups[group_id]

    def forget(self, group_id: str) -> None:
        """Let go of a group, if it is there."""
        with self._guard:
            self._groups.pop(group_id, None)

    def _keep(self, face: Face, crop: bytes) -> None:
        embedding, now = require_embedding(face), utc_now()
        with self._guard:
            group = self._nearest(embedding)
            if group is None:
                group = Group(secrets.token_hex(4), first_seen=now)
                self._groups[group.id] = group
            group.seen, group.last_seen = group.seen + 1, now
            entry = GalleryEntry("to be named", f"unknown-{group.id}-{group.seen}", created=now)
            group.faces.append(NewFace(entry, embedding, face.quality, crop))
            group.faces.sort(key=lambda kept: -(kept.quality or 0))
            del group.faces[_FACES_KEPT:]
            mean = np.mean([kept.embedding for kept in group.faces], axis=0)
            group.mean = (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
            self._groups.move_to_end(group.id)
            if len(self._groups) > self._most_groups:
                self._groups.popitem(last=False)

    def _nearest(self, embedding: np.ndarray) -> Optional[Group]:
        if not self._groups:
            return None
        groups = list(self._groups.values())
        cosines = np.stack([group.mean for group in groups]) @ embedding
        best = int(np.argmax(cosines))
        return groups[best] if cosines[best] >= self._similar_from else None
