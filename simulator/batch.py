"""Many accelerators, one training step: the schedule search and the step's total in one batch.

`simulate_step` explains one step; a `StepBatch` only says how long it takes and what it moves, for
as many accelerators as memory holds no table of. Both give the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nofm.dataflow.accelerator import HARDWARE, Accelerator, hardware_record
from nofm.dataflow.mapping import MOST
from nofm.dataflow.methods import Method
from nofm.dataflow.products import Product, product_records
from nofm.dataflow.schedule import (
    MAX_CYCLES,
    allowed_dataflows,
    moved_bytes,
    search,
    usable_dataflows,
)
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.simulator.step import Options, engine_records, step_jobs
from nofm.simulator.timing import engine_cycles, evaluate
from nofm.workloads.trace import Trace

Records = np.ndarray[Any, Any]
CHUNK = 1 << 18
"""Most candidate mappings in memory at once."""


class StepBatch:
    """One training step, ready to be timed on many accelerators.

    The step's jobs depend on the accelerator only through its number formats and what its vector
    engine fuses: accelerators that differ there need batches of their own.

    Args:
        trace, method, pattern, options: as for `simulate_step`.
    """

    def __init__(
        self, trace: Trace, method: Method, pattern: Pattern, options: Options | None = None
    ) -> None:
        self.trace, self.method, self.pattern = trace, method, pattern
        self.options = options or Options()

    def evaluate(self, accelerators: Sequence[Accelerator]) -> tuple[Records, Records]:
        """Cycles and DRAM bytes of the step on each accelerator, int64 [len(accelerators)].

        Raises:
            InputError: an accelerator lacks the pattern, or its buffers hold no tile.
        """
        cycles = np.zeros(len(accelerators), np.int64)
        moved = np.zeros(len(accelerators), np.int64)
        alike: dict[tuple[Any, ...], list[int]] = {}
        for i, accelerator in enumerate(accelerators):
            if self.method.name != "dense":
                accelerator.require_pattern(self.pattern)
            key = (accelerator.formats, accelerator.vector.fused)
            alike.setdefault(key, []).append(i)
        for members in alike.values():
            machines = [self.options.machine(accelerators[i]) for i in members]
            hardware = np.array([hardware_record(machine) for machine in machines], HARDWARE)
            cycles[members], moved[members] = self._evaluate(machines, hardware)
        return cycles, moved

    def _evaluate(
        self, machines: Sequence[Accelerator], hardware: Records
    ) -> tuple[Records, Records]:
        todo = step_jobs(self.trace, machines[0], self.method, self.pattern, self.options)
        times: dict[tuple[Product, str], int] = {}
        for job in todo:
            for product in job.products:
                times[product, job.stage] = times.get((product, job.stage), 0) + 1
        products = product_records([product for product, _ in times])
        repeats = np.array(list(times.values()), np.int64)
        allowed = allowed_dataflows(self.options.schedule, [stage for _, stage in times])
        streaming = engine_records([job for job in todo if job.engine != "array"])
        streamed = sum((streaming["read_bytes"] + streaming["written_bytes"]).tolist())

        cycles = np.zeros(len(hardware), np.int64)
        moved = np.full(len(hardware), min(streamed, MAX_CYCLES), np.int64)
        # The larger of both once more in floating point, which cannot overflow.
        rough = np.zeros(len(hardware))
        step = max(1, CHUNK // (MOST * max(1, len(products))))
        for first in range(0, len(hardware), step):
            chunk = hardware[first : first + step]
            for i, record in enumerate(chunk, first):
                cycles[i] = min(sum(engine_cycles(record, streaming)[:, 0].tolist()), MAX_CYCLES)
            if not len(products):
                continue
            for part in _by_interconnect(chunk):
                usable = usable_dataflows(chunk[part[0]], allowed)
                plan = search(chunk[part], products, usable, evaluate)
                if not plan.fits.all():
                    which = machines[first + part[int(np.argmin(plan.fits)) // len(products)]]
                    raise InputError(
                        f"the buffers of accelerator {which.name!r} cannot hold one tile of every "
                        f"product of {self.trace.name!r}"
                    )
                chosen = plan.costs.reshape(len(part), len(products))
                at = np.array(part) + first
                cycles[at] += (chosen["cycles"] * repeats).sum(axis=1)
                moved[at] += (moved_bytes(chosen) * repeats).sum(axis=1)
                for figure in (moved_bytes(chosen), chosen["cycles"]):
                    rough[at] = np.maximum(rough[at], (figure * (1.0 * repeats)).sum(axis=1))
        rough = np.maximum(rough, np.maximum(cycles, moved))
        if (endless := rough >= MAX_CYCLES).any():
            raise InputError(
                f"{self.trace.name}: a step must take fewer than 2^62 cycles and move fewer bytes, "
                f"but may need more on accelerator {machines[int(np.argmax(endless))].name!r}"
            )
        return cycles, moved


def _by_interconnect(chunk: Records) -> list[list[int]]:
    """Indices of accelerators with the same dataflows: they may use the same ones."""
    alike: dict[tuple[int, int], list[int]] = {}
    for i, record in enumerate(chunk):
        alike.setdefault((int(record["has_ws"]), int(record["has_os"])), []).append(i)
    return list(alike.values())
