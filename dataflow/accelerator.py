"""The one description of the machine: simulator, RTL generator and golden model all take it.

An `Accelerator` is read from TOML, validated and immutable. `hardware_record` flattens it to the
integers that compiled code works on; nothing else carries machine constants.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from nofm.dataflow import toml_text
from nofm.dataflow.formats import BITS, FormatName
from nofm.kernels.errors import InputError, unknown
from nofm.kernels.pattern import DENSE, Pattern
from nofm.kernels.tiered import integers
from nofm.workloads.layer import VectorKind

DataflowName = Literal["ws", "os"]
DATAFLOWS: tuple[DataflowName, ...] = ("ws", "os")
"""Weight stationary and output stationary; a dataflow's number in compiled code is its index."""

Count = Annotated[int, Field(ge=1, le=4096, strict=True)]
Cycles = Annotated[int, Field(ge=1, le=64, strict=True)]
NotNegative = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False, strict=True)]


def _parsed_patterns(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError(f"must be a list such as ['2:4', '2:8'], not {_shown(value)}")
    patterns = tuple(Pattern.parse(text) for text in value)
    if dense := [str(p) for p in patterns if p.dense]:
        raise ValueError(f"must list sparse patterns only, not {dense[0]}")
    return tuple(dict.fromkeys(patterns))


def _in_order(value: tuple[DataflowName, ...]) -> tuple[DataflowName, ...]:
    if not value:
        raise ValueError("must name at least one of ws and os")
    return tuple(name for name in DATAFLOWS if name in value)


def _known_kinds(value: tuple[str, ...]) -> tuple[str, ...]:
    for kind in value:
        if kind not in get_args(VectorKind):
            raise unknown("kind of vector work", kind, get_args(VectorKind))
    return tuple(dict.fromkeys(value))


# What an entry may be stands in its type alone, which also checks many values at once
# (`design_table`).
PatternList = Annotated[tuple[Pattern, ...], BeforeValidator(_parsed_patterns)]
DataflowList = Annotated[tuple[DataflowName, ...], AfterValidator(_in_order)]
VectorKinds = Annotated[tuple[str, ...], AfterValidator(_known_kinds)]


def check_registers(patterns: tuple[Pattern, ...], weight_registers: int) -> None:
    """Raise ValueError where a USPE cannot hold the kept values of a pattern."""
    for pattern in patterns:
        if pattern.n > weight_registers:
            raise ValueError(
                f"weight_registers must be at least N of every pattern, but {pattern} needs "
                f"{pattern.n} and there are {weight_registers}"
            )


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Array(_Table):
    """The systolic array, STCE, of `rows` x `columns` USPEs.

    Attributes:
        interleave: independent outputs that one USPE can work on in turn; at least
            `adder_cycles` of them sustain one multiply-accumulate a cycle.
        multiplier_cycles, adder_cycles: pipeline depth of a USPE's multiplier and adder.
        accumulator_cycles: from a sum leaving the array to its being readable in the
            accumulation buffer.
        group_port_elements: activations that the buffer hands to each array row a cycle; an
            N:M group of M of them takes ceil(M / group_port_elements) cycles.
        weight_registers: kept values that a USPE holds in each of its two weight banks; bounds N
            in WS and the group of a dense product.
        patterns: the N:M patterns that index select supports; dense products always work.
        dataflows: the interconnects that exist.
    """

    rows: Count
    columns: Count
    interleave: Cycles
    multiplier_cycles: Cycles
    adder_cycles: Cycles
    accumulator_cycles: Cycles
    group_port_elements: Count
    weight_registers: Count
    patterns: PatternList
    dataflows: DataflowList

    @model_validator(mode="after")
    def _check_registers(self) -> Array:
        check_registers(self.patterns, self.weight_registers)
        return self


class Formats(_Table):
    """Number formats: of operands, of accumulation, and of the optimizer's master weights."""

    operand: FormatName = "fp16"
    accumulator: FormatName = "fp32"
    master: FormatName = "fp32"


class Engine(_Table):
    """A vector engine that takes `lanes` elements a cycle once its pipeline of `latency_cycles`
    is full."""

    lanes: Count
    latency_cycles: Annotated[int, Field(ge=0, le=1024, strict=True)]


class Pruner(Engine):
    """The top-N pruner: at least two lanes, for it may make two forms at a time."""

    lanes: Annotated[int, Field(ge=2, le=4096, strict=True)]


class Vector(Engine):
    """The engine of element-wise work; kinds in `fused` ride along with a neighbouring product
    and cost nothing of their own."""

    fused: VectorKinds = ()


class Buffers(_Table):
    """On-chip buffers. Each holds two banks, so that one is filled while the other is used."""

    activation_kib: Annotated[int, Field(ge=1, le=1 << 20, strict=True)]
    weight_kib: Annotated[int, Field(ge=1, le=1 << 20, strict=True)]
    output_kib: Annotated[int, Field(ge=1, le=1 << 20, strict=True)]


class Dram(_Table):
    """Off-chip memory: peak bandwidth, latency of a first byte, and the burst that every
    contiguous run is rounded up to."""

    bandwidth_gbps: Annotated[float, Field(gt=0, le=1e5, allow_inf_nan=False, strict=True)]
    latency_ns: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False, strict=True)]
    burst_bytes: Annotated[int, Field(ge=1, le=1 << 16, strict=True)]


