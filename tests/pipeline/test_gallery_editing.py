"""Changing gallery files: no change is lost when several processes make them at once, and foreign files stay."""

from __future__ import annotations

import dataclasses
import multiprocessing
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from arcface_paddle import files, images
from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.gallery import Gallery, GalleryEntry, ModelIdentity, combine_galleries, edit_gallery
from arcface_paddle.pipeline.gallery.enrolment import EnrolmentSettings, build_gallery, extend_gallery, list_people
from arcface_paddle.pipeline.gallery.stores import GalleryContract, file_store, open_gallery
from arcface_paddle.types import Detection, Face, ImageResult

MODEL = ModelIdentity("testnet", 4, "a", "b", mirrored=False)
CONTEXT = multiprocessing.get_context("spawn")
ROUNDS = 10


class OneFace:
    """Stands in for the analyzer: every picture shows one face."""

    def analyze(self, image, *, source="array"):
        face = Face(Detection(np.array([0, 0, 40, 40], np.float32), 0.9), embedding=np.eye(4, dtype=np.float32)[0])
        return ImageResult(source, (40, 40), (face,))


PIPELINE = SimpleNamespace(analyzer=OneFace(), model=MODEL, facts={"det_model": "stand-in"})


def put_people(folder: Path, *names: str) -> Path:
    for shade, name in enumerate(names):
        images.write_image(folder / name / "1.png", np.full((40, 40, 3), shade, np.uint8))
    return folder


def write_published(path: Path, size: int = 4) -> Path:
    rows = [3 * np.eye(size, dtype=np.float32)[i : i + 1] for i in range(2)]
    path.write_bytes(pickle.dumps({"label": ["Joey", "Monica"], "feature": rows}, protocol=3))
    return path


def simple(path: Path, *names: str, model=MODEL) -> Path:
    rows = np.eye(4, dtype=np.float32)[: len(names)]
    Gallery([GalleryEntry(name, f"{name}.jpg") for name in names], rows, model=model).save(path)
    return path


def add_every_round(target: Path, folders: list[Path], barrier) -> None:
    def together(pictures):
        yield from pictures
        barrier.wait()  # all pictures are embedded: now both processes want to change the file

    for folder in folders:
        people = list_people(EnrolmentSettings(folder))
        extend_gallery(target, people, pipeline=PIPELINE, progress=together)


def test_two_processes_add_people_to_one_file_at_the_same_time(tmp_path):
    target = simple(tmp_path / "people.index", "first")
    names = [[f"{who}{i}" for i in range(ROUNDS)] for who in ("ada", "grace")]
    folders = [[put_people(tmp_path / "pictures" / name, name) for name in own] for own in names]
    barrier = CONTEXT.Barrier(2)
    workers = [CONTEXT.Process(target=add_every_round, args=(target, own, barrier)) for own in folders]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    assert Gallery.load(target).names == tuple(sorted(["first", *names[0], *names[1]]))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["people.index", "pictures"]


def test_a_file_that_somebody_else_is_changing_is_one_clear_line(tmp_path):
    path = simple(tmp_path / "people.index", "Ada")
    before = path.read_bytes()
    message = r"cannot change the gallery: another process .*\.people\.index\.lock"
    with files.locked(path), pytest.raises(GalleryError, match=message):
        edit_gallery(path, lambda gallery: gallery.without_person("Ada"), timeout_s=0.05)
    assert path.read_bytes() == before
    assert edit_gallery(path, lambda gallery: gallery.without_person("Ada")).after.names == ()


def test_what_was_changed_while_pictures_were_embedded_is_kept(tmp_path):
    path = simple(tmp_path / "people.index", "Ada", "Bob")
    people = list_people(EnrolmentSettings(put_people(tmp_path / "pictures", "Carl")))

    def interrupted(pictures):
        yield from pictures
        edit_gallery(path, lambda gallery: gallery.without_person("Bob"))

    report = extend_gallery(path, people, pipeline=PIPELINE, progress=interrupted)
    assert Gallery.load(path).names == ("Ada", "Carl")
    assert (report.added, report.already_there, report.faces, report.people) == (1, 0, 2, 2)


def test_what_a_killed_writer_left_goes_with_the_next_change(tmp_path):
    path, others = tmp_path / "people", tmp_path / "others"
    for place in (path, others):
        Gallery([GalleryEntry("a", "a.jpg")], np.eye(4, dtype=np.float32)[:1], model=MODEL).save(place)
    leftover = tmp_path / f".{path.name}.abcdefgh.tmp"
    leftover.write_bytes(b"half")
    edit_gallery(others, lambda gallery: gallery.renamed("a", "b"))
    assert leftover.exists()
    edit_gallery(path, lambda gallery: gallery.renamed("a", "b"))
    assert not leftover.exists() and Gallery.load(path).names == ("b",)


def test_a_gallery_that_became_another_models_meanwhile_is_left_alone(tmp_path):
    path = simple(tmp_path / "people.index", "Ada")
    people = list_people(EnrolmentSettings(put_people(tmp_path / "pictures", "Carl")))
    other = ModelIdentity("othernet", 4, "c", "b", mirrored=False)

    def replaced(pictures):
        yield from pictures
        simple(path, "Zoe", model=other)

    with pytest.raises(GalleryError, match="othernet"):
        extend_gallery(path, people, pipeline=PIPELINE, progress=replaced)
    assert Gallery.load(path).names == ("Zoe",)


