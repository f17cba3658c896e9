"""Closed forms of collectives against boards that send each other messages, one event at a time.

The reference knows no formula: every board runs a program of sends and receives on real values,
ports carry one message at a time, and what leaves a group at once shares the group's way out.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nofm.kernels.errors import InputError
from nofm.simulator.scaleout import collectives, interconnect
from nofm.simulator.scaleout.collectives import ALGORITHMS, Fabric

Chunks = dict[int, int]
"""A board's values by chunk: of each, the sum of what the boards put in."""

Program = Generator[tuple[Any, ...], Any, None]
"""What a board does: ("send", to, chunks, bytes), ("receive", from, reduces)."""


@dataclass
class Net:
    """Whole picoseconds, so that sums are exact: of a message, of a byte, of adding a byte.

    Adding sets the memory's pace; a byte on a link takes at least two thirds of it, or the memory
    would be slower than the link.
    """

    latency: int = 3000
    byte: int = 1000
    add: int = 250
    group: int = 1
    group_latency: int = 500
    group_byte: int = 200
    oversubscription: int = 1

    def description(self, reduction: str = "stored") -> interconnect.Interconnect:
        document: dict[str, Any] = {
            "name": "made",
            "reduction": reduction,
            "link": link(self.latency, self.byte),
        }
        if self.group > 1:
            document["group"] = {
                "size": self.group,
                "oversubscription": float(self.oversubscription),
                **link(self.group_latency, self.group_byte),
            }
        return interconnect.from_document(document, "made")

    def fabric(self, algorithm: str) -> Fabric:
        # Stored values are read twice and written once to be added.
        return Fabric(self.description(), 3 / (self.add * 1e-12), algorithm)


def link(latency: int, byte: int) -> dict[str, float]:
    return {"gigabits": 8000 / byte, "payload": 1.0, "latency_us": latency * 1e-6}


