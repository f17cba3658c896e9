"""Names of points in a figure, put where there is room for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.path import Path
    from matplotlib.transforms import Bbox

Pair = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Mark:
    """A point that is drawn.

    Attributes:
        x, y: in the units of the axes.
        area: of its marker, in square points.
        label: its name; "" where it has none, and is only in the way of others.
    """

    x: float
    y: float
    area: float
    label: str = ""


_DISTANCES = (8, 14, 20, 28, 40)
Direction = tuple[float, float, str]
"""Where a label may lie from its point, in multiples of its distance, and how it is aligned."""

BELOW: tuple[Direction, ...] = (
    (0.5, -1.2, "left"),
    (-0.5, -1.2, "right"),
    (0.0, -1.4, "center"),
    (1.0, -0.6, "left"),
    (-1.0, -0.6, "right"),
    (-1.0, 0.8, "right"),
)
"""Below a point, or beside it."""


def label_points(
    axes: Axes,
    marks: Sequence[Mark],
    *,
    most: int,
    directions: Sequence[Direction] = BELOW,
    lines: Sequence[Path] = (),
) -> int:
    """Name the first `most` points, where there is room; returns how many got their name.

    The axes' figure must have been drawn (`draw_without_rendering`), so that its parts have their
    places. Each label takes the first place around its point where it covers no marker, and
    neither it nor its leader touches another label or leader; it is left out where there is no
    such place. No label covers one of `lines`, which are in pixels.
    """
    from matplotlib.path import Path as Line
    from matplotlib.transforms import Bbox

    frame = axes.get_window_extent()
    places = axes.transData.transform([(mark.x, mark.y) for mark in marks])
    pixels = axes.get_figure(root=True).dpi / 72  # type: ignore[union-attr]
    markers = []
    for (x, y), mark in zip(places, marks, strict=True):
        radius = math.sqrt(mark.area) / 2 * pixels
        markers.append(Bbox.from_extents(x - radius, y - radius, x + radius, y + radius))
    boxes = []
    for text in axes.texts:
        box = text.get_window_extent()
        if text.get_rotation():
            # A box around slanted text is mostly empty: small ones along it fit better.
            steps = np.linspace((box.x0, box.y0), (box.x1, box.y1), 9)
            half = 4 * pixels
            boxes += [Bbox.from_extents(x - half, y - half, x + half, y + half) for x, y in steps]
        else:
            boxes.append(box)
    leaders: list[Line] = []
    for place, mark in zip(places[:most], marks, strict=False):
        if not mark.label:
            continue
        size = _size(axes, mark.label)
        for distance, (x, y, align) in product(_DISTANCES, directions):
            offset = (distance * x, distance * y)
            box = _box(place + np.multiply(offset, pixels), size, align).padded(2)
            leader = Line([place, ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)])
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0
            touches = (
                any(box.overlaps(marker) for marker in markers)
                or any(box.overlaps(other) or leader.intersects_bbox(other) for other in boxes)
                or any(other.intersects_bbox(box, filled=False) for other in (*leaders, *lines))
            )
            if inside and not touches:
                _write(axes, mark, offset, align)
                boxes.append(box)
                leaders.append(leader)
                break
    return len(leaders)


_FONT_SIZE = 5.5


def _size(axes: Axes, label: str) -> tuple[float, float]:
    """Width and height of a label in pixels."""
    text = axes.text(0.5, 0.5, label, fontsize=_FONT_SIZE, transform=axes.transAxes)
    box = text.get_window_extent()
    text.remove()
    return box.width, box.height


def _box(anchor: Pair, size: tuple[float, float], align: str) -> Bbox:
    """Where a label lies whose anchor is in the middle of its height."""
    from matplotlib.transforms import Bbox

    width, height = size
    left = anchor[0] - {"left": 0.0, "center": width / 2, "right": width}[align]
    return Bbox.from_bounds(left, anchor[1] - height / 2, width, height)


def _write(axes: Axes, mark: Mark, offset: tuple[float, float], align: str) -> None:
    axes.annotate(
        mark.label,
        (mark.x, mark.y),
        offset,
        textcoords="offset points",
        ha=align,
        va="center",
        fontsize=_FONT_SIZE,
        bbox={"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 0.5},
        zorder=2.5,
        arrowprops={"arrowstyle": "-", "linewidth": 0.4, "shrinkA": 0, "shrinkB": 1},
    )
