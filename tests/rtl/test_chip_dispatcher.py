"""The dispatcher against the decoder in Python: what it accepts, hands out, waits for, refuses."""

from __future__ import annotations

import random
import struct
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nofm.dataflow.accelerator import load
from nofm.rtl.chip.dispatcher import Dispatcher
from nofm.rtl.fields import pack
from nofm.rtl.hierarchy import Emitted, Unit, emitted, modules
from nofm.rtl.program.descriptors import (
    FAULTS,
    MAGIC,
    WORD_BITS,
    Operation,
    ProgramFormat,
    sealed,
)
from nofm.rtl.program.encoding import (
    Descriptor,
    ProgramError,
    encode_program,
    walk_program,
)
from nofm.rtl.tools.cocotb_runner import run

SAT = load("sat-4x4")

SMALL = ProgramFormat.made(
    {
        "barrier": Operation(0x01, "nothing", {}),
        "one": Operation(0x02, "one word", {"one": lambda _: {"a": 7, "b": 20}}),
        "full": Operation(0x40, "whole words", {"full": lambda _: {"a": 64, "b": 64}}),
        "many": Operation(
            0x81,
            "several units",
            {
                "first": lambda _: {"a": 1},
                "second": lambda _: {"a": 40, "b": 40},
                "third": lambda _: {"a": 64},
            },
        ),
    },
    SAT,
)
"""A format with everything in little: words that are used in part or in full, units to choose."""

Told = dict[str, Any]


def descriptors(form: ProgramFormat, rng: random.Random, count: int) -> list[Descriptor]:
    found = []
    for number in range(count):
        layout = rng.choice(form.operations)
        jobs = {
            unit.name: {name: rng.getrandbits(bits) for name, bits in unit.fields.items()}
            for unit in layout.units
            if not layout.chooses or rng.random() < 0.7
        }
        wait = tuple(unit.name for unit in form.units if rng.random() < 0.3)
        found.append(Descriptor(layout.name, jobs, wait, number == count - 1))
    return found


def words_of(data: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(data) // 8}Q", data))


def bytes_of(words: list[int]) -> bytes:
    return struct.pack(f"<{len(words)}Q", *words)


def program(words: list[int], seed: int = 0, **options: Any) -> Told:
    return {
        "words": words,
        "total": len(words),
        "idle": "steady",
        "backpressure": "steady",
        "busy": 0,
        "seed": seed,
        "stop_at": None,
        "limit": 40 * len(words) + 200,
        **options,
    }


def simulate(
    form: ProgramFormat,
    programs: list[Told],
    folder: Path,
    sources: dict[str, str] | None = None,
) -> list[dict[str, Any]]:
    top = Dispatcher(form)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(Path(__file__).parent), *sys.path])
        done = run(
            sources or modules(top),
            top.module_name,
            "chip_dispatcher_bench",
            folder=folder,
            tool="icarus",
            arguments={"units": [unit.name for unit in form.units], "programs": programs},
        )
    results: list[dict[str, Any]] = done.results["programs"]
    return results


def complaints(form: ProgramFormat, told: Told, result: dict[str, Any]) -> list[str]:
    """What a result has against it: the decoder in Python says what must have come of a program."""
    data = bytes_of(told["words"][: told["total"]])
    sound: list[tuple[int, Descriptor]] = []
    fault: ProgramError | None = None
    try:
        sound.extend(walk_program(form, data))
    except ProgramError as error:
        fault = error
    found = [] if result["error"] is None else [result["error"]]

    def check(what: str, seen: object, wanted: object) -> None:
        if seen != wanted:
            found.append(f"{what} is {seen}, not {wanted}")

    check("end", result["ended"], "error" if fault else "done")
    if fault:
        check("code", result["code"], FAULTS[fault.rule].code)
        check("descriptor", result["descriptor"], fault.descriptor)
        check("offset", 8 * result["offset"], fault.offset)
    else:
        check("descriptor", result["descriptor"], len(sound) - 1)
        check("units at the end", result["units_busy"], 0)
    check("busy", result["busy"], 0)
    numbers = {unit.name: unit.number for unit in form.units}
    fields = {unit.name: unit.fields for unit in form.units}
    wanted = [
        sorted((numbers[name], pack(fields[name], job)) for name, job in each.jobs.items())
        for _, each in sound
    ]
    check(
        "the units' jobs",
        sorted((unit, word) for unit, word, _, _ in result["jobs"]),
        sorted(job for jobs in wanted for job in jobs),
    )
    if found:
        return found
    # Jobs of a descriptor are offered in one cycle, and descriptors one after the other.
    jobs = iter(sorted(result["jobs"], key=lambda job: (job[2], job[0])))
    before = -1
    for (_, each), group in zip(sound, wanted, strict=True):
        given = [next(jobs) for _ in group]
        check("a descriptor's jobs", [(unit, word) for unit, word, _, _ in given], group)
        if not given:
            continue
        cycles = {cycle for _, _, cycle, _ in given}
        check("cycles of a descriptor's offers", len(cycles), 1)
        if min(cycles) <= before:
            found.append(f"descriptors changed places in cycle {min(cycles)}")
        before = max(cycles)
        mask = sum(1 << numbers[name] for name in each.wait)
        for _, _, _, busy in given:
            check("units that were to be idle", busy & mask, 0)
    return found


