"""The one description of the machine: simulator, RTL generator and golden model all take it.

An `Accelerator` is read from TOML, validated and immutable. `hardware_record` flattens it to the
integers that compiled code works on; nothing else carries machine constants.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import Field, field_validator, model_validator

from nofm.dataflow import description, toml_text
from nofm.dataflow.description import Table
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


class Array(Table):
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
    patterns: tuple[Pattern, ...]
    dataflows: tuple[DataflowName, ...]

    @field_validator("patterns", mode="before")
    @classmethod
    def _parse_patterns(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise ValueError(
                f"must be a list such as ['2:4', '2:8'], not {description.shown(value)}"
            )
        patterns = tuple(Pattern.parse(text) for text in value)
        if dense := [str(p) for p in patterns if p.dense]:
            raise ValueError(f"must list sparse patterns only, not {dense[0]}")
        return tuple(dict.fromkeys(patterns))

    @field_validator("dataflows")
    @classmethod
    def _check_dataflows(cls, value: tuple[DataflowName, ...]) -> tuple[DataflowName, ...]:
        if not value:
            raise ValueError("must name at least one of ws and os")
        return tuple(name for name in DATAFLOWS if name in value)

    @model_validator(mode="after")
    def _check_registers(self) -> Array:
        for pattern in self.patterns:
            if pattern.n > self.weight_registers:
                raise ValueError(
                    f"weight_registers must be at least N of every pattern, but {pattern} needs "
                    f"{pattern.n} and there are {self.weight_registers}"
                )
        return self


class Formats(Table):
    """Number formats: of operands, of accumulation, and of the optimizer's master weights."""

    operand: FormatName = "fp16"
    accumulator: FormatName = "fp32"
    master: FormatName = "fp32"


class Engine(Table):
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

    fused: tuple[str, ...] = ()

    @field_validator("fused")
    @classmethod
    def _check_fused(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for kind in value:
            if kind not in get_args(VectorKind):
                raise unknown("kind of vector work", kind, get_args(VectorKind))
        return tuple(dict.fromkeys(value))


class Buffers(Table):
    """On-chip buffers. Each holds two banks, so that one is filled while the other is used."""

    activation_kib: Annotated[int, Field(ge=1, le=1 << 20, strict=True)]
    weight_kib: Annotated[int, Field(ge=1, le=1 << 20, strict=True)]
    output_kib: Annotated[int, Field(ge=1, le=1 << 20, strict=True)]


class Dram(Table):
    """Off-chip memory: peak bandwidth, latency of a first byte, and the burst that every
    contiguous run is rounded up to."""

    bandwidth_gbps: Annotated[float, Field(gt=0, le=1e5, allow_inf_nan=False, strict=True)]
    latency_ns: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False, strict=True)]
    burst_bytes: Annotated[int, Field(ge=1, le=1 << 16, strict=True)]


class Energy(Table):
    """Energy by event, in pJ, and the power that is drawn whatever happens, in W."""

    multiply_accumulate_pj: NotNegative
    select_pj: NotNegative
    buffer_pj_per_byte: NotNegative
    dram_pj_per_byte: NotNegative
    update_pj: NotNegative
    compare_pj: NotNegative
    static_w: NotNegative


class Accelerator(Table):
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
        return round(self.clock_mhz * 1e6)

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
        document = description.replaced(self.to_document(), values, "accelerator entry")
        return from_document(document, f"accelerator {self.name!r}")

    def to_document(self) -> dict[str, Any]:
        """The description as nested dicts of plain values; `from_document` reads it back."""
        document = self.model_dump(mode="json")
        document["array"]["patterns"] = [str(pattern) for pattern in self.array.patterns]
        return document

    def to_toml(self) -> str:
        """The description as TOML; `from_toml` reads it back."""
        return description.toml(self.to_document())


def from_document(document: dict[str, Any], source: str) -> Accelerator:
    """Check a description given as nested dicts.

    Raises:
        InputError: with the first entry that is wrong, named by its dotted path and `source`.
    """
    return description.checked(Accelerator, document, source, _reference)


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


def _reference() -> dict[str, Any]:
    return _preset("sat-32x32").model_dump(mode="json")


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
    return from_toml(description.file_text(path, "a hardware file"), str(path))


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


def hardware_record(accelerator: Accelerator) -> np.ndarray[Any, Any]:
    """One `HARDWARE` record as a zero-dimensional array."""
    array, buffers, dram = accelerator.array, accelerator.buffers, accelerator.dram
    bytes_per_cycle = Fraction(dram.bandwidth_gbps) * 10**9 / accelerator.clock_hz
    if not Fraction(1, 1 << 15) <= bytes_per_cycle <= 1 << 15:
        raise InputError(
            f"accelerator {accelerator.name!r}: DRAM must move from 2^-15 to 2^15 bytes a cycle, "
            f"not {float(bytes_per_cycle):.3g}"
        )
    cycles_per_byte = _small_inverse(bytes_per_cycle)
    values = dict(
        rows=array.rows,
        columns=array.columns,
        interleave=array.interleave,
        multiplier_cycles=array.multiplier_cycles,
        adder_cycles=array.adder_cycles,
        accumulator_cycles=array.accumulator_cycles,
        group_port_elements=array.group_port_elements,
        weight_registers=array.weight_registers,
        has_ws=int("ws" in array.dataflows),
        has_os=int("os" in array.dataflows),
        operand_bits=BITS[accelerator.formats.operand],
        accumulator_bits=BITS[accelerator.formats.accumulator],
        activation_bank_bytes=buffers.activation_kib * 1024 // 2,
        weight_bank_bytes=buffers.weight_kib * 1024 // 2,
        output_bank_bytes=buffers.output_kib * 1024 // 2,
        dram_cycles_numerator=cycles_per_byte.numerator,
        dram_cycles_denominator=cycles_per_byte.denominator,
        dram_latency_cycles=-(-Fraction(dram.latency_ns) * accelerator.clock_hz // 10**9),
        dram_burst_bytes=dram.burst_bytes,
        vector_lanes=accelerator.vector.lanes,
        vector_latency_cycles=accelerator.vector.latency_cycles,
        wuve_lanes=accelerator.wuve.lanes,
        wuve_latency_cycles=accelerator.wuve.latency_cycles,
        sore_lanes=accelerator.sore.lanes,
        sore_latency_cycles=accelerator.sore.latency_cycles,
    )
    return np.array(tuple(values[name] for name in HARDWARE.names or ()), HARDWARE)


@cache
def _small_inverse(bytes_per_cycle: Fraction) -> Fraction:
    """Cycles a byte as a fraction small enough that bytes (below 2^46) times the numerator fit
    63 bits; it is off by less than one part in 2^15."""
    if bytes_per_cycle < 1:
        return 1 / bytes_per_cycle.limit_denominator(1 << 15)
    return (1 / bytes_per_cycle).limit_denominator(1 << 15)
