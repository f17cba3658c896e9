"""The bench of a training run: the host's own code drives a whole chip.

Arguments: `hardware`, the text of the accelerator's TOML; `example`, the attributes of
`nofm.rtl.program.training.Example`; `steps`; `memory`, the attributes of `MemoryCase`; `rules`, the
attributes of `Rules`; `limit`, cycles that a program may take at most; `watchdog`, in cycles.
Results: the simulator, and for each step `loss`, the counters `forward` and `backward`, and
`memory`, a file with all tensors after it; or `error`, after which nothing more is run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cocotb

from nofm.dataflow.accelerator import from_toml
from nofm.rtl.driver import ChipError, Driver, TimeOut
from nofm.rtl.program.sizes import HALF_BYTES
from nofm.rtl.program.training import DrivenMachine, Example, memory_bytes, program_at, train

from .cases import arguments, report
from .chip_host import POLL_CYCLES, SECOND, ChipHost
from .engine import simulator


class Training(ChipHost):
    """A training run."""

    def __init__(self, dut: Any, told: dict[str, Any]) -> None:
        self.accelerator = from_toml(told["hardware"], "the accelerator")
        self.example = Example(**told["example"])
        self.programs = self.example.step(self.accelerator, told["memory"].get("base", 0))
        super().__init__(dut, told, bytes(memory_bytes(self.programs)))

    def go(self) -> None:
        """What a host does."""
        told, step = self.told, self.programs
        driver = Driver(self.board, self.accelerator, poll_seconds=POLL_CYCLES * SECOND)
        driver.reset()
        driver.allow_writes(step.base, step.base + HALF_BYTES * step.elements)
        driver.set_watchdog(told["watchdog"])
        machine = DrivenMachine(driver, program_at(step), told["limit"] * SECOND)
        try:
            for number, each in enumerate(train(machine, self.example, step, told["steps"])):
                path = Path(f"memory{number}.bin").resolve()
                path.write_bytes(each.memory.tobytes())
                found = {"loss": each.loss, "memory": str(path)}
                self.results.append({**found, "forward": each.forward, "backward": each.backward})
        except (ChipError, TimeOut) as error:
            self.results.append({"error": str(error)})


@cocotb.test()
async def chip_training(dut: Any) -> None:
    """All steps."""
    results = await Training(dut, arguments()).run()
    report({"simulator": simulator(), "steps": results})
