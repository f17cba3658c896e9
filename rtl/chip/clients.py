"""Clients: the ports by which a unit reads and writes memory, stream by stream."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module
from amaranth.lib.wiring import In, Out

from nofm.rtl.axi.bus import Bus
from nofm.rtl.chip.chunks import client_command, client_word
from nofm.rtl.chip.stream_read import StreamRead
from nofm.rtl.chip.stream_write import StreamWrite
from nofm.rtl.hierarchy import Unit


def read_client(bus: Bus, name: str) -> dict[str, Any]:
    """Ports of a client that reads memory."""
    return {
        f"{name}_command_valid": Out(1),
        f"{name}_command_ready": In(1),
        f"{name}_command_data": Out(sum(client_command(bus).values())),
        f"{name}_in_valid": In(1),
        f"{name}_in_ready": Out(1),
        f"{name}_in_data": In(sum(client_word(bus).values())),
    }


def write_client(bus: Bus, name: str) -> dict[str, Any]:
    """Ports of a client that writes memory."""
    return {
        f"{name}_command_valid": Out(1),
        f"{name}_command_ready": In(1),
        f"{name}_command_data": Out(sum(client_command(bus).values())),
        f"{name}_out_valid": Out(1),
        f"{name}_out_ready": In(1),
        f"{name}_out_data": Out(bus.data_bits),
        f"{name}_done": In(1),
    }


def connect_client(m: Module, unit: Unit, name: str, inner: StreamRead | StreamWrite) -> None:
    """Connect the ports of `unit`'s client `name` with those of the stream that it is."""
    ports = ["command_valid", "command_ready", "command_data"]
    if isinstance(inner, StreamRead):
        ports += ["in_valid", "in_ready", "in_data"]
    else:
        ports += ["out_valid", "out_ready", "out_data", "done"]
    for port in ports:
        outside, inside = getattr(unit, f"{name}_{port}"), getattr(inner, port)
        into = unit.signature.members[f"{name}_{port}"].flow is In
        m.d.comb += inside.eq(outside) if into else outside.eq(inside)
