"""Cycles of whole jobs: what the simulator says of a chip's programs, and what its RTL takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nofm.chip_program import MemoryTime, ProgramTime
from nofm.dataflow.accelerator import DATAFLOWS, Accelerator, hardware_record
from nofm.dataflow.mapping import MAPPING, candidates
from nofm.dataflow.methods import METHODS
from nofm.dataflow.products import Product, product_records, products
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.rtl.pregeneration.geometry import Geometry as UpdateGeometry
from nofm.rtl.program.encoding import Descriptor, encode_program
from nofm.rtl.program.image import feature_map
from nofm.rtl.program.layout import Beats, Form, Tensors
from nofm.rtl.program.lower import lower
from nofm.rtl.program.product import Target, fitting
from nofm.rtl.program.step import ALIGNED, finished
from nofm.rtl.program.tiles import Cut
from nofm.simulator.timing import evaluate
from nofm.workloads.layer import Convolution, Linear, WeightLayer

Array = np.ndarray[Any, Any]
PAGE = 4096


def product_costs(accelerator: Accelerator, found: Sequence[Product], cuts: Sequence[Cut]) -> Array:
    """What the simulator of layers says of products as programs cut them: `COST` [products]."""
    mappings = np.zeros(len(found), MAPPING)
    for at, cut in enumerate(cuts):
        mappings[at]["product"] = at
        mappings[at]["tile_count"] = 1
        for name in ("interleave", "tile_m", "tile_length", "tile_n"):
            mappings[at][name] = getattr(cut, name)
        mappings[at]["m_outer"] = cut.m_outer
        mappings[at]["dataflow"] = DATAFLOWS.index(cut.dataflow)
    hardware = np.atleast_1d(hardware_record(accelerator))
    return evaluate(hardware, product_records(list(found)), mappings)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A stage of a layer on a chip with a memory."""

    layer: WeightLayer
    stage: str
    method: str
    pattern: Pattern
    memory: MemoryTime
    products: tuple[Product, ...]
    cuts: tuple[Cut, ...]
    program: tuple[Descriptor, ...]
    elements: int
    costs: Array

    @property
    def layer_cycles(self) -> int:
        """That the simulator of layers says it takes, which knows no cost of control."""
        return int(self.costs["cycles"].sum())

    def simulated(self, accelerator: Accelerator, address: int) -> dict[str, int]:
        """What the simulator of programs says, with the program at an address (`ProgramTime`)."""
        return ProgramTime(Target(accelerator), self.program, address).run(self.memory)

    def __str__(self) -> str:
        layer = self.layer
        if isinstance(layer, Linear):
            what = f"linear {layer.rows * layer.batch}x{layer.in_features}x{layer.out_features}"
        else:
            assert isinstance(layer, Convolution)
            side = "x".join(map(str, (layer.batch, *layer.size)))
            what = f"conv {side} {layer.in_channels}>{layer.out_channels}"
            what += f" k{layer.kernel[0]} s{layer.stride[0]}"
        flows = "+".join(sorted({cut.dataflow for cut in self.cuts}))
        pattern = self.products[0].pattern
        return f"{what} {self.stage} {'dense' if pattern.dense else pattern} {flows}"


