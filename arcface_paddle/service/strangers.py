"""Faces that nobody of the gallery has, kept in memory so that somebody can name them."""

from __future__ import annotations

import base64
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Optional, Sequence

import cv2
import numpy as np

from arcface_paddle import images
from arcface_paddle.pipeline.gallery import GalleryEntry
from arcface_paddle.pipeline.recognition import require_embedding
from arcface_paddle.service.errors import NotFoundError
from arcface_paddle.service.gallery_store import Answer, NewFace
from arcface_paddle.service.people_records import utc_now
from arcface_paddle.types import Face

_FACES_KEPT = 5  # of a group, the best
_PICTURE_SIDE = 112
_LEAST_QUALITY = 0.3  # a worse face joins whatever is near


@dataclass(eq=False)
class Group:
    """Faces of one stranger.

    Attributes:
        id: 8 hexadecimal digits.
        faces: the best, best first, with a small picture of each.
        seen: how often they were seen.
        first_seen, last_seen: UTC.
        mean: (D,) float32, L2-normalised.
    """

    id: str
    faces: list[tuple[NewFace, bytes]] = field(default_factory=list)
    seen: int = 0
    first_seen: str = ""
    last_seen: str = ""
    mean: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def picture(self) -> str:
        """The best picture as a data URI."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.faces[0][1]).decode()}"


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
                self._keep(face, _small_picture(image, face))

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

    def _keep(self, face: Face, picture: bytes) -> None:
        embedding, now = require_embedding(face), utc_now()
        with self._guard:
            group = self._nearest(embedding)
            if group is None:
                group = Group(secrets.token_hex(4), first_seen=now)
                self._groups[group.id] = group
            group.seen, group.last_seen = group.seen + 1, now
            entry = GalleryEntry("to be named", f"unknown-{group.id}-{group.seen}", created=now)
            group.faces.append((NewFace(entry, embedding, face.quality), picture))
            group.faces.sort(key=lambda kept: -(kept[0].quality or 0))
            del group.faces[_FACES_KEPT:]
            mean = np.mean([kept.embedding for kept, _ in group.faces], axis=0)
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


def _small_picture(image: np.ndarray, face: Face) -> bytes:
    """Return the surroundings of a face as a JPEG of 112 x 112."""
    left, top, right, bottom = (float(edge) for edge in face.detection.box_xyxy)
    side = max(right - left, bottom - top) * 1.3
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    scale = _PICTURE_SIDE / max(side, 1.0)
    shift = (_PICTURE_SIDE / 2 - scale * middle_x, _PICTURE_SIDE / 2 - scale * middle_y)
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float64)
    crop = cv2.warpAffine(image, matrix, (_PICTURE_SIDE, _PICTURE_SIDE), flags=cv2.INTER_AREA)
    return images.encode_image(crop, suffix=".jpg", quality=85)
