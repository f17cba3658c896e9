"""Many accelerators as columns: one base, and what varies.

A sweep looks at more designs than anybody wants to hold as objects. A `DesignTable` checks each
distinct value once, and each distinct combination of values that a rule links, and gives the
`HARDWARE` records of all designs; one design as an `Accelerator` where it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any, get_type_hints

import numpy as np
from pydantic import BaseModel, TypeAdapter, ValidationError

from nofm.dataflow.accelerator import (
    HARDWARE,
    RULES,
    Accelerator,
    check_registers,
    complaint,
    entries,
)
from nofm.kernels.errors import InputError, unknown

Column = np.ndarray[Any, Any]
Codes = np.ndarray[Any, np.dtype[np.int64]]
LINKED = ("array.patterns", "array.weight_registers")
"""Entries that an `Accelerator` checks together, as the last ones of their table."""


@dataclass(frozen=True)
class _Checked:
    """Distinct values, or combinations of values, after a check.

    Attributes:
        given: what the check gives for each of them, None for what it refuses.
        refusals: why, None for what it takes.
        codes: int64 [n], which of them each design has.
    """

    given: list[Any]
    refusals: list[str | None]
    codes: Codes


class DesignTable:
    """Many accelerators: a base, and columns of entries that vary.

    Args:
        base: gives every entry that has no column.
        columns: arrays of `count` values by the dotted name of an entry, as `with_values` takes
            them: numbers, texts, or objects (lists for patterns, dataflows and fused kinds).
        count: number of designs.

    Raises:
        InputError: a column names no entry, or has another length.
    """

    def __init__(self, base: Accelerator, columns: Mapping[str, Column], count: int) -> None:
        self.base = base
        self.columns = {name: np.asarray(values) for name, values in columns.items()}
        self.count = count
        for name, values in self.columns.items():
            if name not in entries(base):
                raise unknown("accelerator entry", name, entries(base))
            if values.shape != (count,):
                raise InputError(
                    f"column {name!r} must have one value for each of {count} designs, "
                    f"not shape {values.shape}"
                )
        self._found: dict[str, _Checked] = {}
        self._ruled: dict[tuple[tuple[str, ...], Callable[..., Any]], _Checked] = {}
        self._errors: Column | None = None

    def __len__(self) -> int:
        return self.count

    def column(self, name: str) -> Column:
        """Values of an entry, [n]; read-only where it does not vary.

        Raises:
            InputError: there is no such entry.
        """
        if name in self.columns:
            return self.columns[name]
        if name not in entries(self.base):
            raise unknown("accelerator entry", name, entries(self.base))
        value: Any = self.base.to_document()
        for key in name.split("."):
            value = value[key]
        one = np.empty((), object if isinstance(value, list) else np.array(value).dtype)
        one[()] = value
        return np.broadcast_to(one, self.count)

    def accelerator(self, i: int) -> Accelerator:
        """Design i.

        Raises:
            InputError: it is not a valid accelerator.
        """
        return self.base.with_values(**{name: _plain(v[i]) for name, v in self.columns.items()})

    def part(self, first: int, last: int) -> DesignTable:
        """Designs `first` to `last` - 1."""
        cut = {name: values[first:last] for name, values in self.columns.items()}
        return DesignTable(self.base, cut, len(range(self.count)[first:last]))

    def take(self, indices: Sequence[int] | Column) -> DesignTable:
        """The designs at `indices`, in that order."""
        at = np.asarray(indices, np.int64)
        return DesignTable(self.base, {k: v[at] for k, v in self.columns.items()}, len(at))

    def records(self) -> Column:
        """`HARDWARE` [n]: each design's `hardware_record`; zeros for a design that is not valid
        (`errors`)."""
        records = np.zeros(self.count, HARDWARE)
        for rule in RULES:
            linked = self._linked(rule.entries, rule.values)
            rows = [(0,) * len(rule.fields) if row is None else row for row in linked.given]
            values = np.array(rows, np.int64).reshape(-1, len(rule.fields))
            for i, field in enumerate(rule.fields):
                records[field] = values[linked.codes, i]
        records[self.errors().astype(bool)] = np.zeros((), HARDWARE)
        return records

    def errors(self) -> Column:
        """object [n]: why a design is not a valid `Accelerator`, or has no `HARDWARE` record, in
        one line: what `accelerator` or `hardware_record` would say. None for a valid design."""
        if self._errors is None:
            self._errors = self._all_errors()
        return self._errors

    def _all_errors(self) -> Column:
        found = np.full(self.count, None, object)
        # The last word is that of the first check, so they come in reverse.
        for rule in reversed(RULES):
            linked = self._linked(rule.entries, rule.values)
            _say(found, linked.codes, linked.refusals)
        if (unfit := found.astype(bool)).any():
            names = self.column("name")[unfit].tolist()
            found[unfit] = [
                f"accelerator {name!r}: {text}"
                for name, text in zip(names, found[unfit], strict=True)
            ]
        source = f"accelerator {self.base.name!r}"
        in_order = entries(self.base)
        last_of_array = [name for name in in_order if name.startswith("array.")][-1]
        for name in reversed(in_order):
            if name == last_of_array:
                linked = self._linked(LINKED, check_registers)
                texts = [text and f"{source}: array: {text}" for text in linked.refusals]
                _say(found, linked.codes, texts)
            checked = self._checked(name)
            _say(found, checked.codes, checked.refusals)
        return found

    def _checked(self, name: str) -> _Checked:
        """An entry's distinct values as an `Accelerator` has them."""
        if name not in self._found:
            if name in self.columns:
                values, codes = _distinct(self.columns[name])
                given, refusals = _validated(name, values, f"accelerator {self.base.name!r}")
                self._found[name] = _Checked(given, refusals, codes)
            else:
                codes = np.zeros(self.count, np.int64)
                self._found[name] = _Checked([attrgetter(name)(self.base)], [None], codes)
        return self._found[name]

    def _linked(self, names: tuple[str, ...], rule: Callable[..., Any]) -> _Checked:
        """What a rule gives for each distinct combination of some entries' values. Where one of
        them is refused, the rule gives nothing and refuses nothing."""
        if (names, rule) in self._ruled:
            return self._ruled[names, rule]
        checked = [self._checked(name) for name in names]
        first, codes = self._combined(checked)
        given: list[Any] = [None] * len(first)
        refusals: list[str | None] = [None] * len(first)
        values, refused = [], np.zeros(len(first), np.bool_)
        for each in checked:
            at = each.codes[first].tolist()
            values.append([each.given[k] for k in at])
            refused |= np.array([each.refusals[k] for k in at], object).astype(bool)
        for i, combination in enumerate(zip(*values, strict=True)):
            if not refused[i]:
                try:
                    given[i] = rule(*combination)
                except ValueError as error:
                    refusals[i] = str(error)
        self._ruled[names, rule] = _Checked(given, refusals, codes)
        return self._ruled[names, rule]

    def _combined(self, checked: Sequence[_Checked]) -> tuple[Codes, Codes]:
        """A design of each distinct combination of values, and which of them each design has."""
        codes: Codes = np.zeros(self.count, np.int64)
        varying = [each for each in checked if len(each.given) > 1]
        for each in varying:
            codes = codes * len(each.given) + each.codes
        if len(varying) > 1:
            _, first, codes = np.unique(codes, return_index=True, return_inverse=True)
            return first, codes
        first = np.zeros(len(varying[0].given) if varying else min(1, self.count), np.int64)
        first[codes] = np.arange(self.count)
        return first, codes


