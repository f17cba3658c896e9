"""STCE: the array of USPEs with its edges, its sequencer and its streams."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from nofm.dataflow.accelerator import Accelerator
from nofm.rtl.elastic import DEPTH, Elastic
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.stce.column_edge import ColumnEdge
from nofm.rtl.stce.control import job_layout, read_control, write_control
from nofm.rtl.stce.delay import Delay
from nofm.rtl.stce.drain import Drain
from nofm.rtl.stce.geometry import Geometry
from nofm.rtl.stce.ports import OperandPort
from nofm.rtl.stce.row_edge import RowEdge
from nofm.rtl.stce.sequencer import PARTS, Sequencer
from nofm.rtl.stce.sum_walk import SumWalk
from nofm.rtl.stce.uspe import Uspe

COUNTER_BITS = 48
CAUSES = ("activations", "weights", "results")
"""Why the array may freeze: a stream in has nothing, or a stream out is full."""


class Stce(Unit):
    """The systolic array.

    Jobs run one after the other; `nofm.rtl.stce.job` packs them. For each job every stream carries
    what the job uses, in the order in which the array uses it (`nofm.rtl.stce.streams`), and
    nothing else. The array does in `count_busy` cycles what the simulator says. Where a stream has
    no word in time, or a result no room, the whole array freezes for a cycle, which is counted by
    its cause apart.

    R rows, C columns; lane 0 of every stream is in the lowest bits.

    | port | width | direction | |
    |---|---|---|---|
    | job_valid, job_ready, job_data | 1, 1, `job_layout` | in, out, in | jobs |
    | activations_valid, _ready, _data | R, R, R x port x 16 | in, out, in | FP16 groups, in beats |
    | row_weights_valid, _ready, _data | R, R, R x (16 + index) | in, out, in | WS: FP16 and index |
    | column_weights_valid, _ready, _data | C, C, C x (16 + index) | in, out, in | OS: the same |
    | results_valid, _ready, _data | C, C, C x 32 | out, in, out | FP32 sums |
    | done | 1 | out | a job has ended: counters show it for this cycle |
    | count_busy, count_issue ... count_fill | 48 | out | cycles of the job and what they went to |
    | count_stalled_activations, _weights, _results | 48 | out | frozen cycles by cause |
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = g = geometry
        self.module_name = "nofm_stce"
        kept = 16 + g.index_bits
        counters = ["busy", *PARTS, *(f"stalled_{cause}" for cause in CAUSES)]
        super().__init__(
            {
                "job_valid": In(1),
                "job_ready": Out(1),
                "job_data": In(job_layout(g).size),
                "activations_valid": In(g.rows),
                "activations_ready": Out(g.rows),
                "activations_data": In(g.rows * g.port * 16),
                "row_weights_valid": In(g.rows),
                "row_weights_ready": Out(g.rows),
                "row_weights_data": In(g.rows * kept),
                "column_weights_valid": In(g.columns),
                "column_weights_ready": Out(g.columns),
                "column_weights_data": In(g.columns * kept),
                "results_valid": Out(g.columns),
                "results_ready": In(g.columns),
                "results_data": Out(g.columns * 32),
                "done": Out(1),
                **{f"count_{name}": Out(COUNTER_BITS) for name in counters},
            }
        )

    @classmethod
    def top(cls, accelerator: Accelerator) -> Stce:
        """The array of an accelerator.

        Raises:
            InputError: it cannot be built.
        """
        return cls(Geometry.of(accelerator))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self.platform = platform
        g = self.geometry
        self.advance = Signal(init=1)
        self.sequencer = self._place(m, "sequencer", Sequencer(g))
        # The job of the array's next cycle: nothing of the one before needs its word in its last.
        self.job = data.View(job_layout(g), self.sequencer.job_next)
        self.rows = [self._place(m, f"row_edge_{r}", RowEdge(g)) for r in range(g.rows)]
        self.columns = [self._place(m, f"column_edge_{c}", ColumnEdge(g)) for c in range(g.columns)]
        ready = {
            "activations": self._activations(m),
            "weights": self._row_weights(m) + self._column_weights(m),
            "results": self._results(m),
        }
        self._row_control(m)
        self._column_control(m)
        self._array(m)
        self._advance(m, ready)
        return m

    def _place(self, m: Module, name: str, unit: Any) -> Any:
        place(m, self.platform, name, unit)
        m.d.comb += unit.advance.eq(self.advance)
        return unit

    def _port(self, m: Module, name: str, lane: int, stream: str, halves: int, extra: int) -> Any:
        port = OperandPort(halves, extra)
        place(m, self.platform, f"{name}_{lane}", port)
        m.d.comb += [
            port.in_valid.eq(getattr(self, f"{stream}_valid")[lane]),
            getattr(self, f"{stream}_ready")[lane].eq(port.in_ready),
            port.in_data.eq(getattr(self, f"{stream}_data").word_select(lane, 16 * halves + extra)),
        ]
        return port

    def _needs(self, m: Module, port: Any, need: Any, need_next: Any, name: str) -> Signal:
        """Take a word when it is needed; whether the next cycle can have what it needs."""
        ready = Signal(name=name)
        m.d.comb += [
            port.take.eq(need & self.advance),
            ready.eq(port.next_ready | ~Mux(self.advance, need_next, need)),
        ]
        return ready

    def _activations(self, m: Module) -> list[Signal]:
        ready = []
        for r, row in enumerate(self.rows):
            port = self._port(m, "group_port", r, "activations", self.geometry.port, 0)
            m.d.comb += row.beat.eq(port.word)
            name = f"activations_come_{r}"
            ready.append(self._needs(m, port, row.needs_group, row.needs_group_next, name))
        return ready

    def _row_weights(self, m: Module) -> list[Signal]:
        ready = []
        for r, row in enumerate(self.rows):
            port = self._port(m, "row_port", r, "row_weights", 1, self.geometry.index_bits)
            m.d.comb += row.kept.eq(port.word)
            name = f"row_weight_comes_{r}"
            ready.append(self._needs(m, port, row.needs_weight, row.needs_weight_next, name))
        return ready

    def _column_weights(self, m: Module) -> list[Signal]:
        ready = []
        for c, column in enumerate(self.columns):
            port = self._port(m, "column_port", c, "column_weights", 1, self.geometry.index_bits)
            m.d.comb += column.kept.eq(port.word)
            name = f"column_weight_comes_{c}"
            ready.append(self._needs(m, port, column.needs_weight, column.needs_weight_next, name))
        return ready

    def _results(self, m: Module) -> list[Signal]:
        """Results wait in an elastic buffer, which must keep room for two of them: one that comes
        in this cycle, and one in the next."""
        ready = []
        for c, column in enumerate(self.columns):
            buffer = Elastic(32)
            place(m, self.platform, f"result_port_{c}", buffer)
            room = Signal(name=f"room_{c}")
            m.d.comb += [
                buffer.in_valid.eq(column.result_valid & self.advance),
                buffer.in_data.eq(column.result),
                self.results_valid[c].eq(buffer.out_valid),
                buffer.out_ready.eq(self.results_ready[c]),
                self.results_data.word_select(c, 32).eq(buffer.out_data),
                room.eq(buffer.level <= DEPTH - 2),
            ]
            ready.append(room)
        return ready

    def _row_control(self, m: Module) -> None:
        """Every row's control goes to the next row, some cycles later."""
        g, job = self.geometry, self.job
        control = self.sequencer.control_next
        for r, row in enumerate(self.rows):
            if r > 0:
                delay = Delay(len(control), g.longest_row_delay)
                self._place(m, f"row_delay_{r}", delay)
                m.d.comb += [
                    delay.restart.eq(self.sequencer.comes),
                    delay.cycles.eq(job.row_delay),
                    delay.given.eq(self.rows[r - 1].control_now),
                ]
                control = delay.later
            m.d.comb += [
                row.control_next.eq(control),
                row.dense.eq(job.dense),
                row.output_stationary.eq(job.output_stationary),
                row.last_entry.eq(job.passes),
                row.idle_when_short.eq(self.sequencer.rows_last <= r),
            ]

    def _column_control(self, m: Module) -> None:
        g, sequencer = self.geometry, self.sequencer
        drain = self._place(m, "drain", Drain(g))
        m.d.comb += [
            drain.starts.eq(sequencer.starts),
            drain.job.eq(sequencer.job),
            drain.fold_ends.eq(sequencer.fold_ends),
            drain.ends_last_columns.eq(sequencer.ends_last_columns),
            drain.ends_short.eq(sequencer.ends_short),
        ]
        read, write = self._walks(m)
        top, drained = sequencer.top_next, drain.drain
        for c, column in enumerate(self.columns):
            m.d.comb += [
                column.number.eq(c),
                column.output_stationary.eq(self.job.output_stationary),
                column.dense.eq(self.job.dense),
                column.top_next.eq(top),
                column.read.eq(read),
                column.write.eq(write),
                column.drain.eq(drained),
            ]
            top, drained = column.top, column.drain_right
            read, write = column.read_right, column.write_right

    def _walks(self, m: Module) -> tuple[Signal, Signal]:
        """Control of the first column's sums in WS: of those that enter, as long before they are
        added to as it takes to read them, and of those that leave."""
        g, sequencer, job = self.geometry, self.sequencer, self.job
        enters = self._place(m, "enters", SumWalk(g, g.multiplier_cycles - g.read_cycles))
        leaves = self._place(m, "leaves", SumWalk(g, g.multiplier_cycles + g.adder_cycles))
        for walk in (enters, leaves):
            m.d.comb += [
                walk.start.eq(sequencer.starts),
                walk.vectors.eq(job.vectors),
                walk.column_folds.eq(job.column_folds),
                walk.group_folds.eq(job.outer_folds),
            ]
        read, write = Signal(read_control(g)), Signal(write_control(g))
        fresh = Signal()
        m.d.comb += [
            fresh.eq(enters.first_fold & ~job.continues),
            enters.event.eq(self.rows[0].enters),
            leaves.event.eq(self.rows[-1].leaves),
            read.read.eq(enters.passes & ~fresh),
            read.zero.eq(fresh),
            read.address.eq(enters.address),
            write.write.eq(leaves.passes),
            write.final.eq(leaves.last_fold & ~job.continued),
            write.address.eq(leaves.address),
            write.used.eq(Mux(leaves.last_columns, job.columns_last, g.columns)),
        ]
        return read.as_value(), write.as_value()

    def _array(self, m: Module) -> None:
        above = [(column.weight, column.sum_top, None) for column in self.columns]
        for r, row in enumerate(self.rows):
            control, group, load, weight = row.control, row.group, row.load, row.weight
            for c, column in enumerate(self.columns):
                uspe = self._place(m, f"uspe_{r}_{c}", Uspe(self.geometry))
                kept, partial, drained = above[c]
                m.d.comb += [
                    uspe.output_stationary.eq(row.row_stationary),
                    uspe.last_entry.eq(row.row_last_entry),
                    uspe.control.eq(control),
                    uspe.group.eq(group),
                    uspe.load.eq(load),
                    uspe.weight.eq(weight),
                    uspe.weight_above.eq(kept),
                    uspe.sum_above.eq(partial),
                    uspe.drain.eq(column.drain_load),
                    uspe.drain_sum.eq(column.drain_sum),
                ]
                if drained is not None:
                    m.d.comb += uspe.drain_above.eq(drained)
                control, group = uspe.control_right, uspe.group_right
                load, weight = uspe.load_right, uspe.weight_right
                above[c] = (uspe.weight_below, uspe.sum_below, uspe.drain_below)
        for column, (_, partial, drained) in zip(self.columns, above, strict=True):
            m.d.comb += [column.sum_bottom.eq(partial), column.drain_bottom.eq(drained)]

    def _advance(self, m: Module, ready: dict[str, list[Signal]]) -> None:
        """Whether the next cycle has all that it needs, and what this one went to."""
        sequencer = self.sequencer
        blocked = {cause: Signal(name=f"blocked_by_{cause}") for cause in CAUSES}
        m.d.comb += [blocked[cause].eq(~Cat(*lanes).all()) for cause, lanes in ready.items()]
        m.d.sync += self.advance.eq(~Cat(*blocked.values()).any())
        m.d.comb += [
            sequencer.job_valid.eq(self.job_valid),
            sequencer.job_data.eq(self.job_data),
            self.job_ready.eq(sequencer.job_ready & self.advance),
        ]
        # The first cycle of a job, frozen or not, is the one in which the job before is done.
        fresh, works = Signal(), Signal()
        m.d.sync += [
            fresh.eq(sequencer.comes & self.advance),
            self.done.eq(sequencer.ends & self.advance),
        ]
        m.d.comb += works.eq(sequencer.running & self.advance)
        events = {"busy": works}
        for part, bit in zip(PARTS, sequencer.part, strict=True):
            events[part] = works & bit
        # A frozen cycle has one cause: the first of those that hold.
        open_question = sequencer.running & ~self.advance
        for cause in CAUSES:
            frozen_by = Signal(name=f"frozen_by_{cause}")
            m.d.sync += frozen_by.eq(blocked[cause])
            events[f"stalled_{cause}"] = open_question & frozen_by
            open_question = open_question & ~frozen_by
        for name, event in events.items():
            count = getattr(self, f"count_{name}")
            m.d.sync += count.eq(Mux(fresh, 0, count) + event)
