"""Masters with a strider before them: jobs of strides in, words out of memory or into it."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module
from amaranth.lib.wiring import In

from nofm.kernels.errors import InputError
from nofm.rtl.axi.bus import Bus
from nofm.rtl.axi.ports import mark
from nofm.rtl.axi.read_master import ReadMaster
from nofm.rtl.axi.strider import Strider, Walk, job_fields
from nofm.rtl.axi.write_master import WriteMaster
from nofm.rtl.hierarchy import Unit, place


class _Strided(Unit):
    """A strider and a master: the ports of the master, with jobs in the place of commands."""

    def __init__(self, name: str, master: type[Unit], bus: Bus, walk: Walk) -> None:
        self.bus = bus
        self.walk = walk
        self.module_name = f"nofm_axi_strided_{name}_{walk.suffix}_{bus.suffix}"
        self._master = master
        members = master(bus).signature.members
        kept = {port: members[port] for port in members if not port.startswith("command_")}
        super().__init__(
            {
                "job_valid": In(1),
                "job_ready": members["command_ready"],
                "job_data": In(sum(job_fields(bus, walk).values())),
                **kept,
            }
        )
        mark(self)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        strider = Strider(self.bus, self.walk)
        master = self._master(self.bus)
        place(m, platform, "strider", strider)
        place(m, platform, "master", master)
        m.d.comb += [
            strider.job_valid.eq(self.job_valid),
            strider.job_data.eq(self.job_data),
            self.job_ready.eq(strider.job_ready),
            master.command_valid.eq(strider.command_valid),
            # Without axes a strider has no padding, and says nothing of it: `zero` is then low.
            master.command_data.eq(strider.command_data),
            strider.command_ready.eq(master.command_ready),
        ]
        for name, member in self.signature.members.items():
            if not name.startswith("job_"):
                outer, inner = getattr(self, name), getattr(master, name)
                m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        return m


class StridedRead(_Strided):
    """A `Strider` before a `ReadMaster`.

    The ports are those of `ReadMaster`, but for its commands: these come from jobs. `done` is said
    of every command; the highest bit of a word's tag marks those of the job's last one.

    | port | width | direction | |
    |---|---|---|---|
    | job_valid, job_ready, job_data | 1, 1, `strider.job_fields` | in, out, in | |
    """

    def __init__(self, bus: Bus, walk: Walk) -> None:
        super().__init__("read", ReadMaster, bus, walk)


class StridedWrite(_Strided):
    """A `Strider` before a `WriteMaster`; it has no padding, so `walk.axes` must be 0.

    The ports are those of `WriteMaster`, but for its commands: these come from jobs. `done` is said
    of every command; the highest bit of `done_tag` marks the job's last one.

    | port | width | direction | |
    |---|---|---|---|
    | job_valid, job_ready, job_data | 1, 1, `strider.job_fields` | in, out, in | |
    """

    def __init__(self, bus: Bus, walk: Walk) -> None:
        if walk.axes:
            raise InputError(f"axes of a walk that writes must be 0, not {walk.axes}")
        super().__init__("write", WriteMaster, bus, walk)