def check_all(form: ProgramFormat, programs: list[Told], results: list[dict[str, Any]]) -> None:
    for number, (told, result) in enumerate(zip(programs, results, strict=True)):
        assert complaints(form, told, result) == [], number


MOVES = ("steady", "random:0.5", "bursts:1:7")


def sound_programs(form: ProgramFormat, rng: random.Random, count: int, size: int) -> list[Told]:
    return [
        program(
            words_of(encode_program(form, descriptors(form, rng, rng.randint(1, size)))),
            seed=seed,
            idle=MOVES[seed % 3],
            backpressure=MOVES[seed // 3 % 3],
            busy=(0, 3, 40)[seed // 9 % 3],
        )
        for seed in range(count)
    ]


def broken_programs(form: ProgramFormat, rng: random.Random, count: int) -> list[Told]:
    """Programs with bits flipped, words lost, doubled, swapped or random, and such with a checksum
    that is right all the same."""
    found = []
    for seed in range(count):
        words = words_of(encode_program(form, descriptors(form, rng, rng.randint(1, 4))))
        at = rng.randrange(len(words))
        kind = seed % 8
        if kind < 2:
            for _ in range(rng.randint(1, 3)):
                words[rng.randrange(len(words))] ^= 1 << rng.randrange(WORD_BITS)
        elif kind == 2:
            words = words[:at]
        elif kind == 3:
            words = words[:at] + words[at + 1 :]
        elif kind == 4:
            words.insert(at, rng.choice([rng.getrandbits(64), words[0], 0]))
        elif kind == 5:
            words = [rng.getrandbits(64) for _ in range(rng.randint(1, 6))]
            words[0] = words[0] & ~0xFF | MAGIC
            if rng.random() < 0.7:
                words[0] = words[0] & ~0xFF00 | rng.choice(form.operations).opcode << 8
        else:
            words = _resealed(form, words, rng)
        found.append(program(words, seed, idle=MOVES[seed % 3], backpressure=MOVES[seed // 3 % 3]))
    return found


def _resealed(form: ProgramFormat, words: list[int], rng: random.Random) -> list[int]:
    """A bit of some descriptor flipped, behind which its checksum is made anew."""
    starts = [at // 8 for at, _ in walk_program(form, bytes_of(words))]
    first, end = rng.choice(list(zip(starts, [*starts[1:], len(words)], strict=True)))
    part = words[first:end]
    at = rng.randrange(len(part))
    part[at] ^= 1 << rng.randrange(48 if at == 0 else WORD_BITS)
    return [*words[:first], *sealed(part), *words[end:]]


def every_bit(form: ProgramFormat) -> list[Told]:
    """Every bit of a descriptor of each kind flipped, mostly with a checksum made anew."""
    rng = random.Random(5)
    found = []
    for layout in form.operations:
        jobs = {
            unit.name: {name: rng.getrandbits(bits) for name, bits in unit.fields.items()}
            for unit in layout.units
            if unit.name != "second"
        }
        sound = words_of(encode_program(form, [Descriptor(layout.name, jobs, (), True)]))
        for bit in range(WORD_BITS * len(sound)):
            words = list(sound)
            words[bit // WORD_BITS] ^= 1 << bit % WORD_BITS
            found.append(program(words if 48 <= bit < 64 or bit % 5 == 0 else sealed(words)))
    return found


def test_programs_are_done_in_order(tmp_path: Path) -> None:
    """The chip's own format: every bit of every job arrives, in order, when units are idle."""
    form = ProgramFormat.of(SAT)
    programs = sound_programs(form, random.Random(1), 27, 6)
    check_all(form, programs, simulate(form, programs, tmp_path))


def steady(form: ProgramFormat, seed: int) -> tuple[Told, int]:
    """A program that never waits, and its cycles."""
    rng = random.Random(seed)
    parts = [replace(each, wait=()) for each in descriptors(form, rng, 12)]
    words = words_of(encode_program(form, parts))
    payload = sum(form.by_name[each.operation].words for each in parts)
    return program(words), payload + 4 * len(parts)


def test_what_python_refuses_is_refused(tmp_path: Path) -> None:
    """More than a thousand sound and broken programs: the same end, fault, descriptor and place."""
    rng = random.Random(2)
    programs = [*sound_programs(SMALL, rng, 81, 8), *broken_programs(SMALL, rng, 500)]
    programs += every_bit(SMALL)
    # None at all, and more words there than it is told of.
    words = programs[0]["words"]
    programs.append(program([]))
    programs += [program(words, total=total) for total in range(1, len(words) + 1)]
    results = simulate(SMALL, programs, tmp_path)
    check_all(SMALL, programs, results)
    assert {result["code"] for result in results if result["ended"] == "error"} == {
        FAULTS[name].code for name in list(FAULTS)[:8]
    }
    assert sum(result["ended"] == "done" for result in results) > 150


def test_cycles(tmp_path: Path) -> None:
    """Back to back, each descriptor takes its words and four cycles; causes of waiting add up."""
    runs = [steady(SMALL, seed) for seed in range(4)]
    waiting = sound_programs(SMALL, random.Random(6), 27, 8)
    results = simulate(SMALL, [*(told for told, _ in runs), *waiting], tmp_path)
    for (told, cycles), result in zip(runs, results, strict=False):
        # The first word is offered one cycle behind the start; `done` is a cycle of its own.
        waits = {"words": 1, "idle": 0, "unit": 0, "end": result["waits"]["end"]}
        assert result["waits"] == waits, told
        assert result["waits"]["end"] <= 1
        assert result["cycle"] == cycles + 2 + sum(waits.values())
    for told, result in zip(waiting, results[4:], strict=True):
        sound = [each for _, each in walk_program(SMALL, bytes_of(told["words"]))]
        least = sum(SMALL.by_name[each.operation].words + 4 for each in sound)
        assert result["cycle"] == least + 2 + sum(result["waits"].values())


def test_stop_ends_it_at_any_moment(tmp_path: Path) -> None:
    """What was offered is taken, and nothing else: a beginning of the program's jobs."""
    rng = random.Random(3)
    parts = [replace(each, last=False) for each in descriptors(SMALL, rng, 6)]
    words = words_of(encode_program(SMALL, [*parts, Descriptor("barrier", last=True)]))
    told = [
        program(words, at, stop_at=at, limit=at + 60, backpressure="bursts:1:3", busy=5)
        for at in range(1, 60)
    ]
    sound = [each for _, each in walk_program(SMALL, bytes_of(words))]
    groups = [
        [
            (unit.number, pack(unit.fields, each.jobs[unit.name]))
            for unit in SMALL.units
            if unit.name in each.jobs
        ]
        for each in sound
    ]
    for result in simulate(SMALL, told, tmp_path):
        assert result["error"] is None
        assert result["ended"] in ("none", "done")
        assert result["busy"] == 0
        given = sorted((unit, word) for unit, word, _, _ in result["jobs"])
        begun = [
            sorted(job for group in groups[:n] for job in group) for n in range(len(groups) + 1)
        ]
        assert given in begun


MUTANTS: dict[str, tuple[str, str, str]] = {
    "the checksum does not count": ("elaborate", "found != wanted", "(found != wanted) & last"),
    "bits that must be 0 do not count": ("elaborate", "m.If(not_zero)", "m.If(not_zero & last)"),
    "it waits for one unit less": (
        "elaborate",
        "(self.unit_busy & wait)",
        "(self.unit_busy & wait)[1:]",
    ),
    "it does not wait at the end": (
        "elaborate",
        'now("END") & self.unit_busy.any()',
        'now("END") & self.unit_busy[0]',
    ),
    "the end comes without being asked for": ("_header_fault", "~last & ends", "0"),
    "words behind the end do not count": ("_header_fault", "last & ~ends", "0"),
    "a descriptor may be longer than the program": ("_header_fault", "~fits", "0"),
    "lengths are all right": ("_header_fault", "~right.any()", "0"),
    "a unit that is not there may have a job": ("_not_zero", "& ~self._present[k]", "& 0"),
    "a unit that is not there gets its job": ("_units", "here & self._present[k] if", "here if"),
    "jobs stand a word off": ("_wire_jobs", "(begin + first)", "(begin + first - 1)"),
    "the last fault is told": ("_header_fault", "in reversed(found)", "in found"),
    "a job that is not taken is lost": (
        "elaborate",
        "m.d.sync += offered.eq(offered & ~ready)\n",
        "m.d.sync += offered.eq(0)\n",
    ),
    "the next one begins too early": (
        "elaborate",
        "~(offered & ~ready).any()",
        "~(offered & ~ready).all()",
    ),
}
"""A method of the dispatcher, and what is changed in it."""

QUICK = ("the checksum does not count", "it waits for one unit less")


@pytest.fixture(scope="module")
def sound() -> list[Emitted]:
    return list(emitted(Dispatcher(SMALL)))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in MUTANTS]
)
def test_a_mutant_is_caught(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    mutate: Any,
    remake: Any,
    sound: list[Emitted],
    tmp_path: Path,
) -> None:
    kind: type[Unit] = Dispatcher
    mutate(kind, *MUTANTS[name], monkeypatch)
    rng = random.Random(4)
    programs = [*sound_programs(SMALL, rng, 27, 8), *broken_programs(SMALL, rng, 120)]
    results = simulate(SMALL, programs, tmp_path, remake(sound, kind))
    assert any(
        complaints(SMALL, told, result) for told, result in zip(programs, results, strict=True)
    )
