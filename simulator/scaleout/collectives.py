"""How long boards take to share what they have: reduce-scatter, all-gather and both, all-reduce.

Every algorithm is a list of steps; in each, boards send a message and receive one. A step takes
alpha + beta b for a message of b bytes, and alpha + (beta + gamma) b where it is added to what the
board has (R. W. Hockney's model with reduction, as in Thakur, Rabenseifner and Gropp 2005):

- `ring`: P - 1 steps of reduce-scatter and P - 1 of all-gather with 1/P of the bytes each, from
  neighbour to neighbour (Patarasuk and Yuan, *Bandwidth optimal all-reduce algorithms*, 2009).
- `halving`: recursive halving of the vector, then recursive doubling, between boards whose numbers
  differ in one bit, the nearest first and last (R. Rabenseifner, *Optimization of collective
  reduction operations*, ICCS 2004; Thakur, Rabenseifner and Gropp, *Optimization of collective
  communication operations in MPICH*, 2005). Where P is no power of two, as many boards as are too
  many first hand all they have to a neighbour, and get the result from it at the end (MPICH).
- `doubling`: recursive doubling of the whole vector: half the steps, for short messages (same
  sources).
- `hierarchical`: rings inside the groups, then rings of the boards of one place in each group
  (Cho et al., *BlueConnect*, MLSys 2019).

Boards go in step: all begin a step when all have ended the one before. Numbers of bytes are padded:
a board's share is ceil(bytes / P).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from nofm.kernels.errors import InputError, unknown
from nofm.simulator.scaleout.interconnect import Interconnect, Link

Way = Literal["group", "link", "uplinks"]
"""What a message passes: a link inside its group, a link out of it that is the sender's alone, or
one while all boards of the group send out, which they share where the group is oversubscribed."""


@dataclass(frozen=True, slots=True)
class Step:
    """What boards do `times` in a row.

    Attributes:
        times: how often.
        message_bytes: that a board sends, and receives.
        ways: what the messages of a step pass; the slowest sets the pace.
        reduces: whether what is received is added to what the board has, not just kept.
        sends: whether those boards that send most in all send here.
    """

    times: int
    message_bytes: int
    ways: tuple[Way, ...]
    reduces: bool
    sends: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of one algorithm: those of reduce-scatter, and those of all-gather."""

    reduce_scatter: tuple[Step, ...]
    all_gather: tuple[Step, ...]


Planner = Callable[[int, int, int], Plan]
"""Of the bytes of the whole vector, the boards, and the boards of a group (1: no groups)."""