def test_a_published_index_is_never_rewritten(tmp_path):
    old = write_published(tmp_path / "index.bin")
    before = old.read_bytes()
    people = list_people(EnrolmentSettings(put_people(tmp_path / "pictures", "Carl")))
    changes = [
        lambda: edit_gallery(old, lambda gallery: gallery.without_person("Joey")),
        lambda: extend_gallery(old, people, pipeline=PIPELINE),
        lambda: combine_galleries(old, [old], lambda galleries: galleries[0].with_model(MODEL)),
    ]
    for change in changes:
        with pytest.raises(GalleryError, match=r"index\.bin: is an index of the published tool.*gallery import NEW"):
            change()
        assert old.read_bytes() == before
    made = combine_galleries(tmp_path / "new", [old], lambda galleries: galleries[0].with_model(MODEL))
    assert made.model == MODEL and old.read_bytes() == before
    assert edit_gallery(tmp_path / "new", lambda gallery: gallery.without_person("Joey")).after.names == ("Monica",)


def test_a_target_may_be_one_of_what_is_united(tmp_path):
    simple(tmp_path / "a", "Ada"), simple(tmp_path / "b", "Bob")

    def union(galleries):
        return galleries[0].merged(galleries[1])

    assert combine_galleries(tmp_path / "a", [tmp_path / "b", tmp_path / "a"], union).names == ("Ada", "Bob")
    assert combine_galleries(tmp_path / "deep" / "c", [tmp_path / "a", tmp_path / "b"], union).names == ("Ada", "Bob")
    with pytest.raises(GalleryError, match="No such file"):
        combine_galleries(tmp_path / "d", [tmp_path / "a", tmp_path / "none"], union)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a", "b", "deep"]


@pytest.mark.parametrize("place", ["none", "none/people.index"])
def test_a_missing_file_is_not_made(tmp_path, place):
    with pytest.raises(GalleryError, match="No such file"):
        edit_gallery(tmp_path / place, lambda gallery: gallery)
    assert list(tmp_path.iterdir()) == []


def test_a_build_that_finds_no_face_leaves_what_was_there(tmp_path):
    path = simple(tmp_path / "people.index", "Ada")
    before = path.read_bytes()
    empty = SimpleNamespace(
        analyzer=SimpleNamespace(analyze=lambda image, source: ImageResult(source, (40, 40), ())), model=MODEL, facts={}
    )
    people = list_people(EnrolmentSettings(put_people(tmp_path / "pictures", "Carl")))
    told = []
    with pytest.raises(GalleryError, match="none of the 1 pictures gave a face"):
        build_gallery(path, people, pipeline=empty, on_rejection=told.append)
    assert [rejection.reason for rejection in told] == ["no_face"] and path.read_bytes() == before
    report = build_gallery(path, people, pipeline=PIPELINE)
    assert Gallery.load(path).names == ("Carl",) and report.to_dict()["not_looked_at"]["count"] == 0
    assert Gallery.load(path).parameters == {"det_model": "stand-in"}


def test_a_pipeline_without_recogniser_is_refused(tmp_path):
    people = list_people(EnrolmentSettings(put_people(tmp_path / "pictures", "Carl")))
    with pytest.raises(GalleryError, match="no recogniser"):
        build_gallery(tmp_path / "g", people, pipeline=SimpleNamespace(analyzer=OneFace(), model=None, facts={}))


def test_a_file_of_another_program_is_no_gallery_and_how_to_import_it_is_said(tmp_path):
    path = tmp_path / "index.bin"
    path.write_bytes(pickle.dumps({"label": ["Joey"], "feature": [np.ones((1, 4), np.float32)]}, protocol=3))
    with pytest.raises(GalleryError, match=r"is no gallery of this program; .* arcface-paddle gallery import NEW "):
        open_gallery(path)


def test_a_change_that_cannot_be_written_is_one_clear_line(tmp_path, monkeypatch):
    path = tmp_path / "people"
    Gallery([GalleryEntry("a", "a.jpg")], np.eye(4, dtype=np.float32)[:1], model=MODEL).save(path)

    def full(self):
        raise OSError(28, "No space left on device")

    with open_gallery(path) as store:
        monkeypatch.setattr(file_store.FileStore, "_append", full)
        with pytest.raises(GalleryError, match=r"people: cannot .*No space left on device"):
            store.add([GalleryEntry("b", "b.jpg")], np.eye(4, dtype=np.float32)[1:2])
        monkeypatch.undo()
    assert Gallery.load(path).names == ("a",)


@pytest.mark.parametrize(
    ("model", "size", "message"),
    [
        (MODEL, 4, ""),
        (None, 4, "does not say which model made it can only join one of its kind"),
        (dataclasses.replace(MODEL, embedding_size=8), 8, "does not say which model|different models"),
        (dataclasses.replace(MODEL, mirrored=True), 4, "galleries of different models cannot be merged"),
    ],
)
def test_faces_join_those_of_their_model_only(model, size, message):
    ours, theirs = GalleryContract(MODEL, 4), GalleryContract(model, size)
    for one, other in ((ours, theirs), (theirs, ours)):
        if not message:
            one.require_same(other)
            continue
        with pytest.raises(GalleryError, match=message):
            one.require_same(other)
    GalleryContract(None, 4).require_same(GalleryContract(None, 4))
    with pytest.raises(GalleryError, match="can only join one of its kind"):
        GalleryContract(None, 4).require_same(GalleryContract(None, 8))
