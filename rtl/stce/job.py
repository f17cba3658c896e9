"""Jobs of the array: what the offline schedule compiles to, one packed word a job."""

from __future__ import annotations

from dataclasses import dataclass

from nofm.dataflow.accelerator import DataflowName
from nofm.kernels.errors import InputError, positive
from nofm.kernels.pattern import Pattern
from nofm.rtl.fields import pack
from nofm.rtl.stce.geometry import SIZE_BITS, Geometry, bits


def job_fields(geometry: Geometry) -> dict[str, int]:
    """Fields of a job's word and their widths; `StceJob` fills them.

    Whatever can be known of a job ahead is: the hardware counts, and calculates nothing.

    output_stationary, dense: the dataflow; whether weights come without indices.
    passes, beats: N - 1; beats of a group, less one.
    sums, sums_last: V - 1, and that of a last column fold.
    sums_ragged: sums of a fold's last block in WS, less one.
    period, period_last: P - 1, and that of a last column fold.
    unit, unit_last: cycles of a block (WS) or group (OS), less one; in a last column fold.
    units: blocks (WS) or groups (OS) of a fold, less one.
    products: less one.
    outer_folds, column_folds: folds along groups (WS) or rows (OS), and along columns, less one.
    vectors: m, less one.
    rows_last: rows that the last outer fold uses.
    columns_last: columns that the last of the interleaved sums of a last column fold uses.
    first_fetch: cycles until the first block (WS) or group (OS) is there, less one.
    first_load, load, load_last: cycles in which the weights of a first fold, any fold, a last \
column fold enter, less one (WS).
    row_delay: cycles between an array row and the next.
    returns: cycles from a fold's begin to its first sum being back at the top, less one (WS).
    ahead: folds that may have begun while a fold of the same columns is not back (WS).
    wait, wait_into_last, wait_after_last: cycles that a fold waits for the drain of the one \
before (OS): if neither is a last column fold, if it is, if the one before is.
    last_drain: cycles that the job's last drain takes (OS).
    finish: cycles from the begin of the job's last block or group to its last cycle, less two.
    continues, continued: sums start from what the accumulation buffer holds; they stay there, and \
nothing is a result (WS).
    """
    g = geometry
    row_delay = max(1, g.longest_row_delay).bit_length()
    unit, load = bits(g.longest_unit), bits(g.columns * g.registers)
    drain = (g.rows * g.sums).bit_length()
    returns = g.longest_return.bit_length()
    return {
        "output_stationary": 1,
        "dense": 1,
        "passes": g.entry_bits,
        "beats": g.beat_bits,
        "sums": g.turn_bits,
        "sums_last": g.turn_bits,
        "sums_ragged": g.turn_bits,
        "period": bits(g.period),
        "period_last": bits(g.period),
        "unit": unit,
        "unit_last": unit,
        "units": SIZE_BITS,
        "products": SIZE_BITS,
        "outer_folds": SIZE_BITS,
        "column_folds": SIZE_BITS,
        "vectors": SIZE_BITS,
        "rows_last": g.rows.bit_length(),
        "columns_last": g.used_bits,
        "first_fetch": unit,
        "first_load": load,
        "load": load,
        "load_last": load,
        "row_delay": row_delay,
        "returns": returns,
        "ahead": returns,
        "wait": drain,
        "wait_into_last": drain,
        "wait_after_last": drain,
        "last_drain": drain,
        "finish": g.longest_finish.bit_length(),
        "continues": 1,
        "continued": 1,
    }


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


