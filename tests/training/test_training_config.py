"""Options: published defaults, file and flags, and every way of getting them wrong."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
import yaml

import arcface_paddle.training.config as config_module
from arcface_paddle.errors import ConfigError, MissingDependencyError
from arcface_paddle.training.config import (
    DistillationConfig,
    OptimizerConfig,
    TrainConfig,
    config_from,
    config_text,
    load_config,
    options,
    parse_bool,
)


def test_published_defaults():
    values = {option.name: option.default for option in options()}
    published = {
        "loss": "ArcFace",
        "lr": 0.1,
        "batch_size": 512,
        "weight_decay": 2e-4,
        "logdir": "log",
        "output": "emore_arcface",
        "resume": False,
        "is_bin": True,
        "data_dir": "MS1M_bin",
        "label_file": None,
        "val_targets": ("lfw", "cfp_fp", "agedb_30"),
        "num_classes": None,
        "sample_rate": 1.0,
        "fp16": False,
    }
    assert {key: values[key] for key in published} == published


def test_defaults_and_bounds_stay():
    """What is refused by one version and not by the next, or begins otherwise, is changed in both places on purpose."""
    expected = yaml.safe_load((Path(__file__).parent / "option_bounds.yaml").read_text())
    fields = [field for _, kind in config_module._groups() for field in dataclasses.fields(kind)]
    assert sorted(expected) == sorted(field.name for field in fields)
    for field in fields:
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        bounds = {name: field.metadata[name] for name in ("least", "above", "most") if field.metadata[name] is not None}
        assert {"default": default, **bounds} == expected[field.name], field.name


def test_names_are_unique_over_the_groups_and_documented():
    names = [option.name for option in options()]
    assert len(names) == len(set(names))
    assert all(option.help_text for option in options())


def test_what_follows_from_flags():
    assert [OptimizerConfig(**flags).precision for flags in ({}, {"fp16": True}, {"bf16": True})] == [
        "float32",
        "float16",
        "bfloat16",
    ]
    same = {
        (embedding, contrast): DistillationConfig(embedding_weight=embedding, contrast_weight=contrast).needs_same_size
        for embedding in (0.0, 1.0)
        for contrast in (0.0, 0.5)
    }
    assert same == {(0.0, 0.0): False, (0.0, 0.5): True, (1.0, 0.0): True, (1.0, 0.5): True}


def test_label_file_follows_the_data_folder():
    assert TrainConfig().label_path.as_posix() == "MS1M_bin/label.txt"
    assert config_from({"data_dir": "d", "label_file": "other.txt"}).label_path.as_posix() == "other.txt"


def test_text_becomes_the_type_of_the_option():
    config = config_from(
        {"lr": "2e-1", "steps": "100", "val_targets": "a, b", "resume": "Yes", "decay_epochs": "1,2.5"}
    )
    assert config.optimizer.lr == 0.2
    assert config.schedule.steps == 100
    assert config.data.val_targets == ("a", "b")
    assert config.run.resume is True
    assert config.schedule.decay_epochs == (1.0, 2.5)
    for nothing in ("", "none", "None", " NONE ", None, []):
        assert config_from({"val_targets": nothing}).data.val_targets == ()
    assert config_from({"steps": "none"}, base=config).schedule.steps is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0", False), ("1", True), ("true", True), ("FALSE", False), ("auto", "auto"), ("Auto", "auto"), (True, True)],
)
def test_resume_is_a_truth_value_or_auto(value, expected):
    config = config_from({"resume": value})
    assert config.run.resume == expected and type(config.run.resume) is type(expected)


def test_another_word_for_resume_is_refused():
    with pytest.raises(ConfigError, match=r"resume: 'maybe' is not a truth value; allowed: true, .*; or auto"):
        config_from({"resume": "maybe"})


@pytest.mark.parametrize("resume", [False, True, "auto"])
def test_resume_is_recorded(tmp_path, resume):
    (tmp_path / "config.yaml").write_text(config_text(config_from({"resume": resume})))
    assert load_config(tmp_path / "config.yaml").run.resume == resume


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("True", True),
        ("t", True),
        ("1", True),
        ("YES", True),
        ("false", False),
        ("F", False),
        ("0", False),
        ("no", False),
    ],
)
def test_truth_values(text, value):
    assert parse_bool(text) is value


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rate": 1}, r"unknown key learning_rate; the keys are: .*\blr\b"),
        ({"lr": "fast"}, "lr is 'fast'; a number is needed"),
        ({"lr": 0}, r"lr is 0\.0; it must be above 0"),
        ({"lr": "nan"}, "lr is 'nan'"),
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"batch_size": 1.5}, "a whole number is needed"),
        ({"batch_size": True}, "a whole number is needed"),
        ({"sample_rate": 1.5}, r"sample_rate is 1\.5; it must be at most 1"),
        ({"decay": "linear"}, "decay is 'linear'; allowed: step, polynomial, cosine"),
        ({"is_bin": "maybe"}, "is_bin: 'maybe' is not a truth value"),
        ({"output": ["a"]}, "a text is needed"),
        ({"fp16": True, "bf16": True}, "fp16 and bf16"),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        config_from(values)


def test_file_then_flags(tmp_path):
    (tmp_path / "c.yaml").write_text("lr: 2e-2\nnetwork: iresnet50\ndecay_epochs: [3, 5]\n")
    config = config_from({"lr": 0.5}, base=load_config(tmp_path / "c.yaml"))
    assert (config.optimizer.lr, config.network.network) == (0.5, "iresnet50")
    assert config.schedule.decay_epochs == (3.0, 5.0)
    assert config.optimizer.weight_decay == TrainConfig().optimizer.weight_decay


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr: 0.1\nlrate: 3\n", r"c\.yaml: unknown key lrate; the keys are"),
        ("lr: 0.1\nlr: 0.2\n", "key lr stands there twice"),
        ("- a\n- b\n", "must hold lines 'option: value'"),
        ("lr: [1\n", "not valid YAML"),
        ("lr: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
        (f"lr: {'9' * 400}\n", r"c\.yaml: lr holds a whole number beyond 1\.7e308"),
        (f"data_dir: 0x{'f' * 5000}\n", "data_dir holds a whole number beyond"),
        (f"val_targets: [lfw, 0x{'f' * 5000}]\n", "val_targets holds a whole number beyond"),
        (f"? 0x{'f' * 5000}\n: 1\n", "unknown key a number; the keys are"),
        ("seed: 9007199254740993\n", "seed is 9007199254740993; it must be at most"),
    ],
)
def test_bad_files_are_refused(tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "c.yaml")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load_config(tmp_path / "none.yaml")


def test_resolved_configuration_reads_back(tmp_path):
    config = config_from({"network": "iresnet18", "steps": 7, "val_targets": "", "output": "ordner/übung", "lr": 1e-05})
    (tmp_path / "config.yaml").write_text(config_text(config))
    assert load_config(tmp_path / "config.yaml") == config
    (tmp_path / "config.yaml").write_text(config_text(TrainConfig()))
    assert load_config(tmp_path / "config.yaml") == TrainConfig()


def test_no_group_grows_beyond_thirty_options():
    for group in dataclasses.fields(TrainConfig):
        assert len(dataclasses.fields(getattr(TrainConfig(), group.name))) <= 16


@pytest.mark.parametrize(
    ("values", "rule", "decays_norm"),
    [
        ({}, "sgd", True),
        ({"decay_norm": False}, "sgd", False),
        ({"optimizer": "sgd_bn"}, "sgd", False),
        ({"optimizer": "adamw"}, "adamw", True),
        ({"optimizer": "adamw", "decay_norm": False}, "adamw", False),
    ],
)
def test_the_published_name_of_an_optimizer_means_sgd_without_decay_of_norms(values, rule, decays_norm):
    optimizer = config_from(values).optimizer
    assert (optimizer.rule_name, optimizer.decays_norm) == (rule, decays_norm)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"norm": "batch_renorm", "batch_norm": "frozen"}, "leave one of the two out"),
        ({"norm": "batch_renorm", "batch_norm": "native_sync"}, "no layer of Paddle's own; choose batch_norm sync"),
        ({"data_format": "NHWC", "norm": "group"}, "data_format NHWC has no norm group"),
        ({"data_format": "NHWC", "batch_norm": "sync"}, "has no batch_norm sync; choose native_sync"),
        ({"combined": "1,0.3"}, "three margins m1,m2,m3 are needed"),
        ({"focal_gamma": 2.0}, "focal_gamma is 2, but total_loss is softmax"),
        ({"loss": "CenterLoss", "centre_weight": 0}, "CenterLoss with centre_weight 0 is NormHead"),
        ({"centre_alpha": 0.5}, r"centre_alpha is 0\.5 without a centre loss"),
        ({"optimizer": "adam", "nesterov": True}, "with optimizer adam leave it out"),
        ({"override": "step=0"}, "needs --resume 1 or --resume auto"),
        ({"mode": "static", "batch_norm": "sync"}, "cannot compile synchronised BatchNorm"),
        ({"mode": "static", "batch_norm": "native_sync"}, "cannot compile synchronised BatchNorm"),
        ({"mode": "static", "norm": "batch_renorm"}, "would keep the limits of norm batch_renorm"),
        ({"logger": "visualdl,tensorboard", "logdir": ""}, "logger tensorboard writes into --logdir, which is empty"),
        ({"first_centres": "mean", "pretrained": "a", "loss": "NormHead"}, "no class centres that are compared"),
        ({"first_centres": "mean", "pretrained": "a", "teacher": "b"}, "no class centres that are compared"),
        ({"first_centres": "mean"}, "an untrained network tells nobody from another"),
        ({"l2_to_start": 0.5}, "l2_to_start is 0.5: the weights to stay near"),
        ({"early_stop": 2, "validate_every": 0}, "early_stop is 2, but validate_every is 0"),
        ({"class_weight": 1.0}, "class_weight: there is no teacher"),
        (
            {"teacher": "b", "embedding_weight": 0, "relation_weight": 0, "contrast_weight": 0},
            "would teach nothing",
        ),
        ({"augment": "light", "ccrop": True}, "leave one of them out"),
        ({"loss": "NormHead", "softmax_steps": 5}, "softmax_steps is 5, but NormHead has no margin to be led up to"),
        ({"seed": 2**1023}, "seed holds a whole number beyond"),
        ({"seed": 2**1022}, "it must be at most"),
        ({"data_dir": {"a": 10**400}}, "data_dir holds a whole number beyond"),
        ({"seed": None}, "seed is None; a whole number is needed"),
        ({"seed": "7.5"}, "seed is '7.5'; a whole number is needed"),
        ({"lr": "inf"}, "lr is 'inf'; a number is needed"),
        ({"lr": [1]}, r"lr is \[1\]; a number is needed"),
        ({"output": True}, "output is True; a text is needed"),
        ({"momentum": 1}, r"momentum is 1\.0; it must be at most 0\.9999"),
        ({"logger": "visualdl,paper"}, "logger is .*; allowed: "),
    ],
)
def test_options_that_exclude_each_other_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        config_from(values)


@pytest.mark.parametrize(
    "values",
    [
        {"norm": "batch_renorm", "batch_norm": "sync"},
        {"norm": "group", "batch_norm": "frozen"},
        {"data_format": "NHWC", "batch_norm": "native_sync"},
        {"combined": "1,0.3,0.2"},
        {"total_loss": "focal", "focal_gamma": 0},
        {"nesterov": True, "optimizer": "sgd_bn"},
        {"loss": "NormHead", "softmax_steps": 0},
        {"softmax_steps": 5},
        {"logger": "visualdl,tensorboard,wandb"},
        {"fp16": True},
        {"bf16": True},
        {"override": "step=0", "resume": "auto"},
        {"mode": "static", "batch_norm": "frozen", "norm": "group"},
        {"logdir": ""},
        {"first_centres": "mean", "pretrained": "a", "l2_to_start": 0.5},
        {"first_centres": "mean", "pretrained": "a", "teacher": "b", "class_weight": 0.5},
        {"early_stop": 2, "validate_every": 1},
        {"teacher": "b", "embedding_weight": 0, "contrast_weight": 0},
        {"lr": 10**400 // 10**399, "seed": "12", "weight_decay": 0, "momentum": 0.9999},
    ],
)
def test_options_that_go_together(values):
    config_from(values)


def test_losses_in_words_and_numbers():
    plain, focal = (config_from({"total_loss": kind}).classifier for kind in ("softmax", "focal"))
    assert (plain.gamma, focal.gamma, plain.words) == (0.0, 2.0, "ArcFace")
    many = {"total_loss": "focal", "focal_gamma": 1.5, "subcentres": 2, "centre_weight": 0.25}
    assert config_from(many).classifier.words == (
        "ArcFace + 2 sub-centres + focal (gamma 1.5) + centre loss (weight 0.25)"
    )
    factors = [config_from(values).classifier.centre_factor for values in ({}, {"loss": "CenterLoss"})]
    assert factors == [0.0, 1.0]
    assert config_from({"loss": "CenterLoss", "centre_weight": 0.5}).classifier.centre_factor == 0.5
    without = [config_from(values).distillation.is_without_classes for values in ({}, {"teacher": "b"})]
    assert without == [False, True]
    assert not config_from({"teacher": "b", "class_weight": 0.5}).distillation.is_without_classes


def test_flags_of_truth_values_may_stand_alone():
    assert {option.name for option in options() if option.is_bool} >= {"flip", "fp16", "resume", "ccrop"}
    assert not {option.name for option in options() if option.is_bool} & {"lr", "steps", "output", "mode"}
    with pytest.raises(ConfigError, match="'maybe' is not a truth value; allowed: true, t, 1, yes, false, f, 0, no"):
        parse_bool("maybe")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr: &a 0.1\n", r"c\.yaml line 1: anchors"),
        ("steps: 3\nval_targets: &a [lfw]\n", r"c\.yaml line 2: anchors"),
        ("steps: 3\nval_targets: [lfw,\n  [agedb_30]]\n", r"c\.yaml line 3: nests deeper"),
        ("lr: 2001-13-45\n", r"c\.yaml: a value is not what its form or tag promises"),
        ("7\n", "it holds a int"),
        ("lr: 1\nsteps: 2\nlr: 3\nsteps: 4\n", "key lr, steps stands there twice"),
    ],
)
def test_lines_that_are_refused_are_told(tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "c.yaml")


def test_files_that_name_nothing_are_all_defaults(tmp_path):
    for text in ("", "# nothing\n", "---\n"):
        (tmp_path / "c.yaml").write_text(text)
        assert load_config(tmp_path / "c.yaml") == TrainConfig()
    (tmp_path / "c.yaml").write_bytes(b"output: \xff\n")
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*c\.yaml: "):
        load_config(tmp_path / "c.yaml")


def test_without_the_reader_of_yaml_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingDependencyError, match="reading and writing configurations"):
        config_text(TrainConfig())


def test_the_resolved_settings_are_read_by_people_too():
    text = config_text(config_from({"output": "übung"}))
    assert text.startswith("# Resolved settings") and text.endswith("\n") and not text.endswith("\n\n")
    assert "\n\n# data\ndata_dir: MS1M_bin\n" in text and "\noutput: übung\n" in text and "\n- lfw\n" in text
    assert "übung" not in config_text(config_from({"output": "übung\u2028"}))
    values = config_module.plain_settings(TrainConfig())
    assert values["val_targets"] == ["lfw", "cfp_fp", "agedb_30"] and set(values) == {one.name for one in options()}
