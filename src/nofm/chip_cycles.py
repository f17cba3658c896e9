"""Cycles of whole jobs: what the simulator says of a chip's programs, and what its RTL takes.

Simulator and RTL meet here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nofm.dataflow.accelerator import DATAFLOWS, Accelerator, hardware_record
from nofm.dataflow.jobs import ENGINES
from nofm.dataflow.mapping import MAPPING, candidates
from nofm.dataflow.methods import METHODS
from nofm.dataflow.products import Product, product_records, products
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.rtl.pregeneration.geometry import Geometry as UpdateGeometry
from nofm.rtl.program.encoding import Descriptor, encode_program
from nofm.rtl.program.forms import sore_job
from nofm.rtl.program.image import feature_map
from nofm.rtl.program.layout import Beats, Form, Tensors
from nofm.rtl.program.load import memory_walk
from nofm.rtl.program.lower import lower
from nofm.rtl.program.product import Target, fitting
from nofm.rtl.program.sizes import HALF_BYTES, ChipSizes
from nofm.rtl.program.step import ALIGNED, TrainingStep, finished
from nofm.rtl.program.tiles import Cut, steps
from nofm.rtl.program.update import STREAMS
from nofm.rtl.program.vector import OPERATIONS
from nofm.simulator.timing import ENGINE_JOB, PARTS, array_cycles, engine_cycles, evaluate
from nofm.workloads.layer import Convolution, Linear, WeightLayer

Array = np.ndarray[Any, Any]
CHUNK_BEATS = 16
"""Beats of a transfer's longest chunk."""
OUTSTANDING = 8
"""Bursts that a chip's master has under way at most."""


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

    def behind(self, accelerator: Accelerator) -> Accelerator:
        """The accelerator with this memory, for the simulator."""
        # It serves beats one by one: no run is rounded to more.
        clock, bus = accelerator.clock_mhz, ChipSizes.of(accelerator).bus_bits
        return accelerator.with_values(
            **{
                "dram.latency_ns": self.latency * 1e3 / clock,
                "dram.bandwidth_gbps": bus / 8 * clock / 1e3 * self.beats / self.cycles,
                "dram.burst_bytes": bus // 8,
            }
        )


def product_costs(accelerator: Accelerator, found: Sequence[Product], cuts: Sequence[Cut]) -> Array:
    """What the simulator says of products as programs cut them: `COST` [products]."""
    mappings = np.zeros(len(found), MAPPING)
    for at, cut in enumerate(cuts):
        mappings[at]["product"] = at
        mappings[at]["tile_count"] = 1
        for name in ("interleave", "tile_m", "tile_length", "tile_n"):
            mappings[at][name] = getattr(cut, name)
        mappings[at]["m_outer"] = cut.m_outer
        mappings[at]["dataflow"] = DATAFLOWS.index(cut.dataflow)
    hardware = np.atleast_1d(hardware_record(accelerator))
    return evaluate(hardware, product_records(list(found)), mappings)


def engine_job(target: Target, descriptor: Descriptor) -> Array:
    """The `ENGINE_JOB` record of a vector or an update job: [1]."""
    ((unit, values),) = descriptor.jobs.items()

    def halves(prefix: str) -> int:
        return (values[f"{prefix}total"] + 1) * (values[f"{prefix}run"] + 1)

    record = np.zeros(1, ENGINE_JOB)
    if unit == "vector":
        operation = next(o for o in OPERATIONS.values() if o.opcode == values["opcode"])
        record["engine"] = ENGINES.index("vector")
        record["elements"] = math.prod(values[name] + 1 for name in ("run", "passes", "rounds"))
        read = [
            prefix
            for prefix, has in (("a_", operation.a), ("b_", operation.b or operation.held))
            if has
        ]
        written = ["out_"]
    else:
        geometry = UpdateGeometry.of(target.accelerator)
        job = sore_job(geometry.sore, values)
        record["engine"] = ENGINES.index("wuve+sore")
        record["elements"] = job.taps * job.length * job.columns
        record["both_forms"], record["group"] = job.both, job.pattern.m
        for name in ("taps", "length", "columns"):
            record[name] = getattr(job, name)
        read, written = list(STREAMS[:3]), list(STREAMS[3:5])
        written += ["half_"] if values["halves"] else []
        written += ["rows_"] if values["pruned"] else []
        written += ["columns_"] if values["pruned"] and job.both else []
    record["read_bytes"] = HALF_BYTES * sum(map(halves, read))
    record["written_bytes"] = HALF_BYTES * sum(map(halves, written))
    return record


