"""A pump: millions of operands through a unit's Verilog, one set a cycle.

Verilator compiles the unit into one program with the loop of pump.cpp, so that no simulator's
interface stands between the cases. Operands and results are NumPy arrays; latencies are taken off.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.lib.wiring import In

from nofm.rtl.hierarchy import Unit, modules
from nofm.rtl.tools.find import Tool, verilator

Array = np.ndarray[Any, Any]

_CONTROL = ("clk", "rst", "advance")
_LOOP = Path(__file__).with_suffix(".cpp")
_COMPILE = ("g++", "-O1", "-pthread")


class Pump:
    """A compiled unit, through which operands are pumped.

    Args:
        unit: takes a set of operands in each cycle, on ports of at most 64 bits. If it has an
            input `advance`, that freezes it when low.
        delays: for each output of interest, the cycles from operands to result; 0 where it is
            combinational.
        folder: where the program is kept, and found again by its content. Units can share it.

    Raises:
        InputError: Verilator is not installed.
    """

    def __init__(self, unit: Unit, delays: Mapping[str, int], folder: Path) -> None:
        members = unit.signature.members
        widths = {name: len(getattr(unit, name)) for name in members}
        inputs = [name for name, port in members.items() if port.flow is In]
        operands = [name for name in inputs if name not in _CONTROL]
        self._set = np.dtype([(name, f"<u{_bytes(widths[name])}") for name in operands])
        self._result = np.dtype([(name, f"<u{_bytes(widths[name])}") for name in delays])
        ports = _header(
            inputs={name: widths[name] for name in operands},
            outputs={name: (widths[name], delay) for name, delay in delays.items()},
            clocked=unit.clocked,
            freezes="advance" in inputs,
        )
        self._program = _build(unit, ports, folder)

    def __call__(
        self, *, freeze: float = 0.0, seed: int = 1, **operands: Array
    ) -> dict[str, Array]:
        """Results of `operands`, in their order.

        Args:
            freeze: share of cycles, from 0 to below 1, in which `advance` is low and the operands
                are noise: no output may change in them.
            seed: of the frozen cycles and the noise.
            operands: unsigned [cases], an array for each input port.

        Returns:
            By output port: unsigned [cases], of 8, 16, 32 or 64 bits as the port needs.

        Raises:
            AssertionError: an output changed in a frozen cycle.
        """
        cases = len(next(iter(operands.values())))
        sets = np.empty(cases, self._set)
        for name in self._set.fields or ():
            sets[name] = operands[name]
        command = [str(self._program), str(cases), str(int(freeze * 65536)), str(seed)]
        done = subprocess.run(command, input=sets.tobytes(), capture_output=True, check=False)
        if done.returncode:
            raise AssertionError(done.stderr.decode().strip())
        results = np.frombuffer(done.stdout, self._result)
        return {name: results[name] for name in self._result.fields or ()}


def _bytes(width: int) -> int:
    """Bytes of the smallest integer type that holds `width` bits."""
    return next(size for size in (1, 2, 4, 8) if 8 * size >= width)


def _header(
    inputs: Mapping[str, int],
    outputs: Mapping[str, tuple[int, int]],
    *,
    clocked: bool,
    freezes: bool,
) -> str:
    """ports.h, which tells pump.cpp about a unit."""
    into = [
        f"X({name}, uint{8 * _bytes(width)}_t, {(1 << width) - 1:#x}ull)"
        for name, width in inputs.items()
    ]
    out = [
        f"X({name}, uint{8 * _bytes(width)}_t, {delay})" for name, (width, delay) in outputs.items()
    ]
    lines = {
        "INPUTS(X)": " ".join(into),
        "OUTPUTS(X)": " ".join(out),
        "LONGEST": max(delay for _, delay in outputs.values()),
        "CLOCKED": int(clocked),
        "FREEZES": int(freezes),
    }
    return "".join(f"#define {name} {text}\n" for name, text in lines.items())


def _build(unit: Unit, ports: str, folder: Path) -> Path:
    """The program for `unit`, built if `folder` does not hold it."""
    tool = verilator()
    texts = modules(unit)
    top = unit.module_name
    how = [tool.version, Path(__file__).read_text("utf-8"), _LOOP.read_text("utf-8")]
    content = "\0".join([*how, ports, *texts.values()])
    program = folder / f"{top}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    if program.exists():
        return program
    folder.mkdir(parents=True, exist_ok=True)
    runtime = _runtime(tool, folder)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        here = Path(scratch)
        (here / "ports.h").write_text(ports, "utf-8")
        (here / "unit.v").write_text("".join(texts.values()), "utf-8")
        options = ["--cc", "-O3", "--x-assign", "fast", "--x-initial", "fast", "-Wno-WIDTH"]
        options += ["--top-module", top, "--prefix", "Unit", "--Mdir", "."]
        _run(tool, [tool.path, *options, "unit.v"], here)
        # One translation unit: the headers of Verilator cost more than all the rest.
        sources = [*sorted(path.name for path in here.glob("Unit*.cpp")), str(_LOOP)]
        (here / "all.cpp").write_text("".join(f'#include "{name}"\n' for name in sources), "utf-8")
        _run(tool, [*_COMPILE, *_include(tool), "all.cpp", str(runtime), "-o", "pump"], here)
        os.replace(here / "pump", program)
    return program


def _runtime(tool: Tool, folder: Path) -> Path:
    """What every program of this Verilator links: compiled once in `folder`, for it is large."""
    compiled = folder / f"verilated-{tool.version}.o"
    if not compiled.exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            here = Path(scratch)
            parts = ("verilated.cpp", "verilated_threads.cpp")
            text = "".join(f"#include <{name}>\n" for name in parts)
            (here / "all.cpp").write_text(text, "utf-8")
            _run(tool, [*_COMPILE, *_include(tool), "-c", "all.cpp", "-o", "all.o"], here)
            os.replace(here / "all.o", compiled)
    return compiled


def _include(tool: Tool) -> list[str]:
    """Options that find Verilator's headers."""
    root = Path(_run(tool, [tool.path, "--getenv", "VERILATOR_ROOT"], Path.cwd()).strip())
    return ["-I.", f"-I{root / 'include'}", f"-I{root / 'include' / 'vltstd'}"]


def _run(tool: Tool, command: list[str], folder: Path) -> str:
    """What `command` prints."""
    done = subprocess.run(
        command, cwd=folder, env=tool.environ(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout
