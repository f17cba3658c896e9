"""What a program waits for is needed: one that waits for less leaves something else in memory.

The golden model does jobs in any order that a program allows, so it shows every wait that a program
lacks. The chip does them in one order; programs whose loads take long show it there too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofm.rtl.chip.chip import Chip as ChipUnit
from nofm.rtl.chip.program_cases import (
    ProgramCase,
    linear_product,
    replay_programs,
    small_accelerator,
)
from nofm.rtl.hierarchy import together
from nofm.rtl.program.encoding import Descriptor, decode_program, encode_program
from nofm.rtl.program.interpret import Chip
from nofm.rtl.program.product import Target

ACCELERATOR = small_accelerator()
TARGET = Target(ACCELERATOR)

SLOW = {"latency": 100, "bandwidth": (1, 4)}
"""A memory behind which loads take longer than products."""

QUICK = {"latency": 1}
"""A memory behind which they are over while a product goes on."""

ORDERS = 16
"""Random orders in which the golden model does a program's jobs."""


def product(name: str, *args: Any, **options: Any) -> ProgramCase:
    return linear_product(ACCELERATOR, name, *args, **options)


def wide(seed: int = 0) -> ProgramCase:
    """Many weights and few activations."""
    return product("wide", (1, 16, 24), (1, 16, 24), seed=seed)


def tall(seed: int = 0) -> ProgramCase:
    """Few weights and many activations."""
    return product("tall", (24, 16, 2), (24, 16, 2), seed=seed)


def rows_in_tiles() -> ProgramCase:
    """Four tiles of rows, each of which takes longer to work on than to load."""
    return product("tiles of rows", (8, 16, 16), (2, 16, 16))


def columns_in_tiles() -> ProgramCase:
    """Four tiles of columns, likewise."""
    return product("tiles of columns", (8, 48, 12), (8, 48, 4))


def results_in_tiles() -> ProgramCase:
    """Two tiles of rows whose results are sooner there than those before them are stored."""
    return product("tiles of results", (120, 2, 4), (60, 2, 4))


def sums_in_tiles() -> ProgramCase:
    """Four tiles of one output, whose sums stay in the array."""
    return product("tiles of sums", (2, 32, 2), (2, 8, 2), "os")


def decoded(each: ProgramCase) -> list[Descriptor]:
    return decode_program(TARGET.format, each.program)


def changed(name: str, each: ProgramCase, program: list[Descriptor]) -> ProgramCase:
    """A case with another program, which is wrong."""
    assert program != decoded(each), f"{name} is no change"
    program = [replace(one, last=one is program[-1]) for one in program]
    return replace(each, name=name, program=encode_program(TARGET.format, program))


def without(each: ProgramCase, operation: str, *units: str) -> ProgramCase:
    """No descriptor of an operation waits for any of some units."""
    program = [
        replace(one, wait=tuple(name for name in one.wait if name not in units))
        if one.operation == operation
        else one
        for one in decoded(each)
    ]
    return changed(f"{each.name}: {operation} without {', '.join(units)}", each, program)


def restless(each: ProgramCase, operation: str) -> ProgramCase:
    """No descriptor of an operation waits for anything."""
    program = [
        replace(one, wait=()) if one.operation == operation else one for one in decoded(each)
    ]
    return changed(f"{each.name}: {operation} waits for nothing", each, program)


def early(each: ProgramCase) -> ProgramCase:
    """Every load stands before the product behind which it must stand, from the second one on: it
    is done while the product goes on that reads the same half."""
    program = decoded(each)
    at = [number for number, one in enumerate(program) if one.operation == "product"]
    assert len(at) >= 3
    found = program[: at[1]]
    for begin, end in zip(at[1:], [*at[2:], len(program)], strict=True):
        behind = program[begin + 1 : end]
        loads = [one for one in behind if one.operation.startswith("load")]
        found += [*loads, program[begin], *(one for one in behind if one not in loads)]
    return changed(f"{each.name}: loads are early", each, found)