def step_cycles(step: TrainingStep, memory: MemoryTime) -> dict[str, list[tuple[str, int]]]:
    """Cycles of the jobs of a training step's two programs, in no order: names and cycles by
    program."""
    machine = memory.behind(step.target.accelerator)
    hardware = hardware_record(machine)
    found: dict[str, list[tuple[str, int]]] = {"forward": [], "backward": []}
    layers = {each.layer.name: each.layer for each in step.placed if each.weight is not None}
    for (name, stage), cuts in step.cuts.items():
        whole = products(layers[name], stage, step.method, step.pattern)
        cycles = int(product_costs(machine, whole, cuts)["cycles"].sum())
        found["forward" if stage == "ff" else "backward"].append((f"{name} {stage}", cycles))
    for program in found:
        for descriptor in getattr(step, program):
            if descriptor.operation in ("vector", "update"):
                record = engine_job(step.target, descriptor)
                cycles = int(engine_cycles(hardware, record)[0, 0])
                found[program].append((descriptor.operation, cycles))
    return found


@dataclass(frozen=True, kw_only=True)
class Case:
    """A stage of a layer on a chip with a memory."""

    layer: WeightLayer
    stage: str
    method: str
    pattern: Pattern
    memory: MemoryTime
    products: tuple[Product, ...]
    cuts: tuple[Cut, ...]
    program: tuple[Descriptor, ...]
    elements: int
    costs: Array

    @property
    def cycles(self) -> int:
        """That the simulator says it takes."""
        return int(self.costs["cycles"].sum())

    def __str__(self) -> str:
        layer = self.layer
        if isinstance(layer, Linear):
            what = f"linear {layer.rows * layer.batch}x{layer.in_features}x{layer.out_features}"
        else:
            assert isinstance(layer, Convolution)
            side = "x".join(map(str, (layer.batch, *layer.size)))
            what = f"conv {side} {layer.in_channels}>{layer.out_channels}"
            what += f" k{layer.kernel[0]} s{layer.stride[0]}"
        flows = "+".join(sorted({cut.dataflow for cut in self.cuts}))
        pattern = self.products[0].pattern
        return f"{what} {self.stage} {'dense' if pattern.dense else pattern} {flows}"


