"""Sizes that the classifier and the planner share."""

from __future__ import annotations

import pytest

from arcface_paddle.heads import memory


def test_sizes_are_those_that_the_comments_reckon_with() -> None:
    assert memory.LOGITS_BYTES == 2**30 == 4 * 512 * 524_288  # 500,000 classes, a global batch of 512, in one piece
    assert memory.UPDATE_TEMPORARIES * memory.UPDATE_BLOCK_ROWS * 512 * 4 == 640 * 2**20
    assert memory.BYTES_OF == {"float32": 4, "float16": 2, "bfloat16": 2}


@pytest.mark.parametrize(
    ("rule", "extra", "counts"),
    [
        ("sgd", (), False),
        ("adam", ("second",), True),
        ("adamw", ("second",), True),
        ("amsgrad", ("second", "largest"), True),
    ],
)
def test_what_a_rule_keeps(rule: str, extra: tuple[str, ...], counts: bool) -> None:
    assert memory.extra_states_of(rule) == extra
    assert memory.counts_updates(rule) is counts
