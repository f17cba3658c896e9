"""Shapes of a model's inputs as text: `512x3x224x224`, or `8x128:int64` for token ids."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from nofm.kernels.errors import InputError, positive, unknown
from nofm.workloads.layer import MAX_ELEMENTS

DTYPES = (
    "float32",
    "float64",
    "float16",
    "bfloat16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "bool",
)
"""Element types of an input, by torch's names."""


@dataclass(frozen=True)
class TensorSpec:
    """Shape and element type of one input; the first size is the batch."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if not self.shape:
            raise InputError("an input needs a batch as its first size, but it has no size")
        elements = 1
        for size in self.shape:
            elements *= positive("a size of an input", size)
        if elements > MAX_ELEMENTS:
            raise InputError(f"an input has at most 2^46 = {MAX_ELEMENTS} elements, not {elements}")
        if self.dtype not in DTYPES:
            raise unknown("element type", self.dtype, DTYPES)

    def __str__(self) -> str:
        sizes = "x".join(map(str, self.shape))
        return sizes if self.dtype == "float32" else f"{sizes}:{self.dtype}"

    def with_batch(self, batch: int) -> TensorSpec:
        """The same input for another batch."""
        return replace(self, shape=(batch, *self.shape[1:]))


def parse(text: str) -> TensorSpec:
    """The input that a text such as `512x3x224x224` or `8x128:int64` describes.

    Raises:
        InputError: it is none.
    """
    sizes, colon, dtype = text.partition(":")
    if not re.fullmatch(r"[0-9]{1,10}(x[0-9]{1,10})*", sizes) or len(sizes) > 200:
        raise InputError(
            "an input is sizes joined by x and maybe a type, like 512x3x224x224 or 8x128:int64, "
            f"not {text[:60]!r}"
        )
    return TensorSpec(tuple(map(int, sizes.split("x"))), dtype if colon else "float32")
