"""A server process with a gallery of a size, for the benchmark of the service."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Sequence
from urllib.parse import urlsplit

import numpy as np

from arcface_paddle.pipeline.gallery import GalleryEntry
from arcface_paddle.pipeline.gallery.stores import convert_gallery, open_gallery
from arcface_paddle.pipeline.settings import PipelineSettings, RuntimeOptions
from arcface_paddle.service.demo_gallery import build_demo_gallery
from arcface_paddle.service.inference import open_models
from arcface_paddle.service.keys import KEYS, KeyFile


@dataclass(frozen=True, eq=False)
class ServerProcess:
    """A server that runs.

    Attributes:
        process: of the server.
        host, port: where it listens.
        key: of the role write.
    """

    process: subprocess.Popen[str]
    host: str
    port: int
    key: str


@contextlib.contextmanager
def started_server(folder: Path, uri: str, *, flags: Sequence[str] = ()) -> Iterator[ServerProcess]:
    """Serve a gallery, with what stands beside it in a folder; ended with the block."""
    state = folder / "state"
    state.mkdir(exist_ok=True)
    key = KeyFile(state / KEYS).add("benchmark", role="write")
    command = [sys.executable, "-m", "arcface_paddle", "serve", "--gallery", uri, "--state", str(state), "--port", "0"]
    with (
        (folder / "server.log").open("wb") as log,
        subprocess.Popen([*command, "--rate", "0", *flags], stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"http://\S+", line)
            if found is None:
                raise RuntimeError(f"the server did not start: {(folder / 'server.log').read_text()[-2000:]}")
            parts = urlsplit(found.group())
            assert parts.hostname is not None and parts.port is not None
            yield ServerProcess(process, parts.hostname, parts.port, key)
        finally:
            process.terminate()
            process.wait(60)


def make_gallery(folder: Path, *, engine: str, faces: int) -> str:
    """Make a gallery of the demonstration's people and of others whom nobody resembles; returns what opens it."""
    path = folder / "people.index"
    build_demo_gallery(path, open_models(PipelineSettings(runtime=RuntimeOptions(threads=1)), workers=1))
    with open_gallery(path) as store:
        rows = np.random.default_rng(0).normal(size=(faces, store.embedding_size)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        store.add([GalleryEntry(f"Person {n // 3:07d}", f"{n}.jpg") for n in range(faces)], rows)
    if engine == "file":
        return str(path)
    uri = f"{engine}:{folder / 'engine'}"
    convert_gallery(path, uri)
    return uri
