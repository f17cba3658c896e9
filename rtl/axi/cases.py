"""Cases for the bench of masters: commands with a memory, and what must come of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nofm.rtl.axi.bus import Bus, Command, read_word
from nofm.rtl.bench.axi import MemoryCase
from nofm.rtl.bench.cases import Case, write_cases
from nofm.rtl.fields import pack
from nofm.rtl.tools.cocotb_runner import Run, run

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True, eq=False)
class MasterCase:
    """A case with its memory.

    Attributes:
        case: what streams in and out.
        memory: how it behaves.
        image: uint8 [bytes], what it holds at the beginning, from `memory.base` on.
        after: what it must hold at the end.
    """

    case: Case
    memory: MemoryCase
    image: Bytes
    after: Bytes


def words_of(run: Bytes, bus: Bus, tag: int) -> Iterator[int]:
    """The words of a `ReadMaster` for one command whose bytes are `run`."""
    size = bus.data_bytes
    for start in range(0, len(run), size):
        part = run[start : start + size]
        values = {
            "data": int.from_bytes(part.tobytes(), "little"),
            "granules": len(part) // bus.granule_bytes - 1,
            "last": int(start + size >= len(run)),
            "tag": tag,
        }
        yield pack(read_word(bus), values)


def read_case(
    name: str,
    bus: Bus,
    commands: Sequence[Command],
    memory: MemoryCase,
    image: Bytes,
    **options: Any,
) -> MasterCase:
    """A `ReadMaster`'s case: the words are the bytes of `image`.

    Args:
        name: of the case.
        bus: of the master.
        commands: what it is told.
        memory, image: as of `MasterCase`.
        options: further attributes of the case.
    """
    wanted: list[int] = []
    for command in commands:
        start = command.address - memory.base
        run = image[start : start + command.length_bytes]
        if command.zero:
            run = np.zeros(command.length_bytes, np.uint8)
        wanted += words_of(run, bus, command.tag)
    case = Case(
        name=name,
        inputs={"command": [[command.encode_read(bus) for command in commands]]},
        outputs={"out": [wanted]},
        jobs=len(commands),
        **options,
    )
    return MasterCase(case, memory, image, image)


def write_case(
    name: str,
    bus: Bus,
    commands: Sequence[Command],
    memory: MemoryCase,
    image: Bytes,
    data: Sequence[Bytes],
    **options: Any,
) -> MasterCase:
    """A `WriteMaster`'s case: `image` becomes what `data`, a run of bytes a command, makes of it.

    Args:
        name, bus, commands, memory, image, options: as of `read_case`.
        data: uint8 [`length_bytes`] for each command.
    """
    after = image.copy()
    words = []
    for command, run_ in zip(commands, data, strict=True):
        start = command.address - memory.base
        after[start : start + command.length_bytes] = run_
        words += [
            int.from_bytes(run_[at : at + bus.data_bytes].tobytes(), "little")
            for at in range(0, len(run_), bus.data_bytes)
        ]
    tags = [command.tag for command in commands]
    case = Case(
        name=name,
        inputs={
            "command": [[command.encode_write(bus) for command in commands]],
            "in": [words],
        },
        outputs={},
        jobs=len(commands),
        counters={"done_tag": tags},
        **options,
    )
    return MasterCase(case, memory, image, after)


def replay_masters(
    sources: Mapping[str, str],
    top: str,
    bus: Bus,
    cases: Sequence[MasterCase],
    *,
    folder: Path,
    name: str = "run",
    **options: Any,
) -> Run:
    """Run a master through cases; `results["cases"]` is as `nofm.rtl.bench.axi_replay` says.

    Args:
        sources, top, folder, name, options: as in `nofm.rtl.tools.cocotb_runner.run`.
        bus: of the master.
        cases: what it gets and what must come of it.

    Raises:
        InputError, SimulationError: as `run` does. What a case finds is no error.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.npz"
    write_cases(path, [each.case for each in cases])
    memories = []
    for number, each in enumerate(cases):
        image = folder / f"{name}-{number}.npy"
        np.save(image, each.image)
        memories.append({**asdict(each.memory), "image": str(image)})
    counters = dict.fromkeys(name for each in cases for name in each.case.counters)
    done = run(
        sources,
        top,
        "nofm.rtl.bench.axi_replay",
        folder=folder,
        name=name,
        arguments={
            "cases": str(path),
            "memories": memories,
            "counters": list(counters),
            "rules": {"burst_beats": bus.burst_beats, "outstanding": bus.outstanding},
        },
        **options,
    )
    return done


def differences(case: MasterCase, result: Mapping[str, Any]) -> list[str]:
    """What a result of `replay_masters` has against it, beside what the master says of errors."""
    found = [] if result["error"] is None else [str(result["error"])]
    found += result["differences"]
    # A case that ended early has written what it has.
    after = np.load(result["after"], allow_pickle=False)
    wrong = np.flatnonzero(after != case.after)
    if len(wrong):
        at = int(wrong[0])
        found.append(
            f"{len(wrong)} bytes of memory differ: at {case.memory.base + at:#x} is "
            f"{after[at]:02x}, not {case.after[at]:02x}"
        )
    if result["state"]["busy"]:
        found.append("busy at the end")
    return found


def with_options(case: MasterCase, **options: Any) -> MasterCase:
    """The same, with other attributes of its `Case`."""
    return replace(case, case=replace(case.case, **options))
