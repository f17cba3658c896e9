"""The bench of registers: random reads and writes, each checked to the cycle against a model.

The model knows what a map says, and the cycles that `Registers` states; it watches the wires and
says before every edge what every port must be behind it.

Arguments: `map`, registers as `offset` and `fields`, these as `port`, `low`, `bits`, `access` and
`reset`; `phases`, each with `reads` (addresses), `writes` (address, data, strobes), `channels`
(pattern by channel), `seed`, and `reset_at`, a cycle or none; after a reset a phase starts
again. Results: `phases` with `error` (a text, or none), `cycles`, `reads`, `writes` and
`refused` (answers with SLVERR).
"""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from .axi import Channel, ChannelMonitor
from .cases import arguments, report
from .engine import PERIOD_STEPS, End, simulator
from .patterns import pattern
from .ports import Port, PortError
from .streams import StreamError

CHANNELS = {
    "aw": ("addr",),
    "w": ("data", "strb"),
    "b": ("resp",),
    "ar": ("addr",),
    "r": ("data", "resp"),
}
OUT = ("b", "r")
OKAY, SLVERR = 0, 2


class Model:
    """What the registers must be, and what answers must say."""

    def __init__(self, dut: Any, registers: list[dict[str, Any]], seed: int) -> None:
        self._random = random.Random(seed)
        self._registers = {each["offset"]: each["fields"] for each in registers}
        fields = [field for each in registers for field in each["fields"]]
        self._in = {f["port"]: Port(dut, f["port"]) for f in fields if f["access"] == "ro"}
        self._out = {f["port"]: Port(dut, f["port"]) for f in fields if f["access"] != "ro"}
        self._set = {
            f["port"]: Port(dut, f"{f['port']}_set") for f in fields if f["access"] == "w1c"
        }
        self._resets = {f["port"]: f["reset"] for f in fields if f["access"] != "ro"}
        self._pulses = [f["port"] for f in fields if f["access"] == "pulse"]
        self._ends = {
            name: (Port(dut, f"s_axi_{name}valid"), Port(dut, f"s_axi_{name}ready"))
            for name in CHANNELS
        }
        self._words = {
            f"{name}{signal}": Port(dut, f"s_axi_{name}{signal}")
            for name, signals in CHANNELS.items()
            for signal in signals
        }
        self.reset()

    def reset(self) -> None:
        self.values = dict(self._resets)
        self._driven = dict.fromkeys(self._in, 0)
        self._sets = dict.fromkeys(self._set, 0)
        for port in (*self._in.values(), *self._set.values()):
            port.write(0)
        # Taken address, and data with strobes; the address of a read; answers that must stand.
        self._address: int | None = None
        self._data: tuple[int, int] | None = None
        self._read: int | None = None
        self._answer: int | None = None
        self._reply: tuple[int, int] | None = None
        self.reads = self.writes = self.refused = 0

    def _moves(self, name: str) -> bool:
        valid, ready = self._ends[name]
        return bool(valid.read() and ready.read())

    def _expect(self, what: str, seen: int, wanted: int) -> None:
        if seen != wanted:
            raise StreamError(f"{what} is {seen:#x}, not {wanted:#x}")

    def step(self, cycle: int) -> None:
        """One rising edge: check what stands before it, and say what must stand behind it."""
        try:
            self._check()
        except StreamError as error:
            raise StreamError(f"cycle {cycle}: {error}") from None
        next_values = dict(self.values) | dict.fromkeys(self._pulses, 0)
        answer, reply = self._answer, self._reply
        if self._moves("b"):
            answer = None
        if self._moves("r"):
            reply = None
        if self._read is not None:
            reply = self._look(self._read)
            self.reads += 1
            self.refused += reply[1] == SLVERR
        ar = self._words["araddr"].read() if self._moves("ar") else None
        if self._address is not None and self._data is not None and self._answer is None:
            answer = self._write(self._address, *self._data, next_values)
            self.writes += 1
            self.refused += answer == SLVERR
            self._address = self._data = None
        if self._moves("aw"):
            if self._address is not None:
                raise StreamError(f"cycle {cycle}: an address is taken before the one before it")
            self._address = self._words["awaddr"].read()
        if self._moves("w"):
            if self._data is not None:
                raise StreamError(f"cycle {cycle}: data are taken before those before them")
            self._data = (self._words["wdata"].read(), self._words["wstrb"].read())
        for name, bits in self._sets.items():
            next_values[name] |= bits
        self.values, self._answer, self._reply, self._read = next_values, answer, reply, ar
        self._drive()

    def _check(self) -> None:
        for name, port in self._out.items():
            self._expect(name, port.read(), self.values[name])
        for channel, wanted in (("b", self._answer), ("r", self._reply)):
            self._expect(f"{channel}valid", self._ends[channel][0].read(), wanted is not None)
        # One of each is taken at a time, and nothing else is waited for.
        free = {
            "aw": self._address is None,
            "w": self._data is None,
            "ar": self._read is None and self._reply is None,
        }
        for channel, ready in free.items():
            self._expect(f"{channel}ready", self._ends[channel][1].read(), ready)
        if self._answer is not None:
            self._expect("bresp", self._words["bresp"].read(), self._answer)
        if self._reply is not None:
            self._expect("rdata", self._words["rdata"].read(), self._reply[0])
            self._expect("rresp", self._words["rresp"].read(), self._reply[1])

    def _look(self, address: int) -> tuple[int, int]:
        fields = self._registers.get(address & ~3)
        if fields is None:
            return 0, SLVERR
        word = 0
        for field in fields:
            if field["access"] == "ro":
                word |= self._driven[field["port"]] << field["low"]
            elif field["access"] != "pulse":
                word |= self.values[field["port"]] << field["low"]
        return word, OKAY

    def _write(self, address: int, data: int, strobes: int, after: dict[str, int]) -> int:
        fields = self._registers.get(address & ~3)
        if fields is None:
            return SLVERR
        enabled = sum(255 << 8 * byte for byte in range(4) if strobes >> byte & 1)
        for field in fields:
            port = field["port"]
            mask = (1 << field["bits"]) - 1
            bits, new = enabled >> field["low"] & mask, data >> field["low"] & mask
            if field["access"] == "rw":
                after[port] = after[port] & ~bits | new & bits
            elif field["access"] == "w1c":
                after[port] &= ~(new & bits)
            elif field["access"] == "pulse":
                after[port] = new & bits
        return OKAY

    def _drive(self) -> None:
        """Hardware's side: other values to read, and bits to set."""
        for name, port in self._in.items():
            if self._random.random() < 0.3:
                self._driven[name] = self._random.getrandbits(port.bits)
                port.write(self._driven[name])
        for name, port in self._set.items():
            bits = self._random.getrandbits(port.bits) if self._random.random() < 0.2 else 0
            if bits != self._sets[name]:
                port.write(bits)
            self._sets[name] = bits