def _layer(rng: np.random.Generator) -> WeightLayer:
    if rng.random() < 0.4:
        return Linear(
            name="linear",
            batch=1,
            rows=int(rng.integers(8, 129)),
            in_features=int(rng.integers(16, 257)),
            out_features=int(rng.integers(8, 129)),
        )
    kernel, stride = int(rng.integers(1, 4)), int(rng.choice([1, 1, 2]))
    side = int(rng.integers(4, 13))
    return Convolution(
        name="convolution",
        batch=int(rng.integers(1, 5)),
        in_channels=int(rng.integers(2, 33)),
        out_channels=int(rng.integers(4, 33)),
        size=(side, side),
        kernel=(kernel, kernel),
        stride=(stride, stride),
        padding=((kernel // 2, kernel // 2),) * 2,
        dilation=(1, 1),
    )


def _place(
    layer: WeightLayer, accelerator: Accelerator, pattern: Pattern, pruned: bool
) -> tuple[Tensors, int]:
    """Room for all tensors of a layer, and the elements of memory."""
    end = 0

    def room(elements: int) -> int:
        nonlocal end
        at, end = end, end + -(-elements // ALIGNED) * ALIGNED
        return at

    if isinstance(layer, Linear):
        sizes: tuple[Any, Any] = (layer.rows,), (layer.rows,)
        channels, taps = (layer.in_features, layer.out_features), 1
    else:
        assert isinstance(layer, Convolution)
        sizes = layer.size, layer.output_size
        channels, taps = (layer.in_channels, layer.out_channels), int(np.prod(layer.kernel))
    large, small = (feature_map(layer, s, c, 0) for s, c in zip(sizes, channels, strict=True))
    lanes = UpdateGeometry.of(accelerator).sore.lanes // 2
    return Tensors(
        input=replace(large, address=room(large.elements)),
        input_gradient=replace(large, address=room(large.elements)),
        output=replace(small, address=room(small.elements)),
        gradient=replace(small, address=room(small.elements)),
        weight=room(layer.weight_elements),
        along_large=room(Form(0, pattern, channels[1]).rows(taps, channels[0])),
        along_small=room(Form(0, pattern, channels[0]).rows(taps, channels[1])),
        weight_gradient=room(layer.weight_elements),
        beats=Beats(pattern.m, lanes) if pruned else None,
    ), end


def random_case(
    rng: np.random.Generator, accelerator: Accelerator, cycles: tuple[int, int] = (2000, 9000)
) -> Case | None:
    """A random stage of a random layer with one of the mappings that the scheduler looks at; None
    where it has no program, or takes fewer or more cycles than is wanted."""
    layer = _layer(rng)
    pattern = Pattern.parse(str(rng.choice(["1:2", "2:4", "1:4", "2:8", "4:8", "4:16"])))
    method = METHODS[str(rng.choice(["dense", "bdwp"]))]
    stage = str(rng.choice(["ff", "bp", "wu"]))
    memory = MemoryTime(int(rng.integers(5, 61)), *((1, 1), (1, 2), (3, 4))[rng.integers(3)])
    machine = memory.behind(accelerator)
    whole = products(layer, stage, method, pattern)
    if not whole:
        return None
    tensors, elements = _place(layer, accelerator, pattern, method.name != "dense")
    target = Target(accelerator)
    # Mappings for smaller buffers have more steps, and the chip can run them too.
    room = {
        f"buffers.{name}_kib": min(
            int(getattr(machine.buffers, f"{name}_kib")), int(rng.choice([2, 4, 16]))
        )
        for name in ("activation", "weight", "output")
    }
    hardware = np.atleast_1d(hardware_record(machine.with_values(**room)))
    cuts, program = [], []
    for product, parts in zip(whole, lower(layer, stage, method, pattern, tensors), strict=True):
        found, _ = candidates(hardware, product_records([product]))
        if not len(found):
            return None
        cut = Cut.of(found[rng.integers(len(found))])
        if (
            not cycles[0]
            <= len(whole) * product_costs(machine, [product], [cut])["cycles"][0]
            <= cycles[1]
        ):
            return None
        try:
            cut, made = fitting(target, parts, cut)
        except InputError:
            return None
        cuts.append(cut)
        program += made
    return Case(
        layer=layer,
        stage=stage,
        method=method.name,
        pattern=pattern,
        memory=memory,
        products=tuple(whole),
        cuts=tuple(cuts),
        program=tuple(finished(program)),
        elements=elements,
        costs=product_costs(machine, whole, cuts),
    )


def random_cases(seed: int, accelerator: Accelerator, count: int) -> list[Case]:
    """So many random cases."""
    rng = np.random.default_rng(seed)
    found: list[Case] = []
    while len(found) < count:
        if (case := random_case(rng, accelerator)) is not None:
            found.append(case)
    return found


def programs_at(cases: Sequence[Case]) -> int:
    """Where the programs of cases lie that are measured together, in bytes."""
    return -(-2 * max(case.elements for case in cases) // PAGE) * PAGE


def measure(
    cases: Sequence[Case],
    accelerator: Accelerator,
    sources: Mapping[str, str] | Path,
    *,
    folder: Path,
    **options: Any,
) -> list[dict[str, int]]:
    """The chip's counters after each of the cases, one after the other in one simulation.

    Raises:
        SimulationError: a program did not end well.
    """
    from nofm.rtl.chip.chip import chip_bus
    from nofm.rtl.tools.cocotb_runner import SimulationError, run

    target = Target(accelerator)
    bus = chip_bus(target.sizes)
    folder.mkdir(parents=True, exist_ok=True)
    at = programs_at(cases)
    programs = [encode_program(target.format, list(case.program)) for case in cases]
    image = folder / "image.bin"
    image.write_bytes(np.random.default_rng(0).bytes(at + max(map(len, programs)) + PAGE))
    runs = []
    for number, (case, program) in enumerate(zip(cases, programs, strict=True)):
        path = folder / f"program{number}.bin"
        path.write_bytes(program)
        runs.append(
            {
                "program": str(path),
                "at": at,
                "limit": 20000 + 8 * case.layer_cycles,
                "write": [],
                "memory": {
                    "latency": case.memory.latency,
                    "bandwidth": [case.memory.beats, case.memory.cycles],
                },
            }
        )
    done = run(
        sources,
        "nofm_chip",
        "nofm.rtl.bench.chip_replay",
        folder=folder,
        **{"hierarchical": ("nofm_uspe",), "tool": "verilator", **options},
        arguments={
            "hardware": accelerator.to_toml(),
            "memory": {"latency": 20, "bandwidth": [1, 1]},
            "rules": {
                "burst_beats": bus.burst_beats,
                "outstanding": bus.outstanding,
            },
            "image": str(image),
            "window": [0, at],
            "watchdog": 5000,
            "runs": runs,
        },
    )
    found = []
    for number, result in enumerate(done.results["runs"]):
        if "error" in result:
            raise SimulationError(f"case {number}: {result['error']['text']}")
        found.append(dict(result["counters"]))
    return found
