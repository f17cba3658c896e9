"""Pieces of the second form, as they leave the memory in which they were gathered."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.chip.form_order import rows_held
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit
from nofm.rtl.program.sizes import BLOCK, RUN_BITS
from nofm.rtl.sore.geometry import Geometry
from nofm.rtl.sore.job import COUNT_BITS

_FIELDS = ("length", "columns_run", "columns_run_last", "columns_kept", "columns_kept_last")


def piece_fields() -> dict[str, int]:
    """Fields of a job that say what pieces there are, and their widths."""
    return {**dict.fromkeys((*_FIELDS, "columns_groups"), RUN_BITS), "taps": COUNT_BITS}


class FormPieces(Unit):
    """Walks through taps, blocks of their rows, groups along the columns, and the rows of a block.

    | port | width | direction | |
    |---|---|---|---|
    | start | 1 | in | begin a job; not before the last one's end |
    | job | `piece_fields` | in | at `start` |
    | whole | 1 | in | the next block's groups are all in the memory |
    | frees | 1 | out | for one cycle: they have all been read |
    | valid, ready | 1, 1 | out, in | the next group is read when both are high |
    | row, group | row bits, group bits | out | its place in the memory |
    | piece_valid, piece_ready | 1, 1 | out, in | the next piece is told when both are high |
    | piece_run, piece_kept | `RUN_BITS` | out | its FP16 words, and its kept elements, less one |

    Throughput: a group a cycle, and a piece a cycle. Pieces are told without regard to what is in
    the memory. No ready depends on a valid.

    Args:
        geometry: of the pruner.
        turned: groups along the columns that there is memory for.
    """

    def __init__(self, geometry: Geometry, turned: int) -> None:
        self.rows = rows_held(geometry)
        self.module_name = f"nofm_form_pieces_{turned}_{self.rows}"
        super().__init__(
            {
                "start": In(1),
                "job": In(sum(piece_fields().values())),
                "whole": In(1),
                "frees": Out(1),
                "valid": Out(1),
                "ready": In(1),
                "row": Out(range(self.rows)),
                "group": Out(range(turned)),
                "piece_valid": Out(1),
                "piece_ready": In(1),
                "piece_run": Out(RUN_BITS),
                "piece_kept": Out(RUN_BITS),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        given = split(piece_fields(), self.job)
        job = {
            name: Signal(width, name=f"job_{name}", reset_less=True)
            for name, width in piece_fields().items()
        }
        with m.If(self.start):
            m.d.sync += [job[name].eq(given[name]) for name in job]
        told_last, _ = self._loops(m, "told", job, self.piece_valid, self.piece_ready)
        m.d.comb += [
            self.piece_run.eq(Mux(told_last, job["columns_run_last"], job["columns_run"])),
            self.piece_kept.eq(Mux(told_last, job["columns_kept_last"], job["columns_kept"])),
        ]

        # The same again for what is read, with the rows of each piece.
        row, base = Signal(range(BLOCK)), Signal(range(self.rows))
        reads, piece_end = Signal(), Signal()
        last, group = self._loops(m, "read", job, reads, piece_end)
        low = (BLOCK - 1).bit_length()
        last_row = Mux(last, job["length"][:low], BLOCK - 1)
        moves = Signal()
        m.d.comb += [
            self.valid.eq(reads & self.whole),
            self.row.eq(base + row),
            self.group.eq(group),
            moves.eq(self.valid & self.ready),
            piece_end.eq(moves & (row == last_row)),
            self.frees.eq(piece_end & (group == job["columns_groups"])),
        ]
        with m.If(moves):
            m.d.sync += row.eq(Mux(piece_end, 0, row + 1))
        with m.If(self.frees):
            m.d.sync += base.eq(base + BLOCK)
        with m.If(self.start):
            m.d.sync += [row.eq(0), base.eq(0)]
        return m

    def _loops(
        self, m: Module, name: str, job: dict[str, Signal], valid: Signal, ready: Signal
    ) -> tuple[Signal, Signal]:
        """Taps, blocks and groups: whether the block is its tap's last one, and the group."""
        group = Signal.like(self.group, name=f"{name}_group")
        tap = Signal(COUNT_BITS, name=f"{name}_tap")
        # Rows of the tap before the block, without the rows in a block.
        low = (BLOCK - 1).bit_length()
        block = Signal(RUN_BITS - low, name=f"{name}_block")
        last, group_end = Signal(name=f"{name}_last"), Signal(name=f"{name}_group_end")
        m.d.comb += [
            last.eq(block == job["length"][low:]),
            group_end.eq(group == job["columns_groups"]),
        ]
        with m.If(self.start):
            m.d.sync += [valid.eq(1), group.eq(0), block.eq(0), tap.eq(0)]
        with m.Elif(valid & ready):
            m.d.sync += group.eq(Mux(group_end, 0, group + 1))
            with m.If(group_end):
                m.d.sync += block.eq(Mux(last, 0, block + 1))
            with m.If(group_end & last):
                m.d.sync += [tap.eq(tap + 1), valid.eq(tap != job["taps"])]
        return last, group
