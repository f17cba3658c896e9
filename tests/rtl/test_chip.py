"""The whole chip: programs leave in memory what the golden model says, whatever memory does; and
what goes wrong is told, harms nothing, and is over with a reset."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofm.chip_program import MemoryTime
from nofm.chip_training import simulator_cycles, torch_losses
from nofm.dataflow.accelerator import Accelerator, load
from nofm.rtl.chip.chip import Chip
from nofm.rtl.chip.program_cases import (
    PROGRAM_AT,
    ProgramCase,
    case,
    random_product,
    random_products,
    random_prune,
    replay_programs,
    replay_training,
    small_accelerator,
)
from nofm.rtl.hierarchy import modules, together
from nofm.rtl.program.encoding import (
    Descriptor,
    ProgramError,
    decode_program,
    encode_program,
)
from nofm.rtl.program.product import Target
from nofm.rtl.program.sizes import ChipSizes
from nofm.rtl.program.training import METHODS_HERE, Example

SEEDS = (3, 8, 14, 24, 27, 28)
"""Of products: FF, BP and WU; WS and OS; dense and 2:4; convolutions and linear layers."""

CHANNELS = ("ar", "r", "aw", "w", "b")


@dataclass(frozen=True)
class Made:
    """A chip that was emitted; it is built when it first runs."""

    accelerator: Accelerator
    sources: dict[str, str]
    builds: Path
    tool: str
    hierarchical: tuple[str, ...] = ()
    optimized: bool = True

    @property
    def options(self) -> dict[str, Any]:
        """How it is built."""
        names = ("builds", "tool", "hierarchical", "optimized")
        return {name: getattr(self, name) for name in names}

    def programs(self, cases: Sequence[ProgramCase], folder: Path, **memory: Any) -> dict[str, Any]:
        """What is wrong with each case, by its name; nothing of those that are right."""
        done, found = replay_programs(
            *(self.sources, self.accelerator, cases),
            folder=folder,
            memory=memory,
            **self.options,
        )
        told = zip(cases, found, done.results["runs"], strict=True)
        return {each.name: (wrong, result) for each, wrong, result in told if wrong}

    def training(
        self, example: Example, steps: int, folder: Path, **memory: Any
    ) -> tuple[list[float], list[str]]:
        """The losses of a training run, and what is wrong with it: cycles, too, which are those of
        the simulator to within a hundredth and a few cycles."""
        speed = MemoryTime(latency=20, beats=1, cycles=1)
        done, found = replay_training(
            *(self.sources, self.accelerator, example, steps),
            folder=folder,
            memory={**memory, "latency": speed.latency, "bandwidth": [speed.beats, speed.cycles]},
            **self.options,
        )
        simulated = simulator_cycles(example.step(self.accelerator), speed)
        for step in done.results["steps"]:
            for program, cycles in simulated.items():
                took = step[program]["cycles"] if program in step else 0
                if abs(cycles - took) > 5 + took / 100:
                    found.append(f"{program}: {took} cycles, and {cycles} in the simulator")
        return [step.get("loss") for step in done.results["steps"]], found


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The small chip, in a simulator that starts at once."""
    accelerator = small_accelerator()
    sources = together(Chip(accelerator))
    return Made(accelerator, sources, tmp_path_factory.mktemp("chip"), "icarus")


