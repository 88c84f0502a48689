"""Thresholds of pairs and searches: from the card, the asked rate and the size of the gallery."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arcface_paddle import Gallery
from arcface_paddle.cli import main
from arcface_paddle.errors import ConfigError
from arcface_paddle.pipeline import cards, model_files
from arcface_paddle.pipeline.gallery import GalleryEntry
from arcface_paddle.pipeline.settings import ThresholdSettings
from arcface_paddle.pipeline.thresholds import caution_about, pair_threshold, search_threshold, similarity_at

DEMO = Path(__file__).parents[2] / "demo"
TAIL = ((1e-1, 0.2), (1e-2, 0.35), (1e-3, 0.45), (1e-4, 0.53), (1e-5, 0.6))


def card_with(**calibration: Any) -> cards.ModelCard:
    card = model_files.find_card("MobileFace")
    assert card.recognizer is not None and card.recognizer.calibration is not None
    changed = dataclasses.replace(card.recognizer.calibration, **calibration)
    return dataclasses.replace(card, recognizer=dataclasses.replace(card.recognizer, calibration=changed))


@pytest.mark.parametrize("far, similarity", TAIL)
def test_measured_points_are_met(far: float, similarity: float) -> None:
    assert similarity_at(TAIL, far) == pytest.approx(similarity, abs=1e-12)


def test_between_points_similarity_is_linear_in_the_logarithm() -> None:
    rates = np.logspace(-7, -0.5, 200)
    expected = np.interp(-np.log10(rates), [1, 2, 3, 4, 5], [s for _, s in TAIL])
    beyond = rates < 1e-5
    expected[beyond] = 0.6 + 0.07 * (-np.log10(rates[beyond]) - 5)
    np.testing.assert_allclose([similarity_at(TAIL, rate) for rate in rates], expected, atol=1e-9)
    assert similarity_at(TAIL, 1e-300) == 1.0


@pytest.mark.parametrize("fpir", [0.001, 0.01, 0.2])
@pytest.mark.parametrize("comparisons", [1, 3, 200, 100_000])
def test_a_search_names_strangers_at_the_asked_rate(fpir: float, comparisons: int) -> None:
    """Draw strangers whose similarities have exactly the tail, search them, and count the names."""
    card = card_with(tail=TAIL)
    found = search_threshold(card, ThresholdSettings(fpir=fpir), comparisons=comparisons)
    assert found.far is not None
    assert 1 - (1 - found.far) ** comparisons == pytest.approx(fpir, rel=1e-6)
    assert found.similarity == pytest.approx(similarity_at(TAIL, found.far), abs=5.1e-5)
    assert found.extrapolated == (found.far < 1e-5)
    assert (found.fpir, found.comparisons) == (fpir, comparisons) and found.evidence and "look alike" in found.note


def test_the_simulated_rate_is_the_asked_one() -> None:
    card = card_with(tail=TAIL)
    found = search_threshold(card, ThresholdSettings(), comparisons=20)
    assert found.similarity == round(found.similarity, 4)  # as all similarities are told
    random = np.random.default_rng(3)
    rates = random.uniform(size=(50_000, 20))  # a stranger of FAR u has the similarity that the tail gives for u
    lowest = rates.min(axis=1)
    named = np.array([similarity_at(TAIL, rate) >= found.similarity for rate in lowest]).mean()
    assert named == pytest.approx(0.01, abs=0.0015)


def test_more_people_and_rarer_errors_need_more() -> None:
    card = card_with(tail=TAIL)
    by_size = [search_threshold(card, ThresholdSettings(), comparisons=n).similarity for n in (0, 1, 10, 1000, 10**7)]
    assert by_size == sorted(by_size) and by_size[0] == by_size[1] and by_size[-1] > by_size[1]
    strict = search_threshold(card, ThresholdSettings(fpir=1e-4), comparisons=10)
    assert strict.similarity > by_size[2]


def test_a_rate_near_nothing_over_many_people_is_met_as_far_as_can_be() -> None:
    """It became a FAR of 0, of which there is no logarithm."""
    found = search_threshold(card_with(), ThresholdSettings(fpir=1e-320), comparisons=10**9)
    assert found.similarity == 1.0 and found.far > 0 and found.extrapolated


def test_a_card_without_a_tail_searches_as_ever_and_cannot_meet_a_rate() -> None:
    card = card_with(tail=())
    found = search_threshold(card, ThresholdSettings(), comparisons=10**6)
    assert (found.similarity, found.far, found.extrapolated) == (0.58, None, False)
    with pytest.raises(ConfigError, match="does not say how similar strangers are"):
        search_threshold(card, ThresholdSettings(fpir=0.1), comparisons=1)


def test_a_threshold_without_any_measurement_is_said_to_be_the_published_one() -> None:
    for measured in ({"logistic": None}, {"far_1e3": None}):
        found = pair_threshold(card_with(tail=(), **measured), ThresholdSettings())
        assert found.evidence.startswith("the card of MobileFace: ") and found.similarity == 0.58
    bare = card_with(tail=(), logistic=None, far_1e3=None)
    found = pair_threshold(bare, ThresholdSettings())
    assert found.evidence == "" and "is the published tool's, not measured for MobileFace" in caution_about(bare, found)


def test_what_is_asked_for_goes_first_and_only_once() -> None:
    card = card_with(tail=TAIL)
    assert search_threshold(card, ThresholdSettings(0.3), comparisons=9).similarity == 0.3
    by_rate = search_threshold(card, ThresholdSettings(far="1e-2"), comparisons=9)
    assert (by_rate.similarity, by_rate.far, by_rate.fpir) == (0.42, 1e-2, None)
    for twice in (
        ThresholdSettings(0.3, "1e-2"),
        ThresholdSettings(0.3, fpir=0.1),
        ThresholdSettings(None, "1e-2", 0.1),
    ):
        with pytest.raises(ConfigError, match="both set the threshold; give one"):
            search_threshold(card, twice, comparisons=9)
    for fpir in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="--fpir is"):
            search_threshold(card, ThresholdSettings(fpir=fpir), comparisons=9)
    with pytest.raises(ConfigError, match="is about a search"):
        pair_threshold(card, ThresholdSettings(fpir=0.1))


def test_extrapolation_is_said() -> None:
    card = card_with(tail=TAIL)
    known = search_threshold(card, ThresholdSettings(), comparisons=1000)
    assert caution_about(card, known) == ""
    unknown = search_threshold(card, ThresholdSettings(), comparisons=100_000)
    assert "extrapolated: 100,000 comparisons a search need a FAR of 1.0e-07" in caution_about(card, unknown)


@pytest.mark.parametrize("name", ["MobileFace", "ResNet29", "FaceFusion"])
def test_shipped_recognisers_have_a_tail_and_say_where_it_is_from(name: str) -> None:
    recognizer = model_files.find_card(name).recognizer
    assert recognizer is not None and recognizer.calibration is not None
    assert len(recognizer.calibration.tail) >= 4 and "LFW" in recognizer.calibration.tail_evidence


def test_a_mean_per_person_is_one_comparison() -> None:
    entries = [GalleryEntry("Ada", "1.jpg"), GalleryEntry("Ada", "2.jpg"), GalleryEntry("Grace", "3.jpg")]
    gallery = Gallery(entries, np.eye(3, 4, dtype=np.float32))
    assert gallery.comparisons == 3 and gallery.with_decision("mean").comparisons == 2


@pytest.mark.parametrize("name", ["MobileFace", "ResNet29", "FaceFusion"])
def test_the_demo_people_are_named_and_the_stranger_is_not(name: str, tmp_path: Path) -> None:
    models = ["--rec_model", name]
    status = main.run_module(
        "recognize",
        [f"--build_index={tmp_path}/i", f"--img_dir={DEMO}/gallery", *models],
        prog="test_recognition",
    )
    assert status == 0
    arguments = ["--det", "--rec", f"--index={tmp_path}/i", f"--input={DEMO}/queries", "--no_draw"]
    status = main.run_module("recognize", [*arguments, *models, f"--json={tmp_path}/f.json"], prog="test_recognition")
    assert status == 0
    found = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    basis = found["threshold"]
    assert basis["similarity"] == pytest.approx(found["rec_thresh"], abs=1e-4)
    assert (basis["fpir"], basis["comparisons"], basis["extrapolated"]) == (0.01, 3, False)
    assert basis["far"] == pytest.approx(0.00334, abs=1e-5) and "LFW" in basis["evidence"]
    names = {Path(image["source"]).stem: sorted(f["name"] for f in image["faces"]) for image in found["images"]}
    assert names.pop("group") == ["Barack Obama", "Grace Hopper", "Joe Biden", "unknown"]
    assert names == {
        "biden_relit": ["Joe Biden"],
        "hopper_relit": ["Grace Hopper"],
        "obama_blue_room": ["Barack Obama"],
        "obama_speech_2009": ["Barack Obama"],
        "stranger_collins": ["unknown"],
    }


@pytest.mark.parametrize("name", ["similarity", "fpir", "distance"])
@pytest.mark.parametrize("value", ["0.5", b"1", 1j, [0.5], object(), 10**400])
def test_a_threshold_that_is_no_number_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"{name} is .*; allowed: a number"):
        ThresholdSettings(**{name: value})
    assert getattr(ThresholdSettings(**{name: np.float32(0.5)}), name) == 0.5
