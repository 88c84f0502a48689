"""Galleries in HDF5: the published layout, our own export, and files that are damaged or mean harm."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

from arcface_paddle.cli import main
from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.gallery import Gallery, GalleryEntry, load_own
from arcface_paddle.pipeline.gallery.hdf5 import read_hdf5

h5py = pytest.importorskip("h5py")

ADA, GRACE = (np.random.default_rng(seed).normal(size=192) for seed in (0, 1))


def write(path: Path, fill: Callable[[Any], None]) -> Path:
    with h5py.File(path, "w") as file:
        fill(file)
    return path


def published(path: Path) -> Path:
    """Two people as the published export writes them: means, not normalised."""

    def fill(file: Any) -> None:
        file.create_group("Grace").create_dataset("embedding", data=3 * GRACE[None].astype(np.float32))
        file.create_group("Ada").create_dataset("embedding", data=0.5 * ADA)

    return write(path, fill)


def gallery_of(rows: dict[str, list[np.ndarray]]) -> Gallery:
    entries = [GalleryEntry(name, f"{name}{i}.jpg") for name, vectors in rows.items() for i in range(len(vectors))]
    matrix = np.stack([vector / np.linalg.norm(vector) for vectors in rows.values() for vector in vectors])
    return Gallery(entries, matrix.astype(np.float32))


def command(*arguments: object) -> int:
    return main.main(["gallery", *map(str, arguments)])


# ---------------------------------------------------------------- the published layout


def test_the_published_layout_is_read_by_content(tmp_path: Path) -> None:
    gallery = Gallery.load(published(tmp_path / "people.index"))
    assert gallery.names == ("Ada", "Grace") and gallery.model is None
    assert [entry.path for entry in gallery.entries] == ["people.index#Ada", "people.index#Grace"]
    expected = np.stack([ADA / np.linalg.norm(ADA), GRACE / np.linalg.norm(GRACE)])
    np.testing.assert_allclose(gallery.embeddings, expected, atol=1e-6)
    with pytest.raises(GalleryError, match=r"is a gallery in HDF5 and stays as it is.*gallery import NEW"):
        load_own(tmp_path / "people.index")


def test_it_is_imported_and_bound_to_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = published(tmp_path / "people.h5"), tmp_path / "people.index"
    assert command("import", target, source) == 0
    assert "2 faces of 2 people; which model made it is not known" in capsys.readouterr().out
    assert command("import", target, source, "--rec_model=MobileFace") == 0
    model = Gallery.load(target).model
    assert model is not None and model.name == "MobileFace" and not model.mirrored
    assert command("import", target, source, "--rec_model=ResNet29") == 2
    assert "embeddings of size 192, but the model ResNet29 makes 128" in capsys.readouterr().err


# ---------------------------------------------------------------- export


def test_export_is_what_the_published_programs_read_and_comes_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery = gallery_of({"Ada": [ADA, ADA + GRACE / 9], "Grace": [GRACE]})
    gallery.save(tmp_path / "people.index")
    assert command("export", tmp_path / "people.index", tmp_path / "people.out", "--format=h5") == 0
    assert "3 faces of 2 people" in capsys.readouterr().out
    with h5py.File(tmp_path / "people.out", "r") as file:
        means = {person: file[person]["embedding"][()] for person in file}
    assert list(means) == ["Ada", "Grace"]
    mean = gallery.embeddings[:2].mean(axis=0)
    np.testing.assert_allclose(means["Ada"], mean / np.linalg.norm(mean), atol=1e-6)
    again = Gallery.load(tmp_path / "people.out")
    np.testing.assert_allclose(again.embeddings, gallery.embeddings, atol=1e-6)
    assert [entry.name for entry in again.entries] == ["Ada", "Ada", "Grace"]


def test_people_whose_names_cannot_be_groups_stay_apart_and_come_back(tmp_path: Path) -> None:
    names = ["a/b", "a_b", "a_b_2", "_", ".", "/", "张/三", "张_三", "a/./b", ".."]
    gallery = gallery_of({name: [vector] for name, vector in zip(names, np.eye(len(names)))})
    gallery.save(tmp_path / "people.index")
    assert command("export", tmp_path / "people.index", tmp_path / "people.h5") == 0
    with h5py.File(tmp_path / "people.h5", "r") as file:  # as published programs read it
        groups = {group: file[group]["embedding"][()] for group in file}
    assert len(groups) == len(names) and {"a_b", "a_b_2", "_", "..", "张_三"} < set(groups)
    rows = dict(zip([entry.name for entry in gallery.entries], gallery.embeddings))
    np.testing.assert_array_equal(groups["a_b"], rows["a_b"])  # whose own name it is
    again = Gallery.load(tmp_path / "people.h5")
    assert again.names == gallery.names
    np.testing.assert_array_equal(again.embeddings, gallery.embeddings)


def test_what_another_program_says_of_a_group_is_no_name(tmp_path: Path) -> None:
    def fill(file: Any) -> None:
        for person, value in {"Ada": 5, "Eve": "of any length", "Grace": np.array([b"a", b"b"])}.items():
            group = file.create_group(person)
            group["embedding"] = ADA
            group.attrs["person"] = value

    assert Gallery.load(write(tmp_path / "people.h5", fill)).names == ("Ada", "Eve", "Grace")


def test_a_name_that_no_group_can_hold_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery_of({"a/" + "b" * 70_000: [ADA]}).save(tmp_path / "people.index")
    assert command("export", tmp_path / "people.index", tmp_path / "people.h5") == 2
    assert "has 70,002 bytes and cannot name a group" in capsys.readouterr().err


def test_export_follows_the_suffix_and_refuses_what_it_does_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery_of({"a/b": [ADA], "a_b": [GRACE]}).save(tmp_path / "people.index")
    assert command("export", tmp_path / "people.index", tmp_path / "people.npz") == 0
    with np.load(tmp_path / "people.npz", allow_pickle=False) as archive:
        assert archive["persons"].tolist() == ["a/b", "a_b"]
    capsys.readouterr()
    assert command("export", tmp_path / "people.index", tmp_path / "people.txt") == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and "no format for suffix" in errors[0]
    assert not (tmp_path / "people.txt").exists()


# ---------------------------------------------------------------- files that mean harm


def _virtual(file: Any) -> None:
    layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", shape=(4,))
    file.create_group("Ada").create_virtual_dataset("embedding", layout)


def _external_values(file: Any) -> None:
    file.create_group("Ada").create_dataset("embedding", (4,), "f4", external=[("/etc/hostname", 0, 16)])


def _same_rows_many_times(file: Any) -> None:
    rows = file.create_group("p0").create_dataset("embeddings", data=np.ones((500, 4096), np.float32), compression=9)
    for number in range(1, 60):
        file.create_group(f"p{number}")["embeddings"] = rows


def _dataset(**values: Any) -> Callable[[Any], None]:
    return lambda file: file.create_group("Ada").create_dataset("embedding", **values)


HOSTILE = {
    "nothing": (lambda file: None, "holds nobody"),
    "a dataset in place of a person": (lambda file: file.create_dataset("Ada", data=[1.0]), "dataset 'Ada' beside"),
    "no embedding": (lambda file: file.create_group("Ada").create_dataset("mean", data=[1.0]), "has 'mean'"),
    "group in place of the embedding": (lambda file: file.create_group("Ada/embedding"), "is no dataset"),
    "integers": (_dataset(data=[1, 2, 3]), "int64 of shape"),
    "texts": (_dataset(data=["a", "b"]), "allowed: floats"),
    "a scalar": (_dataset(data=1.0), r"shape \(\)"),
    "three axes": (_dataset(data=np.ones((1, 2, 3))), r"shape \(1, 2, 3\)"),
    "several means": (_dataset(data=np.ones((2, 3))), r"allowed: \(D,\)"),
    "no numbers": (_dataset(data=np.ones(0)), r"shape \(0,\)"),
    "zeros": (_dataset(data=np.zeros(4)), "zero or not finite"),
    "nan": (_dataset(data=np.array([1.0, np.nan])), "zero or not finite"),
    "infinite": (_dataset(data=np.array([1.0, np.inf])), "zero or not finite"),
    "too long": (_dataset(data=np.ones(70_000)), "70,000 numbers"),
    "larger than the file can hold": (_dataset(shape=(40_000, 60_000), dtype="f4", chunks=(1, 60_000)), "expands"),
    "one dataset under many names": (_same_rows_many_times, "expands"),
    "a link to another file": (lambda file: file.update({"Ada": h5py.ExternalLink("/etc/x.h5", "/Ada")}), "link"),
    "a link within": (lambda file: file.create_group("Ada").update({"embedding": h5py.SoftLink("/Eve")}), "link"),
    "values of other datasets": (_virtual, "not opened"),
    "values of another file": (_external_values, "not opened"),
    "a reserved name": (lambda file: file.create_group("unknown").create_dataset("embedding", data=[1.0]), "reserved"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_gallery_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    fill, message = HOSTILE[kind]
    path = tmp_path / "people.h5"
    with h5py.File(path, "w") as file:
        fill(file)
    with pytest.raises(GalleryError, match=message) as caught:
        Gallery.load(path)
    assert "people.h5" in str(caught.value) and "\n" not in str(caught.value)


def test_other_sizes_of_embeddings_are_refused(tmp_path: Path) -> None:
    def fill(file: Any) -> None:
        for size, name in ((3, "Ada"), (4, "Eve")):
            file.create_group(name).create_dataset("embedding", data=np.ones(size))

    with pytest.raises(GalleryError, match="sizes 3, 4"):
        Gallery.load(write(tmp_path / "people.h5", fill))


def test_damaged_files_are_read_or_refused_in_one_line() -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_group("Ada").create_dataset("embedding", data=ADA, compression="gzip")
        file.create_group("Grace").create_dataset("embeddings", data=np.stack([GRACE, ADA]), chunks=(1, 192))
        file["Grace"].attrs["person"] = np.bytes_(b"Grace / Hopper")
        file["Grace"].create_dataset("sources", data=["a.jpg", "b.jpg"], dtype=h5py.string_dtype())
    whole, dice, refused = buffer.getvalue(), random.Random(0), 0
    for number in range(200):
        content = bytearray(whole)
        for _ in range(dice.choice([1, 2, 5, 20])):
            content[dice.randrange(8, len(content))] = dice.randrange(256)
        damaged = bytes(content[: dice.randrange(8, len(content))] if number % 5 == 0 else content)
        try:
            entries, rows = read_hdf5(damaged, name="people.h5")
            assert len(entries) == len(rows) and np.isfinite(rows).all()
        except GalleryError as error:
            assert "\n" not in str(error) and "people.h5" in str(error)
            refused += 1
    assert refused > 25
