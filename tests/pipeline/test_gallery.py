"""The gallery: decisions against a slow twin, edits, the file format, and files that must be refused."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import zipfile
from dataclasses import asdict

import numpy as np
import pytest

from arcface_paddle.errors import ArcfaceError, GalleryError
from arcface_paddle.pipeline.gallery import (
    Gallery,
    GalleryEntry,
    ModelIdentity,
    checking,
    find_suspicions,
    index,
    storage,
)
from arcface_paddle.pipeline.gallery.stores import create_gallery, load_gallery, open_gallery
from arcface_paddle.pipeline.opening import open_pipeline
from arcface_paddle.pipeline.settings import PipelineSettings
from arcface_paddle.types import UNKNOWN

MODEL = ModelIdentity("testnet", 16, "a" * 64, "b" * 64, mirrored=False)


def random_unit(count: int, size: int = 16, *, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, size))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def make_gallery(names, *, seed=0, model=MODEL, **options) -> Gallery:
    entries = [
        GalleryEntry(name, f"{name}/{i}.jpg", sha256=f"{i:064x}", box_xyxy=(1.0, 2.0, 30.5, 40.0), detection_score=0.9)
        for i, name in enumerate(names)
    ]
    return Gallery(entries, random_unit(len(entries), seed=seed), model=model, **options)


def slow_scores(gallery: Gallery, probe: np.ndarray, decision: str) -> dict[str, float]:
    """Score every person one by one, straight from the definition."""
    scores = {}
    for name in {entry.name for entry in gallery.entries}:
        rows = [gallery.embeddings[i] for i, entry in enumerate(gallery.entries) if entry.name == name]
        if decision == "best":
            scores[name] = max(float(np.dot(row, probe)) for row in rows)
        else:
            template = np.sum(np.stack(rows).astype(np.float64), axis=0)
            scores[name] = float(np.dot(template / np.linalg.norm(template), probe))
    return scores


@pytest.mark.parametrize("decision", ["best", "mean"])
@pytest.mark.parametrize("names", [["c", "a", "b", "a", "c", "a"], ["z"], list("abcdefgh") * 5])
def test_identify_equals_the_slow_twin(decision, names):
    gallery = make_gallery(names, decision=decision)
    probes = random_unit(7, seed=5)
    for probe, found in zip(probes, gallery.identify(probes, top_k=3, threshold=0.2)):
        expected = sorted(slow_scores(gallery, probe, decision).items(), key=lambda item: -item[1])[:3]
        assert [c.name for c in found.candidates] == [name for name, _ in expected]
        assert [c.similarity for c in found.candidates] == pytest.approx([score for _, score in expected], abs=1e-6)
        assert found.similarity == found.candidates[0].similarity
        assert found.name == (expected[0][0] if expected[0][1] >= 0.2 else UNKNOWN)


def test_blocks_do_not_change_the_answer(monkeypatch):
    gallery, probes = make_gallery(list("abc") * 4), random_unit(9, seed=3)
    whole = gallery.identify(probes, top_k=2, threshold=0.0)
    monkeypatch.setattr(index, "_BLOCK_ELEMENTS", 24)  # two probes at a time
    in_blocks = gallery.identify(probes, top_k=2, threshold=0.0)
    assert [f.name for f in in_blocks] == [f.name for f in whole]
    assert [f.similarity for f in in_blocks] == pytest.approx([f.similarity for f in whole], abs=1e-6)


def test_cosine_is_signed():
    """The published tool took the absolute value: the exact opposite of a face got its name."""
    gallery = make_gallery(["a"])
    [found] = gallery.identify(-gallery.embeddings, top_k=5, threshold=0.3)
    assert found.name == UNKNOWN
    assert found.similarity == pytest.approx(-1.0, abs=1e-6)


def test_threshold_is_inclusive_and_top_k_may_exceed_the_gallery():
    gallery = Gallery([GalleryEntry("a", "a.jpg")], np.array([[1.0, 0.0]], np.float32))
    [found] = gallery.identify(np.array([[1.0, 0.0]], np.float32), top_k=50, threshold=1.0)
    assert found.name == "a" and len(found.candidates) == 1


def test_empty_cases():
    empty = Gallery.empty(MODEL)
    [found] = empty.identify(random_unit(1), top_k=5, threshold=0.1)
    assert (found.name, found.similarity, found.candidates) == (UNKNOWN, None, ())
    assert make_gallery(["a"]).identify(np.zeros((0, 16), np.float32), top_k=5, threshold=0.1) == []


@pytest.mark.parametrize(
    ("embeddings", "top_k", "message"),
    [(np.zeros((1, 8), np.float32), 5, "size 16"), (random_unit(1), 0, "1 or more"), (np.zeros(16), 5, "size 16")],
)
def test_identify_refuses(embeddings, top_k, message):
    with pytest.raises(GalleryError, match=message):
        make_gallery(["a"]).identify(embeddings, top_k=top_k, threshold=0.1)


@pytest.mark.parametrize("rows", [np.full((1, 16), np.nan, np.float32), np.ones((1, 16), np.float32), random_unit(2)])
def test_constructor_refuses_what_is_not_one_unit_row_per_entry(rows):
    with pytest.raises(GalleryError, match=r"allowed"):
        Gallery([GalleryEntry("a", "a.jpg")], rows)


def test_unknown_decision_is_refused():
    with pytest.raises(GalleryError, match="best, mean"):
        make_gallery(["a"], decision="vote")


def test_roundtrip_keeps_everything_and_bytes_are_stable(tmp_path):
    gallery = make_gallery(["李雷", "Ada", "李雷"], decision="mean", parameters={"detector": "blazeface"})
    gallery.save(tmp_path / "index.bin")
    loaded = Gallery.load(tmp_path / "index.bin")
    assert loaded.entries == gallery.entries
    np.testing.assert_array_equal(loaded.embeddings, gallery.embeddings)
    assert (loaded.model, loaded.decision, loaded.parameters) == (MODEL, "mean", {"detector": "blazeface"})
    loaded.save(tmp_path / "again.gallery")
    assert (tmp_path / "again.gallery").read_bytes() == (tmp_path / "index.bin").read_bytes()
    shuffled = Gallery(
        gallery.entries[::-1], gallery.embeddings[::-1], model=MODEL, decision="mean", parameters=gallery.parameters
    )
    shuffled.save(tmp_path / "shuffled")
    assert (tmp_path / "shuffled").read_bytes() == (tmp_path / "index.bin").read_bytes()


def test_the_array_can_be_read_by_numpy_alone(tmp_path):
    gallery = make_gallery(["a", "b"])
    gallery.save(tmp_path / "g.npz")
    with np.load(tmp_path / "g.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["embeddings"], gallery.embeddings)


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "g"
    make_gallery(["a", "b"]).save(path)
    content = path.read_bytes()
    for length in [*range(0, len(content) - 1, 37), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(GalleryError):
            Gallery.load(path)


@pytest.mark.parametrize(
    ("code", "raised", "message"),
    [(errno.EIO, OSError, "Input/output error"), (errno.EINVAL, GalleryError, "damaged gallery file")],
)
def test_a_disk_that_fails_is_not_taken_for_a_damaged_file(tmp_path, code, raised, message):
    class OnAFailingDisk(io.BytesIO):
        def read(self, size=-1):
            if size == -1:  # zipfile looks at the end of the file
                raise OSError(code, os.strerror(code))
            return super().read(size)

    make_gallery("abc").save(tmp_path / "g.index")
    with pytest.raises(raised, match=message):
        storage.read(OnAFailingDisk((tmp_path / "g.index").read_bytes()), name="g.index")


def test_a_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "g"
    make_gallery(["a", "b"]).save(path)
    content = bytearray(path.read_bytes())
    content[content.index(b"NUMPY") + 140] ^= 4
    path.write_bytes(bytes(content))
    with pytest.raises(GalleryError, match="damaged"):
        Gallery.load(path)


def rewritten(path, *, header=None, array=None):
    """Write a gallery file with another header or array into the zip."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    if header is not None:
        members["gallery.json"] = json.dumps({**json.loads(members["gallery.json"]), **header}).encode()
    if array is not None:
        members["embeddings.npy"] = array
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"version": 3}, "version 3; this program reads 1 and 2"),
        ({"version": 2}, "no entries"),
        ({"format": "other"}, "not a gallery"),
        ({"entries": []}, "for 0 entries"),
        ({"entries": [{"name": "a"}, {"name": "b"}]}, "damaged gallery header"),
        ({"entries": ["a", "b"]}, "damaged gallery header"),
        ({"entries": [{"name": 1, "path": "a"}, {"name": "b", "path": "b"}]}, "damaged gallery header"),
        ({"model": {"name": "x"}}, "damaged gallery header"),
        ({"model": {**asdict(MODEL), "embedding_size": 8}}, "size 16"),
        ({"decision": "vote"}, "vote"),
    ],
)
def test_bad_headers_are_refused(tmp_path, header, message):
    path = tmp_path / "g"
    make_gallery(["a", "b"]).save(path)
    rewritten(path, header=header)
    with pytest.raises(GalleryError, match=message):
        Gallery.load(path)


