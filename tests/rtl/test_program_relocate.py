"""Programs for memory that begins elsewhere: the same bits, moved."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from nofm.dataflow.accelerator import load
from nofm.kernels.errors import InputError
from nofm.rtl.chip.program_cases import random_products, random_prune, small_accelerator
from nofm.rtl.program.descriptors import ProgramFormat
from nofm.rtl.program.encoding import decode_program
from nofm.rtl.program.interpret import Chip
from nofm.rtl.program.product import Target
from nofm.rtl.program.relocate import PAGE, START, relocated
from nofm.rtl.program.sizes import ADDRESS_BITS, ChipSizes
from nofm.rtl.program.training import (
    Example,
    GoldenMachine,
    Trained,
    memory_bytes,
    program_at,
    train,
)

BOARD = 0x4_0000_0000
"""Where the memory of many boards begins."""


@pytest.mark.parametrize("preset", ["sat-4x4", "sat-32x32"])
def test_what_moves_is_all_that_is_as_wide_as_an_address(preset: str) -> None:
    accelerator = load(preset).with_values(**{"dram.bandwidth_gbps": 1.6})
    wide = ChipSizes.of(accelerator).memory_bits
    starts = [
        (name, bits)
        for unit in ProgramFormat.of(accelerator).units
        for name, bits in unit.fields.items()
        if "start_" in name
    ]
    assert {name for name, bits in starts if bits == wide} == {
        name for name, _ in starts if name.endswith(START)
    }
    assert not any(bits > wide for _, bits in starts)


def test_random_programs_leave_the_same_image_moved() -> None:
    """Nothing before or behind it is touched, in any order of jobs."""
    accelerator = small_accelerator()
    form = Target(accelerator).format
    cases = random_products(accelerator, range(60))
    cases += [random_prune(accelerator, seed) for seed in range(4)]
    assert len(cases) >= 30
    rng = np.random.default_rng(7)
    for each in cases:
        pages = int(rng.integers(1, 9))
        by = pages * PAGE // 2
        guard = rng.integers(0, 1 << 16, by + 3000, np.uint16)
        memory = np.concatenate([guard[:by], each.memory, guard[by:]])
        program = relocated(decode_program(form, each.program), pages * PAGE)
        Chip(accelerator, memory, rng if pages % 2 else None).run(program)
        want = np.concatenate([guard[:by], each.after, guard[by:]])
        assert np.array_equal(memory, want), each.name


def trained(base: int, network: str = "tiny") -> list[Trained]:
    example = Example(network, "bdwp", "2:4")
    step = example.step(load("sat-4x4"), base)
    assert program_at(step) % PAGE == 0
    assert 0 < program_at(step) - base < memory_bytes(step)
    return list(train(GoldenMachine(step.target, step.elements, base), example, step, 2))


def test_training_elsewhere() -> None:
    """Up to the very end of addresses."""
    example = Example("tiny", "bdwp", "2:4")
    here = example.step(load("sat-4x4"))
    last = (1 << ADDRESS_BITS) - memory_bytes(here)
    for base in (PAGE, BOARD, last):
        step = example.step(load("sat-4x4"), base)
        for moved, own in ((step.forward, here.forward), (step.backward, here.backward)):
            assert relocated(moved, -base) == own
            jobs = [job for each in moved for job in each.jobs.values()]
            starts = [v for job in jobs for name, v in job.items() if name.endswith(START)]
            assert starts
            assert min(starts) >= base // 2
            assert max(starts) < base // 2 + here.elements
        assert same(trained(base), trained(0))


def same(some: list[Trained], others: list[Trained]) -> bool:
    """Whether two runs are equal in all that they found."""
    return all(
        np.array_equal(getattr(a, field.name), getattr(b, field.name))
        for a, b in zip(some, others, strict=True)
        for field in fields(Trained)
    )


def test_a_program_does_not_reach_what_lies_at_0() -> None:
    """Tensors at a base, in an image that begins at 0: the programs' own addresses are used."""
    accelerator = load("sat-4x4")
    example = Example("tiny", "srste", "2:4")
    here, there = example.step(accelerator), example.step(accelerator, 3 * PAGE)
    first = here.memory(*example.weights(here))
    whole = np.concatenate([np.full(3 * PAGE // 2, 0x7E00, np.uint16), first])
    for mine, theirs in ((here.forward, there.forward), (here.backward, there.backward)):
        Chip(accelerator, first).run(mine)
        Chip(accelerator, whole).run(theirs)
    assert np.array_equal(whole[3 * PAGE // 2 :], first)
    assert (whole[: 3 * PAGE // 2] == 0x7E00).all()


END = 1 << ADDRESS_BITS


@pytest.mark.parametrize(
    "base", [-PAGE, 2, PAGE + 64, 1 << ADDRESS_BITS, (1 << ADDRESS_BITS) - PAGE]
)
def test_bases_that_are_none(base: int) -> None:
    accelerator = load("sat-4x4")
    example = Example("mlp", "dense", "2:4")
    size = 2 * example.step(accelerator).elements
    assert size > PAGE
    said = (
        f"a memory of {size} bytes must begin at a multiple of 4096 and end at {END:#x} at most, "
        f"not begin at {base:#x}"
    )

    def refused(make: Any) -> str:
        with pytest.raises(InputError) as found:
            make()
        return str(found.value)

    assert refused(lambda: example.step(accelerator, base)) == said
    assert refused(lambda: GoldenMachine(Target(accelerator), size // 2, base)) == said


def test_a_golden_memory_has_an_end() -> None:
    machine = GoldenMachine(Target(load("sat-4x4")), 8, BOARD)
    machine.write(BOARD + 4, b"\1\2\3")
    assert machine.read(BOARD, 16) == bytes([0, 0, 0, 0, 1, 2, 3, *[0] * 9])
    for address, size in ((BOARD - 2, 2), (BOARD + 8, 9), (0, 2)):
        with pytest.raises(InputError) as found:
            machine.read(address, size)
        assert str(found.value) == (
            f"memory is from {BOARD:#x} to {BOARD + 16:#x}, not {size} bytes at {address:#x}"
        )
