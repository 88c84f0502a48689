"""Distillation: what a teacher gives, its cache, runs with and without labels, resumed bit for bit."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest
from test_training_runs import Listener, losses, saved_files, saved_state, settings
from tiny_data import write_dataset

from arcface_paddle.backbones import build_backbone
from arcface_paddle.data import open_dataset
from arcface_paddle.data.unlabelled import open_unlabelled
from arcface_paddle.errors import CheckpointError, ConfigError, DataError
from arcface_paddle.pipeline.builders import build_recognizer
from arcface_paddle.pipeline.runtime import RuntimeOptions
from arcface_paddle.training import run
from arcface_paddle.training.config import DistillationConfig, config_from
from arcface_paddle.training.finished_run import read_finished_run
from arcface_paddle.training.run_log import read_metrics
from arcface_paddle.training.teacher import Teacher, open_teacher
from arcface_paddle.training.teacher_cache import TeacherCache, content_key
from arcface_paddle.training.trainer import train
from arcface_paddle.weight_files import write_state_dict

STEPS = 4
ONE_OF_BOTH = {"embedding_weight": 1.0, "relation_weight": 1.0, "contrast_weight": 0.0}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), identities=10, pictures=3)


@pytest.fixture(scope="module")
def faces(data, tmp_path_factory) -> Path:
    """The same pictures without their labels."""
    folder = tmp_path_factory.mktemp("faces")
    shutil.copytree(data / "images", folder / "some")
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> str:
    """Weights of a small network, as a trained one; its folder is that of a run."""
    paddle.seed(11)
    network = build_backbone("MobileFaceNet_128", embedding_size=8, width=0.25)
    path = tmp_path_factory.mktemp("teacher") / "MobileFaceNet_128.pdparams"
    write_state_dict(path, {key: value.numpy() for key, value in network.state_dict().items()})
    return str(path.parent)


def taught(data: Path, output: Path, teacher: str, **changes):
    values = {"teacher": teacher, **ONE_OF_BOTH, "steps": STEPS, "lr": 1.0, "embedding_size": None, "warmup_steps": 1}
    return settings(data, output, **{**values, **changes})


def test_a_shipped_model_teaches_what_it_recognises_by(data):
    """Crop, normalisation and the sum over the mirror image are those of recognition."""
    dataset = open_dataset(data)
    crops = [dataset.read_image(index) for index in range(3)]
    models = [open_teacher("MobileFace", mirrored=mirrored) for mirrored in (True, False)]
    for model, mirrored in zip(models, (True, False)):
        shipped = build_recognizer("MobileFace", mirrored=mirrored, options=RuntimeOptions(precision="fp32"))
        assert model.embedding_size == 192
        np.testing.assert_allclose(model.embed(crops), shipped.embed(crops).vectors, atol=1e-5)
    assert models[0].identity != models[1].identity


def test_the_fused_recogniser_teaches_too(data):
    model = open_teacher("FaceFusion", mirrored=False)
    vectors = model.embed([open_dataset(data).read_image(0)])
    assert vectors.shape == (1, 320) and np.linalg.norm(vectors) == pytest.approx(1.0, abs=1e-5)


def test_a_run_without_labels_is_resumed_bit_for_bit_and_learns_its_teacher(faces, tmp_path, teacher):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    changes = {"augment": "light", "accumulation": 2, "batch_size": 6, "fp16": True}
    listener = Listener()
    assert train(taught(faces, whole, teacher, **changes), say=listener).reason == "finished"
    assert f"taught by {teacher}, 30 images" in listener
    assert any("Teacher cosine: 0." in line and "Relation loss: 0." in line for line in listener.lines)
    outcome = train(taught(faces, parts, teacher, **changes), say=Listener("Global Step: 2 "))
    assert (outcome.reason, outcome.state.step) == ("stopped", 2)
    train(taught(faces, parts, teacher, resume=True, **changes), say=Listener())
    assert saved_files(parts, STEPS) == saved_files(whole, STEPS)
    assert saved_state(parts, STEPS) == saved_state(whole, STEPS)
    assert losses(parts) == losses(whole)
    rows = [row for row in read_metrics(whole) if "loss" in row]
    for row in rows:
        assert row["loss"] == pytest.approx(1.0 - row["teacher_cosine"] + row["relation_loss"], rel=1e-4)
        assert "target_cosine" not in row
    assert not any("nan" in line for line in listener.lines)
    with pytest.raises(ConfigError, match="without labels: no class centres"):
        read_finished_run(whole, say=Listener())


@pytest.mark.long
def test_adam_without_classes_goes_on_too(faces, tmp_path, teacher):
    changes = {"optimizer": "adam", "lr": 0.001}
    train(taught(faces, tmp_path, teacher, **{**changes, "steps": 1}), say=Listener())
    outcome = train(taught(faces, tmp_path, teacher, **{**changes, "steps": 2}, resume=True), say=Listener())
    assert outcome.state.step == 2 and outcome.state.updates == {"count": 2.0}


def test_teacher_and_labels_add_up(data, tmp_path, teacher):
    """Of the first step: the sum of both, each with its factor."""
    one = {"steps": 1, "flip": False, "embedding_size": 8, "warmup_steps": 1}
    found = {}
    for name, changes in {
        "labels": {},
        "teacher": {"teacher": teacher, **ONE_OF_BOTH},
        "both": {
            "teacher": teacher,
            **ONE_OF_BOTH,
            "class_weight": 0.5,
            "embedding_weight": 2.0,
            "relation_weight": 0.0,
        },
    }.items():
        train(settings(data, tmp_path / name, **{**one, **changes}), say=Listener())
        found[name] = read_metrics(tmp_path / name)[0]
    expected = 0.5 * found["labels"]["loss"] + 2.0 * (1.0 - found["teacher"]["teacher_cosine"])
    assert found["both"]["loss"] == pytest.approx(expected, rel=1e-4)
    assert found["both"]["target_cosine"] == pytest.approx(found["labels"]["target_cosine"], abs=1e-5)


def test_relations_alone_bear_another_length_of_the_embedding(faces, tmp_path, teacher):
    changes = {"embedding_weight": 0.0, "embedding_size": 5, "steps": 1}
    train(taught(faces, tmp_path / "a", teacher, **changes), say=Listener())
    row = read_metrics(tmp_path / "a")[0]
    assert row["loss"] == pytest.approx(row["relation_loss"], rel=1e-5) and "teacher_cosine" not in row
    with pytest.raises(ConfigError, match=r"gives embeddings of 8 values, the student of 5: take --embedding_size 8"):
        run.build_run(taught(faces, tmp_path / "b", teacher, embedding_size=5), say=Listener())


class _Counting:
    """An embedder that counts its pictures."""

    def __init__(self, embed):
        self.embed, self.count = embed, 0

    def __call__(self, crops):
        self.count += len(crops)
        return self.embed(crops)


def test_the_cache_gives_back_the_same_numbers_by_content(faces, data, tmp_path, teacher):
    model = open_teacher(teacher, mirrored=True)
    options = DistillationConfig(teacher=teacher, teacher_cache=str(tmp_path / "cache"))
    first = _Counting(model.embed)
    object.__setattr__(model, "embed", first)
    unlabelled = open_unlabelled(faces)
    own = Teacher(model, unlabelled, options)
    indices = np.array([4, 2, 9])
    targets = own.targets(indices)
    np.testing.assert_array_equal(own.targets(indices[::-1]), targets[::-1])
    assert first.count == 3

    again = Teacher(model, open_dataset(data), options)  # a later session, another layout: the same pictures
    assert again.cached == 3
    by_path = {open_dataset(data).path_of(index)[-12:]: index for index in range(30)}
    same = np.array([by_path[unlabelled.path_of(index)[-12:]] for index in indices.tolist()])
    np.testing.assert_array_equal(again.targets(same), targets)
    assert first.count == 3
    without = Teacher(model, unlabelled, DistillationConfig(teacher=teacher)).targets(indices)
    np.testing.assert_allclose(without, targets, atol=1e-6)


def test_a_cache_with_damage_is_computed_anew_and_torn_records_are_not_read(tmp_path):
    keys = np.stack([content_key(bytes([number])) for number in range(3)])
    vectors = np.eye(3, 4, dtype=np.float32)
    cache = TeacherCache(tmp_path, teacher="a", embedding_size=4)
    assert cache.find(keys[0]) is None
    cache.add(keys[:2], vectors[:2])
    cache.add(keys[2:], vectors[2:])
    (file,) = tmp_path.rglob("*.embeddings")
    content = bytearray(file.read_bytes())
    assert len(content) == 3 * (16 + 16)
    content[16:20] = np.float32(np.nan).tobytes()  # of the first vector
    file.write_bytes(content[:-5])  # killed while it wrote
    later = TeacherCache(tmp_path, teacher="a", embedding_size=4)
    assert later.find(keys[0]) is None and later.find(keys[2]) is None
    np.testing.assert_array_equal(later.find(keys[1]), vectors[1])
    assert len(TeacherCache(tmp_path, teacher="b", embedding_size=4)) == 0
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(DataError, match="teacher_cache"):
        TeacherCache(blocked, teacher="a", embedding_size=4)


def test_every_session_of_a_cache_is_found_again(tmp_path):
    """By folder, key and layout of earlier versions, whose caches stay good."""
    folder = tmp_path / hashlib.sha256(b"a").hexdigest()[:16]
    random = np.random.default_rng(0)
    keys = np.stack([content_key(bytes([number])) for number in range(7)])
    assert keys[3].tobytes() == hashlib.blake2b(b"\3", digest_size=16).digest()
    vectors = random.normal(size=(7, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[5] *= 0.9985
    vectors[6] *= 1.0005
    known = 0
    for part in (slice(0, 1), slice(1, 4), slice(4, 7)):
        cache = TeacherCache(tmp_path, teacher="a", embedding_size=3)
        assert len(cache) == known
        cache.add(keys[part], vectors[part])
        known = part.stop
        assert len(cache) == known
        np.testing.assert_array_equal(cache.find(keys[part.stop - 1]), vectors[part.stop - 1])
    (folder / "empty.embeddings").write_bytes(b"")
    (folder / "cut.embeddings").write_bytes(b"123")
    assert len(list(folder.glob("*.embeddings"))) == 5
    later = TeacherCache(tmp_path, teacher="a", embedding_size=3)
    assert len(later) == 7
    for number in (0, 1, 2, 3, 4, 6):
        np.testing.assert_array_equal(later.find(keys[number]), vectors[number])
    assert later.find(keys[5]) is None, "no unit vector is damage"
    for absent in ([0, 0], [2**64 - 1, 0], [keys[2, 0], keys[2, 1] ^ np.uint64(1)]):
        assert later.find(np.array(absent, np.uint64)) is None


def test_wrong_words(tmp_path, faces, teacher):
    with pytest.raises(ConfigError, match="class_weight: there is no teacher; name one with --teacher"):
        config_from({"class_weight": 1.0})
    with pytest.raises(ConfigError, match="the teacher would teach nothing"):
        config_from({"teacher": "MobileFace", "embedding_weight": 0, "relation_weight": 0, "contrast_weight": 0})
    with pytest.raises(ConfigError, match="take --embedding_size 8"):
        changes = {"embedding_weight": 0.0, "contrast_weight": 1.0, "embedding_size": 5}
        run.build_run(taught(faces, tmp_path, teacher, **changes), say=Listener())
    with pytest.raises(CheckpointError, match=r"no \.pdparams file"):
        run.build_run(taught(faces, tmp_path, str(faces)), say=Listener())


def test_weights_of_a_teacher_bear_the_name_of_their_network(tmp_path):
    (tmp_path / "mine.pdparams").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"--teacher .*mine\.pdparams: the file's name must be that of its network"):
        open_teacher(str(tmp_path / "mine.pdparams"), mirrored=True)
