"""Two and three processes equal one: losses, every gradient, weights after 20 steps, running statistics.

It takes most of a minute. Among the short tests, two processes train in ``test_distributed_training.py``, and
``tests/heads/test_heads_ranks.py`` checks the heads' arithmetic with threads in place of processes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from classifier_worker import SCENARIOS
from launch import run_ranks

pytestmark = pytest.mark.long
WORKER = str(Path(__file__).with_name("classifier_worker.py"))
ROUNDING = 1e-6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All scenarios trained by 1, 2 and 3 processes."""
    path = tmp_path_factory.mktemp("equality")
    for ranks in (1, 2, 3):
        run_ranks([WORKER, str(path)], ranks, timeout_s=300)
    return path


def whole(folder: Path, scenario: str, ranks: int) -> dict[str, np.ndarray]:
    """Results of all ranks in one: rows joined in the order of ranks, everything else checked to agree."""
    parts = [dict(np.load(folder / f"{scenario}_{ranks}_{rank}.npz")) for rank in range(ranks)]
    for part in parts[1:]:
        for key in part:
            if not key.startswith("rows:"):
                np.testing.assert_array_equal(part[key], parts[0][key], err_msg=f"ranks disagree on {key}")
    return {
        key: np.concatenate([part[key] for part in parts]) if key.startswith("rows:") else parts[0][key]
        for key in parts[0]
    }


def size(array: np.ndarray) -> float:
    """L2 norm in float64."""
    return float(np.linalg.norm(array.astype(np.float64)))


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_equals_one_process(folder, scenario, ranks):
    one, many = whole(folder, scenario, 1), whole(folder, scenario, ranks)
    assert one.keys() == many.keys()
    assert np.isfinite(one["loss"]).all()
    groups = {key.split(":")[0] for key in one}
    largest = {group: max(size(one[key]) for key in one if key.split(":")[0] == group) for group in groups}
    for key, expected in one.items():
        scale = size(expected)
        if scale < ROUNDING * largest[key.split(":")[0]]:  # zero but for rounding, as a bias before a normalisation
            scale = largest[key.split(":")[0]]
        difference = size(many[key] - expected) / max(scale, 1e-30)
        assert difference <= SCENARIOS[scenario].tolerance, (
            f"{scenario} with {ranks} ranks: {key} differs by {difference:.2e}"
        )


def test_training_moved_the_weights(folder):
    for scenario in SCENARIOS:
        one = whole(folder, scenario, 1)
        assert np.abs(one["rows:velocity"]).max() > 1e-4, scenario
