"""Control: what stands between the host, the program in memory, and the units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib.wiring import In, Member, Out

from nofm.dataflow.accelerator import Accelerator
from nofm.rtl.axi.bus import Bus
from nofm.rtl.axi.ports import lite_ports, mark
from nofm.rtl.axi.registers import Registers
from nofm.rtl.chip.chunks import client_command, client_word
from nofm.rtl.chip.counters import Counters
from nofm.rtl.chip.dispatcher import WAITS, Dispatcher, job_ports
from nofm.rtl.chip.fetcher import Fetcher
from nofm.rtl.chip.register_file import (
    ALL_COUNTERS,
    CONFLICTS,
    SPENT,
    chip_registers,
    configuration,
)
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.program.descriptors import FAULTS, WORD_BYTES, ProgramFormat

SPENT_BITS = 32
"""Bits of what one job of the array is counted to have spent."""

RESET_CYCLES = 4
"""How long units are held in reset."""


@dataclass(frozen=True)
class Cause:
    """An error: when it is there, and what is told of it."""

    name: str
    here: Value
    address: Value
    detail: Value | int = 0


class Control(Unit):
    """The chip's registers, fetcher and dispatcher, its counters, its watchdog, and its reset.

    The first error stops everything: no further job is handed out, and a reset is waited for. A
    reset first ends what is on the bus, then resets fetcher, dispatcher and, by `units_reset`, all
    units and masters.

    | port | width | direction | |
    |---|---|---|---|
    | s_axi_... | | | AXI4-Lite: `nofm.rtl.chip.register_file.chip_registers` |
    | irq | 1 | out | an event that is enabled came, and was not cleared |
    | command_..., in_... | | | where the program is read: as of `Fetcher` |
    | UNIT_valid, UNIT_ready, UNIT_data | 1, 1, that of its job | out, in, out | of each unit |
    | unit_busy | units | in | the unit has a job; from the cycle after it took it on |
    | unit_moves | units | in | the unit did something in this cycle: the watchdog begins again |
    | unit_error | units | in | the unit found an error |
    | read_error, read_response, read_address | 1, 2, `address_bits` | in | of a `ReadMaster` |
    | write_error, write_response, write_address | 1, 2, `address_bits` | in | of a `WriteMaster` |
    | window_error, window_address | 1, `address_bits` | in | of a `WriteWindow` |
    | window_base, window_limit | granule address + 1 | out | for it |
    | spent_... | 32 | in | cycles of `SPENT`, in the one in which a job of the array ends |
    | event_... | 1 | in | what of `CONFLICTS` happens |
    | read_bytes, written_bytes | up to those of a beat | in | of a `BusGate` |
    | drain | 1 | out | let nothing new onto the bus |
    | quiet | 1 | in | nothing is under way there |
    | units_reset | 1 | out | reset all units; the bus is quiet |

    Registers that the host may change hold still while a program is under way, or it is not said
    which of their values counts.
    """

    def __init__(self, accelerator: Accelerator, bus: Bus) -> None:
        self.accelerator = accelerator
        self.bus = bus
        self.form = form = ProgramFormat.of(accelerator)
        self.map = chip_registers(form)
        self.module_name = f"nofm_chip_control_{form.digest:08x}_{bus.suffix}"
        units, address = len(form.units), bus.address_bits
        beat = bus.data_bytes.bit_length()
        ports: dict[str, Member] = {
            **lite_ports(self.map.address_bits),
            "irq": Out(1),
            "command_valid": Out(1),
            "command_ready": In(1),
            "command_data": Out(sum(client_command(bus).values())),
            "in_valid": In(1),
            "in_ready": Out(1),
            "in_data": In(sum(client_word(bus).values())),
        }
        for unit in form.units:
            ports |= job_ports(unit.name, unit.width)
        ports |= {"unit_busy": In(units), "unit_moves": In(units), "unit_error": In(units)}
        for name in ("read", "write"):
            ports |= {f"{name}_error": In(1), f"{name}_response": In(2)}
            ports |= {f"{name}_address": In(address)}
        ports |= {
            "window_error": In(1),
            "window_address": In(address),
            "window_base": Out(bus.granule_address_bits + 1),
            "window_limit": Out(bus.granule_address_bits + 1),
            **{f"spent_{name}": In(SPENT_BITS) for name in SPENT},
            **{f"event_{name}": In(1) for name in CONFLICTS},
            "read_bytes": In(beat),
            "written_bytes": In(beat),
            "drain": Out(1),
            "quiet": In(1),
            "units_reset": Out(1),
        }
        super().__init__(ports)
        mark(self)
        # An error stands; a reset is under way; the program is at work.
        self._failed, self._resetting = Signal(name="failed"), Signal(name="resetting")
        self._runs, self._starts = Signal(name="runs"), Signal(name="starts")
        # Where the program begins that is under way.
        self._program = Signal(address - (WORD_BYTES - 1).bit_length(), name="program")

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        registers = Registers(self.map)
        fetcher, dispatcher = Fetcher(self.bus, self.form), Dispatcher(self.form)
        place(m, platform, "registers", registers)
        place(m, platform, "fetcher", fetcher, self.units_reset)
        place(m, platform, "dispatcher", dispatcher, self.units_reset)
        for name, member in lite_ports(self.map.address_bits).items():
            inner, outer = getattr(registers, name), getattr(self, name)
            m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        for name, value in configuration(self.accelerator).items():
            m.d.comb += getattr(registers, f"{name}_value").eq(value)
        self._reset(m, registers)
        begins = self._start(m, registers, fetcher, dispatcher)
        self._wire(m, registers, fetcher, dispatcher)
        self._fail(m, registers, dispatcher, begins)
        self._count(m, platform, registers, dispatcher)
        return m

    def _reset(self, m: Module, registers: Registers) -> None:
        left = Signal(range(RESET_CYCLES + 1))
        m.d.comb += [self.drain.eq(self._resetting), self.units_reset.eq(left != 0)]
        with m.If(left != 0):
            m.d.sync += left.eq(left - 1)
            with m.If(left == 1):
                m.d.sync += self._resetting.eq(0)
        with m.Elif(self._resetting & self.quiet):
            m.d.sync += left.eq(RESET_CYCLES)
        with m.Elif(registers.control_reset):
            m.d.sync += self._resetting.eq(1)

    def _start(
        self, m: Module, registers: Registers, fetcher: Fetcher, dispatcher: Dispatcher
    ) -> Value:
        """Begin a program; gives whether one was to begin that does not fit into the addresses."""
        wanted, outside, refused = Signal(), Signal(), Signal()
        end = Signal(len(self._program) + 1)
        at = Cat(registers.program_low_value, registers.program_high_value)
        m.d.comb += [
            wanted.eq(
                registers.control_start & ~dispatcher.busy & ~self._failed & ~self._resetting
            ),
            end.eq(at + registers.program_words_value),
            outside.eq(end > 1 << len(self._program)),
            self._starts.eq(wanted & ~outside),
            fetcher.start.eq(self._starts),
            fetcher.words.eq(registers.program_words_value),
            fetcher.address.eq(at),
            dispatcher.start.eq(self._starts),
            dispatcher.words.eq(registers.program_words_value),
        ]
        m.d.sync += refused.eq(wanted & outside)
        with m.If(wanted):
            m.d.sync += self._program.eq(at)
        return refused

    def _wire(
        self, m: Module, registers: Registers, fetcher: Fetcher, dispatcher: Dispatcher
    ) -> None:
        """What passes between the parts as it is."""
        for stream, owner in (("command", fetcher), ("in", fetcher), ("word", fetcher)):
            outer: Unit = dispatcher if stream == "word" else self
            for what in ("valid", "ready", "data"):
                a, b = getattr(owner, f"{stream}_{what}"), getattr(outer, f"{stream}_{what}")
                towards_owner = (what == "ready") != (stream == "in")
                m.d.comb += a.eq(b) if towards_owner else b.eq(a)
        for unit in self.form.units:
            for what in ("valid", "ready", "data"):
                a = getattr(self, f"{unit.name}_{what}")
                b = getattr(dispatcher, f"{unit.name}_{what}")
                m.d.comb += b.eq(a) if what == "ready" else a.eq(b)
        m.d.comb += [
            dispatcher.unit_busy.eq(self.unit_busy),
            dispatcher.stop.eq(self._failed | self._resetting),
            self.window_base.eq(
                Cat(registers.window_base_low_value, registers.window_base_high_value)
            ),
            self.window_limit.eq(
                Cat(registers.window_limit_low_value, registers.window_limit_high_value)
            ),
            registers.descriptor_number.eq(dispatcher.descriptor),
        ]

    def _causes(self, dispatcher: Dispatcher, begins: Value, stalled: Value) -> list[Cause]:
        """Every error, those that are told first before others; programs' own have their code from
        the dispatcher."""
        inside = Const(0, len(self.read_address) - len(self._program))
        at = Cat(inside, (self._program + dispatcher.offset)[: len(self._program)])
        causes = [
            Cause("address", begins, Cat(inside, self._program)),
            Cause("", dispatcher.error, at),
            Cause("window", self.window_error, self.window_address),
            Cause("read", self.read_error, self.read_address, self.read_response),
            Cause("write", self.write_error, self.write_address, self.write_response),
        ]
        causes += [
            Cause("unit", self.unit_error[unit.number], at, unit.number) for unit in self.form.units
        ]
        return [*causes, Cause("stalled", stalled, at)]

    def _fail(self, m: Module, registers: Registers, dispatcher: Dispatcher, begins: Value) -> None:
        """Keep the first error, and say what goes on."""
        quiet_for, limit = Signal(32), registers.watchdog_cycles
        moved, stalled, fails, ended = Signal(), Signal(), Signal(), Signal()
        done = Signal()
        m.d.comb += [
            self._runs.eq(dispatcher.busy & ~self._failed),
            moved.eq(
                dispatcher.moves
                | self.unit_moves.any()
                | (self.read_bytes != 0)
                | (self.written_bytes != 0)
            ),
            stalled.eq(self._runs & (limit != 0) & ~(quiet_for < limit)),
        ]
        m.d.sync += quiet_for.eq(quiet_for + 1)
        with m.If(~self._runs | moved):
            m.d.sync += quiet_for.eq(0)
        code, detail, number = Signal(8), Signal(8), Signal(32)
        address = Signal(self.bus.address_bits)
        causes = self._causes(dispatcher, begins, stalled)
        open_ = ~self._failed & ~self._resetting
        m.d.comb += fails.eq(Cat(each.here for each in causes).any() & open_)
        with m.If(fails):
            m.d.sync += [self._failed.eq(1), number.eq(dispatcher.descriptor)]
        for each in reversed(causes):
            with m.If(fails & each.here):
                told = FAULTS[each.name].code if each.name else dispatcher.error_code
                m.d.sync += [
                    code.eq(told),
                    detail.eq(each.detail),
                    address.eq(each.address),
                ]
        with m.If(begins):
            m.d.sync += number.eq(0)
        m.d.comb += ended.eq(dispatcher.done & open_ & ~fails)
        with m.If(ended):
            m.d.sync += done.eq(1)
        with m.If(self._starts | fails):
            m.d.sync += done.eq(0)
        with m.If(self.units_reset):
            m.d.sync += [each.eq(0) for each in (self._failed, done, code, detail, number, address)]
        status = Cat(registers.interrupt_status_done, registers.interrupt_status_error)
        enable = Cat(registers.interrupt_enable_done, registers.interrupt_enable_error)
        m.d.comb += [
            registers.status_busy.eq(self._runs),
            registers.status_done.eq(done),
            registers.status_error.eq(self._failed),
            registers.status_resetting.eq(self._resetting),
            registers.interrupt_status_done_set.eq(ended),
            registers.interrupt_status_error_set.eq(fails),
            registers.error_code.eq(code),
            registers.error_detail.eq(detail),
            registers.error_descriptor_number.eq(number),
            registers.error_address_low_value.eq(address[:32]),
            registers.error_address_high_value.eq(address[32:]),
            self.irq.eq((status & enable).any()),
        ]

    def _count(
        self, m: Module, platform: Any, registers: Registers, dispatcher: Dispatcher
    ) -> None:
        """Every counter, and where it is read."""
        events: dict[str, Value] = {
            "cycles": Const(1, 1),
            **{f"waits_{name}": getattr(dispatcher, f"waits_{name}") for name in WAITS},
            "read_bytes": self.read_bytes,
            "written_bytes": self.written_bytes,
            "descriptors": dispatcher.ends,
            **{f"array_{name}": getattr(self, f"spent_{name}") for name in SPENT},
            **{name: getattr(self, f"event_{name}") for name in CONFLICTS},
        }
        events = {name: events[name] for name in ALL_COUNTERS}
        for unit in self.form.units:
            events[f"busy_{unit.name}"] = self.unit_busy[unit.number]
        suffix = f"{self.form.digest:08x}_{self.bus.data_bits}"
        counters = Counters(suffix, {name: len(value) for name, value in events.items()})
        place(m, platform, "counters", counters)
        m.d.comb += [
            counters.clear.eq(self._starts),
            counters.run.eq(self._runs),
            counters.snapshot.eq(registers.control_snapshot),
        ]
        for name, value in events.items():
            count: Signal = getattr(counters, f"{name}_count")
            m.d.comb += [
                getattr(counters, name).eq(value),
                getattr(registers, f"count_{name}_low_value").eq(count[:32]),
                getattr(registers, f"count_{name}_high_value").eq(count[32:]),
            ]
