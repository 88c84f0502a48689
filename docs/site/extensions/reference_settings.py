"""The reference of settings: options of a training run, and the dataclasses that programs fill in."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import typing
from typing import Any

import markdown

from arcface_paddle.training.config import options

CLASSES = (
    "pipeline.settings.PipelineSettings",
    "pipeline.settings.DetectionSettings",
    "pipeline.settings.RuntimeOptions",
    "pipeline.settings.ThresholdSettings",
    "pipeline.settings.OutputSettings",
    "pipeline.settings.SessionSettings",
    "video.video_settings.VideoSettings",
    "video.track_settings.TrackSettings",
    "video.track_settings.TrackOutputs",
    "service.service_settings.ServiceSettings",
    "service.service_settings.Limits",
    "doctor.doctor_settings.DoctorSettings",
)
"""Dataclasses of settings, by module and name."""

WORDS = {
    "en": ("key", "default", "allowed", "meaning", "none"),
    "zh": ("键", "默认值", "可选值", "含义（英文原文）", "无"),
}


def training(language: str, group: str) -> str:
    """Return the options of a group (``data``, ``network``, ...) of a training run."""
    key, default, allowed, meaning, none = WORDS[language]
    rows = [
        [
            markdown.code(option.name),
            markdown.code(_shown(option.default)) if option.default not in (None, ()) else none,
            ", ".join(markdown.code(choice) for choice in option.choices),
            markdown.escaped(option.help_text),
        ]
        for option in options()
        if option.group == group
    ]
    return markdown.table([key, default, allowed, meaning], rows)


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def settings_class(language: str, path: str) -> str:
    """Return the fields of a dataclass of settings with their defaults and what its docstring says of them."""
    module, _, name = path.rpartition(".")
    kind = getattr(importlib.import_module(f"arcface_paddle.{module}"), name)
    said = attributes_of(kind)
    key, default, _, meaning, _ = WORDS[language]
    rows = [
        [markdown.code(field.name), markdown.code(_default(field)), markdown.prose(said[field.name])]
        for field in dataclasses.fields(kind)
        if field.init
    ]
    return f"`arcface_paddle.{path}`\n\n" + markdown.table([key, default, meaning], rows)


def _default(field: dataclasses.Field) -> str:
    if field.default is not dataclasses.MISSING:
        return repr(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return f"{getattr(field.default_factory, '__name__', 'made anew')}()"
    return "to be given"


def attributes_of(kind: type) -> dict[str, str]:
    """Return what the section ``Attributes:`` of a class says, by field."""
    said = inspect.cleandoc(kind.__doc__ or "")  # Python 3.13 strips the indentation, those before it keep it
    section = said.partition("Attributes:\n")[2]
    found = re.findall(r"^ {4}(\w+): (.*?)(?=^ {4}\w+: |^\S|\Z)", section, re.MULTILINE | re.DOTALL)
    return {name: text.strip() for name, text in found}


def groups() -> list[str]:
    """Return the groups of training options in order."""
    return list(dict.fromkeys(option.group for option in options()))


def hints(path: str) -> dict[str, Any]:
    """Return the types of a class's fields."""
    module, _, name = path.rpartition(".")
    return typing.get_type_hints(getattr(importlib.import_module(f"arcface_paddle.{module}"), name))
