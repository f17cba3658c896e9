"""The left operand's tiles: rows of a feature map in the activation buffer, and how they are fed.

A tile holds whole rows of the map, with the channels of a part. N:M groups begin at multiples of
a power of two (or of the port), so that none crosses a word of the buffer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nofm.kernels.errors import InputError
from nofm.rtl.program.banks import asked, cycles
from nofm.rtl.program.feed import map_walk
from nofm.rtl.program.load import memory_walk, segment_walk
from nofm.rtl.program.lower import Left
from nofm.rtl.program.sizes import RUN_BITS, ChipSizes
from nofm.rtl.program.walk import Loop, Nest


@dataclass(frozen=True)
class Tile:
    """Positions and channels of a left operand, each from the first to the last, less one."""

    positions: tuple[int, int]
    channels: tuple[int, int]


@dataclass(frozen=True)
class Pitches:
    """Elements from a position, and from a row, to the next; how banks are numbered."""

    position: int
    row: int
    skew: int = 0


@dataclass(frozen=True)
class LeftBuffer:
    """How a left operand's tiles lie in the activation buffer.

    Attributes:
        group: M of the product; 1 where it is dense.
        gathered: groups lie along positions: elements are fed one by one.
    """

    sizes: ChipSizes
    left: Left
    group: int
    gathered: bool = False

    @property
    def group_pitch(self) -> int:
        """Elements from a group to the next."""
        if self.gathered:
            return 1
        port = self.sizes.port
        if self.group <= port:
            return 1 << (self.group - 1).bit_length()
        return -(-self.group // port) * port

    @cached_property
    def skipping(self) -> bool:
        """Whether rows between windows are left out."""
        return self.left.window.y.apart_windows

    def rows(self, positions: tuple[int, int]) -> tuple[int, int]:
        """Rows that some positions read, from the first to the last, less one; numbered through
        all maps, and only those that any window reads where others are left out."""
        y, across = self.left.window.y, self.left.window.x.positions
        out = np.arange(positions[0] // across, (positions[1] - 1) // across + 1)
        image, row = out // y.positions, out % y.positions
        if self.skipping:
            return int(out[0]) * y.extent, int(out[-1] + 1) * y.extent
        lowest = row * y.step + y.lowest
        low = np.maximum(lowest, 0)
        high = np.minimum(lowest + y.extent, y.size)
        real = low < high
        if not real.any():  # all of it beside the map
            return int(image[0]) * y.size, int(image[0]) * y.size + 1
        image = image[real] * y.size
        return int((image + low[real]).min()), int((image + high[real]).max())

    def elements(self, rows: int, pitches: Pitches) -> int:
        """Elements of the buffer that some rows take."""
        return (rows - 1) * pitches.row + self.left.map.width * pitches.position

    def narrowest(self, channels: int) -> int:
        """The least pitch of positions with so many channels."""
        if self.gathered or self.group == 1:
            return channels
        return -(-channels // self.group) * self.group_pitch

    def candidates(self, channels: int) -> Iterator[Pitches]:
        """Layouts, the smallest first where they are as fast."""
        port, width = self.sizes.port, self.left.map.width
        least = self.narrowest(channels)
        words = -(-least // port)
        for position in dict.fromkeys((least, words * port, (words | 1) * port)):
            rows = [width * position]
            first = -(-width * position // port)
            rows += [(first + k) * port for k in range(self.sizes.activation_banks)]
            for row in dict.fromkeys(rows):
                yield Pitches(position, row)
                yield Pitches(position, row, 1)

    def loads(self, tile: Tile, pitches: Pitches, base: int) -> Iterator[dict[str, int]]:
        """Jobs that load a tile to where the buffer's element `base` is."""
        channels = tile.channels[1] - tile.channels[0]
        if self.gathered or self.group_pitch == self.group or channels <= self.group:
            yield self._load(tile, pitches, base, channels, 1)
            return
        whole = channels // self.group
        yield self._load(tile, pitches, base, self.group, whole)
        if rest := channels % self.group:
            first = tile.channels[0] + whole * self.group
            last = Tile(tile.positions, (first, first + rest))
            yield self._load(last, pitches, base + whole * self.group_pitch, rest, 1)

    def _load(
        self, tile: Tile, pitches: Pitches, base: int, length: int, segments: int
    ) -> dict[str, int]:
        of, y = self.left.map, self.left.window.y
        low, high = self.rows(tile.positions)
        row, image = of.width * of.channels, of.height * of.width * of.channels
        start = of.address + self.left.channel + tile.channels[0]
        loops = [Loop(of.width, {"address": of.channels})]
        if self.skipping:
            start += y.lowest * row
            loops += [
                Loop(y.extent, {"address": row}),
                Loop(y.positions, {"address": y.step * row}),
                Loop(of.batch, {"address": image}),
            ]
        else:
            loops.append(Loop(of.batch * of.height, {"address": row}))
        memory = Nest({"address": start}, tuple(loops), low * of.width, (high - low) * of.width)
        run, memory = merged(length * segments, memory, "address")
        buffer = Nest(
            {"to": base},
            (
                Loop(segments, {"to": self.group_pitch}),
                Loop(of.width, {"to": pitches.position}),
                Loop(high - low, {"to": pitches.row}),
            ),
        )
        run_to, buffer = merged(length, buffer, "to")
        return {
            **memory_walk(self.sizes).encode("memory_", memory),
            "run": run - 1,
            **segment_walk(self.sizes.activation_bits).encode("segment_", buffer),
            "length": run_to - 1,
            "skew": pitches.skew,
        }

    def position_loops(self, pitches: Pitches) -> tuple[Loop, ...]:
        """Loops over positions."""
        window = self.left.window
        y, x = window.y, window.x
        if self.skipping:
            rows, image = y.extent, y.positions * y.extent
        else:
            rows, image = y.step, y.size
        return (
            Loop(x.positions, {"at": x.step * pitches.position, "x": x.step}),
            Loop(y.positions, {"at": rows * pitches.row, "y": y.step}),
            Loop(window.batch, {"at": image * pitches.row}),
        )

    def tap_loops(self, pitches: Pitches) -> tuple[Loop, ...]:
        """Loops over taps."""
        y, x = self.left.window.y, self.left.window.x
        return (
            Loop(x.taps, {"at": x.apart * pitches.position, "x": x.apart}),
            Loop(y.taps, {"at": y.apart * pitches.row, "y": y.apart}),
        )

    def start(self, tile: Tile, pitches: Pitches, base: int) -> dict[str, int]:
        """Places of the first tap at the first position of the map, in a tile's coordinates."""
        y, x = self.left.window.y, self.left.window.x
        offset = y.offset - y.lowest if self.skipping else y.offset
        row = offset - self.rows(tile.positions)[0]
        return {
            "at": base + row * pitches.row + x.offset * pitches.position,
            "y": y.offset,
            "x": x.offset,
        }

    def feed(
        self,
        tile: Tile,
        pitches: Pitches,
        base: int,
        *,
        rows: tuple[int, int],
        stationary: bool,
        folds: tuple[int, int],
    ) -> dict[str, int]:
        """What feeds a tile to the array.

        Args:
            rows: of the product, from the first to the last, less one.
            stationary: WS; else OS.
            folds: outer folds, column folds.
        """
        held, inner, take, gather = self.walks(tile, pitches, base, rows, stationary)
        walk = map_walk(self.sizes)
        y, x = self.left.window.y, self.left.window.x
        return {
            "outer": folds[0] - 1,
            "repeats": folds[1] - 1,
            **walk.encode("held_", held),
            **walk.encode("inner_", inner),
            "size_c": tile.channels[1] - tile.channels[0],
            "size_y": y.size,
            "size_x": x.size,
            "take": take - 1,
            "gather": gather - 1,
            "skew": pitches.skew,
        }

    def walks(
        self, tile: Tile, pitches: Pitches, base: int, rows: tuple[int, int], stationary: bool
    ) -> tuple[Nest, Nest, int, int]:
        """The held and the inner walk, the elements of a pass, and the passes of a beat."""
        start, port = self.start(tile, pitches, base), self.sizes.port
        positions, taps = self.position_loops(pitches), self.tap_loops(pitches)
        channels = tile.channels[1] - tile.channels[0]
        if self.left.reduced:
            # Rows are channels times taps; those of the tile begin with its first channel.
            own = Loop(channels, {"at": 1, "c": 1})
            skipped = tile.channels[0] * self.left.window.taps
            by_row = Nest(start, (*taps, own), rows[0] - skipped, rows[1] - rows[0])
            p0, p1 = tile.positions
            by_position = Nest({}, positions, p0, p1 - p0)
            if not stationary:
                return by_row, by_position, 1, self.group
            if self.group > 1:
                raise InputError(
                    f"WU with groups of {self.group} along positions must be OS, not WS"
                )
            return by_position, by_row, 1, 1
        beats = -(-self.group // port)
        beat = () if beats == 1 else (Loop(beats, {"at": port, "c": port}),)
        groups = -(-channels // self.group)
        each = (Loop(groups, {"at": self.group_pitch, "c": self.group}), *taps)
        count = groups * self.left.window.taps
        m0, m1 = rows
        take = min(self.group, port)
        if stationary:
            inner = Nest({}, (*beat, *positions), m0 * beats, (m1 - m0) * beats)
            return Nest(start, each, 0, count), inner, take, 1
        held = Nest(start, positions, m0, m1 - m0)
        return held, Nest({}, (*beat, *each), 0, count * beats), take, 1

    def wait(
        self, tile: Tile, pitches: Pitches, rows: tuple[int, int], stationary: bool
    ) -> tuple[int, int]:
        """Cycles of some of a tile's requests, and their number: what layouts are compared by."""
        held, inner, _, _ = self.walks(tile, pitches, 0, rows, stationary)
        found = asked(held, inner, "at", self.sizes.rows)
        banks, port = self.sizes.activation_banks, self.sizes.port
        return cycles(found, banks, pitches.skew, port), len(found)


def merged(run: int, nest: Nest, place: str) -> tuple[int, Nest]:
    """The same elements in fewer and longer runs, where neighbours touch.

    Args:
        run: elements that each pass of the nest stands for.
    """
    loops, first, total = list(nest.loops), nest.first, nest.passes
    while len(loops) > 1 and (loops[0].strides.get(place, 0) == run or loops[0].count == 1):
        count = loops[0].count
        if first % count or total % count or run * count > 1 << RUN_BITS:
            break
        run, first, total = run * count, first // count, total // count
        loops.pop(0)
    # The outermost loop may be cut anywhere.
    if len(loops) == 1 and loops[0].strides.get(place, 0) == run and run * total <= 1 << RUN_BITS:
        start = {place: nest.start.get(place, 0) + first * run}
        return run * total, Nest(start, (Loop(1),), 0, 1)
    return run, Nest(nest.start, tuple(loops), first, total)
