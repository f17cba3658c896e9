"""Results' memory: a bank for every column of the array."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from nofm.rtl.hierarchy import Unit
from nofm.rtl.program.sizes import ChipSizes


class Results(Unit):
    """`columns` banks of `result_depth` FP16 results, each with a port to write and one to read.

    | port | width | direction | |
    |---|---|---|---|
    | write_enable | a bit a column | in | a result is written in this cycle |
    | write_at, write_data | `result_bits`, 16 a column | in | where, and what |
    | read_enable | 1 | in | all banks are read in this cycle |
    | read_at | `result_bits` a column | in | where |
    | read_data | 16 a column | out | what was read last, from the cycle after on |

    A result that is written in a cycle can be read in the next one.
    """

    def __init__(self, sizes: ChipSizes) -> None:
        self.sizes = sizes
        columns, bits = sizes.columns, sizes.result_bits
        self.module_name = f"nofm_chip_results_{columns}_{sizes.result_depth}"
        super().__init__(
            {
                "write_enable": In(columns),
                "write_at": In(columns * bits),
                "write_data": In(columns * 16),
                "read_enable": In(1),
                "read_at": In(columns * bits),
                "read_data": Out(columns * 16),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bits = self.sizes.result_bits
        for column in range(self.sizes.columns):
            memory = Memory(shape=16, depth=self.sizes.result_depth, init=[])
            m.submodules[f"bank{column}"] = memory
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.en.eq(self.write_enable[column]),
                write.addr.eq(self.write_at.word_select(column, bits)),
                write.data.eq(self.write_data.word_select(column, 16)),
                read.en.eq(self.read_enable),
                read.addr.eq(self.read_at.word_select(column, bits)),
                self.read_data.word_select(column, 16).eq(read.data),
            ]
        return m