@pytest.mark.parametrize("dtype", ["float64", "object", "int32"])
def test_arrays_of_other_types_are_refused(tmp_path, dtype):
    path = tmp_path / "g"
    make_gallery(["a", "b"]).save(path)
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2, 16), dtype), allow_pickle=True)
    rewritten(path, array=buffer.getvalue())
    with pytest.raises(GalleryError):
        Gallery.load(path)


def test_an_array_that_claims_more_than_it_holds_is_refused(tmp_path):
    path = tmp_path / "g"
    make_gallery(["a", "b"]).save(path)
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 16)})
    rewritten(path, array=buffer.getvalue())
    with pytest.raises(GalleryError, match="build it again"):
        Gallery.load(path)


@pytest.mark.parametrize("name", ["a\0b.index", "\ud800.index"])
def test_what_cannot_be_the_name_of_a_file_is_no_gallery(name):
    for read in (Gallery.load, load_gallery, open_gallery):
        with pytest.raises(GalleryError, match="not the name of a file"):
            read(name)


def test_missing_file_folder_and_foreign_files(tmp_path):
    (tmp_path / "text").write_text("hello there, this is no gallery")
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("something", "else")
    for path, message in [("none", "No such file"), ("", "directory"), ("text", "text"), ("zip", "not a gallery")]:
        with pytest.raises(GalleryError, match=message):
            Gallery.load(tmp_path / path)


