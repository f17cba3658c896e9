"""Programs of products: a layer's product and a mapping to the jobs of the tile pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from nofm.dataflow.accelerator import Accelerator
from nofm.dataflow.products import Product
from nofm.kernels.errors import InputError
from nofm.rtl.fields import pack
from nofm.rtl.program import left as left_side
from nofm.rtl.program import right as right_side
from nofm.rtl.program.descriptors import ProgramFormat
from nofm.rtl.program.encoding import Descriptor
from nofm.rtl.program.feed import COLUMN_BITS, POSITION_BITS
from nofm.rtl.program.left import LeftBuffer, merged
from nofm.rtl.program.load import memory_walk
from nofm.rtl.program.lower import Part
from nofm.rtl.program.results import row_walk
from nofm.rtl.program.right import RightBuffer
from nofm.rtl.program.sizes import ChipSizes
from nofm.rtl.program.tiles import Cut, Range, Step, TooLarge, smaller, steps
from nofm.rtl.program.walk import Loop, Nest
from nofm.rtl.stce.geometry import Geometry
from nofm.rtl.stce.job import StceJob

Values = dict[str, int]

MEMORY = ("load_activations", "load_weights", "store")
BESIDE = ("load_activations", "load_weights", "feed_activations", "feed_weights", "store")
"""Units that a step of an array's job waits for."""

ALL = (*BESIDE[:2], "array", *BESIDE[2:4], "collect", "store")
"""Units that work on tiles, as they are numbered."""


class Target:
    """The chip that programs are for."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.sizes = ChipSizes.of(accelerator)
        self.geometry = Geometry.of(accelerator)

    @cached_property
    def format(self) -> ProgramFormat:
        """Its descriptors."""
        return ProgramFormat.of(self.accelerator)

    @cached_property
    def units(self) -> tuple[str, ...]:
        """All of its units."""
        return tuple(unit.name for unit in self.format.units)

    def check(self, jobs: Mapping[str, Mapping[str, int]]) -> None:
        """Refuse jobs of units that are none.

        Raises:
            InputError: a number does not fit its field.
        """
        for name, values in jobs.items():
            pack(self._fields[name], values)

    @cached_property
    def _fields(self) -> dict[str, Mapping[str, int]]:
        return {unit.name: unit.fields for unit in self.format.units}

    @property
    def activation_half(self) -> int:
        """Elements of half of the activation buffer: the same words of every bank."""
        sizes = self.sizes
        return sizes.activation_depth // 2 * sizes.activation_banks * sizes.port

    @property
    def weight_half(self) -> int:
        """Kept elements of half of the weight buffer."""
        return self.sizes.weight_depth // 2 * self.sizes.weight_banks

    @property
    def result_half(self) -> int:
        """Results of half of a column's bank."""
        return self.sizes.result_depth // 2


def program(target: Target, parts: list[Part], cut: Cut) -> list[Descriptor]:
    """The descriptors of one product, cut as a mapping says.

    Args:
        parts: of one product, from `lower`.

    Raises:
        InputError: it cannot be compiled so.
    """
    return list(_Pipeline(target, parts, cut).descriptors())


def fitting(target: Target, parts: list[Part], cut: Cut) -> tuple[Cut, list[Descriptor]]:
    """The descriptors of one product, cut as a mapping says or finer.

    A mapping's tiles are counted without what layouts leave free in a buffer, so a chip may hold
    only smaller ones.

    Raises:
        InputError: it cannot be compiled, however it is cut.
    """
    first: InputError | None = None
    finer: Cut | None = cut
    while finer is not None:
        try:
            return finer, program(target, parts, finer)
        except InputError as error:
            first = first or error
            what = error.what if isinstance(error, TooLarge) else "out"
        reduced = parts[0].left.reduced
        finer = smaller(parts[0].product, finer, target.geometry, what, reduced=reduced)
    assert first is not None
    raise first