def _layer(rng: np.random.Generator) -> WeightLayer:
    if rng.random() < 0.4:
        return Linear(
            name="linear",
            batch=1,
            rows=int(rng.integers(8, 129)),
            in_features=int(rng.integers(16, 257)),
            out_features=int(rng.integers(8, 129)),
        )
    kernel, stride = int(rng.integers(1, 4)), int(rng.choice([1, 1, 2]))
    side = int(rng.integers(4, 13))
    return Convolution(
        name="convolution",
        batch=int(rng.integers(1, 5)),
        in_channels=int(rng.integers(2, 33)),
        out_channels=int(rng.integers(4, 33)),
        size=(side, side),
        kernel=(kernel, kernel),
        stride=(stride, stride),
        padding=((kernel // 2, kernel // 2),) * 2,
        dilation=(1, 1),
    )


def _place(
    layer: WeightLayer, accelerator: Accelerator, pattern: Pattern, pruned: bool
) -> tuple[Tensors, int]:
    """Room for all tensors of a layer, and the elements of memory."""
    end = 0

    def room(elements: int) -> int:
        nonlocal end
        at, end = end, end + -(-elements // ALIGNED) * ALIGNED
        return at

    if isinstance(layer, Linear):
        sizes: tuple[Any, Any] = (layer.rows,), (layer.rows,)
        channels, taps = (layer.in_features, layer.out_features), 1
    else:
        assert isinstance(layer, Convolution)
        sizes = layer.size, layer.output_size
        channels, taps = (layer.in_channels, layer.out_channels), int(np.prod(layer.kernel))
    large, small = (feature_map(layer, s, c, 0) for s, c in zip(sizes, channels, strict=True))
    lanes = UpdateGeometry.of(accelerator).sore.lanes // 2
    return Tensors(
        input=replace(large, address=room(large.elements)),
        input_gradient=replace(large, address=room(large.elements)),
        output=replace(small, address=room(small.elements)),
        gradient=replace(small, address=room(small.elements)),
        weight=room(layer.weight_elements),
        along_large=room(Form(0, pattern, channels[1]).rows(taps, channels[0])),
        along_small=room(Form(0, pattern, channels[0]).rows(taps, channels[1])),
        weight_gradient=room(layer.weight_elements),
        beats=Beats(pattern.m, lanes) if pruned else None,
    ), end


def random_case(
    rng: np.random.Generator, accelerator: Accelerator, cycles: tuple[int, int] = (2000, 9000)
) -> Case | None:
    """A random stage of a random layer with one of the mappings that the scheduler looks at; None
    where it has no program, or takes fewer or more cycles than is wanted."""
    layer = _layer(rng)
    pattern = Pattern.parse(str(rng.choice(["1:2", "2:4", "1:4", "2:8", "4:8", "4:16"])))
    method = METHODS[str(rng.choice(["dense", "bdwp"]))]
    stage = str(rng.choice(["ff", "bp", "wu"]))
    memory = MemoryTime(int(rng.integers(5, 61)), *((1, 1), (1, 2), (3, 4))[rng.integers(3)])
    machine = memory.behind(accelerator)
    whole = products(layer, stage, method, pattern)
    if not whole:
        return None
    tensors, elements = _place(layer, accelerator, pattern, method.name != "dense")
    target = Target(accelerator)
    # Mappings for smaller buffers have more steps, and the chip can run them too.
    room = {
        f"buffers.{name}_kib": min(
            int(getattr(machine.buffers, f"{name}_kib")), int(rng.choice([2, 4, 16]))
        )
        for name in ("activation", "weight", "output")
    }
    hardware = np.atleast_1d(hardware_record(machine.with_values(**room)))
    cuts, program = [], []
    for product, parts in zip(whole, lower(layer, stage, method, pattern, tensors), strict=True):
        found, _ = candidates(hardware, product_records([product]))
        if not len(found):
            return None
        cut = Cut.of(found[rng.integers(len(found))])
        if (
            not cycles[0]
            <= len(whole) * product_costs(machine, [product], [cut])["cycles"][0]
            <= cycles[1]
        ):
            return None
        try:
            cut, made = fitting(target, parts, cut)
        except InputError:
            return None
        cuts.append(cut)
        program += made
    return Case(
        layer=layer,
        stage=stage,
        method=method.name,
        pattern=pattern,
        memory=memory,
        products=tuple(whole),
        cuts=tuple(cuts),
        program=tuple(finished(program)),
        elements=elements,
        costs=product_costs(machine, whole, cuts),
    )


def random_cases(seed: int, accelerator: Accelerator, count: int) -> list[Case]:
    """So many random cases."""
    rng = np.random.default_rng(seed)
    found: list[Case] = []
    while len(found) < count:
        if (case := random_case(rng, accelerator)) is not None:
            found.append(case)
    return found


def measure(
    cases: Sequence[Case],
    accelerator: Accelerator,
    sources: Mapping[str, str] | Path,
    *,
    folder: Path,
    **options: Any,
) -> list[dict[str, int]]:
    """The chip's counters after each of the cases, one after the other in one simulation.

    Raises:
        SimulationError: a program did not end well.
    """
    from nofm.rtl.chip.chip import chip_bus
    from nofm.rtl.tools.cocotb_runner import SimulationError, run

    target = Target(accelerator)
    bus = chip_bus(target.sizes)
    folder.mkdir(parents=True, exist_ok=True)
    at = -(-2 * max(case.elements for case in cases) // 4096) * 4096
    programs = [encode_program(target.format, list(case.program)) for case in cases]
    image = folder / "image.bin"
    image.write_bytes(np.random.default_rng(0).bytes(at + max(map(len, programs)) + 4096))
    runs = []
    for number, (case, program) in enumerate(zip(cases, programs, strict=True)):
        path = folder / f"program{number}.bin"
        path.write_bytes(program)
        runs.append(
            {
                "program": str(path),
                "at": at,
                "limit": 20000 + 4 * case.cycles,
                "write": [],
                "memory": {
                    "latency": case.memory.latency,
                    "bandwidth": [case.memory.beats, case.memory.cycles],
                },
            }
        )
    done = run(
        sources,
        "nofm_chip",
        "nofm.rtl.bench.chip_replay",
        folder=folder,
        **{"hierarchical": ("nofm_uspe",), "tool": "verilator", **options},
        arguments={
            "hardware": accelerator.to_toml(),
            "memory": {"latency": 20, "bandwidth": [1, 1]},
            "rules": {
                "burst_beats": bus.burst_beats,
                "outstanding": bus.outstanding,
            },
            "image": str(image),
            "window": [0, at],
            "watchdog": 5000,
            "runs": runs,
        },
    )
    found = []
    for number, result in enumerate(done.results["runs"]):
        if "error" in result:
            raise SimulationError(f"case {number}: {result['error']['text']}")
        found.append(dict(result["counters"]))
    return found


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Cycles that a chip takes beside what the simulator counts; found from 16 random cases on
    `sat-4x4`.

    Attributes:
        fetch: of a program's first descriptor, beside memory's latency.
        load: from a load's job to its end, beside the latency and its beats.
        product: from a product's jobs to its array's start.
        collect: from the array's end to that of its results.
        store: from a store's job to its end, beside the latency, its results and its last chunk.
        read, write: of a burst until another one may take its place, beside the latency.
        hand: from a job that is handed out to the next, beside the descriptor's words.
        end: from the last unit's end to the program's.
    """

    fetch: int = 52
    load: int = 13
    product: int = 19
    collect: int = 8
    store: int = 27
    read: int = 13
    write: int = 5
    hand: int = 10
    end: int = 2


class Timeline:
    """When the units of a chip work on the jobs of a program: loads, products and stores.

    The array's cycles are the simulator's; DRAM serves one transfer after the other.
    """

    def __init__(self, target: Target, memory: MemoryTime, costs: Costs) -> None:
        self.target, self.memory, self.costs = target, memory, costs
        self.ends = dict.fromkeys(target.units, 0.0)
        self.dram = self.reads = self.writes = 0.0
        self._known: dict[int, tuple[int, int]] = {}

    def cycles(self, program: Sequence[Descriptor], jobs: Sequence[tuple[int, bool]]) -> float:
        """Cycles of a program.

        Args:
            jobs: of each product in turn, the array's cycles, and whether the array goes on with
                the reduction afterwards.
        """
        costs, form, left = self.costs, self.target.format, iter(jobs)
        words = sum(1 + form.by_name[each.operation].words for each in program)
        now = float(self.memory.latency + costs.fetch)
        self._move(0.0, min(words * 8, 1024))
        fetched = 128
        for each in program:
            size = form.by_name[each.operation].words
            now += size + costs.hand
            now = max([now, *(self.ends[unit] + costs.end for unit in each.wait)])
            now = max([now, *(self.ends[unit] for unit in each.jobs)])
            # Its words make room for others in the fetcher's queue.
            if fetched < words:
                self._move(now, 8 * min(size + 1, words - fetched))
                fetched += size + 1
            if each.operation == "product":
                cycles, goes_on = next(left)
                start = max(now + costs.product, self.ends["array"])
                end = start + cycles
                for unit in ("feed_activations", "feed_weights"):
                    self.ends[unit] = end
                self.ends["array"] = end
                self.ends["collect"] = end if goes_on else end + costs.collect
            elif each.operation == "store":
                self.ends["store"] = self._store(now, each.jobs["store"])
            else:
                self.ends[each.operation] = self._load(now, each.jobs[each.operation])
        return max(now, *self.ends.values()) + costs.end

    @property
    def _per_beat(self) -> float:
        return self.memory.cycles / self.memory.beats

    def _move(self, ready: float, byte_count: float) -> float:
        """When DRAM has moved so many bytes that are ready from some cycle on."""
        beats = byte_count / (2 * self.target.sizes.halves)
        self.dram = max(self.dram, ready) + beats * self._per_beat
        return self.dram

    def _load(self, now: float, values: Mapping[str, int]) -> float:
        beats, bursts = self._beats(values)
        latency, costs = self.memory.latency, self.costs
        arrives = self._move(now + latency, self._bytes(beats))
        # Only so many bursts are under way at a time, of all that read.
        held = bursts * (latency + costs.read) + beats * self._per_beat
        self.reads = max(self.reads, now) + held / OUTSTANDING
        pieces = now + latency + values["segment_total"] + 1
        return max(arrives, pieces, self.reads) + costs.load

    def _store(self, now: float, values: Mapping[str, int]) -> float:
        sizes, latency, costs = self.target.sizes, self.memory.latency, self.costs
        beats, bursts = self._beats(values)
        most = min(sizes.columns, sizes.halves)
        read = (values["segment_total"] + 1) * -(-(values["length"] + 1) // most)
        # A chunk is written when all of it has been read.
        share = min(1.0, CHUNK_BEATS / beats)
        moved = self._move(now + read * share, self._bytes(beats))
        held = bursts * (latency + costs.write) + beats * self._per_beat
        self.writes = max(self.writes, now) + held / OUTSTANDING
        last = now + read + min(CHUNK_BEATS, beats) * self._per_beat
        return max(moved, last, self.writes) + latency + costs.store

    def _bytes(self, beats: int) -> int:
        return 2 * self.target.sizes.halves * beats

    def _beats(self, values: Mapping[str, int]) -> tuple[int, int]:
        """Beats of a job's runs, cut into chunks, and bursts."""
        halves, run = self.target.sizes.halves, values["run"] + 1
        at = id(values)
        if at not in self._known:
            beats = bursts = 0
            for each in memory_walk(self.target.sizes).passes("memory_", values):
                beats += run_beats(each["address"], run, halves)
                bursts += run_bursts(each["address"], run, halves)
            self._known[at] = beats, bursts
        return self._known[at]


def run_bursts(address: int, run: int, halves: int) -> int:
    """Bursts that a run takes: those of its chunks, which end where bursts do if it begins with a
    beat."""
    offset, at, words = address % halves, address // halves, -(-run // halves)
    first = CHUNK_BEATS - at % CHUNK_BEATS
    chunks = 1 if words <= first else 1 + -(-(words - first) // CHUNK_BEATS)
    if offset == 0:
        return chunks
    end = (address + run - 1) // halves
    return chunks + chunks - 1 + int(end // CHUNK_BEATS != (at + words - 1) // CHUNK_BEATS)


def run_beats(address: int, run: int, halves: int) -> int:
    """Beats that a run of FP16 elements takes as chunks (`nofm.rtl.chip.chunks`)."""
    offset, at, words = address % halves, address // halves, -(-run // halves)
    if offset == 0:
        return words
    first = CHUNK_BEATS - at % CHUNK_BEATS
    chunks = 1 if words <= first else 1 + -(-(words - first) // CHUNK_BEATS)
    # Each chunk begins and ends inside of a beat; the last one's end may not need another.
    tail = (run - 1) % halves + 1 + offset <= halves
    return words + chunks - tail


def array_jobs(accelerator: Accelerator, product: Product, cut: Cut) -> list[tuple[int, bool]]:
    """The simulator's cycles of the array for each step of a product, and whether the array holds
    its sums afterwards."""
    hardware = np.atleast_1d(hardware_record(accelerator))
    found, known = [], {}
    for step in steps(product, cut):
        sides = tuple(high - low for low, high in (step.m, step.run, step.n))
        held = cut.dataflow == "os" and not step.last
        if (sides, held) not in known:
            part = replace(product, count=1, m=sides[0], length=sides[1], n=sides[2])
            total, *parts = array_cycles(
                hardware,
                DATAFLOWS.index(cut.dataflow),
                cut.interleave,
                part.pattern.n,
                part.pattern.m,
                1,
                sides[0],
                part.taps,
                sides[1],
                sides[2],
            ).tolist()
            if held:
                total -= sum(parts[PARTS.index(name)] for name in ("drain", "fill"))
            known[sides, held] = total
        found.append((known[sides, held], held))
    return found


def predicted(case: Case, accelerator: Accelerator, costs: Costs) -> float:
    """Cycles of a case, with what the chip takes beside the simulator's."""
    jobs = [
        job
        for product, cut in zip(case.products, case.cuts, strict=True)
        for job in array_jobs(accelerator, product, cut)
    ]
    return Timeline(Target(accelerator), case.memory, costs).cycles(case.program, jobs)
