"""Performance counters that can be read as they stood in one cycle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Member, Out

from nofm.rtl.chip.register_file import COUNTER_BITS
from nofm.rtl.hierarchy import Unit


class Counters(Unit):
    """Adds up what happens in every cycle.

    | port | width | direction | |
    |---|---|---|---|
    | clear | 1 | in | begin again from 0; what happens in this cycle does not count |
    | run | 1 | in | count in this cycle |
    | snapshot | 1 | in | copy all counters, as they stand |
    | NAME | given | in | what is added to the counter |
    | NAME_count | 48 | out | the counter at the last snapshot |
    """

    def __init__(self, name: str, widths: Mapping[str, int]) -> None:
        self.widths = dict(widths)
        self.module_name = f"nofm_chip_counters_{name}"
        ports: dict[str, Member] = {"clear": In(1), "run": In(1), "snapshot": In(1)}
        for each, width in self.widths.items():
            ports |= {each: In(width), f"{each}_count": Out(COUNTER_BITS)}
        super().__init__(ports)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for name in self.widths:
            count = Signal(COUNTER_BITS, name=f"{name}_now")
            with m.If(self.clear):
                m.d.sync += count.eq(0)
            with m.Elif(self.run):
                m.d.sync += count.eq(count + getattr(self, name))
            with m.If(self.snapshot):
                m.d.sync += getattr(self, f"{name}_count").eq(count)
        return m
