"""Cycles of the ARM kernel, estimated: its inner loops by llvm-mca's model of a core.

An estimate, never a measurement: operands are where the model takes them, in the first cache, and
all other instructions are taken at one a cycle.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import cache

from nofm.kernels.arm import build
from nofm.kernels.arm.emulate import Counts
from nofm.kernels.errors import InputError

CORES = ("cortex-a55", "neoverse-n1", "neoverse-v2")
"""Cores whose cycles are estimated: in order, and out of order with two and with four pipes of
128-bit multiply-adds."""

OLDEST = 17
"""First release of LLVM that has a model of each of `CORES`."""

ROUNDS = 200
"""Iterations of a loop that are modelled."""


@cache
def tool() -> str | None:
    """The newest llvm-mca that knows the cores, or None."""
    names = [f"llvm-mca-{release}" for release in range(30, OLDEST - 1, -1)]
    for path in filter(None, map(shutil.which, (*names, "llvm-mca"))):
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        found = re.search(r"LLVM version (\d+)", done.stdout)
        if found and int(found[1]) >= OLDEST:
            return path
    return None


def missing() -> str | None:
    """Why no cycles can be estimated here, or None."""
    if tool() is None:
        return f"estimating cycles needs llvm-mca {OLDEST} or newer: apt-get install llvm-19"
    return None


def loops(assembly: str) -> dict[str, list[str]]:
    """The loop of each tile function that does most of its multiply-adds, as instructions."""
    found = {}
    for match in re.finditer(r"^(tile_\w+):(.*?)^\s*\.size", assembly, re.DOTALL | re.MULTILINE):
        lines = [line.split("//")[0].rstrip() for line in match[2].splitlines()]
        lines = [line for line in lines if line and not re.match(r"\s+\.", line)]
        labels: dict[str, int] = {}
        best: list[str] = []
        for i, line in enumerate(lines):
            if label := re.match(r"(\.\w+):", line):
                labels[label[1]] = i
            branch = re.match(r"\s+(?:b[\w.]*|cbn?z|tbn?z)\s.*?(\.\w+)$", line)
            if branch and branch[1] in labels:
                body = lines[labels[branch[1]] + 1 : i + 1]
                whole = not any(line.endswith(":") for line in body)
                if whole and multiply_adds(body) > multiply_adds(best):
                    best = body
        found[match[1]] = best
    return found


def multiply_adds(instructions: list[str]) -> int:
    """Vector multiply-adds among instructions."""
    return sum(line.split()[0] == "fmla" for line in instructions)


@cache
def cycles_of_fma(function: str, core: str) -> float:
    """Cycles for each vector multiply-add of a tile function's inner loop.

    Raises:
        InputError: llvm-mca is missing, or does not understand the loop.
    """
    if reason := missing():
        raise InputError(reason)
    body = _loops()[function]
    return _cycles(body, core) / multiply_adds(body)


@cache
def _loops() -> dict[str, list[str]]:
    return loops(build.assembly())


def _cycles(body: list[str], core: str) -> float:
    """Cycles of one round of a loop."""
    command = [str(tool()), "-mtriple=aarch64", f"-mcpu={core}", f"-iterations={ROUNDS}", "-json"]
    text = "\n".join(body) + "\n"
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    try:
        summary = json.loads(done.stdout)["CodeRegions"][0]["SummaryView"]
        return float(summary["TotalCycles"]) / ROUNDS
    except (ValueError, KeyError, IndexError):
        said = (done.stderr.splitlines() or ["it says nothing"])[0]
        raise InputError(f"{tool()} cannot estimate a loop: {said}") from None


def cycles(counts: Counts) -> dict[str, int]:
    """Estimated cycles of instructions that were counted, by core."""
    tiles = {
        name: number
        for (name, kind), number in counts.by.items()
        if kind == "fma" and name in _loops()
    }
    # Of a tile function, what is more than its loop: its beginnings and ends.
    rest = counts.total - sum(
        number * len(_loops()[name]) / multiply_adds(_loops()[name])
        for name, number in tiles.items()
    )
    return {
        core: round(
            rest + sum(cycles_of_fma(name, core) * number for name, number in tiles.items())
        )
        for core in CORES
    }
