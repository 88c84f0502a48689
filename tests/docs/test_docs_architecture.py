"""ARCHITECTURE.md speaks of what there is: its files exist, its rooms are all rooms, the picture shows them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "arcface_paddle"
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
PICTURE = (ROOT / "docs" / "pictures" / "rooms.svg").read_text(encoding="utf-8")
ROOMS = sorted(path.name for path in PACKAGE.iterdir() if any(path.glob("*.py")))


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:\w+/)*\w+\.(?:py|svg|md))`", TEXT))))
def test_every_file_that_is_named_exists(name):
    assert (ROOT / name).exists() or (PACKAGE / name).exists() or any(PACKAGE.rglob(name))


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_is_explained_and_drawn(room):
    assert f"`{room}/`" in TEXT
    assert f">{room}/<" in PICTURE


def test_every_module_beside_the_rooms_is_explained():
    beside = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert all(f"`{name}`" in TEXT and name in PICTURE for name in beside)