def test_saving_into_an_impossible_place_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(GalleryError, match="cannot write"):
        make_gallery(["a"]).save(tmp_path / "file" / "g")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


# -- the published pickle


def published(tmp_path, protocol=3, labels=("Monica", "Joey", "Monica")):
    features = [4.2 * row[None] for row in random_unit(len(labels), seed=8)]
    path = tmp_path / "index.bin"
    path.write_bytes(pickle.dumps({"label": list(labels), "feature": features}, protocol=protocol))
    return path, np.concatenate(features)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_published_index_is_read_and_normalised(tmp_path, protocol):
    path, features = published(tmp_path, protocol)
    gallery = Gallery.load(path)
    assert gallery.names == ("Joey", "Monica") and len(gallery) == 3 and gallery.model is None
    found = gallery.identify(features / 4.2, top_k=1, threshold=0.9)
    assert [f.name for f in found] == ["Monica", "Joey", "Monica"]
    caution = gallery.require_model(MODEL)
    assert "does not say which model" in caution
    with pytest.raises(GalleryError, match=r"size 16.*128"):
        gallery.require_model(ModelIdentity("other", 128, "", "", mirrored=False))


class Payload:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (os.system, (f"touch {self.target}",))


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
def test_malicious_index_is_refused_without_running_it(tmp_path, protocol):
    target = tmp_path / "executed"
    path = tmp_path / "index.bin"
    path.write_bytes(pickle.dumps({"label": ["a"], "feature": [Payload(target)]}, protocol=protocol))
    with pytest.raises(GalleryError, match="system"):
        Gallery.load(path)
    assert not target.exists()
    pickle.loads(path.read_bytes())  # the payload itself works: the refusal is what stopped it
    assert target.exists()


