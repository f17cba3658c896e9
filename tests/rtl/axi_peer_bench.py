"""A bench that another project's models make: cocotbext-axi's memory and its AXI4-Lite master.

Arguments: `unit` ("read", "write" or "registers"), and for masters `image` and `after`, files of
the memory's bytes before and after, `base`, `commands` and `words`: those to give, or to expect.
Results: `ok` and `differences`.
"""

from __future__ import annotations

import itertools
import logging
import random
import warnings
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from cocotbext.axi import (
        AxiLiteBus,
        AxiLiteMaster,
        AxiRamRead,
        AxiRamWrite,
        AxiReadBus,
        AxiWriteBus,
    )

from nofm.rtl.bench.cases import arguments, report
from nofm.rtl.bench.streams import Driver, Monitor


def pauses(seed: int) -> Any:
    """Whether a channel pauses, cycle by cycle."""
    rng = random.Random(seed)
    return (rng.random() < 0.4 for _ in itertools.count())


@cocotb.test()
async def peer(dut: Any) -> None:
    """One job of each kind, with pauses on all channels."""
    logging.getLogger("cocotb").setLevel(logging.WARNING)
    told = arguments()
    dut.rst.value = 1
    Clock(dut.clk, 10, "step").start(start_high=False)
    found = await (registers(dut) if told["unit"] == "registers" else master(dut, told))
    report({"ok": not found, "differences": found[:8]})


async def master(dut: Any, told: dict[str, Any]) -> list[str]:
    image = np.load(told["image"]).tobytes()
    reads = told["unit"] == "read"
    dut.clear_error.value = 0
    if reads:
        bus = AxiReadBus.from_prefix(dut, "m_axi")
        memory = AxiRamRead(bus, dut.clk, dut.rst, size=len(image))
        channels = [memory.ar_channel, memory.r_channel]
    else:
        bus = AxiWriteBus.from_prefix(dut, "m_axi")
        memory = AxiRamWrite(bus, dut.clk, dut.rst, size=len(image))
        channels = [memory.aw_channel, memory.w_channel, memory.b_channel]
    for number, channel in enumerate(channels):
        channel.set_pause_generator(pauses(number))
    memory.write(0, image)
    command, done = Driver(dut, "command"), 0
    stream = Monitor(dut, "out") if reads else Driver(dut, "in")
    for _ in range(4):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    command.send(told["commands"])
    if isinstance(stream, Driver):
        stream.send(told["words"])
    for cycle in range(20_000):
        await RisingEdge(dut.clk)
        command.step(cycle)
        stream.step(cycle)
        done += int(dut.done.value)
        if done == len(told["commands"]) and (not reads or stream.count == len(told["words"])):
            break
    if isinstance(stream, Monitor):
        seen = stream.words[0]
        wanted = told["words"]
        different = [
            k for k, pair in enumerate(zip(seen, wanted, strict=False)) if pair[0] != pair[1]
        ]
        found = [f"word {k}: {seen[k]:x}, not {wanted[k]:x}" for k in different]
        return found + ([] if len(seen) == len(wanted) else [f"{len(seen)} words"])
    after = np.load(told["after"]).tobytes()
    seen_after = bytes(memory.read(0, len(image)))
    found = [f"byte {k:#x}" for k in range(len(after)) if seen_after[k] != after[k]]
    return found + ([] if done == len(told["commands"]) else [f"{done} commands done"])


async def registers(dut: Any) -> list[str]:
    """Reads and writes at once, by the names of `test_axi_registers`' map."""
    bus = AxiLiteBus.from_prefix(dut, "s_axi")
    lite = AxiLiteMaster(bus, dut.clk, dut.rst)
    ends = [lite.write_if, lite.read_if]
    channels = [ends[0].aw_channel, ends[0].w_channel, ends[0].b_channel]
    for number, channel in enumerate([*channels, ends[1].ar_channel, ends[1].r_channel]):
        channel.set_pause_generator(pauses(number))
    for name in ("events_seen_set", "last_error_set"):
        getattr(dut, name).value = 0
    dut.status_busy.value, dut.status_level.value, dut.last_count.value = 1, 0x1ABCD, 0x54321
    for _ in range(4):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    for _ in range(2):
        await RisingEdge(dut.clk)
    wanted = {
        0x0: 5 << 17,
        0x4: 1 | 0x1ABCD << 9,
        0x8: 9 << 5,
        0xC: 0xDEADBEEF,
        0x40: 0x54321 << 12,
    }
    found = []

    async def expect(address: int, word: int, response: int = 0) -> None:
        answer = await lite.read(address, 4)
        seen = int.from_bytes(answer.data, "little")
        if (seen, int(answer.resp)) != (word, response):
            found.append(f"{address:#x}: {seen:#x} with {answer.resp!r}, not {word:#x}")

    for address, word in wanted.items():
        await expect(address, word)
    for address, data in ((0xD, b"\x12\x34"), (0x8, b"\xff\xff\xff\xff"), (0x2, b"\x03")):
        await lite.write(address, data)
    for address, word in ((0xC, 0xDE3412EF), (0x8, 0), (0x0, 3 << 16)):
        await expect(address, word)
    refused = await lite.write(0x10, b"\1\2\3\4")
    if int(refused.resp) != 2:
        found.append(f"a write to 0x10 gives {refused.resp!r}")
    await expect(0x10, 0, 2)
    return found
