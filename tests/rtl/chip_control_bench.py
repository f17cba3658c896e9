"""A bench for the chip's control: a driver in a thread, an AXI4 memory, units that are stubs.

Each scenario is a function that gets a `Driver`'s parts and tells what it found. It runs in a
thread, as on a host; the memory, the units and the checks of the bus are stepped in every cycle.

Arguments: `scenarios`, names; `base`, `image` (a file), `program` (bytes as text), `units`,
`rules`, `command` (fields of a write's command), `lanes`. Results: by scenario what it
tells.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.task import bridge
from cocotb.triggers import RisingEdge

from nofm.dataflow.accelerator import load
from nofm.kernels.errors import InputError
from nofm.rtl.bench.axi import Memory, MemoryCase
from nofm.rtl.bench.axi_check import Checker, Rules
from nofm.rtl.bench.board import SimulatedBoard
from nofm.rtl.bench.cases import arguments, report
from nofm.rtl.bench.engine import PERIOD_STEPS, simulator
from nofm.rtl.bench.patterns import pattern
from nofm.rtl.bench.ports import Port
from nofm.rtl.bench.streams import Driver as Stream
from nofm.rtl.bench.streams import Monitor
from nofm.rtl.driver import ChipError, Driver, TimeOut

POLL_SECONDS = 16e-9
PROGRAM_AT = 0x1040
SAT = load("sat-4x4")


class World:
    """What surrounds the chip in one scenario.

    Attributes:
        busy: cycles for which each unit is busy with a job, at most; by unit, or `longest`.
        stuck: units that never end a job, or (`deaf`) never take one.
        silent: whether units' work is no progress for the watchdog.
    """

    def __init__(self, dut: Any, told: dict[str, Any], scenario: str) -> None:
        self.dut = dut
        self.told = told
        self.units: list[str] = told["units"]
        self.program = bytes.fromhex(told["program"])
        self.scenario = scenario
        self.longest, self.silent = 20, False
        self.stuck: set[str] = set()
        self.deaf: set[str] = set()
        self.fails: dict[str, int] = {}
        case = MEMORIES.get(scenario, MemoryCase(base=told["base"], latency=12))
        image = Path(told["image"]).read_bytes()
        self.memory = Memory(dut, case, image)
        self.checker = Checker(dut, Rules(**told["rules"]))
        self.command, self.data = Stream(dut, "write_command"), Stream(dut, "write_in")
        self.board = SimulatedBoard(dut, self.memory, told["base"], 1e-9)
        self.driver: Driver
        self.refused = self.written = self.cycles = self.reads = 0
        self._ports = {
            name: Port(dut, name)
            for name in ("units_reset", "refused", "write_done", "irq", "quiet", "drain")
        }
        self._offers = [Port(dut, f"m_axi_{name}valid") for name in ("ar", "aw")]
        self._takes = [Port(dut, f"m_axi_{name}ready") for name in ("ar", "aw")]
        self._shown = [False, False]
        self._busy, self._moves = Port(dut, "unit_busy"), Port(dut, "unit_moves")
        self._error = Port(dut, "unit_error")
        self._rng = random.Random(scenario)
        self.interrupts = 0
        self._forget()

    def _forget(self) -> None:
        self._monitors = [
            Monitor(self.dut, name, 1, [pattern("random:0.5", number)])
            for number, name in enumerate(self.units)
        ]
        self._ready = [Port(self.dut, f"{name}_ready") for name in self.units]
        self._ends = [0] * len(self.units)
        self.jobs: list[list[int]] = [[] for _ in self.units]
        for port in (self._busy, self._moves, self._error):
            port.write(0)

    def step(self) -> None:
        """One rising edge."""
        self.cycles += 1
        self._look_at_offers()
        self.checker.step(self.cycles)
        self.memory.step(self.cycles)
        if self._ports["units_reset"].read():
            assert self._ports["quiet"].read(), "units are reset while the bus is not quiet"
            self._forget()
            self.command.reset()
            self.data.reset()
            return
        self.command.step(self.cycles)
        self.data.step(self.cycles)
        self.refused += self._ports["refused"].read()
        self.written += self._ports["write_done"].read()
        self.interrupts += self._ports["irq"].read()
        mask = errors = 0
        for number, (name, monitor) in enumerate(zip(self.units, self._monitors, strict=True)):
            if name in self.deaf:
                self._ready[number].write(0)
                continue
            monitor.step(self.cycles)
            if monitor.words[0]:
                self.jobs[number] += monitor.words[0]
                monitor.words[0].clear()
                self._ends[number] = self.cycles + self._rng.randint(1, self.longest)
                if self.fails.get(name) == len(self.jobs[number]):
                    errors |= 1 << number
                if name in self.stuck:
                    self._ends[number] = 1 << 60
            if self._ends[number] > self.cycles:
                mask |= 1 << number
        self._busy.write(mask)
        self._moves.write(0 if self.silent else mask)
        self._error.write(errors)

    def _look_at_offers(self) -> None:
        """While the bus is drained, no burst is asked for that was not before."""
        for number, (offer, take) in enumerate(zip(self._offers, self._takes, strict=True)):
            valid = bool(offer.read())
            assert not (self._ports["drain"].read() and valid and not self._shown[number]), "new"
            self._shown[number] = valid and not take.read()

    def open(self) -> Driver:
        """The chip's driver, after a look at what it drives."""
        self.driver = Driver(self.board, SAT, poll_seconds=POLL_SECONDS)
        return self.driver

    def error(self, program: bytes | None = None, **options: Any) -> dict[str, Any]:
        """Run a program that must stop; what is told of its error."""
        driver = self.open()
        for name, value in options.items():
            setattr(self, name, value)
        try:
            driver.run(self.program if program is None else program, PROGRAM_AT, 2e-5)
        except ChipError as found:
            jobs = sum(map(len, self.jobs))
            self.board.pause(3e-7)
            return {
                "name": found.name,
                "descriptor": found.descriptor,
                "address": found.address,
                "detail": found.detail,
                "text": str(found),
                "later": sum(map(len, self.jobs)) - jobs,
                "jobs": jobs,
            }
        return {"name": "none"}


