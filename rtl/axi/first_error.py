"""The first error of a master, kept until it is cleared."""

from __future__ import annotations

from amaranth.hdl import Module, Value
from amaranth.lib.wiring import In, Member, Out

from nofm.rtl.axi.bus import Bus
from nofm.rtl.hierarchy import Unit


def error_ports(bus: Bus) -> dict[str, Member]:
    """Ports that tell of an error."""
    return {
        "clear_error": In(1),
        "error": Out(1),
        "error_response": Out(2),
        "error_address": Out(bus.address_bits),
    }


def keep_first_error(m: Module, unit: Unit, failed: Value, response: Value, address: Value) -> None:
    """Registers behind `error_ports` of `unit`; one that comes when it is cleared is kept."""
    with m.If(failed & (~unit.error | unit.clear_error)):
        m.d.sync += [
            unit.error.eq(1),
            unit.error_response.eq(response),
            unit.error_address.eq(address),
        ]
    with m.Elif(unit.clear_error):
        m.d.sync += unit.error.eq(0)
