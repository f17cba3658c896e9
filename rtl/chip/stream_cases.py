"""Cases for the bench of streaming units: random streams in a memory, and its check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nofm.dataflow.accelerator import load
from nofm.rtl.axi.bus import Bus
from nofm.rtl.axi.cases import MasterCase, differences, replay_masters
from nofm.rtl.bench.axi import MemoryCase
from nofm.rtl.bench.cases import Case
from nofm.rtl.chip.alone import Alone
from nofm.rtl.fields import pack
from nofm.rtl.hierarchy import modules
from nofm.rtl.program.sizes import ChipSizes
from nofm.rtl.program.stream import encode_stream
from nofm.rtl.program.walk import Loop, Nest

SIZES = ChipSizes.of(load("sat-4x4"))

Values = dict[str, int]


def small_bus(bits: int) -> Bus:
    """A bus with short bursts and queues, so that they fill."""
    return Bus(
        data_bits=bits,
        address_bits=40,
        burst_beats=4,
        outstanding=4,
        queue_beats=16,
        length_bits=24,
    )


class Room:
    """Hands out pieces of a memory, one behind the other, with a gap between them."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.used = 0

    def take(self, elements: int) -> int:
        """The address of so many FP16 elements."""
        first = self.used + int(self.rng.integers(0, 9))
        self.used = first + elements
        return first

    def scattered(self, prefix: str, elements: int) -> Values:
        """A stream of so many elements, in runs of any length."""
        rng = self.rng
        runs = int(rng.choice([d for d in range(1, 13) if elements % d == 0]))
        run = elements // runs
        inner = int(rng.choice([d for d in range(1, runs + 1) if runs % d == 0]))
        pitch = run + int(rng.integers(0, 6))
        outer = inner * pitch + int(rng.integers(0, 6))
        loops = (Loop(inner, {"address": pitch}), Loop(runs // inner, {"address": outer}))
        start = self.take(outer * (runs // inner))
        return encode_stream(SIZES, prefix, Nest({"address": start}, loops), run)


def memory_case(
    name: str,
    jobs: Sequence[Values],
    fields: dict[str, int],
    does: Callable[[Values, Any], None],
    memory: Any,
    *,
    seed: int = 0,
    stalls: bool = False,
) -> MasterCase:
    """Jobs, one after the other, in one memory of FP16 elements.

    Args:
        does: what a job does to memory.
        seed, stalls: whether memory pauses, and how.
    """
    size = -len(memory) % 64
    memory = np.concatenate([memory, np.full(size, 0x1234, np.uint16)])
    after = memory.copy()
    for values in jobs:
        does(values, after)
    words = [pack(fields, values) for values in jobs]
    limit = 2000 * len(jobs) + 20 * len(memory)
    case = Case(name=name, inputs={"job": [words]}, outputs={}, jobs=len(jobs), limit=limit)
    behind = MemoryCase(latency=4)
    if stalls:
        rng = np.random.default_rng(seed)
        texts = ("random:0.3", "random:0.7", "bursts:5:9", "steady")
        channels = {each: str(rng.choice(texts)) for each in ("ar", "r", "aw", "w", "b")}
        behind = MemoryCase(latency=int(rng.integers(1, 20)), seed=seed, channels=channels)
    return MasterCase(case, behind, memory.view(np.uint8), after.view(np.uint8))


def memory_differences(
    top: Alone, cases: Sequence[MasterCase], folder: Path, sources: Any = None
) -> tuple[list[str], Any]:
    """What is not as it must be, and the results."""
    told = sources or modules(top)
    done = replay_masters(told, top.module_name, top.bus, cases, folder=folder, tool="icarus")
    found = [
        f"{each.case.name}: {text}"
        for each, result in zip(cases, done.results["cases"], strict=True)
        for text in differences(each, result)
    ]
    return found, done.results["cases"]
