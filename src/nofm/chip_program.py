"""A chip's program as the simulator takes it: what each of its jobs moves, in numbers.

Simulator and RTL meet here: programs are those that the RTL runs (`nofm.rtl.program`), and their
cycles are counted by `nofm.simulator.chip`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from nofm.dataflow.accelerator import DATAFLOWS, Accelerator, hardware_record
from nofm.kernels.errors import InputError
from nofm.rtl.chip.lag import activation_lag
from nofm.rtl.chip.vector_geometry import VectorGeometry
from nofm.rtl.pregeneration.geometry import Geometry as UpdateGeometry
from nofm.rtl.program.banks import served
from nofm.rtl.program.encoding import Descriptor
from nofm.rtl.program.feed import POSITION_BITS, map_walk
from nofm.rtl.program.forms import sore_job
from nofm.rtl.program.load import memory_walk, segment_walk
from nofm.rtl.program.product import Target
from nofm.rtl.program.sizes import BLOCK, ChipSizes
from nofm.rtl.program.vector import OPERATIONS
from nofm.rtl.sore.geometry import Geometry as PruneGeometry
from nofm.rtl.sore.job import SoreJob
from nofm.simulator.chip import records as chip
from nofm.simulator.chip.clock import run
from nofm.simulator.chip.feeding import waited
from nofm.simulator.timing import PARTS, array_cycles

Array = np.ndarray[Any, Any]
Values = Mapping[str, int]

ENGINE_CYCLES = 1
"""Cycles from elements' coming to the vector unit or to the update's engine to their being in it:
what the chip's RTL was seen to take beside the latencies."""

MOST_CYCLES = 1 << 32
"""A program that takes longer does not end."""

FEED_LATENCY, FEED_BEHIND, WEIGHT_LATENCY = 22, 17, 19
"""Cycles from a job of the activations' feeder to its first beat, beside one for each row; those of
them behind the request; and from a job of the weights' feeder to its first words."""

SPARE = 16
"""Beats that the activations' feeder may be ahead, beside the lag of the last row."""

COLLECT_CYCLES = 2
"""Cycles of the collector behind a result in the last column."""

CHUNK_BEATS, CLIENT_BEATS, MASTER_BEATS, OUTSTANDING = 16, 64, 128, 8
"""Beats of a chunk, of a client's queue and of a master's; bursts under way at most."""


@dataclass(frozen=True)
class MemoryTime:
    """How fast a memory is.

    Attributes:
        latency: cycles from an address to its first beat, and from a write's last beat to its
            answer.
        beats, cycles: so many beats of the bus move in so many cycles, read and written together.
    """

    latency: int
    beats: int
    cycles: int

    @classmethod
    def of(cls, accelerator: Accelerator) -> MemoryTime:
        """The accelerator's DRAM, to within 1 / 64 of a beat a cycle."""
        latency = round(accelerator.dram.latency_ns * accelerator.clock_mhz / 1e3)
        bytes_per_cycle = accelerator.dram.bandwidth_gbps * 1e3 / accelerator.clock_mhz
        share = Fraction(bytes_per_cycle * 8 / ChipSizes.of(accelerator).bus_bits)
        share = share.limit_denominator(64)
        return cls(max(1, latency), max(1, share.numerator), share.denominator)

    def behind(self, accelerator: Accelerator) -> Accelerator:
        """The accelerator with this memory, for the simulator of layers."""
        # It serves beats one by one: no run is rounded to more.
        clock, bus = accelerator.clock_mhz, ChipSizes.of(accelerator).bus_bits
        return accelerator.with_values(
            **{
                "dram.latency_ns": self.latency * 1e3 / clock,
                "dram.bandwidth_gbps": bus / 8 * clock / 1e3 * self.beats / self.cycles,
                "dram.burst_bytes": bus // 8,
            }
        )


