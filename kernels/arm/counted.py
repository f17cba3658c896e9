"""Products whose instructions on ARM are counted exactly, and whose cycles are estimated.

The kernel is run on an emulated processor, its result is checked, and nothing is timed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

from nofm.kernels.arm import build, estimate
from nofm.kernels.arm.emulate import Counts, Emulator
from nofm.kernels.arm.spmm import KERNEL, matmul, prepare
from nofm.kernels.measure import Case, Described, error, operands
from nofm.kernels.pattern import DENSE
from nofm.kernels.spmm import error_bound

DENSE_ROWS = (2, 4, 8)
"""Rows of the tiles of dense products; the best of them counts."""

DENSE_KERNEL = "the same kernel, nothing pruned, the best of its tiles"


@dataclass(frozen=True, kw_only=True)
class Counted(Described):
    """One product; docs/kernels.md documents each field.

    Attributes:
        instructions_per_mac: instructions for each kept weight and sample.
        estimated_cycles: by core; None without llvm-mca.
        checked_rows: samples that were emulated, and checked. The counts are those of all m.
    """

    kernel: str
    dense_kernel: str
    instructions: int
    fma_instructions: int
    load_instructions: int
    store_instructions: int
    dense_instructions: int
    instruction_ratio: float
    instructions_per_mac: float
    ideal: float
    estimated_cycles: dict[str, int] | None
    dense_estimated_cycles: dict[str, int] | None
    estimated_speedup: dict[str, float] | None
    max_error: float
    error_bound: float
    checked_rows: int
    value_bytes: int
    index_bytes: int
    read_bytes: int
    dense_bytes: int


def count(
    cases: Iterable[Case],
    progress: Callable[[str, int, int], None] = lambda what, done, of: None,
    seed: int = 1,
) -> list[Counted]:
    """Count the instructions of products, one after the other.

    Raises:
        InputError: a compiler or the emulator is missing.
    """
    emulator = Emulator(build.library())
    cases, found = list(cases), []

    @cache
    def dense(case: Case) -> list[Counts]:
        return [_counts(emulator, replace(case, sharing=rows), seed)[0] for rows in DENSE_ROWS]

    for done, case in enumerate(cases):
        text = f"{case.m}x{case.k}x{case.n} {case.pattern}, {case.sharing} a mask"
        progress(text, done, len(cases))
        counts, rest = _counts(emulator, case, seed)
        whole = dense(replace(case, pattern=DENSE, sharing=1, stage="", layers=()))
        fewest = min(one.total for one in whole)
        kept = case.taps * case.pattern.kept(case.length)
        found.append(
            Counted(
                **case.described(),
                device="arm",
                kernel=KERNEL,
                dense_kernel=DENSE_KERNEL,
                instructions=counts.total,
                fma_instructions=counts.kind("fma"),
                load_instructions=counts.kind("load"),
                store_instructions=counts.kind("store"),
                dense_instructions=fewest,
                instruction_ratio=fewest / counts.total,
                instructions_per_mac=counts.total / (case.m * kept * case.n),
                ideal=case.k / kept,
                **_cycles(counts, whole),
                **rest,
            )
        )
    progress("counted", len(cases), len(cases))
    return found


def rows(found: Iterable[Counted]) -> list[dict[str, Any]]:
    """Products as JSON objects."""
    return [asdict(one) for one in found]


def _cycles(counts: Counts, whole: list[Counts]) -> dict[str, Any]:
    names = ("estimated_cycles", "dense_estimated_cycles", "estimated_speedup")
    if estimate.missing():
        return dict.fromkeys(names)
    sparse, tried = estimate.cycles(counts), [estimate.cycles(one) for one in whole]
    dense = {core: min(one[core] for one in tried) for core in sparse}
    return dict(zip(names, (sparse, dense, {c: dense[c] / sparse[c] for c in dense}), strict=True))


def _counts(emulator: Emulator, case: Case, seed: int) -> tuple[Counts, dict[str, Any]]:
    """Instructions of a product of all samples, and the check of those that were emulated.

    No branch of the kernel depends on a value, and samples are taken so many at a time, a part: two
    calls that differ by one part tell what each costs, and so the count of any m.
    """
    together = emulator.call("nofm_spmm_together", {"nothing": 0}, ())
    parts, left = divmod(case.m, together)
    emulated = replace(case, m=min(parts, 2) * together + left)
    given = operands(emulated, seed)
    prepared = prepare(given.weights)

    def run(m: int) -> Any:
        return matmul(emulator, given.a, prepared, layout=case.layout, samples=(0, m))

    out = run(emulated.m)
    counts = emulator.counts
    if parts > 2:
        run(emulated.m - together)
        counts = counts.plus(counts.plus(emulator.counts, -1), parts - 2)
    worst, checked = error(emulated, given, out)
    return counts, {
        "max_error": worst,
        "error_bound": error_bound(prepared.roundings),
        "checked_rows": checked,
        "value_bytes": given.weights.value_bytes,
        "index_bytes": given.weights.index_bytes,
        "read_bytes": prepared.bytes,
        "dense_bytes": given.dense.nbytes,
    }
