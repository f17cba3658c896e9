"""The right operand's tiles: kept elements in the weight buffer, and how they are fed.

Element (k, slot, n) of a tile stands `k` group pitches, `slot` slot pitches and `n` column pitches
from its first one; k counts the groups of all taps, tap by tap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nofm.kernels.pattern import Pattern
from nofm.rtl.program.banks import asked, cycles
from nofm.rtl.program.feed import column_walk
from nofm.rtl.program.left import merged
from nofm.rtl.program.load import compressed_halves, memory_walk, segment_walk
from nofm.rtl.program.lower import DenseRight, KeptRight, Taps
from nofm.rtl.program.sizes import ChipSizes
from nofm.rtl.program.walk import Loop, Nest
from nofm.rtl.stce.geometry import Geometry
from nofm.rtl.stce.job import StceJob


@dataclass(frozen=True)
class Tile:
    """Reduction (elements of every tap's run) and columns, each from the first to the last, less
    one."""

    run: tuple[int, int]
    columns: tuple[int, int]


@dataclass(frozen=True)
class Pitches:
    """Kept elements from a group, and from a column, to the next; how banks are numbered."""

    group: int
    column: int
    skew: int = 0


@dataclass(frozen=True)
class RightBuffer:
    """How a right operand's tiles lie in the weight buffer.

    Attributes:
        pattern: 1:1 where the product is dense.
    """

    sizes: ChipSizes
    right: DenseRight | KeptRight
    pattern: Pattern

    @property
    def taps(self) -> int:
        """Taps that are loaded."""
        return self.right.taps.x[0] * self.right.taps.y[0]

    @property
    def by_column(self) -> bool:
        """Whether the reduction's elements are neighbours, and not the columns'."""
        return isinstance(self.right, DenseRight) and self.right.k_pitch == 1

    def groups(self, tile: Tile) -> int:
        """Groups of a tile, of all taps."""
        return self.taps * self.pattern.groups(tile.run[1] - tile.run[0])

    def lead(self, tile: Tile) -> int:
        """Kept elements that are loaded before a row's first one, for they share its block."""
        if isinstance(self.right, DenseRight):
            return 0
        first = tile.columns[0] % self.right.form.columns
        return first * self.pattern.n - self._blocks(first, first + 1)[0]

    def line(self, tile: Tile) -> tuple[int, int]:
        """Neighbouring elements of the buffer that are loaded together, and the number of such
        lines: one a column or one a group."""
        k0, k1 = tile.run
        n0, n1 = tile.columns
        if self.by_column:
            return self.taps * (k1 - k0), n1 - n0
        if isinstance(self.right, DenseRight):
            return n1 - n0, self.groups(tile)
        # Whole blocks at both ends.
        width = self.right.form.columns
        last = (n1 - 1) % width
        begin, count, _ = self._blocks(last, last + 1)
        after = begin + count - (last + 1) * self.pattern.n
        return self.lead(tile) + (n1 - n0) * self.pattern.n + after, self.groups(tile)

    def elements(self, tile: Tile, pitches: Pitches) -> int:
        """Elements of the buffer that a tile takes."""
        line, lines = self.line(tile)
        return (lines - 1) * (pitches.column if self.by_column else pitches.group) + line

    def candidates(self, tile: Tile) -> Iterator[Pitches]:
        """Layouts, the smallest first where they are as fast."""
        line, _ = self.line(tile)
        for more in range(self.sizes.weight_banks + 1):
            for skew in (0, 1):
                if self.by_column:
                    yield Pitches(1, line + more, skew)
                else:
                    yield Pitches(line + more, self.pattern.n, skew)

    def loads(self, tile: Tile, pitches: Pitches, base: int) -> Iterator[dict[str, int]]:
        """Jobs that load a tile to where the buffer's element `base` is."""
        right = self.right
        if isinstance(right, DenseRight):
            yield self._dense(right, tile, pitches, base)
            return
        n0, n1 = tile.columns
        width, at = right.form.columns, n0
        base += self.lead(tile)
        while at < n1:
            tap, first = divmod(at, width)
            last = min(width, first + n1 - at)
            taps = Taps(tap) if right.column_taps > 1 else right.taps
            place = base + (at - n0) * self.pattern.n
            yield self._kept(right, taps, tile.run, (first, last), pitches, place)
            at += last - first

    def _kept(
        self,
        right: KeptRight,
        taps: Taps,
        run: tuple[int, int],
        columns: tuple[int, int],
        pitches: Pitches,
        place: int,
    ) -> dict[str, int]:
        """Whole blocks of some columns of every row; the first wanted element goes to `place`."""
        form, of = right.form, self.pattern
        begin, kept, offset = self._blocks(*columns)
        first, count = run[0] // of.m, of.groups(run[1] - run[0])
        tap = right.groups * form.row
        start = form.address + taps.first * tap + first * form.row + offset
        memory = Nest(
            {"address": start},
            (Loop(count, {"address": form.row}), *_tap_loops(taps, tap)),
        )
        buffer = Nest(
            {"to": place - (columns[0] * of.n - begin)},
            (Loop(memory.passes, {"to": pitches.group}),),
        )
        halves = compressed_halves(kept, of.index_bits)
        fields = self._fields(memory, halves, buffer, kept, pitches.skew)
        return {**fields, "compressed": 1, "index_bits": of.index_bits, "kept": kept - 1}

    def _dense(self, right: DenseRight, tile: Tile, pitches: Pitches, base: int) -> dict[str, int]:
        (k0, k1), (n0, n1) = tile.run, tile.columns
        start = right.address + right.taps.first * right.tap_pitch
        start += k0 * right.k_pitch + n0 * right.n_pitch
        taps = _tap_loops(right.taps, right.tap_pitch)
        length, width = k1 - k0, n1 - n0
        if self.by_column:
            run = length
            memory = Nest({"address": start}, (*taps, Loop(width, {"address": right.n_pitch})))
            buffer = Nest(
                {"to": base}, (Loop(self.taps, {"to": length}), Loop(width, {"to": pitches.column}))
            )
        else:
            run = width
            memory = Nest({"address": start}, (Loop(length, {"address": right.k_pitch}), *taps))
            buffer = Nest({"to": base}, (Loop(self.taps * length, {"to": pitches.group}),))
        long, memory = merged(run, memory, "address")
        wide, buffer = merged(run, buffer, "to")
        fields = self._fields(memory, long, buffer, wide, pitches.skew)
        return {**fields, "compressed": 0, "index_bits": 0, "kept": 0}

    def _fields(
        self, memory: Nest, run: int, buffer: Nest, length: int, skew: int
    ) -> dict[str, int]:
        return {
            **memory_walk(self.sizes).encode("memory_", memory),
            "run": run - 1,
            **segment_walk(self.sizes.weight_bits).encode("segment_", buffer),
            "length": length - 1,
            "skew": skew,
        }

    def _blocks(self, first: int, last: int) -> tuple[int, int, int]:
        assert isinstance(self.right, KeptRight)
        return self.right.form.columns_from(first, last)

    def feed(
        self, tile: Tile, pitches: Pitches, base: int, job: StceJob, geometry: Geometry
    ) -> dict[str, int]:
        """What feeds a tile to the array, for a job whose sizes are the tile's."""
        walk, folds = column_walk(self.sizes), job.folds(geometry)
        held, full, last = self.walks(tile, pitches, base, job, geometry)
        # Where all columns are in the last fold, the other walk means nothing.
        more = folds.columns > 1
        return {
            "to_rows": int(job.dataflow == "ws"),
            "outer": folds.outer - 1,
            "hold_once": int(job.dataflow == "os"),
            **walk.encode("held_", held),
            "full": int(more),
            **walk.encode("full_", full if more else Nest({}, (Loop(1),))),
            **walk.encode("last_", last),
            "size_n": job.n,
            "skew": pitches.skew,
        }

    def walks(
        self, tile: Tile, pitches: Pitches, base: int, job: StceJob, geometry: Geometry
    ) -> tuple[Nest, Nest, Nest]:
        """The held places, what lanes get in all column folds but the last, and what in that."""
        folds, columns = job.folds(geometry), geometry.columns
        groups, kept = self.groups(tile), self.pattern.n
        first = base + self.lead(tile)
        by = pitches.column
        slot = Loop(kept, {"at": 1})
        group = Loop(groups, {"at": pitches.group})
        if job.dataflow == "ws":
            # The right-most column's come first.
            done = (folds.columns - 1) * columns

            def columns_of(begin: int, count: int) -> tuple[dict[str, int], Loop]:
                at = begin + count - 1
                return {"at": at * by, "n": at}, Loop(count, {"at": -by, "n": -1})

            start, back = columns_of(0, columns)
            onward = Loop(max(1, folds.columns - 1), {"at": columns * by, "n": columns})
            full = Nest(start, (slot, back, onward))
            start, back = columns_of(done, folds.columns_last)
            return Nest({"at": first}, (group,)), full, Nest(start, (slot, back))
        turn = {"at": columns * by, "n": columns}
        fold = columns * folds.sums
        onward = Loop(max(1, folds.columns - 1), {"at": fold * by, "n": fold})
        done = (folds.columns - 1) * fold
        held = Nest({"at": first}, (Loop(columns, {"at": by, "n": 1}),))
        full = Nest({}, (Loop(folds.sums, turn), slot, group, onward))
        last = Nest({"at": done * by, "n": done}, (Loop(folds.sums_last, turn), slot, group))
        return held, full, last

    def wait(
        self, tile: Tile, pitches: Pitches, job: StceJob, geometry: Geometry
    ) -> tuple[int, int]:
        """Cycles of some of a tile's requests, and their number: what layouts are compared by."""
        held, full, last = self.walks(tile, pitches, 0, job, geometry)
        inner = full if job.folds(geometry).columns > 1 else last
        lanes = geometry.rows if job.dataflow == "ws" else geometry.columns
        found = asked(held, inner, "at", lanes)
        return cycles(found, self.sizes.weight_banks, pitches.skew), len(found)


def _tap_loops(taps: Taps, pitch: int) -> tuple[Loop, Loop]:
    x, y = taps.x, taps.y
    return Loop(x[0], {"address": x[1] * pitch}), Loop(y[0], {"address": y[1] * pitch})
