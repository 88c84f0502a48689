"""Whole runs without the command line: people of a labelled set, templates of IJB, both against slow twins."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle.data import open_dataset
from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.evaluation.embedder import Embedder
from arcface_paddle.evaluation.embedding import EmbeddingSettings
from arcface_paddle.evaluation.identification import SplitSettings, split_gallery_probes
from arcface_paddle.evaluation.identification_run import identify_people
from arcface_paddle.evaluation.ijb import SETTING_NAMES, TemplateSettings, settings_by_name
from arcface_paddle.evaluation.ijb_files import read_ijb
from arcface_paddle.evaluation.ijb_run import aligned_pictures, evaluate_ijb
from arcface_paddle.evaluation.photograph_pairs import measure_photographs

sys.path.insert(0, str(Path(__file__).parent))
from ijb_layout import write_ijb
from painted_people import embed, write_people

MODEL = Embedder("painted", "a 7x7 picture", embed)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return open_dataset(write_people(tmp_path_factory.mktemp("data") / "people", people=10, shots=3))


def slow_rank_1(dataset, split):
    """Search every probe in the gallery, one picture at a time."""

    def vector(index):
        picture = dataset.read_image(int(index))
        total = embed(picture[None])[0] + embed(picture[None, :, ::-1])[0]
        return total / np.linalg.norm(total)

    gallery = {int(dataset.labels[index]): vector(index) for index in split.gallery}
    hits, mated = 0, 0
    for index in split.probes:
        label = int(dataset.labels[index])
        if label in gallery:
            mated += 1
            best = max(gallery, key=lambda person: float(vector(index) @ gallery[person]))
            hits += best == label
    return hits, mated


def test_people_are_searched_as_by_a_slow_twin(people):
    settings = SplitSettings(gallery_images=1, stranger_share=0.3, seed=3)
    found = identify_people(MODEL, people, split=settings, settings=EmbeddingSettings(batch_size=7))
    hits, mated = slow_rank_1(people, split_gallery_probes(people.labels, settings=settings))
    assert (found.model, found.description, found.result.name) == ("painted", "a 7x7 picture", "people")
    assert (found.result.people, found.result.mated, found.result.unmated) == (7, mated, 9)
    assert found.result.rank(1) == pytest.approx(hits / mated)
    assert hits > 0.8 * mated


def test_every_model_gets_the_same_split(people):
    blind = Embedder("blind", "", lambda crops: np.ones((len(crops), 4), np.float32))
    settings = {"split": SplitSettings(seed=1), "settings": EmbeddingSettings()}
    good, bad = (identify_people(model, people, **settings).result for model in (MODEL, blind))
    assert (good.mated, good.unmated) == (bad.mated, bad.unmated)
    assert bad.rank(1) == 0 < good.rank(1)  # ties count against the right person


def test_too_few_pictures_a_person(people):
    with pytest.raises(DataError, match="none of 10 people has more than 3 pictures"):
        identify_people(MODEL, people, split=SplitSettings(gallery_images=3), settings=EmbeddingSettings())
    with pytest.raises(ConfigError, match="pooling 'median'"):
        identify_people(MODEL, people, split=SplitSettings(), settings=EmbeddingSettings(), pooling="median")


@pytest.fixture(scope="module")
def ijb(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ijb") / "IJBC"
    write_ijb(folder, people=4)
    return read_ijb(folder)


def test_pictures_are_turned_upright_by_their_landmarks(ijb):
    """Pictures of one painted person, turned and scaled at random, look alike once they are aligned."""
    decode = aligned_pictures(ijb)
    crops = np.stack([decode(index) for index in range(6)])  # of the first person
    assert crops.shape == (6, 112, 112, 3) and crops.dtype == np.uint8
    features = embed(crops[:, 16:96, 16:96].repeat(2, axis=1).repeat(2, axis=2)[:, :112, :112])
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert (unit @ unit.T).min() > 0.8
    other = decode(len(ijb.pictures) - 1)[16:96, 16:96].repeat(2, axis=0).repeat(2, axis=1)[:112, :112]
    assert (unit @ (embed(other[None])[0] / np.linalg.norm(embed(other[None])))).max() < 0.6


def test_templates_are_embedded_once_and_mirrored_only_if_needed(ijb):
    seen = []

    def counting(crops):
        seen.append(len(crops))
        return embed(crops)

    pictures = len(ijb.pictures)
    plain = evaluate_ijb(Embedder("m", "", counting), ijb, protocols=settings_by_name(["N1D1F0", "N0D0F0"]))
    assert sum(seen) == pictures
    seen.clear()
    found = evaluate_ijb(Embedder("m", "", counting), ijb, protocols=settings_by_name(["all"]), batch_size=5)
    assert sum(seen) == 2 * pictures and max(seen) == 5
    assert [one.name for one in found.verifications] == [f"IJBC 1:1 {name}" for name in SETTING_NAMES]
    assert len(found.searches) == 8
    by_name = {one.name: one for one in found.verifications}
    for one in plain.verifications:
        np.testing.assert_allclose(one.similarities, by_name[one.name].similarities, atol=1e-6)


def test_settings_by_their_published_names():
    assert settings_by_name(["N1D0F1"]) == [TemplateSettings(norm_weight=True, detector_weight=False, flip=True)]
    assert [one.name for one in settings_by_name(["all"])] == list(SETTING_NAMES)
    assert SETTING_NAMES[0] == TemplateSettings().name == "N1D1F1"
    for wrong in ("N1D1", "n1d1f1", "N2D1F1", "N1D1F1 "):
        with pytest.raises(ConfigError, match="allowed: all, N1D1F1"):
            settings_by_name([wrong])


def test_runs_are_silent_and_take_batches_of_64_unless_told():
    told = inspect.signature(evaluate_ijb).parameters
    assert (told["batch_size"].default, told["progress"].default) == (64, False)
    assert TemplateSettings() == TemplateSettings(norm_weight=True, detector_weight=True, flip=True)
    assert inspect.signature(measure_photographs).parameters["shown"].default is False