@dataclass(frozen=True)
class _Moved:
    """Jobs of a step: loads of both sides, of the array and its feeds, stores."""

    loads: tuple[tuple[Values, ...], tuple[Values, ...]]
    product: dict[str, Values]
    stores: tuple[Values, ...]

    @property
    def waits(self) -> tuple[str, ...]:
        """Units that must be idle before the product: the array works on where a reduction is cut
        in OS."""
        return ALL if "array" in self.product else BESIDE


class _Pipeline:
    def __init__(self, target: Target, parts: list[Part], cut: Cut) -> None:
        self.target, self.parts, self.cut = target, parts, cut
        self.product: Product = parts[0].product
        self.steps = list(steps(self.product, cut))
        self.stationary = cut.dataflow == "ws"
        pattern = self.product.pattern
        reduced = parts[0].left.reduced
        if not self.stationary and cut.tile_length < self.product.length:
            folds = self._array(self.steps[0]).folds(target.geometry)
            if folds.outer > 1 or folds.columns > 1:
                raise InputError(
                    "a reduction that is cut in OS must be a single fold, not "
                    f"{folds.outer} x {folds.columns}"
                )
        if cut.tile_length % pattern.m and cut.tile_length < self.product.length:
            raise InputError(
                f"tile_length must be a multiple of {pattern.m}, like groups, not {cut.tile_length}"
            )
        if reduced and pattern.m > target.sizes.port:
            raise InputError(
                f"groups along positions must have at most {target.sizes.port} elements, as many "
                f"as the port has, not {pattern.m}"
            )
        self.left = [LeftBuffer(target.sizes, p.left, pattern.m, reduced) for p in parts]
        self.right = [RightBuffer(target.sizes, p.right, pattern) for p in parts]
        self.left_pitches = self._left_pitches()
        self.right_pitches = self._right_pitches()

    def descriptors(self) -> Iterator[Descriptor]:
        """All of them in the order in which they are handed out."""
        moved = [*self._moved()]
        for at, step in enumerate(moved):
            if at == 0:
                yield from _together(step.loads, (), self.target.units)
            yield Descriptor("product", step.product, step.waits)
            onward = moved[at + 1].loads if at + 1 < len(moved) else ((), ())
            yield from _together(onward, moved[at - 1].stores if at else ())
        yield from _together(((), ()), moved[-1].stores, ALL)

    def _moved(self) -> Iterator[_Moved]:
        target = self.target
        held: list[object] = [None, None]
        half = [1, 1]
        result = 1
        for step in self.steps:
            tiles = self._left_tile(step), self._right_tile(step)
            loads: list[tuple[Values, ...]] = [(), ()]
            for side, tile in enumerate(tiles):
                if held[side] == (step.part, tile):
                    continue
                held[side], half[side] = (step.part, tile), 1 - half[side]
                loads[side] = tuple(self._loads(step, side, half[side]))
            if step.first:
                result = 1 - result
            product = self._product(step, (half[0], half[1]), result)
            stores = self._stores(step, result * target.result_half) if step.last else ()
            made = _Moved((loads[0], loads[1]), product, tuple(stores))
            target.check(product)
            for unit, values in zip(MEMORY, (*made.loads, made.stores), strict=True):
                for each in values:
                    target.check({unit: each})
            yield made

    def _loads(self, step: Step, side: int, half: int) -> Iterator[Values]:
        target = self.target
        if side == 0:
            base = half * target.activation_half
            buffer = self.left[step.part]
            yield from buffer.loads(self._left_tile(step), self.left_pitches, base)
        else:
            base = half * target.weight_half
            yield from self.right[step.part].loads(self._right_tile(step), self.right_pitches, base)

    def _left_tile(self, step: Step) -> left_side.Tile:
        if not self.parts[0].left.reduced:
            return left_side.Tile(step.m, step.run)
        taps = self.parts[0].left.window.taps
        return left_side.Tile(step.run, (step.m[0] // taps, -(-step.m[1] // taps)))

    def _right_tile(self, step: Step) -> right_side.Tile:
        return right_side.Tile(step.run, step.n)

    def _array(self, step: Step, *, whole: bool = False) -> StceJob:
        """The array's job; `whole`: of the whole reduction."""
        product = self.product
        length = product.length if whole else step.run[1] - step.run[0]
        return StceJob(
            dataflow=self.cut.dataflow,
            pattern=product.pattern,
            interleave=self.cut.interleave,
            count=1,
            m=step.m[1] - step.m[0],
            groups=product.taps * product.pattern.groups(length),
            n=step.n[1] - step.n[0],
            continues=self.stationary and not step.first,
            continued=self.stationary and not step.last,
        )

    def _product(self, step: Step, half: tuple[int, int], result: int) -> dict[str, Values]:
        """Jobs of the feeds, of the array and of the collector."""
        target = self.target
        job = self._array(step)
        folds = job.folds(target.geometry)
        jobs = {}
        if self.stationary or step.first:
            whole = self._array(step, whole=not self.stationary)
            jobs["array"] = whole.fields(target.geometry)
        jobs["feed_activations"] = self.left[step.part].feed(
            self._left_tile(step),
            self.left_pitches,
            half[0] * target.activation_half,
            rows=step.m,
            stationary=self.stationary,
            folds=(folds.outer, folds.columns),
        )
        jobs["feed_weights"] = self.right[step.part].feed(
            self._right_tile(step),
            self.right_pitches,
            half[1] * target.weight_half,
            job,
            target.geometry,
        )
        if step.last if self.stationary else step.first:
            jobs["collect"] = self._collect(job, result * target.result_half)
        return jobs

    def _collect(self, job: StceJob, base: int) -> Values:
        geometry = self.target.geometry
        folds, slots = job.folds(geometry), -(-job.n // geometry.columns)
        common = {
            "slots": slots - 1,
            "short_from": job.n - (slots - 1) * geometry.columns,
            "base": base,
        }
        if self.stationary:
            self._check_results(slots * job.m)
            inner = dict.fromkeys(("inner", "inner_last"), job.m - 1)
            return {"outer": 0, **inner, **common, "pitch": job.m, "outer_pitch": 0}
        rows = geometry.rows
        pitch = min(rows, job.m)
        self._check_results(folds.outer * slots * pitch)
        return {
            "outer": folds.outer - 1,
            "inner": rows - 1,
            "inner_last": folds.rows_last - 1,
            **common,
            "pitch": pitch,
            "outer_pitch": slots * pitch,
        }

    def _check_results(self, needed: int) -> None:
        if needed > self.target.result_half:
            raise TooLarge(
                "out",
                f"a tile's results must fit half of a column's bank, {self.target.result_half}, "
                f"and are {needed}",
            )

    def _stores(self, step: Step, base: int) -> Iterator[Values]:
        """Jobs that store an output tile whose results lie from `base` on."""
        target = self.target
        job = self._array(step)
        folds, rows = job.folds(target.geometry), target.geometry.rows
        if self.stationary:
            yield from self._store_rows(step, (0, job.m), base, job.m, None)
            return
        collect = self._collect(job, base)
        whole = job.m if folds.rows_last == rows else (folds.outer - 1) * rows
        for fold, part in ((0, (0, whole)), (folds.outer - 1, (whole, job.m))):
            if part[0] == part[1]:
                continue
            height = rows if part[0] == 0 and whole else folds.rows_last
            first = base + fold * collect["outer_pitch"]
            turned = height, collect["outer_pitch"]
            yield from self._store_rows(step, part, first, collect["pitch"], turned)

    def _store_rows(
        self, step: Step, rows: Range, base: int, pitch: int, turned: tuple[int, int] | None
    ) -> Iterator[Values]:
        """Jobs that store some rows of a tile.

        Args:
            turned: OS, whose rows lie the other way round: rows of a fold; from fold to fold.
        """
        sizes, m0 = self.target.sizes, step.m[0]
        out = self.parts[step.part].out
        for piece in out.pieces(m0 + rows[0], m0 + rows[1], *step.n):
            slot = Loop(piece.slots, {"n": piece.width})
            loops: tuple[Loop, ...]
            if turned is None:
                loops = (slot, Loop(rows[1] - rows[0], {"row": 1}))
                begin = base
            else:
                loops = (slot, Loop(turned[0], {"row": -1}), Loop(rows[1], {"row": turned[1]}))
                begin = base + turned[0] - 1
            segments = Nest(
                {"row": begin, "n": piece.column},
                loops,
                piece.row * piece.slots,
                piece.rows * piece.slots,
            )
            run, memory = merged(piece.width, piece.nest, "address")
            yield {
                **row_walk(sizes).encode("segment_", segments),
                "length": piece.width - 1,
                "pitch": pitch,
                **memory_walk(sizes).encode("memory_", memory),
                "run": run - 1,
            }

    def _left_pitches(self) -> left_side.Pitches:
        """The layout of the activation buffer that is fed fastest, and then the smallest."""
        half, buffer = self.target.activation_half, self.left[0]
        tiles = list(dict.fromkeys(self._left_tile(step) for step in self.steps))
        channels = max(tile.channels[1] - tile.channels[0] for tile in tiles)
        rows = max(high - low for low, high in (buffer.rows(t.positions) for t in tiles))
        largest = 1 << POSITION_BITS - 1
        y, x = buffer.left.window.y, buffer.left.window.x
        if max(channels + self.product.pattern.m, y.size, x.size) > largest:
            raise InputError(
                f"channels and places of a tile must be below {largest}, not {channels}, "
                f"{y.size} and {x.size}"
            )
        best: tuple[int, int, left_side.Pitches] | None = None
        step = self.steps[0]
        for pitches in buffer.candidates(channels):
            elements = buffer.elements(rows, pitches)
            if elements > half:
                continue
            wait, ideal = buffer.wait(self._left_tile(step), pitches, step.m, self.stationary)
            if best is None or (wait, elements) < best[:2]:
                best = wait, elements, pitches
            if wait == ideal:
                break
        if best is None:
            least = buffer.narrowest(channels)
            needed = buffer.elements(rows, left_side.Pitches(least, least * buffer.left.map.width))
            raise TooLarge(
                "left",
                f"a tile of the left operand must fit half of the activation buffer, {half} "
                f"elements, and needs {needed}",
            )
        return best[2]

    def _right_pitches(self) -> right_side.Pitches:
        """The layout of the weight buffer that is fed fastest, and then the smallest."""
        half, buffer, step = self.target.weight_half, self.right[0], self.steps[0]
        if self.product.n >= 1 << COLUMN_BITS:
            raise InputError(
                f"columns of a product must be below 2^{COLUMN_BITS}, not {self.product.n}"
            )
        tiles = list(dict.fromkeys(self._right_tile(each) for each in self.steps))
        # Lines that begin within a block are longer: the longest one decides.
        widest = max(tiles, key=lambda tile: (buffer.line(tile)[0], buffer.line(tile)[1]))
        best: tuple[int, int, right_side.Pitches] | None = None
        for pitches in buffer.candidates(widest):
            elements = max(buffer.elements(tile, pitches) for tile in tiles)
            if elements > half:
                continue
            wait, ideal = buffer.wait(
                self._right_tile(step), pitches, self._array(step), self.target.geometry
            )
            if best is None or (wait, elements) < best[:2]:
                best = wait, elements, pitches
            if wait == ideal:
                break
        if best is None:
            line, lines = buffer.line(widest)
            raise TooLarge(
                "right",
                f"a tile of the right operand must fit half of the weight buffer, {half} kept "
                f"elements, and needs {line * lines}",
            )
        return best[2]


def _together(
    loads: tuple[tuple[Values, ...], ...], stores: tuple[Values, ...], wait: tuple[str, ...] = ()
) -> Iterator[Descriptor]:
    """Jobs of several units in turn, so that all of them have work; the first waits."""
    queues = (*loads, stores)
    for k in range(max(map(len, queues))):
        for unit, queue in zip(MEMORY, queues, strict=True):
            if k < len(queue):
                yield Descriptor(unit, {unit: queue[k]}, wait)
                wait = ()
