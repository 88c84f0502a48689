"""People that several tests of the renderer look at; each is built once."""

from __future__ import annotations

import pytest

from arcface_paddle.synthetic.generator import SyntheticFaces, SyntheticImage
from arcface_paddle.synthetic.person.head import Head, load_head
from arcface_paddle.synthetic.person.identity import Identity, build_identity


@pytest.fixture(scope="session")
def head() -> Head:
    return load_head()


@pytest.fixture(scope="session")
def people(head) -> list[Identity]:
    """Return the first four people of population 0."""
    return [build_identity(head, seed=0, number=number) for number in range(4)]


@pytest.fixture(scope="session")
def crops() -> list[SyntheticImage]:
    """Return four crops of each of the people 0 and 1 of population 0."""
    faces = SyntheticFaces(0)
    return [faces.render(identity, image) for identity in (0, 1) for image in range(4)]
