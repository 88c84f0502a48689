"""Search in galleries of every engine, against the predecessor's way: cosine with all rows and argpartition.

People have four pictures each; a probe resembles one of them at a cosine of .7, as another picture of a person does.
Every engine gets the same faces and the same probes in one run. ``recall@1`` is how often it names the person that the
exact search names. ``open s`` is how long opening takes, with what a first search makes ready. Servers are started here
(see ``gallery_servers``) unless a URI is given; then their memory is that of their processes.

    python tools/benchmark.py search --faces 100000 --engines file,faiss,faiss-int8,milvus,milvus-hnsw,postgres
    python tools/benchmark.py search --faces 1000000 --engines file,faiss,faiss-int8
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, Sequence

import numpy as np

from arcface_paddle.pipeline.gallery import GalleryEntry, ModelIdentity
from arcface_paddle.pipeline.gallery.collection import FileHeader, write_file
from arcface_paddle.pipeline.gallery.stores import GalleryStore, create_gallery, open_gallery
from benchmarks import gallery_servers, kills

NAME = "search"
PICTURES = 4  # of a person
LIKENESS = 0.7
TOP = 5
BLOCK = 50_000  # faces that are made and added at a time
ENGINES = ("file", "encrypted", "faiss", "faiss-int8", "faiss-hnsw", "milvus", "milvus-hnsw", "postgres")
PREDECESSOR = "predecessor: cosine and argpartition"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--faces", type=int, default=100_000, help="faces in the gallery (%(default)s)")
    parser.add_argument("--dimension", type=int, default=320, help="size of the embedding (%(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="probes of a batch (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each is asked (%(default)s)")
    parser.add_argument("--engines", default="file,faiss,faiss-int8", help=f"of {', '.join(ENGINES)} (%(default)s)")
    parser.add_argument("--milvus", metavar="URI", help="an empty place on a Milvus server, for the engine milvus")
    parser.add_argument("--postgres", metavar="URI", help="an empty place in a database, for the engine postgres")


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure and return a row for each engine."""
    rows, probes = make_faces(args.faces, args.dimension, probes=max(512, args.batch))
    owners = np.arange(args.faces) // PICTURES
    exact = owners[_nearest_rows(rows, probes)]
    names = [f"person {number:08d}" for number in exact]
    measured = [_predecessor(rows, owners, probes, names, seconds=args.seconds)]
    for engine in args.engines.split(","):
        with tempfile.TemporaryDirectory() as folder, _place(engine, Path(folder), args) as (uri, server_mb):
            measured.append(_measured(engine, uri, rows, probes, names, args=args, server_mb=server_mb))
    baseline = measured[0]["q/s batched"]
    return [{**row, "times": row["q/s batched"] / baseline} for row in measured]


