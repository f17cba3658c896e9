"""Products measured: dense and N:M in turns, on one machine, each result checked in the same run.

What differs between devices is in `_devices`: each has one N:M kernel or several, which say what
they lack and give the dense products to compare with, of which the quickest counts. The rest is
here: random operands, repeats in turns, medians and spread, and the check of each result against
float64.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from nofm.kernels.compressed import MAX_SHARING, Compressed, compress, decompress
from nofm.kernels.errors import InputError, positive, unknown
from nofm.kernels.pattern import Pattern

DTYPES: Mapping[str, type[np.floating[Any]]] = {"float32": np.float32, "float16": np.float16}
"""Types of stored operands; sums are float32."""

LEAST_PAIRS = 5
SHORTEST = 500e-6
"""Seconds that are timed at least, in as many calls as it takes: a clock may move in steps."""
CHECKED = 2**31
"""Multiply-accumulates of a check; of a larger product only some samples are checked."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A product [m, taps * length] by [taps * length, n], N of every M weights kept.

    Attributes:
        m, taps, length, n: sizes; groups lie along `length`.
        pattern: of the weights.
        sharing: outputs that share a mask.
        dtype: a name of `DTYPES`.
        layout: "rows" or "columns", see `spmm.matmul`.
        stage: of training, "ff" or "bp".
        layers: names of the layers whose product it is; empty where it is nobody's.
    """

    m: int
    taps: int = 1
    length: int
    n: int
    pattern: Pattern
    sharing: int = 1
    dtype: str = "float32"
    layout: str = "rows"
    stage: str = "ff"
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("m", "taps", "length", "n"):
            positive(f"gemm: {name}", getattr(self, name), at_most=2**24)
        positive("sharing", self.sharing, at_most=MAX_SHARING)
        if self.dtype not in DTYPES:
            raise unknown("dtype", self.dtype, DTYPES)

    @property
    def k(self) -> int:
        """Length of the reduction."""
        return self.taps * self.length

    def described(self) -> dict[str, Any]:
        """Entries of a `Described`, but for the device."""
        return {
            "m": self.m,
            "k": self.k,
            "n": self.n,
            "pattern": str(self.pattern),
            "mask_sharing": self.sharing,
            "dtype": self.dtype,
            "layout": self.layout,
            "stage": self.stage,
            "layers": len(self.layers),
            "layer": self.layers[0] if self.layers else "",
        }


@dataclass(frozen=True, eq=False)
class Operands:
    """Of a case: `a` [m, k] or [k, m] by its layout, the dense weights [k, n] before they were
    pruned, and the pruned ones."""

    a: Any
    dense: Any
    weights: Compressed


Run = Callable[[], Any]


class Kernel(Protocol):
    """An N:M kernel, and where it is measured."""

    kernel: str

    def missing(self) -> str | None:
        """Why nothing can be measured here, or None."""

    def takes(self, case: Case) -> bool:
        """Whether the kernel can compute a case."""

    def limits(self, threads: int) -> AbstractContextManager[None]:
        """Inside it every library uses so many threads."""

    def dense(self, case: Case, operands: Operands) -> dict[str, Run]:
        """Dense products by name; each call computes it once."""

    def sparse(self, case: Case, operands: Operands, threads: int) -> tuple[Run, float, int]:
        """The N:M product; the bound of its error, relative to the sum of magnitudes; and bytes of
        the weights that it reads."""

    def fetch(self, case: Case, result: Any) -> Any:
        """What a call gave, as an array in the case's layout."""

    def seconds(self, run: Run, threads: int) -> float:
        """How long one call takes."""

    def describe(self) -> dict[str, Any]:
        """The machine."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """Which product a result is of: a `Case`, as docs/kernels.md documents it."""

    m: int
    k: int
    n: int
    pattern: str
    mask_sharing: int
    dtype: str
    layout: str
    stage: str
    layers: int
    layer: str
    device: str


@dataclass(frozen=True, kw_only=True)
class Result(Described):
    """One measured product; docs/kernels.md documents each field.

    Attributes:
        dense_seconds, sparse_seconds: medians.
        speedup: of these medians.
        speedup_low, speedup_high: quartiles of the speedups of single pairs.
        ideal: M/N.
        max_error: largest error of a result over its sum of magnitudes, |a| |w|.
        error_bound: what the kernel's order of additions allows for that.
        checked_rows: samples whose results were checked.
    """

    threads: int
    kernel: str
    dense_kernel: str
    dense_seconds: float
    sparse_seconds: float
    speedup: float
    speedup_low: float
    speedup_high: float
    ideal: float
    sparse_gflops: float
    dense_gflops: float
    pairs: int
    max_error: float
    error_bound: float
    checked_rows: int
    value_bytes: int
    index_bytes: int
    read_bytes: int
    dense_bytes: int

    @property
    def correct(self) -> bool:
        """Whether every checked result is as near as the bound says."""
        return self.max_error <= self.error_bound


def _devices() -> dict[str, tuple[Kernel, ...]]:
    from nofm.kernels import measure_cuda
    from nofm.kernels.measure_arm import Arm
    from nofm.kernels.measure_cpu import Cpu

    return {"cpu": (Cpu(),), "arm": (Arm(),), "cuda": measure_cuda.KERNELS}


def kernels(name: str) -> tuple[list[Kernel], dict[str, str]]:
    """The kernels of a device, and why others cannot run here, by their names.

    Raises:
        InputError: there is no such device, or none of its kernels can run.
    """
    found = _devices()
    if name not in found:
        raise unknown("device", name, found)
    lacking = {one.kernel: one.missing() for one in found[name]}
    usable = [one for one in found[name] if lacking[one.kernel] is None]
    skipped = {kernel: reason for kernel, reason in lacking.items() if reason is not None}
    if not usable:
        raise InputError(f"device {name!r} is skipped: {next(iter(skipped.values()))}")
    return usable, skipped


def measure(
    cases: Iterable[Case],
    on: str = "cpu",
    *,
    threads: int = 1,
    seconds: float = 2.0,
    seed: int = 1,
    progress: Callable[[str, int, int], None] = lambda what, done, of: None,
) -> list[Result]:
    """Measure products one after the other.

    Args:
        cases: the products.
        on: a name of a device.
        threads: of both products.
        seconds: about, for each case; at least `LEAST_PAIRS` pairs are run whatever they take.
        seed: of the random operands.
        progress: called with a text, the cases done and how many there are.

    Raises:
        InputError: the device cannot be used.
    """
    cases, (usable, _) = list(cases), kernels(on)
    results = []
    for done, case in enumerate(cases):
        text = f"{case.m}x{case.k}x{case.n} {case.pattern}, {case.sharing} a mask"
        progress(text, done, len(cases))
        results += [
            _measured(case, on, one, threads, seconds, seed) for one in usable if one.takes(case)
        ]
    progress("measured", len(cases), len(cases))
    return results


def operands(case: Case, seed: int) -> Operands:
    """Random operands of a case."""
    rng = np.random.default_rng(seed)
    kind = DTYPES[case.dtype]
    a = rng.standard_normal((case.m, case.k), np.float32).astype(kind)
    dense = rng.standard_normal((case.taps, case.length, case.n), np.float32).astype(kind)
    weights = compress(dense, case.pattern, case.sharing)
    shaped = a if case.layout == "rows" else np.ascontiguousarray(a.T)
    return Operands(shaped, dense.reshape(case.k, case.n), weights)


def _measured(
    case: Case, name: str, chosen: Kernel, threads: int, budget: float, seed: int
) -> Result:
    given = operands(case, seed)
    run, bound, read_bytes = chosen.sparse(case, given, threads)
    worst, checked = error(case, given, chosen.fetch(case, run()))
    rivals = chosen.dense(case, given)
    # The first call of a library makes its threads and buffers; the best of the next ones counts.
    trials = {
        rival: min(chosen.seconds(one, threads) for _ in range(4)) for rival, one in rivals.items()
    }
    best = min(trials, key=lambda rival: trials[rival])
    start = time.perf_counter()
    trial = chosen.seconds(run, threads)
    # A device may wait before it measures.
    pair = max(trials[best] + trial, 2 * (time.perf_counter() - start))
    count = max(LEAST_PAIRS, min(200, int(budget / pair)))
    calls, own = _calls(trials[best]), _calls(trial)
    dense, sparse = [], []
    for _ in range(count):
        dense.append(_seconds(chosen, rivals[best], threads, calls))
        sparse.append(_seconds(chosen, run, threads, own))
    low, _, high = statistics.quantiles(
        (d / s for d, s in zip(dense, sparse, strict=True)), n=4, method="inclusive"
    )
    slow, quick = statistics.median(dense), statistics.median(sparse)
    flops = 2 * case.m * case.k * case.n
    kept = case.taps * case.pattern.kept(case.length)
    return Result(
        **case.described(),
        device=name,
        threads=threads,
        kernel=chosen.kernel,
        dense_kernel=best,
        dense_seconds=slow,
        sparse_seconds=quick,
        speedup=slow / quick,
        speedup_low=low,
        speedup_high=high,
        ideal=case.k / kept,
        sparse_gflops=flops / case.k * kept / quick / 1e9,
        dense_gflops=flops / slow / 1e9,
        pairs=count,
        max_error=worst,
        error_bound=bound,
        checked_rows=checked,
        value_bytes=given.weights.value_bytes,
        index_bytes=given.weights.index_bytes,
        read_bytes=read_bytes,
        dense_bytes=given.dense.nbytes,
    )


def _calls(seconds: float) -> int:
    """How many calls are timed together, of a product that takes so long."""
    return max(1, min(1000, round(SHORTEST / max(seconds, 1e-6))))


def _seconds(chosen: Kernel, run: Run, threads: int, calls: int) -> float:
    """How long a call takes, when so many are timed together; never 0, whatever the clock says."""

    def together() -> None:
        for _ in range(calls):
            run()

    return max(chosen.seconds(together if calls > 1 else run, threads), 1e-9) / calls


def error(case: Case, given: Operands, found: Any) -> tuple[float, int]:
    """The largest error over the sum of magnitudes, and how many samples were checked."""
    count = max(1, min(case.m, CHECKED // (case.k * case.n)))
    rows = np.linspace(0, case.m - 1, count).astype(np.intp)
    by_rows = case.layout == "rows"
    a = (given.a[rows] if by_rows else given.a[:, rows].T).astype(np.float64)
    results = (found[rows] if by_rows else found[:, rows].T).astype(np.float64)
    dense = decompress(given.weights).reshape(case.k, case.n).astype(np.float64)
    distance, magnitude = np.abs(results - a @ dense), np.abs(a) @ np.abs(dense)
    # Where nothing is added, nothing may come out.
    scale = np.where(magnitude > 0, magnitude, 1)
    return float((distance / scale).max()), count


def rows(results: Iterable[Result]) -> list[dict[str, Any]]:
    """Results as JSON objects."""
    return [asdict(result) for result in results]
