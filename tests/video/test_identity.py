"""Evidence over a track, thresholds from the card, one person once, the last word."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle.pipeline.cards import PLAIN_COSINE, SimilaritySpec, read_card
from arcface_paddle.pipeline.settings import ThresholdSettings
from arcface_paddle.pipeline.thresholds import search_threshold
from arcface_paddle.types import Candidate
from arcface_paddle.video.evidence import MOST_LOOKS, Evidence, Look, weight_of
from arcface_paddle.video.identity import Claim, NameRules, assign_names, names_in_retrospect

ROOT = Path(__file__).parents[2]
RULES = NameRules(give=0.5, sure=0.6, keep=0.35, same=0.55, different=0.2)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def evidence_of(vectors: np.ndarray, spec: SimilaritySpec = PLAIN_COSINE, weights=None) -> Evidence:
    evidence = Evidence(spec)
    for number, vector in enumerate(vectors):
        evidence.add(Look(vector, 1.0 if weights is None else weights[number], float(number)))
    return evidence


def claim(name=None, looks=9, **similarities: float) -> Claim:
    ordered = sorted(similarities.items(), key=lambda item: -item[1])
    return Claim(tuple(Candidate(*one) for one in ordered), name, looks)


def test_one_look_is_worth_what_a_picture_is():
    spec = SimilaritySpec(0.69, 0.29)
    one, other = unit(np.random.default_rng(0).normal(1.5, 1, (2, 64)))
    assert evidence_of([one], spec).similarity_to(other) == pytest.approx(
        spec.similarity_of(float(one @ other)), abs=1e-5
    )


@pytest.mark.parametrize("shared", [0.0, 1.5])
def test_strangers_scatter_as_for_one_look_and_the_person_comes_out(shared):
    """On faces made of a part that all share, the person and the moment, the tail of single looks holds for many."""
    rng = np.random.default_rng(0)
    common, people = shared * rng.normal(size=128), rng.normal(size=(400, 128))
    looks = [unit(common + person + rng.normal(0, 0.8, (10, 128))) for person in people]
    gallery = unit(common + people + rng.normal(0, 0.8, people.shape))
    strangers = np.concatenate([looks[i][:1] @ gallery[i + 1] for i in range(399)])
    spec = SimilaritySpec(float(strangers.mean()), 1 - float(strangers.mean()))
    single = np.array(
        [[spec.similarity_of(float(looks[i][0] @ gallery[j])) for j in range(i + 1, i + 9)] for i in range(390)]
    )
    fused = [evidence_of(one, spec) for one in looks]
    many = np.array([[fused[i].similarity_to(gallery[j]) for j in range(i + 1, i + 9)] for i in range(390)])
    assert many.std() == pytest.approx(single.std(), rel=0.12) and abs(many.mean()) < 0.02
    own_single = np.mean([spec.similarity_of(float(one[0] @ gallery[i])) for i, one in enumerate(looks)])
    own_many = np.mean([one.similarity_to(gallery[i]) for i, one in enumerate(fused)])
    assert own_many > own_single + 0.1


def test_good_looks_count_for_more_and_the_best_are_kept():
    good, bad = unit(np.array([[1.0, 0, 0], [0, 1, 0]]))
    evidence = evidence_of([good, bad], weights=[weight_of(0.9), weight_of(0.3)])
    assert evidence.template @ good > 0.99 and weight_of(0.9) == pytest.approx(9 * weight_of(0.3))
    for number in range(MOST_LOOKS):
        evidence.add(Look(good, 1.0, float(number)))
    assert len(evidence) == MOST_LOOKS and evidence.template @ good > 0.99999, "the bad one had to go"


def test_tracks_are_compared_by_both_means():
    rng = np.random.default_rng(1)
    person, other = rng.normal(size=(2, 64))
    one, two, three = (unit(who + rng.normal(0, 0.7, (6, 64))) for who in (person, person, other))
    first, again, stranger = evidence_of(one), evidence_of(two), evidence_of(three)
    assert (
        first.similarity_between(again) > np.mean(one @ two.T) + 0.2 and abs(first.similarity_between(stranger)) < 0.4
    )
    assert first.similarity_between(again) == pytest.approx(again.similarity_between(first))


def test_rules_follow_from_the_card():
    card = read_card(ROOT / "inference_model" / "FaceFusion" / "model.json")
    far = {count: search_threshold(card, ThresholdSettings(), comparisons=count).similarity for count in (10, 1000)}
    few, many = (NameRules.of(card, threshold=similarity) for similarity in far.values())
    assert few.give == far[10] < many.give == far[1000], "the threshold of the search"
    assert few.keep == many.keep == 0.349, "of one comparison at a rate of 1e-2, as the card's tail has it"
    assert few.sure - few.give == pytest.approx((0.623 - 0.349) / 3), "a decade of the tail"
    assert few.same == 0.55 and few.different < few.keep < few.give < few.sure
    strict = NameRules.of(card, threshold=0.4)
    assert strict.give == 0.4 and strict.keep < 0.349, "the user's threshold keeps its hysteresis"


def test_a_name_is_given_kept_and_changed_only_on_clear_evidence():
    def named(**known):
        return assign_names([claim(**known)], RULES, unique=True)[0]

    assert named(Ann=0.49) is None and named(Ann=0.5) == "Ann"
    assert named(name="Ann", Ann=0.36) == "Ann" and named(name="Ann", Ann=0.34) is None
    assert named(name="Ann", Ann=0.5, Bob=0.64) == "Ann" and named(name="Ann", Ann=0.5, Bob=0.66) == "Bob"
    assert named(looks=1, Ann=0.55) is None and named(looks=1, Ann=0.6) == "Ann", "one look needs more"


def test_one_person_once_in_a_frame():
    claims = [claim(Ann=0.8, Bob=0.78), claim(Ann=0.79, Bob=0.51), claim(Ann=0.7)]
    assert assign_names(claims, RULES, unique=True) == ["Bob", "Ann", None], "greedily, Ann and Bob were worth less"
    assert assign_names(claims, RULES, unique=False) == ["Ann", "Ann", "Ann"]
    assert assign_names([], RULES, unique=True) == []


@pytest.mark.parametrize("seed", range(12))
def test_the_last_word_has_the_greatest_sum_that_the_rivals_allow(seed):
    rng = np.random.default_rng(seed)
    claims = {n: claim(**{who: float(rng.uniform(0.3, 0.9)) for who in ("Ann", "Bob")}) for n in range(1, 6)}
    together = {n: {m for m in claims if m != n and rng.random() < 0.5} for n in claims}
    together = {n: others | {m for m in claims if n in together[m]} for n, others in together.items()}
    weights = {n: float(rng.uniform(1, 9)) for n in claims}
    named = names_in_retrospect(claims, RULES, together=together, weights=weights)

    def worth(names) -> float:
        return sum(weights[n] * claims[n].gains(RULES)[name] for n, name in names.items() if name)

    choices = [[None, *claims[n].gains(RULES)] for n in claims]
    allowed = [
        names for names in (dict(zip(claims, choice)) for choice in itertools.product(*choices))
        if not any(names[n] and names[n] == names[m] for n in claims for m in together[n])
    ]  # fmt: skip
    assert named in allowed and worth(named) == pytest.approx(max(worth(names) for names in allowed))
    assert names_in_retrospect(claims, RULES, together={}, weights=weights) == {
        n: max(one.gains(RULES), key=one.gains(RULES).get, default=None) for n, one in claims.items()
    }


def test_many_rivals_are_named_the_strongest_first():
    claims = {n: claim(Ann=0.5 + n / 100) for n in range(1, 21)}
    together = {n: set(claims) - {n} for n in claims}
    named = names_in_retrospect(claims, RULES, together=together, weights=dict.fromkeys(claims, 1.0))
    assert [n for n, name in named.items() if name] == [20]
