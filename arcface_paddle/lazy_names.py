"""Public names of a package that are loaded on first use, so that importing the package does no work."""

from __future__ import annotations

import importlib
from typing import Any, Callable, Mapping


def loader_of(package: str, home_of_name: Mapping[str, str]) -> Callable[[str], Any]:
    """Return what is to be the ``__getattr__`` of a package.

    Args:
        package: its ``__name__``.
        home_of_name: the module of each public name.
    """

    def load(name: str) -> Any:
        home = home_of_name.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(home), name)

    return load
