"""The bench of a whole chip: its driver runs programs on it, one after the other.

Arguments: `hardware`, the text of the accelerator's TOML; `memory`, the attributes of
`MemoryCase`; `rules`, the attributes of `Rules`; `image`, a file with the memory's bytes from
`memory.base` on; `window`, addresses from and to below which programs may write; `watchdog`, in
cycles; `runs`, each with `program`, a file, `at`, where it goes, `limit`, cycles that it may take
at most, and `write`, pairs of an address and a file that go there before. A run may have a
`memory`, `window` and `watchdog` of its own, and `reset_after`, cycles from its start to a reset
that ends it.

Results: the simulator, and for each run the chip's counters and `after`, a file with the memory's
bytes then; and, where it did not end as it should, `error`: `name`, one of `FAULTS`, "timeout" or
"reset"; `descriptor`, `address` and `detail` of the first; and `text`. The chip is reset after one,
which must leave nothing under way on the bus, and goes on with the next run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cocotb
from cocotb.task import resume

from nofm.dataflow.accelerator import from_toml
from nofm.rtl.driver import ChipError, Driver, TimeOut
from nofm.rtl.program.descriptors import WORD_BYTES

from .axi import Memory, MemoryCase
from .cases import arguments, report
from .chip_host import POLL_CYCLES, SECOND, ChipHost
from .engine import simulator
from .streams import StreamError


class Runs(ChipHost):
    """All runs."""

    def __init__(self, dut: Any, told: dict[str, Any]) -> None:
        super().__init__(dut, told, Path(told["image"]).read_bytes())

    async def _behave(self, case: MemoryCase) -> None:
        """Another memory with the same bytes, while nothing is under way."""
        self.memory = Memory(self.dut, case, bytes(self.memory.image))

    def go(self) -> None:
        """What a host does."""
        told = self.told
        accelerator = from_toml(told["hardware"], "the accelerator")
        driver = Driver(self.board, accelerator, poll_seconds=POLL_CYCLES * SECOND)
        driver.reset()
        for number, run in enumerate(told["runs"]):
            if told["memory"] != (memory := {**told["memory"], **run.get("memory", {})}):
                resume(self._behave)(MemoryCase(**memory))
            driver.allow_writes(*run.get("window", told["window"]))
            driver.set_watchdog(run.get("watchdog", told["watchdog"]))
            for address, path in run["write"]:
                self.board.write(address, Path(path).read_bytes())
            found = self._run(driver, run)
            if told["memory"] != memory:
                resume(self._behave)(MemoryCase(**told["memory"]))
            after = Path(f"after{number}.bin").resolve()
            after.write_bytes(self.image)
            self.results.append({**found, "after": str(after)})

    def _run(self, driver: Driver, run: dict[str, Any]) -> dict[str, Any]:
        """One run, and a reset if it does not end as it should."""
        program = Path(run["program"]).read_bytes()
        told: dict[str, Any] = {}
        try:
            driver.place(program, run["at"])
            driver.start(run["at"], len(program) // WORD_BYTES)
            if "reset_after" in run:
                self.board.pause(run["reset_after"] * SECOND)
                # Before anything else, for reading counters takes hundreds of cycles.
                self._reset(driver, run)
                told = {"name": "reset", "text": "the host has reset the chip"}
            else:
                driver.wait(run["limit"] * SECOND)
        except ChipError as error:
            told = {name: getattr(error, name) for name in ("name", "descriptor", "address")}
            told |= {"detail": error.detail, "text": str(error)}
        except TimeOut as error:
            told = {"name": "timeout", "text": str(error)}
        counters = driver.counters()
        if not told:
            return {"counters": counters}
        self._reset(driver, run)
        return {"error": told, "counters": counters}

    def _reset(self, driver: Driver, run: dict[str, Any]) -> None:
        """A reset, which is over when memory owes nothing.

        Raises:
            StreamError: it is over before.
        """
        driver.reset(run["limit"] * SECOND)
        if not self.checker.quiet:
            raise StreamError(f"{self.checker} behind a reset")


@cocotb.test()
async def chip_replay(dut: Any) -> None:
    """Every run."""
    results = await Runs(dut, arguments()).run()
    report({"simulator": simulator(), "runs": results})
