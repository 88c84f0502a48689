"""From parsed JSON to frozen dataclasses, strictly: unknown, missing and ill-typed keys are named errors."""

from __future__ import annotations

import dataclasses
import functools
import sys
import typing
from typing import Any, Mapping, TypeVar, Union

from arcface_paddle.errors import ModelFileError

T = TypeVar("T")


# Annotations are text, which takes a hundred times longer to compile than to look up.
_types_of = functools.cache(typing.get_type_hints)


def parse_dataclass(kind: type[T], value: Any, *, name: str) -> T:
    """Build a ``kind`` from a JSON object; a ``problem()`` method, if any, has the last word.

    Raises:
        ModelFileError: naming the place within the document.
    """
    if not isinstance(value, dict):
        raise ModelFileError(f"{name}: must be an object, not {value!r:.60}")
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, kind))}
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise ModelFileError(f"{name}: unknown key {unknown[0]!r}; allowed: {', '.join(fields)}")
    types = _types_of(typing.cast(Any, kind))
    arguments = {}
    for key, field in fields.items():
        if key in value:
            arguments[key] = _parse(types[key], value[key], f"{name}: {key}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ModelFileError(f"{name}: key {key!r} is missing")
    parsed = kind(**arguments)
    problem = parsed.problem() if hasattr(parsed, "problem") else ""
    if problem:
        raise ModelFileError(f"{name}: {problem}")
    return parsed


def _parse(kind: Any, value: Any, name: str) -> Any:
    origin = typing.get_origin(kind)
    if origin is Union:  # Optional is the only union in a card
        inner = next(option for option in typing.get_args(kind) if option is not type(None))
        return None if value is None else _parse(inner, value, name)
    if origin is tuple:
        return _parse_tuple(kind, value, name)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise ModelFileError(f"{name}: must be an object of texts")
        return dict(value)
    if dataclasses.is_dataclass(kind):
        return parse_dataclass(typing.cast(type, kind), value, name=name)
    return _parse_scalar(kind, value, name)


def _parse_tuple(kind: Any, value: Any, name: str) -> tuple:
    if not isinstance(value, list):
        raise ModelFileError(f"{name}: must be a list, not {value!r:.60}")
    kinds = typing.get_args(kind)
    if kinds[-1] is Ellipsis:
        return tuple(_parse(kinds[0], item, f"{name}[{index}]") for index, item in enumerate(value))
    if len(value) != len(kinds):
        raise ModelFileError(f"{name}: must have {len(kinds)} values, not {len(value)}")
    return tuple(_parse(one, item, f"{name}[{index}]") for index, (one, item) in enumerate(zip(kinds, value)))


def _parse_scalar(kind: Any, value: Any, name: str) -> Any:
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool) and _is_finite(value):
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    raise ModelFileError(f"{name}: must be a {kind.__name__}, not {value!r:.60}")


def _is_finite(value: float) -> bool:
    """Tell whether a float can hold a number; JSON's whole numbers may have any number of digits."""
    return abs(value) <= sys.float_info.max