@dataclass
class Boards:
    """Boards that run programs, event by event."""

    net: Net
    values: list[Chunks]
    now: int = 0
    heap: list[tuple[int, int, int, Any]] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)

    def run(self, programs: list[Program]) -> int:
        """The time at which all programs have ended."""
        count = len(programs)
        self.programs, self.sent = programs, [0] * count
        self.free = [0] * count
        self.mail: dict[tuple[int, int], list[Chunks]] = {}
        self.waiting: dict[tuple[int, int], tuple[int, int]] = {}
        self.starting: list[tuple[int, int, Chunks, int]] = []
        self.events, end = 0, 0
        for board in range(count):
            self.push(0, board, ("go", None))
        while self.heap or self.starting:
            if self.starting and (not self.heap or self.heap[0][0] > self.now):
                self.start_messages()
            self.now, _, board, (what, content) = heapq.heappop(self.heap)
            end = max(end, self.now)
            if what == "go":
                self.advance(board, content)
            elif what == "leave":
                self.starting.append(content)
            else:
                source, chunks, size = content
                self.mail.setdefault((source, board), []).append(chunks)
                self.deliver(source, board, size)
        return end

    def push(self, time: int, board: int, event: tuple[str, Any]) -> None:
        self.events += 1
        heapq.heappush(self.heap, (time, self.events, board, event))

    def advance(self, board: int, got: Any) -> None:
        try:
            what, other, *rest = self.programs[board].send(got)
        except StopIteration:
            return
        if what == "send":
            chunks, size = rest
            self.sent[board] += size
            leaves = max(self.now, self.free[board])  # when its port has sent what came before
            self.free[board] = leaves + self.passing(board, other, size, 1)
            self.push(leaves, board, ("leave", (board, other, chunks, size)))
            self.push(self.now, board, ("go", None))
        else:
            self.waiting[other, board] = (self.now, rest[0])
            self.deliver(other, board, 0)

    def start_messages(self) -> None:
        """All that leave at this moment: those of a group share its way out."""
        net, starting, self.starting = self.net, self.starting, []
        out: dict[int, int] = {}
        for source, target, _, _ in starting:
            if source // net.group != target // net.group:
                out[source // net.group] = out.get(source // net.group, 0) + 1
        for source, target, chunks, size in starting:
            flows = out.get(source // net.group, 1)
            time = self.passing(source, target, size, flows)
            self.free[source] = max(self.free[source], self.now + time)
            self.push(self.now + time, target, ("arrive", (source, chunks, size)))

    def passing(self, source: int, target: int, size: int, flows: int) -> int:
        """Of a message, of which `flows` leave the group at once."""
        net = self.net
        if net.group > 1 and source // net.group == target // net.group:
            return net.group_latency + size * net.group_byte
        shared = max(1.0, flows * net.oversubscription / net.group)
        assert shared == int(shared)
        return net.latency + size * net.byte * int(shared)

    def deliver(self, source: int, board: int, size: int) -> None:
        mail = self.mail.get((source, board))
        if not mail or (source, board) not in self.waiting:
            return
        _, reduces = self.waiting.pop((source, board))
        chunks = mail.pop(0)
        mine = self.values[board]
        for chunk, value in chunks.items():
            mine[chunk] = mine.get(chunk, 0) + value if reduces else value
        self.push(self.now + (self.net.add * size if reduces else 0), board, ("go", None))


def ring(board: int, boards: int, mine: Chunks, size: int, first: int, apart: int) -> Program:
    """Reduce-scatter of `boards` chunks on the ring first, first + apart, ..."""
    place = (board - first) // apart
    after, before = (first + apart * ((place + step) % boards) for step in (1, -1))
    for step in range(boards - 1):
        chunk = (place - step) % boards
        yield "send", after, {chunk: mine[chunk]}, size
        yield "receive", before, True


def gather(board: int, boards: int, mine: Chunks, size: int, first: int, apart: int) -> Program:
    place = (board - first) // apart
    after, before = (first + apart * ((place + step) % boards) for step in (1, -1))
    for step in range(boards - 1):
        chunk = (place + 1 - step) % boards
        yield "send", after, {chunk: mine[chunk]}, size
        yield "receive", before, False


def ring_program(board: int, boards: int, mine: Chunks, total: int, group: int) -> Program:
    yield from ring(board, boards, mine, total // boards, 0, 1)
    yield from gather(board, boards, mine, total // boards, 0, 1)


def exchange(board: int, boards: int, mine: Chunks, total: int, whole: bool) -> Program:
    """Recursive halving and doubling, or doubling of the whole vector, with a fold before."""
    power = 1 << (boards.bit_length() - 1)
    extra = boards - power
    if board < 2 * extra:
        if board % 2 == 0:
            yield "send", board + 1, dict(mine), total
            yield "receive", board + 1, False
            return
        yield "receive", board - 1, True
    rank = board // 2 if board < 2 * extra else board - extra

    def number(rank: int) -> int:
        return 2 * rank + 1 if rank < extra else rank + extra

    bits = power.bit_length() - 1
    part = total // power
    if whole:
        for bit in range(bits):
            other = number(rank ^ (1 << bit))
            yield "send", other, dict(mine), total
            yield "receive", other, True
    else:
        for bit in range(bits):  # keep the chunks that agree with this rank in its lower bits
            other = number(rank ^ (1 << bit))
            low = (1 << bit) - 1
            away = [
                c for c in mine if c & low == rank & low and (c >> bit) & 1 != (rank >> bit) & 1
            ]
            yield "send", other, {c: mine[c] for c in away}, part * len(away)
            yield "receive", other, True
        for bit in reversed(range(bits)):
            other = number(rank ^ (1 << bit))
            mask = (2 << bit) - 1
            have = [c for c in mine if c & mask == rank & mask]
            yield "send", other, {c: mine[c] for c in have}, part * len(have)
            yield "receive", other, False
    if board < 2 * extra:
        yield "send", board - 1, dict(mine), total


def halving_program(board: int, boards: int, mine: Chunks, total: int, group: int) -> Program:
    yield from exchange(board, boards, mine, total, whole=False)


def doubling_program(board: int, boards: int, mine: Chunks, total: int, group: int) -> Program:
    yield from exchange(board, boards, mine, total, whole=True)


def hierarchical_program(board: int, boards: int, mine: Chunks, total: int, group: int) -> Program:
    """Chunk a * groups + b: part b of the a-th part that a group scatters among its boards."""
    groups = boards // group
    home, place = divmod(board, group)

    class Part:
        """A group's chunks together, as one chunk of its ring."""

        def __getitem__(self, part: int) -> Any:
            return {part * groups + b: mine[part * groups + b] for b in range(groups)}

    def flat(program: Program) -> Program:
        for action in program:
            if action[0] == "send":
                what, other, chunks, size = action
                (content,) = chunks.values()
                yield what, other, content, size
            else:
                yield action

    own = (place + 1) % group  # the part that the group's ring leaves here

    class Piece:
        """A piece of that part, as one chunk of the ring between groups."""

        def __getitem__(self, piece: int) -> Any:
            return {own * groups + piece: mine[own * groups + piece]}

    inner, outer = total // group, total // boards
    within = (home * group, 1)
    yield from flat(ring(board, group, Part(), inner, *within))  # type: ignore[arg-type]
    yield from flat(ring(board, groups, Piece(), outer, place, group))  # type: ignore[arg-type]
    yield from flat(gather(board, groups, Piece(), outer, place, group))  # type: ignore[arg-type]
    yield from flat(gather(board, group, Part(), inner, *within))  # type: ignore[arg-type]


PROGRAMS: dict[str, Callable[[int, int, Chunks, int, int], Program]] = {
    "ring": ring_program,
    "halving": halving_program,
    "doubling": doubling_program,
    "hierarchical": hierarchical_program,
}


def simulated(net: Net, algorithm: str, boards: int, total: int) -> tuple[int, int]:
    """Picoseconds of an all-reduce, which is checked to be one, and the most bytes of a sender."""
    power = 1 << (boards.bit_length() - 1)
    chunks = power if algorithm in ("halving", "doubling") else boards
    values = [{chunk: 1 << (8 * board) for chunk in range(chunks)} for board in range(boards)]
    run = Boards(net, values)
    programs = [
        PROGRAMS[algorithm](board, boards, values[board], total, net.group)
        for board in range(boards)
    ]
    end = run.run(programs)
    everybody = sum(1 << (8 * board) for board in range(boards))
    assert all(mine == dict.fromkeys(range(chunks), everybody) for mine in values)
    return end, max(run.sent)


def closed(net: Net, algorithm: str, boards: int, total: int) -> tuple[float, int]:
    cost = net.fabric(algorithm).cost("all_reduce", total, boards)
    assert cost.algorithm == algorithm
    return cost.seconds * 1e12, cost.sent_bytes


FLAT = [Net(), Net(latency=0), Net(add=1), Net(latency=10**6, byte=200)]
GROUPED = [
    Net(group=4),
    Net(group=4, oversubscription=2),
    Net(group=2, oversubscription=2, latency=10_000),
    Net(group=8, oversubscription=8, group_byte=50, add=30),
    Net(group=4, group_byte=3000, group_latency=9000),  # slower inside
]


@pytest.mark.parametrize("net", FLAT, ids=str)
@pytest.mark.parametrize("algorithm", ["ring", "halving", "doubling"])
@pytest.mark.parametrize("boards", [2, 3, 4, 5, 6, 7, 8, 11, 16])
def test_all_reduce_takes_what_its_messages_take(net: Net, algorithm: str, boards: int) -> None:
    for shares in (16 * 1024, 16):
        total = boards * shares  # which 16 divides: no share is padded
        end, sent = simulated(net, algorithm, boards, total)
        seconds, most = closed(net, algorithm, boards, total)
        assert most == sent
        if algorithm == "ring" or boards & (boards - 1) == 0:
            assert seconds == pytest.approx(end, rel=1e-12)
        else:  # boards that fold nothing begin earlier, which the closed form does not count on
            step = net.latency + total * (net.byte + net.add)
            assert end <= seconds * (1 + 1e-12) <= (1 + 1e-9) * (end + step)


@pytest.mark.parametrize("net", GROUPED, ids=str)
@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_all_reduce_over_groups(net: Net, algorithm: str, groups: int) -> None:
    boards = groups * net.group
    if groups == 1 and algorithm == "hierarchical":
        algorithm = "ring"  # which it is then
    total = 64 * boards
    end, sent = simulated(net, algorithm, boards, total)
    seconds, most = closed(net, algorithm, boards, total)
    assert most == sent
    if algorithm == "ring" and groups > 1:
        # The slower of its links never rests: adding hides behind it, which the closed form, where
        # all boards go in step, does not count on.
        assert end <= seconds * (1 + 1e-12) <= (1 + 1e-9) * (end + (boards - 1) * 64 * net.add)
    else:
        assert seconds == pytest.approx(end, rel=1e-12)


def test_hierarchical_between_three_groups() -> None:
    net = Net(group=4, oversubscription=4)
    end, sent = simulated(net, "hierarchical", 12, 12 * 32)
    assert closed(net, "hierarchical", 12, 12 * 32) == (pytest.approx(end, rel=1e-12), sent)


def test_hierarchical_inside_one_group_is_its_ring() -> None:
    fabrics = [Net(group=8).fabric(name) for name in ("hierarchical", "ring")]
    one, other = (fabric.cost("all_reduce", 4096, 8).seconds for fabric in fabrics)
    assert one == other


def test_the_reference_sees_a_sum_that_is_none() -> None:
    """A ring that stops a step early is no all-reduce."""

    def short(board: int, boards: int, mine: Chunks, total: int, group: int) -> Program:
        yield from ring(board, boards - 1, mine, total // boards, 0, 1)

    PROGRAMS["short"] = short
    try:
        with pytest.raises(AssertionError):
            simulated(Net(), "short", 4, 64)
    finally:
        del PROGRAMS["short"]


nets = st.builds(
    Net,
    latency=st.integers(0, 10**7),
    byte=st.integers(1, 10**4),
    add=st.integers(1, 10**4),
    group=st.sampled_from([1, 2, 8]),
    group_latency=st.integers(0, 10**6),
    group_byte=st.integers(1, 10**4),
)
counts = st.integers(0, 17).map(lambda bit: 1 << bit)
sizes = st.integers(1, 2**31)


def able(net: Net, boards: int) -> Iterable[str]:
    for name in ALGORITHMS:
        if name != "hierarchical" or (net.group > 1 and boards % net.group == 0):
            yield name


@given(nets, counts, sizes, st.floats(0.1, 1), st.floats(1, 10))
def test_monotone_in_bandwidth_latency_and_bytes(
    net: Net, boards: int, total: int, slower: float, longer: float
) -> None:
    description = net.description()
    for name in able(net, boards):
        base = net.fabric(name).cost("all_reduce", total, boards).seconds
        for changed in (
            {"link.gigabits": description.link.gigabits * slower},
            {"link.latency_us": description.link.latency_us * longer},
            {"link.payload": slower},
        ):
            worse = Fabric(description.with_values(**changed), 3 / (net.add * 1e-12), name)
            assert worse.cost("all_reduce", total, boards).seconds >= base * (1 - 1e-12)
        assert net.fabric(name).cost("all_reduce", total + 1000, boards).seconds >= base


@given(nets, counts, sizes)
def test_auto_is_the_fastest(net: Net, boards: int, total: int) -> None:
    auto = net.fabric("auto").cost("all_reduce", total, boards)
    each = [
        net.fabric(name).cost("all_reduce", total, boards).seconds for name in able(net, boards)
    ]
    assert auto.seconds == min(each)


@given(nets, counts, sizes)
def test_reduce_scatter_and_all_gather_make_an_all_reduce(
    net: Net, boards: int, total: int
) -> None:
    for name in able(net, boards):
        if name == "doubling":
            continue
        fabric = net.fabric(name)
        parts = [fabric.cost(c, total, boards) for c in ("reduce_scatter", "all_gather")]
        whole = fabric.cost("all_reduce", total, boards)
        assert sum(part.seconds for part in parts) == pytest.approx(whole.seconds, rel=1e-12)
        assert sum(part.sent_bytes for part in parts) == whole.sent_bytes
        assert sum(part.dram_bytes for part in parts) == whole.dram_bytes


def no_adding(algorithm: str, latency: int = 0, **others: int) -> Fabric:
    """Boards whose memory is so fast that only the links count."""
    return Fabric(Net(latency=latency, **others).description(), 1e18, algorithm)


@given(counts.filter(lambda count: count > 1), st.integers(1, 1 << 12))
def test_ring_tends_to_twice_the_bytes_over_the_bandwidth(boards: int, part: int) -> None:
    total = boards * part
    seconds = no_adding("ring").cost("all_reduce", total, boards).seconds
    bound = 2 * total * 1e-9  # Net's link: a byte a nanosecond
    assert seconds == pytest.approx(bound * (1 - 1 / boards), rel=1e-6)


def test_short_messages_want_few_steps_and_long_ones_few_bytes() -> None:
    boards = 4096

    def time(name: str, total: int, **others: int) -> float:
        return no_adding(name, 3_000_000, **others).cost("all_reduce", total, boards).seconds

    assert time("doubling", 64) < time("halving", 64) < time("ring", 64)
    large = 1 << 34
    assert time("ring", large) < time("doubling", large)
    assert time("halving", large) < time("ring", large)  # as many bytes, fewer steps
    # Where boards that all send out of their group share its links, neighbours do better.
    shared = {"group": 6, "oversubscription": 6, "group_byte": 1000}
    assert time("ring", large, **shared) < time("halving", large, **shared)
    assert time("halving", 64, **shared) < time("ring", 64, **shared)


def test_a_share_is_padded_to_whole_bytes() -> None:
    fabric = no_adding("ring")
    assert fabric.cost("all_reduce", 1, 1024) == fabric.cost("all_reduce", 1024, 1024)
    assert fabric.cost("all_reduce", 1025, 1024) == fabric.cost("all_reduce", 2048, 1024)
    assert collectives.share(10, 4) == 3


def test_memory_paces_what_the_link_could_send_faster() -> None:
    net = Net(latency=0, byte=1000)
    for reduction, scattered, gathered, dram in (
        ("streamed", 3 * 2000, 2 * 2000, 3 + 2),  # read, add into what is there; read, write
        ("stored", 2 * 2000 + 3 * 2000, 2 * 2000, 5 + 2),
    ):
        fabric = Fabric(net.description(reduction), 1 / 2000e-12, "ring")
        for collective, per_byte in (("reduce_scatter", scattered), ("all_gather", gathered)):
            cost = fabric.cost(collective, 2048, 2)  # type: ignore[arg-type]
            assert cost.seconds * 1e12 == pytest.approx(1024 * per_byte)
        assert fabric.cost("all_reduce", 2048, 2).dram_bytes == 1024 * dram
    fast = Fabric(net.description("streamed"), 1e15, "ring")
    assert fast.cost("all_reduce", 2048, 2).seconds * 1e12 == pytest.approx(2 * 1024 * 1000)


def test_nothing_is_sent_where_there_is_nobody_or_nothing() -> None:
    nothing = collectives.Cost("", 0.0, 0, 0)
    for name in ALGORITHMS:
        fabric = Net(group=2).fabric(name)
        assert fabric.cost("all_reduce", 1 << 20, 1) == nothing
        assert fabric.cost("all_reduce", 0, 8) == nothing


@pytest.mark.parametrize(
    ("net", "algorithm", "collective", "boards", "line"),
    [
        (
            Net(),
            "doubling",
            "reduce_scatter",
            4,
            "algorithm doubling shares whole vectors: it scatters and gathers no parts of them",
        ),
        (
            Net(),
            "halving",
            "all_gather",
            6,
            "algorithm halving scatters and gathers among a power of two of boards, not 6",
        ),
        (
            Net(),
            "hierarchical",
            "all_reduce",
            4,
            "algorithm hierarchical needs groups of boards, which the interconnect has not",
        ),
        (
            Net(group=4),
            "hierarchical",
            "all_reduce",
            6,
            "algorithm hierarchical needs whole groups of 4 boards, not 6 boards",
        ),
    ],
)
def test_what_an_algorithm_cannot_do(
    net: Net, algorithm: str, collective: Any, boards: int, line: str
) -> None:
    with pytest.raises(InputError) as caught:
        net.fabric(algorithm).cost(collective, 4096, boards)
    assert str(caught.value) == line


def test_unknown_algorithm() -> None:
    with pytest.raises(InputError) as caught:
        Net().fabric("rings")
    assert str(caught.value) == (
        "unknown algorithm 'rings': did you mean ring or halving? "
        "(known: auto, ring, halving, doubling, hierarchical)"
    )
