"""Programs for a whole chip, what they must leave in memory, and a run of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nofm.dataflow.accelerator import Accelerator, DataflowName, load
from nofm.dataflow.methods import METHODS
from nofm.dataflow.products import products
from nofm.rtl.chip.chip import chip_bus
from nofm.rtl.chip.stream_cases import Room, Values
from nofm.rtl.program.encoding import Descriptor, decode_program, encode_program
from nofm.rtl.program.forms import encode_columns, encode_forms, encode_rows, row_halves
from nofm.rtl.program.interpret import Chip
from nofm.rtl.program.lower import lower
from nofm.rtl.program.product import Target, program
from nofm.rtl.program.random_products import UNTOUCHED, compiled, layers, place, tensors
from nofm.rtl.program.sizes import HALF_BYTES, ChipSizes
from nofm.rtl.program.step import finished
from nofm.rtl.program.stream import write
from nofm.rtl.program.tiles import Cut
from nofm.rtl.program.training import Example, GoldenMachine, train
from nofm.rtl.sore.geometry import Geometry
from nofm.rtl.sore.job import SoreJob
from nofm.rtl.tools.cocotb_runner import Run, run
from nofm.workloads.layer import Linear

Halves = np.ndarray[Any, np.dtype[np.uint16]]

PROGRAM_AT = 0x3FF00
"""Where programs lie, in bytes: across a border of 4 KiB. All data lies below."""

MEMORY_BYTES = 0x80000

SMALL = {
    "array.rows": 2,
    "array.columns": 2,
    "array.interleave": 2,
    "array.group_port_elements": 2,
    "array.weight_registers": 2,
    "array.patterns": ["2:4"],
    "sore.lanes": 2,
    "wuve.lanes": 1,
    "vector.lanes": 2,
    "buffers.activation_kib": 2,
    "buffers.weight_kib": 2,
    "buffers.output_kib": 2,
    "dram.bandwidth_gbps": 1.6,
}
"""What of sat-4x4 is smaller in the smallest chip that trains with 2:4."""

MOST_JOBS = 100
"""A longer program of a random product takes too long to simulate."""


@dataclass(frozen=True)
class ProgramCase:
    """One program.

    Attributes:
        name: for people.
        program: its bytes.
        memory: before it, uint16 from address 0 on.
        after: what it must be then; of a program that does not end as it should, each element may
            also be what it was before.
        error: attributes of the error that it must end with; none, if it must end well.
        options: of its run, as `nofm.rtl.bench.chip_replay` has them.
    """

    name: str
    program: bytes
    memory: Halves
    after: Halves
    error: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


def small_accelerator() -> Accelerator:
    """The smallest accelerator whose chip does every unit's work."""
    return load("sat-4x4").with_values(name="small", **SMALL)


def random_product(accelerator: Accelerator, seed: int) -> ProgramCase | None:
    """A product of a layer by chance, or none where what was drawn is none or does not fit."""
    rng = np.random.default_rng(seed)
    target = Target(accelerator)
    layer = layers(rng)
    pattern = accelerator.array.patterns[int(rng.integers(len(accelerator.array.patterns)))]
    method = METHODS[str(rng.choice(["dense", "srste", "bdwp"]))]
    stage = str(rng.choice(["ff", "bp", "wu"]))
    placed = place(layer, tensors(rng, layer), pattern, None)
    jobs: list[Descriptor] = []
    searched = bool(rng.random() < 0.5)
    whole = products(layer, stage, method, pattern)
    cuts = []
    for product, parts in zip(whole, lower(layer, stage, method, pattern, placed.at), strict=True):
        made, cut = compiled(rng, target, product, parts, searched)
        if cut is None:
            return None
        cuts.append(cut.dataflow)
        jobs += made
    if not jobs or len(jobs) > MOST_JOBS:
        return None
    sparse = "dense" if whole[0].pattern.dense else str(pattern)
    name = f"{seed} {stage} {cuts[0]} {sparse} {type(layer).__name__}"
    words = encode_program(target.format, finished(jobs))
    found = case(name, accelerator, words, placed.memory)
    # Every output may be padding: then nothing is written.
    return found if (found.after != found.memory).any() else None


