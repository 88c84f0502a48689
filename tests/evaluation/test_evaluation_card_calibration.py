"""Calibration as a library call: what is measured, what is chosen of it, what the card then says."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.evaluation import card_calibration
from arcface_paddle.evaluation.calibration import PairScores
from arcface_paddle.evaluation.card_calibration import (
    CalibrationSettings,
    MeasuredSet,
    calibrate_card,
    calibrate_on_pairs,
    write_calibration,
)
from arcface_paddle.pipeline.cards import Calibration, SimilaritySpec, read_card, write_card
from arcface_paddle.pipeline.model_files import open_model, preset_card

sys.path.insert(0, str(Path(__file__).parent))
from painted_people import crop, embed, write_pairs, write_people

CARD = preset_card("aligned-112")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_people(folder / "people", people=12, shots=3)
    write_pairs(folder / "own.bin", pairs=240)
    return folder


def slow_scores(people, shots):
    """Compare all pictures of the painted people, one pair at a time."""
    vectors = []
    for person in range(people):
        for shot in range(shots):
            picture = crop(person, shot)
            total = embed(picture[None])[0] + embed(picture[None, :, ::-1])[0]
            vectors.append((person, total / np.linalg.norm(total)))
    genuine, impostor = [], []
    for index, (person, vector) in enumerate(vectors):
        for other, second in vectors[index + 1 :]:
            (genuine if person == other else impostor).append(float(vector @ second))
    return np.array(genuine), np.array(impostor)


def test_threshold_lets_in_as_many_strangers_as_it_says(data):
    genuine, impostor = slow_scores(12, 3)
    found = calibrate_card(CARD, embed, data=[str(data / "people")], settings=CalibrationSettings(batch_size=10))
    assert (found.measured.genuine, found.measured.impostor) == (len(genuine), len(impostor)) == (36, 594)
    point = found.measured.points[0]
    assert point.false_accepts == 5  # 1 % of 594
    assert point.threshold == pytest.approx(np.sort(impostor)[-6], abs=1e-6)  # just above the sixth
    # Rounded up to four decimals: never below what was measured.
    assert point.threshold <= found.chosen.far_1e2 < point.threshold + 1.1e-4
    assert (found.chosen.far_1e3, found.chosen.far_1e4) == (None, None)
    assert found.before == CARD.recognizer.calibration
    assert found.document()["card"] == dataclasses.asdict(found.chosen)
    assert found.document()["pictures"] == 36


def test_pairs_of_several_sets_are_pooled_but_not_formed_across_them(data):
    sets = [str(data / "people"), str(data / "own.bin")]
    found = calibrate_card(CARD, embed, data=sets, settings=CalibrationSettings())
    assert (found.measured.genuine, found.measured.impostor) == (36 + 120, 594 + 120)
    assert "36 pictures of 12 people in people and the pairs of own.bin" in found.chosen.statement
    assert found.search.impostors == 36  # one search a picture of the labelled set


def test_search_in_an_assumed_gallery_when_only_pairs_are_known(data):
    few = calibrate_card(CARD, embed, data=[str(data / "own.bin")], settings=CalibrationSettings(gallery_people=200))
    assert few.search.threshold is None
    assert few.chosen.identification == few.chosen.far_1e2  # the strictest that is known
    one = calibrate_card(CARD, embed, data=[str(data / "own.bin")], settings=CalibrationSettings(gallery_people=1))
    assert one.search.threshold == pytest.approx(one.measured.points[0].threshold)
    assert "in a gallery of 1 people" in one.chosen.statement


def test_given_thresholds_replace_what_was_measured_and_are_named(data):
    settings = CalibrationSettings(
        mirror=False,
        given={"far_1e3": 0.9, "identification": 0.95},
        note="from the gate at the door.",
        describe="paint",
    )
    chosen = calibrate_card(CARD, embed, data=[str(data / "people")], settings=settings).chosen
    assert (chosen.far_1e3, chosen.identification) == (0.9, 0.95)
    assert chosen.far_1e2 is not None
    assert "in people (paint), without mirrored pictures" in chosen.statement
    assert chosen.statement.endswith("Not from these data but set: far_1e3, identification. From the gate at the door.")


@pytest.mark.parametrize(
    ("given", "note", "message"),
    [
        (
            {"nothing": 0.5, "far": 0.5},
            "n",
            "there is no threshold 'far' to set; allowed: far_1e2, far_1e3, far_1e4, identification",
        ),
        ({"far_1e2": 1.01}, "n", "between -1 and 1"),
        ({"far_1e2": float("nan")}, "n", "between -1 and 1"),
        ({"far_1e2": 0.5}, "", "needs --note"),
    ],
)
def test_thresholds_that_cannot_be(given, note, message):
    with pytest.raises(ConfigError, match=message):
        CalibrationSettings(given=given, note=note)


def test_too_few_strangers_for_any_threshold(tmp_path):
    write_people(tmp_path / "few", people=3, shots=2)
    with pytest.raises(DataError, match="12 pairs of two persons are too few for any threshold"):
        calibrate_card(CARD, embed, data=[str(tmp_path / "few")], settings=CalibrationSettings())


def test_faces_that_were_not_aligned_are_refused(tmp_path):
    write_people(tmp_path / "large", people=2, shots=2, size=150)
    with pytest.raises(DataError, match="4 pictures are not 112x112"):
        calibrate_card(CARD, embed, data=[str(tmp_path / "large")], settings=CalibrationSettings())


def test_a_model_that_knows_nobody_is_not_calibrated(data):
    def contrary(crops):
        features = embed(crops)
        features[1::2] *= -1  # the second picture of each pair
        return features

    with pytest.raises(DataError, match="labels or model are wrong"):
        calibrate_card(CARD, contrary, data=[str(data / "own.bin")], settings=CalibrationSettings(mirror=False))


CHOSEN = Calibration(0.5, None, None, 0.6, "Measured.", (10.0, -5.0))


@pytest.fixture
def folder(tmp_path):
    source = open_model("MobileFace").path
    target = tmp_path / "mine"
    target.mkdir()
    for name in ("inference.pdmodel", "inference.pdiparams"):
        shutil.copy(source / name, target / name)
    return target


def test_a_folder_without_a_card_gets_one_under_its_own_name(folder):
    path = write_calibration(open_model(folder, task="face recognition"), CHOSEN)
    card = read_card(path)
    assert (card.name, card.notice, card.recognizer.calibration) == ("mine", "", CHOSEN)
    assert set(card.files) == {"inference.pdmodel", "inference.pdiparams"}


def test_a_card_keeps_everything_else(folder):
    mine = dataclasses.replace(CARD, name="own name", notice="Only for daylight.", licence="ours")
    write_card(folder, mine)
    card = read_card(write_calibration(open_model(folder), CHOSEN))
    assert (card.name, card.notice, card.licence) == ("own name", "Only for daylight.", "ours")
    assert card.recognizer == dataclasses.replace(mine.recognizer, calibration=CHOSEN)


def test_the_tail_says_how_similar_strangers_are(data):
    _, impostor = slow_scores(12, 3)
    found = calibrate_card(CARD, embed, data=[str(data / "people")], settings=CalibrationSettings())
    ordered = np.sort(impostor)[::-1]
    assert [far for far, _ in found.chosen.tail] == [1e-1, 1e-2]  # 594 pairs say nothing of 1e-3
    for (_, similarity), allowed in zip(found.chosen.tail, (59, 5)):
        assert ordered[allowed] <= similarity < ordered[allowed - 1] + 1.1e-4
    assert found.chosen.tail_evidence == "36 pictures of 12 people in people: 594 pairs of strangers"
    settings = CalibrationSettings(given={"identification": 0.6}, note="from elsewhere")
    assert calibrate_card(CARD, embed, data=[str(data / "people")], settings=settings).chosen.tail == ()


def test_thresholds_are_similarities_of_the_card(data):
    """A card whose similarity is not the plain cosine gets all thresholds in its own measure."""
    plain = calibrate_card(CARD, embed, data=[str(data / "people")], settings=CalibrationSettings())
    spec = SimilaritySpec(offset=0.2, scale=1.25)
    scaled = dataclasses.replace(CARD, recognizer=dataclasses.replace(CARD.recognizer, similarity=spec))
    found = calibrate_card(scaled, embed, data=[str(data / "people")], settings=CalibrationSettings())
    for name in ("far_1e2", "identification"):
        expected = spec.similarity_of(getattr(plain.chosen, name))
        assert getattr(found.chosen, name) == pytest.approx(expected, abs=2e-4)
    for (_, similarity), (_, cosine) in zip(found.chosen.tail, plain.chosen.tail):
        assert similarity == pytest.approx(spec.similarity_of(cosine), abs=2e-4)
    assert found.chosen.logistic[0] == pytest.approx(plain.chosen.logistic[0] * 1.25, rel=2e-2)


def test_settings_right_at_their_bounds():
    settings = CalibrationSettings()
    assert settings.mirror and settings.batch_size == 64 and settings.gallery_people == 200 and not settings.progress
    for value in (-1.0, 1.0):
        assert CalibrationSettings(given={"far_1e3": value}, note="measured elsewhere").given == {"far_1e3": value}
    for value in (-1.001, 1.001):
        with pytest.raises(ConfigError, match="between -1 and 1"):
            CalibrationSettings(given={"far_1e3": value}, note="measured elsewhere")


def pairs_of(strangers, *, top=None):
    """Scores with genuine pairs far above the strangers, who are evenly spread."""
    impostor = np.linspace(-0.5, 0.5, strangers)
    return MeasuredSet(PairScores(np.array([0.8, 0.9]), impostor, top, pictures=7, people=3), "what was seen")


def test_the_strictest_known_threshold_stands_for_an_unknown_one_of_a_search():
    found = calibrate_on_pairs(CARD, [pairs_of(2000)], settings=CalibrationSettings())
    assert found.search.threshold is None
    assert found.chosen.far_1e2 < found.chosen.far_1e3 == found.chosen.identification
    slope, intercept = found.chosen.logistic
    assert slope == pytest.approx(found.measured.logistic.slope, abs=5e-5) and slope == round(slope, 4)
    assert intercept == pytest.approx(found.measured.logistic.intercept, abs=5e-5) and intercept == round(intercept, 4)
    assert "Search: no threshold of its own (too few pairs: 2,000 of strangers" in found.chosen.statement


def test_a_search_that_was_measured_is_told_with_its_strangers():
    top = np.linspace(0.0, 0.6, 200)
    settings = CalibrationSettings(describe="by hand")
    found = calibrate_on_pairs(CARD, [pairs_of(2000, top=top)], settings=settings)
    assert found.search.threshold == pytest.approx(top[-3])
    assert f"Search: {top[-3]:.3f} (2 of 200 pictures were most similar to a stranger" in found.chosen.statement
    assert found.chosen.tail_evidence == "what was seen (by hand): 2,000 pairs of strangers"
    assert found.before == CARD.recognizer.calibration is not None


def test_one_rate_is_no_tail():
    settings = CalibrationSettings(given={"far_1e2": 0.7}, note="from elsewhere")
    assert calibrate_on_pairs(CARD, [pairs_of(99)], settings=settings).chosen.tail == ()
    assert len(calibrate_on_pairs(CARD, [pairs_of(100)], settings=settings).chosen.tail) == 2


def test_the_tail_goes_down_to_one_in_a_million():
    scores = pairs_of(1_000_000).scores
    tail = card_calibration._with_tail(CHOSEN, scores, "data", CalibrationSettings()).tail
    assert [rate for rate, _ in tail] == [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6]


def test_thresholds_are_rounded_up_but_not_beyond_a_similarity():
    assert card_calibration._rounded_up(0.12341) == 0.1235 and card_calibration._rounded_up(0.5) == 0.5
    assert card_calibration._rounded_up(float(np.nextafter(1.0, 2.0))) == 1.0