class Energy(_Table):
    """Energy by event, in pJ, and the power that is drawn whatever happens, in W."""

    multiply_accumulate_pj: NotNegative
    select_pj: NotNegative
    buffer_pj_per_byte: NotNegative
    dram_pj_per_byte: NotNegative
    update_pj: NotNegative
    compare_pj: NotNegative
    static_w: NotNegative


class Accelerator(_Table):
    """An N:M sparse training accelerator.

    Attributes:
        name: for people.
        clock_mhz: clock of every engine.
        array: the systolic array, STCE.
        formats: number formats.
        sore: the top-N pruner; a lane takes one element a cycle, so M cycles a group, and half of
            the lanes make each form where two are made.
        wuve: the optimizer engine; a lane updates one parameter a cycle.
        vector: element-wise work.
        buffers, dram: memory.
        energy: energy by event.
    """

    name: Annotated[str, Field(min_length=1, max_length=100)]
    clock_mhz: Annotated[float, Field(ge=1e-3, le=1e5, allow_inf_nan=False, strict=True)]
    array: Array
    formats: Formats = Formats()
    sore: Pruner
    wuve: Engine
    vector: Vector
    buffers: Buffers
    dram: Dram
    energy: Energy

    @property
    def clock_hz(self) -> int:
        """Clock in Hz."""
        return _hz(self.clock_mhz)

    @property
    def peak_macs_per_cycle(self) -> int:
        """Multiply-accumulates a cycle with every USPE at work."""
        return self.array.rows * self.array.columns

    def require_pattern(self, pattern: Pattern) -> None:
        """Refuse a pattern that the array lacks.

        Raises:
            InputError: the pattern is sparse and not one of `array.patterns`.
        """
        if not pattern.dense and pattern not in self.array.patterns:
            has = ", ".join(map(str, self.array.patterns)) or "dense products only"
            raise InputError(
                f"accelerator {self.name!r} does not support pattern {pattern} (it has: {has})"
            )

    def covering(self, pattern: Pattern) -> Pattern:
        """The sparsest pattern of the array that covers a pattern (`Pattern.covers`): the pattern
        itself where the array has it; dense where none does.

        >>> print(load("sat-32x32").covering(Pattern(3, 8)))
        4:8
        """
        if pattern.dense or pattern in self.array.patterns:
            return pattern
        found = [own for own in self.array.patterns if own.covers(pattern)]
        return min(found, key=lambda own: (own.density, own.m), default=DENSE)

    def with_values(self, **values: Any) -> Accelerator:
        """A copy with some entries replaced by dotted name, checked like a file.

        >>> load("sat-32x32").with_values(**{"array.rows": 16}).array.rows
        16
        """
        document = self.to_document()
        for dotted, value in values.items():
            *path, last = dotted.split(".")
            table = document
            for key in path:
                if not isinstance(table.get(key), dict):
                    raise unknown("accelerator entry", dotted, entries(self))
                table = table[key]
            if last not in table or isinstance(table[last], dict):
                raise unknown("accelerator entry", dotted, entries(self))
            table[last] = value
        return from_document(document, f"accelerator {self.name!r}")

    def to_document(self) -> dict[str, Any]:
        """The description as nested dicts of plain values; `from_document` reads it back."""
        document = self.model_dump(mode="json")
        document["array"]["patterns"] = [str(pattern) for pattern in self.array.patterns]
        return document

    def to_toml(self) -> str:
        """The description as TOML; `from_toml` reads it back."""
        document = self.to_document()
        lines = [
            f"{key} = {toml_text.written(v)}"
            for key, v in document.items()
            if not isinstance(v, dict)
        ]
        for key, table in document.items():
            if isinstance(table, dict):
                lines += [
                    "",
                    f"[{key}]",
                    *(f"{k} = {toml_text.written(v)}" for k, v in table.items()),
                ]
        return "\n".join(lines) + "\n"


