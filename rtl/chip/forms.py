"""Compressed forms on their way from the pruner to memory."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Module, Signal, Value
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from nofm.rtl.axi.bus import Bus
from nofm.rtl.axi.queue import BUFFER, Queue
from nofm.rtl.chip.clients import connect_client, write_client
from nofm.rtl.chip.form_order import ColumnsOrder, RowsOrder
from nofm.rtl.chip.form_pieces import FormPieces, piece_fields
from nofm.rtl.chip.kept_blocks import KeptBlocks
from nofm.rtl.chip.stream_write import StreamWrite
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.program.forms import TURNED, forms_fields
from nofm.rtl.program.load import memory_walk
from nofm.rtl.program.sizes import ChipSizes
from nofm.rtl.sore.geometry import VALUE_BITS, Geometry
from nofm.rtl.sore.job import job_fields


class Forms(Unit):
    """Writes what the pruner gives as `nofm.rtl.program.forms` says.

    Groups wait at the lanes that have finished them, and are taken one by one in the order of
    memory (`RowsOrder`), or put into a memory from which `BLOCK` rows of the second form leave at a
    time (`ColumnsOrder`, `FormPieces`). Results of a job that is not `pruned` are dropped.

    | port | width | direction | |
    |---|---|---|---|
    | start | 1 | in | begin a job; not while `busy` |
    | pruning | `job_fields` of the pruner | in | at `start`: the pruner's job |
    | forms | `forms_fields` | in | at `start`: where its forms go |
    | in_valid, in_ready, in_data | 1, 1, the pruner's `out_data` | in, out, in | its results |
    | rows_command_..., rows_out_..., rows_done | | | the client that writes the first form |
    | columns_command_..., columns_out_..., columns_done | | | that which writes the second one |
    | busy | 1 | out | from the cycle after `start` until all is in memory |

    Throughput: a group of each form a cycle, and a word of each.

    Args:
        sizes: of the chip.
        bus: of its memory.
        geometry: of the pruner.
        turned: groups along the columns that there is memory for.
    """

    def __init__(
        self, sizes: ChipSizes, bus: Bus, geometry: Geometry, turned: int = TURNED
    ) -> None:
        self.sizes, self.bus, self.geometry, self.turned = sizes, bus, geometry, turned
        g = geometry
        self.module_name = f"nofm_forms_{turned}_{g.suffix}_{sizes.memory_bits}_{bus.suffix}"
        super().__init__(
            {
                "start": In(1),
                "pruning": In(sum(job_fields(g).values())),
                "forms": In(sum(forms_fields(sizes).values())),
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_data": In(g.lanes * (1 + g.result_bits)),
                **write_client(bus, "rows"),
                **write_client(bus, "columns"),
                "busy": Out(1),
            }
        )

    def join(self, m: Module, unit: Unit) -> None:
        """Connect its clients with those of `unit`, which it is a part of."""
        for port, member in self.signature.members.items():
            if port.startswith(("rows_", "columns_")):
                outside, inside = getattr(unit, port), getattr(self, port)
                m.d.comb += inside.eq(outside) if member.flow is In else outside.eq(inside)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        g = self.geometry
        given = split(forms_fields(self.sizes), self.forms)
        walks = memory_walk(self.sizes)
        kept = ("pruned", "index_bits", "rows_run", "rows_kept")
        form = {
            name: Signal(len(given[name]), name=f"form_{name}", reset_less=name != "pruned")
            for name in kept
        }
        job = Signal(len(self.pruning), reset_less=True)
        both = split(job_fields(g), self.pruning)["both"]
        with m.If(self.start):
            m.d.sync += [job.eq(self.pruning), *(form[name].eq(given[name]) for name in kept)]

        writes, blocks = {}, {}
        for name, starts in (("rows", given["pruned"]), ("columns", given["pruned"] & both)):
            writes[name] = write = StreamWrite(self.sizes, self.bus, self.bus.lanes)
            blocks[name] = block = KeptBlocks(g, self.bus.lanes)
            place(m, platform, f"{name}_write", write)
            place(m, platform, f"{name}_blocks", block)
            connect_client(m, self, name, write)
            m.d.comb += [
                write.start.eq(self.start & starts),
                write.walk.eq(Cat(given[each] for each in walks.fields(f"{name}_"))),
                block.slots.eq(split(job_fields(g), job)["last_entry"]),
                block.index_bits.eq(form["index_bits"]),
                write.in_valid.eq(block.out_valid),
                write.in_count.eq(block.out_count),
                write.in_data.eq(block.out_data),
                block.out_ready.eq(write.in_ready),
            ]
        m.d.comb += self.busy.eq(Cat(write.busy for write in writes.values()).any())

        lanes = self._lanes(m, platform, form["pruned"])
        rows = self._rows(m, platform, job, form, lanes, writes["rows"], blocks["rows"])
        columns = self._columns(
            m, platform, job, given, lanes, writes["columns"], blocks["columns"]
        )
        for number, lane in enumerate(lanes):
            takes = rows[number]
            if g.half <= number < 2 * g.half:
                takes |= columns[number - g.half]
            m.d.comb += lane.out_ready.eq(takes)
        return m

    def _lanes(self, m: Module, platform: Any, pruned: Signal) -> list[Queue]:
        """The groups that every lane has finished: values and indices, element by element."""
        g = self.geometry
        mask, results = self.in_data[: g.lanes], self.in_data[g.lanes :]
        # In a chain a lane finishes as many groups before another one does as lanes lie between.
        queues = [
            Queue(g.entries * (VALUE_BITS + g.index_bits), BUFFER + g.half * (lane >= g.half))
            for lane in range(g.lanes)
        ]
        m.d.comb += self.in_ready.eq(Cat(queue.in_ready for queue in queues).all())
        for lane, queue in enumerate(queues):
            place(m, platform, f"lane_{lane}", queue)
            result = results.word_select(lane, g.result_bits)
            values, indices = result[: g.entries * VALUE_BITS], result[g.entries * VALUE_BITS :]
            elements = [
                Cat(values.word_select(i, VALUE_BITS), indices.word_select(i, g.index_bits))
                for i in range(g.entries)
            ]
            m.d.comb += [
                queue.in_valid.eq(self.in_valid & self.in_ready & mask[lane] & pruned),
                queue.in_data.eq(Cat(elements)),
            ]
        return queues

    def _rows(
        self,
        m: Module,
        platform: Any,
        job: Signal,
        form: dict[str, Signal],
        lanes: list[Queue],
        write: StreamWrite,
        blocks: KeptBlocks,
    ) -> list[Value]:
        """The first form. Which lanes it takes groups from."""
        order = RowsOrder(self.geometry)
        place(m, platform, "rows_order", order)
        there: Value = Array(lane.out_valid for lane in lanes)[order.lane]
        m.d.comb += [
            order.start.eq(write.start),
            order.job.eq(job),
            write.run_valid.eq(blocks.run_ready),
            write.run.eq(form["rows_run"]),
            blocks.run_valid.eq(write.run_ready),
            blocks.run.eq(form["rows_kept"]),
            blocks.in_valid.eq(order.valid & there),
            blocks.in_data.eq(Array(lane.out_data for lane in lanes)[order.lane]),
            order.ready.eq(blocks.in_ready & there),
        ]
        takes = order.valid & blocks.in_ready
        return [takes & (order.lane == number) for number in range(len(lanes))]

    def _columns(
        self,
        m: Module,
        platform: Any,
        job: Signal,
        given: dict[str, Value],
        lanes: list[Queue],
        write: StreamWrite,
        blocks: KeptBlocks,
    ) -> list[Value]:
        """The second form. Which of the half's lanes it takes groups from."""
        g = self.geometry
        order, pieces = ColumnsOrder(g, self.turned), FormPieces(g, self.turned)
        place(m, platform, "columns_order", order)
        place(m, platform, "pieces", pieces)
        half = lanes[g.half : 2 * g.half]
        m.submodules.groups = groups = Memory(
            shape=len(half[0].out_data), depth=self.turned * order.rows, init=[]
        )
        put, get = groups.write_port(), groups.read_port()
        taps = split(job_fields(g), self.pruning)["taps"]
        told = {name: given[name] for name in piece_fields() if name != "taps"} | {"taps": taps}
        m.d.comb += [
            order.start.eq(write.start),
            order.job.eq(job),
            order.frees.eq(pieces.frees),
            pieces.start.eq(write.start),
            pieces.job.eq(Cat(told[name] for name in piece_fields())),
            pieces.whole.eq(order.whole),
            put.addr.eq(Cat(order.row, order.group)),
            get.addr.eq(Cat(pieces.row, pieces.group)),
        ]
        there: Value = Array(lane.out_valid for lane in half)[order.lane]
        m.d.comb += [
            order.ready.eq(there),
            put.en.eq(order.valid & there),
            put.data.eq(Array(lane.out_data for lane in half)[order.lane]),
        ]

        # What is read stands at the memory's output until it is taken.
        full = Signal()
        m.d.comb += [
            pieces.ready.eq(~full | blocks.in_ready),
            get.en.eq(pieces.valid & pieces.ready),
            blocks.in_valid.eq(full),
            blocks.in_data.eq(get.data),
            write.run_valid.eq(pieces.piece_valid & blocks.run_ready),
            write.run.eq(pieces.piece_run),
            blocks.run_valid.eq(write.run_ready),
            blocks.run.eq(pieces.piece_kept),
            pieces.piece_ready.eq(write.run_ready),
        ]
        m.d.sync += full.eq(get.en | (full & ~blocks.in_ready))
        return [order.valid & (order.lane == number) for number in range(g.half)]