def one_half(each: ProgramCase, **places: str) -> ProgramCase:
    """Both halves of a memory between units are one: by unit, the field that says where."""
    found = []
    for one in decoded(each):
        jobs = {unit: dict(job) for unit, job in one.jobs.items()}
        for unit, field in places.items():
            if unit in jobs:
                jobs[unit][field] = 0
        found.append(replace(one, jobs=jobs))
    return changed(f"{each.name}: one half for {' and '.join(places)}", each, found)


def orders(each: ProgramCase) -> Iterator[np.ndarray[Any, Any]]:
    """Memory after a program, in random orders."""
    for seed in range(ORDERS):
        memory = each.memory.copy()
        Chip(ACCELERATOR, memory, np.random.default_rng(seed)).run(decoded(each))
        yield memory


LACKING: dict[str, Callable[[], ProgramCase]] = {
    **{
        f"{operation} without {unit}": lambda o=operation, u=unit, t=tiled: without(t(), o, u)
        for operation, unit, tiled in (
            ("product", "load_activations", rows_in_tiles),
            ("product", "load_weights", columns_in_tiles),
            ("product", "feed_activations", sums_in_tiles),
            ("product", "feed_weights", sums_in_tiles),
            ("product", "store", rows_in_tiles),
            ("store", "collect", rows_in_tiles),
        )
    },
    "early activations": lambda: early(rows_in_tiles()),
    "early weights": lambda: early(columns_in_tiles()),
}
"""Programs that lack something, each of which some order must show."""


def test_any_order_of_a_sound_program_is_right() -> None:
    for make in (wide, tall, rows_in_tiles, columns_in_tiles, results_in_tiles, sums_in_tiles):
        each = make()
        for memory in orders(each):
            assert (memory == each.after).all(), each.name


@pytest.mark.parametrize("name", LACKING)
def test_an_order_shows_what_a_program_lacks(name: str) -> None:
    each = LACKING[name]()
    assert any((memory != each.after).any() for memory in orders(each))


def with_memory(each: ProgramCase, memory: dict[str, Any]) -> ProgramCase:
    return replace(each, options={**each.options, "memory": memory})


def shown_by_the_chip() -> list[ProgramCase]:
    """Programs that lack something which the chip's own order shows.

    A first product finds loads under way; one that is much larger than the other stays so.
    """
    rows, columns, results = rows_in_tiles(), columns_in_tiles(), results_in_tiles()
    weights = {"load_weights": "segment_start_to", "feed_weights": "held_start_at"}
    return [
        with_memory(without(wide(1), "product", "load_weights"), SLOW),
        with_memory(without(tall(1), "product", "load_activations"), SLOW),
        with_memory(restless(wide(2), "store"), QUICK),
        with_memory(early(rows), QUICK),
        with_memory(one_half(columns, **weights), QUICK),
        with_memory(one_half(results, collect="base", store="segment_start_row"), QUICK),
    ]


@pytest.mark.slow
def test_the_chip_shows_what_programs_lack(tmp_path: Path) -> None:
    """Each behind all sound programs, with other numbers in memory where they might be there."""
    sound = [
        *(with_memory(make(), SLOW) for make in (wide, tall)),
        *(with_memory(make(), QUICK) for make in (rows_in_tiles, columns_in_tiles)),
        with_memory(results_in_tiles(), QUICK),
    ]
    lacking = shown_by_the_chip()
    cases = [*sound, *lacking]
    _, found = replay_programs(
        *(together(ChipUnit(ACCELERATOR)), ACCELERATOR, cases), folder=tmp_path, tool="icarus"
    )
    told = {each.name: wrong for each, wrong in zip(cases, found, strict=True) if wrong}
    assert list(told) == [each.name for each in lacking], told
    for wrong in told.values():
        assert "elements of memory differ" in wrong[0], told
