"""A design space from a TOML file or nested dicts, checked as a whole before anything runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nofm.dataflow import accelerator as hardware
from nofm.dataflow import toml_text
from nofm.dataflow.accelerator import Accelerator
from nofm.dataflow.description import entries
from nofm.dataflow.methods import method as find_method
from nofm.dataflow.schedule import POLICIES
from nofm.explore import accuracy, measure
from nofm.explore.columns import COLUMNS
from nofm.explore.space import (
    KINDS,
    OPTIONS,
    STEP,
    Constraint,
    Objective,
    Parameter,
    Search,
    Space,
)
from nofm.explore.values import (
    MOST,
    ascending,
    looks_like_a_range,
    plain,
    shown,
    values,
)
from nofm.kernels.errors import InputError, positive, unknown
from nofm.kernels.pattern import Pattern
from nofm.rtl.synthesis.devices import device as find_device
from nofm.workloads.bounded_file import read_bytes
from nofm.workloads.resolve import resolve
from nofm.workloads.trace import Trace

FIXED = (*STEP, *OPTIONS)
TABLES = ("parameters", "constraints", "objectives", "accuracy", "search")
KEYS = (*FIXED, "base", *TABLES)

MAX_FILE_BYTES = 1 << 22
MAX_DESIGNS = 10**9
"""Most designs of an exhaustive search."""

MAX_SPACE = 2**62
"""Most designs of a space: a design is an int64."""

MAX_TRIALS = 10**6
MAX_PART = 1 << 16
PARTS = 64
"""Parts that a large space is cut into, unless it asks for others."""

PART_SIZES = {"exhaustive": (1024, 8192), "nsga2": (64, 64), "tpe": (16, 16)}
"""Least and most designs of a part, unless the space asks for others."""

OBJECTIVES = ("seconds", "energy_joules", "lut")
"""What is minimised, unless the space says otherwise."""


def read(space: str | Path | Mapping[str, Any]) -> Space:
    """A design space.

    Args:
        space: a TOML file, or the same as nested dicts.

    Raises:
        InputError: the file cannot be read, or something in it cannot be used.
    """
    if isinstance(space, Mapping):
        return from_document(_exact(space), "space")
    path = Path(space)
    if path.suffix != ".toml":
        raise InputError(f"a design space's file name ends in .toml, not {str(space)!r}")
    data = read_bytes(path, "a design space", MAX_FILE_BYTES)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not valid TOML: it is not UTF-8 text") from None
    try:
        document = toml_text.read(text, str(path), parse_float=Decimal)
    except InvalidOperation:
        raise InputError(f"{path} is not valid TOML: a number's exponent is too large") from None
    return from_document(document, str(path))


def from_document(document: Mapping[str, Any], source: str) -> Space:
    """Check a space given as nested dicts, in which floats are decimals; `source` names it.

    Raises:
        InputError: something cannot be used.
    """
    try:
        return _checked(document)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def _exact(value: Any) -> Any:
    """Floats as the decimals that they are written as."""
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, Mapping):
        return {key: _exact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(item) for item in value]
    return value


def _checked(document: Mapping[str, Any]) -> Space:
    for key in document:
        if key not in KEYS:
            raise unknown("entry", key, KEYS)
    for key in TABLES:
        if not isinstance(document.get(key, {}), Mapping):
            raise InputError(f"{key} must be a table, not {shown(document[key])}")
    base = _base(document.get("base", "sat-32x32"))
    given = _given(document, base)
    known = [_values(name, entry, base) for name, entry in given.items()]
    parameters = tuple(sorted(known, key=_place))
    by_name = {p.name: p.values for p in parameters}
    _check_patterns(by_name, base)
    constraints, device = _constraints(document.get("constraints", {}))
    found = accuracy.read(document["accuracy"]) if "accuracy" in document else None
    space = Space(
        base=base,
        parameters=parameters,
        constraints=constraints,
        objectives=_objectives(document.get("objectives", {})),
        device=device,
        accuracy=found,
        search=Search("exhaustive", 1),
        traces=_traces(by_name["workload"], by_name.get("batch", (None,))),
    )
    if not space.objectives:
        built = measure.has_area(_formats(space))
        names = [name for name in OBJECTIVES if built or not COLUMNS[name].area]
        space = replace(space, objectives=tuple(Objective(name, False) for name in names))
    space = replace(space, search=_search(document.get("search", {}), space))
    _check_names(space)
    return space


def _base(entry: object) -> Accelerator:
    if isinstance(entry, Mapping):
        return hardware.from_document(plain(entry), "base")
    if not isinstance(entry, str):
        raise InputError(f"base must be a preset, a TOML file or a table, not {shown(entry)}")
    return hardware.load(entry)


def _given(document: Mapping[str, Any], base: Accelerator) -> dict[str, Any]:
    """Every parameter with its list or range; what is fixed is a list of one value."""
    given: dict[str, Any] = {}
    for name, entry in _flat(document.get("parameters", {})):
        if name in given:
            raise InputError(f"parameter {name!r} is given twice")
        given[name] = entry
    choices = [*FIXED, *(name for name in entries(base) if name != "name")]
    for name in given:
        if name not in choices:
            raise unknown("parameter", name, choices)
    for name in FIXED:
        if name in document and name in given:
            raise InputError(f"{name} is given twice: by itself and as a parameter")
        if name in document:
            if isinstance(document[name], list | Mapping):
                raise InputError(
                    f"{name} must be one value, not {shown(document[name])}: several go into "
                    "[parameters]"
                )
            given[name] = [document[name]]
    if "workload" not in given:
        raise InputError("a workload is needed: workload = 'resnet18', or a list as a parameter")
    return {"method": ["bdwp"], "pattern": ["2:8"]} | given


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, entry in table.items():
        if isinstance(entry, Mapping) and not looks_like_a_range(entry):
            yield from _flat(entry, f"{prefix}{key}.")
        else:
            yield prefix + key, entry


def _place(parameter: Parameter) -> tuple[int, str]:
    name = parameter.name
    return (FIXED.index(name), "") if name in FIXED else (len(FIXED), name)


def _values(name: str, entry: object, base: Accelerator) -> Parameter:
    listed = values(name, entry)
    if name in FIXED:
        checked = [_step_value(name, value) for value in listed]
    else:
        checked = [_hardware_value(name, value, base) for value in listed]
    seen: set[str] = set()
    for value in checked:
        if repr(value) in seen:
            raise InputError(f"parameter {name!r} lists {shown(value)} twice")
        seen.add(repr(value))
    return Parameter(name, tuple(ascending(checked)))


def _step_value(name: str, value: Any) -> Any:
    if name == "batch":
        return positive("batch", value)
    if name in ("interleave", "pregeneration"):
        if not isinstance(value, bool):
            raise InputError(f"{name} must be true or false, not {shown(value)}")
        return value
    if not isinstance(value, str):
        raise InputError(f"{name} must be a text, not {shown(value)}")
    if name == "method":
        return find_method(value).name
    if name == "pattern":
        parsed = Pattern.parse(value)
        return value if value == "dense" else str(parsed)
    if name == "schedule" and value not in POLICIES:
        raise unknown("schedule", value, POLICIES)
    return value


def _hardware_value(name: str, value: Any, base: Accelerator) -> Any:
    """The value as an accelerator has it. A value may fit only beside another parameter's: what is
    refused here is what no accelerator takes."""
    path = tuple(name.split("."))
    document = base.to_document()
    table = document
    for key in path[:-1]:
        table = table[key]
    example, table[path[-1]] = table[path[-1]], value
    try:
        checked = Accelerator.model_validate(document).to_document()
    except ValidationError as error:
        if any(found["loc"][: len(path)] == path for found in error.errors()):
            hardware.from_document(document, f"accelerator {base.name!r}")
        return float(value) if isinstance(example, float) else value
    for key in path:
        checked = checked[key]
    return checked


def _check_patterns(by_name: Mapping[str, tuple[Any, ...]], base: Accelerator) -> None:
    """Refuse a pattern that no design has."""
    if set(by_name["method"]) == {"dense"}:
        return
    lists = by_name.get("array.patterns")
    if lists is None:
        for pattern in by_name["pattern"]:
            base.require_pattern(Pattern.parse(pattern))
        return
    has = {text for each in lists for text in each}
    for pattern in by_name["pattern"]:
        if not Pattern.parse(pattern).dense and pattern not in has:
            raise InputError(f"pattern {pattern} is in none of the lists of array.patterns")


def _traces(workloads: Iterable[str], batches: Iterable[Any]) -> dict[tuple[str, Any], Trace]:
    pairs = [(workload, batch) for workload in workloads for batch in batches]
    if len(pairs) > MOST:
        raise InputError(f"workloads and batches may be {MOST} pairs at most, not {len(pairs)}")
    return {(workload, batch): resolve(workload, batch) for workload, batch in pairs}


def _constraints(table: Mapping[str, Any]) -> tuple[tuple[Constraint, ...], str]:
    found = []
    device = table.get("device", "")
    if not isinstance(device, str):
        raise InputError(f"constraint 'device' must be a text, not {shown(device)}")
    flat = dict(_flat_bounds({k: v for k, v in table.items() if k != "device"}))
    for name, bounds in sorted(flat.items()):
        example = "{max = 10}"
        if not isinstance(bounds, Mapping) or not bounds:
            raise InputError(f"constraint {name!r} must look like {example}, not {shown(bounds)}")
        for key, value in bounds.items():
            if key not in ("min", "max"):
                raise unknown(f"entry of constraint {name!r}", key, ("min", "max"))
            if isinstance(value, bool) or not isinstance(value, int | Decimal):
                raise InputError(f"constraint {name!r}: {key} must be a number, not {shown(value)}")
            if not math.isfinite(_as_float(value)):
                raise InputError(f"constraint {name!r}: {key} must be finite, not {shown(value)}")
        least, most = bounds.get("min"), bounds.get("max")
        if least is not None and most is not None and least > most:
            raise InputError(
                f"constraint {name!r}: min must not be above max, not {least} and {most}"
            )
        found.append(Constraint(name, *(None if v is None else float(v) for v in (least, most))))
    return tuple(found), device


def _flat_bounds(table: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, entry in table.items():
        if isinstance(entry, Mapping) and any(isinstance(v, Mapping) for v in entry.values()):
            yield from _flat_bounds(entry, f"{prefix}{key}.")
        else:
            yield prefix + key, entry


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _objectives(table: Mapping[str, Any]) -> tuple[Objective, ...]:
    directions = {"minimise": False, "maximise": True}
    found: dict[str, Objective] = {}
    for key, names in table.items():
        if key not in directions:
            raise unknown("entry of objectives", key, directions)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"objectives: {key} must be a list of names, not {shown(names)}")
        for name in names:
            if name in found:
                raise InputError(f"objective {name!r} is given twice")
            found[name] = Objective(name, directions[key])
    if table and not found:
        raise InputError("at least one objective is needed, not none")
    return tuple(sorted(found.values(), key=lambda o: o.maximise))


def _search(table: Mapping[str, Any], space: Space) -> Search:
    known = ("kind", "trials", "seed", "part")
    for key in table:
        if key not in known:
            raise unknown("entry of search", key, known)
    kind = table.get("kind", "exhaustive")
    if kind not in KINDS:
        raise unknown("kind of search", kind, KINDS)
    if space.count > MAX_SPACE:
        raise InputError(f"a space may have 2^62 designs at most, not {space.count:,}")
    least, most = PART_SIZES[kind]
    part = min(max(-(-space.count // PARTS), least), most)
    if "part" in table:
        part = positive("search: part", table["part"], at_most=MAX_PART)
    if kind == "exhaustive":
        for key in ("trials", "seed"):
            if key in table:
                raise InputError(f"search: {key} goes with nsga2 and tpe, not with exhaustive")
        if space.count > MAX_DESIGNS:
            raise InputError(
                f"an exhaustive search may have {MAX_DESIGNS:,} designs at most, not "
                f"{space.count:,}: shorten the lists, or search with kind = 'nsga2'"
            )
        return Search(kind, part)
    if "trials" not in table:
        raise InputError(f"search: {kind} needs trials, the number of designs to evaluate")
    trials = positive("search: trials", table["trials"], at_most=MAX_TRIALS)
    seed = table.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise InputError(f"search: seed must be from 0 to {2**31 - 1}, not {shown(seed)}")
    return Search(kind, part, min(trials, space.count), seed)


def _formats(space: Space) -> dict[str, Sequence[str]]:
    """Entries of `formats`, each with the values that designs have."""
    found: dict[str, Sequence[str]] = {}
    for entry, own in space.base.formats.model_dump().items():
        name = f"formats.{entry}"
        varied = any(p.name == name for p in space.hardware)
        found[entry] = space.values(name) if varied else (own,)
    return found


def _check_names(space: Space) -> None:
    known = space.figures + [p.name for p in space.parameters if p.numeric]
    used = [("constraint", c.name) for c in space.constraints]
    used += [("objective", o.name) for o in space.objectives]
    for what, name in used:
        if name == "accuracy" and name not in known:
            raise InputError(f"{what} 'accuracy' needs an [accuracy] table, and there is none")
        if name not in known:
            raise unknown(what, name, known)
    if space.device:
        find_device(space.device)
    wanted = [name for _, name in used if name in COLUMNS and COLUMNS[name].area]
    measure.check_area(wanted + (["a device"] if space.device else []), _formats(space))
    if space.accuracy is not None and any(name == "accuracy" for _, name in used):
        for method in space.values("method"):
            for pattern in space.values("pattern"):
                if accuracy.of(space.accuracy, method, pattern) is None:
                    raise InputError(f"accuracy of method {method} with {pattern} is not given")