@pytest.fixture(scope="session")
def small(quick: Made) -> Made:
    """The small chip, in a simulator that is fast once it is built."""
    return replace(quick, tool="verilator")


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The chip of a preset."""
    accelerator = load("sat-4x4")
    folder = tmp_path_factory.mktemp("chip")
    sources = modules(Chip(accelerator))
    # Compiling with optimization takes longer than all that is run.
    return Made(accelerator, sources, folder, "verilator", ("nofm_uspe",), optimized=False)


def product(made: Made, seed: int) -> ProgramCase:
    found = random_product(made.accelerator, seed)
    assert found is not None
    return found


def descriptors(made: Made, each: ProgramCase) -> list[Descriptor]:
    return decode_program(Target(made.accelerator).format, each.program)


def written(each: ProgramCase) -> tuple[int, int]:
    """From which byte on, and to below which, a program writes."""
    at = np.flatnonzero(each.after != each.memory)
    return 2 * int(at[0]), 2 * int(at[-1]) + 2


def test_the_seeds_try_everything() -> None:
    names = [each.name for each in random_products(small_accelerator(), SEEDS)]
    for what in ("ff", "bp", "wu", "ws", "os", "dense", "2:4", "Convolution", "Linear"):
        assert any(what in name for name in names), what


def test_a_product_and_a_prune(quick: Made, tmp_path: Path) -> None:
    """BP of a convolution, output stationary; a step has neither this nor the prune unit."""
    cases = [product(quick, 8), random_prune(quick.accelerator, 0)]
    assert quick.programs(cases, tmp_path) == {}


def test_a_training_step(quick: Made, tmp_path: Path) -> None:
    """The vector and update units too, in memory that begins where that of a board does."""
    example = Example("tiny", "bdwp", "2:4")
    _, wrong = quick.training(example, 1, tmp_path, base=0x4_0000_0000)
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("size", ["small", "large"])
def test_many_random_products(size: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    made: Made = request.getfixturevalue(size)
    cases = random_products(made.accelerator, [*SEEDS, *range(100, 160)])
    assert len(cases) >= 30
    cases += [random_prune(made.accelerator, seed) for seed in range(8)]
    assert made.programs(cases, tmp_path) == {}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS_HERE)
@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_training(network: str, method: str, large: Made, tmp_path: Path) -> None:
    """Memory is that of the golden model after every step, and the loss falls as torch's does."""
    example, steps = Example(network, method, "2:4"), 11
    losses, wrong = large.training(example, steps, tmp_path)
    assert wrong == []
    theirs = torch_losses(example, example.step(large.accelerator), steps)
    assert np.allclose(losses, theirs, rtol=0.02, atol=0.02), (losses, theirs)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.slow
def test_memories(small: Made, tmp_path: Path) -> None:
    """Any latency, and any bandwidth."""
    each = product(small, 29)
    memories: list[dict[str, Any]] = [
        *({"latency": latency} for latency in (1, 7, 40, 200)),
        *({"bandwidth": share} for share in ((1, 1), (3, 4), (1, 2), (1, 5))),
        {"latency": 200, "bandwidth": (1, 5)},
    ]
    cases = [replace(each, name=str(memory), options={"memory": memory}) for memory in memories]
    assert small.programs(cases, tmp_path) == {}


@pytest.mark.slow
def test_every_combination_of_pauses(small: Made, tmp_path: Path) -> None:
    """Idle and backpressure on the channels of memory."""
    each = product(small, 29)
    cases = [
        replace(
            each,
            name=" ".join(paused),
            options={
                "memory": {
                    "channels": dict.fromkeys(paused, "random:0.5"),
                    "latency": 1 + 9 * (number % 3),
                    "seed": number,
                }
            },
        )
        for count in range(1, len(CHANNELS) + 1)
        for number, paused in enumerate(itertools.combinations(CHANNELS, count))
    ]
    assert len(cases) == 31
    assert small.programs(cases, tmp_path) == {}


def ends_with(name: str, **told: Any) -> dict[str, Any]:
    return {"name": name, **told}


def with_sound_ones(cases: Sequence[ProgramCase], sound: ProgramCase) -> list[ProgramCase]:
    """Each case, and then a program that must run well."""
    return [each for bad in cases for each in (bad, replace(sound, name=f"after {bad.name}"))]


@pytest.mark.slow
def test_resets(small: Made, tmp_path: Path) -> None:
    """Whenever the host resets the chip, memory holds nothing but what the program writes, every
    burst that was asked for comes to its end, and the next program runs as if nothing had been."""
    each = product(small, 29)
    channels = dict.fromkeys(CHANNELS, "random:0.6")
    cases = [
        replace(
            each,
            name=f"reset after {cycles}",
            error=ends_with("reset"),
            options={
                "reset_after": cycles,
                "memory": {"channels": channels, "latency": 1 + cycles % 23, "seed": cycles},
            },
        )
        for cycles in (1, 2, 3, 5, *range(10, 1500, 61))
    ]
    assert small.programs(with_sound_ones(cases, product(small, 27)), tmp_path) == {}


def flipped(made: Made, each: ProgramCase, bit: int) -> ProgramCase:
    """A program with one bit that is another, and the error that it must end with."""
    words = bytearray(each.program)
    words[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ProgramError) as found:
        decode_program(Target(made.accelerator).format, bytes(words))
    error = found.value
    return replace(
        each,
        name=f"bit {bit}",
        program=bytes(words),
        error=ends_with(error.rule, descriptor=error.descriptor, address=PROGRAM_AT + error.offset),
    )