@pytest.mark.parametrize(
    "value",
    [
        ["a list"],
        {"label": ["a"]},
        {"label": [], "feature": []},
        {"label": ["a", "b"], "feature": [np.ones((1, 4), np.float32)]},
        {"label": ["a", "b"], "feature": [np.ones((1, 4), np.float32), np.ones((1, 5), np.float32)]},
        {"label": ["a"], "feature": [np.zeros((1, 4), np.float32)]},
        {"label": ["a"], "feature": [np.full((1, 4), np.nan, np.float32)]},
        {"label": ["a"], "feature": ["text"]},
        {"label": ["unknown"], "feature": [np.ones((1, 4), np.float32)]},
        {"label": 1, "feature": 2},
        {"label": "a", "feature": [np.ones((1, 4), np.float32)]},
        {"label": np.array("a"), "feature": [np.ones((1, 4), np.float32)]},
        {"label": ["a"], "feature": [[[1.0], [2.0, 3.0]]]},
    ],
)
def test_published_index_with_odd_content_is_refused(tmp_path, value):
    path = tmp_path / "index.bin"
    path.write_bytes(pickle.dumps(value, protocol=3))
    with pytest.raises(GalleryError, match=r"^index\.bin"):
        Gallery.load(path)


# -- edits


def test_edits_give_new_galleries():
    gallery = make_gallery(["a", "b", "a"])
    assert gallery.without_person("a").names == ("b",)
    assert [e.path for e in gallery.without_picture("a/2.jpg").entries] == ["a/0.jpg", "b/1.jpg"]
    assert gallery.renamed("b", " c ").names == ("a", "c")
    assert len(gallery) == 3 and gallery.names == ("a", "b")
    with pytest.raises(GalleryError, match="--join"):
        gallery.renamed("b", "a")
    joined = gallery.renamed("b", "a", join=True)
    assert joined.names == ("a",) and len(joined) == 3


def test_embeddings_follow_their_entries_through_edits():
    gallery = make_gallery(["b", "a", "c"])
    row_of = {entry.path: gallery.embeddings[i] for i, entry in enumerate(gallery.entries)}
    edited = gallery.renamed("a", "zz").without_person("b")
    for i, entry in enumerate(edited.entries):
        np.testing.assert_array_equal(edited.embeddings[i], row_of[entry.path])


def test_faces_of_one_picture_stand_in_the_order_of_their_boxes():
    boxes = [(5.0, 1.0, 9.0, 9.0), None, (1.0, 7.0, 9.0, 9.0), (1.0, 2.0, 9.0, 9.0)]
    gallery = Gallery([GalleryEntry("a", "a.jpg", sha256="0" * 64, box_xyxy=box) for box in boxes], random_unit(4))
    assert [entry.box_xyxy for entry in gallery.entries] == [None, boxes[3], boxes[2], boxes[0]]
    np.testing.assert_array_equal(gallery.embeddings, random_unit(4)[[1, 3, 2, 0]])


@pytest.mark.parametrize("edit", [lambda g: g.without_person("x"), lambda g: g.renamed("x", "y"),
                                  lambda g: g.without_picture("x.jpg"), lambda g: g.renamed("a", "unknown"),
                                  lambda g: g.renamed("a", " "), lambda g: g.renamed("a", "b\nc")])  # fmt: skip
def test_edits_of_nobody_and_bad_names_are_refused(edit):
    with pytest.raises(GalleryError):
        edit(make_gallery(["a"]))


def test_merge_keeps_each_face_once():
    first, second = make_gallery(["a", "b"]), make_gallery(["a", "c", "c"], seed=1)
    merged = first.merged(second)
    assert merged.names == ("a", "b", "c") and len(merged) == 4
    assert first.merged(first).entries == first.entries


@pytest.mark.parametrize("change", [{"weights_sha256": "c" * 64}, {"mirrored": True}, {"preprocessing_sha256": "d"}])
def test_galleries_of_other_models_are_refused(change):
    other_model = ModelIdentity(**{**MODEL.__dict__, "name": "other", **change})
    with pytest.raises(GalleryError, match="testnet"):
        make_gallery(["a"]).require_model(other_model)
    with pytest.raises(GalleryError, match="cannot be merged"):
        make_gallery(["a"]).merged(make_gallery(["a"], model=other_model))
    assert make_gallery(["a"]).require_model(MODEL) == ""


