"""The chip: control, units, and one AXI4 master to memory."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module
from amaranth.lib.wiring import In, Out

from nofm.dataflow.accelerator import Accelerator
from nofm.rtl.axi.bus import Bus
from nofm.rtl.axi.ports import lite_ports, mark, mark_interrupt, read_ports, write_ports
from nofm.rtl.chip.chunks import client_bits
from nofm.rtl.chip.control import Control
from nofm.rtl.chip.datapath import READERS, WRITERS, Datapath
from nofm.rtl.chip.gate import INSIDE, BusGate
from nofm.rtl.chip.register_file import CONFLICTS, SPENT
from nofm.rtl.chip.share import ReadShare, WriteShare
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.program.descriptors import ProgramFormat
from nofm.rtl.program.sizes import ADDRESS_BITS, HALF_BYTES, RUN_BITS, ChipSizes


def chip_bus(sizes: ChipSizes) -> Bus:
    """The bus of a chip."""
    clients = max(1 + len(READERS), len(WRITERS))
    return Bus(
        data_bits=sizes.bus_bits,
        address_bits=ADDRESS_BITS,
        granule_bytes=HALF_BYTES,
        length_bits=RUN_BITS,
        tag_bits=client_bits(clients) + 1,
    )


class Chip(Unit):
    """The accelerator as a whole.

    A host writes a program and its data to memory, tells the chip where they are by AXI4-Lite, and
    waits for the interrupt: docs/chip.md.

    | port | width | direction | |
    |---|---|---|---|
    | s_axi_... | 32 bits of data | | AXI4-Lite slave: the registers |
    | m_axi_... | `bus_bits` of data | | AXI4 master: memory |
    | irq | 1 | out | an event that is enabled came, and was not cleared |
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.sizes = ChipSizes.of(accelerator)
        self.bus = chip_bus(self.sizes)
        self._accelerator = accelerator
        self._form = ProgramFormat.of(accelerator)
        self._control = Control(accelerator, self.bus)
        self.module_name = "nofm_chip"
        super().__init__(
            {
                **lite_ports(self._control.map.address_bits),
                **read_ports(self.bus),
                **write_ports(self.bus),
                "irq": Out(1),
            }
        )
        mark(self)
        mark_interrupt(self.irq)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus, control = self.bus, self._control
        self._gate = gate = BusGate(bus)
        datapath = Datapath(self._accelerator, bus, self._form)
        reads = ReadShare(bus, 1 + len(READERS))
        writes = WriteShare(bus, len(WRITERS), window=True)
        place(m, platform, "control", control)
        place(m, platform, "gate", gate)
        place(m, platform, "datapath", datapath, control.units_reset)
        place(m, platform, "reads", reads, control.units_reset)
        place(m, platform, "writes", writes, control.units_reset)
        for name, member in lite_ports(control.map.address_bits).items():
            inner, outer = getattr(control, name), getattr(self, name)
            m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        m.d.comb += self.irq.eq(control.irq)
        self._jobs(m, datapath)
        self._bus(m, reads, writes)
        self._readers(m, reads, datapath)
        self._writers(m, writes, datapath)
        return m

    def _jobs(self, m: Module, datapath: Datapath) -> None:
        control = self._control
        for unit in self._form.units:
            for what in ("valid", "ready", "data"):
                given, taken = (getattr(x, f"{unit.name}_{what}") for x in (control, datapath))
                m.d.comb += given.eq(taken) if what == "ready" else taken.eq(given)
        m.d.comb += [
            control.unit_busy.eq(datapath.unit_busy),
            control.unit_moves.eq(datapath.unit_moves),
            *(getattr(control, f"spent_{n}").eq(getattr(datapath, f"spent_{n}")) for n in SPENT),
            *(
                getattr(control, f"event_{n}").eq(getattr(datapath, f"event_{n}"))
                for n in CONFLICTS
            ),
        ]

    def _bus(self, m: Module, reads: ReadShare, writes: WriteShare) -> None:
        """The masters' channels go through the gate, their errors to the control."""
        control, gate = self._control, self._gate
        for ports, share in ((read_ports(self.bus), reads), (write_ports(self.bus), writes)):
            for name, member in ports.items():
                inner = getattr(gate, name.replace("m_axi", INSIDE, 1))
                master, outer = getattr(share, name), getattr(gate, name)
                own = getattr(self, name)
                if member.flow is Out:
                    m.d.comb += [inner.eq(master), own.eq(outer)]
                else:
                    m.d.comb += [master.eq(inner), outer.eq(own)]
        for name, share in (("read", reads), ("write", writes)):
            m.d.comb += [
                getattr(control, f"{name}_error").eq(share.error),
                getattr(control, f"{name}_response").eq(share.error_response),
                getattr(control, f"{name}_address").eq(share.error_address),
                share.clear_error.eq(0),
            ]
        m.d.comb += [
            writes.window_base.eq(control.window_base),
            writes.window_limit.eq(control.window_limit),
            control.window_error.eq(writes.window_error),
            control.window_address.eq(writes.window_address),
            control.read_bytes.eq(gate.read_bytes),
            control.written_bytes.eq(gate.written_bytes),
            control.quiet.eq(gate.quiet),
            gate.drain.eq(control.drain),
        ]

    def _readers(self, m: Module, reads: ReadShare, datapath: Datapath) -> None:
        control = self._control
        m.d.comb += [
            reads.command_valid.eq(Cat(control.command_valid, datapath.read_command_valid)),
            reads.command_data.eq(Cat(control.command_data, datapath.read_command_data)),
            Cat(control.command_ready, datapath.read_command_ready).eq(reads.command_ready),
            Cat(control.in_valid, datapath.read_valid).eq(reads.out_valid),
            Cat(control.in_data, datapath.read_data).eq(reads.out_data),
            reads.out_ready.eq(Cat(control.in_ready, datapath.read_ready)),
        ]

    def _writers(self, m: Module, writes: WriteShare, datapath: Datapath) -> None:
        m.d.comb += [
            writes.command_valid.eq(datapath.write_command_valid),
            writes.command_data.eq(datapath.write_command_data),
            datapath.write_command_ready.eq(writes.command_ready),
            writes.in_valid.eq(datapath.write_valid),
            writes.in_data.eq(datapath.write_data),
            datapath.write_ready.eq(writes.in_ready),
            datapath.write_done.eq(writes.done),
        ]
