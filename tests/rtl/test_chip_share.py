"""Sharing a master: every client gets and gives what a master of its own would have, at full rate.

The bench's checker watches the AXI ports in every cycle of every case.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import In, Out

from nofm.rtl.axi.bus import PAGE_BYTES, Bus, Command
from nofm.rtl.axi.cases import Bytes, MasterCase, differences, replay_masters
from nofm.rtl.bench.axi import MemoryCase
from nofm.rtl.bench.cases import Case
from nofm.rtl.chip.chunks import client_command, client_word
from nofm.rtl.chip.share import ReadShare, WriteShare
from nofm.rtl.fields import pack
from nofm.rtl.hierarchy import Unit, modules, place

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
    """A share with the ports that the bench of masters has, and `ended`, `done` as a stream."""

    def __init__(self, share: ReadShare | WriteShare) -> None:
        self.share = share
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
        for name in self._kept:
            outer, inner = getattr(self, name), getattr(share, name)
            into = self.signature.members[name].flow is In
            m.d.comb += inner.eq(outer) if into else outer.eq(inner)
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
        options: dict[str, Any] = {"idle": {"ask": waits[0]}, "seed": at}
        if kind is ReadShare:
            options["backpressure"] = {"out": waits[1]}
            cases.append(read_case(f"{at}", bus, commands, memory, **options))
        else:
            options["idle"]["in"] = waits[1]
            cases.append(write_case(f"{at}", bus, commands, memory, **options))
    return cases


SHARES = [("64", 3, 4, 8), ("64", 1, 2, 2), ("128", 4, 16, 64), ("256", 2, 8, 16)]


@pytest.mark.parametrize("kind", [ReadShare, WriteShare])
@pytest.mark.parametrize(("bus", "clients", "chunk", "queue"), SHARES)
def test_every_byte_whatever_waits(
    kind: Any, bus: str, clients: int, chunk: int, queue: int, tmp_path: Path
) -> None:
    share = kind(BUSES[bus], clients, chunk, queue)
    check(share, random_cases(kind, BUSES[bus], clients, 8, 3 * chunk), tmp_path)
