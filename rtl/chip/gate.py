"""Bus gate: lets a chip be reset while bursts are under way, which AXI does not allow a master."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import In, Member, Out

from nofm.rtl.axi.bus import Bus
from nofm.rtl.axi.ports import MASTER, mark, read_ports, write_ports
from nofm.rtl.hierarchy import Unit

INSIDE = "from"


def _inner(ports: dict[str, Member]) -> dict[str, Member]:
    """The same channels as a master drives them."""
    return {name.replace(MASTER, INSIDE, 1): member.flip() for name, member in ports.items()}


class BusGate(Unit):
    """Stands between a chip's masters and its AXI4 ports, and is not reset with the masters.

    With `drain` it lets nothing new onto the bus. What has been offered stays until it is taken;
    what memory owes is taken, as it comes; what masters owe it is waited for: a `WriteMaster` has
    all beats of a burst before it asks for it. `quiet` says that nothing is left: then the masters
    can be reset. It counts what moves, too.

    | port | width | direction | |
    |---|---|---|---|
    | from_ar..., from_r..., from_aw..., from_w..., from_b... | | | of the masters |
    | m_axi_ar..., m_axi_r..., m_axi_aw..., m_axi_w..., m_axi_b... | | | AXI4 |
    | drain | 1 | in | let nothing new through |
    | quiet | 1 | out | nothing is under way, and nothing is on offer |
    | read_bytes, written_bytes | up to those of a beat | out | that move in this cycle; written \
ones are those with a strobe |

    Everything passes within the cycle. At most 255 bursts of each kind may be under way.
    """

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.module_name = f"nofm_chip_gate_{bus.suffix}"
        both = {**read_ports(bus), **write_ports(bus)}
        count = bus.data_bytes.bit_length()
        super().__init__(
            {
                **_inner(both),
                **both,
                "drain": In(1),
                "quiet": Out(1),
                "read_bytes": Out(count),
                "written_bytes": Out(count),
            }
        )
        mark(self)
        # Bursts under way.
        self._reads, self._writes = Signal(8, name="reads"), Signal(8, name="writes")
        # How many more bursts AW took than W did, and one more: W may be a burst ahead.
        self._ahead = Signal(9, init=1, name="ahead")
        # Whether an address was offered in the last cycle and not taken.
        self._shown = {name: Signal(name=f"{name}_shown") for name in ("ar", "aw")}

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for name, member in {**read_ports(self.bus), **write_ports(self.bus)}.items():
            inner = getattr(self, name.replace(MASTER, INSIDE, 1))
            outer = getattr(self, name)
            m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)
        reads, writes, ahead, shown = self._reads, self._writes, self._ahead, self._shown
        for name in shown:
            self._address(m, name)
        read, wrote, sent = Signal(), Signal(), Signal()
        answered = Signal()
        # What memory owes is taken even if a master no longer listens.
        m.d.comb += [
            self.m_axi_rready.eq(self.from_rready | self.drain),
            self.m_axi_bready.eq(self.from_bready | self.drain),
            self.m_axi_wvalid.eq(
                self.from_wvalid & ((ahead > 1) | ((ahead == 1) & self.m_axi_awvalid))
            ),
            self.from_wready.eq(
                self.m_axi_wready & ((ahead > 1) | ((ahead == 1) & self.m_axi_awvalid))
            ),
            read.eq(self.m_axi_rvalid & self.m_axi_rready),
            wrote.eq(self.m_axi_wvalid & self.m_axi_wready),
            sent.eq(wrote & self.m_axi_wlast),
            answered.eq(self.m_axi_bvalid & self.m_axi_bready),
            self.quiet.eq(
                (reads == 0) & (writes == 0) & (ahead == 1) & ~shown["ar"] & ~shown["aw"]
            ),
            self.read_bytes.eq(Mux(read, self.bus.data_bytes, 0)),
        ]
        strobes = sum(self.m_axi_wstrb[i] for i in range(len(self.m_axi_wstrb)))
        m.d.comb += self.written_bytes.eq(Mux(wrote, strobes, 0))
        asked = {name: Signal(name=f"{name}_asked") for name in shown}
        for name, taken in asked.items():
            valid, ready = (getattr(self, f"m_axi_{name}{what}") for what in ("valid", "ready"))
            m.d.comb += taken.eq(valid & ready)
        m.d.sync += [
            reads.eq(reads + asked["ar"] - (read & self.m_axi_rlast)),
            writes.eq(writes + asked["aw"] - answered),
            ahead.eq(ahead + asked["aw"] - sent),
        ]
        return m

    def _address(self, m: Module, channel: str) -> None:
        """Gate an address channel."""
        shown = self._shown[channel]
        opened = Signal(name=f"{channel}_opened")
        inner, outer = f"{INSIDE}_{channel}", f"{MASTER}_{channel}"
        valid, ready = getattr(self, f"{outer}valid"), getattr(self, f"{outer}ready")
        m.d.comb += [
            opened.eq(~self.drain | shown),
            valid.eq(getattr(self, f"{inner}valid") & opened),
            getattr(self, f"{inner}ready").eq(ready & opened),
        ]
        m.d.sync += shown.eq(valid & ~ready)
