"""Sizes that bound the classifier's memory, shared by the classifier and the planner that predicts it.

This module does not import paddle, so that the planner's command line starts quickly.
"""

from __future__ import annotations

LOGITS_BYTES = 1 << 30
"""Logits of one rank above this size are worked through in pieces and computed twice: 1 GiB is small beside a GPU's
memory, and up to 500,000 classes with a global batch of 512 it never happens."""

UPDATE_BLOCK_ROWS = 1 << 16
"""Class centres that are updated at a time: at 512-D the update's five temporaries take 640 MiB instead of growing
with the number of classes, and a block is large enough to keep a GPU busy."""

UPDATE_TEMPORARIES = 5
"""Float32 copies of a block that are alive during its update: centres, velocity, scaled gradient, change, product."""

BYTES_OF = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes of a value by the dtypes in which centres and momentum can be stored."""

STATES_OF = {
    "sgd": ("momentum",),
    "adam": ("momentum", "second"),
    "amsgrad": ("momentum", "second", "largest"),
    "adamw": ("momentum", "second"),
}
"""The update rules (``heads.update_rules``), and which states of the size of the weights each keeps: the first moment
or velocity, the second moment, and the largest second moment so far. The latter two are always float32."""


def extra_states_of(rule: str) -> tuple[str, ...]:
    """Return the states of a rule besides the momentum, which every rule has."""
    return STATES_OF[rule][1:]


def counts_updates(rule: str) -> bool:
    """Tell whether a rule also keeps the number of updates, one float32 per class centre."""
    return "second" in STATES_OF[rule]
