"""Options: published defaults, file and flags, and every way of getting them wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

import arcface_paddle.training.config as config_module
from arcface_paddle.errors import ConfigError
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
