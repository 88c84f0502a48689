"""The fake device, built once."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_device import build, missing_tool


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the built device; tests that need it are skipped, with the reason, where it cannot be built."""
    missing = missing_tool()
    if missing is not None:
        pytest.skip(missing)
    return build(tmp_path_factory.mktemp("plugin"))
