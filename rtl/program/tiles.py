"""How a product is cut into tiles, and the order of its steps.

docs/timing.md, "The tile pipeline", says what a tile is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from nofm.dataflow.accelerator import DATAFLOWS, DataflowName
from nofm.dataflow.products import Product
from nofm.kernels.errors import InputError
from nofm.rtl.stce.geometry import Geometry

Range = tuple[int, int]
"""The first, and the last plus one."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What of a `MAPPING` record a program follows. Products of a `count` run one by one, whatever
    `tile_count` says.

    Attributes:
        dataflow, interleave, tile_m, tile_length, tile_n, m_outer: as in the record.
    """

    dataflow: DataflowName
    interleave: int
    tile_m: int
    tile_length: int
    tile_n: int
    m_outer: bool = True

    @classmethod
    def of(cls, record: Any) -> Cut:
        """What one `MAPPING` record says."""
        return cls(
            dataflow=DATAFLOWS[int(record["dataflow"])],
            interleave=int(record["interleave"]),
            tile_m=int(record["tile_m"]),
            tile_length=int(record["tile_length"]),
            tile_n=int(record["tile_n"]),
            m_outer=bool(record["m_outer"]),
        )


@dataclass(frozen=True)
class Step:
    """One tile of one part's product.

    Attributes:
        part: number of the part.
        m, run, n: rows, elements of every tap's run, columns.
        first, last: whether it begins and ends an output tile's reduction.
    """

    part: int
    m: Range
    run: Range
    n: Range
    first: bool
    last: bool


def steps(product: Product, cut: Cut) -> Iterator[Step]:
    """The steps of a product, in their order."""
    m_tiles = _ranges(product.m, cut.tile_m)
    n_tiles = _ranges(product.n, cut.tile_n)
    runs = _ranges(product.length, cut.tile_length)
    for part in range(product.count):
        if cut.m_outer:
            outputs = [(m, n) for m in m_tiles for n in n_tiles]
        else:
            outputs = [(m, n) for n in n_tiles for m in m_tiles]
        for m, n in outputs:
            for run in runs:
                yield Step(part, m, run, n, run is runs[0], run is runs[-1])


class TooLarge(InputError):
    """A tile that does not fit.

    Attributes:
        what: "left", "right" or "out": which of its matrices is too large.
    """

    def __init__(self, what: str, text: str) -> None:
        self.what = what
        super().__init__(text)


def smaller(
    product: Product, cut: Cut, geometry: Geometry, what: str, *, reduced: bool
) -> Cut | None:
    """A cut whose tiles have less of the matrix that is too large; None where there is none.

    Args:
        what: which matrix, as of `TooLarge`.
        reduced: whether the left matrix is read along positions (WU).
    """
    stationary = cut.dataflow == "ws"
    group = product.pattern.m
    rows, length, columns = cut.tile_m, min(cut.tile_length, product.length), cut.tile_n
    unit = 1 if stationary else geometry.rows
    fold = geometry.columns * (1 if stationary else cut.interleave)
    single = stationary or (rows <= unit and columns <= fold)
    shorter = replace(cut, tile_length=_less(length, group)) if length > group else None
    fewer = replace(cut, tile_m=_less(rows, unit if rows > unit else 1)) if rows > 1 else None
    narrower = (
        replace(cut, tile_n=_less(columns, fold if columns > fold else 1)) if columns > 1 else None
    )
    if what == "right":
        # A shorter run leaves the other matrices as they are; it must be a single fold in OS.
        order = [shorter, narrower] if single else [narrower if columns > fold else fewer]
    elif what == "left":
        run = shorter if single else None
        order = [run, fewer] if reduced else [fewer if rows > unit else run or fewer, fewer]
    else:
        order = [fewer if rows > unit else narrower, narrower, fewer]
    return next((each for each in order if each is not None), None)


def _less(value: int, multiple: int) -> int:
    """An eighth less, or less by one multiple."""
    return max(multiple, (value - max(1, value // 8)) // multiple * multiple)


def _ranges(whole: int, tile: int) -> list[Range]:
    return [(first, min(first + tile, whole)) for first in range(0, whole, tile)]
