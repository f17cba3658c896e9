"""Later: what a pipeline carries beside its arithmetic."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, Value

JOBS_BITS = 6
"""Bits of the number of jobs inside a unit: each has a pass or more in its pipeline."""


def later(m: Module, name: str, value: Value, cycles: int, *, keep: bool = False) -> Value:
    """`value`, some cycles later.

    Args:
        m: where the registers are.
        name: of these.
        value: what they carry.
        cycles: how many.
        keep: a reset clears them.
    """
    # There are no registers of no bits.
    for cycle in range(cycles if len(value) else 0):
        after = Signal(len(value), name=f"{name}_{cycle}", reset_less=not keep)
        m.d.sync += after.eq(value)
        value = after
    return value


def tell_done(m: Module, unit: Any, ends: Value, cycles: int) -> None:
    """Drive `busy` and `done` of a unit that works on several jobs at once.

    Args:
        m: where the registers are.
        unit: has `job_valid`, `job_ready`, `busy` and `done`.
        ends: a job's last work goes on its way.
        cycles: how long that takes.
    """
    jobs = Signal(JOBS_BITS)
    m.d.comb += [
        unit.done.eq(later(m, "ended", ends, cycles, keep=True)),
        unit.busy.eq(jobs != 0),
    ]
    m.d.sync += jobs.eq(jobs + (unit.job_valid & unit.job_ready) - unit.done)
