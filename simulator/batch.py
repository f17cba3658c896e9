"""Many accelerators, one training step: the schedule search and the step's total in one batch.

`simulate_step` explains one step; a `StepBatch` only says how long it takes, what it moves and the
energy that it needs, for as many accelerators as memory holds no table of. Both give the same
numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from nofm.dataflow.accelerator import Accelerator, Energy, missing_pattern
from nofm.dataflow.design_table import DesignTable
from nofm.dataflow.jobs import Job
from nofm.dataflow.mapping import MAPPING, MOST
from nofm.dataflow.methods import Method
from nofm.dataflow.products import product_records
from nofm.dataflow.schedule import MAX_CYCLES, allowed_dataflows, usable_dataflows
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.simulator import energy
from nofm.simulator.step import Key, Options, engine_records, step_jobs
from nofm.simulator.timing import choose, engine_cycles
from nofm.workloads.trace import Trace

Records = np.ndarray[Any, Any]
CHUNK = 1 << 16
"""Most candidate mappings in memory at once, for each thread."""
STREAMING = tuple(
    f"{engine}_{what}"
    for engine in ("vector", "wuve", "sore")
    for what in ("lanes", "latency_cycles")
)
"""Fields of a `HARDWARE` record that no product depends on."""


@dataclass(frozen=True)
class BatchResult:
    """One training step on n designs.

    Attributes:
        cycles, dram_bytes: int64 [n]; 0 where there is an error.
        seconds, energy_pj: float64 [n]; NaN where there is an error.
        errors: object [n], why the step cannot be simulated on a design, in one line; None where
            it can.
    """

    cycles: Records
    dram_bytes: Records
    seconds: Records
    energy_pj: Records
    errors: Records


class StepBatch:
    """One training step, ready to be timed on many accelerators.

    Args:
        trace, method, pattern, options: as for `simulate_step`.
    """

    def __init__(
        self, trace: Trace, method: Method, pattern: Pattern, options: Options | None = None
    ) -> None:
        self.trace, self.method, self.pattern = trace, method, pattern
        self.options = options or Options()
        self._works: dict[tuple[Any, ...], _Work] = {}

    def evaluate(self, accelerators: Sequence[Accelerator]) -> tuple[Records, Records]:
        """Cycles and DRAM bytes of the step on each accelerator, int64 [len(accelerators)].

        Raises:
            InputError: an accelerator lacks the pattern, or its buffers hold no tile.
        """
        if not accelerators:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        result = self.evaluate_table(DesignTable.of(accelerators))
        for error in result.errors[result.errors.astype(bool)]:
            raise InputError(error)
        return result.cycles, result.dram_bytes

    def evaluate_table(self, table: DesignTable, threads: int = 1) -> BatchResult:
        """The step on each design. A design that is no accelerator, that lacks the pattern or
        whose buffers hold no tile has an error, and the others go on.

        Args:
            table: the designs.
            threads: how many work at the same time. The results do not depend on it.
        """
        count = len(table)
        result = BatchResult(
            np.zeros(count, np.int64),
            np.zeros(count, np.int64),
            np.full(count, np.nan),
            np.full(count, np.nan),
            table.errors().copy(),
        )
        self._refuse_patterns(table, result.errors)
        valid = np.flatnonzero(~result.errors.astype(bool))
        if not len(valid):
            return result
        # Designs that differ here have other jobs.
        kinds = [table.distinct(name) for name in ("formats.operand", "formats.master")]
        kinds.append(table.distinct("vector.fused"))
        codes = np.stack([codes[valid] for _, codes in kinds])
        alike, which = np.unique(codes, axis=1, return_inverse=True)
        for i, kind in enumerate(alike.T.tolist()):
            key = tuple(values[code] for (values, _), code in zip(kinds, kind, strict=True))
            members = valid[which.ravel() == i]
            designs = table.take(members)
            if key not in self._works:
                self._works[key] = self._work(designs.accelerator(0))
            self._evaluate(self._works[key], designs, members, result, threads)
        return result

    def _refuse_patterns(self, table: DesignTable, errors: Records) -> None:
        if self.method.name == "dense":
            return
        values, codes = table.distinct("array.patterns")
        for code, patterns in enumerate(values):
            if patterns is None or not missing_pattern("", patterns, self.pattern):
                continue
            at = np.flatnonzero((codes == code) & ~errors.astype(bool))
            for i, name in zip(at, table.column("name")[at].tolist(), strict=True):
                errors[i] = missing_pattern(name, patterns, self.pattern)

    def _work(self, accelerator: Accelerator) -> _Work:
        todo = step_jobs(self.trace, accelerator, self.method, self.pattern, self.options)
        times: dict[Key, int] = {}
        for job in todo:
            for product in job.products:
                times[product, job.stage] = times.get((product, job.stage), 0) + 1
        streaming = [job for job in todo if job.engine != "array"]
        records = engine_records(streaming)
        different, repeats = np.unique(records, return_counts=True)
        macs = [(key[0].effective_macs * n, key[0].pattern.dense) for key, n in times.items()]
        return _Work(
            products=product_records([product for product, _ in times]),
            repeats=np.array(list(times.values()), np.int64),
            allowed=allowed_dataflows(self.options.schedule, [stage for _, stage in times]),
            streaming=different,
            streaming_repeats=repeats,
            streamed_bytes=sum((records["read_bytes"] + records["written_bytes"]).tolist()),
            effective_macs=sum(count for count, _ in macs),
            selected_macs=sum(count for count, dense in macs if not dense),
            updates=sum(job.elements for job in streaming if job.engine != "sore"),
            compares=sum(_compares(job) for job in streaming),
        )

    def _evaluate(
        self,
        work: _Work,
        designs: DesignTable,
        members: Records,
        result: BatchResult,
        threads: int,
    ) -> None:
        hardware = designs.records()
        if not self.options.interleave:
            hardware["interleave"] = 1
        # Designs that differ only in what no product sees share its schedule.
        seen = hardware.copy()
        for field in STREAMING:
            seen[field] = 0
        first, which = _alike(seen)
        products = work.of_products(seen[first], threads).take(which)
        engines = work.of_engines(hardware, threads)
        sums = products.sums + engines.sums
        rough = products.rough + engines.rough
        cycles, moved, _ = sums.T

        wrong = np.full(len(members), None, object)
        names = designs.column("name")
        # In floating point first, which cannot overflow.
        endless = (rough[:, :2] >= 1.5 * MAX_CYCLES).any(axis=1)
        endless |= (cycles >= MAX_CYCLES) | (moved >= MAX_CYCLES)
        for i in np.flatnonzero(endless).tolist():
            wrong[i] = (
                f"{self.trace.name}: a step must take fewer than 2^62 cycles and move fewer "
                f"bytes, but may need more on accelerator {str(names[i])!r}"
            )
        for i in np.flatnonzero(~products.fits).tolist():
            wrong[i] = (
                f"the buffers of accelerator {str(names[i])!r} cannot hold one tile of every "
                f"product of {self.trace.name!r}"
            )
        good = ~wrong.astype(bool)
        at = members[good]
        result.errors[members] = wrong
        result.cycles[at], result.dram_bytes[at] = cycles[good], moved[good]
        clock_hz = np.rint(_numbers(designs, "clock_mhz") * 1e6)
        result.seconds[at] = (cycles / clock_hz)[good]
        buffered = np.where(rough[:, 2] < MAX_CYCLES, sums[:, 2], rough[:, 2])
        table = {name: _numbers(designs, f"energy.{name}") for name in Energy.model_fields}
        prices = SimpleNamespace(energy=SimpleNamespace(**table), clock_hz=clock_hz)
        result.energy_pj[at] = work.energy_pj(prices, buffered, moved, cycles)[good]


@dataclass(frozen=True)
class _Totals:
    """Sums over jobs for h machines.

    Attributes:
        sums: int64 [h, 3]: cycles, DRAM bytes, buffer bytes.
        rough: the same in float64, which holds also where int64 overflows.
        fits: bool [h], whether the buffers hold a tile of every product.
    """

    sums: Records
    rough: Records
    fits: Records

    @classmethod
    def empty(cls, count: int) -> _Totals:
        """Nothing yet for `count` machines."""
        return cls(np.zeros((count, 3), np.int64), np.zeros((count, 3)), np.ones(count, np.bool_))

    def add(self, machines: Any, column: int, each: Records, repeats: Records) -> None:
        """Add each job's figure [h, j], as often as it occurs [j]."""
        self.sums[machines, column] += (each * repeats).sum(axis=1)
        self.rough[machines, column] += (each * (1.0 * repeats)).sum(axis=1)

    def take(self, machines: Records) -> _Totals:
        """Those of some machines."""
        return _Totals(self.sums[machines], self.rough[machines], self.fits[machines])


