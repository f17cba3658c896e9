"""What all tests share: no display, a fixed terminal, and property tests that are not timed."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

os.environ["MPLBACKEND"] = "agg"
# Width and colour of what the command prints must not depend on the terminal the tests run in.
os.environ["COLUMNS"] = "120"
os.environ["NO_COLOR"] = "1"
os.environ.pop("FORCE_COLOR", None)

# No test is timed: a busy machine must not fail one, and compiling is slow the first time.
settings.register_profile(
    "nofm", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("nofm")


def _texts(figure: Figure) -> list[tuple[Any, Any]]:
    """What a figure says, and where in pixels; without ticks beyond an axis's ends, which are not
    drawn."""
    from matplotlib.text import Text

    from nofm.simulator.report.figures import styled

    with styled():
        figure.draw_without_rendering()
        beyond = set()
        for axis in [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]:
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                beyond |= {tick.label2} | (
                    set() if low <= tick.get_loc() <= high else {tick.label1}
                )
        return [
            (text, Text.get_window_extent(text))
            for text in figure.findobj(Text)
            if text.get_visible() and text.get_text() and text not in beyond
        ]


def _check_legible(figure: Figure) -> None:
    from matplotlib.transforms import Bbox

    width, height = figure.get_size_inches() * figure.dpi
    said = _texts(figure)
    assert said
    for text, box in said:
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, f"{text.get_text()!r} is cut"
    # Slanted text fills little of the box around it.
    upright = [(text, box) for text, box in said if text.get_rotation() % 90 == 0]
    for (one, a), (other, b) in itertools.combinations(upright, 2):
        overlap = Bbox.intersection(a, b)
        covered = overlap is not None and min(overlap.width, overlap.height) > 1
        assert not covered, f"{one.get_text()!r} and {other.get_text()!r} cover each other"


@pytest.fixture(scope="session")
def texts() -> Callable[[Figure], list[tuple[Any, Any]]]:
    """Gives the texts of a figure with their boxes in pixels."""
    return _texts


@pytest.fixture(scope="session")
def check_legible() -> Callable[[Figure], None]:
    """Checks that no text is cut by a figure's edge, and that no two cover each other."""
    return _check_legible
