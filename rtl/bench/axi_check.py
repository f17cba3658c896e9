"""Checks the AXI4 ports of a master in every cycle, from the wires alone.

The rules are those of the AMBA AXI protocol specification (ARM IHI 0022), and those that our
masters promise beyond it. Nothing here is shared with what drives the ports.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from .ports import Port
from .streams import StreamError

PAGE = 4096
CHANNELS = {
    "ar": ("addr", "len", "size", "burst", "lock", "cache", "prot", "qos"),
    "r": ("data", "resp", "last"),
    "aw": ("addr", "len", "size", "burst", "lock", "cache", "prot", "qos"),
    "w": ("data", "strb", "last"),
    "b": ("resp",),
}
OURS = ("ar", "aw", "w")


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a master promises: beats of a burst, and bursts under way, at most."""

    burst_beats: int
    outstanding: int


class _Wires:
    """One channel: its ports, and what waits on it."""

    def __init__(self, dut: Any, name: str) -> None:
        self.name = name
        self._valid = Port(dut, f"m_axi_{name}valid")
        self._ready = Port(dut, f"m_axi_{name}ready")
        self._signals = {each: Port(dut, f"m_axi_{name}{each}") for each in CHANNELS[name]}
        self.reset()

    def reset(self) -> None:
        self._waits: dict[str, str] | None = None
        self.ready = 0
        self.valid = 0

    def step(self) -> dict[str, int] | None:
        """What moves at this edge."""
        self.valid, self.ready = self._valid.read(), self._ready.read()
        waited = self._waits
        if not self.valid:
            if waited is not None:
                raise StreamError(f"{self.name}: valid fell before ready")
            return None
        texts = {each: port.text() for each, port in self._signals.items()}
        if waited is not None and waited != texts:
            changed = [each for each in texts if texts[each] != waited[each]]
            raise StreamError(f"{self.name}: {', '.join(changed)} changed before ready")
        self._waits = None if self.ready else texts
        try:
            found = {each: int(text, 2) for each, text in texts.items()}
        except ValueError:
            raise StreamError(f"{self.name}: unknown bits, {texts}") from None
        return found if self.ready else None


class Checker:
    """Watches the channels that a design has.

    Attributes:
        most_reads, most_writes: bursts under way at once, at most, since the last reset.
        stalled: cycles in which R had a beat and the master did not take it.
        gaps: cycles inside a burst in which W had no beat to offer.
    """

    def __init__(self, dut: Any, rules: Rules) -> None:
        self.rules = rules
        names = [name for name in CHANNELS if hasattr(dut, f"m_axi_{name}valid")]
        self._wires = {name: _Wires(dut, name) for name in names}
        data = "m_axi_rdata" if "r" in names else "m_axi_wdata"
        self._bytes = len(getattr(dut, data)) // 8
        self.reset()

    def reset(self) -> None:
        """Forget everything; the next step is the first one after reset."""
        for wires in self._wires.values():
            wires.reset()
        self._reads: deque[int] = deque()
        # Beats of each burst that AW has offered and W not ended; bursts to be answered.
        self._asked: deque[int] = deque()
        self._offered = False
        self._sent = 0
        self._writes = self._whole = 0
        self._fresh = True
        self.most_reads = self.most_writes = self.stalled = self.gaps = 0

    def step(self, cycle: int) -> None:
        """One rising edge.

        Raises:
            StreamError: a rule is broken.
        """
        try:
            moved = {name: wires.step() for name, wires in self._wires.items()}
            if self._fresh and any(self._wires[name].valid for name in OURS if name in moved):
                raise StreamError("valid is high in reset")
            self._fresh = False
            if "ar" in moved:
                self._read(moved["ar"], moved["r"])
            if "aw" in moved:
                self._write(moved["aw"], moved["w"], moved["b"])
        except StreamError as error:
            raise StreamError(f"AXI, cycle {cycle}: {error}") from None

    def _address(self, name: str, word: dict[str, int]) -> int:
        """Check a burst; its beats."""
        beats = word["len"] + 1
        if beats > self.rules.burst_beats:
            raise StreamError(f"{name}: {beats} beats, more than {self.rules.burst_beats}")
        if 1 << word["size"] != self._bytes:
            raise StreamError(f"{name}: beats of {1 << word['size']} bytes, not {self._bytes}")
        if word["burst"] != 1:
            raise StreamError(f"{name}: burst type {word['burst']}, not INCR")
        if word["addr"] % self._bytes:
            raise StreamError(f"{name}: address {word['addr']:#x} is not aligned")
        if word["addr"] // PAGE != (word["addr"] + beats * self._bytes - 1) // PAGE:
            raise StreamError(f"{name}: {beats} beats from {word['addr']:#x} cross 4 KiB")
        if (word["lock"], word["cache"], word["prot"], word["qos"]) != (0, 3, 0, 0):
            raise StreamError(f"{name}: not a plain access, {word}")
        return beats

    def _read(self, asked: dict[str, int] | None, beat: dict[str, int] | None) -> None:
        if self._wires["r"].valid and not self._wires["r"].ready:
            self.stalled += 1
            raise StreamError("r: stalled, though every burst was to have room")
        if beat is not None:
            if not self._reads:
                raise StreamError("r: a beat that nobody asked for")
            self._reads[0] -= 1
            if beat["last"] != (self._reads[0] == 0):
                raise StreamError("r: last at the wrong beat")
            if beat["last"]:
                self._reads.popleft()
        if asked is not None:
            self._reads.append(self._address("ar", asked))
        self.most_reads = max(self.most_reads, len(self._reads))
        if len(self._reads) > self.rules.outstanding:
            raise StreamError(f"ar: {len(self._reads)} bursts under way")

    def _write(
        self,
        asked: dict[str, int] | None,
        beat: dict[str, int] | None,
        answer: dict[str, int] | None,
    ) -> None:
        wires = self._wires["aw"]
        if wires.valid and not self._offered:
            word = {each: port.read() for each, port in wires._signals.items()}
            self._asked.append(self._address("aw", word))
        self._offered = bool(wires.valid) and asked is None
        if answer is not None:
            if not self._whole:
                raise StreamError("b: an answer to no burst")
            self._whole -= 1
            self._writes -= 1
        w = self._wires["w"]
        if w.valid and not self._asked:
            raise StreamError("w: a beat before its address")
        if self._sent and not w.valid:
            self.gaps += 1
            raise StreamError("w: a gap inside a burst, though all of it was to be there")
        if beat is not None:
            self._beat(beat)
        if asked is not None:
            self._writes += 1
        self.most_writes = max(self.most_writes, self._writes)
        if self._writes > self.rules.outstanding:
            raise StreamError(f"aw: {self._writes} bursts under way")

    def _beat(self, beat: dict[str, int]) -> None:
        self._sent += 1
        if beat["last"] != (self._sent == self._asked[0]):
            raise StreamError(f"w: last is {beat['last']} at beat {self._sent} of {self._asked[0]}")
        strobes = beat["strb"]
        low = strobes & -strobes
        if not strobes or (strobes + low) & strobes:
            raise StreamError(f"w: strobes {strobes:b} are not one run of bytes")
        if beat["last"]:
            self._asked.popleft()
            self._sent = 0
            self._whole += 1

    @property
    def quiet(self) -> bool:
        """Whether nothing is under way."""
        return not (self._reads or self._asked or self._writes or self._whole)

    def __str__(self) -> str:
        return f"AXI: {len(self._reads)} reads and {self._writes} writes under way"