def _say(found: Column, codes: Codes, texts: Sequence[str | None]) -> None:
    """Write each design's text, if any, over what is found already."""
    if not any(texts):
        return
    by_code = np.array(texts, object)
    said = by_code.astype(bool)[codes]
    found[said] = by_code[codes[said]]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _distinct(values: Column) -> tuple[list[Any], Codes]:
    """The distinct values as plain Python objects, and which of them each design has."""
    if values.dtype.kind in "iubU":
        found, codes = np.unique(values, return_inverse=True)
        return found.tolist(), codes
    if values.dtype.kind == "f" and values.dtype.itemsize <= 8:
        # By their bits: -0.0 is not 0.0, and NaN is one value.
        found, codes = np.unique(values.astype(np.float64).view(np.int64), return_inverse=True)
        return found.view(np.float64).tolist(), codes
    objects = values.astype(object)
    ids = np.fromiter(map(id, objects), np.int64, len(objects))
    _, first, codes = np.unique(ids, return_index=True, return_inverse=True)
    places: dict[Any, int] = {}
    plain = [_plain(objects[i]) for i in first]
    merged = np.array([places.setdefault(_key(value), len(places)) for value in plain], np.int64)
    kept = dict(zip(merged.tolist(), plain, strict=True))
    return [kept[i] for i in range(len(places))], merged[codes]


def _key(value: Any) -> Any:
    """Equal for values that are the same to every check."""
    if isinstance(value, list | tuple):
        return type(value), tuple(map(_key, value))
    if isinstance(value, float):
        return float, repr(value)
    try:
        hash(value)
    except TypeError:
        return object, id(value)
    return type(value), value


@cache
def _adapter(name: str) -> TypeAdapter[list[Any]]:
    """Checks many values of an entry as `Accelerator` checks one."""
    table: Any = Accelerator
    *path, last = name.split(".")
    for key in path:
        table = get_type_hints(table)[key]
    assert issubclass(table, BaseModel)
    hint: Any = get_type_hints(table, include_extras=True)[last]
    return TypeAdapter(list[hint])


def _validated(name: str, values: list[Any], source: str) -> tuple[list[Any], list[str | None]]:
    refusals: list[str | None] = [None] * len(values)
    try:
        return _adapter(name).validate_python(values), refusals
    except ValidationError as error:
        for found in reversed(error.errors()):
            index, *rest = found["loc"]
            where = (*name.split("."), *rest)
            refusals[int(index)] = complaint({**found, "loc": where}, source)
    good = [v for v, refusal in zip(values, refusals, strict=True) if refusal is None]
    parsed = iter(_adapter(name).validate_python(good))
    return [None if refusal else next(parsed) for refusal in refusals], refusals