def linear_product(
    accelerator: Accelerator,
    name: str,
    sizes: tuple[int, int, int],
    tiles: tuple[int, int, int],
    dataflow: DataflowName = "ws",
    seed: int = 0,
) -> ProgramCase:
    """FF of a dense linear layer.

    Args:
        sizes: rows, inputs and outputs.
        tiles: those of a tile.
        seed: of the numbers in memory.
    """
    rng = np.random.default_rng(seed)
    target, pattern = Target(accelerator), accelerator.array.patterns[0]
    rows, inputs, outputs = sizes
    layer = Linear(name=name, batch=1, rows=rows, in_features=inputs, out_features=outputs)
    placed = place(layer, tensors(rng, layer), pattern, None)
    (parts,) = lower(layer, "ff", METHODS["dense"], pattern, placed.at)
    m, length, n = tiles
    cut = Cut(dataflow=dataflow, interleave=1, tile_m=m, tile_length=length, tile_n=n)
    words = encode_program(target.format, finished(program(target, parts, cut)))
    return case(name, accelerator, words, placed.memory)


def random_prune(accelerator: Accelerator, seed: int) -> ProgramCase:
    """Forms of matrices by chance, which no step of today's methods asks for alone."""
    rng = np.random.default_rng(seed)
    sizes, geometry = ChipSizes.of(accelerator), Geometry.of(accelerator)
    room, patterns = Room(rng), accelerator.array.patterns
    jobs: list[Values] = []
    data: list[Halves] = []
    for _ in range(2):
        pattern = patterns[int(rng.integers(len(patterns)))]
        taps, length, columns = (int(rng.integers(1, most)) for most in (3, 12, 14))
        job = SoreJob(pattern=pattern, taps=taps, length=length, columns=columns, both=True)
        places = [
            encode(sizes, job, room.take(taps * pattern.groups(groups) * row_halves(row, pattern)))
            for encode, groups, row in (
                (encode_rows, length, columns),
                (encode_columns, columns, length),
            )
        ]
        size = taps * length * columns
        values = job.fields(geometry) | room.scattered("dense_", size)
        jobs.append(values | encode_forms(sizes, job, *places))
        data.append(rng.standard_normal(size).astype(np.float16).view(np.uint16))
    memory = np.full(room.used, UNTOUCHED, np.uint16)
    for values, halves in zip(jobs, data, strict=True):
        write(sizes, "dense_", values, halves, memory)
    program = [
        Descriptor("prune", {"prune": values}, last=number == len(jobs) - 1)
        for number, values in enumerate(jobs)
    ]
    words = encode_program(Target(accelerator).format, program)
    return case(f"{seed} prune", accelerator, words, memory)


def case(name: str, accelerator: Accelerator, program: bytes, memory: Halves) -> ProgramCase:
    """A program that must end well; the golden model says with what."""
    after = memory.copy()
    Chip(accelerator, after).run(decode_program(Target(accelerator).format, program))
    return ProgramCase(name, program, memory, after)


def random_products(accelerator: Accelerator, seeds: Sequence[int]) -> list[ProgramCase]:
    """The products of some seeds, as far as there are some."""
    found = (random_product(accelerator, seed) for seed in seeds)
    return [each for each in found if each is not None]


