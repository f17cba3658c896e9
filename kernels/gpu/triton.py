"""Triton, and how its kernels are launched: tuned on a GPU, interpreted where there is none.

Import `tl` and `triton` from here: whether kernels are compiled or interpreted is decided when a
kernel is defined.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from nofm.kernels.errors import InputError

if importlib.util.find_spec("triton") is None:
    raise InputError("GPU kernels need triton, which is not installed: pip install 'nofm[gpu]'")

INTERPRETED = not torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"
"""Whether kernels run in Triton's interpreter, on the CPU: slow, with the same results."""
if INTERPRETED:
    os.environ["TRITON_INTERPRET"] = "1"

import triton  # noqa: E402  (reads the environment)
import triton.language as tl  # noqa: E402

__all__ = ["INTERPRETED", "device", "launch_options", "tl", "triton", "tuned"]

Blocks = dict[str, int]


class _FirstChoice:
    """A kernel that always runs with the first of its choices."""

    def __init__(self, kernel: Any, blocks: Blocks) -> None:
        self.kernel, self.blocks = kernel, blocks

    def __getitem__(self, grid: Any) -> Callable[..., Any]:
        sizes = grid(self.blocks) if callable(grid) else grid

        def launch(*given: Any, **named: Any) -> None:
            # The interpreter computes with NumPy, whose warnings a GPU does not give.
            with np.errstate(all="ignore"):
                self.kernel[sizes](*given, **named, **self.blocks)

        return launch


def tuned(choices: Sequence[tuple[Blocks, int, int]], key: Sequence[str]) -> Callable[[Any], Any]:
    """Let the fastest of `choices` be found on the GPU, once for each value of `key`.

    Args:
        choices: block sizes by the kernel's names, warps, and stages of the software pipeline.
        key: names of the kernel's arguments that decide which choice is best.
    """

    def decorate(kernel: Any) -> Any:
        if INTERPRETED:
            return _FirstChoice(kernel, choices[0][0])
        configs = [
            triton.Config(blocks, num_warps=warps, num_stages=stages)
            for blocks, warps, stages in choices
        ]
        return triton.autotune(configs=configs, key=list(key))(kernel)

    return decorate


def launch_options(*, fuse: bool = True) -> dict[str, Any]:
    """Options of a launch; without `fuse` a multiplication and an addition round twice."""
    return {} if fuse or INTERPRETED else {"enable_fp_fusion": False}


def device() -> torch.device:
    """Where kernels run."""
    return torch.device("cpu" if INTERPRETED else "cuda")
