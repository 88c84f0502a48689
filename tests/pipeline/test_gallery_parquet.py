"""Galleries in Parquet: what encode writes becomes a gallery, and what is damaged or of another model is refused."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from arcface_paddle.cli.main import run_module
from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.embedding_files import EmbeddingTable, write_embeddings
from arcface_paddle.pipeline.gallery import Gallery

pyarrow = pytest.importorskip("pyarrow")
from pyarrow import parquet  # noqa: E402


def table(*, persons=("Ann", "Bob", "Ann"), model="MobileFace sha256:00", seed=0) -> EmbeddingTable:
    rows = np.random.default_rng(seed).standard_normal((len(persons), 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    sources = [f"{person}/{seed}_{row}.jpg" for row, person in enumerate(persons)]
    boxes = np.tile(np.float32([1, 2, 3, 4]), (len(persons), 1))
    return EmbeddingTable(rows, list(persons), sources, boxes, model)


def imported(target, *sources, options=()) -> int:
    return run_module("gallery", ["import", str(target), *map(str, sources), *options])


def test_what_encode_writes_becomes_a_gallery(tmp_path, capsys):
    shards = [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    tables = [table(), table(persons=("Cid", "Bob"), seed=1)]
    for path, content in zip(shards, tables):
        write_embeddings(path, content)
    assert imported(tmp_path / "people.index", *shards) == 0
    assert "5 faces of 3 people" in capsys.readouterr().out
    gallery = Gallery.load(tmp_path / "people.index")
    assert gallery.faces_by_person() == {"Ann": 2, "Bob": 2, "Cid": 1}
    by_source = {entry.path: row for entry, row in zip(gallery.entries, gallery.embeddings)}
    for content in tables:
        for source, row in zip(content.sources, content.embeddings):
            np.testing.assert_allclose(by_source[source], row, atol=1e-6)
    assert gallery.entries[0].box_xyxy == (1, 2, 3, 4)


def test_a_gallery_goes_to_parquet_and_back(tmp_path):
    write_embeddings(tmp_path / "0.parquet", table())
    assert imported(tmp_path / "people.index", tmp_path / "0.parquet") == 0
    assert run_module("gallery", ["export", str(tmp_path / "people.index"), str(tmp_path / "out.parquet")]) == 0
    one, other = Gallery.load(tmp_path / "people.index"), Gallery.load(tmp_path / "out.parquet")
    assert [(e.name, e.path) for e in one.entries] == [(e.name, e.path) for e in other.entries]
    np.testing.assert_allclose(one.embeddings, other.embeddings, atol=1e-6)


def test_another_recogniser_than_the_one_that_made_it_is_refused(tmp_path, capsys):
    write_embeddings(tmp_path / "0.parquet", table())
    assert imported(tmp_path / "p.index", tmp_path / "0.parquet", options=("--rec_model", "MobileFace")) == 2
    assert "made by MobileFace sha256:00, not by MobileFace" in capsys.readouterr().err
    assert not (tmp_path / "p.index").exists()


def test_it_is_never_changed(tmp_path, capsys):
    write_embeddings(tmp_path / "0.parquet", table())
    before = (tmp_path / "0.parquet").read_bytes()
    assert run_module("gallery", ["remove", str(tmp_path / "0.parquet"), "Ann"]) == 2
    assert "is a gallery in Parquet and stays as it is" in capsys.readouterr().err
    assert (tmp_path / "0.parquet").read_bytes() == before


def columns(**changes):
    vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(np.ones(16, np.float32)), 8)
    return {"person": ["Ann", "Bob"], "source": ["a", "b"], "embedding": vectors, **changes}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"person": None}, "no column person"),
        ({"person": ["Ann", ""]}, "of 'b' has no person"),
        ({"person": [1, 2]}, "the column person holds int64"),
        ({"embedding": [1.0, 2.0]}, "the column embedding holds double"),
        ({"embedding": [[1.0, 2.0], [1.0]]}, "embeddings of several sizes"),
        ({"embedding": pyarrow.array([[], []], pyarrow.list_(pyarrow.float32()))}, "of several sizes, or none"),
        ({"embedding": [[1.0, 2.0], None]}, "embeddings of several sizes"),
        ({"embedding": [[1.0, 2.0], [0.0, 0.0]]}, "zero or not finite"),
        ({"embedding": [[1.0, 2.0], [float("nan"), 0.0]]}, "zero or not finite"),
    ],
)
def test_what_is_no_gallery_is_one_line(tmp_path, content, message):
    kept = {key: value for key, value in columns(**content).items() if value is not None}
    parquet.write_table(pyarrow.table(kept), tmp_path / "x.parquet")
    with pytest.raises(GalleryError, match=message):
        Gallery.load(tmp_path / "x.parquet")


def test_damaged_files_are_one_line(tmp_path):
    write_embeddings(tmp_path / "0.parquet", table())
    whole = (tmp_path / "0.parquet").read_bytes()
    rng = np.random.default_rng(0)
    damaged = [whole[:length] for length in (4, 5, 40, len(whole) - 1)]
    for _ in range(60):
        changed = bytearray(whole)
        changed[int(rng.integers(4, len(whole)))] ^= int(rng.integers(1, 256))
        damaged.append(bytes(changed))
    for content in damaged:
        (tmp_path / "d.parquet").write_bytes(content)
        try:
            Gallery.load(tmp_path / "d.parquet")  # a changed name or number may be a gallery still
        except GalleryError as error:
            assert "\n" not in str(error)


def test_a_small_file_that_expands_is_refused(tmp_path):
    """Equal rows, 100 MB of them, compress to some kilobytes."""
    size, rows = 64, 400_000
    vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(np.ones(size * rows, np.float32)), size)
    texts = pyarrow.array(["a"] * rows)
    content = pyarrow.table({"person": texts, "source": texts, "embedding": vectors})
    parquet.write_table(content, tmp_path / "bomb.parquet", compression="zstd")
    assert (tmp_path / "bomb.parquet").stat().st_size < 1_000_000
    with pytest.raises(GalleryError, match="expands to more than"):
        Gallery.load(tmp_path / "bomb.parquet")


@pytest.mark.skipif(find_spec("arcface_paddle.pipeline.gallery.stores") is None, reason="no gallery engines here yet")
@pytest.mark.parametrize("engine", ["faiss", "milvus_server", "postgres_server"])
def test_into_every_engine(tmp_path, engine, request, capsys):
    if engine == "faiss":
        pytest.importorskip("faiss")
        target = f"faiss:{tmp_path / 'people'}"
    else:
        target = request.getfixturevalue(engine)("parquet")
    write_embeddings(tmp_path / "0.parquet", table())
    assert imported(target, tmp_path / "0.parquet") == 0
    assert run_module("gallery", ["list", target]) == 0
    assert "3 faces of 2 people" in capsys.readouterr().out
