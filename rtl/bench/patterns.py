"""When a stream moves: idle patterns of a driver, backpressure patterns of a monitor."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable


class Pattern(ABC):
    """Says, cycle by cycle, whether a lane may move."""

    @abstractmethod
    def go(self) -> bool:
        """Whether the lane may move in the next cycle; asked once a cycle at most."""


class Steady(Pattern):
    """Always moves: a source without idle cycles, a sink without backpressure."""

    def go(self) -> bool:
        return True


class Random(Pattern):
    """Moves with one probability in every cycle.

    Args:
        probability: of moving, above 0 and at most 1.
        seed: of the generator; the same seed gives the same cycles.
    """

    def __init__(self, probability: float, seed: int) -> None:
        if not 0 < probability <= 1:
            raise ValueError(f"a probability must be above 0 and at most 1, not {probability!r}")
        self._probability = probability
        self._random = random.Random(seed).random

    def go(self) -> bool:
        return self._random() < self._probability


class Bursts(Pattern):
    """Moves for some cycles, rests for some, and so on; lanes of other seeds are out of step.

    Args:
        moves: cycles of a burst, 1 or more.
        rests: cycles between bursts.
        seed: shifts the beginning.
    """

    def __init__(self, moves: int, rests: int, seed: int = 0) -> None:
        if moves < 1 or rests < 0:
            raise ValueError(f"a burst must move for 1 cycle or more, not {moves!r}:{rests!r}")
        self._moves = moves
        self._length = moves + rests
        self._cycle = random.Random(seed).randrange(self._length)

    def go(self) -> bool:
        self._cycle = (self._cycle + 1) % self._length
        return self._cycle < self._moves


PATTERNS: dict[str, Callable[[list[str], int], Pattern]] = {
    "steady": lambda values, seed: Steady(*values),
    "random": lambda values, seed: Random(float(*values), seed),
    "bursts": lambda values, seed: Bursts(int(values[0]), int(*values[1:]), seed),
}


def pattern(text: str, seed: int) -> Pattern:
    """The pattern of a text such as `steady`, `random:0.5` or `bursts:8:3`.

    Raises:
        ValueError: no such pattern, or values that it does not take.
    """
    name, *values = text.split(":")
    try:
        return PATTERNS[name](values, seed)
    except (KeyError, TypeError, ValueError) as error:
        forms = "steady, random:PROBABILITY or bursts:MOVES:RESTS"
        raise ValueError(f"a pattern must be {forms}, not {text!r}") from error
