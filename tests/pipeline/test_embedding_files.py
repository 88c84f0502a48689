"""Every format of embeddings is read back by its own library."""

import dataclasses

import numpy as np
import pytest

from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.pipeline.embedding_files import EmbeddingTable, write_embeddings


@pytest.fixture
def table() -> EmbeddingTable:
    embeddings = np.random.default_rng(3).standard_normal((4, 8)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return EmbeddingTable(
        embeddings=embeddings,
        persons=["张伟", "Ann/Lee", "张伟", ""],
        sources=["a.jpg", "b.jpg", "c.jpg", "d.jpg"],
        boxes_xyxy=np.arange(16, dtype=np.float32).reshape(4, 4),
        model="MobileFace sha256:1234",
    )


def test_npy_and_npz(tmp_path, table):
    write_embeddings(tmp_path / "e.npy", table)
    assert np.array_equal(np.load(tmp_path / "e.npy", allow_pickle=False), table.embeddings)
    write_embeddings(tmp_path / "e.npz", table)
    with np.load(tmp_path / "e.npz", allow_pickle=False) as read:
        assert np.array_equal(read["embeddings"], table.embeddings)
        assert read["persons"].tolist() == table.persons
        assert str(read["model"]) == table.model


def test_hdf5_has_a_group_per_person(tmp_path, table):
    h5py = pytest.importorskip("h5py")
    write_embeddings(tmp_path / "e.h5", table)
    with h5py.File(tmp_path / "e.h5") as file:
        assert sorted(file) == sorted(["张伟", "Ann_Lee", "_"])
        group = file["张伟"]
        assert np.array_equal(group["embeddings"], table.embeddings[[0, 2]])
        mean = table.embeddings[[0, 2]].mean(axis=0)
        np.testing.assert_allclose(group["embedding"], mean / np.linalg.norm(mean), rtol=1e-6)
        assert [name.decode() for name in group["sources"]] == ["a.jpg", "c.jpg"]


def test_hdf5_persons_whose_names_cannot_be_groups_keep_one_each(tmp_path, table):
    h5py = pytest.importorskip("h5py")
    write_embeddings(tmp_path / "e.h5", dataclasses.replace(table, persons=["", "a/b", "_", "a_b"]))
    with h5py.File(tmp_path / "e.h5") as file:
        assert {name: list(file[name].attrs.values()) for name in file} == {
            "_": [],
            "__2": [],
            "a_b": [],
            "a_b_2": [b"a/b"],
        }
        for row, name in enumerate(["__2", "a_b_2", "_", "a_b"]):
            assert np.array_equal(file[name]["embeddings"], table.embeddings[[row]])


def test_parquet(tmp_path, table):
    parquet = pytest.importorskip("pyarrow.parquet")
    write_embeddings(tmp_path / "e.parquet", table)
    read = parquet.read_table(tmp_path / "e.parquet")
    assert read.column("person").to_pylist() == table.persons
    assert np.array_equal(np.array(read.column("embedding").to_pylist(), np.float32), table.embeddings)
    assert read.schema.metadata[b"model"] == table.model.encode()


def test_wrong_suffix_and_unwritable_folder(tmp_path, table):
    with pytest.raises(ConfigError, match=r"\.npy"):
        write_embeddings(tmp_path / "e.txt", table)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_embeddings(tmp_path / "file" / "e.npy", table)