def replay_programs(
    sources: Mapping[str, str] | Path,
    accelerator: Accelerator,
    cases: Sequence[ProgramCase],
    *,
    folder: Path,
    memory: Mapping[str, Any] | None = None,
    **options: Any,
) -> tuple[Run, list[list[str]]]:
    """Run programs on the RTL of a chip, and find what is wrong.

    Args:
        sources: Verilog of the chip.
        memory: attributes of `MemoryCase`.
        options: of `nofm.rtl.tools.cocotb_runner.run`.

    Returns:
        The run, and of each case what differs from what it must be.
    """
    bus = chip_bus(ChipSizes.of(accelerator))
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(cases))
    image = rng.integers(0, 256, MEMORY_BYTES, np.uint8).view(np.uint16)
    image.tofile(folder / "image.bin")
    runs = []
    for number, each in enumerate(cases):
        if each.memory.nbytes > PROGRAM_AT or len(each.program) > MEMORY_BYTES - PROGRAM_AT:
            raise ValueError(f"{each.name} does not fit the memory")
        data, path = (folder / f"{what}{number}.bin" for what in ("data", "program"))
        each.memory.tofile(data)
        path.write_bytes(each.program)
        told = {"program": str(path), "at": PROGRAM_AT, "limit": 400_000}
        runs.append({**told, "write": [[0, str(data)]], **each.options})
    done = run(
        sources,
        "nofm_chip",
        "nofm.rtl.bench.chip_replay",
        folder=folder,
        arguments={
            "hardware": accelerator.to_toml(),
            "memory": {"latency": 20, **(memory or {})},
            "rules": {"burst_beats": bus.burst_beats, "outstanding": bus.outstanding},
            "image": str(folder / "image.bin"),
            "window": [0, PROGRAM_AT],
            "watchdog": 4000,
            "runs": runs,
        },
        **options,
    )
    found = []
    for each, result in zip(cases, done.results["runs"], strict=True):
        before = image.copy()
        at = PROGRAM_AT // HALF_BYTES
        words = np.frombuffer(each.program, np.uint16)
        for whole, halves in ((before, each.memory), (image, each.after)):
            whole[: len(halves)] = halves
            whole[at : at + len(words)] = words
        found.append(_differences(each, result, before, image))
        image = np.fromfile(result["after"], np.uint16)
    return done, found


def replay_training(
    sources: Mapping[str, str] | Path,
    accelerator: Accelerator,
    example: Example,
    steps: int,
    *,
    folder: Path,
    memory: Mapping[str, Any] | None = None,
    **options: Any,
) -> tuple[Run, list[str]]:
    """Train on the RTL of a chip.

    Returns:
        The run, and what differs from the golden model's memory and losses, step by step.
    """
    bus = chip_bus(ChipSizes.of(accelerator))
    done = run(
        sources,
        "nofm_chip",
        "nofm.rtl.bench.chip_training",
        folder=folder,
        arguments={
            "hardware": accelerator.to_toml(),
            "example": asdict(example),
            "steps": steps,
            "memory": {"latency": 20, **(memory or {})},
            "rules": {"burst_beats": bus.burst_beats, "outstanding": bus.outstanding},
            "limit": 400_000,
            "watchdog": 4000,
        },
        **options,
    )
    # Wherever the chip's memory begins, that of the golden model begins at 0.
    step = example.step(accelerator)
    golden = train(GoldenMachine(step.target, step.elements), example, step, steps)
    found = []
    for number, (want, got) in enumerate(zip(golden, done.results["steps"], strict=False)):
        if "error" in got:
            found.append(f"step {number}: {got['error']}")
            break
        same = np.fromfile(got["memory"], np.uint16) == want.memory
        if not same.all() or got["loss"] != want.loss:
            found.append(f"step {number}: {np.count_nonzero(~same)} elements of memory differ")
    if len(done.results["steps"]) != steps:
        found.append(f"{len(done.results['steps'])} steps were made, not {steps}")
    return done, found


def _differences(
    each: ProgramCase, result: Mapping[str, Any], before: Halves, after: Halves
) -> list[str]:
    """What is wrong with one run."""
    got = np.fromfile(result["after"], np.uint16)
    same = got == after
    error = result.get("error", {})
    if each.error:
        same |= got == before
    elif error:
        return [error["text"]]
    told = []
    if wrong := {k: error.get(k) for k, v in each.error.items() if error.get(k) != v}:
        told.append(f"ends with {wrong} ({error.get('text')}), not {dict(each.error)}")
    if not same.all():
        at = np.flatnonzero(~same)
        told.append(f"{len(at)} elements of memory differ, the first at {at[0]:#x}")
    return told
