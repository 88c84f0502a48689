"""What the tests of the room share: one browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def driver() -> Iterator[Any]:
    """A headless Chromium; tests that need one are skipped where there is none."""
    chromium = pytest.importorskip("chromium_page")
    browser = chromium.open_browser()
    yield browser
    browser.quit()
