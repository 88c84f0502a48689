"""The gallery of known people: build it from pictures, keep it in a file, ask it who a face is."""

from __future__ import annotations

from arcface_paddle.pipeline.gallery.building import CollectedFaces, collect_faces
from arcface_paddle.pipeline.gallery.checking import Suspicion, find_suspicions
from arcface_paddle.pipeline.gallery.collection import DEFAULT_DECISION, Gallery
from arcface_paddle.pipeline.gallery.entries import GalleryEntry, ModelIdentity, identity_of
from arcface_paddle.pipeline.gallery.matching import DECISIONS, Identification
from arcface_paddle.pipeline.gallery.pictures import (
    LabelledPicture,
    Rejection,
    list_from_label_file,
    list_from_tree,
)

__all__ = [
    "DECISIONS",
    "DEFAULT_DECISION",
    "CollectedFaces",
    "Gallery",
    "GalleryEntry",
    "Identification",
    "LabelledPicture",
    "ModelIdentity",
    "Rejection",
    "Suspicion",
    "collect_faces",
    "find_suspicions",
    "identity_of",
    "list_from_label_file",
    "list_from_tree",
]
