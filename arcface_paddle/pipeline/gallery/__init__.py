"""The gallery of known people: build it from pictures, keep it in a file, ask it who a face is.

From the root of the repository:

    >>> from arcface_paddle import Analyzer, Gallery, build_detector, build_recognizer, load_image
    >>> from arcface_paddle.pipeline.gallery import collect_faces, identity_of, list_from_tree
    >>> detector, recognizer = build_detector(), build_recognizer()
    >>> pictures, bad_lines = list_from_tree("demo/gallery")
    >>> found = collect_faces(pictures, Analyzer(detector, recognizer), embedding_size=recognizer.embedding_size)
    >>> gallery = Gallery.empty(identity_of(recognizer)).with_faces(found.entries, found.embeddings)
    >>> gallery.names, found.rejections
    (('Barack Obama', 'Grace Hopper', 'Joe Biden'), ())
    >>> gallery.save("people.index")

    >>> analyzer = Analyzer(detector, recognizer, gallery=Gallery.load("people.index"))
    >>> result = analyzer.analyze(load_image("demo/queries/group.jpg"))
    >>> sorted(face.name for face in result.faces)
    ['Barack Obama', 'Grace Hopper', 'Joe Biden', 'unknown']
"""

from __future__ import annotations

from arcface_paddle.pipeline.gallery.checking import Suspicion, find_suspicions
from arcface_paddle.pipeline.gallery.collecting import CollectedFaces, collect_faces
from arcface_paddle.pipeline.gallery.collection import Gallery
from arcface_paddle.pipeline.gallery.editing import (
    GalleryChange,
    GalleryEdit,
    combine_galleries,
    edit_gallery,
    load_own,
    remove_person,
    remove_picture,
    rename_person,
)
from arcface_paddle.pipeline.gallery.entries import GalleryEntry, ModelIdentity, identity_of
from arcface_paddle.pipeline.gallery.index import ExactIndex, GalleryIndex, MakeIndex
from arcface_paddle.pipeline.gallery.matching import Identification
from arcface_paddle.pipeline.gallery.pictures import (
    LabelledPicture,
    Rejection,
    list_from_label_file,
    list_from_tree,
)
from arcface_paddle.pipeline.settings import DECISIONS, DEFAULT_DECISION

__all__ = [
    "DECISIONS",
    "DEFAULT_DECISION",
    "CollectedFaces",
    "ExactIndex",
    "Gallery",
    "GalleryChange",
    "GalleryEdit",
    "GalleryEntry",
    "GalleryIndex",
    "Identification",
    "LabelledPicture",
    "MakeIndex",
    "ModelIdentity",
    "Rejection",
    "Suspicion",
    "collect_faces",
    "combine_galleries",
    "edit_gallery",
    "find_suspicions",
    "identity_of",
    "list_from_label_file",
    "list_from_tree",
    "load_own",
    "remove_person",
    "remove_picture",
    "rename_person",
]
