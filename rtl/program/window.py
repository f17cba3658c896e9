"""Windows: how the positions of a product read a feature map."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """One dimension: position i reads, for tap j, place offset + i step + j apart of the map.

    What lies beside the map reads as +0.

    Attributes:
        positions, step: of the window; places from one to the next.
        taps, apart: places from a tap to the next, below 0 where the window is turned round.
        offset: place that the first tap reads at the first position.
        size: of the map.
    """

    positions: int = 1
    step: int = 1
    taps: int = 1
    apart: int = 1
    offset: int = 0
    size: int = 1

    @property
    def extent(self) -> int:
        """Places from the first to the last that the window reads at a position."""
        return (self.taps - 1) * abs(self.apart) + 1

    @property
    def lowest(self) -> int:
        """Lowest place that the window reads at the first position."""
        return self.offset + min(0, (self.taps - 1) * self.apart)

    @property
    def apart_windows(self) -> bool:
        """Whether there are places between windows that none of them reads, and none is beside
        the map."""
        end = self.lowest + (self.positions - 1) * self.step + self.extent
        return self.step > self.extent and self.lowest >= 0 and end <= self.size


@dataclass(frozen=True)
class Window:
    """Positions of `batch` maps: image by image, row by row. A plain matrix is `batch` maps of a
    single place."""

    batch: int
    y: Axis = Axis()
    x: Axis = Axis()

    @property
    def image(self) -> int:
        """Positions of a map."""
        return self.y.positions * self.x.positions

    @property
    def positions(self) -> int:
        """Positions of all maps."""
        return self.batch * self.image

    @property
    def taps(self) -> int:
        """Taps of both dimensions; those along x follow each other."""
        return self.y.taps * self.x.taps
