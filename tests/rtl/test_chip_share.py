"""Sharing a master: every client gets and gives what a master of its own would have, at full rate.

The bench's checker watches the AXI ports in every cycle of every case.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from nofm.kernels.errors import InputError
from nofm.rtl.axi.bus import PAGE_BYTES, Bus, Command
from nofm.rtl.axi.cases import Bytes, MasterCase, differences, replay_masters, with_options
from nofm.rtl.axi.read_master import ReadMaster
from nofm.rtl.bench.axi import MemoryCase
from nofm.rtl.bench.cases import Case
from nofm.rtl.chip.chunks import Chunks, client_command, client_word
from nofm.rtl.chip.share import ReadShare, WriteShare, _Share
from nofm.rtl.chip.turns import Turns
from nofm.rtl.fields import pack
from nofm.rtl.hierarchy import Unit, modules, place
from nofm.rtl.tools.cocotb_runner import SimulationError

BUSES = {
    "64": Bus(data_bits=64, burst_beats=4, outstanding=3, queue_beats=12, length_bits=16),
    "128": Bus(address_bits=40, length_bits=24),
    "256": Bus(data_bits=256, burst_beats=2, outstanding=32, queue_beats=33, address_bits=40),
}
BASE = 0xFF_FFF0_0000 & 0xFFFF_FFFF
PAGES = 4
SIZE = PAGES * PAGE_BYTES
PAUSES = ("steady", "random:0.4", "bursts:9:40")


class Top(Unit):
    """A share with the ports that the bench of masters has, and `ended`, `done` as a stream.

    Words of client 0 do not move in the first `held` cycles.
    """

    def __init__(self, share: ReadShare | WriteShare, held: int = 0) -> None:
        self.share = share
        self.held = held
        self.module_name = "top"
        ports = dict(share.signature.members)
        self._kept = [name for name in ports if not name.startswith(("command_", "done"))]
        ended = {"valid": Out(share.clients), "ready": In(share.clients)}
        super().__init__(
            {
                **{name: ports[name] for name in self._kept},
                **{f"ask_{x}": ports[f"command_{x}"] for x in ("valid", "ready", "data")},
                **{f"ended_{x}": port for x, port in ended.items()},
                "ended_data": Out(share.clients),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        share = self.share
        place(m, platform, "share", share)
        m.d.comb += [
            share.command_valid.eq(self.ask_valid),
            share.command_data.eq(self.ask_data),
            self.ask_ready.eq(share.command_ready),
        ]
        held = Signal(range(self.held + 1), init=self.held)
        with m.If(held != 0):
            m.d.sync += held.eq(held - 1)
        moves = ~Cat(held != 0)
        for name in self._kept:
            outer, inner = getattr(self, name), getattr(share, name)
            into = self.signature.members[name].flow is In
            m.d.comb += inner.eq(outer) if into else outer.eq(inner)
            if name in ("out_valid", "out_ready", "in_valid", "in_ready"):
                m.d.comb += inner[0].eq(outer[0] & moves) if into else outer[0].eq(inner[0] & moves)
        if isinstance(share, WriteShare):
            m.d.comb += [self.ended_valid.eq(share.done), self.done.eq(share.done.any())]
        return m


def runs(rng: np.random.Generator, bus: Bus, count: int, beats: int, low: int, high: int) -> Any:
    """Commands between two bytes of the memory: at random, tiny, and around multiples of 4 KiB."""
    found = []
    for _ in range(count):
        most = beats * bus.lanes
        length = 2 * int(rng.choice([1, rng.integers(1, 2 * bus.lanes + 1), rng.integers(1, most)]))
        start = int(rng.integers(low, high))
        if rng.random() < 0.3:
            start -= start % PAGE_BYTES + int(rng.integers(0, length + 1))
        start = min(max(low, start), high - length) // 2 * 2
        found.append(Command(address=BASE + start, length_bytes=length))
    return found


def asked(bus: Bus, command: Command) -> int:
    values = {"address": command.address // 2, "length": command.length_bytes // 2 - 1}
    return pack(client_command(bus), values)


def cut(run: Bytes, bus: Bus) -> list[Bytes]:
    return [run[at : at + bus.data_bytes] for at in range(0, len(run), bus.data_bytes)]


def number(data: Bytes) -> int:
    return int.from_bytes(data.tobytes(), "little")


def words_of(run: Bytes, bus: Bus) -> list[int]:
    parts = cut(run, bus)
    return [
        pack(
            client_word(bus),
            {"data": number(p), "granules": len(p) // 2 - 1, "last": int(i == len(parts) - 1)},
        )
        for i, p in enumerate(parts)
    ]


def read_case(
    name: str, bus: Bus, clients: Sequence[Sequence[Command]], memory: Any, **options: Any
) -> MasterCase:
    image = np.random.default_rng(1).integers(0, 256, SIZE, np.uint8)
    wanted: list[list[int]] = []
    for commands in clients:
        wanted.append([])
        for each in commands:
            start = each.address - BASE
            wanted[-1] += words_of(image[start : start + each.length_bytes], bus)
    case = Case(
        name=name,
        inputs={"ask": [[asked(bus, each) for each in commands] for commands in clients]},
        outputs={"out": wanted},
        jobs=0,
        limit=50_000,
        **options,
    )
    return MasterCase(case, MemoryCase(base=BASE, **memory), image, image)


def write_case(
    name: str, bus: Bus, clients: Sequence[Sequence[Command]], memory: Any, **options: Any
) -> MasterCase:
    """Clients write to parts of the memory of their own, for nobody says who comes first."""
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, SIZE, np.uint8)
    after = image.copy()
    given: list[list[int]] = []
    for commands in clients:
        given.append([])
        for each in commands:
            data = rng.integers(0, 256, each.length_bytes, np.uint8)
            start = each.address - BASE
            after[start : start + each.length_bytes] = data
            given[-1] += [number(part) for part in cut(data, bus)]
    if memory.get("errors"):
        after = image
    case = Case(
        name=name,
        inputs={
            "ask": [[asked(bus, each) for each in commands] for commands in clients],
            "in": given,
        },
        outputs={"ended": [[0] * len(commands) for commands in clients]},
        jobs=sum(map(len, clients)),
        limit=50_000,
        **options,
    )
    return MasterCase(case, MemoryCase(base=BASE, **memory), image, after)


def check(
    share: ReadShare | WriteShare,
    cases: Sequence[MasterCase],
    folder: Path,
    sources: dict[str, str] | None = None,
) -> list[dict[str, Any]]:
    texts = sources or modules(Top(share))
    done = replay_masters(texts, "top", share.bus, cases, folder=folder, tool="icarus")
    results: list[dict[str, Any]] = done.results["cases"]
    for case, result in zip(cases, results, strict=True):
        assert differences(case, result) == [], case.case.name
        assert bool(result["state"]["error"]) == bool(case.memory.errors), case.case.name
    return results


def random_cases(
    kind: type[ReadShare] | type[WriteShare], bus: Bus, clients: int, count: int, beats: int
) -> list[MasterCase]:
    rng = np.random.default_rng(clients)
    cases = []
    for at in range(count):
        part = SIZE // clients // PAGE_BYTES * PAGE_BYTES if kind is WriteShare else 0
        commands = [
            runs(rng, bus, 6, beats, part * k, part * (k + 1) if part else SIZE)
            if at % 3 or k == at % clients
            else []
            for k in range(clients)
        ]
        waits = [PAUSES[int(rng.integers(3))] for _ in range(4)]
        channels = ("ar", "r") if kind is ReadShare else ("aw", "w", "b")
        memory = {
            "latency": int(rng.integers(1, 20)),
            "channels": {name: waits[3] for name in channels} if at % 2 else {},
            "seed": at,
        }
        if at == 5:
            memory["errors"] = [(BASE, BASE + SIZE, 2)]
        options: dict[str, Any] = {"idle": {"ask": waits[0]}, "seed": at}
        if kind is ReadShare:
            options["backpressure"] = {"out": waits[1]}
            cases.append(read_case(f"{at}", bus, commands, memory, **options))
        else:
            options["idle"]["in"] = waits[1]
            cases.append(write_case(f"{at}", bus, commands, memory, **options))
    return cases


@functools.cache
def verilog(kind: type[ReadShare] | type[WriteShare], name: str) -> dict[str, str]:
    return modules(Top(share_of(kind, name)))


SHARES = {"64": (3, 4, 8), "one client": (1, 2, 2), "128": (4, 16, 64), "256": (2, 8, 16)}
"""Clients, beats of a chunk and of a queue."""


def share_of(kind: type[ReadShare] | type[WriteShare], name: str) -> ReadShare | WriteShare:
    return kind(BUSES.get(name, BUSES["64"]), *SHARES[name])


QUICK = ("128",)
"""Those that every run of the tests tries; `make test-slow` tries all."""


def slow_but(quick: Sequence[str], names: Iterable[str]) -> list[Any]:
    return [pytest.param(n, marks=[] if n in quick else pytest.mark.slow) for n in names]


@pytest.mark.parametrize("kind", [ReadShare, WriteShare])
@pytest.mark.parametrize("name", slow_but(QUICK, SHARES))
def test_every_byte_whatever_waits(kind: Any, name: str, tmp_path: Path) -> None:
    share = share_of(kind, name)
    cases = random_cases(kind, share.bus, share.clients, 8, 3 * share.chunk_beats)
    cases += [full_rate(kind, share, number) for number in range(3)]
    results = check(share, cases, tmp_path, verilog(kind, name))
    for number, result in enumerate(results[8:11]):
        check_full_rate(kind, share, number, result)


def full_rate(kind: Any, share: Any, number: int) -> MasterCase:
    """One client, or all of them, with runs that begin and end with a beat; and one that do not."""
    bus = share.bus
    part = SIZE // share.clients // PAGE_BYTES * PAGE_BYTES
    length = 5 * share.chunk_beats * bus.data_bytes
    commands = [
        [Command(address=BASE + part * k + 2 * (number == 2), length_bytes=length)]
        if number == 1 or k == share.clients - 1
        else []
        for k in range(share.clients)
    ]
    make = read_case if kind is ReadShare else write_case
    return make(f"full rate {number}", bus, commands, {})


def check_full_rate(kind: Any, share: Any, number: int, result: dict[str, Any]) -> None:
    """A word a cycle, and for a misaligned run another beat for each chunk."""
    words = 5 * share.chunk_beats * (share.clients if number == 1 else 1)
    moved = result["moved"]["r" if kind is ReadShare else "w"]
    assert len(moved) == words + (5 if number == 2 else 0)
    if kind is ReadShare and number == 0:
        alone = ReadMaster(share.bus).first_word_cycles + 1
        first = result["first"]["out"] - result["given"]["ask"][0]
        assert first == alone + share.more_cycles
    if share.queue_beats >= 2 * share.chunk_beats + 16 and share.bus.outstanding >= 8:
        assert moved[-1] - moved[0] == len(moved) - 1
        if kind is ReadShare and number < 2:
            assert result["last_words"]["out"] - result["first"]["out"] == words - 1


HELD = 900


@pytest.mark.slow
@pytest.mark.parametrize("kind", [ReadShare, WriteShare])
def test_a_client_that_waits_holds_nobody_up(kind: Any, tmp_path: Path) -> None:
    check_held(kind, tmp_path)


def check_held(kind: Any, folder: Path) -> None:
    """Client 0 takes no word, or gives none, for a long time; all others' words move."""
    share = share_of(kind, "64")
    length = 512
    commands = [
        [Command(address=BASE + PAGE_BYTES * k, length_bytes=length)] for k in range(share.clients)
    ]
    make = read_case if kind is ReadShare else write_case
    texts = modules(Top(share, HELD))
    (result,) = check(share, [make("held", share.bus, commands, {})], folder, texts)
    moved = result["moved"]["r" if kind is ReadShare else "w"]
    beats = length // share.bus.data_bytes
    early = sum(cycle < HELD for cycle in moved)
    # Of client 0, what its queue holds is read ahead.
    ahead = share.queue_beats if kind is ReadShare else 0
    assert early == (share.clients - 1) * beats + ahead
    assert len(moved) == share.clients * beats


