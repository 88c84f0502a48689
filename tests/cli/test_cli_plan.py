"""The planner against sums done by hand and against the classifier's own buffers, and its command."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import paddle
import pytest

from arcface_paddle.backbones import build_backbone
from arcface_paddle.cli.main import main
from arcface_paddle.errors import ConfigError
from arcface_paddle.heads.margins import build_margin
from arcface_paddle.heads.memory import STATES_OF
from arcface_paddle.heads.sharded_classifier import ClassifierSettings, ShardedClassifier
from arcface_paddle.heads.update_rules import UpdateRule
from arcface_paddle.training.optimizer import FlatOptimizer
from arcface_paddle.training.planner import BackboneSize, PlanSettings, advice, make_plan, measure_backbone

BACKBONE = BackboneSize(parameters=1_000_000, activations_per_image=5_000_000, multiplications_per_image=200_000_000)
SETTINGS = PlanSettings(num_classes=1001, embedding_size=64, ranks=4, batch_size=8)


def test_memory_by_hand():
    memory = make_plan(SETTINGS, BACKBONE).memory
    rows = 251  # of 1001 classes on 4 ranks, the largest shard
    assert memory.classifier_weights == memory.classifier_momentum == memory.classifier_gradient == rows * 64 * 4
    assert memory.classifier_logits == 4 * 32 * rows
    assert memory.classifier_sampled_copy == 0
    assert memory.backbone_activations == 5_000_000 * 8 * 4
    assert memory.total > memory.classifier_peak + memory.backbone_activations


def test_communication_by_hand_and_none_alone():
    communication = make_plan(SETTINGS, BACKBONE).communication
    assert communication.features_gather == 3 * 8 * 64 * 4
    assert communication.backbone_gradients == 2 * 3 * 1_000_000 * 4 // 4
    assert make_plan(replace(SETTINGS, ranks=1), BACKBONE).communication.total == 0


def test_half_precision_halves_what_it_stores():
    full, half = (
        make_plan(replace(SETTINGS, momentum_dtype=dtype, weight_dtype=dtype, precision=dtype), BACKBONE).memory
        for dtype in ("float32", "bfloat16")
    )
    assert half.classifier_momentum * 2 == full.classifier_momentum
    assert half.classifier_weights * 2 == full.classifier_weights
    assert half.backbone_activations * 2 == full.backbone_activations
    assert half.classifier_gradient == full.classifier_gradient


@pytest.mark.parametrize(("sample_rate", "subcentres"), [(1.0, 1), (0.2, 1), (0.2, 3)])
def test_buffers_of_the_classifier_have_the_planned_sizes(sample_rate, subcentres):
    settings = PlanSettings(5000, 32, batch_size=64, sample_rate=sample_rate, subcentres=subcentres, centre_loss=True)
    plan = make_plan(settings, BACKBONE)
    own = ClassifierSettings(5000, 32, sample_rate=sample_rate, subcentres=subcentres, centre_weight=0.1)
    classifier = ShardedClassifier(own, build_margin("ArcFace"))
    assert classifier.feature_centres.rows().nbytes == plan.memory.feature_centres
    assert classifier.weight().nbytes == plan.memory.classifier_weights
    assert classifier.velocity().nbytes == plan.memory.classifier_momentum
    assert classifier.extra_states() == {} and plan.memory.classifier_second_moments == 0
    random = np.random.default_rng(0)
    features = paddle.to_tensor(random.normal(size=(64, 32)).astype(np.float32), stop_gradient=False)
    classifier.loss(features, classifier.choose_classes(random.integers(0, 5000, 64), step=0)).backward()
    (rows, shard_pass), *_ = classifier._passes
    used = 5000 if rows is None else len(rows)
    assert used == pytest.approx(plan.rows_in_step, rel=0.15)
    assert shard_pass.centre_gradient.shape == [used, 32 * subcentres]


@pytest.mark.parametrize("optimizer", list(STATES_OF))
def test_states_of_the_update_rules_have_the_planned_sizes(optimizer):
    memory = make_plan(replace(SETTINGS, ranks=1, optimizer=optimizer), BACKBONE).memory
    settings = ClassifierSettings(1001, 64, rule=UpdateRule(optimizer))
    extra = ShardedClassifier(settings, build_margin("ArcFace")).extra_states().values()
    assert memory.classifier_second_moments == sum(array.nbytes for array in extra)
    network = paddle.nn.Linear(30, 20)
    states = FlatOptimizer(network, UpdateRule(optimizer)).states()
    values = sum(array.size for name, arrays in states.items() if name != "momentum" for array in arrays.values())
    assert memory.backbone_second_moments == 4 * BACKBONE.parameters * values // (30 * 20 + 20)
    plain = make_plan(replace(SETTINGS, ranks=1), BACKBONE).memory
    assert (memory.total > plain.total) == (optimizer != "sgd")


def test_a_smaller_logits_limit_shrinks_the_peak():
    large = PlanSettings(num_classes=1_000_000, batch_size=256)
    pieces = replace(large, logits_bytes=64 << 20)
    assert make_plan(pieces, BACKBONE).memory.classifier_logits <= 64 << 20
    assert make_plan(pieces, BACKBONE).memory.classifier_peak < make_plan(large, BACKBONE).memory.classifier_peak


def test_subcentres_multiply_the_classifier_and_the_centre_loss_adds_one():
    one, three = (make_plan(replace(SETTINGS, subcentres=count), BACKBONE) for count in (1, 3))
    for part in ("classifier_weights", "classifier_momentum", "classifier_gradient"):
        assert getattr(three.memory, part) == 3 * getattr(one.memory, part)
    assert three.multiplications_per_step == 3 * one.multiplications_per_step
    assert three.communication == one.communication  # ranks exchange features and figures of the softmax only
    assert one.memory.classifier_logits * 10 == three.memory.classifier_logits * 4  # two cosines and two truth values
    joint = make_plan(replace(SETTINGS, centre_loss=True), BACKBONE)
    assert joint.memory.feature_centres == 251 * 64 * 4 and one.memory.feature_centres == 0
    assert joint.communication.features_gather == 2 * one.communication.features_gather


def test_advice_turns_with_the_number_of_classes():
    few, many = (PlanSettings(num_classes=classes, batch_size=64) for classes in (5_000, 5_000_000))
    assert "does not pay" in advice(make_plan(few, BACKBONE), BACKBONE)[0]
    sentences = advice(make_plan(many, BACKBONE), BACKBONE)
    assert "sampling pays" in sentences[0]
    assert any("more ranks" in sentence for sentence in sentences)
    sampled = replace(many, sample_rate=0.1, momentum_dtype="bfloat16", ranks=8)
    sentences = advice(make_plan(sampled, BACKBONE), BACKBONE)
    assert "saves" in sentences[0] and not any("momentum" in sentence for sentence in sentences)
    starved = replace(few, sample_rate=0.001)
    assert any("few negatives" in sentence for sentence in advice(make_plan(starved, BACKBONE), BACKBONE))


def test_measured_backbone():
    size = measure_backbone("MobileFaceNet_128", embedding_size=128)
    network = build_backbone("MobileFaceNet_128")
    trainable = [weight for weight in network.parameters() if not weight.stop_gradient]
    assert size.parameters == sum(int(weight.size) for weight in trainable)
    assert 0.9e6 < size.parameters < 1.1e6  # the paper says 0.99 M, without its classifier
    assert 2.0e8 < size.multiplications_per_image < 2.4e8  # the paper says 221 M
    narrow = measure_backbone("MobileFaceNet_128", embedding_size=128, width=0.5)
    assert narrow.activations_per_image == pytest.approx(size.activations_per_image / 2, rel=0.05)


@pytest.mark.parametrize(
    "change",
    [
        {"num_classes": 0},
        {"num_classes": 3},
        {"sample_rate": 0.0},
        {"sample_rate": 2.0},
        {"batch_size": 0},
        {"momentum_dtype": "int4"},
        {"optimizer": "lamb"},
    ],
)
def test_bad_settings_are_refused(change):
    with pytest.raises(ConfigError):
        replace(SETTINGS, **change)


def test_command_prints_table_and_advice(capsys):
    assert main(["plan", "--num_classes", "85742", "--ranks", "2"]) == 0
    output = capsys.readouterr().out
    assert "memory: classifier weights" in output and "backbone gradients sent per pass" in output
    assert "- sampling" in output


def test_command_prints_json(capsys):
    flags = ["--num_classes", "1000", "--width", "0.5", "--format", "json", "--optimizer", "amsgrad"]
    assert main(["plan", *flags]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["memory"]["classifier_weights"] == 1000 * 128 * 4
    assert values["settings"]["num_classes"] == 1000
    assert values["memory"]["classifier_second_moments"] == 1000 * (2 * 128 + 1) * 4
    assert values["memory"]["total"] > values["memory"]["classifier_peak"] > 0
    assert main(["plan", "--num_classes", "1000", "--width", "0.5", "--format", "json", "--subcentres", "3"]) == 0
    assert json.loads(capsys.readouterr().out)["memory"]["classifier_weights"] == 3 * 1000 * 128 * 4


@pytest.mark.parametrize(
    ("flags", "name", "size"),
    [
        ([], "MobileFaceNet_128", 128),
        (["--network", "iResNet18"], "iresnet18", 512),
        (["--network", "mobilefacenet_192"], "MobileFaceNet_192", 192),
        (["--network", "IRESNET18", "--embedding_size", "64"], "iresnet18", 64),
    ],
)
def test_command_takes_the_networks_own_embedding_size(capsys, flags, name, size):
    assert main(["plan", "--num_classes", "1000", "--width", "0.25", "--format", "json", *flags]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["network"], values["settings"]["embedding_size"]) == (name, size)
    assert values["memory"]["classifier_weights"] == 1000 * size * 4


@pytest.mark.parametrize(
    "flags", [["--num_classes", "0"], ["--num_classes", "9", "--network", "x"], ["--num_classes", "9", "--width", "0"]]
)
def test_command_says_what_is_wrong_in_one_line(capsys, flags):
    assert main(["plan", *flags]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_the_normalised_centres_of_16_bit_products_are_planned():
    temporaries = {
        precision: make_plan(replace(SETTINGS, precision=precision), BACKBONE).memory.classifier_temporaries
        for precision in ("float32", "float16", "bfloat16")
    }
    assert temporaries["float16"] == temporaries["bfloat16"] == 2 * temporaries["float32"] > 0
