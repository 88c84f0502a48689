"""Galleries on servers beyond the contract of all: what a removal leaves, and places where no gallery is."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from benchmarks import gallery_servers

from arcface_paddle.errors import GalleryError, MissingDependencyError
from arcface_paddle.pipeline.gallery import GalleryEntry, ModelIdentity
from arcface_paddle.pipeline.gallery.stores import convert_gallery, create_gallery, face_database, open_gallery
from arcface_paddle.pipeline.gallery.stores.making import removed_unless_whole

MODEL = ModelIdentity("testnet", 16, "a", "b", mirrored=False)


def random_unit(count: int, *, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, 16))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.long
def test_a_removed_person_is_in_no_table_of_the_database(postgres_server):
    """The write-ahead log is the server's, and keeps what it keeps."""
    uri = postgres_server("traces")
    rows = random_unit(41)
    entries = [GalleryEntry("keep" if i < 40 else "Forgotten Person", f"{i}.jpg") for i in range(41)]
    with create_gallery(uri, MODEL) as store:
        store.add(entries, rows)
        store.rename("Forgotten Person", "Forgotten Twice")
        store._do("CHECKPOINT")
        before = tables_of(postgres_server.folder)
        assert b"Forgotten Twice" in before and rows[40].tobytes() in before
        store.remove("Forgotten Twice")
        store._do("CHECKPOINT")
    after = tables_of(postgres_server.folder)
    assert b"Forgotten" not in after and rows[40].tobytes() not in after and rows[0].tobytes() in after


def tables_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in (folder / "base").rglob("*") if path.is_file())


@pytest.mark.long
def test_a_removed_person_is_found_by_nothing_on_a_milvus_server(milvus_server):
    uri = milvus_server("traces")
    rows = random_unit(8)
    with create_gallery(uri, MODEL) as store:
        store.add([GalleryEntry(f"p{i}", f"{i}.jpg") for i in range(8)], rows)
        store.remove("p3")
    with open_gallery(uri) as store:
        found = store._client.query(store._faces, filter='id != ""', output_fields=["*"], consistency_level="Strong")
        assert len(found) == 7 and not any("p3" in str(one) for one in found)
        assert "p3" not in {one.name for one in store.search(rows[3:4], 8)[0]}


@pytest.mark.long
@pytest.mark.parametrize("kind", ["postgres", "milvus"])
def test_a_copy_that_cannot_be_finished_is_removed_from_the_server(kind, request, tmp_path, monkeypatch):
    """The last row of what is copied is damaged; by then most people are on the server."""
    pytest.importorskip("faiss")
    monkeypatch.setattr(face_database, "BLOCK_FACES", 10)
    source, target = f"faiss:{tmp_path / 'people'}", request.getfixturevalue(f"{kind}_server")("unfinished")
    with create_gallery(source, MODEL) as store:
        store.add([GalleryEntry(f"p{i}", f"{i}.jpg") for i in range(50)], random_unit(50))
    rows = (tmp_path / "people" / "rows.f32").read_bytes()
    (tmp_path / "people" / "rows.f32").write_bytes(rows[:-1] + bytes([rows[-1] ^ 1]))
    with pytest.raises(GalleryError, match=r"damaged gallery \(row 49\)"):
        convert_gallery(source, target)
    with pytest.raises(GalleryError, match=r"no schema|no such collection"):
        open_gallery(target)
    (tmp_path / "people" / "rows.f32").write_bytes(rows)
    assert convert_gallery(source, target).faces == 50
    with pytest.raises(GalleryError, match="exists already"):
        convert_gallery(source, target)
    with open_gallery(target) as store:  # which that one has not made
        assert store.count() == 50


def test_what_cannot_be_removed_from_a_server_is_told():
    pytest.importorskip("psycopg")
    told = pytest.raises(GalleryError, match=r"^the disk is full; what was made is left at postgresql://ada@127")
    with told as caught, removed_unless_whole("postgresql://ada:secret@127.0.0.1:1/x"):
        raise GalleryError("the disk is full")
    assert "remove it before you try again" in str(caught.value) and "secret" not in str(caught.value)


@pytest.mark.long
def test_a_database_without_the_gallery_is_refused(postgres_server):
    with pytest.raises(GalleryError, match="no schema arcface_people"):
        open_gallery(postgres_server("nothing"))


@pytest.mark.long
def test_a_server_without_the_collection_is_refused(milvus_server):
    with pytest.raises(GalleryError, match="no such collection"):
        open_gallery(milvus_server("nothing"))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("postgresql://ada:secret@127.0.0.1:1/x", "the database refuses"),
        ("postgresql://127.0.0.1:1/x?gallery=a-b", "gallery='a-b'; allowed"),
        ("milvus://127.0.0.1/people?index=x&colour=red", "allowed: milvus://HOST:PORT/COLLECTION"),
        ("milvus://127.0.0.1:19530/two/parts", "allowed: milvus://HOST:PORT/COLLECTION"),
        ("milvus://127.0.0.1:19530/people?consistency=some", "Strong, Session"),
    ],
)
def test_an_address_that_leads_nowhere_is_one_clear_line(uri, message):
    package = "psycopg" if uri.startswith("postgres") else "pymilvus"
    try:
        __import__(package)
    except ImportError:
        with pytest.raises((GalleryError, MissingDependencyError), match=f"{re.escape(message)}|pip install"):
            open_gallery(uri)
        return
    with pytest.raises(GalleryError, match=re.escape(message)) as caught:
        open_gallery(uri)
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)


STARTED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tools!r})
from benchmarks.gallery_servers import group_of, processes_of_group
with group_of(["sh", "-c", "sleep 600 & exec sleep 600"], log=Path({log!r})) as child:
    while len(processes_of_group(child.pid)) < 4:
        time.sleep(0.01)
    print(child.pid, flush=True)
    {then}
"""


@pytest.mark.parametrize("then", ["time.sleep(60)", "pass", "raise KeyError"])
def test_no_server_outlives_who_started_it(tmp_path, then):
    """Ended, failed, or killed, so that none of its clean-up runs."""
    tools = str(Path(gallery_servers.__file__).parents[1])
    program = STARTED.format(tools=tools, log=str(tmp_path / "log"), then=then)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        group = int(child.stdout.readline())
        if "sleep" in then:
            assert len(gallery_servers.processes_of_group(group)) == 4  # the watch, what it waits with, two sleepers
            child.kill()
        child.wait(60)
    deadline = time.monotonic() + 20
    while gallery_servers.processes_of_group(group):
        assert time.monotonic() < deadline
        time.sleep(0.05)