def ends_well(world: World) -> dict[str, Any]:
    """A program, twice; counters as they stand, and again after a rest: nothing counts on."""
    driver = world.open()
    driver.enable_interrupts(done=True, error=True)
    first = driver.run(world.program, PROGRAM_AT)
    jobs = [list(each) for each in world.jobs]
    before = world.interrupts
    driver.start(PROGRAM_AT, len(world.program) // 8)
    driver.wait(interrupt=lambda _: bool(world.board.pause(2e-6)) or True)
    world.board.pause(1e-7)
    again = driver.counters()
    twice = [now[len(then) :] for now, then in zip(world.jobs, jobs, strict=True)]
    return {
        "jobs": jobs,
        "twice": twice,
        "first": first,
        "again": again,
        "still": driver.counters(),
        "interrupts": [before, world.interrupts],
        "accesses": world.board.accesses,
    }


def wrong_chip(world: World) -> dict[str, Any]:
    """The chip of another accelerator."""
    other = SAT.with_values(**{"array.rows": 2, "array.interleave": 3})
    try:
        Driver(world.board, other, poll_seconds=POLL_SECONDS)
    except InputError as error:
        return {"text": str(error)}
    return {}


def checksum(world: World) -> dict[str, Any]:
    """A flipped bit; then a reset, and a program that is sound."""
    broken = bytearray(world.program)
    broken[-1] ^= 16
    found = world.error(bytes(broken))
    driver = world.driver
    try:
        driver.start(PROGRAM_AT, 1)
    except ChipError as error:
        found["start"] = str(error)
    driver.reset()
    driver.run(world.program, PROGRAM_AT)
    return found


def random_bytes(world: World) -> dict[str, Any]:
    """Nothing but noise, again and again."""
    rng = random.Random(1)
    driver = world.open()
    names = []
    for _ in range(6):
        noise = bytearray(rng.randbytes(8 * rng.randint(1, 40)))
        noise[0] = 0xA7
        noise[1] = rng.choice([1, 2, 5, 7])
        try:
            driver.run(bytes(noise), PROGRAM_AT)
            names.append("none")
        except ChipError as error:
            names.append(error.name)
        driver.reset()
    return {"names": names}


def past_the_end(world: World) -> dict[str, Any]:
    """A program over the end of the address space."""
    driver = world.open()
    driver.start((1 << 40) - 16, 3)
    try:
        driver.wait()
    except ChipError as error:
        return {"name": error.name, "address": error.address, "reads": world.memory.asked["ar"]}
    return {}


def stuck(world: World) -> dict[str, Any]:
    """A unit that never ends, and says nothing: the watchdog; then a reset, which helps."""
    driver = world.open()
    driver.set_watchdog(300)
    found = world.error(stuck={"load_weights"}, silent=True)
    counters = driver.counters()
    world.stuck = set()
    driver.reset()
    driver.run(world.program, PROGRAM_AT)
    return {**found, "cycles": counters["cycles"]}


def deaf(world: World) -> dict[str, Any]:
    """A unit that takes no job."""
    world.open().set_watchdog(300)
    return world.error(deaf={"store"}, silent=True)


def patient(world: World) -> dict[str, Any]:
    """A unit that takes long, but moves: no error, and the watchdog stays quiet."""
    driver = world.open()
    driver.set_watchdog(50)
    world.longest = 400
    counters = driver.run(world.program, PROGRAM_AT)
    return {"cycles": counters["cycles"]}


def mute_memory(world: World) -> dict[str, Any]:
    """Memory that does not answer: no end without a watchdog, and no reset until it does."""
    driver = world.open()
    try:
        driver.run(world.program, PROGRAM_AT, 5e-7)
    except TimeOut as error:
        found = {"run": str(error)}
    try:
        driver.reset(5e-7)
    except TimeOut as error:
        found["reset"] = str(error)
    # Its latency passes.
    world.board.pause(2.5e-6)
    driver.reset()
    world.memory.case = MemoryCase(base=world.told["base"], latency=12)
    driver.run(world.program, PROGRAM_AT)
    return found


def read_error(world: World) -> dict[str, Any]:
    """Memory answers with an error: it counts more than what it gave."""
    return world.error()


def unit_error(world: World) -> dict[str, Any]:
    """A unit's second job is wrong."""
    return world.error(fails={"store": 2})


def _write(world: World, address: int, granules: int, tag: int = 0) -> None:
    """A run for the write master: granules of the value 0xBEEF."""
    bits = world.told["command"]
    word, at = 0, 0
    for name, value in (("address", address // 2), ("length", granules - 1), ("tag", tag)):
        word |= value << at
        at += bits[name]
    world.command.send([word])
    lanes = world.told["lanes"]
    full = sum(0xBEEF << 16 * lane for lane in range(lanes))
    world.data.send([full] * -(-granules // lanes))


def early_unit_error(world: World) -> dict[str, Any]:
    """The first job of all is wrong: nothing comes after it."""
    return world.error(fails={"load_activations": 1})


def first_error(world: World) -> dict[str, Any]:
    """Two writes outside of the window: the first one is told."""
    driver = world.open()
    for address in (0x5000, 0x6000):
        _write(world, address, 1)
    while world.refused < 2:
        world.board.pause(5e-8)
    try:
        driver.check()
    except ChipError as error:
        return {"address": error.address}
    return {}


def window(world: World) -> dict[str, Any]:
    """Writes inside, across both edges, and outside; those after them are done again."""
    driver = world.open()
    base = world.told["base"]
    first, limit = base + 0x4002, base + 0x4802
    driver.allow_writes(first, limit)
    before = world.board.read(base + 0x3000, 0x3000)
    found = []
    for address, granules in (
        (first, 1),
        (limit - 2, 1),
        (first, 1024),
        (first - 2, 1),
        (limit - 2, 2),
        (limit, 700),
        (first - 2, 1025 + 7),
        (base, 3),
        ((1 << 40) - 2, 10),
        (first + 64, 33),
    ):
        world.refused = world.written = 0
        _write(world, address, granules)
        while world.refused + world.written == 0:
            world.board.pause(5e-8)
        try:
            driver.check()
            error = None
        except ChipError as problem:
            error = [problem.name, problem.address]
            driver.reset()
        found.append([world.refused, world.written, error])
    after = world.board.read(base + 0x3000, 0x3000)
    changed = [i for i in range(len(before)) if before[i] != after[i]]
    return {"found": found, "changed": [base + 0x3000 + changed[0], base + 0x3000 + changed[-1]]}


def closed_window(world: World) -> dict[str, Any]:
    """After reset nothing may be written."""
    driver = world.open()
    _write(world, world.told["base"] + 0x4000, 5)
    while world.refused == 0:
        world.board.pause(5e-8)
    try:
        driver.check()
    except ChipError as error:
        return {"text": str(error), "written": world.written}
    return {}


def write_error(world: World) -> dict[str, Any]:
    """Memory refuses a write."""
    driver = world.open()
    driver.allow_writes(0, 1 << 40)
    _write(world, world.told["base"] + 0x5000, 8)
    while not world.written:
        world.board.pause(5e-8)
    try:
        driver.check()
    except ChipError as error:
        return {"text": str(error)}
    return {}


def resets(world: World) -> dict[str, Any]:
    """Resets at any moment of programs and writes; the bus keeps its rules, and work goes on."""
    driver = world.open()
    driver.allow_writes(0, 1 << 40)
    moments = 0
    for cycles in range(0, 260, 20):
        driver.place(world.program, PROGRAM_AT)
        _write(world, world.told["base"] + 0x4000, 600)
        driver.start(PROGRAM_AT, len(world.program) // 8)
        world.board.pause(cycles * 1e-9 + 1e-9)
        driver.reset()
        moments += 1
        assert driver.counters()["cycles"] > cycles // 4
    driver.run(world.program, PROGRAM_AT)
    world.written = 0
    _write(world, world.told["base"] + 0x4000, 40)
    while not world.written:
        world.board.pause(5e-8)
    data = world.board.read(world.told["base"] + 0x4000, 80)
    # It counts while a program is under way.
    world.stuck = {"store"}
    driver.start(PROGRAM_AT, len(world.program) // 8)
    world.written = 0
    _write(world, world.told["base"] + 0x4002, 40)
    while not world.written:
        world.board.pause(5e-8)
    written = driver.counters()["written_bytes"]
    return {"moments": moments, "right": data == b"\xef\xbe" * 40, "written": written}


def snapshots(world: World) -> dict[str, Any]:
    """Counters are read while all of them move."""
    driver = world.open()
    world.stuck = {"load_weights"}
    driver.place(world.program, PROGRAM_AT)
    driver.start(PROGRAM_AT, len(world.program) // 8)
    world.board.pause(4e-7)
    return {"first": driver.counters(), "again": driver.counters()}


PAUSING = dict.fromkeys(("ar", "r", "aw", "w", "b"), "random:0.6")
MEMORIES = {
    "mute_memory": MemoryCase(base=0x1000, latency=2000),
    "read_error": MemoryCase(base=0x1000, latency=5, errors=[(0x1080, 0x1090, 2)]),
    "write_error": MemoryCase(base=0x1000, latency=5, errors=[(0x6000, 0x6010, 3)]),
    "resets": MemoryCase(base=0x1000, latency=30, channels=PAUSING),
    "window": MemoryCase(base=0x1000, latency=3, channels=PAUSING),
}

SCENARIOS: dict[str, Callable[[World], dict[str, Any]]] = {
    each.__name__: each
    for each in (
        *(ends_well, wrong_chip, checksum, random_bytes, past_the_end, stuck, deaf, patient),
        *(mute_memory, read_error, unit_error, window, closed_window, write_error, resets),
        *(snapshots, early_unit_error, first_error),
    )
}


async def run_scenario(dut: Any, told: dict[str, Any], name: str) -> dict[str, Any]:
    dut.rst.value = 1
    world = World(dut, told, name)
    edge = RisingEdge(dut.clk)
    await edge
    await edge
    dut.rst.value = 0
    task = cocotb.start_soon(bridge(SCENARIOS[name])(world))
    while not task.done():
        await edge
        world.step()
        if world.cycles > 30_000:
            raise TimeOut(f"{name} has no end")
    found: dict[str, Any] = task.result()
    return found


@cocotb.test()
async def control(dut: Any) -> None:
    """Every scenario."""
    told = arguments()
    dut.rst.value = 1
    Clock(dut.clk, PERIOD_STEPS, "step").start(start_high=False)
    results = {name: await run_scenario(dut, told, name) for name in told["scenarios"]}
    report({"simulator": simulator(), "scenarios": results})
