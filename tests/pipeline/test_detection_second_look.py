"""By which angle a second look turns its window."""

from __future__ import annotations

import numpy as np
import pytest

from arcface_paddle.pipeline.detection.second_look import _window_angles, rolls


@pytest.mark.parametrize(("roll", "turned"), [(0, 0), (19, 0), (-19, 0), (21, 21), (-21, -21), (90, 90), (170, 170)])
def test_a_window_is_turned_from_twenty_degrees_on(roll: float, turned: float) -> None:
    rows = np.zeros((2, 15))
    rows[:, 5:7] = [40.0, 60.0]  # the left eye of the picture, and the right one 30 pixels away
    rows[0, 7:9] = rows[0, 5:7] + 30 * np.array([np.cos(np.radians(roll)), np.sin(np.radians(roll))])
    rows[1, 7:9] = rows[1, 5:7] + [30.0, 0.0]
    np.testing.assert_allclose(np.degrees(rolls(rows)), [roll, 0], atol=1e-9)
    np.testing.assert_allclose(np.degrees(_window_angles(rows)), [turned, 0], atol=1e-9)
