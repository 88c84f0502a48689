"""Results that cross the border between the rooms of the package: frozen, documented, and able to show themselves.

``repr`` of each fits on a line or two; ``to_dict()`` gives what ``json.dumps`` takes, in the form of ``--json``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

import numpy as np

UNKNOWN = "unknown"
"""The name given to a face whose best similarity stays below the threshold."""


@dataclass(frozen=True, eq=False)
class Detection:
    """One face found in a picture, in pixels of the upright picture (x to the right, y down).

    Attributes:
        box_xyxy: (4,) float32, left, top, right, bottom; may reach outside of the picture.
        score: confidence of the detector, 0 to 1.
        landmarks: (5, 2) float32 x, y of image-left eye, image-right eye, nose tip, image-left and image-right
            mouth corner; None when the detector gives boxes only.
        is_crop: the picture itself is the face crop, aligned or taken for it: it is scaled to the recogniser's input
            and not warped.
        landmark_doubt: how far two independent looks disagree about the landmarks: mean distance over the distance
            of the eyes. Below .1 they agree; from .3 on the points may have slipped. None when only one look was
            taken.
    """

    box_xyxy: np.ndarray
    score: float
    landmarks: Optional[np.ndarray] = None
    is_crop: bool = False
    landmark_doubt: Optional[float] = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; pixels and score are rounded to what they are worth."""
        landmarks = self.landmarks
        return {
            "box": [round(float(value), 2) for value in self.box_xyxy],
            "detection_score": _rounded(self.score),
            "landmarks": None if landmarks is None else [[round(float(v), 2) for v in point] for point in landmarks],
            "landmark_doubt": _rounded(self.landmark_doubt),
        }

    def __repr__(self) -> str:
        landmarks = "" if self.landmarks is None else f", {len(self.landmarks)} landmarks"
        crop = ", is_crop" if self.is_crop else ""
        return f"Detection(box_xyxy={_pixels(self.box_xyxy)}, score={self.score:.3f}{landmarks}{crop})"


@dataclass(frozen=True)
class Candidate:
    """A person of the gallery and the similarity (-1 to 1) to the probe: what the card makes of the cosine."""

    name: str
    similarity: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; the similarity is rounded to what it is worth."""
        return {"name": self.name, "similarity": _rounded(self.similarity)}

    def __repr__(self) -> str:
        return f"Candidate({_start(self.name)!r}, {self.similarity:.3f})"


@dataclass(frozen=True, eq=False)
class Face:
    """One face of a picture with everything that was found out about it.

    Attributes:
        detection: where it is; for input that is itself a face crop, the whole picture with score 1.
        embedding: (D,) float32, L2-normalised; None when no recogniser ran.
        feature_norm: L2 norm of the feature before normalisation (a rough measure of quality), or None.
        name: the person decided on, ``UNKNOWN`` below the threshold; None when no gallery was asked.
        similarity: that to the best person of the gallery, also when the name is unknown; None without
            a gallery.
        candidates: the best persons of the gallery, most similar first.
        quality: how good the picture is for recognition, 0 to 1, see ``pipeline.quality``; None when no recogniser
            ran.
        weakness: what lowers the quality most, such as ``small`` or ``blurred``; empty for a good picture.
        reason: why a face that a gallery was asked about has no name although somebody is similar enough; empty
            otherwise.
        track: number of the track that it belongs to in a video, see ``video.tracking``; None elsewhere.
    """

    detection: Detection
    embedding: Optional[np.ndarray] = None
    feature_norm: Optional[float] = None
    name: Optional[str] = None
    similarity: Optional[float] = None
    candidates: tuple[Candidate, ...] = field(default=())
    quality: Optional[float] = None
    weakness: str = ""
    reason: str = ""
    track: Optional[int] = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; the embedding is left out (``face.embedding.tolist()`` gives it)."""
        return {
            **self.detection.to_dict(),
            "name": self.name,
            "similarity": _rounded(self.similarity),
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "feature_norm": _rounded(self.feature_norm),
            "quality": _rounded(self.quality),
            "weakness": self.weakness,
            "reason": self.reason,
            **({} if self.track is None else {"track": self.track}),
        }

    def __repr__(self) -> str:
        parts = [] if self.name is None else [repr(_start(self.name))]
        if self.similarity is not None:
            parts.append(f"similarity={self.similarity:.3f}")
        parts.append(f"box_xyxy={_pixels(self.detection.box_xyxy)}, score={self.detection.score:.3f}")
        if self.embedding is not None:
            parts.append(f"{self.embedding.size}-D embedding")
        return f"Face({', '.join(parts)})"


@dataclass(frozen=True, eq=False)
class ImageResult:
    """All faces of one picture, largest first.

    Attributes:
        source: path of the picture, or a word such as ``array``; for video, path and frame index.
        size_wh: width and height in pixels after EXIF orientation.
        faces: the faces; empty when there is none.
    """

    source: str
    size_wh: tuple[int, int]
    faces: tuple[Face, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, as ``--json`` writes them for a picture.

        Example:
            >>> import json
            >>> json.dumps(ImageResult("wall.jpg", (640, 480), ()).to_dict())
            '{"source": "wall.jpg", "width": 640, "height": 480, "faces": []}'
        """
        return {
            "source": self.source,
            "width": int(self.size_wh[0]),
            "height": int(self.size_wh[1]),
            "faces": [face.to_dict() for face in self.faces],
        }

    def __repr__(self) -> str:
        count = len(self.faces)
        named = [_start(face.name, most=24) for face in self.faces[:_NAMES_SHOWN] if face.name is not None]
        more = ", …" if named and count > _NAMES_SHOWN else ""
        names = f": {', '.join(named)}{more}" if named else ""
        size = f"{self.size_wh[0]}x{self.size_wh[1]}"
        faces = "1 face" if count == 1 else f"{count} faces"
        return f"{type(self).__name__}({_end(self.source)!r}, {size}, {faces}{names})"


_NAMES_SHOWN = 4  # by the repr of a picture, which is to fit on two lines of a terminal


def _rounded(value: Optional[float]) -> Optional[float]:
    return None if value is None else round(float(value), 4)


def _pixels(box_xyxy: np.ndarray) -> str:
    return f"({', '.join(f'{float(value):.0f}' for value in box_xyxy)})"


def _start(text: str, *, most: int = 40) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _end(text: str, *, most: int = 60) -> str:
    """Cut a long path in front: its end tells pictures apart."""
    return text if len(text) <= most else f"…{text[1 - most :]}"