async def _phase(dut: Any, told: dict[str, Any], phase: dict[str, Any]) -> dict[str, Any]:
    given: dict[str, Channel] = {}
    taken: dict[str, ChannelMonitor] = {}
    for number, (name, signals) in enumerate(CHANNELS.items()):
        moves = pattern(phase["channels"].get(name, "steady"), phase["seed"] * 8 + number)
        if name in OUT:
            taken[name] = ChannelMonitor(dut, f"s_axi_{name}", signals, moves)
        else:
            given[name] = Channel(dut, f"s_axi_{name}", signals, moves)
    ends: list[End] = [*given.values(), *taken.values()]
    model = Model(dut, told["map"], phase["seed"])
    edge = RisingEdge(dut.clk)
    result: dict[str, Any] = {"error": None}
    cycle = 0
    for reset_at in [phase["reset_at"], None] if phase["reset_at"] else [None]:
        dut.rst.value = 1
        model.reset()
        for end in ends:
            end.reset()
        for _ in range(2):
            await edge
        dut.rst.value = 0
        given["ar"].send(phase["reads"])
        given["aw"].send(address for address, _, _ in phase["writes"])
        given["w"].send(data | strobes << 32 for _, data, strobes in phase["writes"])
        try:
            cycle = 0
            while cycle != reset_at and (
                taken["b"].count < len(phase["writes"]) or taken["r"].count < len(phase["reads"])
            ):
                await edge
                cycle += 1
                if cycle > phase["limit"]:
                    raise StreamError(f"no end after {cycle} cycles")
                model.step(cycle)
                for end in ends:
                    end.step(cycle)
        except (StreamError, PortError) as fault:
            result["error"] = str(fault)
            break
    counts = {"reads": model.reads, "writes": model.writes, "refused": model.refused}
    return {**result, "cycles": cycle, **counts}


@cocotb.test()
async def axi_lite(dut: Any) -> None:
    """Run every phase."""
    told = arguments()
    dut.rst.value = 1
    Clock(dut.clk, PERIOD_STEPS, "step").start(start_high=False)
    phases = [await _phase(dut, told, phase) for phase in told["phases"]]
    report({"simulator": simulator(), "phases": phases})
