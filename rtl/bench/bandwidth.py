"""A memory's bandwidth, which its reads and its writes share."""

from __future__ import annotations

from .patterns import Pattern


class Bandwidth:
    """Beats that may move in all, on both data channels together; reads come first.

    Args:
        beats, cycles: so many beats in so many cycles, a whole number of each.
    """

    def __init__(self, beats: int, cycles: int) -> None:
        if beats < 1 or cycles < beats:
            raise ValueError(
                f"a bandwidth must be from 1 beat in some cycles to one in each, not {beats} in "
                f"{cycles}"
            )
        self._beats, self._cycles = beats, cycles
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self._credit = 0
        self._reads_wait = False

    def step(self, reads_wait: bool) -> None:
        """A cycle begins, in which a read's beat waits or none does. What is not used is lost."""
        self._credit = min(self._credit + self._beats, self._cycles + self._beats - 1)
        self._reads_wait = reads_wait

    def move(self) -> None:
        """A beat moves."""
        self._credit -= self._cycles

    @property
    def reads(self) -> Pattern:
        """When a beat that is read may be offered, which counts as moved."""
        return _Reads(self)

    @property
    def writes(self) -> Pattern:
        """When a beat that is written may be taken."""
        return _Writes(self)

    def allows(self, *, read: bool) -> bool:
        """Whether a beat may move in the next cycle."""
        return self._credit >= self._cycles and (read or not self._reads_wait)


class _Reads(Pattern):
    def __init__(self, bandwidth: Bandwidth) -> None:
        self._bandwidth = bandwidth

    def go(self) -> bool:
        if not self._bandwidth.allows(read=True):
            return False
        self._bandwidth.move()
        return True


class _Writes(Pattern):
    def __init__(self, bandwidth: Bandwidth) -> None:
        self._bandwidth = bandwidth

    def go(self) -> bool:
        return self._bandwidth.allows(read=False)
