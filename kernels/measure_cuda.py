"""A CUDA device: cuBLAS through torch, the Triton kernels, and torch's own 2:4 in two back ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np

from nofm.kernels import machine
from nofm.kernels.measure import Case, Operands, Run

ADDITION = 2.0**-23
"""Relative error of an addition in a tensor core, which may cut off instead of rounding (Fasi,
Higham, Mikaitis, Pranesh, *Numerical behavior of NVIDIA tensor cores*, PeerJ CS 2021)."""
HALF_ROUNDING = 2.0**-11
SPARSE_CAPABILITY = (8, 0)
"""The first architecture with sparse tensor cores, Ampere."""


def absent() -> str | None:
    """Why no CUDA device can be used, or None."""
    if find_spec("torch") is None:
        return "torch is not installed: pip install 'nofm[gpu]'"
    import torch

    return None if torch.cuda.is_available() else "torch sees no CUDA device"


def on_device(array: Any) -> Any:
    """A copy in the device's memory; in this machine's where the kernels are interpreted."""
    import torch

    from nofm.kernels.gpu.triton import device

    return torch.from_numpy(np.ascontiguousarray(array)).to(device())


class _Cuda:
    kernel = ""

    def missing(self) -> str | None:
        """Why nothing can be measured here, or None."""
        return absent()

    def takes(self, case: Case) -> bool:
        """Whether the kernel can compute a case."""
        return True

    @contextlib.contextmanager
    def limits(self, threads: int) -> Iterator[None]:
        """The host's threads are none of the device's; single precision stays what it says."""
        import torch

        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = False
        try:
            yield
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before

    def dense(self, case: Case, operands: Operands) -> dict[str, Run]:
        """cuBLAS through torch, of both orders of the weights."""
        import torch

        a, w = on_device(operands.a), on_device(operands.dense)
        if case.layout == "columns":
            a = a.t()
        turned = w.t().contiguous()
        return {
            "torch": lambda: torch.mm(a, w),
            "torch, linear": lambda: torch.nn.functional.linear(a, turned),
        }

    def fetch(self, case: Case, result: Any) -> Any:
        """A result [m, n] as NumPy's, in the case's layout."""
        array = result.float().cpu().numpy()
        return array if case.layout == "rows" else np.ascontiguousarray(array.T)

    def seconds(self, run: Run, threads: int) -> float:
        """Of the device, between two events."""
        import torch

        event: Any = torch.cuda.Event
        start, end = event(enable_timing=True), event(enable_timing=True)
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end)) / 1e3

    def describe(self) -> dict[str, Any]:
        """The device, and the machine that it is in."""
        import torch

        found = torch.cuda.get_device_properties(0)
        return machine.describe() | {
            "gpu": found.name,
            "capability": f"{found.major}.{found.minor}",
            "multiprocessors": found.multi_processor_count,
            "gpu_memory_mib": found.total_memory >> 20,
            "cuda": torch.version.cuda,
        }


class Triton(_Cuda):
    """`kernels.gpu.products`, for any N:M."""

    kernel = "triton"

    def missing(self) -> str | None:
        """Also without Triton."""
        if find_spec("triton") is None:
            return "triton is not installed: pip install 'nofm[gpu]'"
        return absent()

    def takes(self, case: Case) -> bool:
        """One run of the reduction."""
        return case.taps == 1

    def sparse(self, case: Case, operands: Operands, threads: int) -> tuple[Run, float, int]:
        """The kernel for the case's masks, which the first call tunes."""
        from nofm.kernels.gpu.operand import to_device
        from nofm.kernels.gpu.products import matmul
        from nofm.kernels.gpu.triton import device

        a = on_device(operands.a)
        if case.layout == "columns":
            a = a.t()
        w = to_device(operands.weights, device())
        read = w.values.numel() * w.values.element_size() + w.index.numel()
        return lambda: matmul(a, w), bound(case.k), read


class SemiStructured(_Cuda):
    """torch's semi-structured tensors: 2:4 on sparse tensor cores.

    Attributes:
        backend: "cutlass" or "cusparselt".
    """

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.kernel = f"torch 2:4, {backend}"

    def missing(self) -> str | None:
        """Also on devices without sparse tensor cores, or a torch without the library."""
        if reason := absent():
            return reason
        import torch

        if torch.cuda.get_device_capability() < SPARSE_CAPABILITY:
            return "the device has no sparse tensor cores"
        if self.backend == "cutlass" and torch.cuda.get_device_capability()[0] != 8:
            return "torch's CUTLASS kernels are for compute capability 8.x"
        if self.backend == "cusparselt" and not torch.backends.cusparselt.is_available():
            return "this torch comes without cuSPARSELt"
        return None

    def takes(self, case: Case) -> bool:
        """Halves, 2:4, a mask for every output, and sizes that the library's tiles divide."""
        whole = case.n % 32 == 0 and case.k % 64 == 0 and case.m % 8 == 0
        fits = str(case.pattern) == "2:4" and case.sharing == 1 and case.dtype == "float16"
        return fits and whole and case.taps == 1 and case.layout == "rows"

    def sparse(self, case: Case, operands: Operands, threads: int) -> tuple[Run, float, int]:
        """`torch.nn.functional.linear` with compressed weights; results are halves."""
        import torch
        from torch.sparse import (
            SparseSemiStructuredTensorCUSPARSELT,
            SparseSemiStructuredTensorCUTLASS,
        )

        from nofm.kernels.compressed import decompress

        kinds = {
            "cutlass": SparseSemiStructuredTensorCUTLASS,
            "cusparselt": SparseSemiStructuredTensorCUSPARSELT,
        }
        a = on_device(operands.a)
        dense = on_device(decompress(operands.weights).reshape(case.k, case.n).T)
        weights: Any = kinds[self.backend].from_dense(dense)
        read = case.k * case.n // 2 * 2 + case.k * case.n // 8
        return (
            lambda: torch.nn.functional.linear(a, weights),
            bound(case.k) + HALF_ROUNDING,
            read,
        )


def bound(terms: int) -> float:
    """Of a sum of so many products in any order, relative to the sum of their magnitudes."""
    return terms * ADDITION / (1 - terms * ADDITION)


KERNELS = (Triton(), SemiStructured("cutlass"), SemiStructured("cusparselt"))
