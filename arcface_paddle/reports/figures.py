"""Figures of matplotlib: made without a window, with round ticks, given out as PNG."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

from arcface_paddle.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure


def new_figure(width_in: float, height_in: float, *, purpose: str) -> Figure:
    """Return an empty figure of this size in inches.

    Raises:
        MissingDependencyError: matplotlib is not installed; ``purpose`` says what it is needed for.
    """
    # At the first figure on a machine it tells whoever lets libraries talk (as VisualDL does) that it looked for fonts.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.WARNING)
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependencyError("matplotlib", extra="report", purpose=purpose) from None
    # A Figure of its own, not pyplot: no window, no global state, nothing to close.
    return Figure(figsize=(width_in, height_in), layout="constrained", facecolor="white")


def round_ticks(axis: Axis, *, whole: bool = False) -> None:
    """Put the ticks of a linear axis at 1, 2 or 5 times a power of ten; ``whole`` for counts, which have no halves.

    Matplotlib's own choice has steps of 2.5 too, which read like measured values: 0.225, 0.250.
    """
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=whole))


def png_bytes(figure: Figure, *, dpi: int = 110) -> bytes:
    """Return a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
