"""Loader: runs of memory become segments of a buffer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.chip.pieces import Pieces
from nofm.rtl.chip.regroup import Regroup, count_bits
from nofm.rtl.chip.unpack import Unpack
from nofm.rtl.chip.walker import Walker
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.program.load import activation_load_fields, memory_walk, weight_load_fields
from nofm.rtl.program.sizes import RUN_BITS, ChipSizes

Kind = Literal["activations", "weights"]


@dataclass(frozen=True)
class Target:
    """What a loader writes.

    Attributes:
        fields: of a job.
        address_bits: of an element's address in the buffer.
        element_bits: of an element.
    """

    fields: dict[str, int]
    address_bits: int
    element_bits: int


def target(sizes: ChipSizes, kind: Kind) -> Target:
    """The buffer of activations or of weights."""
    if kind == "activations":
        return Target(activation_load_fields(sizes), sizes.activation_bits, 16)
    return Target(weight_load_fields(sizes), sizes.weight_bits, 16 + sizes.index_bits)


def memory_command(sizes: ChipSizes) -> dict[str, int]:
    """Fields of a command to memory and their widths.

    address: of the first FP16 element.
    length: elements, less one.
    """
    return {"address": sizes.memory_bits, "length": RUN_BITS}


class Loader(Unit):
    """Does what `load_activations` or `load_weights` says.

    Every run of memory is a command. The elements of its words, unpacked where the job says so,
    are written to the buffer in pieces: neighbours within `halves` elements of each other's, from
    a multiple of that on.

    | port | width | direction | |
    |---|---|---|---|
    | job_valid, job_ready, job_data | 1, 1, `target(...).fields` | in, out, in | one at a time |
    | command_valid, command_ready, command_data | 1, 1, `memory_command` | out, in, out | |
    | in_valid, in_ready | 1, 1 | in, out | a word is taken when both are high |
    | in_data | `bus_bits` + log2(`halves`) | in | `data` and `granules` of `read_word` |
    | write_valid | 1 | out | a piece is written in this cycle |
    | write_at | `address_bits` | out | address of its first element |
    | write_count | log2(`halves`) | out | its elements, less one |
    | write_data | `halves` x `element_bits` | out | the first lowest |
    | write_skew | 1 | out | that of the job |
    | busy | 1 | out | a job goes on |
    | done | 1 | out | for one cycle, the one after the job's last piece |

    Throughput: a word in and a piece out every cycle, so a full bus where segments begin and end at
    multiples of `halves`. From the cycle in which a job is taken to that of `done`, where words are
    never waited for: `piece_cycles` and one for each piece, if all words are whole; `word_cycles`
    and one for each word, if these are many more. Weights take `unpack_cycles`, one for each word,
    and the last block's pieces but one, and with a bus of 512 bits up to two more; but the last
    block of each run takes a cycle of its own, which short runs do not have.
    """

    piece_cycles = 7
    word_cycles = 4
    unpack_cycles = 9

    def __init__(self, sizes: ChipSizes, kind: Kind) -> None:
        self.sizes = sizes
        self.kind = kind
        self.target = target(sizes, kind)
        to = self.target
        numbers = (sizes.bus_bits, sizes.memory_bits, to.address_bits, to.element_bits)
        self.module_name = f"nofm_chip_load_{kind}_{'_'.join(map(str, numbers))}"
        super().__init__(
            {
                "job_valid": In(1),
                "job_ready": Out(1),
                "job_data": In(sum(to.fields.values())),
                "command_valid": Out(1),
                "command_ready": In(1),
                "command_data": Out(sum(memory_command(sizes).values())),
                "in_valid": In(1),
                "in_ready": Out(1),
                "in_data": In(sizes.bus_bits + count_bits(sizes.halves)),
                "write_valid": Out(1),
                "write_at": Out(to.address_bits),
                "write_count": Out(count_bits(sizes.halves)),
                "write_data": Out(sizes.halves * to.element_bits),
                "write_skew": Out(1),
                "busy": Out(1),
                "done": Out(1),
            }
        )

    @property
    def _most_at_once(self) -> int:
        return self.sizes.halves if self.kind == "activations" else Unpack(self.sizes).most

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        sizes, to = self.sizes, self.target
        given = split(to.fields, self.job_data)
        start, finish = Signal(), Signal()
        m.d.comb += [self.job_ready.eq(~self.busy), start.eq(self.job_valid & self.job_ready)]
        with m.If(start):
            m.d.sync += [self.busy.eq(1), self.write_skew.eq(given["skew"])]
        with m.Elif(finish):
            m.d.sync += self.busy.eq(0)

        self._ask(m, platform, given, start)
        pieces = Pieces(to.address_bits, sizes.halves)
        place(m, platform, "pieces", pieces)
        piece = split(pieces.piece_fields, pieces.piece_data)
        m.d.comb += [
            pieces.job_valid.eq(start),
            pieces.job_data.eq(Cat(given[name] for name in pieces.job_fields)),
        ]

        elements = Regroup(to.element_bits, self._most_at_once, sizes.halves, to.address_bits + 1)
        place(m, platform, "elements", elements)
        self._take(m, platform, given, start, elements)
        m.d.comb += [
            elements.size_valid.eq(pieces.piece_valid),
            elements.size_count.eq(piece["count"]),
            elements.size_with.eq(Cat(piece["at"], piece["last"])),
            pieces.piece_ready.eq(elements.size_ready),
            elements.out_ready.eq(1),
            self.write_valid.eq(elements.out_valid),
            self.write_at.eq(elements.out_with[:-1]),
            self.write_count.eq(elements.out_count),
            self.write_data.eq(elements.out_data),
            finish.eq(elements.out_valid & elements.out_with[-1]),
        ]
        m.d.sync += self.done.eq(finish)
        return m

    def _ask(self, m: Module, platform: Any, given: Any, start: Signal) -> None:
        """Commands to memory."""
        walker = Walker(memory_walk(self.sizes))
        place(m, platform, "runs", walker)
        run = Signal(RUN_BITS)
        command = split(memory_command(self.sizes), self.command_data)
        m.d.comb += [
            walker.job_valid.eq(start),
            walker.job_data.eq(
                Cat(given[f"memory_{name}"] for name in memory_walk(self.sizes).fields(""))
            ),
            self.command_valid.eq(walker.pass_valid),
            command["address"].eq(split(walker.pass_fields, walker.pass_data)["address"]),
            command["length"].eq(run),
            walker.pass_ready.eq(self.command_ready),
        ]
        with m.If(start):
            m.d.sync += run.eq(given["run"])

    def _take(self, m: Module, platform: Any, given: Any, start: Signal, elements: Regroup) -> None:
        """Elements of the words that come."""
        word = {
            "valid": self.in_valid,
            "count": self.in_data[self.sizes.bus_bits :],
            "data": self.in_data[: self.sizes.bus_bits],
        }
        if self.kind == "activations":
            source, ready = word, self.in_ready
        else:
            unpack = Unpack(self.sizes)
            place(m, platform, "unpack", unpack)
            index_bits, kept = Signal.like(unpack.index_bits), Signal.like(unpack.kept)
            compressed = given["compressed"]
            with m.If(start):
                m.d.sync += [
                    index_bits.eq(Mux(compressed, given["index_bits"], 0)),
                    kept.eq(Mux(compressed, given["kept"], given["run"])),
                ]
            m.d.sync += unpack.start.eq(start)
            m.d.comb += [
                unpack.index_bits.eq(index_bits),
                unpack.kept.eq(kept),
                *(getattr(unpack, f"in_{name}").eq(value) for name, value in word.items()),
                self.in_ready.eq(unpack.in_ready),
            ]
            source = {x: getattr(unpack, f"out_{x}") for x in ("valid", "count", "data")}
            ready = unpack.out_ready
        m.d.comb += [
            *(getattr(elements, f"in_{name}").eq(value) for name, value in source.items()),
            ready.eq(elements.in_ready),
        ]
