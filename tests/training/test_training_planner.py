"""Every figure of a plan by hand, and when which advice is given."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
from paddle import nn

from arcface_paddle import backbones
from arcface_paddle.errors import ConfigError
from arcface_paddle.training.planner import BackboneSize, PlanSettings, advice, make_plan, measure_backbone

BACKBONE = BackboneSize(parameters=1_000_000, activations_per_image=5_000_000, multiplications_per_image=200_000_000)
PLAIN = PlanSettings(num_classes=1001, embedding_size=64, ranks=4, batch_size=8)  # 251 classes and 32 pictures
FULL = replace(
    PLAIN,
    sample_rate=0.1,  # and of the other classes 3.15 % by the labels of a batch: 32.2 of 251
    subcentres=2,
    centre_loss=True,
    weight_dtype="bfloat16",
    precision="bfloat16",
    optimizer="amsgrad",
    logits_bytes=4 * 32 * 10,  # ten rows at a time
)
MANY = PlanSettings(num_classes=5_000_000, batch_size=64)
FEW = PlanSettings(num_classes=5_000, batch_size=64)


def figures(settings: PlanSettings) -> tuple[dict[str, Any], dict[str, Any]]:
    plan = make_plan(settings, BACKBONE)
    values = plan.as_dict()
    assert values["settings"] == asdict(settings)
    return values["memory"], values["communication"]


def test_all_figures_of_a_plain_run() -> None:
    memory, communication = figures(PLAIN)
    centres = 251 * 64 * 4
    classifier = {
        "classifier_weights": centres,
        "classifier_momentum": centres,
        "classifier_second_moments": 0,
        "classifier_gradient": centres,
        "classifier_sampled_copy": 0,
        "classifier_logits": 4 * 32 * 251,
        "classifier_temporaries": centres,
        "classifier_update": 5 * centres,
        "feature_centres": 0,
        "gathered_features": 4 * 4 * 32 * 64,
    }
    backbone = {
        "backbone_weights": 4_000_000,
        "backbone_gradients_and_momentum": 12_000_000,
        "backbone_second_moments": 0,
        "backbone_activations": 5_000_000 * 8 * 4,
    }
    peak = 3 * centres + max(4 * 32 * 251 + centres + 4 * 4 * 32 * 64, 5 * centres)
    sums = {"classifier_peak": peak, "total": peak + sum(backbone.values())}
    assert memory == {**classifier, **backbone, **sums}
    sent = {
        "features_gather": 3 * 8 * 64 * 4,
        "softmax_reductions": 2 * 3 * 3 * 4 * 32 // 4,
        "feature_gradients": 3 * 8 * 64 * 4,
        "backbone_gradients": 2 * 3 * 4_000_000 // 4,
    }
    assert communication == {**sent, "total": sum(sent.values())}


def test_all_figures_of_a_run_with_everything() -> None:
    memory, communication = figures(FULL)
    in_step, piece = 33 * 128 * 4, 10 * 128 * 4  # sub-centres make a row twice as long
    classifier = {
        "classifier_weights": 251 * 128 * 2,
        "classifier_momentum": 251 * 128 * 4,
        "classifier_second_moments": 251 * (2 * 128 + 1) * 4,
        "classifier_gradient": in_step,
        "classifier_sampled_copy": in_step + piece,
        "classifier_logits": (2 * 4 + 1) * 32 * 10,
        "classifier_temporaries": in_step + piece,
        "classifier_update": (5 + 2 * 2) * in_step + in_step,
        "feature_centres": 251 * 64 * 4,
        "gathered_features": 6 * 4 * 32 * 64,
    }
    backbone = {
        "backbone_weights": 4_000_000,
        "backbone_gradients_and_momentum": 12_000_000,
        "backbone_second_moments": 8_000_000,
        "backbone_activations": 5_000_000 * 8 * 2,
    }
    assert {name: memory[name] for name in {**classifier, **backbone}} == {**classifier, **backbone}
    kept = sum(classifier[f"classifier_{name}"] for name in ("weights", "momentum", "second_moments", "gradient"))
    assert memory["classifier_peak"] == kept + classifier["feature_centres"] + classifier["classifier_update"]
    assert memory["total"] == memory["classifier_peak"] + sum(backbone.values())
    assert communication["features_gather"] == communication["feature_gradients"] == 2 * 3 * 8 * 64 * 4
    plan = make_plan(FULL, BACKBONE)
    assert (plan.rows_per_rank, plan.rows_in_step) == (251, 33)
    assert plan.multiplications_per_step == 3 * 32 * 33 * 128


def test_a_copy_of_the_rows_is_updated_where_they_are_sampled_or_stored_in_16_bits() -> None:
    for changes, copies in (({"sample_rate": 0.5}, 1), ({"weight_dtype": "bfloat16"}, 1), ({}, 0)):
        plan = make_plan(replace(PLAIN, **changes), BACKBONE)
        assert plan.memory.classifier_update == (5 + copies) * plan.rows_in_step * 64 * 4


def test_large_batches_need_more_for_the_pass_than_for_the_update() -> None:
    memory, _ = figures(replace(FULL, batch_size=2048, logits_bytes=2**30))
    states = [f"classifier_{name}" for name in ("weights", "momentum", "second_moments", "gradient")]
    passing = ["classifier_sampled_copy", "classifier_logits", "classifier_temporaries", "gathered_features"]
    assert sum(memory[name] for name in passing) > memory["classifier_update"]
    assert memory["classifier_peak"] == sum(memory[name] for name in (*states, "feature_centres", *passing))


def test_a_network_is_counted_layer_by_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(name: str, *, embedding_size: int, width: float) -> nn.Layer:
        assert (name, embedding_size, width) == ("some", 5, 0.5)
        frozen = nn.Linear(embedding_size, 2)
        for weight in frozen.parameters():
            weight.stop_gradient = True
        body = nn.Sequential(
            nn.Conv2D(3, 4, 2, stride=2), nn.BatchNorm2D(4), nn.PReLU(), nn.Flatten(), nn.Linear(4 * 56 * 56, 5)
        )
        return nn.Sequential(body, frozen)

    monkeypatch.setattr(backbones, "build_backbone", build)
    size = measure_backbone("some", embedding_size=5, width=0.5)
    out = 4 * 56 * 56
    assert size.parameters == (4 * 12 + 4) + 2 * 4 + 1 + (out * 5 + 5)
    assert size.activations_per_image == 3 * 112 * 112 + 4 * out + 5 + 2
    assert size.multiplications_per_image == out * 12 + out * 5 + 5 * 2
    assert size.layers == 6


def test_a_sampled_step_has_all_rows_at_most_and_the_last_piece_one_row_at_least() -> None:
    assert make_plan(replace(FEW, sample_rate=0.9999, num_classes=40), BACKBONE).rows_in_step == 40
    assert make_plan(replace(PLAIN, logits_bytes=1), BACKBONE).memory.classifier_logits == 4 * 32
    assert make_plan(replace(PLAIN, num_classes=4, ranks=4), BACKBONE).rows_per_rank == 1


@pytest.mark.parametrize(
    "name", ["num_classes", "embedding_size", "ranks", "batch_size", "subcentres", "logits_bytes", "sample_rate"]
)
def test_settings_right_at_their_bounds(name: str) -> None:
    one = replace(PlanSettings(num_classes=9), **{name: 1})
    assert getattr(one, name) == 1
    with pytest.raises(ConfigError, match=f"{name} is 0; allowed"):
        replace(one, **{name: 0})
    with pytest.raises(ConfigError, match=r"sample_rate is 1\.001; allowed"):
        replace(one, sample_rate=1.001)
    with pytest.raises(ConfigError, match="9 classes cannot be split over 10 ranks"):
        PlanSettings(num_classes=9, ranks=10)
    for kind in ("precision", "weight_dtype", "momentum_dtype", "optimizer"):
        with pytest.raises(ConfigError, match=f"{kind} is 'int4'; allowed"):
            PlanSettings(num_classes=9, **{kind: "int4"})


def said(settings: PlanSettings) -> list[str]:
    """Return the beginnings of what is advised."""
    return [sentence[:20] for sentence in advice(make_plan(settings, BACKBONE), BACKBONE)]


def test_which_advice_is_given() -> None:
    half = {"momentum_dtype": "bfloat16"}
    assert said(MANY) == [
        "sampling pays: --sam",
        "a momentum in bfloat",
        "more ranks would spl",
        "the logits exceed th",
    ]
    assert said(replace(MANY, **half)) == ["sampling pays: --sam", "more ranks would spl", "the logits exceed th"]
    assert said(replace(MANY, ranks=8)) == ["sampling pays: --sam", "the logits exceed th"]
    assert said(replace(MANY, ranks=8, logits_bytes=4 * 512 * 625_000)) == ["sampling pays: --sam"]
    assert said(FEW) == ["sampling does not pa"]
    assert said(replace(FEW, sample_rate=0.5)) == ["sampling at 0.5 save"]
    assert said(replace(FEW, sample_rate=0.001)) == ["sampling at 0.001 sa", "few negatives are le"]
    for batch_size, sentences in ((20, 1), (21, 2)):  # of 40 classes, all of which take part
        assert len(said(replace(FEW, num_classes=40, sample_rate=0.9999, batch_size=batch_size))) == sentences


def test_advice_on_sampling_reckons_with_its_figures() -> None:
    (whole, *_), (sampled, *_) = (
        advice(make_plan(s, BACKBONE), BACKBONE) for s in (MANY, replace(MANY, sample_rate=0.1))
    )
    plans = [make_plan(replace(MANY, sample_rate=rate), BACKBONE) for rate in (1.0, 0.1)]
    megabytes = (plans[0].memory.classifier_peak - plans[1].memory.classifier_peak) / 2**20
    classifier, backbone = 3 * 64 * 5_000_000 * 128, 3 * 200_000_000 * 64
    assert whole == (
        f"sampling pays: --sample_rate 0.1 saves {megabytes:,.0f} MB per rank, and the classifier, "
        f"{classifier / (classifier + backbone):.0%} of the arithmetic, shrinks to 10% of its work"
    )
    assert sampled == (
        f"sampling at 0.1 saves {megabytes:,.0f} MB per rank against all classes; "
        f"{plans[1].rows_in_step:,} of 5,000,000 rows take part in a step"
    )
    assert f"save {5_000_000 * 128 * 4 / 2 / 2**20:,.0f} MB" in advice(plans[0], BACKBONE)[1]


@pytest.mark.parametrize(
    ("num_classes", "batch_size", "activations", "words"),
    [
        (1_000_000, 64, 200_000_000, "sampling pays: --sample_rate 0.1"),  # .39 of the arithmetic, hardly any memory
        (50_000, 8, 5_000_000, "sampling pays: --sample_rate 0.1"),  # .03 of it, and .36 of the memory
        (5_000, 64, 5_000_000, "sampling does not pay: the classifier is"),
    ],
)
def test_sampling_pays_for_arithmetic_or_for_memory(
    num_classes: int, batch_size: int, activations: int, words: str
) -> None:
    backbone = replace(BACKBONE, activations_per_image=activations)
    plan = make_plan(PlanSettings(num_classes=num_classes, batch_size=batch_size), backbone)
    assert advice(plan, backbone)[0].startswith(words)
