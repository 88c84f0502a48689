"""Rows of a matrix are the same by whatever kernel they are read and written."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from arcface_paddle.heads.row_access import has_row_kernels, read_rows, write_rows


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("rows", [[4, 0, 4], [], slice(1, 3)], ids=["some, one twice", "none", "slice"])
def test_rows_are_those_of_numpy(dtype, rows):
    expected = np.arange(10, dtype=np.float32).reshape(5, 2)
    matrix = paddle.to_tensor(expected).astype(dtype)
    places = rows if isinstance(rows, slice) else paddle.to_tensor(rows, dtype="int64")
    chosen = rows if isinstance(rows, slice) else np.array(rows, int)
    found = read_rows(matrix, places)
    assert found.dtype == matrix.dtype
    np.testing.assert_array_equal(found.astype("float32").numpy(), expected[chosen])
    if len(expected[chosen]):
        write_rows(matrix, places, found * 2 + 1)
        expected[chosen] = expected[chosen] * 2 + 1
        np.testing.assert_array_equal(matrix.astype("float32").numpy(), expected)


def test_which_rows_are_read_by_their_own_kernels():
    """The others are read in ways that give the same and take longer."""
    single, half, rows = paddle.ones([4, 2]), paddle.ones([4, 2], "bfloat16"), paddle.to_tensor([2])
    assert has_row_kernels(single, rows)
    assert not has_row_kernels(half, rows)
    assert not has_row_kernels(single, rows[:0])
    assert not has_row_kernels(single, slice(0, 1))
