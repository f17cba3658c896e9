"""A memory behind AXI4: latency, idle cycles and backpressure on every channel, and errors."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .bandwidth import Bandwidth
from .patterns import Steady, pattern
from .ports import Joined, Port
from .streams import Driver, Monitor, StreamError

MASTER = "m_axi"

CHANNELS = {
    "ar": {"addr": 64, "len": 8},
    "r": {"data": 0, "resp": 2, "last": 1},
    "aw": {"addr": 64, "len": 8},
    "w": {"data": 0, "strb": 0, "last": 1},
    "b": {"resp": 2},
}
"""What the memory reads and writes of each channel, the first in the low bits of a word."""


class Channel(Driver):
    """Offers words on an AXI channel, of which `signals` are the parts."""

    def __init__(self, dut: Any, name: str, signals: Sequence[str], idle: Any) -> None:
        self._signals = signals
        super().__init__(dut, name, 1, [idle])

    def _ports(self, dut: Any, name: str) -> tuple[Port, Port, Port | Joined]:
        return channel_ports(dut, name, self._signals)


class ChannelMonitor(Monitor):
    """Takes words from an AXI channel, of which `signals` are the parts."""

    def __init__(self, dut: Any, name: str, signals: Sequence[str], backpressure: Any) -> None:
        self._signals = signals
        super().__init__(dut, name, 1, [backpressure])

    def _ports(self, dut: Any, name: str) -> tuple[Port, Port, Port | Joined]:
        return channel_ports(dut, name, self._signals)


def channel_ports(dut: Any, name: str, signals: Sequence[str]) -> tuple[Port, Port, Joined]:
    """Valid, ready and the joined signals of the channel `name`, such as `m_axi_ar`."""
    payload = Joined(name, [Port(dut, f"{name}{signal}") for signal in signals])
    return Port(dut, f"{name}valid"), Port(dut, f"{name}ready"), payload


@dataclass(frozen=True, kw_only=True)
class MemoryCase:
    """How a memory behaves in one case.

    Attributes:
        base: address of its first byte.
        latency: cycles from an address, or the last beat of a write, to the first answer; 1 or
            more.
        channels: of each channel of `CHANNELS`, when it moves, as `patterns.pattern` reads it;
            "steady", if not given.
        errors: addresses from, to below, and the response that a beat or a write there gets; what
            is written with an error is lost.
        seed: of the patterns.
        bandwidth: beats, and the cycles in which so many move on R and W together; without it each
            of them moves by its pattern alone.
    """

    base: int = 0
    latency: int = 1
    channels: Mapping[str, str] = field(default_factory=dict)
    errors: Sequence[tuple[int, int, int]] = ()
    seed: int = 0
    bandwidth: Sequence[int] = ()


class Memory:
    """Serves the AXI4 ports `m_axi_...` of a design, as far as it has them, in order.

    Attributes:
        image: the bytes from `case.base` on.
        asked: cycle of every address that was taken, by channel.
        moved: cycle of every beat and answer that was taken, by channel.
    """

    def __init__(self, dut: Any, case: MemoryCase, image: bytes) -> None:
        self.case = case
        self._first = image
        self.reads, self.writes = (hasattr(dut, f"{MASTER}_{name}valid") for name in ("ar", "aw"))
        self._bandwidth = Bandwidth(*case.bandwidth) if case.bandwidth else None
        self._monitors: dict[str, ChannelMonitor] = {}
        self._drivers: dict[str, Channel] = {}
        for number, (name, signals) in enumerate(CHANNELS.items()):
            if not (self.reads if name in ("ar", "r") else self.writes):
                continue
            text = case.channels.get(name, "steady")
            moves = Steady() if text == "steady" else pattern(text, case.seed * 8 + number)
            if self._bandwidth and name in ("r", "w"):
                moves = self._bandwidth.reads if name == "r" else self._bandwidth.writes
            if name in ("r", "b"):
                self._drivers[name] = Channel(dut, f"{MASTER}_{name}", list(signals), moves)
            else:
                self._monitors[name] = ChannelMonitor(dut, f"{MASTER}_{name}", list(signals), moves)
        self._address_bits = len(getattr(dut, f"{MASTER}_{'ar' if self.reads else 'aw'}addr"))
        self._data_bits = len(getattr(dut, f"{MASTER}_{'r' if self.reads else 'w'}data"))
        self.reset()

    def reset(self) -> None:
        """Forget all that is under way, and what was written."""
        self.image = bytearray(self._first)
        for monitor in self._monitors.values():
            monitor.reset()
        for driver in self._drivers.values():
            driver.reset()
        self.asked: dict[str, list[int]] = {"ar": [], "aw": []}
        self.moved: dict[str, list[int]] = {"r": [], "w": [], "b": []}
        # What is to be answered, and from which cycle on.
        self._due: dict[str, deque[tuple[int, int]]] = {"r": deque(), "b": deque()}
        if self._bandwidth:
            self._bandwidth.reset()
        self._bursts: deque[tuple[int, int]] = deque()
        self._beats: deque[int] = deque()

    @property
    def under_way(self) -> bool:
        """Whether something was asked for and not answered."""
        return any(self._due.values()) or any(driver.left for driver in self._drivers.values())

    def step(self, cycle: int) -> None:
        """One rising edge."""
        if self._bandwidth:
            due = self._due["r"]
            driver = self._drivers.get("r")
            waits = bool(due and due[0][0] <= cycle + 1) or bool(driver and driver.left)
            self._bandwidth.step(waits)
        for name, monitor in self._monitors.items():
            monitor.step(cycle)
            for word in monitor.words[0]:
                getattr(self, f"_take_{name}")(word, cycle)
            monitor.words[0].clear()
        for name, driver in self._drivers.items():
            due = self._due[name]
            while due and due[0][0] <= cycle + 1:
                driver.send([due.popleft()[1]])
            before = driver.taken[0]
            driver.step(cycle)
            self.moved[name] += [cycle] * (driver.taken[0] - before)

    def _take_ar(self, word: int, cycle: int) -> None:
        self.asked["ar"].append(cycle)
        address, beats = self._split(word)
        size = self._data_bits // 8
        for beat in range(beats):
            at = address + beat * size
            data = int.from_bytes(self.image[self._index(at)], "little")
            response = self._response(at, at + size)
            last = int(beat == beats - 1)
            packed = data | response << self._data_bits | last << self._data_bits + 2
            self._due["r"].append((cycle + self.case.latency, packed))

    def _take_aw(self, word: int, cycle: int) -> None:
        self.asked["aw"].append(cycle)
        self._bursts.append(self._split(word))
        self._write(cycle)

    def _take_w(self, word: int, cycle: int) -> None:
        self.moved["w"].append(cycle)
        if self._bandwidth:
            self._bandwidth.move()
        self._beats.append(word)
        self._write(cycle)

    def _write(self, cycle: int) -> None:
        """Write the bursts whose address and beats are there."""
        size = self._data_bits // 8
        while self._bursts and len(self._beats) >= self._bursts[0][1]:
            address, beats = self._bursts.popleft()
            response = self._response(address, address + beats * size)
            for beat in range(beats):
                word = self._beats.popleft()
                index = self._index(address + beat * size)
                data = (word & (1 << self._data_bits) - 1).to_bytes(size, "little")
                for byte in range(size):
                    if word >> self._data_bits + byte & 1 and not response:
                        self.image[index.start + byte] = data[byte]
            self._due["b"].append((cycle + self.case.latency, response))

    def _split(self, word: int) -> tuple[int, int]:
        return word & (1 << self._address_bits) - 1, (word >> self._address_bits & 255) + 1

    def _index(self, address: int) -> slice:
        start = address - self.case.base
        if not 0 <= start <= len(self.image) - self._data_bits // 8:
            raise StreamError(f"address {address:#x} lies outside of the memory")
        return slice(start, start + self._data_bits // 8)

    def _response(self, start: int, end: int) -> int:
        """That of the first range of errors that any of these addresses lies in."""
        hits = (code for low, high, code in self.case.errors if low < end and start < high)
        return next(hits, 0)

    def __str__(self) -> str:
        return "; ".join(map(str, (*self._monitors.values(), *self._drivers.values())))
