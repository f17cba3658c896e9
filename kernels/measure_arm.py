"""An ARM processor that this program runs on: the NEON kernel beside its dense libraries."""

from __future__ import annotations

from typing import Any

import numpy as np

from nofm.kernels.arm import build
from nofm.kernels.arm.native import Native, matmul
from nofm.kernels.arm.spmm import KERNEL, prepare
from nofm.kernels.measure import Case, Operands, Run
from nofm.kernels.measure_cpu import Cpu
from nofm.kernels.spmm import error_bound


class Arm(Cpu):
    """The device "arm": what it differs in from "cpu" is its kernel."""

    kernel = KERNEL

    def missing(self) -> str | None:
        """Another processor or another system."""
        return None if build.native() else "its seconds are measured on Linux on AArch64 alone"

    def sparse(self, case: Case, operands: Operands, threads: int) -> tuple[Run, float, int]:
        """`arm.native.matmul`; its indices are decoded before, once for a matrix."""
        native = Native(build.library())
        prepared = prepare(operands.weights)
        shape = (case.m, case.n) if case.layout == "rows" else (case.n, case.m)
        out = np.empty(shape, np.float32)

        def run() -> Any:
            return matmul(
                native, operands.a, prepared, layout=case.layout, threads=threads, out=out
            )

        return run, error_bound(prepared.roundings), prepared.bytes
