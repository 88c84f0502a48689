"""Galleries in exchangeable engines: one protocol, chosen by how the gallery is called.

>>> import numpy as np, tempfile
>>> from arcface_paddle.pipeline.gallery import GalleryEntry, ModelIdentity
>>> from arcface_paddle.pipeline.gallery.stores import create_gallery, open_gallery
>>> model = ModelIdentity("net", 4, "", "", mirrored=False)
>>> uri = tempfile.mkdtemp() + "/people.index"
>>> with create_gallery(uri, model) as store:
...     store.add([GalleryEntry("Ada", "ada.jpg")], np.eye(4, dtype=np.float32)[:1])
1
>>> with open_gallery(uri, model) as store:
...     [found] = store.search(np.eye(4, dtype=np.float32)[:1], 5)
>>> found[0].name, found[0].similarity
('Ada', 1.0)
"""

from __future__ import annotations

from arcface_paddle.pipeline.gallery.stores.base import FaceBlock, GalleryContract, GalleryStore
from arcface_paddle.pipeline.gallery.stores.converting import Conversion, convert_gallery
from arcface_paddle.pipeline.gallery.stores.opening import (
    create_gallery,
    gallery_of,
    is_engine_uri,
    load_gallery,
    open_gallery,
    open_searched,
    shown_uri,
)

__all__ = [
    "Conversion",
    "FaceBlock",
    "GalleryContract",
    "GalleryStore",
    "convert_gallery",
    "create_gallery",
    "gallery_of",
    "is_engine_uri",
    "load_gallery",
    "open_gallery",
    "open_searched",
    "shown_uri",
]
