"""Registers: an AXI4-Lite slave, made from a register map."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib.wiring import In, Member, Out

from nofm.rtl.axi.ports import SLAVE, lite_ports, mark
from nofm.rtl.axi.register_map import Access, RegisterMap
from nofm.rtl.hierarchy import Unit

OKAY, SLVERR = 0, 2


class Registers(Unit):
    """The registers of a map behind AXI4-Lite, 32 bits wide.

    Reads and writes do not wait for each other, nor do a write's address and its data; one of each
    is taken until it is answered, or written. Only bytes whose strobe is set are written. The two
    lowest bits of an address do not count. Where no register is, reads give 0 and SLVERR, and
    writes change nothing and give SLVERR.
    Writing what is read-only changes nothing, and is no error.

    | port | width | direction | |
    |---|---|---|---|
    | s_axi_aw..., s_axi_w..., s_axi_b..., s_axi_ar..., s_axi_r... | | | AXI4-Lite |
    | REGISTER_FIELD of `rw`, `w1c` | that of the field | out | its value |
    | REGISTER_FIELD of `pulse` | 1 | out | high for the cycle after the write |
    | REGISTER_FIELD of `ro` | that of the field | in | what is read |
    | REGISTER_FIELD_set of `w1c` | that of the field | in | bits to set; wins over a clear |

    Cycles: a read's answer stands two cycles after its address was taken, a write's two cycles
    after the later of address and data; with a prompt master one of each is done every three
    cycles.
    No ready depends on a valid.
    """

    def __init__(self, registers: RegisterMap) -> None:
        self.map = registers
        self.module_name = f"nofm_registers_{registers.name}"
        ports: dict[str, Member] = lite_ports(registers.address_bits)
        for register, _, field in registers.fields():
            name = registers.port(register, field)
            ports[name] = (In if field.access is Access.RO else Out)(
                field.bits, **({"init": field.reset} if field.reset else {})
            )
            if field.access is Access.W1C:
                ports[f"{name}_set"] = In(field.bits)
        super().__init__(ports)
        mark(self)

    def _bus(self, name: str) -> Signal:
        return getattr(self, f"{SLAVE}_{name}")

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self._read(m)
        goes, selected, data, bits = self._write(m)
        for number, (_, register) in enumerate(self.map.placed()):
            for low, field in register.placed():
                name = self.map.port(register, field)
                at = slice(low, low + field.bits)
                new, mask = data[at], bits[at]
                written = goes & selected[number]
                value: Signal = getattr(self, name)
                if field.access is Access.RW:
                    with m.If(written):
                        m.d.sync += value.eq((value & ~mask) | (new & mask))
                elif field.access is Access.PULSE:
                    m.d.sync += value.eq(new & mask & written)
                elif field.access is Access.W1C:
                    cleared = new & mask & written.replicate(field.bits)
                    m.d.sync += value.eq((value & ~cleared) | getattr(self, f"{name}_set"))
        return m

    def _selected(self, m: Module, address: Value, name: str) -> Signal:
        """Which register an address means; none, no bit."""
        selected = Signal(len(self.map.registers), name=name)
        m.d.comb += selected.eq(Cat(address[2:] == offset // 4 for offset, _ in self.map.placed()))
        return selected

    def _read(self, m: Module) -> None:
        """AR and R."""
        valid, ready = self._bus("rvalid"), self._bus("rready")
        waits, address = Signal(), Signal(self.map.address_bits, name="read_address")
        selected = self._selected(m, address, "read_selected")
        m.d.comb += self._bus("arready").eq(~waits & ~valid)
        with m.If(self._bus("arvalid") & self._bus("arready")):
            m.d.sync += [waits.eq(1), address.eq(self._bus("araddr"))]
        with m.If(waits):
            m.d.sync += [
                waits.eq(0),
                valid.eq(1),
                self._bus("rresp").eq(OKAY),
            ]
            with m.Switch(selected):
                for number in range(len(self.map.registers)):
                    with m.Case("-" * (len(selected) - number - 1) + "1" + "-" * number):
                        m.d.sync += self._bus("rdata").eq(self._word(number))
                with m.Default():
                    m.d.sync += [self._bus("rdata").eq(0), self._bus("rresp").eq(SLVERR)]
        with m.Elif(ready):
            m.d.sync += valid.eq(0)

    def _word(self, number: int) -> Value:
        """What a read of a register gives."""
        register = self.map.registers[number]
        parts: list[Value] = []
        at = 0
        for low, field in register.placed():
            value = getattr(self, self.map.port(register, field))
            reads = Const(0, 1) if field.access is Access.PULSE else value
            parts += [Const(0, low - at), reads]
            at = low + field.bits
        return Cat(parts)

    def _write(self, m: Module) -> tuple[Signal, Signal, Signal, Value]:
        """AW, W and B: whether a write is done in this cycle, to which register, its data, and
        which bits of these count."""
        valid, ready = self._bus("bvalid"), self._bus("bready")
        has_address, has_data = Signal(), Signal()
        address = Signal(self.map.address_bits, name="write_address")
        data, strobes = Signal(32, name="write_data"), Signal(4, name="write_strobes")
        selected = self._selected(m, address, "write_selected")
        goes = Signal()
        m.d.comb += [
            self._bus("awready").eq(~has_address),
            self._bus("wready").eq(~has_data),
            goes.eq(has_address & has_data & ~valid),
        ]
        with m.If(self._bus("awvalid") & self._bus("awready")):
            m.d.sync += [has_address.eq(1), address.eq(self._bus("awaddr"))]
        with m.If(self._bus("wvalid") & self._bus("wready")):
            m.d.sync += [
                has_data.eq(1),
                data.eq(self._bus("wdata")),
                strobes.eq(self._bus("wstrb")),
            ]
        with m.If(goes):
            m.d.sync += [
                has_address.eq(0),
                has_data.eq(0),
                valid.eq(1),
                self._bus("bresp")[1].eq(~selected.any()),
            ]
        with m.Elif(valid & ready):
            m.d.sync += valid.eq(0)
        return goes, selected, data, Cat(strobes[byte].replicate(8) for byte in range(4))
