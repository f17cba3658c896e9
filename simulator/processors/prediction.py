"""A product to predict, and what is predicted of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nofm.kernels.errors import InputError, positive
from nofm.kernels.pattern import Pattern

BYTES = {"float16": 2, "float32": 4}


@dataclass(frozen=True, kw_only=True)
class Product:
    """A product [m, k] by [k, n], N of every M weights kept along k.

    Attributes:
        sharing: outputs that share a mask.
        dtype: of what is stored, "float32" or "float16".
        layout: of activations, "rows" of samples or "columns".
        threads: that both products run on.
    """

    m: int
    k: int
    n: int
    pattern: Pattern
    sharing: int = 1
    dtype: str = "float32"
    layout: str = "rows"
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("m", "k", "n", "sharing", "threads"):
            positive(name, getattr(self, name), at_most=2**24)
        if self.dtype not in BYTES:
            raise InputError(f"dtype must be float32 or float16, not {self.dtype!r}")

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Product:
        """That of a measured result, as docs/kernels.md describes it.

        Raises:
            InputError: the row has no such product.
        """
        try:
            return cls(
                m=row["m"],
                k=row["k"],
                n=row["n"],
                pattern=Pattern.parse(row["pattern"]),
                sharing=row["mask_sharing"],
                dtype=row["dtype"],
                layout=row["layout"],
                threads=row["threads"],
            )
        except KeyError as error:
            raise InputError(f"a measured result lacks {error}") from None

    @property
    def itemsize(self) -> int:
        """Bytes of a stored number."""
        return BYTES[self.dtype]

    @property
    def kept(self) -> int:
        """Elements of the reduction that are kept for an output."""
        return self.pattern.kept(self.k)


def measured_seconds(row: Mapping[str, Any]) -> tuple[float, float]:
    """Of a measured result, the seconds of the dense and of the N:M product.

    Raises:
        InputError: one is missing or no time.
    """
    found = row.get("dense_seconds"), row.get("sparse_seconds")
    for seconds in found:
        if not isinstance(seconds, float | int) or not 0 < seconds < float("inf"):
            raise InputError(f"a measured time must be a finite number above 0, not {seconds!r}")
    dense, sparse = found
    assert dense is not None
    assert sparse is not None
    return dense, sparse


@dataclass(frozen=True)
class Time:
    """A product's time.

    Attributes:
        terms: seconds by what they go to, as the model has them without any calibration.
        seconds: of the calibrated model.
        bound: the name of the largest calibrated term.
    """

    terms: Mapping[str, float]
    seconds: float
    bound: str


def total(terms: Mapping[str, float], factors: Mapping[str, float]) -> Time:
    """Add up terms, each times its factor."""
    parts = {name: value * factors.get(name, 1.0) for name, value in terms.items()}
    return Time(terms, sum(parts.values()), max(parts, key=lambda name: parts[name]))
