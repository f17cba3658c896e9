"""The bench of AXI masters: as `replay`, with a memory and a checker at the ports `m_axi_...`.

Arguments: `cases`, the path of the case file; `memories`, an object for each case with the
attributes of `MemoryCase`, and `image`, the path of its bytes as an `.npy`; `rules`, the
attributes of `Rules`; `counters`, ports to report with every job. Results: those of `replay`, and
for each case `given` (first and last cycle in which a word was taken from each stream), `first`
(that of the first word of each stream out), `asked` and `moved` as of `Memory`, `most_reads`,
`most_writes`, `state` (ports at the end: `busy` and the error), `cleared` (whether
`clear_error` forgot it), and `after`, the file with the memory's bytes at the end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from .axi import Memory, MemoryCase
from .axi_check import Checker, Rules
from .cases import arguments, read_cases, report
from .engine import simulator
from .ports import Port
from .replay import prepare, run_case
from .streams import Driver, StreamError

STATE = ("busy", "error", "error_response", "error_address")


class Busy:
    """Checks that `busy` is high while a command that was taken is not done."""

    def __init__(self, dut: Any, commands: Driver) -> None:
        self._busy, self._done = Port(dut, "busy"), Port(dut, "done")
        self._commands = commands
        self.reset()

    def reset(self) -> None:
        self._taken = self._ended = 0

    def step(self, cycle: int) -> None:
        """One rising edge."""
        self._ended += self._done.read()
        if self._busy.read() != (self._taken > self._ended):
            raise StreamError(
                f"cycle {cycle}: busy is {self._busy.read()}, with {self._taken} commands "
                f"taken and {self._ended} done"
            )
        self._taken = self._commands.taken[0]


@cocotb.test()
async def axi_replay(dut: Any) -> None:
    """Run every case of the file."""
    told = arguments()
    cases, _ = read_cases(Path(told["cases"]))
    rules = Rules(**told["rules"])
    results = []
    clocked = False
    dut.clear_error.value = 0
    for number, (case, given) in enumerate(zip(cases, told["memories"], strict=True)):
        image = np.load(given.pop("image")).tobytes()
        memory = Memory(dut, MemoryCase(**given), image)
        checker = Checker(dut, rules)
        # The checker first: it sees the wires before the memory changes them.
        engine = prepare(dut, case, told["counters"], [checker, memory])
        commands = next((each for each in engine.drivers if each.name == "command"), None)
        if commands is not None:
            engine.add(Busy(dut, commands))
        if not clocked:
            engine.start()
            clocked = True
        result = await run_case(engine, case)
        after = Path(f"memory-{number}.npy").resolve()
        np.save(after, np.frombuffer(bytes(memory.image), np.uint8))
        result["state"] = {name: Port(dut, name).read() for name in STATE}
        if result["error"] is None and not checker.quiet:
            result["error"] = "bursts are under way at the end"
        dut.clear_error.value = 1
        for _ in range(2):
            await RisingEdge(dut.clk)
        dut.clear_error.value = 0
        results.append(
            {
                **result,
                "cleared": not Port(dut, "error").read(),
                "given": {
                    each.name: [each.first_cycle, each.last_cycle] for each in engine.drivers
                },
                "first": {each.name: each.first_cycle for each in engine.monitors},
                "asked": memory.asked,
                "moved": memory.moved,
                "most_reads": checker.most_reads,
                "most_writes": checker.most_writes,
                "after": str(after),
            }
        )
    report({"simulator": simulator(), "cases": results})
