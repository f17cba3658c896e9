"""This processor: its dense BLAS libraries, and the N:M kernel of `kernels.spmm`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np

from nofm.kernels import machine, peaks
from nofm.kernels.lanes import LANES
from nofm.kernels.measure import Case, Operands, Run
from nofm.kernels.spmm import error_bound, matmul, prepare
from nofm.kernels.threads import release

SPINNING = 0.2
"""Seconds after which no thread of a BLAS still spins in its wait for another product: while one
does, it takes a core from whatever is measured next."""


class Cpu:
    """The device "cpu"."""

    kernel = f"numba, {32 * LANES}-bit vectors"

    def missing(self) -> str | None:
        """Nothing: whatever runs Python has a processor."""
        return None

    def takes(self, case: Case) -> bool:
        """Any case."""
        return True

    @contextlib.contextmanager
    def limits(self, threads: int) -> Iterator[None]:
        """So many threads, on as many cores, for every library."""
        from threadpoolctl import threadpool_limits

        with machine.pinned(threads), contextlib.ExitStack() as stack:
            # Threads of before may run on other cores.
            release()
            stack.callback(release)
            if find_spec("torch") is not None:
                import torch

                stack.callback(torch.set_num_threads, torch.get_num_threads())
                torch.set_num_threads(threads)
            # Only libraries that are loaded by now are limited.
            stack.enter_context(threadpool_limits(threads))
            yield

    def dense(self, case: Case, operands: Operands) -> dict[str, Run]:
        """NumPy's, SciPy's and torch's products; of halves too they are taken as singles, which no
        BLAS here is quicker without, and which costs them nothing: it is done before."""
        a, w = (np.asarray(part, np.float32) for part in (operands.a, operands.dense))
        turned = np.ascontiguousarray(w.T)  # [n, k], as torch stores a layer's weights
        if case.layout == "columns":
            runs: dict[str, Run] = {"numpy": lambda: turned @ a, "numpy, w.T": lambda: w.T @ a}
        else:
            runs = {"numpy": lambda: a @ w, "numpy, w.T": lambda: a @ turned.T}
        if find_spec("scipy") is not None:
            from scipy.linalg.blas import sgemm

            # Fortran's order: the transposed product of the same memory.
            left, right = (w, a) if case.layout == "rows" else (a, turned)
            runs["scipy"] = lambda: sgemm(1.0, left.T, right.T)
        if find_spec("torch") is not None:
            import torch

            ta, tw, tt = map(torch.from_numpy, (a, w, turned))
            if case.layout == "rows":
                runs["torch"] = lambda: torch.mm(ta, tw)
                runs["torch, linear"] = lambda: torch.nn.functional.linear(ta, tt)
            else:
                runs["torch"] = lambda: torch.mm(tt, ta)
        return runs

    def sparse(self, case: Case, operands: Operands, threads: int) -> tuple[Run, float, int]:
        """`spmm.matmul`; its indices are decoded before, once for a matrix."""
        prepared = prepare(operands.weights)
        shape = (case.m, case.n) if case.layout == "rows" else (case.n, case.m)
        out = np.empty(shape, np.float32)

        def run() -> Any:
            return matmul(operands.a, prepared, layout=case.layout, threads=threads, out=out)

        return run, error_bound(prepared.roundings), prepared.bytes

    def fetch(self, case: Case, result: Any) -> Any:
        """It is one."""
        return result

    def seconds(self, run: Run, threads: int) -> float:
        """Of one thread its own time, which other processes take none of; else that of the wall,
        once the other libraries' threads have stopped waiting for more work, and the run's own
        cores are awake: a run that is not timed goes before."""
        clock = time.thread_time if threads == 1 else time.perf_counter
        if threads > 1:
            time.sleep(SPINNING)
            run()
        start = clock()
        run()
        return clock() - start

    def describe(self) -> dict[str, Any]:
        """The machine and its peaks."""
        peak, loads = peaks.peak_flops(), peaks.LEVELS
        return machine.describe() | {
            "peak_gflops": peak / 1e9,
            "load_gbytes_per_second": {
                level: peaks.load_bandwidth(size) / 1e9 for level, size in loads.items()
            },
        }
