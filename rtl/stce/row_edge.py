"""The left edge of an array row: its control, its replay buffer, and its weights in WS."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Elaboratable, EnableInserter, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from nofm.rtl.arithmetic.half import WIDTH
from nofm.rtl.hierarchy import Unit
from nofm.rtl.stce.control import row_control, slot_control, weight
from nofm.rtl.stce.geometry import Geometry


class RowEdge(Unit):
    """What stands left of an array row.

    The control word is registered here, and handed on to the next row some cycles later: every row
    is a delayed copy of the first. The replay buffer holds two blocks of `sums` groups: the
    port fills one while the other is sent, as often as the control says; OS uses one group of each.

    | port | width | direction | |
    |---|---|---|---|
    | advance | 1 | in | nothing changes while low |
    | dense, output_stationary, last_entry | 1, 1, entry bits | in | of the next cycle's job: \
weights come without indices; its dataflow; N - 1 |
    | idle_when_short | 1 | in | the row has no work in a job's short folds; two cycles ahead |
    | row_stationary, row_last_entry | 1, entry bits | out | the same, for the row's USPEs |
    | control_next, control_now | `row_control` | in, out | control of the next cycle; of this one |
    | needs_group, needs_group_next | 1 | out | a beat is taken from the port; in the next cycle |
    | needs_weight, needs_weight_next | 1 | out | a weight is taken; in the next cycle |
    | beat | port x 17 | in | activations at the port |
    | kept | `weight` | in | the weight at the port |
    | control | `slot_control` | out | the slot for the first USPE |
    | group | group x 17 | out | its activations |
    | load, weight | 1, `weight` | out | WS: the weight for the first USPE |
    | enters, leaves | 1 | out | WS: the slot's sum comes from above; it leaves downward |
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = g = geometry
        self.module_name = "nofm_stce_row_edge"
        control, weights = row_control(g).size, weight(g).size
        super().__init__(
            {
                "advance": In(1),
                "dense": In(1),
                "output_stationary": In(1),
                "last_entry": In(g.entry_bits),
                "idle_when_short": In(1),
                "row_stationary": Out(1),
                "row_last_entry": Out(g.entry_bits),
                "control_next": In(control),
                "control_now": Out(control),
                "needs_group": Out(1),
                "needs_group_next": Out(1),
                "needs_weight": Out(1),
                "needs_weight_next": Out(1),
                "beat": In(g.port * WIDTH),
                "kept": In(weights),
                "control": Out(slot_control(g).size),
                "group": Out(g.group * WIDTH),
                "load": Out(1),
                "weight": Out(weights),
                "enters": Out(1),
                "leaves": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Elaboratable:
        m = Module()
        layout = row_control(self.geometry)
        now = Signal(layout)
        coming = data.View(layout, self.control_next)
        m.d.sync += now.eq(coming)
        m.d.comb += self.control_now.eq(now.as_value())
        # The job's word may stand far away: what is needed of it all the time is kept here.
        dense, idle = Signal(), Signal()
        stationary, last_entry = Signal(), Signal(self.geometry.entry_bits)
        m.d.sync += [
            dense.eq(self.dense),
            idle.eq(self.idle_when_short),
            stationary.eq(self.output_stationary),
            last_entry.eq(self.last_entry),
        ]
        m.d.comb += [
            self.row_stationary.eq(stationary),
            self.row_last_entry.eq(last_entry),
        ]
        for control, group, kept in (
            (now, self.needs_group, self.needs_weight),
            (coming, self.needs_group_next, self.needs_weight_next),
        ):
            m.d.comb += [
                group.eq(control.fetch & ~(control.fetch_short & idle)),
                kept.eq(control.load & ~(control.load_short & idle)),
            ]
        self._replay(m, now)
        slot = data.View(slot_control(self.geometry), self.control)
        m.d.comb += [slot[name].eq(now[name]) for name in ("slot", "first", "swap", "sum", "entry")]
        m.d.comb += [
            self.enters.eq(now.slot & now.first),
            self.leaves.eq(now.slot & now.leaves),
            self.load.eq(now.load),
        ]
        given = data.View(weight(self.geometry), self.kept)
        pushed = data.View(weight(self.geometry), self.weight)
        # Idle rows load zeros.
        with m.If(self.needs_weight):
            m.d.comb += [
                pushed.value.eq(given.value),
                pushed.index.eq(Mux(dense, now.load_slot, given.index)),
            ]
        return EnableInserter(self.advance)(m)

    def _replay(self, m: Module, now: Any) -> None:
        g = self.geometry
        parts = []
        for beat in range(g.beats):
            # The last beat may hold fewer activations.
            width = min(g.port, g.group - beat * g.port) * WIDTH
            memory = Memory(shape=width, depth=1 << (g.turn_bits + 1), init=[])
            m.submodules[f"replay{beat}"] = memory
            write, read = memory.write_port(), memory.read_port(domain="comb")
            m.d.comb += [
                write.addr.eq(Cat(now.fetch_sum, now.fetch_half)),
                write.data.eq(Mux(self.needs_group, self.beat[:width], 0)),
                write.en.eq(now.fetch & (now.fetch_beat == beat)),
                read.addr.eq(Cat(now.group, now.half)),
            ]
            parts.append(read.data)
        m.d.comb += self.group.eq(Cat(*parts))