@dataclass(frozen=True, kw_only=True)
class Folds:
    """How a job falls into folds: `outer` (groups in WS, rows in OS) times `columns`, for each
    product; V of every fold but the last of its columns, and of that one; what the last of the
    outer folds uses of the rows, and the last sums of the last column fold of the columns."""

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
        continues, continued: WS, one product whose reduction is cut into several jobs: this one
            adds to the sums of the job before it; it leaves its own for the job after it, and has
            no results.
    """

    dataflow: DataflowName
    pattern: Pattern
    interleave: int
    count: int
    m: int
    groups: int
    n: int
    continues: bool = False
    continued: bool = False

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
            columns_last=left - (_ceil(left, columns) - 1) * columns,
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
        chained = self.continues or self.continued
        if chained and (not stationary or self.count > 1):
            raise InputError(
                "a job that continues or is continued must be WS with a single product, not "
                f"{self.dataflow} with {self.count}"
            )
        alive = self.m * folds.columns
        kept = stationary and (folds.outer > 1 or chained)
        if kept and alive > geometry.accumulator_words:
            raise InputError(
                f"a column of the accumulation buffer holds {geometry.accumulator_words} sums, "
                f"and the job needs {alive}"
            )
        return {
            "output_stationary": int(not stationary),
            "dense": int(self.pattern.dense),
            "passes": n - 1,
            "beats": _ceil(m, geometry.port) - 1,
            "sums": folds.sums - 1,
            "sums_last": folds.sums_last - 1,
            "products": self.count - 1,
            "outer_folds": folds.outer - 1,
            "column_folds": folds.columns - 1,
            "vectors": self.m - 1,
            "rows_last": folds.rows_last,
            "columns_last": folds.columns_last,
            "continues": int(self.continues),
            "continued": int(self.continued),
            **self._times(geometry, folds),
        }

    def _times(self, geometry: Geometry, folds: Folds) -> dict[str, int]:
        """Fields that say how long what takes (docs/timing.md, "The array")."""
        g, n = geometry, self.pattern.n
        beats = _ceil(self.pattern.m, g.port)
        if self.dataflow == "ws":
            period = 1 if n == 1 else max(folds.sums, g.adder_cycles)
            unit, units = max(n * period, folds.sums * beats), _ceil(self.m, folds.sums)
            ragged = self.m - (units - 1) * folds.sums
            row_delay = (n - 1) * period + g.adder_cycles
            load, load_last = g.columns * n, folds.columns_last * n
            returns = g.rows * row_delay + g.accumulator_cycles
            finish = (n - 1) * period + ragged - 1 + (g.rows - 1) * row_delay + g.fill - 1
            return {
                **dict.fromkeys(("period", "period_last"), period - 1),
                **dict.fromkeys(("unit", "unit_last"), unit - 1),
                "units": units - 1,
                "sums_ragged": ragged - 1,
                "first_fetch": folds.sums * beats - 1,
                "first_load": (load if folds.columns > 1 else load_last) - 1,
                "load": load - 1,
                "load_last": load_last - 1,
                "row_delay": row_delay,
                "returns": returns - 1,
                # Each fold takes a cycle or more: no more than `returns` of them are under way.
                "ahead": min(folds.columns - 1, returns),
                **dict.fromkeys(("wait", "wait_into_last", "wait_after_last", "last_drain"), 0),
                "finish": finish - 2,
            }
        periods = [max(v, g.adder_cycles) for v in (folds.sums, folds.sums_last)]
        unit, unit_last = (max(n * period, beats) for period in periods)
        drain, drain_last = g.rows * folds.sums, g.rows * folds.sums_last
        fold, fold_last = self.groups * unit, self.groups * unit_last
        finish = unit_last + (g.rows - 1) + g.fill - 1 + drain_last - 2
        return {
            "period": periods[0] - 1,
            "period_last": periods[1] - 1,
            "unit": unit - 1,
            "unit_last": unit_last - 1,
            "units": self.groups - 1,
            "sums_ragged": 0,
            "first_fetch": beats - 1,
            **dict.fromkeys(("first_load", "load", "load_last", "ahead"), 0),
            "row_delay": 1,
            "returns": 1,
            "wait": max(0, drain - fold),
            "wait_into_last": max(0, drain - fold_last),
            "wait_after_last": max(0, drain_last - (fold if folds.columns > 1 else fold_last)),
            "last_drain": drain_last,
            "finish": finish - 2,
        }

    def encode(self, geometry: Geometry) -> int:
        """The packed word of the job.

        Raises:
            InputError: the array cannot do the job.
        """
        return pack(job_fields(geometry), self.fields(geometry))