def share(total_bytes: int, boards: int) -> int:
    """Bytes of a board's share, padded to whole ones."""
    return -(-total_bytes // boards)


def _copied(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps backwards, with nothing added: an all-gather undoes a reduce-scatter."""
    return tuple(Step(step.times, step.message_bytes, step.ways, False) for step in reversed(steps))


def _ring(total_bytes: int, boards: int, group: int) -> Plan:
    ways: tuple[Way, ...] = ("group",) if boards <= group else ("link",)
    if 1 < group < boards:  # its neighbours inside a group send too
        ways = ("group", "link")
    steps = (Step(boards - 1, share(total_bytes, boards), ways, True),)
    return Plan(steps, _copied(steps))


def _halving(total_bytes: int, boards: int, group: int) -> Plan:
    whole, extra = _power_of_two(boards)
    part = share(total_bytes, whole)
    steps = [
        Step(1, whole // (2 * distance) * part, _exchange(distance, boards, group), True)
        for distance in _distances(whole)
    ]
    return _folded(steps, _copied(steps), total_bytes, extra, boards, group)


def _doubling(total_bytes: int, boards: int, group: int) -> Plan:
    whole, extra = _power_of_two(boards)
    steps = [
        Step(1, total_bytes, _exchange(distance, boards, group), True)
        for distance in _distances(whole)
    ]
    return _folded(steps, (), total_bytes, extra, boards, group)


def _folded(
    steps: Sequence[Step],
    back: Sequence[Step],
    total_bytes: int,
    extra: int,
    boards: int,
    group: int,
) -> Plan:
    """Steps among a power of two of boards, with those that the `extra` ones need around them."""
    if not extra:
        return Plan(tuple(steps), tuple(back))
    ways = _exchange(1, boards, group)
    return Plan(
        (Step(1, total_bytes, ways, True, sends=False), *steps),
        (*back, Step(1, total_bytes, ways, False)),
    )


def _power_of_two(boards: int) -> tuple[int, int]:
    """The largest power of two of boards that there is, and how many are left over."""
    whole = 1 << (boards.bit_length() - 1)
    return whole, boards - whole


def _distances(whole: int) -> list[int]:
    return [1 << bit for bit in range(whole.bit_length() - 1)]


def _exchange(distance: int, boards: int, group: int) -> tuple[Way, ...]:
    """What messages between boards i and i xor `distance` pass. Where blocks of them may reach
    across groups, all of them are counted as doing so."""
    inside = boards <= group or (boards & (boards - 1) == 0 and group % (2 * distance) == 0)
    return ("group",) if inside else ("uplinks",)


def _hierarchical(total_bytes: int, boards: int, group: int) -> Plan:
    if boards <= group:
        return _ring(total_bytes, boards, group)
    groups, part = boards // group, share(total_bytes, group)
    steps = (
        Step(group - 1, part, ("group",), True),
        Step(groups - 1, share(part, groups), ("uplinks",), True),
    )
    return Plan(steps, _copied(steps))


ALGORITHMS: dict[str, Planner] = {
    "ring": _ring,
    "halving": _halving,
    "doubling": _doubling,
    "hierarchical": _hierarchical,
}
"""Every algorithm by name."""

AUTO = "auto"
"""The name that stands for the fastest algorithm for each message."""

Collective = Literal["all_reduce", "reduce_scatter", "all_gather"]


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one collective.

    Attributes:
        algorithm: that ran it; "" where there is one board.
        seconds: how long it takes.
        sent_bytes: the most that any board sends.
        dram_bytes: the most that it reads and writes in any board's DRAM.
    """

    algorithm: str
    seconds: float
    sent_bytes: int
    dram_bytes: int


@dataclass(frozen=True)
class Fabric:
    """Boards of one kind and what joins them: gives the time of collectives.

    Attributes:
        interconnect: the links.
        dram_bytes_per_second: of a board. What is sent is read there and what is kept is written
            there, so no link is faster than that.
        algorithm: one of `ALGORITHMS`, or "auto".
    """

    interconnect: Interconnect
    dram_bytes_per_second: float
    algorithm: str = AUTO

    def __post_init__(self) -> None:
        if self.algorithm not in (*ALGORITHMS, AUTO):
            raise unknown("algorithm", self.algorithm, (AUTO, *ALGORITHMS))

    @property
    def group(self) -> int:
        """Boards of a group, 1 where there are none."""
        return self.interconnect.group.size if self.interconnect.group else 1

    def cost(self, collective: Collective, total_bytes: int, boards: int) -> Cost:
        """A collective over all boards.

        Args:
            collective: what they do.
            total_bytes: of the whole vector: what each board has before a reduction, and after a
                gathering.
            boards: how many.

        Raises:
            InputError: the algorithm asked for does not do that for so many boards.
        """
        if boards == 1 or total_bytes == 0:
            return Cost("", 0.0, 0, 0)
        names = self._able(collective, boards)
        costs = [self._cost(name, collective, total_bytes, boards) for name in names]
        return min(costs, key=lambda cost: cost.seconds)  # of equals, the first in the table

    def _able(self, collective: Collective, boards: int) -> list[str]:
        able = []
        for name in ALGORITHMS:
            why = _unable(name, collective, boards, self.group)
            if not why:
                able.append(name)
            elif name == self.algorithm:
                raise InputError(f"algorithm {name} {why}")
        return able if self.algorithm == AUTO else [self.algorithm]

    def _cost(self, name: str, collective: Collective, total_bytes: int, boards: int) -> Cost:
        plan = ALGORITHMS[name](total_bytes, boards, self.group)
        steps = {
            "all_reduce": (*plan.reduce_scatter, *plan.all_gather),
            "reduce_scatter": plan.reduce_scatter,
            "all_gather": plan.all_gather,
        }[collective]
        return Cost(
            name,
            sum(step.times * self.step_seconds(step) for step in steps),
            sum(step.times * step.message_bytes for step in steps if step.sends),
            sum(step.times * step.message_bytes * self._passes(step.reduces) for step in steps),
        )

    def step_seconds(self, step: Step) -> float:
        """Of one of its `times`."""
        return max(self._message_seconds(way, step) for way in step.ways)

    def _message_seconds(self, way: Way, step: Step) -> float:
        link, slower = self._link(way)
        beta = slower / link.bytes_per_second
        dram = 1 / self.dram_bytes_per_second
        if step.reduces and self.interconnect.reduction == "streamed":
            per_byte = max(beta, self._passes(True) * dram)
        else:
            per_byte = max(beta, self._passes(False) * dram)
            if step.reduces:  # and then read what is there and what has come, and write the sum
                per_byte += 3 * dram
        return link.latency_us * 1e-6 + step.message_bytes * per_byte

    def _passes(self, reduces: bool) -> int:
        """How often a byte of a message passes a board's DRAM, which sends one and receives one."""
        if not reduces:
            return 2  # read to send, written on arrival
        return 3 if self.interconnect.reduction == "streamed" else 5

    def _link(self, way: Way) -> tuple[Link, float]:
        """The link, and how many times slower it is for sharing."""
        group = self.interconnect.group
        if way == "group" and group is not None:
            return group, 1.0
        shared = group.oversubscription if way == "uplinks" and group is not None else 1.0
        return self.interconnect.link, shared


def _unable(name: str, collective: Collective, boards: int, group: int) -> str:
    """Why an algorithm does not run a collective, or ""."""
    if name == "doubling" and collective != "all_reduce":
        return "shares whole vectors: it scatters and gathers no parts of them"
    if name == "halving" and collective != "all_reduce" and boards & (boards - 1):
        return f"scatters and gathers among a power of two of boards, not {boards}"
    if name == "hierarchical" and group == 1:
        return "needs groups of boards, which the interconnect has not"
    if name == "hierarchical" and boards > group and boards % group:
        return f"needs whole groups of {group} boards, not {boards} boards"
    return ""
