"""What the tests of commands share."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest

from arcface_paddle.pipeline import opening


@pytest.fixture(scope="module")
def models_loaded_once() -> Iterator[None]:
    """Keep loaded networks between the commands of a file; loading takes most of their time."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("build_detector", "build_recognizer"):
            patch.setattr(opening, name, functools.cache(getattr(opening, name)))
        yield
