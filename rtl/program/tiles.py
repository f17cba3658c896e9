"""How a product is cut into tiles, and the order of its steps.

docs/timing.md, "The tile pipeline", says what a tile is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nofm.dataflow.accelerator import DATAFLOWS, DataflowName
from nofm.dataflow.products import Product
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


def smaller(product: Product, cut: Cut, geometry: Geometry) -> Iterator[Cut]:
    """A cut, and then ever smaller ones: fewer rows first, then columns, then a shorter run."""
    group = product.pattern.m
    unit = geometry.rows if cut.dataflow == "os" else 1
    fold = geometry.columns * (cut.interleave if cut.dataflow == "os" else 1)
    whole = _values(cut)
    rows, length, columns = whole["tile_m"], whole["tile_length"], whole["tile_n"]
    while True:
        yield Cut(**{**whole, "tile_m": rows, "tile_length": length, "tile_n": columns})
        if rows > unit:
            rows = _less(rows, unit)
        elif columns > fold:
            columns = _less(columns, fold)
        elif length > group and (cut.dataflow == "ws" or columns <= fold):
            length = _up(-(-length // 2), group)
        elif rows > 1 or columns > 1:
            rows, columns = -(-rows // 2), -(-columns // 2)
            unit = fold = 1
        else:
            return


def _values(cut: Cut) -> dict[str, Any]:
    return dict(vars(cut))


def _less(value: int, multiple: int) -> int:
    """An eighth less, or less by one multiple."""
    return max(multiple, (value - max(1, value // 8)) // multiple * multiple)


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _ranges(whole: int, tile: int) -> list[Range]:
    return [(first, min(first + tile, whole)) for first in range(0, whole, tile)]
