"""What the tests of the room share: one browser, and libraries that the benchmarks draw."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))


@pytest.fixture(scope="session")
def driver() -> Iterator[Any]:
    """A headless Chromium; tests that need one are skipped where there is none."""
    chromium = pytest.importorskip("chromium_page")
    browser = chromium.open_browser()
    yield browser
    browser.quit()
