"""Jobs of the array: what the offline schedule compiles to, one packed word a job."""

from __future__ import annotations

from dataclasses import dataclass

from nofm.dataflow.accelerator import DataflowName
from nofm.kernels.errors import InputError, positive
from nofm.kernels.pattern import Pattern
from nofm.rtl.fields import pack
from nofm.rtl.stce.control import job_fields
from nofm.rtl.stce.geometry import SIZE_BITS, Geometry


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


@dataclass(frozen=True, kw_only=True)
class Folds:
    """How a job falls into folds: `outer` (groups in WS, rows in OS) times `columns`, for each
    product; V of every fold but the last of its columns, and of that one; what the last of the
    outer folds uses of the rows, and the last column fold of the columns."""

    outer: int
    columns: int
    sums: int
    sums_last: int
    rows_last: int
    columns_last: int


@dataclass(frozen=True, kw_only=True)
class StceJob:
    """One job: `count` products [m, groups of M] x [.., n] with N kept of every M.

    Attributes:
        dataflow: "ws" or "os".
        pattern: of the weights; g:g for a dense product in groups of g.
        interleave: V, sums that a USPE works on in turn.
        count, m, groups, n: sizes; `groups` counts those of all taps.
    """

    dataflow: DataflowName
    pattern: Pattern
    interleave: int
    count: int
    m: int
    groups: int
    n: int

    def folds(self, geometry: Geometry) -> Folds:
        """The job's folds on an array (docs/timing.md, "The array")."""
        rows, columns = geometry.rows, geometry.columns
        if self.dataflow == "ws":
            v = 1 if self.pattern.n == 1 else self.interleave
            outer, along = _ceil(self.groups, rows), _ceil(self.n, columns)
            return Folds(
                outer=outer,
                columns=along,
                sums=v,
                sums_last=v,
                rows_last=self.groups - (outer - 1) * rows,
                columns_last=self.n - (along - 1) * columns,
            )
        v = self.interleave
        outer, along = _ceil(self.m, rows), _ceil(self.n, columns * v)
        left = self.n - (along - 1) * columns * v
        return Folds(
            outer=outer,
            columns=along,
            sums=v,
            sums_last=_ceil(left, columns),
            rows_last=self.m - (outer - 1) * rows,
            columns_last=left,
        )

    def fields(self, geometry: Geometry) -> dict[str, int]:
        """Values of `job_fields`. Counts that the hardware compares with a counter from 0 are one
        less than what they count.

        Raises:
            InputError: the array cannot do the job.
        """
        n, m = self.pattern.n, self.pattern.m
        positive("interleave", self.interleave, at_most=geometry.sums)
        if n > geometry.registers or m > geometry.group:
            raise InputError(
                f"pattern {n}:{m} needs {n} weight registers and groups of {m}, and a USPE has "
                f"{geometry.registers} and {geometry.group}"
            )
        folds = self.folds(geometry)
        if max(self.count, self.m, self.groups, folds.outer, folds.columns) >= 1 << SIZE_BITS:
            raise InputError(
                f"sizes of a job must be below 2^{SIZE_BITS}, not count {self.count}, m {self.m}, "
                f"groups {self.groups}, n {self.n}"
            )
        stationary = self.dataflow == "ws"
        alive = self.m * folds.columns
        if stationary and folds.outer > 1 and alive > geometry.accumulator_words:
            raise InputError(
                f"a column of the accumulation buffer holds {geometry.accumulator_words} sums, "
                f"and the job needs {alive}"
            )
        adder = geometry.adder_cycles
        beats = _ceil(m, geometry.port)
        period = 1 if stationary and n == 1 else max(folds.sums, adder)
        period_last = period if stationary else max(folds.sums_last, adder)
        drain, drain_last = geometry.rows * folds.sums, geometry.rows * folds.sums_last
        # A drain is compared with the cycles of a fold: longer ones are all the same.
        longest = (1 << job_fields(geometry)["fold_cycles"]) - 1
        fill = geometry.columns - 1 + geometry.multiplier_cycles + adder
        fill += geometry.accumulator_cycles
        if stationary:
            row_delay = (n - 1) * period + adder
            tail = (geometry.rows - 1) * row_delay + fill - 1
        else:
            row_delay = 1
            tail = (geometry.rows - 1) + fill - 1 + drain_last - 2
        if tail >= 1 << SIZE_BITS:
            raise InputError(f"what follows a job's last slot must take below 2^{SIZE_BITS} cycles")
        return {
            "output_stationary": int(not stationary),
            "dense": int(self.pattern.dense),
            "passes": n - 1,
            "beats": beats - 1,
            "sums": folds.sums - 1,
            "sums_last": folds.sums_last - 1,
            "period": period - 1,
            "period_last": period_last - 1,
            "products": self.count - 1,
            "outer_folds": folds.outer - 1,
            "column_folds": folds.columns - 1,
            "vectors": self.m,
            "groups": self.groups - 1,
            "rows_last": folds.rows_last,
            "columns_last": folds.columns_last,
            "row_delay": row_delay,
            "drain": drain,
            "drain_last": drain_last,
            "fold_cycles": min(longest, self.groups * max(n * period, beats)),
            "fold_cycles_last": min(longest, self.groups * max(n * period_last, beats)),
            "tail": tail,
        }

    def encode(self, geometry: Geometry) -> int:
        """The packed word of the job.

        Raises:
            InputError: the array cannot do the job.
        """
        return pack(job_fields(geometry), self.fields(geometry))