@pytest.mark.slow
def test_malformed_programs(small: Made, tmp_path: Path) -> None:
    """The chip says of every flipped bit what the decoder says of it, and runs well after."""
    each = product(small, 29)
    rng = np.random.default_rng(0)
    bits = [*range(0, 64, 3), *(int(bit) for bit in rng.integers(0, 8 * len(each.program), 60))]
    cases = [flipped(small, each, bit) for bit in bits]
    cut = replace(each, name="cut", program=each.program[:-8], error=ends_with("truncated"))
    sound = product(small, 27)
    assert small.programs([*cases, cut, sound], tmp_path) == {}


@pytest.mark.slow
def test_the_window(small: Made, tmp_path: Path) -> None:
    """Up to its edges, and no further: nothing outside of it is written."""
    each = product(small, 29)
    first, end = written(each)
    middle = (first + end) // 4 * 2

    def beyond(base: int, limit: int) -> ProgramCase:
        after = each.memory.copy()
        after[base // 2 : limit // 2] = each.after[base // 2 : limit // 2]
        return replace(
            each,
            name=f"window {base:#x} {limit:#x}",
            after=after,
            error=ends_with("window"),
            options={"window": (base, limit)},
        )

    whole = replace(each, name="whole", options={"window": (first, end)})
    edges = [(first + 2, end), (first, end - 2), (first, middle), (middle, end), (0, 0)]
    cases = with_sound_ones([beyond(*edge) for edge in edges], product(small, 27))
    assert small.programs([whole, *cases], tmp_path) == {}


@pytest.mark.slow
def test_errors_of_memory(small: Made, tmp_path: Path) -> None:
    """They are told, wherever they come up."""
    each = product(small, 29)
    first, end = written(each)
    size, words = each.memory.nbytes, len(each.program)
    bus = ChipSizes.of(small.accelerator).bus_bits // 8

    def failing(name: str, base: int, limit: int, response: int, **told: Any) -> ProgramCase:
        return replace(
            each,
            name=f"{name} {base:#x} {limit:#x}",
            error=ends_with(name, detail=response, **told),
            options={"memory": {"errors": [(base, limit, response)]}},
        )

    cases = [
        failing("read", PROGRAM_AT, PROGRAM_AT + 8, 2, address=PROGRAM_AT),
        failing("read", PROGRAM_AT + words - 8, PROGRAM_AT + words, 3),
        failing("read", 0, size, 3),
        failing("read", 0, size // 2, 2),
        failing("write", first // bus * bus, first // bus * bus + bus, 2),
        failing("write", end - 2, end, 3),
        failing("write", first, end, 2),
    ]
    assert small.programs(with_sound_ones(cases, product(small, 27)), tmp_path) == {}


Change = Callable[[dict[str, dict[str, int]]], None]


def less(unit: str, field: str, by: int = 1) -> Change:
    def change(jobs: dict[str, dict[str, int]]) -> None:
        jobs[unit][field] -= by

    return change


def without(unit: str) -> Change:
    def change(jobs: dict[str, dict[str, int]]) -> None:
        del jobs[unit]

    return change


LIES: dict[str, tuple[str, Change]] = {
    "a load of shorter runs": ("load_activations", less("load_activations", "run")),
    "a load of fewer runs": ("load_weights", less("load_weights", "run")),
    "no activations": ("product", without("feed_activations")),
    "no weights": ("product", without("feed_weights")),
    "no array": ("product", without("array")),
    "nobody takes results": ("product", without("collect")),
    "more results are wanted": ("product", less("collect", "outer", -1)),
}


def lying(made: Made, each: ProgramCase, name: str) -> ProgramCase:
    operation, change = LIES[name]
    program = descriptors(made, each)
    at = next(i for i, found in enumerate(program) if found.operation == operation)
    jobs = {unit: dict(job) for unit, job in program[at].jobs.items()}
    change(jobs)
    program[at] = replace(program[at], jobs=jobs)
    return replace(
        each,
        name=name,
        program=encode_program(Target(made.accelerator).format, program),
        error=ends_with("stalled"),
        options={"watchdog": 600},
    )


@pytest.mark.slow
def test_jobs_that_lie(small: Made, tmp_path: Path) -> None:
    """What can never end is ended by the watchdog, and a reset makes the chip whole again."""
    each = product(small, 29)
    cases = [lying(small, each, name) for name in LIES]
    assert small.programs(with_sound_ones(cases, product(small, 27)), tmp_path) == {}


def test_a_case_must_be_what_it_says(quick: Made) -> None:
    """A program that a golden model has run is compared with all of memory."""
    each = product(quick, 8)
    assert (case("", quick.accelerator, each.program, each.memory).after == each.after).all()
    assert (each.after != each.memory).any()
