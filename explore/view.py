"""A sweep's table as pictures and the page read it: levels of parameters, figures, the front."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nofm.dataflow.accelerator import Accelerator
from nofm.dataflow.methods import METHODS
from nofm.dataflow.methods import method as find_method
from nofm.explore.columns import COLUMNS, PLAIN
from nofm.explore.space import OPTIONS, STEP
from nofm.explore.space_info import SpaceInfo
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern
from nofm.simulator.report.units import Units, plain
from nofm.simulator.result import StepResult
from nofm.simulator.step import Options, simulate_step
from nofm.workloads.trace import Trace

if TYPE_CHECKING:
    import pandas as pd

Floats = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


def title(name: str) -> str:
    """The short name of a column."""
    return plain(COLUMNS[name].title if name in COLUMNS else name)


def units(name: str) -> Units:
    """The units to show a column in."""
    return COLUMNS[name].units if name in COLUMNS else PLAIN


def shown(value: Any) -> str:
    """A parameter's value for people: a list's items, a number's twelve digits."""
    if isinstance(value, list):
        return ", ".join(map(shown, value)) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.12g}" if isinstance(value, float) else plain(str(value))


@dataclass(frozen=True)
class Levels:
    """The values of one parameter.

    Attributes:
        values: distinct; numbers in ascending order, anything else as first met.
        places: int64 [designs], which of them each design has.
    """

    values: list[Any]
    places: Integers

    @property
    def numeric(self) -> bool:
        """Whether all values are numbers."""
        return all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.values)


class View:
    """A sweep's results.

    Args:
        table: a row for each design, indexed by its number (or with a column `design`), with the
            columns of `info.parameters`, figures, `feasible`, `error` and `pareto`.
        info: the space.

    Raises:
        InputError: a column that is needed is missing.
    """

    def __init__(self, table: pd.DataFrame, info: SpaceInfo) -> None:
        if "design" in table.columns:
            table = table.set_index("design")
        needed = (*info.parameters, *info.objectives, "feasible", "error", "pareto")
        for name in needed:
            if name not in table.columns:
                raise InputError(f"the table of designs must have a column {name!r}, and has none")
        self.table, self.info = table, info
        self.designs: Integers = table.index.to_numpy(np.int64)

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def feasible(self) -> Mask:
        """Designs that can be built, and for which all objectives are known: bool [designs]."""
        known = self.table["feasible"].fillna(False).to_numpy(np.bool_)
        for name in self.info.objectives:
            known = known & np.isfinite(self.values(name))
        return known

    @cached_property
    def front(self) -> Integers:
        """Rows of the Pareto front, those best in the first objective first."""
        rows = np.flatnonzero(self.table["pareto"].fillna(False).to_numpy(np.bool_) & self.feasible)
        if not self.info.objectives:
            return rows
        first, maximise = next(iter(self.info.objectives.items()))
        values = self.values(first)[rows]
        return rows[np.argsort(-values if maximise else values, kind="stable")]

    @cached_property
    def best(self) -> int:
        """The row of the front whose objectives have the least product, those to be maximised
        dividing; the first of equals. -1 where no design is feasible.

        A product has no units to weigh: it falls where one objective falls by more than the
        others rise, in proportion. Of time and energy it is the energy-delay product.
        """
        if not len(self.front):
            return -1
        score = np.zeros(len(self.front))
        for name, maximise in self.info.objectives.items():
            logs = np.log(np.maximum(self.values(name)[self.front], np.finfo(float).tiny))
            score += -logs if maximise else logs
        return int(self.front[int(np.argmin(score))])

    @cached_property
    def figures(self) -> list[str]:
        """Columns of figures, the objectives first."""
        found = [name for name in COLUMNS if name in self.table.columns]
        return list(dict.fromkeys([*self.info.objectives, *found]))

    @cached_property
    def varying(self) -> list[str]:
        """Parameters with more than one value among the designs."""
        return [name for name in self.info.parameters if len(self.levels(name).values) > 1]

    @cached_property
    def constant(self) -> dict[str, Any]:
        """The other parameters, and their values."""
        found = dict(self.info.fixed)
        for name in self.info.parameters:
            values = self.levels(name).values
            if len(values) == 1:
                found[name] = values[0]
        return found

    def values(self, name: str) -> Floats:
        """A column of numbers, NaN where it is unknown: float64 [designs]."""
        import pandas as pd

        return np.asarray(pd.to_numeric(self.table[name], errors="coerce"), np.float64)

    def levels(self, name: str) -> Levels:
        """The values of a parameter."""
        if name not in self._levels:
            self._levels[name] = _levels(self.table[name])
        return self._levels[name]

    @cached_property
    def _levels(self) -> dict[str, Levels]:
        return {}

    def parameters(self, row: int) -> dict[str, Any]:
        """All parameters of one design, plain values by name."""
        found = dict(self.info.fixed)
        for name in self.info.parameters:
            levels = self.levels(name)
            found[name] = levels.values[levels.places[row]]
        return found

    def accelerator(self, row: int) -> Accelerator:
        """The machine of one design.

        Raises:
            InputError: there is no such machine.
        """
        entries = {k: v for k, v in self.parameters(row).items() if is_hardware(k)}
        for name, value in entries.items():
            if isinstance(value, str) and isinstance(self._base_entry(name), list):
                # A table has no lists: it has their items with spaces between.
                entries[name] = value.split()
        return self.info.base.with_values(**entries)

    def _base_entry(self, dotted: str) -> Any:
        entry: Any = self.info.base.to_document()
        for key in dotted.split("."):
            entry = entry.get(key) if isinstance(entry, dict) else None
        return entry

    def step(self, row: int, known: dict[Any, StepResult] | None = None) -> StepResult:
        """One design's training step, simulated.

        Args:
            row: the design's.
            known: dense steps that were simulated before; new ones are added.

        Raises:
            InputError: the design cannot be simulated.
        """
        known = {} if known is None else known
        values = self.parameters(row)
        machine = self.accelerator(row)
        options = Options(**{name: values[name] for name in OPTIONS if name in values})
        trace = self._trace(values)
        key = (trace.name, trace.batch, machine, options)
        method = find_method(values["method"])
        if method.name != "dense" and key not in known:
            known[key] = simulate_step(trace, machine, METHODS["dense"], options=options)
        pattern = Pattern.parse(values["pattern"])
        return simulate_step(trace, machine, method, pattern, options, dense=known.get(key))

    def _trace(self, values: Mapping[str, Any]) -> Trace:
        from nofm.workloads.resolve import resolve

        name, batch = values["workload"], values.get("batch")
        for key in ((name, batch), (name, None)):
            trace = self.info.traces.get(key)
            if trace is not None and batch in (None, trace.batch):
                return trace
        return resolve(name, batch)


def is_hardware(name: str) -> bool:
    """Whether a parameter is an entry of the accelerator."""
    return name not in (*STEP, *OPTIONS)


def _levels(column: pd.Series[Any]) -> Levels:
    import pandas as pd

    items: Any = column
    if column.dtype == object:
        # Lists cannot be told apart as they are; their JSON can.
        items = [json.dumps(_plain(value), sort_keys=True) for value in column]
    places, found = pd.factorize(np.asarray(items), use_na_sentinel=False)
    values = [json.loads(v) if column.dtype == object else _plain(v) for v in found]
    levels = Levels(values, np.asarray(places, np.int64))
    if not levels.numeric:
        return levels
    order = sorted(range(len(values)), key=values.__getitem__)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return replace(levels, values=[values[i] for i in order], places=rank[levels.places])


def _plain(value: Any) -> Any:
    """A value of a table without NumPy's types."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
