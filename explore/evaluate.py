"""Designs by their numbers to a table of what each costs: all that a worker does.

A part of a sweep needs nothing but the space, so it gives the same table in any process, on any
machine, in any order.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from nofm.dataflow.design_table import DesignTable
from nofm.dataflow.methods import METHODS
from nofm.explore import accuracy, measure
from nofm.explore.columns import COLUMNS
from nofm.explore.space import OPTIONS, Space
from nofm.kernels.pattern import Pattern
from nofm.simulator.batch import StepBatch
from nofm.simulator.step import Options

Numbers = np.ndarray[Any, np.dtype[np.int64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


def schema(space: Space) -> pa.Schema:
    """Columns of a part: `design`, the parameters, the figures, `feasible` and `error`."""
    fields = [pa.field("design", pa.int64(), nullable=False)]
    fields += [pa.field(name, _type(space, name), nullable=False) for name in space.names]
    for name in space.figures:
        fields.append(pa.field(name, pa.int64() if COLUMNS[name].whole else pa.float64()))
    fields.append(pa.field("feasible", pa.bool_(), nullable=False))
    fields.append(pa.field("error", pa.string(), nullable=False))
    return pa.schema(fields)


def _type(space: Space, name: str) -> pa.DataType:
    if name == "batch":
        return pa.int64()
    values = space.values(name)
    if all(isinstance(value, bool) for value in values):
        return pa.bool_()
    if all(isinstance(value, int) for value in values):
        return pa.int64()
    if all(isinstance(value, float) for value in values):
        return pa.float64()
    return pa.string()


def evaluate(space: Space, designs: Numbers) -> pa.Table:
    """What designs cost.

    Args:
        space: the space.
        designs: int64 [n], numbers of designs.

    Returns:
        A table with the columns of `schema`, a row for each design in the order given. Figures
        of a design that cannot be built or simulated are null, and `error` says why.
    """
    digits = space.digits(designs)
    columns: dict[str, pa.Array] = {"design": pa.array(designs, pa.int64())}
    for place, parameter in enumerate(space.parameters):
        values = pa.array([_cell(v) for v in parameter.values], _type(space, parameter.name))
        columns[parameter.name] = values.take(pa.array(digits[:, place]))
    found, batches, errors = _figures(space, digits)
    columns["batch"] = pa.array(batches, pa.int64())
    failed = errors != None  # noqa: E711
    feasible = ~failed
    for constraint in space.constraints:
        value = found.get(constraint.name)
        if value is None:
            value = columns[constraint.name].to_numpy(zero_copy_only=False)
        feasible &= value >= (-np.inf if constraint.least is None else constraint.least)
        feasible &= value <= (np.inf if constraint.most is None else constraint.most)
    if space.device:
        feasible &= measure.fits(found, space.device)
    for name in space.figures:
        kind = pa.int64() if COLUMNS[name].whole else pa.float64()
        unknown = failed | (np.isnan(found[name]) if not COLUMNS[name].whole else False)
        columns[name] = pa.array(found[name], kind, mask=unknown)
    columns["feasible"] = pa.array(feasible)
    columns["error"] = pa.array([error or "" for error in errors], pa.string())
    wanted = schema(space)
    return pa.Table.from_arrays([columns[name] for name in wanted.names], schema=wanted)


def only(space: Space, designs: Numbers) -> Space:
    """The space without the layers that these designs do not train: less to send to a worker."""
    names = [p.name for p in space.parameters]
    digits = space.digits(designs)
    chosen = {
        name: [space.values(name)[i] for i in np.unique(digits[:, names.index(name)])]
        for name in ("workload", "batch")
        if name in names
    }
    kept = {
        key: trace
        for key, trace in space.traces.items()
        if key[0] in chosen["workload"] and key[1] in chosen.get("batch", [None])
    }
    return replace(space, traces=kept)


def _cell(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list) else value


def _figures(space: Space, digits: Numbers) -> tuple[dict[str, np.ndarray[Any, Any]], Numbers, Any]:
    """Figures by name, the batch, and the error (None where there is none) of each design."""
    count = len(digits)
    found = {
        name: np.zeros(count, np.int64 if COLUMNS[name].whole else np.float64)
        for name in space.figures
    }
    batches, errors = np.zeros(count, np.int64), np.full(count, None, object)
    steps = len(space.steps)
    kinds, which = np.unique(digits[:, :steps], axis=0, return_inverse=True)
    for kind, places in enumerate(kinds.tolist()):
        members = np.flatnonzero(which == kind)
        step = {p.name: p.values[i] for p, i in zip(space.steps, places, strict=True)}
        trace = space.traces[step["workload"], step.get("batch")]
        batches[members] = trace.batch
        table = _table(space, digits[members, steps:])
        costs, errors[members] = measure.costs(_step(space, tuple(places)), table, space.device)
        if space.accuracy is not None:
            known = accuracy.of(space.accuracy, step["method"], step["pattern"])
            costs["accuracy"] = np.full(len(members), np.nan if known is None else known)
        for name, values in costs.items():
            found[name][members] = values
    return found, batches, errors


def _table(space: Space, digits: Numbers) -> DesignTable:
    columns = {}
    for place, parameter in enumerate(space.hardware):
        scalar = not isinstance(parameter.values[0], list)
        values = np.array(parameter.values if scalar else None, None if scalar else object)
        if not scalar:
            values = np.empty(len(parameter.values), object)
            values[:] = parameter.values
        columns[parameter.name] = values[digits[:, place]]
    return DesignTable(space.base, columns, len(digits))


def _step(space: Space, places: tuple[int, ...]) -> StepBatch:
    step = {p.name: p.values[i] for p, i in zip(space.steps, places, strict=True)}
    options = tuple((name, step[name]) for name in OPTIONS if name in step)
    trace = space.traces[step["workload"], step.get("batch")]
    return _batch(trace, step["method"], step["pattern"], options)


@lru_cache(maxsize=64)
def _batch(
    trace: Any, method: str, pattern: str, options: tuple[tuple[str, Any], ...]
) -> StepBatch:
    return StepBatch(trace, METHODS[method], Pattern.parse(pattern), Options(**dict(options)))