def test_with_model_binds_an_imported_gallery(tmp_path):
    gallery = Gallery.load(published(tmp_path)[0])
    with pytest.raises(GalleryError, match="does not say"):
        gallery.merged(make_gallery(["a"]))
    assert gallery.with_model(MODEL).merged(make_gallery(["a"])).names == ("Joey", "Monica", "a")


# -- suspicions


def test_suspicions_point_at_the_planted_mistakes():
    anna, bert, carl = random_unit(3, seed=2)

    def near(direction, seed):
        row = direction + 0.05 * random_unit(1, seed=seed)[0]
        return row / np.linalg.norm(row)

    planted = [
        ("Anna", "1.jpg", near(anna, 11)),
        ("Anna", "2.jpg", near(anna, 12)),
        ("Anna", "wrong.jpg", near(bert, 13)),
        ("Bert", "1.jpg", near(bert, 14)),
        ("Bert", "2.jpg", near(bert, 15)),
        ("Bertie", "1.jpg", near(bert, 16)),
        ("Carl", "1.jpg", carl),
    ]
    entries = [GalleryEntry(name, f"{name}/{path}", sha256=str(i)) for i, (name, path, _) in enumerate(planted)]
    gallery = Gallery(entries, np.stack([row for _, _, row in planted]))
    found = {(s.kind, s.entry.path) for s in find_suspicions(gallery, threshold=0.7)}
    assert ("mislabelled", "Anna/wrong.jpg") in found
    assert ("same_person", "Bertie/1.jpg") in found
    assert not any(path.startswith(("Carl", "Anna/1", "Anna/2")) for _, path in found)


def test_one_file_under_two_names_and_an_outlier():
    rows = random_unit(3, seed=4)
    entries = [
        GalleryEntry("a", "a/1.jpg", sha256="same"),
        GalleryEntry("b", "b/1.jpg", sha256="same"),
        GalleryEntry("c", "c/1.jpg", sha256="x"),
        GalleryEntry("c", "c/2.jpg", sha256="y"),
    ]
    second = rows[1] * 0.5 + rows[2] * 0.2
    gallery = Gallery(entries, np.stack([rows[0], rows[0], rows[1], second / np.linalg.norm(second)]))
    assert [s.kind for s in find_suspicions(gallery, threshold=0.9999)] == [
        "same_file",
        "same_file",
        "outlier",
        "outlier",
    ]
    single = Gallery(entries[:1], rows[:1])
    assert find_suspicions(single, threshold=0.5) == []


def slow_suspicions(gallery, threshold, naming_threshold):
    """Compare face by face, straight from the definitions."""
    found, alike = [], {}
    for row, entry in enumerate(gallery.entries):
        scores = [float(gallery.embeddings[row] @ other) for other in gallery.embeddings]
        others = [n for n, other in enumerate(gallery.entries) if other.name != entry.name]
        own = [n for n, other in enumerate(gallery.entries) if other.name == entry.name and n != row]
        nearest = max(others, key=lambda n: scores[n])
        own_best = max(own, key=lambda n: scores[n]) if own else None
        own_score = scores[own_best] if own else None
        neighbour = gallery.entries[nearest]
        if entry.sha256 and (entry.sha256, entry.box_xyxy) == (neighbour.sha256, neighbour.box_xyxy):
            found.append(("same_file", entry, neighbour, own_score, scores[nearest]))
        elif not own and scores[nearest] >= threshold:
            found.append(("same_person", entry, neighbour, None, scores[nearest]))
        elif own and scores[nearest] > own_score:
            found.append(("mislabelled", entry, neighbour, own_score, scores[nearest]))
        elif own and own_score < threshold:
            found.append(("outlier", entry, gallery.entries[own_best], own_score, own_score))
        elif scores[nearest] >= naming_threshold:
            pair = frozenset((entry.name, neighbour.name))
            if pair not in alike or alike[pair][4] < scores[nearest]:
                alike[pair] = ("look_alike", entry, neighbour, None, scores[nearest])
    return found + sorted(alike.values(), key=lambda pair: -pair[4])


