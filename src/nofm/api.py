"""The Python API: what the command line does, from Python."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nofm.dataflow.accelerator import Accelerator, load
from nofm.dataflow.methods import Method
from nofm.dataflow.methods import method as find_method
from nofm.kernels.errors import InputError, positive
from nofm.kernels.pattern import Pattern
from nofm.simulator.result import StepResult
from nofm.simulator.step import Options, simulate_product, simulate_step
from nofm.workloads.trace import Trace

if TYPE_CHECKING:
    import pandas as pd


def simulate(
    workload: str | Path | Trace | None = None,
    *,
    batch: int | None = None,
    method: str | Method = "bdwp",
    pattern: str | Pattern = "2:8",
    hardware: str | Path | Accelerator = "sat-32x32",
    gemm: str | tuple[int, int, int] | None = None,
    stage: str = "ff",
    interleave: bool = True,
    pregeneration: bool = True,
    schedule: str = "offline",
) -> StepResult:
    """Simulate one training step of a network, or one product.

    Args:
        workload: a network's name, a trace, or a file (trace, ONNX, SCALE-Sim CSV).
        batch: samples a step; the workload's own when None.
        method: the N:M training method; ignored for a product.
        pattern: N:M, or "dense".
        hardware: a preset's name, a TOML file, or an `Accelerator`.
        gemm: a product in place of a workload: (m, k, n) or "MxKxN".
        stage: of the product: ff, bp or wu.
        interleave, pregeneration, schedule: the dataflow optimisations (`simulator.step.Options`).

    Returns:
        The step: `layers` (a DataFrame), `total` (a dict), `dense` (the step to compare with).

    Raises:
        InputError: anything above that cannot be used.
    """
    accelerator = load(hardware)
    options = Options(interleave=interleave, pregeneration=pregeneration, schedule=schedule)
    parsed = Pattern.parse(pattern)
    if gemm is not None:
        if workload is not None:
            raise InputError("give a workload or a gemm, not both")
        return simulate_product(*gemm_sizes(gemm), accelerator, stage, parsed, options)
    if workload is None:
        raise InputError("a workload or a gemm is needed, not neither")
    return simulate_step(_trace(workload, batch), accelerator, find_method(method), parsed, options)


def sweep_hardware(
    workload: str | Path | Trace,
    hardware: Sequence[str | Path | Accelerator],
    *,
    batch: int | None = None,
    method: str | Method = "bdwp",
    pattern: str | Pattern = "2:8",
    interleave: bool = True,
    pregeneration: bool = True,
    schedule: str = "offline",
) -> pd.DataFrame:
    """Simulate one training step on many accelerators, schedule search included, in one batch.

    Arguments are those of `simulate`, with a sequence of accelerators.

    Returns:
        A DataFrame, one row for each accelerator: `hardware`, `cycles`, `dram_bytes`.
    """
    import pandas as pd

    from nofm.simulator.batch import StepBatch

    accelerators = [load(item) for item in hardware]
    options = Options(interleave=interleave, pregeneration=pregeneration, schedule=schedule)
    steps = StepBatch(_trace(workload, batch), find_method(method), Pattern.parse(pattern), options)
    cycles, moved = steps.evaluate(accelerators)
    names = [accelerator.name for accelerator in accelerators]
    return pd.DataFrame({"hardware": names, "cycles": cycles, "dram_bytes": moved})


def _trace(workload: str | Path | Trace, batch: int | None) -> Trace:
    if batch is not None:
        positive("batch", batch)
    if isinstance(workload, Trace):
        return workload if batch is None else workload.with_batch(batch)
    from nofm.workloads.resolve import resolve

    return resolve(workload, batch)


def gemm_sizes(gemm: str | tuple[int, int, int]) -> tuple[int, int, int]:
    """M, K and N of a product given as "MxKxN" or as three numbers.

    Raises:
        InputError: it is neither, or a size is out of range.
    """
    try:
        if isinstance(gemm, str):
            m, k, n = (int(part) for part in gemm.lower().split("x"))
        else:
            m, k, n = (operator.index(part) for part in gemm)
    except (TypeError, ValueError):
        raise InputError(f"a gemm must look like 4096x1152x256 (M x K x N), not {gemm!r}") from None
    for what, size in (("M", m), ("K", k), ("N", n)):
        positive(f"gemm: {what}", size, at_most=2**40)
    return m, k, n


__all__ = ["simulate", "sweep_hardware"]