class ProgramTime:
    """A program, ready to be timed with any memory.

    Args:
        target: the chip.
        program: its descriptors; the last one has `last`.
        address: of its first byte in memory.

    Raises:
        InputError: an operation whose cycles are not known.
    """

    def __init__(self, target: Target, program: Sequence[Descriptor], address: int = 0) -> None:
        self.target = target
        self.address = address
        self._addresses: list[Array] = []
        self._items: list[Array] = []
        self._blocks: list[Array] = []
        self._lengths = dict.fromkeys(("addresses", "items", "blocks", "words", "pieces"), 0)
        self._moves: list[tuple[int, ...]] = []
        self._products: list[tuple[int, ...]] = []
        self._vectors: list[tuple[int, ...]] = []
        self._prunings: list[tuple[int, ...]] = []
        self._words: list[Array] = []
        self._pieces: list[Array] = []
        self._known: dict[tuple[Any, ...], Any] = {}
        self._hardware = np.atleast_1d(hardware_record(target.accelerator))
        self._ahead = activation_lag(target.geometry) + SPARE
        self._ways = max(1, target.sizes.halves // BLOCK)
        self._most_results = min(target.sizes.columns, target.sizes.halves)
        self._vector_unit = VectorGeometry.of(target.accelerator)
        self._update_unit = UpdateGeometry.of(target.accelerator)
        self._prune_unit = PruneGeometry.of(target.accelerator)
        # Of the array's job at hand: cycles and groups that no step has had, cycles of a group,
        # whether no step has had any.
        self._left, self._unit, self._groups, self._first = 0, 0, 0, False
        self._numbers = {unit.name: unit.number for unit in target.format.units}
        assert tuple(self._numbers) == chip.UNITS
        found = []
        for each in program:
            wait = sum(1 << self._numbers[unit] for unit in each.wait)
            words = target.format.by_name[each.operation].words
            operation = chip.OPERATIONS.index(each.operation)
            found.append((words, wait, operation, self._job(each), int(each.last)))
        self._descriptors = np.array(found, chip.DESCRIPTOR)

    def _job(self, descriptor: Descriptor) -> int:
        operation, jobs = descriptor.operation, descriptor.jobs
        if operation in ("load_activations", "load_weights"):
            return self._load(operation, jobs[operation])
        if operation == "store":
            return self._store(jobs["store"])
        if operation == "product":
            return self._product(jobs)
        if operation == "vector":
            return self._vector(jobs["vector"])
        if operation in ("update", "prune"):
            return self._pruning(operation, jobs[operation])
        if operation == "barrier":
            return 0
        raise InputError(f"cycles of a chip's {operation} are not known")

    def _keep(self, kind: str, store: list[Array], values: Array) -> int:
        """Append, and give the first one's place."""
        first = self._lengths[kind]
        self._lengths[kind] += len(values)
        store.append(values)
        return first

    def _move(self, runs: Values, prefix: str, run: int, items: Array, blocks: Array) -> int:
        addresses = memory_walk(self.target.sizes).places_of(prefix, runs)["address"]
        self._moves.append(
            (
                self._keep("addresses", self._addresses, addresses),
                len(addresses),
                run,
                self._keep("items", self._items, items),
                len(items),
                self._keep("blocks", self._blocks, blocks),
                len(blocks),
            )
        )
        return len(self._moves) - 1

    def _load(self, unit: str, values: Values) -> int:
        sizes = self.target.sizes
        activations = unit == "load_activations"
        walk = segment_walk(sizes.activation_bits if activations else sizes.weight_bits)
        starts = walk.places_of("segment_", values)["to"] % sizes.halves
        items = _pieces(starts, values["length"] + 1, sizes.halves)
        found = _NO_BLOCKS
        if not activations:
            packed = values["compressed"]
            kept = values["kept"] if packed else values["run"]
            bits = values["index_bits"] if packed else 0
            one = _kept_blocks(kept + 1, bits, self._ways)
            found = np.tile(one, (values["memory_total"] + 1, 1))
        return self._move(values, "memory_", values["run"], items, found)

    def _store(self, values: Values) -> int:
        most, length = self._most_results, values["length"] + 1
        rows = np.full(-(-length // most), most, np.int64)
        rows[-1] = length - (len(rows) - 1) * most
        items = np.tile(rows, values["segment_total"] + 1)
        return self._move(values, "memory_", values["run"], items, _NO_BLOCKS)

    def _product(self, jobs: Mapping[str, Values]) -> int:
        """A step of the array's job at hand, or of the one that begins with it."""
        feed, columns = jobs["feed_activations"], self.target.sizes.columns
        begins_job = "array" in jobs
        if begins_job:
            self._begin_array(jobs["array"])
            self._gives = "collect" in jobs
            # The last results come a cycle earlier for each column that they do not use.
            used = jobs["collect"]["short_from"] if self._gives else columns
            self._collects = COLLECT_CYCLES - (columns - (used or columns))
        array = self._array
        beats = array["beats"] + 1
        costs, lanes = self._requests(feed)
        gather = feed["gather"] + 1
        walk = -(-costs.shape[1] // gather)
        walks = costs.shape[0] * (feed["repeats"] + 1)
        # OS jobs of one fold may take a step for some of their groups each.
        cycles, block, first = self._left, (array["sums"] + 1) * beats, self._first
        if array["output_stationary"]:
            block = beats
            self._groups -= walk // beats * walks
            if self._groups > 0:
                cycles = walk // beats * self._unit - (self._unit - beats if first else 0)
        self._left -= cycles
        self._first = False
        ends = self._left == 0
        arrives = FEED_LATENCY + lanes
        late, asked = waited(
            costs,
            feed["repeats"] + 1,
            gather,
            *(lanes, FEED_LATENCY, chip.FIRST_WISH if begins_job else arrives, block, self._unit),
            max(1, (cycles - (self._tail if ends else 0)) // walks),
            *(self._ahead, FEED_BEHIND),
            self._weights_late(jobs["feed_weights"]) if begins_job else 0,
        )
        waits = late - (arrives - chip.FIRST_WISH if begins_job else 0)
        units = sum(1 << self._numbers[unit] for unit in jobs)
        found = units, arrives, waits, cycles, ends, self._gives, self._collects
        self._products.append((*map(int, found), int(asked) + FEED_BEHIND - 2))
        return len(self._products) - 1

    def _weights_late(self, feed: Values) -> int:
        """Cycles that the array waits for its first weights."""
        sizes = self.target.sizes
        lanes = min(sizes.rows if feed["to_rows"] else sizes.columns, feed["held_total"] + 1)
        first = 0 if feed["to_rows"] else self._array["beats"] + 1
        return WEIGHT_LATENCY + lanes - chip.FIRST_WISH - first

    def _begin_array(self, values: Values) -> None:
        """The sizes of a job from its fields, and its cycles from them (docs/timing.md)."""
        self._array = values
        hw, rows, columns = self._hardware, self.target.sizes.rows, self.target.sizes.columns
        stationary = not values["output_stationary"]
        outer = values["outer_folds"] * rows + values["rows_last"]
        v = values["sums"] + 1
        along = columns if stationary else columns * v
        n = values["column_folds"] * along + values["columns_last"]
        if not stationary:
            n += values["sums_last"] * columns
        total, *parts = array_cycles(
            hw,
            DATAFLOWS.index("ws" if stationary else "os"),
            v,
            values["passes"] + 1,
            (values["beats"] + 1) * self.target.sizes.port,
            1,
            values["vectors"] + 1 if stationary else outer,
            outer if stationary else values["units"] + 1,
            (values["beats"] + 1) * self.target.sizes.port,
            n,
        ).tolist()
        told = dict(zip(PARTS, parts, strict=True))
        self._left, self._unit = total, values["unit"] + 1
        self._tail = told["fill"] + (0 if stationary else values["last_drain"])
        folds = (values["outer_folds"] + 1) * (values["column_folds"] + 1)
        self._first, self._groups = True, 0 if stationary else (values["units"] + 1) * folds

    def _stream(self, prefix: str, values: Values) -> tuple[int, int, int]:
        """First address of a stream, how many, and elements of each run, less one."""
        addresses = memory_walk(self.target.sizes).places_of(prefix, values)["address"]
        first = self._keep("addresses", self._addresses, addresses)
        return first, len(addresses), values[f"{prefix}run"]

    def _vector(self, values: Values) -> int:
        operation = next(o for o in OPERATIONS.values() if o.opcode == values["opcode"])
        writes = operation.reduces or operation.held > 1
        late = operation is OPERATIONS["sum"]
        none = 0, 0, 0
        self._vectors.append(
            (
                *(values[name] + 1 for name in ("run", "passes", "rounds")),
                operation.held,
                *(int(x) for x in (operation.a, operation.b, operation.reduces, writes)),
                self._vector_unit.line_cycles(late=late),
                *(self._stream("a_", values) if operation.a else none),
                *(self._stream("b_", values) if operation.b or operation.held else none),
                *self._stream("out_", values),
            )
        )
        return len(self._vectors) - 1

    def _pruning(self, unit: str, values: Values) -> int:
        geometry = self._update_unit
        pruner = geometry.sore if unit == "update" else self._prune_unit
        job = sore_job(pruner, values)
        lanes = geometry.wuve.lanes if unit == "update" else pruner.lanes
        words = _words(job, pruner, lanes, job.parts(pruner))
        pieces = _form_pieces(job, values) if values["pruned"] and job.both else _NO_PIECES
        none = 0, 0, 0
        streams = {"gradient": "gradient_", "form_rows": "rows_", "form_columns": "columns_"}
        if unit == "prune":
            streams["gradient"] = "dense_"
        else:
            streams |= {x: f"{x}_" for x in ("weight", "momentum", "new_weight", "new_momentum")}
            if values["halves"]:
                streams["half"] = "half_"
        if not values["pruned"]:
            del streams["form_rows"], streams["form_columns"]
        elif not job.both:
            del streams["form_columns"]
        found = [
            self._stream(streams[name], values) if name in streams else none
            for name in chip.PRUNING_STREAMS
        ]
        self._prunings.append(
            (
                self._keep("words", self._words, words),
                len(words),
                job.elements(pruner),
                job.pattern.n,
                int(job.both),
                values["pruned"],
                values.get("halves", 0),
                values["index_bits"],
                values["rows_kept"],
                job.taps * job.pattern.groups(job.length) * job.columns,
                self._keep("pieces", self._pieces, pieces),
                len(pieces),
                *(number for stream in found for number in stream),
            )
        )
        return len(self._prunings) - 1

    def _requests(self, feed: Values) -> tuple[Array, int]:
        """Cycles of every request of each fold's walk, and lanes of the first fold."""
        sizes = self.target.sizes
        key = tuple(feed.values())
        if key in self._known:
            return self._known[key]
        walk = map_walk(sizes)
        held, inner = (walk.places_of(prefix, feed) for prefix in ("held_", "inner_"))
        folds, count = feed["outer"] + 1, len(held["at"])
        lanes = min(sizes.rows, count)

        def sums(name: str) -> Array:
            padded = np.zeros(folds * sizes.rows, np.int64)
            padded[:count] = held[name]
            spread = padded.reshape(folds, 1, sizes.rows) + inner[name][:, np.newaxis]
            width = walk.places[name]
            spread = spread.reshape(-1, sizes.rows) % (1 << width)
            if width == POSITION_BITS:
                spread = np.where(spread >> (width - 1), spread - (1 << width), spread)
            return spread

        c, y, x = (sums(name) for name in ("c", "y", "x"))
        there = np.arange(folds * sizes.rows).reshape(folds, 1, sizes.rows) < count
        reads = np.broadcast_to(there, (folds, len(inner["at"]), sizes.rows)).reshape(c.shape)
        reads = reads & (y >= 0) & (y < feed["size_y"]) & (x >= 0) & (x < feed["size_x"])
        reads &= (c < feed["size_c"]) & (c + feed["take"] >= 0)
        found = served(sums("at"), reads, sizes.activation_banks, feed["skew"], sizes.port)
        self._known[key] = found.reshape(folds, -1), lanes
        return self._known[key]

    def machine(self, memory: MemoryTime) -> Array:
        """The chip with a memory: `MACHINE` [1]."""
        target = self.target
        sizes = target.sizes
        depth = max(64, 1 << (2 * target.format.longest - 1).bit_length())
        vector, update, prune = self._vector_unit, self._update_unit, self._prune_unit
        machine = np.zeros(1, chip.MACHINE)
        for name, value in {
            "halves": sizes.halves,
            "most_results": self._most_results,
            "kept_ways": self._ways,
            "fetch_depth": depth,
            "fetch_chunk": depth // 4,
            "latency": memory.latency,
            "beats": memory.beats,
            "cycles": memory.cycles,
            "outstanding": OUTSTANDING,
            "chunk_beats": CHUNK_BEATS,
            "client_beats": CLIENT_BEATS,
            "master_beats": MASTER_BEATS,
            "update_lanes": update.wuve.lanes,
            "update_latency": update.wuve.latency_cycles + ENGINE_CYCLES,
            "prune_latency": prune.latency_cycles,
            "prune_lanes": prune.lanes,
            "entries": prune.entries,
            "vector_lanes": vector.lanes,
            "vector_latency": vector.latency_cycles + ENGINE_CYCLES,
            "unpack_room": 4
            << (max(sizes.halves, self._ways * (BLOCK + sizes.index_bits)) - 1).bit_length(),
        }.items():
            machine[name] = value
        return machine

    def run(self, memory: MemoryTime, trace: Array | None = None) -> dict[str, int]:
        """Cycles, by the names in `nofm.simulator.chip.records.RESULT`.

        Args:
            memory: what the chip works before.
            trace: int64 [5, n], which is filled: how often AR, R, AW, W and B moved, and when.

        Raises:
            InputError: the program takes more than `MOST_CYCLES`.
        """
        joined = [
            np.concatenate(store) if store else np.zeros(0, np.int64)
            for store in (self._addresses, self._items)
        ]
        kept = [*self._blocks, np.zeros((1, 2), np.int64)]
        found = run(
            self.machine(memory),
            self._descriptors,
            int((self._descriptors["words"] + 1).sum()),
            self.address // 2,
            np.array(self._moves or [_zeros(chip.MOVE)], chip.MOVE),
            np.array(self._products or [_zeros(chip.PRODUCT)], chip.PRODUCT),
            np.array(self._vectors or [_zeros(chip.VECTOR)], chip.VECTOR),
            np.array(self._prunings or [_zeros(chip.PRUNING)], chip.PRUNING),
            np.concatenate([*self._words, np.zeros((1, 3), np.int64)]),
            np.concatenate([*self._pieces, np.zeros((1, 4), np.int64)]),
            *joined,
            np.concatenate(kept),
            MOST_CYCLES,
            np.zeros((5, 1), np.int64) if trace is None else trace,
        )
        if found[0] < 0:
            raise InputError(f"a program takes more than {MOST_CYCLES} cycles")
        told = dict(zip(chip.RESULT, found.tolist(), strict=True))
        # The weights' feeder is not stepped: nothing waits for it longer than for the array.
        del told["busy_feed_weights"]
        return told


def _zeros(record: np.dtype[Any]) -> tuple[int, ...]:
    """What stands where no job is of a kind."""
    return (0,) * len(record.names or ())


_NO_BLOCKS = np.zeros((0, 2), np.int64)


_NO_PIECES = np.zeros((0, 4), np.int64)


def _words(job: SoreJob, geometry: PruneGeometry, lanes: int, parts: int) -> Array:
    """Words of an engine's input: columns, and groups of both forms that end with it."""
    of, elements = job.pattern, job.elements(geometry)
    slots = job.slots(geometry)
    first = np.arange(slots) * elements
    columns = np.minimum(elements, job.columns - first)
    ends = (first + columns) // of.m - first // of.m
    ends[-1] += job.columns % of.m != 0
    groups = []
    for start in range(0, job.length, of.m):
        rows = min(of.m, job.length - start)
        words = np.zeros((slots, rows, parts, 3), np.int64)
        before = np.arange(parts) * lanes
        words[..., 0] = np.clip(columns[:, np.newaxis] - before, 0, lanes)[:, np.newaxis]
        words[:, -1, -1, 1] = columns
        words[:, :, -1, 2] = ends[:, np.newaxis] if job.both else 0
        groups.append(words.reshape(-1, 3))
    return np.tile(np.concatenate(groups), (job.taps, 1))


def _form_pieces(job: SoreJob, values: Values) -> Array:
    """Pieces of a second form: kept elements and FP16 elements, each less one, rows, and groups
    that must have been taken."""
    of = job.pattern
    groups = of.groups(job.columns)
    found = []
    for tap in range(job.taps):
        for first in range(0, job.length, BLOCK):
            end = min(first + BLOCK, job.length)
            last = "_last" if end == job.length else ""
            # All rows of a group along the rows are finished together.
            rows = tap * job.length + min(-(-end // of.m) * of.m, job.length)
            kept, run = values[f"columns_kept{last}"], values[f"columns_run{last}"]
            found += [(kept, run, end - first, rows * groups)] * groups
    return np.array(found, np.int64)


def _pieces(starts: Array, length: int, halves: int) -> Array:
    """Elements, less one, of the pieces of segments that begin at these places of a word."""
    known = {}
    for start in np.unique(starts).tolist():
        first = min(length, halves - start)
        rest = length - first
        cut = [first, *[halves] * (rest // halves), *([rest % halves] if rest % halves else [])]
        known[start] = np.array(cut, np.int64) - 1
    return np.concatenate([known[start] for start in starts.tolist()])


def _kept_blocks(kept: int, bits: int, ways: int) -> Array:
    """FP16 elements, less one, and kept ones of the blocks that a run is unpacked in."""
    found = []
    while kept:
        left = -(-kept // BLOCK)
        if left == 1:
            count, words = kept, -(-kept * bits // 16)
        else:
            blocks = ways if left > ways else 1
            count, words = BLOCK * blocks, bits * blocks
        found.append((count + words - 1, count))
        kept -= count
    return np.array(found, np.int64)