def entries(table: BaseModel, prefix: str = "") -> list[str]:
    """Dotted names of all entries, in the order in which they are checked."""
    names: list[str] = []
    for key, value in table:
        names += (
            entries(value, f"{prefix}{key}.") if isinstance(value, BaseModel) else [prefix + key]
        )
    return names


def _shown(value: object) -> str:
    """`value` in an error: not too long, and also where Python prints no number that long."""
    try:
        text = repr(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def from_document(document: dict[str, Any], source: str) -> Accelerator:
    """Check a description given as nested dicts.

    Raises:
        InputError: with the first entry that is wrong, named by its dotted path and `source`.
    """
    try:
        return Accelerator.model_validate(document)
    except ValidationError as error:
        # A misspelt entry is also a missing one: the spelling says more.
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        raise InputError(complaint(first, source)) from None


def complaint(found: Any, source: str) -> str:
    """One line for one of the errors that pydantic found in the document `source`."""
    where = ".".join(str(part) for part in found["loc"])
    if found["type"] == "extra_forbidden":
        return f"{source}: {unknown('entry', where, entries(_preset('sat-32x32')))}"
    if found["type"] == "missing":
        return f"{source}: entry {where!r} is missing"
    message = found["msg"].removeprefix("Value error, ")
    if found["type"] == "value_error":
        return f"{source}: {where}: {message}"
    return f"{source}: {where}: {message[0].lower() + message[1:]}, not {_shown(found['input'])}"


def from_toml(text: str, source: str) -> Accelerator:
    """Read a description from TOML text.

    Raises:
        InputError: malformed TOML, or an entry that is unknown, missing or out of range.
    """
    return from_document(toml_text.read(text, source), source)


def _preset_files() -> dict[str, Any]:
    return toml_text.preset_files("nofm.dataflow")


def presets() -> list[str]:
    """Names of the accelerators that come with NofM."""
    return list(_preset_files())


@cache
def _preset(name: str) -> Accelerator:
    return from_toml(_preset_files()[name].read_text("utf-8"), f"preset {name!r}")


MAX_FILE_BYTES = 1 << 20


def load(hardware: str | Path | Accelerator) -> Accelerator:
    """An accelerator by preset name or TOML file.

    Raises:
        InputError: no such preset or file, or the file is malformed.
    """
    if isinstance(hardware, Accelerator):
        return hardware
    if isinstance(hardware, str) and hardware in _preset_files():
        return _preset(hardware)
    path = Path(hardware)
    if path.suffix != ".toml":
        raise unknown("hardware preset", str(hardware), presets())
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(
                f"{path}: a hardware file has at most {MAX_FILE_BYTES} bytes, "
                f"not {path.stat().st_size}"
            )
        text = path.read_text("utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not valid TOML: it is not UTF-8 text") from None
    return from_toml(text, str(path))


HARDWARE = integers(
    "rows",
    "columns",
    "interleave",
    "multiplier_cycles",
    "adder_cycles",
    "accumulator_cycles",
    "group_port_elements",
    "weight_registers",
    "has_ws",
    "has_os",
    "operand_bits",
    "accumulator_bits",
    "activation_bank_bytes",
    "weight_bank_bytes",
    "output_bank_bytes",
    "dram_cycles_numerator",
    "dram_cycles_denominator",
    "dram_latency_cycles",
    "dram_burst_bytes",
    "vector_lanes",
    "vector_latency_cycles",
    "wuve_lanes",
    "wuve_latency_cycles",
    "sore_lanes",
    "sore_latency_cycles",
)
"""What compiled code knows of an `Accelerator`. A DRAM transfer of b bytes takes
ceil(b * dram_cycles_numerator / dram_cycles_denominator) cycles."""


@dataclass(frozen=True)
class Rule:
    """How fields of a `HARDWARE` record follow from entries of an `Accelerator`.

    Attributes:
        fields: what it gives.
        entries: dotted names of what it reads.
        values: the entries' values to the fields'; InputError, without the accelerator's name,
            where they cannot be used together.
    """

    fields: tuple[str, ...]
    entries: tuple[str, ...]
    values: Callable[..., tuple[int, ...]]


def _hz(clock_mhz: float) -> int:
    return round(clock_mhz * 1e6)


def _cycles_per_byte(clock_mhz: float, bandwidth_gbps: float) -> tuple[int, int]:
    # Plain integers: a sweep comes here for every pair of a clock and a bandwidth.
    amount, per = bandwidth_gbps.as_integer_ratio()
    amount, per = amount * 10**9, per * _hz(clock_mhz)
    if not per <= amount << 15 <= per << 30:
        raise InputError(f"DRAM must move from 2^-15 to 2^15 bytes a cycle, not {amount / per:.3g}")
    # Bytes (below 2^46) times the numerator must fit 63 bits.
    if amount < per:
        denominator, numerator = nearest_ratio(amount, per, 1 << 15)
    else:
        numerator, denominator = nearest_ratio(per, amount, 1 << 15)
    return numerator, denominator


def nearest_ratio(numerator: int, denominator: int, most: int) -> tuple[int, int]:
    """The fraction nearest to a positive one, with a denominator of at most `most`: that of
    `Fraction.limit_denominator`, many times faster.

    >>> nearest_ratio(314159, 100000, 150)
    (355, 113)
    """
    divisor = math.gcd(numerator, denominator)
    numerator, denominator = numerator // divisor, denominator // divisor
    if denominator <= most:
        return numerator, denominator
    # Convergents of the continued fraction; the last one before `most`, or what lies between it
    # and the next.
    before_n, before_d, last_n, last_d = 0, 1, 1, 0
    n, d = numerator, denominator
    while True:
        whole = n // d
        next_d = before_d + whole * last_d
        if next_d > most:
            break
        before_n, before_d, last_n, last_d = last_n, last_d, before_n + whole * last_n, next_d
        n, d = d, n - whole * d
    steps = (most - before_d) // last_d
    between_n, between_d = before_n + steps * last_n, before_d + steps * last_d
    if 2 * d * between_d <= denominator:
        return last_n, last_d
    return between_n, between_d


def _latency_cycles(clock_mhz: float, latency_ns: float) -> tuple[int]:
    amount, per = latency_ns.as_integer_ratio()
    return (-(-amount * _hz(clock_mhz) // (per * 10**9)),)


def _bank_bytes(kib: int) -> tuple[int]:
    return (kib * 1024 // 2,)


def _same(value: int) -> tuple[int]:
    return (value,)


_ARRAY = HARDWARE.names[: HARDWARE.names.index("has_ws")] if HARDWARE.names else ()
_BUFFERS, _ENGINES = ("activation", "weight", "output"), ("vector", "wuve", "sore")
RULES: tuple[Rule, ...] = (
    *(Rule((name,), (f"array.{name}",), _same) for name in _ARRAY),
    Rule(
        tuple(f"has_{name}" for name in DATAFLOWS),
        ("array.dataflows",),
        lambda has: tuple(int(name in has) for name in DATAFLOWS),
    ),
    *(
        Rule((f"{use}_bits",), (f"formats.{use}",), lambda name: (BITS[name],))
        for use in ("operand", "accumulator")
    ),
    *(Rule((f"{use}_bank_bytes",), (f"buffers.{use}_kib",), _bank_bytes) for use in _BUFFERS),
    Rule(
        ("dram_cycles_numerator", "dram_cycles_denominator"),
        ("clock_mhz", "dram.bandwidth_gbps"),
        _cycles_per_byte,
    ),
    Rule(("dram_latency_cycles",), ("clock_mhz", "dram.latency_ns"), _latency_cycles),
    Rule(("dram_burst_bytes",), ("dram.burst_bytes",), _same),
    *(
        Rule((f"{engine}_{what}",), (f"{engine}.{what}",), _same)
        for engine in _ENGINES
        for what in ("lanes", "latency_cycles")
    ),
)
"""All of a `HARDWARE` record."""


def hardware_record(accelerator: Accelerator) -> np.ndarray[Any, Any]:
    """One `HARDWARE` record as a zero-dimensional array.

    Raises:
        InputError: DRAM moves too much or too little in a cycle to be counted.
    """
    record = np.zeros((), HARDWARE)
    for rule in RULES:
        try:
            values = rule.values(*(attrgetter(entry)(accelerator) for entry in rule.entries))
        except InputError as error:
            raise InputError(f"accelerator {accelerator.name!r}: {error}") from None
        for field, value in zip(rule.fields, values, strict=True):
            record[field] = value
    return record
