"""A streaming unit alone on the bus, with memory's ports: what its tests run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module
from amaranth.lib.wiring import In, Out

from nofm.rtl.axi.bus import Bus
from nofm.rtl.axi.first_error import error_ports
from nofm.rtl.axi.ports import mark, read_ports, write_ports
from nofm.rtl.chip.share import ReadShare, WriteShare
from nofm.rtl.hierarchy import Unit, place


class Alone(Unit):
    """A unit with its clients on a shared bus of their own.

    | port | width | direction | |
    |---|---|---|---|
    | job_valid, job_ready, job_data, done | | | those of the unit |
    | busy | 1 | out | the unit is, or a command is under way |
    | clear_error, error, ... | | | those of reading |
    | m_axi_... | | | AXI4 |

    Args:
        unit: with ports `job_...`, `busy` and `done`.
        bus: of the memory.
        reads, writes: names of the unit's clients.
        queue_beats: words that wait outside for each client.
    """

    def __init__(
        self,
        unit: Any,
        bus: Bus,
        reads: Sequence[str],
        writes: Sequence[str],
        queue_beats: int,
    ) -> None:
        self.unit, self.bus = unit, bus
        self.reads, self.writes = list(reads), list(writes)
        self.queue_beats = queue_beats
        self.module_name = f"{unit.module_name}_alone_{queue_beats}"
        super().__init__(
            {
                "job_valid": In(1),
                "job_ready": Out(1),
                "job_data": In(len(unit.job_data)),
                "busy": Out(1),
                "done": Out(1),
                **error_ports(bus),
                **read_ports(bus),
                **write_ports(bus),
            }
        )
        mark(self)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        unit = self.unit
        place(m, platform, "unit", unit)
        beats = self.bus.burst_beats, self.queue_beats
        read = ReadShare(self.bus, len(self.reads), *beats)
        write = WriteShare(self.bus, len(self.writes), *beats)
        place(m, platform, "read", read)
        place(m, platform, "write", write)
        m.d.comb += [
            unit.job_valid.eq(self.job_valid),
            unit.job_data.eq(self.job_data),
            self.job_ready.eq(unit.job_ready),
            self.done.eq(unit.done),
            self.busy.eq(unit.busy | read.busy | write.busy),
        ]
        for name, member in self.signature.members.items():
            for share in (read, write):
                ours = "error" in name and share is read
                if ours or (name.startswith("m_axi_") and hasattr(share, name)):
                    outer, inner = getattr(self, name), getattr(share, name)
                    m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        m.d.comb += write.clear_error.eq(self.clear_error)
        self._connect(m, read, self.reads, {"command": True, "in": False}, {"in": "out"})
        self._connect(m, write, self.writes, {"command": True, "out": True}, {"out": "in"})
        for number, name in enumerate(self.writes):
            m.d.comb += getattr(unit, f"{name}_done").eq(write.done[number])
        return m

    def _connect(
        self,
        m: Module,
        share: Any,
        names: list[str],
        streams: dict[str, bool],
        called: dict[str, str],
    ) -> None:
        """Join the clients' streams, of which those that are true go out of the unit."""
        for stream, out in streams.items():
            outer = called.get(stream, stream)
            for port in ("valid", "ready", "data"):
                theirs = getattr(share, f"{outer}_{port}")
                ours = Cat(getattr(self.unit, f"{name}_{stream}_{port}") for name in names)
                into = out == (port != "ready")
                m.d.comb += theirs.eq(ours) if into else ours.eq(theirs)