def refusal(call: Any, *arguments: Any) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("kind", [ReadShare, WriteShare])
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0, 4, 8), "clients of a shared bus must be 1 or more, not 0"),
        ((9, 4, 8), "tag_bits of a bus with 9 clients must be 5 or more, not 4"),
        ((2, 3, 8), "chunk_beats of a shared bus must be a power of two from 2 on, not 3"),
        ((2, 8, 7), "queue_beats of a shared bus must be chunk_beats, 8, or more, not 7"),
    ],
)
def test_what_cannot_be_built_is_refused(kind: Any, arguments: Any, text: str) -> None:
    assert refusal(kind, BUSES["64"], *arguments) == text


@pytest.mark.parametrize("clients", [1, 2, 3, 5])
def test_turns_go_round(clients: int) -> None:
    """Whoever wants to be served is, before another is for the second time."""
    turns = Turns(clients)
    rng = np.random.default_rng(clients)

    async def bench(context: Any) -> None:
        waited = [0] * clients
        wants = 0
        last = 0
        for _ in range(300):
            # Who wants to be served wants it until then.
            wants |= int(rng.integers(1 << clients)) & int(rng.integers(1 << clients))
            serve = int(rng.integers(2)) & (wants != 0)
            context.set(turns.wants, wants)
            context.set(turns.serve, serve)
            await context.delay(1e-9)
            assert context.get(turns.any) == (wants != 0)
            chosen = context.get(turns.chosen)
            if serve:
                behind = [(last + 1 + k) % clients for k in range(clients)]
                assert chosen == next(k for k in behind if wants >> k & 1)
                waited = [w + 1 if wants >> k & 1 else 0 for k, w in enumerate(waited)]
                waited[chosen] = 0
                assert max(waited) < clients
                wants ^= 1 << chosen
                last = chosen
            await context.tick()

    simulator = Simulator(turns)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


