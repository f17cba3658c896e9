"""Both ends of a stream: a driver that offers words, a monitor that takes and checks them.

A stream has the ports `x_valid`, `x_ready` and `x_data`. Several lanes are packed into them, lane 0
in the low bits; a word of a lane moves in a cycle in which both its bits are high. Both ends are
stepped once a cycle, at the rising edge of the clock: they read what stood before the edge, and
what they write stands after it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from .patterns import Pattern, Steady
from .ports import Joined, Port


class StreamError(AssertionError):
    """A stream broke its protocol."""


class _Stream:
    """What both ends share: the ports and a pattern for every lane."""

    def __init__(self, dut: Any, name: str, lanes: int, patterns: Sequence[Pattern] | None) -> None:
        self.name = name
        self.lanes = lanes
        self._valid, self._ready, self._data = self._ports(dut, name)
        bits = self._data.bits
        if self._valid.bits != lanes or self._ready.bits != lanes or bits % lanes:
            raise StreamError(
                f"{name} must have {lanes} lanes, and has {self._valid.bits} bits of valid,"
                f" {self._ready.bits} of ready and {bits} of data"
            )
        self.width = bits // lanes
        self._patterns = list(patterns or [Steady() for _ in range(lanes)])
        if len(self._patterns) != lanes:
            raise StreamError(
                f"{name} must have a pattern for each of {lanes} lanes, not {len(self._patterns)}"
            )

    def _ports(self, dut: Any, name: str) -> tuple[Port, Port, Port | Joined]:
        """Valid, ready and data of the stream."""
        return Port(dut, f"{name}_valid"), Port(dut, f"{name}_ready"), Port(dut, f"{name}_data")


class Driver(_Stream):
    """Offers words on the lanes of a stream, in order, as soon as a lane's pattern allows.

    A word that is offered stays until it is taken. A lane that offers nothing shows the complement
    of its last word, so that whoever reads data without a valid bit is seen.

    Attributes:
        taken: words taken since the last reset, by lane.
        first_cycle, last_cycle: when the first and the last word was taken; None before.
    """

    def __init__(
        self, dut: Any, name: str, lanes: int = 1, patterns: Sequence[Pattern] | None = None
    ) -> None:
        super().__init__(dut, name, lanes, patterns)
        self._queues: list[deque[int]] = [deque() for _ in range(lanes)]
        self.reset()

    def reset(self) -> None:
        """Forget every word and offer nothing."""
        for queue in self._queues:
            queue.clear()
        self._words = [0] * self.lanes
        self._offered = 0
        self.taken = [0] * self.lanes
        self.first_cycle: int | None = None
        self.last_cycle: int | None = None
        self._valid.write(0)
        self._data.write(0)

    def send(self, words: Iterable[int], lane: int = 0) -> None:
        """Append words, unsigned, to what a lane offers."""
        self._queues[lane].extend(words)

    @property
    def left(self) -> int:
        """Words not taken yet."""
        return sum(map(len, self._queues)) + self._offered.bit_count()

    def step(self, cycle: int) -> None:
        """One rising edge."""
        offered = self._offered
        taken = offered & self._ready.read() if offered else 0
        if taken:
            self.last_cycle = cycle
            if self.first_cycle is None:
                self.first_cycle = cycle
        elif offered.bit_count() == self.lanes:
            return
        changed = False
        for lane, queue in enumerate(self._queues):
            bit = 1 << lane
            if taken & bit:
                self.taken[lane] += 1
                offered ^= bit
            elif offered & bit:
                continue
            if queue and self._patterns[lane].go():
                self._words[lane] = queue.popleft()
                offered |= bit
                changed = True
            elif taken & bit:
                self._words[lane] ^= (1 << self.width) - 1
                changed = True
        if changed:
            self._data.write(pack(self._words, self.width))
        if offered != self._offered:
            self._offered = offered
            self._valid.write(offered)

    def __str__(self) -> str:
        waiting = " (one waits for ready)" if self._offered else ""
        return f"{self.name}: {sum(self.taken)} words taken, {self.left} left{waiting}"


class Monitor(_Stream):
    """Takes words from the lanes of a stream when a lane's pattern allows, and checks the protocol.

    Attributes:
        words: what was taken since the last reset, by lane.
        first_cycle, last_cycle: when the first and the last word was taken; None before.
    """

    def __init__(
        self, dut: Any, name: str, lanes: int = 1, patterns: Sequence[Pattern] | None = None
    ) -> None:
        super().__init__(dut, name, lanes, patterns)
        self._always = all(isinstance(pattern, Steady) for pattern in self._patterns)
        self.reset()

    def reset(self) -> None:
        """Forget every word and take nothing."""
        self.words: list[list[int]] = [[] for _ in range(self.lanes)]
        self._held: dict[int, str] = {}
        self.first_cycle: int | None = None
        self.last_cycle: int | None = None
        self._takes = 0
        self._ready.write(0)

    @property
    def count(self) -> int:
        """Words taken."""
        return sum(map(len, self.words))

    def step(self, cycle: int) -> None:
        """One rising edge.

        Raises:
            StreamError: a word that waited changed or went away, or a bit that counts is unknown.
        """
        valid = self._valid.read()
        if valid or self._held:
            self._look(cycle, valid)
        if self._always:
            takes = (1 << self.lanes) - 1
        else:
            takes = sum(pattern.go() << lane for lane, pattern in enumerate(self._patterns))
        if takes != self._takes:
            self._takes = takes
            self._ready.write(takes)

    def _look(self, cycle: int, valid: int) -> None:
        text = self._data.text()
        end = len(text)
        held, self._held = self._held, {}
        for lane in range(self.lanes):
            start = end - self.width
            word = text[start:end]
            end = start
            here = f"{self.name}, lane {lane}, cycle {cycle}"
            if not valid >> lane & 1:
                if lane in held:
                    raise StreamError(f"{here}: a word went away before it was taken")
                continue
            if held.get(lane, word) != word:
                raise StreamError(f"{here}: a word changed before it was taken")
            if not self._takes >> lane & 1:
                self._held[lane] = word
                continue
            try:
                self.words[lane].append(int(word, 2))
            except ValueError:
                raise StreamError(f"{here}: a word has unknown bits, {word}") from None
            self.last_cycle = cycle
            if self.first_cycle is None:
                self.first_cycle = cycle

    def __str__(self) -> str:
        waiting = " (one waits)" if self._held else ""
        return f"{self.name}: {self.count} words taken{waiting}"


def pack(words: Sequence[int], width: int) -> int:
    """Words of `width` bits in one, the first in the low bits."""
    packed = 0
    for word in reversed(words):
        packed = packed << width | word
    return packed
