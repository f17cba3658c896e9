"""Ports of AXI interfaces under their standard names, marked so that Vivado groups them."""

from __future__ import annotations

from amaranth.hdl import Signal
from amaranth.lib.wiring import In, Member, Out

from nofm.rtl.axi.bus import Bus
from nofm.rtl.hierarchy import Unit

MASTER, SLAVE = "m_axi", "s_axi"

INCREMENTING = 1
"""AxBURST: each beat's address is that behind the one before it."""

BUFFERABLE_MODIFIABLE = 0b0011
"""AxCACHE: usual memory, without caches."""


def _address(bus: Bus, channel: str) -> dict[str, Member]:
    ports = {
        "addr": Out(bus.address_bits),
        "len": Out(8),
        "size": Out(3, init=bus.size),
        "burst": Out(2, init=INCREMENTING),
        "lock": Out(1),
        "cache": Out(4, init=BUFFERABLE_MODIFIABLE),
        "prot": Out(3),
        "qos": Out(4),
        "valid": Out(1),
        "ready": In(1),
    }
    return {f"{MASTER}_{channel}{name}": port for name, port in ports.items()}


def read_ports(bus: Bus) -> dict[str, Member]:
    """The channels AR and R of a master. It needs no identifiers, so it has none."""
    return _address(bus, "ar") | {
        f"{MASTER}_rdata": In(bus.data_bits),
        f"{MASTER}_rresp": In(2),
        f"{MASTER}_rlast": In(1),
        f"{MASTER}_rvalid": In(1),
        f"{MASTER}_rready": Out(1),
    }


def write_ports(bus: Bus) -> dict[str, Member]:
    """The channels AW, W and B of a master. It needs no identifiers, so it has none."""
    return _address(bus, "aw") | {
        f"{MASTER}_wdata": Out(bus.data_bits),
        f"{MASTER}_wstrb": Out(bus.data_bytes),
        f"{MASTER}_wlast": Out(1),
        f"{MASTER}_wvalid": Out(1),
        f"{MASTER}_wready": In(1),
        f"{MASTER}_bresp": In(2),
        f"{MASTER}_bvalid": In(1),
        f"{MASTER}_bready": Out(1),
    }


def lite_ports(address_bits: int) -> dict[str, Member]:
    """All channels of an AXI4-Lite slave of 32 bits."""
    ports = {
        "awaddr": In(address_bits),
        "awvalid": In(1),
        "awready": Out(1),
        "wdata": In(32),
        "wstrb": In(4),
        "wvalid": In(1),
        "wready": Out(1),
        "bresp": Out(2),
        "bvalid": Out(1),
        "bready": In(1),
        "araddr": In(address_bits),
        "arvalid": In(1),
        "arready": Out(1),
        "rdata": Out(32),
        "rresp": Out(2),
        "rvalid": Out(1),
        "rready": In(1),
    }
    return {f"{SLAVE}_{name}": port for name, port in ports.items()}


def mark_interrupt(signal: Signal) -> None:
    """Give a port the attributes by which Vivado knows an interrupt that is high until cleared."""
    signal.attrs["X_INTERFACE_INFO"] = f"xilinx.com:signal:interrupt:1.0 {signal.name} INTERRUPT"
    signal.attrs["X_INTERFACE_PARAMETER"] = (
        f"XIL_INTERFACENAME {signal.name}, SENSITIVITY LEVEL_HIGH"
    )


def mark(unit: Unit) -> None:
    """Give the AXI ports of `unit` the attributes by which Vivado knows them."""
    found = dict.fromkeys(
        prefix
        for name in unit.signature.members
        for prefix in (MASTER, SLAVE)
        if name.startswith(f"{prefix}_")
    )
    for prefix in found:
        for name in unit.signature.members:
            if name.startswith(f"{prefix}_"):
                signal = name.removeprefix(f"{prefix}_").upper()
                getattr(unit, name).attrs["X_INTERFACE_INFO"] = (
                    f"xilinx.com:interface:aximm:1.0 {prefix} {signal}"
                )
    unit.interfaces = tuple(found)
