"""Where a product's results go: for any part of them, walks over memory that they fit into."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nofm.rtl.program.layout import Beats, FeatureMap
from nofm.rtl.program.walk import Loop, Nest

Range = tuple[int, int]
"""The first, and the last plus one."""


@dataclass(frozen=True)
class Piece:
    """Results that one walk stores: some columns of some rows of a tile.

    Attributes:
        row, rows: the first row in the tile, and their number.
        column, width, slots: its columns are `slots` times `width` neighbours from `column` on.
        nest: walk over memory: `width` elements a pass, slots first, then rows.
    """

    row: int
    rows: int
    column: int
    width: int
    slots: int
    nest: Nest


@dataclass(frozen=True)
class MapOut:
    """Rows of a product are positions, its columns the channels of `taps` places of a map.

    Attributes:
        map, channel, channels: the map; the first channel that is written, and their number.
        rows: loops over positions, x first; each moves "address".
        taps: address of each tap's place at the first position, less the map's.
        inside: positions along y and along x, from the first to the last plus one, at which each
            tap's place is in the map; all, where not given.
    """

    map: FeatureMap
    channel: int
    channels: int
    rows: tuple[Loop, ...]
    taps: tuple[int, ...] = (0,)
    inside: tuple[tuple[Range, Range], ...] | None = None

    def pieces(self, m0: int, m1: int, n0: int, n1: int) -> Iterator[Piece]:
        """Pieces of rows m0 to m1 and columns n0 to n1, less one each."""
        for tap in range(n0 // self.channels, -(-n1 // self.channels)):
            first = max(n0, tap * self.channels)
            last = min(n1, (tap + 1) * self.channels)
            start = self.map.address + self.taps[tap] + self.channel + first % self.channels
            for begin, end in self._inside(tap, m0, m1):
                nest = Nest({"address": start}, self.rows, begin, end - begin)
                yield Piece(begin - m0, end - begin, first - n0, last - first, 1, nest)

    def _inside(self, tap: int, m0: int, m1: int) -> Iterator[Range]:
        """Positions from m0 to m1, less one, at which a tap's place is in the map: in one piece, or
        line by line."""
        width, height = self.rows[0].count, self.rows[1].count
        (top, bottom), (left, right) = ((0, height), (0, width))
        if self.inside is not None:
            (top, bottom), (left, right) = self.inside[tap]
        if (top, bottom, left, right) == (0, height, 0, width):
            yield m0, m1
            return
        for line in range(m0 // width, -(-m1 // width)):
            begin, end = max(m0, line * width + left), min(m1, line * width + right)
            if top <= line % height < bottom and begin < end:
                yield begin, end


@dataclass(frozen=True)
class WeightOut:
    """A weight gradient: rows are channels times taps, taps first; columns are other channels."""

    address: int
    taps: int
    channels: int
    columns: int
    beats: Beats | None = None

    def pieces(self, m0: int, m1: int, n0: int, n1: int) -> Iterator[Piece]:
        """Pieces of rows m0 to m1 and columns n0 to n1, less one each."""
        tap = Loop(self.taps, {"address": self.channels * self.columns})
        if self.beats is None:
            rows = (tap, Loop(self.channels, {"address": self.columns}))
            corner = {"address": self.address + n0}
            yield Piece(0, m1 - m0, 0, n1 - n0, 1, Nest(corner, rows, m0, m1 - m0))
            return
        group = self.beats.group
        whole = self.channels // group * group
        for base, height, groups in (
            (0, group, whole // group),
            (whole, self.channels - whole, 1),
        ):
            # Rows of one region: groups of `height` from channel `base` on.
            begin, end = base * self.taps, (base + height * groups) * self.taps
            first, last = max(m0, begin), min(m1, end)
            if first >= last:
                continue
            for slot, slots, inside, width, wide in self._slots(n0, n1, self.beats.columns):
                column = slot * self.beats.columns
                start = self.address + base * self.columns + column * height + inside
                loops = (
                    Loop(slots, {"address": self.beats.columns * height}),
                    tap,
                    Loop(height, {"address": wide}),
                    Loop(groups, {"address": height * self.columns}),
                )
                nest = Nest(
                    {"address": start}, loops, (first - begin) * slots, (last - first) * slots
                )
                yield Piece(first - m0, last - first, column + inside - n0, width, slots, nest)

    def _slots(self, n0: int, n1: int, e: int) -> Iterator[tuple[int, int, int, int, int]]:
        """Runs of slots: the first, their number, the first column inside, how many are taken, and
        how many a slot has."""
        at = n0
        while at < n1:
            slot, inside = divmod(at, e)
            wide = min(e, self.columns - slot * e)
            width = min(wide - inside, n1 - at)
            slots = 1
            if inside == 0 and width == e:
                slots = (n1 - at) // e
            yield slot, slots, inside, width, wide
            at += width * slots
