"""Verification: the array as RTL against the golden model, bit for bit and cycle for cycle.

Simulator and RTL meet here, and in the tests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nofm.dataflow.accelerator import DATAFLOWS, Accelerator, DataflowName, hardware_record
from nofm.dataflow.products import Product
from nofm.dataflow.schedule import plan
from nofm.kernels.compressed import Compressed, compress
from nofm.kernels.errors import InputError, positive, unknown
from nofm.kernels.pattern import DENSE, Pattern
from nofm.simulator.timing import PARTS, array_cycles, evaluate

if TYPE_CHECKING:
    from nofm.rtl.bench.cases import Case
    from nofm.rtl.hierarchy import Unit
    from nofm.rtl.stce.cases import Matmul

STAGES = ("ff", "bp", "wu")
"""Stages of training; what the operands of a product look like depends on it."""
TOOLS = ("auto", "icarus", "verilator")
MOST_CYCLES = 2_000_000
"""A longer job would be simulated for hours."""
HIERARCHICAL = ("nofm_uspe",)
"""Modules that Verilator compiles once, however often they are placed."""
SPECIAL = np.array(
    [
        *(0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x8400),
        *(0x3C00, 0xBC00, 0x3C01, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0x7D55, 0xFE00),
    ],
    np.uint16,
).view(np.float16)
"""Zeros, subnormals, the smallest and largest normal numbers, one, infinities and NaN."""


@dataclass(frozen=True, kw_only=True)
class Gemm:
    """`count` products [m, taps x length] x [.., n], the right operand N:M along the length.

    Attributes:
        dataflow: "ws" or "os"; None for the scheduler's choice.
        interleave: V; None for the scheduler's choice.
        stage: ff, bp or wu.
        seed: of the operands.
        special: the share of operands that are one of `SPECIAL`.
        idle, backpressure: patterns of the streams, as `nofm.rtl.bench.patterns` reads them.
    """

    m: int
    length: int
    n: int
    pattern: Pattern = DENSE
    dataflow: DataflowName | None = None
    stage: str = "ff"
    seed: int = 0
    count: int = 1
    taps: int = 1
    interleave: int | None = None
    special: float = 0.0
    idle: str = "steady"
    backpressure: str = "steady"

    def __str__(self) -> str:
        return f"{self.work} {self.stage}"

    @property
    def work(self) -> str:
        """Sizes, pattern and dataflow, for people."""
        sizes = f"{self.m}x{self.taps * self.length}x{self.n}"
        times = f"{self.count} x " if self.count > 1 else ""
        return f"{times}{sizes} {self.pattern} {self.dataflow or 'offline'}"

    def operands(self) -> tuple[Any, Compressed]:
        """Activations float16 [count, m, taps, length] and weights [count, taps, length, n]."""
        activations, weights = random_operands(self)
        return activations, compress(weights, self.pattern)

    def document(self) -> dict[str, Any]:
        """Entries of a verdict for `--json`."""
        found = {field.name: getattr(self, field.name) for field in fields(Gemm)}
        return {"gemm": found | {"pattern": str(self.pattern)}}


@dataclass(frozen=True)
class Verdict:
    """What the RTL made of a product.

    Attributes:
        gemm: the product, with the dataflow and interleave that it ran with.
        bit_exact: every result has the golden model's bits, and none is missing or left over.
        rtl_cycles, simulator_cycles: by the counter in the RTL, and by the simulator.
        parts_equal: the RTL's counters of what the cycles went to are the simulator's, too.
        tool: that ran the RTL, with its version.
        differences: the first few, as texts.
        waveform: of a run that differed.
    """

    gemm: Gemm
    bit_exact: bool
    rtl_cycles: int | None
    simulator_cycles: int
    parts_equal: bool
    tool: str
    differences: tuple[str, ...] = ()
    waveform: Path | None = None

    @property
    def cycles_equal(self) -> bool:
        """Cycles, and what they went to, are the same."""
        return self.parts_equal and self.rtl_cycles == self.simulator_cycles

    @property
    def equal(self) -> bool:
        """Bits and cycles are the same."""
        return self.bit_exact and self.cycles_equal

    def document(self) -> dict[str, Any]:
        """The verdict for `--json`."""
        return {
            "bit_exact": self.bit_exact,
            "cycles": {"rtl": self.rtl_cycles, "simulator": self.simulator_cycles},
            "parts_equal": self.parts_equal,
            "tool": self.tool,
            **self.gemm.document(),
            "differences": list(self.differences),
            "waveform": None if self.waveform is None else str(self.waveform),
        }


def random_gemms(accelerator: Accelerator, number: int, seed: int) -> Iterator[Gemm]:
    """Small products of every kind that the array can do, ragged edges, special data, idle streams
    and backpressure among them."""
    array = accelerator.array
    rng = np.random.default_rng(seed)
    dense = [Pattern(g, g) for g in range(1, array.weight_registers + 1)]
    patterns = [*array.patterns, *dense]
    streams = ["steady", "random:0.7", "random:0.3", "bursts:9:4"]
    for _ in range(number):
        pattern = patterns[rng.integers(len(patterns))]
        taps = int(rng.integers(1, 4))
        yield Gemm(
            m=int(rng.integers(1, 3 * array.rows + 4)),
            length=int(rng.integers(1, 1 + max(8, 2 * array.rows * pattern.m // taps))),
            n=int(rng.integers(1, 2 * array.columns + 4)),
            pattern=pattern,
            dataflow=array.dataflows[rng.integers(len(array.dataflows))],
            stage=STAGES[rng.integers(len(STAGES))],
            seed=int(rng.integers(2**31)),
            count=int(rng.integers(1, 3)),
            taps=taps,
            interleave=int(rng.integers(1, array.interleave + 1)),
            special=float(rng.choice([0.0, 0.0, 0.02, 0.5])),
            idle=streams[rng.integers(len(streams))],
            backpressure=streams[rng.integers(len(streams))],
        )


def random_operands(gemm: Gemm) -> tuple[Any, Any]:
    """Activations float16 [count, m, taps, length] and weights [count, taps, length, n].

    They look like those of the stage: outputs of ReLU, weights, and small gradients with many
    subnormal numbers.
    """
    rng = np.random.default_rng(gemm.seed)

    def relu(shape: tuple[int, ...]) -> Any:
        return np.maximum(rng.standard_normal(shape), 0)

    def weight(shape: tuple[int, ...]) -> Any:
        return 0.1 * rng.standard_normal(shape)

    def gradient(shape: tuple[int, ...]) -> Any:
        return 1e-4 * rng.standard_normal(shape)

    kinds = {"ff": (relu, weight), "bp": (gradient, weight), "wu": (relu, gradient)}
    shapes = (
        (gemm.count, gemm.m, gemm.taps, gemm.length),
        (gemm.count, gemm.taps, gemm.length, gemm.n),
    )
    found = []
    for kind, shape in zip(kinds[gemm.stage], shapes, strict=True):
        values = kind(shape).astype(np.float16)
        chosen = rng.random(shape) < gemm.special
        found.append(np.where(chosen, rng.choice(SPECIAL, shape), values))
    return found[0], found[1]


def scheduled(gemm: Gemm, accelerator: Accelerator) -> Gemm:
    """The product with the dataflow and the interleave that the offline scheduler gives it.

    Raises:
        InputError: the accelerator cannot compute it.
    """
    accelerator.require_pattern(gemm.pattern)
    if gemm.stage not in STAGES:
        raise unknown("stage", gemm.stage, STAGES)
    for name in ("m", "length", "n", "count", "taps"):
        positive(name, getattr(gemm, name), at_most=1 << 20)
    if gemm.interleave is not None:
        return gemm
    product = Product(
        count=gemm.count,
        m=gemm.m,
        taps=gemm.taps,
        length=gemm.length,
        n=gemm.n,
        left="activation",
        right="weight",
        out="activation",
        pattern=gemm.pattern,
    )
    chosen, interleave = mapped(product, str(gemm), accelerator, gemm.dataflow)
    return replace(gemm, dataflow=chosen, interleave=interleave)


def mapped(
    product: Product, name: str, accelerator: Accelerator, dataflow: DataflowName | None
) -> tuple[DataflowName, int]:
    """The dataflow and the interleave that the offline scheduler gives a product.

    Args:
        name: for errors.
        dataflow: if only one is allowed.

    Raises:
        InputError: the accelerator cannot compute it.
    """
    allowed = np.array([[dataflow in (None, known) for known in DATAFLOWS]])
    hardware = hardware_record(accelerator)
    mapping = plan([product], [name], accelerator, hardware, allowed, evaluate).mappings[0]
    return DATAFLOWS[int(mapping["dataflow"])], int(mapping["interleave"])


def matmul_job(gemm: Gemm, accelerator: Accelerator) -> Matmul:
    """The job of a scheduled product, with its data and the simulator's cycles.

    Raises:
        InputError: it would be simulated for hours.
    """
    from nofm.rtl.stce.cases import Matmul
    from nofm.rtl.stce.job import StceJob

    assert gemm.dataflow is not None
    assert gemm.interleave is not None
    activations, weights = gemm.operands()
    pattern = gemm.pattern
    counted = array_cycles(
        hardware_record(accelerator),
        DATAFLOWS.index(gemm.dataflow),
        gemm.interleave,
        pattern.n,
        pattern.m,
        gemm.count,
        gemm.m,
        gemm.taps,
        gemm.length,
        gemm.n,
    ).tolist()
    if counted[0] > MOST_CYCLES:
        raise InputError(
            f"a product to verify must take at most {MOST_CYCLES} cycles, not {counted[0]}"
        )
    job = StceJob(
        dataflow=gemm.dataflow,
        pattern=pattern,
        interleave=gemm.interleave,
        count=gemm.count,
        m=gemm.m,
        groups=gemm.taps * pattern.groups(gemm.length),
        n=gemm.n,
    )
    parts = dict(zip(PARTS, counted[1:], strict=True))
    return Matmul(job, activations, weights, counted[0], parts)


def dataflow(name: str) -> DataflowName:
    """A dataflow by name.

    Raises:
        InputError: there is none of that name.
    """
    for known in DATAFLOWS:
        if known == name:
            return known
    raise unknown("dataflow", name, DATAFLOWS)


def to_json(
    verdicts: Sequence[Verdict], one: bool = False, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """The document of `nofm verify --json`: of one product, or of many (docs/json.md)."""
    if one:
        return {"schema": "nofm.verification/1", **verdicts[0].document()}
    return {
        "schema": "nofm.verifications/1",
        "bit_exact": all(verdict.bit_exact for verdict in verdicts),
        "cycles_equal": all(verdict.cycles_equal for verdict in verdicts),
        "tool": verdicts[0].tool,
        "cases": [verdict.document() for verdict in verdicts],
        "notes": list(notes),
    }


class Array:
    """The array of an accelerator, ready to be simulated as RTL.

    Raises:
        InputError: it cannot be built, or a tool is missing.
    """

    def __init__(
        self, accelerator: Accelerator, folder: Path | None = None, tool: str = "auto"
    ) -> None:
        from nofm.rtl.engines import build

        if tool not in TOOLS:
            raise unknown("simulator", tool, TOOLS)
        self.accelerator, self.tool = accelerator, tool
        self.folder = cache_folder() if folder is None else folder
        self.top: Unit = build(accelerator, ["stce"])["stce"].top
        self.sources: dict[str, str] = {}

    def emit(self) -> None:
        """Write the Verilog; without it the first run does."""
        from nofm.rtl.hierarchy import modules

        self.sources = self.sources or modules(self.top)

    def verify(
        self, gemms: Sequence[Gemm], progress: Callable[[int], None] = lambda _: None
    ) -> list[Verdict]:
        """Run products, each from reset, a few in each run of the simulator.

        Args:
            progress: told how many products are done, as they are.
        """
        self.emit()
        ready = [scheduled(gemm, self.accelerator) for gemm in gemms]
        verdicts: list[Verdict] = []
        for at in range(0, len(ready), 5):
            verdicts += self._some(ready[at : at + 5])
            progress(len(verdicts))
        return verdicts

    def _case(self, gemm: Gemm) -> tuple[Case, Matmul]:
        from nofm.rtl.stce.cases import case
        from nofm.rtl.stce.geometry import Geometry

        job = matmul_job(gemm, self.accelerator)
        streams = ("activations", "row_weights", "column_weights")
        return (
            case(
                str(gemm),
                Geometry.of(self.accelerator),
                [job],
                idle=dict.fromkeys(streams, gemm.idle),
                backpressure={"results": gemm.backpressure},
                seed=gemm.seed,
            ),
            job,
        )

    def _some(self, gemms: Sequence[Gemm]) -> list[Verdict]:
        from nofm.rtl.tools.cocotb_runner import replay

        made = [self._case(gemm) for gemm in gemms]
        run = replay(
            self.sources,
            self.top.module_name,
            [case for case, _ in made],
            folder=self.folder,
            tool=self.tool,
            hierarchical=HIERARCHICAL,
            name=f"run-{os.getpid()}",
            cycles=2 * sum(job.cycles for _, job in made),
        )
        verdicts = []
        for gemm, (case, job), result in zip(gemms, made, run.results["cases"], strict=True):
            busy = result["jobs"][0]["count_busy"] if result["jobs"] else None
            told = tuple(result["differences"])
            verdict = Verdict(
                gemm=gemm,
                bit_exact=result["bit_exact"],
                rtl_cycles=busy,
                simulator_cycles=job.cycles,
                parts_equal=result["counters_equal"],
                tool=f"{run.tool} {run.version}",
                differences=(result["error"], *told) if result["error"] else told,
            )
            if not verdict.equal:
                verdict = replace(verdict, waveform=self._waveform(case, gemm))
            verdicts.append(verdict)
        return verdicts

    def _waveform(self, case: Case, gemm: Gemm) -> Path | None:
        """Run a product that differed again, alone, and keep its waveform."""
        from nofm.rtl.tools.cocotb_runner import replay

        again = replay(
            self.sources,
            self.top.module_name,
            [case],
            folder=self.folder,
            tool=self.tool,
            hierarchical=HIERARCHICAL,
            name=f"differs-{gemm.seed}",
            waveform=True,
        )
        return again.waveform


def cache_folder() -> Path:
    """Where builds are kept from one run to the next."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "nofm" / "rtl"
