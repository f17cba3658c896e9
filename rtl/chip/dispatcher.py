"""Dispatcher: checks the descriptors of a program, and hands their jobs to the units."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib.wiring import In, Member, Out

from nofm.rtl.chip.checksum import checksum_step
from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit
from nofm.rtl.program.descriptors import (
    CHECKSUM_START,
    FAULTS,
    FLAGS,
    HEADER,
    MAGIC,
    PROGRAM_BITS,
    WORD_BITS,
    ProgramFormat,
)

CODE_BITS = 8
"""Bits of a fault's code."""

NUMBER_BITS = 32
"""Bits of a descriptor's number."""

WAITS = ("words", "idle", "unit", "end")
"""What the dispatcher waits for: `waits_...` is high in every cycle in which it does."""

_LAST = FLAGS.index("last")


class Dispatcher(Unit):
    """Takes a program word by word, and does one descriptor after the other.

    A descriptor is checked as a whole before anything of it is done. Then the units that it names
    must be idle, all of them in the same cycle; then its jobs are offered, each until its unit
    takes it; then the next one begins. The one with `last` ends when all units are idle. A fault
    ends everything until a reset: what `nofm.rtl.program.encoding.decode_program` refuses is
    refused here, for the same reason.

    | port | width | direction | |
    |---|---|---|---|
    | start | 1 | in | begin a program; only where `busy` and `error` are low |
    | words | 22 | in | words of the program; read with `start` |
    | stop | 1 | in | hand out nothing more; a job that is on offer stays there |
    | word_valid, word_ready, word_data | 1, 1, 64 | in, out, in | the program's words |
    | UNIT_valid, UNIT_ready, UNIT_data | 1, 1, that of its job | out, in, out | of each unit |
    | unit_busy | units | in | the unit has a job; from the cycle after it took it on |
    | busy | 1 | out | from the cycle after `start` to `done`, a fault, or what follows `stop` |
    | done | 1 | out | for one cycle: the program has ended, and all units are idle |
    | error | 1 | out | a fault was found |
    | error_code | 8 | out | which of `FAULTS`, with `error` |
    | descriptor | 32 | out | number of the descriptor at hand, from 0 on |
    | offset | 22 | out | its first word in the program |
    | moves | 1 | out | a word or a job is taken in this cycle |
    | ends | 1 | out | the last job of the descriptor at hand is taken in this cycle |
    | waits_words, waits_idle, waits_unit, waits_end | 1 | out | why nothing moves in this cycle: \
no word, a unit to wait for is busy, a unit does not take its job, not all are idle at the end |

    Cycles: a descriptor of n words of payload, where words are there, units are idle and take at
    once, is over in n + 4: its header, n words, the check, the wait, the offer. `done` is high 2
    cycles after the last job was taken at the earliest.
    """

    def __init__(self, form: ProgramFormat) -> None:
        self.form = form
        self.module_name = f"nofm_chip_dispatcher_{form.digest:08x}"
        ports: dict[str, Member] = {
            "start": In(1),
            "words": In(PROGRAM_BITS),
            "stop": In(1),
            "word_valid": In(1),
            "word_ready": Out(1),
            "word_data": In(WORD_BITS),
        }
        for unit in form.units:
            ports |= job_ports(unit.name, unit.width)
        ports |= {
            "unit_busy": In(len(form.units)),
            "busy": Out(1),
            "done": Out(1),
            "error": Out(1),
            "error_code": Out(CODE_BITS),
            "descriptor": Out(NUMBER_BITS),
            "offset": Out(PROGRAM_BITS),
            "moves": Out(1),
            "ends": Out(1),
            **{f"waits_{name}": Out(1) for name in WAITS},
        }
        super().__init__(ports)
        longest = form.longest - 1
        self._payload = Signal(longest * WORD_BITS, name="payload")
        # Words of the payload that came, and that come.
        self._index = Signal(range(longest + 1), name="index")
        self._count = Signal(range(longest + 1), name="count")
        # The operation, a bit each; which units of an operation of several are there.
        self._operation = Signal(len(form.operations), name="operation")
        self._present = Signal(max(len(each.units) for each in form.operations), name="present")

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        form = self.form
        header = split(HEADER, self.word_data)
        # Words of the program from the descriptor on that are not taken, and words of it.
        left, size = Signal(PROGRAM_BITS), Signal(range(form.longest + 1))
        wait, last = Signal(len(form.units)), Signal()
        wanted, found = (Signal(HEADER["checksum"], name=name) for name in ("wanted", "found"))
        not_zero = Signal()
        # Units whose job is on offer.
        offered, ready = Signal(len(form.units)), Signal(len(form.units))
        taken, blocked = Signal(), Signal()
        bare = Cat(self.word_data[: -HEADER["checksum"]], Const(0, HEADER["checksum"]))
        code, selected = self._header_fault(m, header, left)
        m.d.comb += [
            ready.eq(Cat(getattr(self, f"{unit.name}_ready") for unit in form.units)),
            Cat(getattr(self, f"{unit.name}_valid") for unit in form.units).eq(offered),
            taken.eq(self.word_valid & self.word_ready),
            blocked.eq((self.unit_busy & wait).any()),
            self.moves.eq(taken | (offered & ready).any()),
        ]
        self._wire_jobs(m)

        def fault(value: Value | int) -> None:
            m.d.sync += [self.error.eq(1), self.error_code.eq(value)]
            m.next = "HALT"

        with m.FSM() as fsm:
            with m.State("IDLE"), m.If(self.start):
                m.d.sync += [self.descriptor.eq(0), self.offset.eq(0), left.eq(self.words)]
                m.next = "HEADER"
                with m.If(self.words == 0):
                    fault(FAULTS["unfinished"].code)
            with m.State("HEADER"):
                m.d.sync += [
                    self._index.eq(0),
                    self._count.eq(header["length"]),
                    self._operation.eq(selected),
                    size.eq(header["length"] + 1),
                    wait.eq(header["wait"]),
                    last.eq(header["flags"][_LAST]),
                    wanted.eq(header["checksum"]),
                    found.eq(checksum_step(Const(CHECKSUM_START, len(found)), bare)),
                    not_zero.eq(0),
                ]
                with m.If(self.stop):
                    m.next = "HALT"
                with m.Elif(self.word_valid):
                    m.next = "PAYLOAD"
                    with m.If(header["length"] == 0):
                        m.next = "CHECK"
                    with m.If(code != 0):
                        fault(code)
            with m.State("PAYLOAD"):
                with m.If(self.stop):
                    m.next = "HALT"
                with m.Elif(self.word_valid):
                    m.d.sync += [
                        self._payload.eq(Cat(self._payload[WORD_BITS:], self.word_data)),
                        self._index.eq(self._index + 1),
                        found.eq(checksum_step(found, self.word_data)),
                        not_zero.eq(not_zero | self._not_zero()),
                    ]
                    with m.If(self._index == 0):
                        m.d.sync += self._present.eq(self.word_data)
                    with m.If(self._index + 1 == self._count):
                        m.next = "CHECK"
            with m.State("CHECK"):
                m.next = "WAIT"
                with m.If(not_zero):
                    fault(FAULTS["reserved"].code)
                with m.If(found != wanted):
                    fault(FAULTS["checksum"].code)
            with m.State("WAIT"):
                with m.If(self.stop):
                    m.next = "HALT"
                with m.Elif(~blocked):
                    m.d.sync += offered.eq(self._units())
                    m.next = "OFFER"
            with m.State("OFFER"):
                m.d.sync += offered.eq(offered & ~ready)
                with m.If(self.ends & last):
                    m.next = "END"
                with m.Elif(self.ends):
                    m.d.sync += [
                        self.descriptor.eq(self.descriptor + 1),
                        self.offset.eq(self.offset + size),
                        left.eq(left - size),
                    ]
                    m.next = "HEADER"
            with m.State("END"):
                with m.If(self.stop):
                    m.next = "HALT"
                with m.Elif(~self.waits_end):
                    m.next = "DONE"
            with m.State("DONE"):
                m.next = "IDLE"
            with m.State("HALT"):
                pass
        now = fsm.ongoing
        takes = now("HEADER") | now("PAYLOAD")
        m.d.comb += [
            self.busy.eq(~(now("IDLE") | now("HALT"))),
            self.done.eq(now("DONE")),
            self.word_ready.eq(takes & ~self.stop),
            self.ends.eq(now("OFFER") & ~(offered & ~ready).any()),
            self.waits_words.eq(takes & ~self.word_valid),
            self.waits_idle.eq(now("WAIT") & blocked),
            self.waits_unit.eq(now("OFFER") & ~self.ends),
            self.waits_end.eq(now("END") & self.unit_busy.any()),
        ]
        return m

    def _header_fault(
        self, m: Module, header: dict[str, Value], left: Value
    ) -> tuple[Signal, Value]:
        """The code of what is wrong with a header, 0 where nothing is; and its operation, by a bit
        each."""
        operations = self.form.operations
        selected = Signal(len(operations), name="selected")
        fits, ends = Signal(name="fits"), Signal(name="ends")
        length, last = header["length"], header["flags"][_LAST]
        m.d.comb += [
            selected.eq(Cat(header["opcode"] == each.opcode for each in operations)),
            fits.eq(length < left),
            ends.eq(length + 1 == left),
        ]
        right = Cat(
            selected[number] & (length == each.words) for number, each in enumerate(operations)
        )
        unknown = header["wait"][len(self.form.units) :].any() | header["flags"][len(FLAGS) :].any()
        found = {
            "magic": header["magic"] != MAGIC,
            "opcode": ~selected.any(),
            "length": ~right.any(),
            "reserved": unknown,
            "truncated": ~fits,
            "trailing": last & ~ends,
            "unfinished": ~last & ends,
        }
        code = Signal(CODE_BITS, name="header_fault")
        # The first one is told.
        for name in reversed(found):
            with m.If(found[name]):
                m.d.comb += code.eq(FAULTS[name].code)
        return code, selected

    def _not_zero(self) -> Value:
        """Whether the word of the payload that comes has a bit that must be 0."""
        word, index = self.word_data, self._index
        found: list[Value] = []
        for number, each in enumerate(self.form.operations):
            here = self._operation[number]
            for at, bits in each.used_bits().items():
                found.append(here & (index == at) & word[bits:].any())
            if each.chooses:
                for k, (first, unit) in enumerate(each.placed()):
                    inside = ~(index < first) & (index < first + unit.words)
                    found.append(here & inside & ~self._present[k] & word.any())
        return Cat(found).any()

    def _units(self) -> Value:
        """The units whose jobs the descriptor has, by a bit each."""
        found: list[Value] = []
        for number, each in enumerate(self.form.operations):
            for k in range(len(each.units)):
                here = self._operation[number]
                found.append(here & self._present[k] if each.chooses else here)
        return Cat(found)

    def _wire_jobs(self, m: Module) -> None:
        """Every unit sees its part of the payload, whose last word stands at the end."""
        for each in self.form.operations:
            begin = self.form.longest - 1 - each.words
            for first, unit in each.placed():
                at = (begin + first) * WORD_BITS
                data: Signal = getattr(self, f"{unit.name}_data")
                m.d.comb += data.eq(self._payload[at : at + unit.width])


def job_ports(name: str, width: int) -> dict[str, Member]:
    """Ports that hand jobs to a unit."""
    return {f"{name}_valid": Out(1), f"{name}_ready": In(1), f"{name}_data": Out(width)}
