"""The compressed N:M form in a GPU's memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nofm.kernels.compressed import Compressed
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern


@dataclass(frozen=True, eq=False)
class Operand:
    """One compressed matrix [length, n] of one run.

    Attributes:
        values: float16 or float32 [groups, N, n]; 0 in slots that keep nothing.
        index: uint8 [groups, N, masks], places in the group; a slot that keeps nothing has its own
            number.
        pattern, length, sharing: as in `Compressed`.
    """

    values: Tensor
    index: Tensor
    pattern: Pattern
    length: int
    sharing: int = 1

    @property
    def n(self) -> int:
        """Columns."""
        return int(self.values.shape[-1])

    @property
    def groups(self) -> int:
        """Groups along the run."""
        return self.pattern.groups(self.length)

    @property
    def masks(self) -> int:
        """Masks of a group: one for each `sharing` columns."""
        return int(self.index.shape[-1])

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.values.device


def to_device(compressed: Compressed, device: torch.device) -> Operand:
    """Copy a compressed matrix to a device.

    Raises:
        InputError: it is not one matrix of one run, or not float16 or float32.
    """
    c = compressed
    if c.values.ndim != 3 or c.taps != 1:
        raise InputError(
            f"a GPU kernel takes one matrix of one run, not {list(c.values.shape[:-3])} of {c.taps}"
        )
    if c.values.dtype not in (np.float16, np.float32):
        raise InputError(f"GPU kernels take float16 or float32, not {c.values.dtype}")
    return Operand(
        torch.from_numpy(np.ascontiguousarray(c.values)).to(device),
        torch.from_numpy(np.ascontiguousarray(c.index)).to(device),
        c.pattern,
        c.length,
        c.sharing,
    )


def from_device(operand: Operand) -> Compressed:
    """Copy it back, and check that it is a compressed form."""
    return Compressed(
        operand.values.cpu().numpy(),
        operand.index.cpu().numpy(),
        operand.pattern,
        1,
        operand.length,
        operand.sharing,
    )
