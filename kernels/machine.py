"""What a measurement ran on: the processor, its caches and clocks, its load, and the libraries."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = ("numpy", "numba", "llvmlite", "scipy", "torch")
"""Whose versions a measurement records, where they are installed."""


def describe() -> dict[str, Any]:
    """The machine, as a JSON object; what its system does not tell is null."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    known = ("avx", "avx2", "avx512f", "fma", "f16c", "neon", "sve")
    return {
        "cpu": _proc("cpuinfo", r"^model name\s*:\s*(.+)$") or platform.processor() or None,
        "architecture": platform.machine(),
        "llvm_cpu": binding.get_host_cpu_name(),
        "features": [name for name in known if features.get(name)],
        "cores": os.cpu_count(),
        "clock_mhz": _number(_proc("cpuinfo", r"^cpu MHz\s*:\s*([\d.]+)$")),
        "caches_kib": _caches(),
        "memory_mib": _mebi(_proc("meminfo", r"^MemTotal:\s*(\d+) kB$")),
        "load_average": _load(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
    }


@contextlib.contextmanager
def pinned(threads: int) -> Iterator[list[int]]:
    """Keep this process on as many cores as it has threads; gives their numbers, or none where the
    system has no such call."""
    if not hasattr(os, "sched_setaffinity"):
        yield []
        return
    before = os.sched_getaffinity(0)
    # The first core often serves the system's own work.
    chosen = sorted(before)[-threads:]
    os.sched_setaffinity(0, chosen)
    try:
        yield chosen
    finally:
        os.sched_setaffinity(0, before)


def _proc(name: str, pattern: str) -> str | None:
    try:
        text = Path("/proc", name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(pattern, text, re.MULTILINE)
    return found[1].strip() if found else None


def _caches() -> dict[str, int]:
    """KiB of each cache that the last core sees, by name: L1d, L2, L3."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        with contextlib.suppress(OSError, ValueError):
            level, kind, size = (
                (folder / name).read_text().strip() for name in ("level", "type", "size")
            )
            if kind != "Instruction":
                found[f"L{level}" + ("d" if kind == "Data" else "")] = int(size.rstrip("K"))
    return found


def _load() -> list[float] | None:
    try:
        return [round(value, 2) for value in os.getloadavg()]
    except (OSError, AttributeError):
        return None


def _number(text: str | None) -> float | None:
    return float(text) if text else None


def _mebi(kibi: str | None) -> int | None:
    return int(kibi) // 1024 if kibi else None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