@dataclass(frozen=True)
class _Work:
    """What a step asks of machines of one kind.

    Attributes:
        products, repeats, allowed: `PRODUCT` [p], all different, how often each occurs, and the
            dataflows that it may use.
        streaming, streaming_repeats: `ENGINE_JOB` [j], all different, and how often each occurs.
        streamed_bytes: DRAM bytes of streaming jobs.
        effective_macs, selected_macs, updates, compares: what costs energy (`energy`).
    """

    products: Records
    repeats: Records
    allowed: Records
    streaming: Records
    streaming_repeats: Records
    streamed_bytes: int
    effective_macs: int
    selected_macs: int
    updates: int
    compares: int

    def of_products(self, hardware: Records, threads: int) -> _Totals:
        """Totals of all products, `HARDWARE` [h]."""
        totals = _Totals.empty(len(hardware))
        if not len(self.products):
            return totals
        size = max(1, CHUNK // (MOST * len(self.products)))
        parts = []
        for machines in _by_interconnect(hardware):
            usable = usable_dataflows(hardware[machines[0]], self.allowed)
            parts += [(usable, machines[i : i + size]) for i in range(0, len(machines), size)]
        room_size = min(size, len(hardware)) * MOST * len(self.products)

        def run(todo: Iterator[tuple[Records, Records]]) -> None:
            room = np.zeros(room_size, MAPPING)
            for usable, machines in todo:
                chosen = choose(hardware[machines], self.products, usable, room)
                totals.fits[machines] = (chosen["cycles"] >= 0).all(axis=1)
                for column, name in enumerate(("cycles", "dram_bytes", "buffer_bytes")):
                    totals.add(machines, column, chosen[name], self.repeats)

        _share(run, parts, threads)
        return totals

    def of_engines(self, hardware: Records, threads: int) -> _Totals:
        """Totals of all streaming jobs, `HARDWARE` [h]."""
        totals = _Totals.empty(len(hardware))
        totals.sums[:, 1:] = min(self.streamed_bytes, MAX_CYCLES)
        totals.rough[:, 1:] = self.streamed_bytes
        size = max(1, CHUNK // (5 * max(1, len(self.streaming))))
        parts = [slice(i, i + size) for i in range(0, len(hardware), size)]

        def run(todo: Iterator[slice]) -> None:
            for machines in todo:
                each = engine_cycles(hardware[machines], self.streaming)[:, :, 0]
                totals.add(machines, 0, each, self.streaming_repeats)

        _share(run, parts, threads)
        return totals

    def energy_pj(
        self, prices: energy.Priced, buffered: Records, moved: Records, cycles: Records
    ) -> Records:
        """Energy of the step by machine, float64 [h]."""
        products = energy.of_products(
            prices,
            effective_macs=self.effective_macs,
            selected_macs=self.selected_macs,
            buffer_bytes=buffered,
            dram_bytes=moved,
            cycles=cycles,
        )
        # Their bytes and cycles are among those of the step already.
        engines = energy.of_engine(
            prices, updates=self.updates, compares=self.compares, dram_bytes=0, cycles=0
        )
        total: Records = sum(products.values()) + sum(engines.values())
        return total


def _compares(job: Job) -> int:
    return job.elements * sum(form.n for form in job.forms)


def _share(run: Callable[[Iterator[Any]], None], parts: list[Any], threads: int) -> None:
    """Let threads take parts in turn, one after another."""
    todo = iter(parts)
    threads = min(threads, len(parts))
    if threads <= 1:
        run(todo)
        return
    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(run, todo) for _ in range(threads)]:
            future.result()


def _numbers(designs: DesignTable, name: str) -> Records:
    return designs.column(name).astype(np.float64)


def _alike(hardware: Records) -> tuple[Records, Records]:
    """One index of each different record, and which of those each record equals."""
    first, codes = np.zeros(1, np.int64), np.zeros(len(hardware), np.int64)
    for name in hardware.dtype.names or ():
        values, code = np.unique(hardware[name], return_inverse=True)
        if len(values) > 1:
            codes = codes * len(values) + code
            _, first, codes = np.unique(codes, return_index=True, return_inverse=True)
    return first, codes


def _by_interconnect(hardware: Records) -> list[Records]:
    """Indices of machines with the same dataflows: they may use the same ones."""
    has = 2 * hardware["has_ws"] + hardware["has_os"]
    return [np.flatnonzero(has == some) for some in np.unique(has)]
