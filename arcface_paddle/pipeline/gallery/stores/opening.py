"""Which engine keeps a gallery, by how it is called.

============================================ =========================================================================
``people.index``                             a file of ours, searched exactly in memory; needs nothing
``faiss:FOLDER``                             FAISS, for millions of faces on one machine; ``?form=int8`` for exact
                                             search in a quarter of the memory, ``?form=hnsw`` for a graph in the
                                             place of cells. Extra ``faiss``
``milvus://HOST:19530/COLLECTION``           a Milvus server or cluster; ``?token=...`` or ``user:password@``. Extra
                                             ``milvus``
``postgresql://USER:PASSWORD@HOST/DATABASE`` PostgreSQL with pgvector; ``?gallery=NAME`` for several in one database.
                                             Extra ``postgres``
============================================ =========================================================================
"""

from __future__ import annotations

import importlib
from typing import Any, Optional, Union
from urllib.parse import parse_qsl, urlencode, urlsplit

import numpy as np

from arcface_paddle import files
from arcface_paddle.pipeline.gallery.collection import Gallery
from arcface_paddle.pipeline.gallery.entries import ModelIdentity, checked_identity, checked_path
from arcface_paddle.pipeline.gallery.stores.base import GalleryContract, GalleryStore

_STORES = "arcface_paddle.pipeline.gallery.stores"
_ENGINES: dict[str, tuple[str, str]] = {
    "faiss:": (f"{_STORES}.faiss_store", "FaissStore"),
    "milvus://": (f"{_STORES}.milvus_store", "MilvusStore"),
    "postgresql://": (f"{_STORES}.postgres_store", "PostgresStore"),
    "postgres://": (f"{_STORES}.postgres_store", "PostgresStore"),
}
"""Prefix, and the class that keeps galleries called so; imported when one is, for it needs an extra."""


def is_engine_uri(uri: files.PathLike) -> bool:
    """Tell whether a gallery is in an engine of its own; else it is a file. ``./faiss:x`` is a file of that name."""
    return checked_path(uri).startswith(tuple(_ENGINES))


def open_gallery(uri: files.PathLike, identity: Optional[ModelIdentity] = None) -> GalleryStore:
    """Open a gallery to search and to change it, whatever keeps it.

    Args:
        uri: see the table above.
        identity: the model whose embeddings it will be asked with; None to ask later, with ``require_model``.

    Raises:
        GalleryError: no such gallery, damaged, not reachable, or made with another model than ``identity``.
        MissingDependencyError: the engine's package is not installed.
    """
    store: GalleryStore = _engine(uri).open(uri)
    if identity is not None:
        try:
            store.require_model(identity)
        except BaseException:
            store.close()
            raise
    return store


def create_gallery(uri: files.PathLike, identity: Union[ModelIdentity, GalleryContract]) -> GalleryStore:
    """Make a gallery of nobody and open it.

    Args:
        uri: see the table above; nothing may be there yet.
        identity: the model that will embed its faces, or more: how it decides, what is recorded of its making.

    Raises:
        GalleryError: there is one already, or it cannot be made.
        MissingDependencyError: the engine's package is not installed.
    """
    contract = identity if isinstance(identity, GalleryContract) else GalleryContract.of(checked_identity(identity))
    store: GalleryStore = _engine(uri).create(uri, contract)
    return store


def open_searched(uri: files.PathLike) -> Union[Gallery, GalleryStore]:
    """Open a gallery to search: a file is read as it is now, a published index.bin included; else its engine is asked.

    Raises:
        GalleryError: no such gallery, damaged, or not reachable.
        MissingDependencyError: the engine's package is not installed.
    """
    return open_gallery(uri) if is_engine_uri(uri) else Gallery.load(uri)


def shown_uri(uri: files.PathLike) -> str:
    """Return how a gallery is called, to be shown: without passwords and tokens."""
    text = files.printable(uri)
    if not is_engine_uri(uri) or "://" not in text:
        return text
    parts = urlsplit(text)
    user, at, host = parts.netloc.rpartition("@")
    options = [(key, value) for key, value in parse_qsl(parts.query) if key not in ("password", "token")]
    query = f"?{urlencode(options)}" if options else ""
    return f"{parts.scheme}://{user.partition(':')[0]}{at}{host}{parts.path}{query}"


def load_gallery(uri: files.PathLike) -> Gallery:
    """Read a whole gallery into memory, whatever keeps it, a published index.bin included.

    Raises:
        GalleryError: no such gallery, damaged, or not reachable.
        MissingDependencyError: the engine's package is not installed.
    """
    if not is_engine_uri(uri):
        return Gallery.load(uri)
    with open_gallery(uri) as store:
        return gallery_of(store)


def gallery_of(store: GalleryStore) -> Gallery:
    """Return all that a store holds as one gallery in memory."""
    blocks = list(store.blocks())
    rows = np.concatenate([np.zeros((0, store.embedding_size), np.float32), *(block.embeddings for block in blocks)])
    entries = [entry for block in blocks for entry in block.entries]
    contract = store.contract
    return Gallery(entries, rows, model=contract.model, decision=contract.decision, parameters=contract.parameters)


def _engine(uri: files.PathLike) -> Any:
    text = checked_path(uri)
    for prefix, (module, name) in _ENGINES.items():
        if text.startswith(prefix):
            return getattr(importlib.import_module(module), name)
    return importlib.import_module(f"{_STORES}.file_store").FileStore