def make_faces(count: int, size: int, *, probes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (count, size) and (probes, size) float32 rows of unit length."""
    rng = np.random.default_rng(0)
    rows = np.empty((count, size), np.float32)
    for first in range(0, count, BLOCK):
        block = rows[first : first + BLOCK]
        people = _unit(rng.standard_normal((len(block) // PICTURES + 1, size), dtype=np.float32))
        block[:] = _alike(np.repeat(people, PICTURES, axis=0)[: len(block)], np.sqrt(LIKENESS), rng)
    chosen = rng.choice(count, probes, replace=count < probes)
    return rows, _alike(rows[chosen], LIKENESS, rng)


def _measured(
    engine: str,
    uri: str,
    rows: np.ndarray,
    probes: np.ndarray,
    names: Sequence[str],
    *,
    args: argparse.Namespace,
    server_mb: Optional[Callable[[], float]],
) -> dict[str, Any]:
    begin = time.perf_counter()
    _fill(uri, rows)
    made = time.perf_counter() - begin
    before, begin = _resident_mb(), time.perf_counter()
    with open_gallery(uri) as store:
        store.search(probes[:1], TOP)  # which loads or makes the index
        opened = time.perf_counter() - begin
        single, batched, found = _asked(lambda some: [c[0].name for c in store.search(some, TOP)], probes, args=args)
        return {
            **_row(engine, single, batched, batch=args.batch),
            "memory MB": _resident_mb() - before if server_mb is None else server_mb(),
            "recall@1": float(np.mean([name == other for name, other in zip(found, names)])),
            "add 1, ms": 1e3 * float(np.median(list(_added(store, args.dimension)))),
            "filled in s": made,
            "open s": opened,
        }


def _predecessor(
    rows: np.ndarray, owners: np.ndarray, probes: np.ndarray, names: Sequence[str], *, seconds: float
) -> dict[str, Any]:
    """Measure what the published tool does with every face: normalise both sides, multiply, argpartition."""
    times, found = [], []
    deadline = time.perf_counter() + seconds
    while not times or (time.perf_counter() < deadline and len(times) < len(probes)):
        begin = time.perf_counter()
        probe = probes[len(times)][None]
        # sklearn.metrics.pairwise.cosine_similarity: both sides are normalised at every call
        norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        scores = np.abs((probe / np.linalg.norm(probe)) @ (rows / norms[:, None]).T)[0]
        best = np.argpartition(scores, -TOP)[-TOP:]
        found.append(owners[best[np.argmax(scores[best])]])
        times.append(time.perf_counter() - begin)
    right = [f"person {number:08d}" == name for number, name in zip(found, names)]
    row = _row(PREDECESSOR, times, times, batch=1)
    return {**row, "memory MB": 2 * rows.nbytes / 1e6, "recall@1": float(np.mean(right))}


def _asked(
    search: Callable[[np.ndarray], list[str]], probes: np.ndarray, *, args: argparse.Namespace
) -> tuple[list[float], list[float], list[str]]:
    """Return the seconds of single questions and of batches, and what was found for all probes."""
    single = list(_timed(search, [probe[None] for probe in probes], seconds=args.seconds))
    blocks = [probes[first : first + args.batch] for first in range(0, len(probes) - args.batch + 1, args.batch)]
    batched = list(_timed(search, blocks, seconds=args.seconds))
    return single, batched, search(probes)


def _timed(
    search: Callable[[np.ndarray], list[str]], questions: Sequence[np.ndarray], *, seconds: float
) -> Iterator[float]:
    deadline, number = time.perf_counter() + seconds, 0
    while number == 0 or time.perf_counter() < deadline:
        begin = time.perf_counter()
        search(questions[number % len(questions)])
        yield time.perf_counter() - begin
        number += 1


def _row(name: str, single: Sequence[float], batched: Sequence[float], *, batch: int) -> dict[str, Any]:
    return {
        "engine": name,
        "q/s single": 1 / float(np.mean(single)),
        "p50 ms": 1e3 * float(np.percentile(single, 50)),
        "p99 ms": 1e3 * float(np.percentile(single, 99)),
        "q/s batched": batch / float(np.mean(batched)),
        "p50 ms batch": 1e3 * float(np.percentile(batched, 50)),
        "p99 ms batch": 1e3 * float(np.percentile(batched, 99)),
    }


def _added(store: GalleryStore, size: int) -> Iterator[float]:
    rng = np.random.default_rng(1)
    for number in range(20):
        row = _unit(rng.standard_normal((1, size), dtype=np.float32))
        begin = time.perf_counter()
        store.add([GalleryEntry(f"new {number}", f"new{number}.jpg")], row)
        yield time.perf_counter() - begin


def _fill(uri: str, rows: np.ndarray) -> None:
    model = ModelIdentity("benchmark", rows.shape[1], "", "", mirrored=False)
    if ":" not in uri:  # a file: written once
        entries = tuple(_entries(0, len(rows)))
        write_file(uri, FileHeader(model, "best", {}, entries), lambda: [rows], shape=(len(rows), rows.shape[1]))
        return
    with create_gallery(uri, model) as store:
        for first in range(0, len(rows), BLOCK):
            block = rows[first : first + BLOCK]
            store.add(list(_entries(first, len(block))), block)
        store.search(rows[:1], 1)  # makes the index, which closing keeps
        if uri.startswith("milvus:"):
            _settle(store)


def _settle(store: Any) -> None:
    """Wait until a Milvus server has made the index of what was added."""
    client, name = store._client, store._faces
    client.flush(name)
    while int(client.describe_index(name, "embedding").get("pending_index_rows", 0)):
        time.sleep(0.5)


def _entries(first: int, count: int) -> Iterator[GalleryEntry]:
    for number in range(first, first + count):
        yield GalleryEntry(f"person {number // PICTURES:08d}", f"{number:08d}.jpg")


@contextlib.contextmanager
def _place(engine: str, folder: Path, args: argparse.Namespace) -> Iterator[tuple[str, Optional[Callable[[], float]]]]:
    """Give an empty place in an engine, and what tells the memory of its server if it has one that we started."""
    if engine not in ENGINES:
        raise SystemExit(f"--engines {engine}: allowed: {', '.join(ENGINES)}")
    kind = engine.partition("-")[0]
    suffix = "?index=HNSW" if engine == "milvus-hnsw" else ""
    given: Optional[str] = {"milvus": args.milvus, "postgres": args.postgres}.get(kind)
    if given is not None:
        yield given + suffix, None
    elif kind in ("milvus", "postgres"):
        folder.chmod(0o755)  # PostgreSQL runs as a user of its own
        start = gallery_servers.milvus_server if kind == "milvus" else gallery_servers.postgres_server
        with start(folder) as server:
            yield server.place() + suffix, server.memory_mb
    elif kind == "faiss":
        form = engine.partition("-")[2]
        yield f"faiss:{folder / 'people'}{f'?form={form}' if form else ''}", None
    else:
        with kills.place_of(engine, folder) as uri:
            yield uri, None


def _nearest_rows(rows: np.ndarray, probes: np.ndarray) -> np.ndarray:
    """Return the number of the row most similar to each probe, exactly."""
    best, score = np.zeros(len(probes), np.int64), np.full(len(probes), -2, np.float32)
    for first in range(0, len(rows), BLOCK):
        scores = probes @ rows[first : first + BLOCK].T
        own = scores.argmax(axis=1)
        values = scores[np.arange(len(probes)), own]
        best = np.where(values > score, own + first, best)
        score = np.maximum(values, score)
    return best


def _alike(rows: np.ndarray, cosine: float, rng: np.random.Generator) -> np.ndarray:
    """Return rows that have this cosine to those given, nearly."""
    noise = _unit(rng.standard_normal(rows.shape, dtype=np.float32))
    return _unit(cosine * rows + np.float32(np.sqrt(1 - cosine**2)) * noise)


def _unit(rows: np.ndarray) -> np.ndarray:
    made: np.ndarray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return made


def _resident_mb() -> float:
    """Return the resident memory of this process; where that cannot be told, its peak."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
