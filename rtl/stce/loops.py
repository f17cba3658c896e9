"""Nested loops in hardware: counters whose comparisons are made a round ahead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Signal, Value


@dataclass(frozen=True)
class Loop:
    """One of nested loops.

    Attributes:
        last: a register: this is the last round of the loop.
        last_after: what `last` will be after another round of the loop; combinational.
    """

    last: Signal
    last_after: Signal


def nest(
    m: Module, name: str, rounds: Mapping[str, Value], *, step: Value, start: Value
) -> dict[str, Loop]:
    """Count through nested loops, for ever.

    A loop compares what is left of it with 1 and keeps the answer in a register, so that nothing
    but a multiplexer lies between `step` and a register.

    Args:
        m: the module that the counters go into.
        name: of the nest, for the names of its signals.
        rounds: rounds of each loop, less one, the innermost first; steady from `start` on.
        step: one more round of the innermost loop.
        start: back to the first round of all loops; goes before `step`.
    """
    loops: dict[str, Loop] = {}
    for loop, count in rounds.items():
        left = Signal(len(count), name=f"{name}_{loop}_left")
        last = Signal(name=f"{name}_last_{loop}")
        last_after = Signal(name=f"{name}_last_{loop}_after")
        m.d.comb += last_after.eq(Mux(last, count == 0, left == 1))
        with m.If(step):
            m.d.sync += [left.eq(Mux(last, count, left - 1)), last.eq(last_after)]
        with m.If(start):
            m.d.sync += [left.eq(count), last.eq(count == 0)]
        loops[loop] = Loop(last, last_after)
        step = step & last
    return loops