CHANGES: dict[tuple[type[Unit], str], dict[str, tuple[str, str]]] = {
    (Chunks, "elaborate"): {
        "the last chunk early": (
            "self.chunk_last.eq(whole < words)",
            "self.chunk_last.eq(whole <= words)",
        ),
        "the last chunk as long as others": ("Mux(self.chunk_last, left, gran", "Mux(0, 0, gran"),
        "the next chunk from the same place": (
            "address.eq(address + gran",
            "address.eq(address | gran",
        ),
        "too little is left": ("left.eq(left - gran", "left.eq(left - 1 - gran"),
    },
    (_Share, "_choose"): {
        "chunks without room or words": ("(each.chunk_words <= most[number])", "1"),
        "all clients' chunks are taken": ("turns.serve & (turns.chosen == number)", "turns.serve"),
    },
    (ReadShare, "elaborate"): {
        "every chunk is a last one": ('word["last"] & last', 'word["last"]'),
        "room for a chunk counts as for a word": ("Mux(takes, chunk.words, 0)", "takes"),
        "room does not come back": ("room[each] + leaves", "room[each]"),
        "words to the next client": ("(owner == each)", "(owner == each - 1)"),
    },
    (WriteShare, "elaborate"): {
        "a word more for each chunk": ("sent + 1 == words", "sent == words"),
        "done with every chunk": ("master.done & master.done_tag[0] &", "master.done &"),
        "words are promised twice": (
            "spare[each] + comes - Mux(takes, chunk.words, 0)",
            "spare[each] + comes",
        ),
    },
}
MUTANTS = {
    name: (*where, *each) for where, found in CHANGES.items() for name, each in found.items()
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [ReadShare, WriteShare])
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(
    name: str,
    kind: Any,
    monkeypatch: pytest.MonkeyPatch,
    mutate: Any,
    tmp_path: Path,
) -> None:
    owner, method, old, new = MUTANTS[name]
    if owner in (ReadShare, WriteShare) and owner is not kind:
        pytest.skip("it is in the other kind of share")
    mutate(owner, method, old, new, monkeypatch)
    share = share_of(kind, "64")
    # Those that never end would take long.
    cases = random_cases(kind, share.bus, share.clients, 4, 3 * share.chunk_beats)
    cases = [with_options(case, limit=4000) for case in cases]
    with pytest.raises((AssertionError, SimulationError)):  # noqa: PT012
        check(share, cases, tmp_path / "random")
        check_held(kind, tmp_path / "held")