@pytest.mark.parametrize("block_rows", [1024, 7])
def test_suspicions_equal_the_slow_twin(block_rows, monkeypatch):
    monkeypatch.setattr(checking, "_BLOCK_ROWS", block_rows)
    random = np.random.default_rng(8)
    names = [f"p{n}" for n in random.integers(0, 16, 40)]
    people = dict(zip(sorted(set(names)), random_unit(16, 6, seed=3)))
    rows = np.stack([people[name] for name in names]) + random.normal(0, 0.22, (40, 6))
    rows[5] = rows[6]
    files = [str(n) for n in range(40)]
    files[5] = files[6] = "same"
    entries = [GalleryEntry(name, f"{n}.jpg", sha256=file) for n, (name, file) in enumerate(zip(names, files))]
    gallery = Gallery(entries, (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))
    expected = slow_suspicions(gallery, 0.8, 0.7)
    found = find_suspicions(gallery, threshold=0.8, naming_threshold=0.7)
    assert {kind for kind, *_ in expected} == {"same_file", "same_person", "mislabelled", "outlier", "look_alike"}
    assert [(one.kind, one.entry, one.other) for one in found] == [one[:3] for one in expected]
    for one, (*_, own, other) in zip(found, expected):
        assert one.own_similarity == (None if own is None else pytest.approx(own, abs=1e-6))
        assert one.other_similarity == pytest.approx(other, abs=1e-6)


def test_a_gallery_says_what_it_holds():
    shown = repr(make_gallery(["Ada", "Grace", "Ada"]))
    assert shown.startswith("Gallery(2 people, 3 faces, testnet 16-D") and "Ada" in shown
    assert repr(make_gallery(["Ada"])).startswith("Gallery(1 person, 1 face, ")


@pytest.mark.parametrize(("lengths", "worst"), [([1, 0.5, 1.2], 1), ([1, 1.9, 0.5], 1), ([np.nan, 1, 1], 0)])
def test_the_worst_length_is_told(lengths, worst):
    rows = random_unit(3) * np.array(lengths, np.float32)[:, None]
    with pytest.raises(GalleryError, match=f"embedding {worst} has length"):
        Gallery([GalleryEntry("a", f"{number}.jpg") for number in range(3)], rows)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda gallery: Gallery.load(None), "the place of the gallery is of type NoneType"),
        (lambda gallery: Gallery.load(5), "the place of the gallery is of type int"),
        (lambda gallery: gallery.save(None), "the place of the gallery is of type NoneType"),
        (lambda gallery: open_gallery(None), "the place of the gallery is of type NoneType"),
        (lambda gallery: create_gallery(None, gallery.model), "the place of the gallery is of type NoneType"),
        (lambda gallery: create_gallery("new.index", None), "the model of the gallery is of type NoneType"),
        (lambda gallery: Gallery.empty(None), "the model of the gallery is of type NoneType"),
        (lambda gallery: gallery.judged_by(None), "the model of the gallery is of type NoneType"),
        (lambda gallery: gallery.merged(None), "cannot be merged with a NoneType"),
        (lambda gallery: gallery.renamed("Ada", None), "the name of the person is of type NoneType"),
        (lambda gallery: Gallery([], None), "embeddings of type NoneType"),
        (lambda gallery: gallery.search(None, 1), "embeddings of type NoneType"),
        (lambda gallery: gallery.search(gallery.embeddings, None), "None candidates asked for"),
        (lambda gallery: open_pipeline(None), "settings of type NoneType"),
        (lambda gallery: open_pipeline(PipelineSettings(), gallery="a.index"), r"the path a\.index; give"),
    ],
)
def test_what_is_missing_or_of_another_type_is_one_line(call, message):
    gallery = make_gallery(["Ada"])
    with pytest.raises(ArcfaceError, match=message) as caught:
        call(gallery)
    assert "\n" not in str(caught.value)
