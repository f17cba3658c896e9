"""A design space: what varies, what is asked of designs, and how they are looked for.

A space is read from TOML and checked as a whole. Its canonical form does not depend on the order
of the file's keys; a design is a number, whose digits (mixed radix) choose the parameters' values.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from math import prod
from typing import Any

import numpy as np

from nofm.dataflow import toml_text
from nofm.dataflow.accelerator import Accelerator
from nofm.explore.columns import figures
from nofm.workloads.trace import Trace
from nofm.workloads.trace_file import to_bytes

Numbers = np.ndarray[Any, np.dtype[np.int64]]

STEP = ("workload", "batch", "method", "pattern")
"""Parameters of the training step, in the order of their digits; every space has them."""

OPTIONS = ("interleave", "pregeneration", "schedule")
"""Parameters of `simulator.step.Options`, which come next where a space has them."""

KINDS = ("exhaustive", "nsga2", "tpe")
"""How designs are looked for: all of them, or guided by what was found."""

FORMAT = 1
"""Grows when the same space gives another table."""


def release() -> str:
    """Names the code: two with the same name give the same table for the same space."""
    return f"nofm {version('nofm')}, results {FORMAT}"


@dataclass(frozen=True)
class Parameter:
    """What varies: a name and its values."""

    name: str
    values: tuple[Any, ...]

    @property
    def numeric(self) -> bool:
        """Whether all values are numbers."""
        return all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.values)


@dataclass(frozen=True)
class Constraint:
    """A column or a numeric parameter that must lie between two bounds; None does not bound."""

    name: str
    least: float | None
    most: float | None


@dataclass(frozen=True)
class Objective:
    """A column or a numeric parameter that should be small, or large."""

    name: str
    maximise: bool


@dataclass(frozen=True)
class Search:
    """How designs are looked for.

    Attributes:
        kind: one of `KINDS`.
        part: designs that are evaluated and written together.
        trials: designs that a guided search evaluates; 0 for an exhaustive one.
        seed: of a guided search.
    """

    kind: str
    part: int
    trials: int = 0
    seed: int = 0

    @property
    def guided(self) -> bool:
        """Whether what was found says where to look next."""
        return self.kind != "exhaustive"


@dataclass(frozen=True)
class Space:
    """A checked design space.

    Attributes:
        base: gives every entry of the hardware that does not vary.
        parameters: in the order of their digits, the first the most significant: those of `STEP`,
            those of `OPTIONS` that are given, entries of the hardware by name. `batch` is left
            out where workloads have their own.
        constraints, objectives: what is asked of a design.
        device: an FPGA that a design must fit, or "".
        accuracy: by method and pattern, or None.
        search: how designs are looked for.
        traces: the training step's layers by workload and batch (None for a workload's own).
    """

    base: Accelerator
    parameters: tuple[Parameter, ...]
    constraints: tuple[Constraint, ...]
    objectives: tuple[Objective, ...]
    device: str
    accuracy: Mapping[tuple[str, str], float] | None
    search: Search
    traces: Mapping[tuple[str, int | None], Trace] = field(repr=False)

    @cached_property
    def count(self) -> int:
        """Designs of the space."""
        return prod(len(parameter.values) for parameter in self.parameters)

    @cached_property
    def steps(self) -> tuple[Parameter, ...]:
        """Parameters of the training step."""
        return tuple(p for p in self.parameters if p.name in (*STEP, *OPTIONS))

    @cached_property
    def hardware(self) -> tuple[Parameter, ...]:
        """Parameters of the hardware."""
        return self.parameters[len(self.steps) :]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters as columns of the result, `batch` always among them."""
        options = [p.name for p in self.steps if p.name in OPTIONS]
        return (*STEP, *options, *(p.name for p in self.hardware))

    @cached_property
    def figures(self) -> list[str]:
        """Names of the figures that designs have, as columns of the result."""
        return figures(self.accuracy is not None)

    def values(self, name: str) -> tuple[Any, ...]:
        """Values of a parameter."""
        return next(p.values for p in self.parameters if p.name == name)

    def digits(self, designs: Numbers) -> Numbers:
        """Places of the designs' values, int64 [n, parameters]."""
        found = np.empty((len(designs), len(self.parameters)), np.int64)
        rest = np.array(designs, np.int64)
        for place in reversed(range(len(self.parameters))):
            rest, found[:, place] = np.divmod(rest, len(self.parameters[place].values))
        return found

    def numbers(self, digits: Numbers) -> Numbers:
        """Designs by the places of their values: `digits` turned round."""
        found = np.zeros(len(digits), np.int64)
        for place, parameter in enumerate(self.parameters):
            found = found * len(parameter.values) + digits[:, place]
        return found

    def design(self, number: int) -> dict[str, Any]:
        """Values of one design by parameter."""
        (places,) = self.digits(np.array([number])).tolist()
        return {p.name: p.values[i] for p, i in zip(self.parameters, places, strict=True)}

    def document(self) -> dict[str, Any]:
        """The space as nested dicts of plain values; `read.from_document` reads it back."""
        document: dict[str, Any] = {
            "base": self.base.to_document(),
            "parameters": {p.name: list(p.values) for p in self.parameters},
            "objectives": {
                key: [o.name for o in self.objectives if o.maximise == maximise]
                for key, maximise in (("minimise", False), ("maximise", True))
            },
            "search": {"kind": self.search.kind, "part": self.search.part},
        }
        if self.search.guided:
            document["search"] |= {"trials": self.search.trials, "seed": self.search.seed}
        constraints: dict[str, Any] = {
            c.name: {k: v for k, v in (("min", c.least), ("max", c.most)) if v is not None}
            for c in self.constraints
        }
        if self.device:
            constraints["device"] = self.device
        if constraints:
            document["constraints"] = constraints
        if self.accuracy is not None:
            table: dict[str, dict[str, float]] = {}
            for (method, pattern), value in sorted(self.accuracy.items()):
                table.setdefault(method, {})[pattern] = value
            document["accuracy"] = table
        return document

    @cached_property
    def digest(self) -> str:
        """Of everything that the result depends on: the space, its workloads' layers, and the
        code."""
        layers = {
            f"{name} {batch}": hashlib.sha256(to_bytes(trace)).hexdigest()
            for (name, batch), trace in self.traces.items()
        }
        whole = {"release": release(), "space": self.document(), "traces": layers}
        text = json.dumps(whole, sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_toml(self) -> str:
        """The canonical file."""
        document = self.document()
        lines: list[str] = []
        for name, table in document.items():
            _write_table(lines, [name], table)
        return "\n".join(lines).lstrip("\n") + "\n"


def _write_table(lines: list[str], path: list[str], table: Mapping[str, Any]) -> None:
    plain = {k: v for k, v in table.items() if not isinstance(v, Mapping)}
    inner = {k: v for k, v in table.items() if isinstance(v, Mapping)}
    if plain or not inner:
        lines += ["", f"[{'.'.join(map(_key, path))}]"]
        lines += [f"{_key(k)} = {_value(v)}" for k, v in plain.items()]
    for name, value in inner.items():
        _write_table(lines, [*path, name], value)


def _key(name: str) -> str:
    bare = name.isascii() and all(c.isalnum() or c in "_-" for c in name) and name
    return name if bare else toml_text.written(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return toml_text.written(value)
