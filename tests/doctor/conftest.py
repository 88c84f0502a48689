"""One examination of the dataset with planted faults, for the tests that only read its report."""

from __future__ import annotations

import pytest
from doctor_faults import Planted, embedder, write_planted

from arcface_paddle.data.kinds import open_dataset
from arcface_paddle.data.verification_set import read_verification_set
from arcface_paddle.doctor.examination import Report, examine


@pytest.fixture(scope="session")
def planted_once(tmp_path_factory) -> Planted:
    """Return a dataset with every fault; it must not be changed."""
    return write_planted(tmp_path_factory.mktemp("planted_once"))


@pytest.fixture(scope="session")
def full_report(planted_once) -> Report:
    sets = [read_verification_set(planted_once.verification)]
    return examine(open_dataset(planted_once.root), verification_sets=sets, embedder=embedder)
