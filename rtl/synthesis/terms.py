"""What the parts of engines are made of: the terms of the resource models, and how often each part
stands.

Everything here works on arrays of designs at once. The widths are those of the RTL's own
descriptions of its geometry; a test holds both against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from nofm.rtl.synthesis.devices import bram36

Array = npt.NDArray[Any]
Sizes = SimpleNamespace
Terms = dict[str, Array]

HALF = 17
"""Bits of a normalised half."""

LUT_WORDS = 32
"""Sums that a column's accumulation buffer holds in look-up tables; more are in block memory. Seen
at 32 and at 128."""


@dataclass(frozen=True)
class PartLaw:
    """What a part's resources follow from.

    Attributes:
        count: how often it stands in an engine of these sizes.
        terms: what a resource is a sum of, times coefficients, by name.
    """

    count: Callable[[Sizes], Array]
    terms: Callable[[str, Sizes], Terms]


@dataclass(frozen=True)
class Law:
    """What an engine's resources follow from.

    Attributes:
        sizes: parameters, arrays [n] by name, and the widths that follow from them.
        parts: by the names of `parts.ENGINES`, and `REST`.
    """

    sizes: Callable[[Mapping[str, Array]], Sizes]
    parts: Mapping[str, PartLaw]


def bit_length(values: npt.ArrayLike) -> Array:
    """Bits of whole numbers below 2^53, 0 for 0."""
    return np.frexp(np.asarray(values, float))[1].astype(float)


def bits(values: npt.ArrayLike) -> Array:
    """Bits that number so many things, at least one."""
    return np.maximum(1, bit_length(np.asarray(values, float) - 1))


def within(values: Array, low: float, high: float) -> Array:
    """How much of `values` lies between two bounds: a piece of a line that bends there."""
    return np.clip(values, low, high) - low


def _stce_sizes(given: Mapping[str, Array]) -> Sizes:
    g = Sizes(**given)
    g.beats = np.ceil(g.group / g.port)
    g.turn, g.entry, g.index = bits(g.sums), bits(g.registers), bits(g.group)
    g.beat, g.used, g.word = bits(g.beats), bits(g.columns + 1), bits(g.accumulator_words)
    g.sum = g.turn + 1
    g.kept = HALF + g.index
    g.period = np.maximum(g.sums, g.adder_cycles)
    g.row_delay = (g.registers - 1) * g.period + g.adder_cycles
    g.read_cycles = np.where(np.minimum(g.multiplier_cycles, g.accumulator_cycles) > 1, 2.0, 1.0)
    g.row_control = 10 + 2 * g.turn + g.sum + 2 * g.entry + g.beat
    g.slot_control = 3 + g.sum + g.entry
    g.job = _job_bits(g)
    return g


def _job_bits(g: Sizes) -> Array:
    """Bits of a job's word (`nofm.rtl.stce.job.job_fields`), without `continues` and
    `continued`: the samples that the models are fitted to were measured before these came."""
    unit = np.maximum(g.registers * g.period, g.sums * g.beats)
    returns = g.rows * g.row_delay + g.accumulator_cycles
    fill = g.columns - 1 + g.multiplier_cycles + g.adder_cycles + g.accumulator_cycles
    finish = unit + returns + g.rows * g.sums + fill
    widths = {
        "dataflow and density": 2 * np.ones_like(g.rows),
        "passes, beats, sums": g.entry + g.beat + 3 * g.turn,
        "periods": 2 * bits(g.period),
        "units": 3 * bits(unit),
        "sizes": 5 * 24 * np.ones_like(g.rows),
        "rows and columns": bit_length(g.rows) + g.used,
        "loads": 3 * bits(g.columns * g.registers),
        "row delay": bit_length(np.maximum(1, g.row_delay)),
        "returns": 2 * bit_length(returns),
        "drain": 4 * bit_length(g.rows * g.sums),
        "finish": bit_length(finish),
    }
    return np.sum(list(widths.values()), axis=0)


def _one(g: Sizes) -> Array:
    return np.ones(1)


def _rows(g: Sizes) -> Array:
    return g.rows


def _columns(g: Sizes) -> Array:
    return g.columns


def _ram(width: Array, words: Array) -> Array:
    """Look-up tables of a memory with a port to write and one to read at once: RAM32M16 hold 14
    bits in eight, RAM64M8 seven; deeper ones are several of these."""
    deep = np.ceil(words / 64)
    return np.where(words <= 32, 8 * np.ceil(width / 14), 8 * deep * np.ceil(width / 7))


def _srl(length: Array) -> Array:
    """Look-up tables of a bit that is registered so often: three or more registers are one."""
    return np.where(length >= 3, np.ceil(length / 32), 0)


def _left(length: Array) -> Array:
    """Its flip-flops."""
    return np.where(length >= 3, 0, length)


def _stages(name: str, depth: Array, last: int, first: int = 1) -> Terms:
    """A term for each depth of a pipeline; one past `last` counts as that."""
    capped = np.minimum(depth, last)
    return {f"{name} {k}": (capped == k) * 1.0 for k in range(first, last + 1)}


def _uspe(kind: str, g: Sizes) -> Terms:
    waits = g.multiplier_cycles > 2
    if kind == "ff":
        slots = (g.sum + 2) * (g.multiplier_cycles + g.adder_cycles)
        operands = HALF * g.group + g.kept * (2 * g.registers + 2 + waits) + g.slot_control
        return {
            "operands and slots": operands + slots,
            **_stages("multiplier", g.multiplier_cycles, 7),
            **{f"adder {k}": (g.adder_cycles >= k) * 1.0 for k in range(2, 7)},
            "adder beyond 6": within(g.adder_cycles, 6, np.inf),
        }
    if kind == "lut":
        return {
            "fixed": np.ones_like(g.group),
            # Where the weight is chosen in the same cycle, both selects become one.
            "select, to 64": within(g.group, 0, 64) * waits,
            "select, beyond": within(g.group, 64, np.inf) * waits,
            "select at once, to 16": within(g.group, 0, 16) * ~waits,
            "select at once, to 32": within(g.group, 16, 32) * ~waits,
            "select at once, to 64": within(g.group, 32, 64) * ~waits,
            "select at once, beyond": within(g.group, 64, np.inf) * ~waits,
            "select of an uneven group": (g.group != 2**g.index) * waits,
            "select at once of an uneven group": (g.group != 2**g.index) * ~waits,
            # Two banks of more than eight have more inputs than a multiplexer of one slice.
            "weight banks": g.kept * np.where(waits & (g.registers <= 8), g.registers, 2**g.entry),
            "sums": np.maximum(1, 2**g.sum / 32),
            "sum bits": g.sum,
            "adder stages": np.minimum(g.adder_cycles, 6),
            "multiplier waits": waits * 1.0,
        }
    if kind == "lut_ram":
        return {
            "fixed": np.ones_like(g.group),
            "sums": np.maximum(1, 2**g.sum / 32),
            "operands of a deep multiplier": (g.multiplier_cycles >= 5) * 1.0,
        }
    return {"fixed": np.ones_like(g.group), "multiplier": (g.multiplier_cycles > 3) * 1.0}


def _row_edge(kind: str, g: Sizes) -> Terms:
    width = HALF * np.minimum(g.port, g.group)
    words = 2 ** (g.turn + 1)
    last = HALF * (g.group - (g.beats - 1) * g.port)
    ram = (g.beats - 1) * _ram(width, words) + _ram(last, words)
    if kind == "ff":
        return {"control": g.row_control + g.entry + 3}
    if kind == "lut_ram":
        return {"replay": ram}
    return {
        "fixed": np.ones_like(g.group),
        "replay": ram,
        "replay deeper than 64": HALF * g.group * (words > 64),
        "beat": width,
        "beats": g.beats,
        "weight": g.kept,
    }


def _row_delay(kind: str, g: Sizes) -> Terms:
    places = bit_length(g.row_delay)
    if kind == "ff":
        return {"word": g.row_control, "places": places, "fixed": np.ones_like(places)}
    if kind == "lut_ram":
        return {"line": _ram(g.row_control, 2**places)}
    return {
        "fixed": np.ones_like(places),
        "line": _ram(g.row_control, 2**places),
        "word": g.row_control,
        "places": places,
    }


def _group_port(kind: str, g: Sizes) -> Terms:
    fixed = {"fixed": np.ones_like(g.port)}
    if kind == "lut_ram":
        return {"buffer": _ram(HALF * g.port, np.full_like(g.port, 4))}
    return fixed if kind == "ff" else {**fixed, "port": g.port}


def _fixed(kind: str, g: Sizes) -> Terms:
    return {"fixed": np.ones(1)}


def _column_edge(kind: str, g: Sizes) -> Terms:
    fixed = np.ones_like(g.columns)
    in_luts = g.accumulator_words <= LUT_WORDS
    if kind == "bram":
        return {"sums": bram36(g.accumulator_words, np.full_like(g.columns, 32)) * ~in_luts}
    if kind == "lut_ram":
        return {"sums": _ram(np.full_like(g.columns, 32), g.accumulator_words) * in_luts}
    # A sum that is read as it is written passes the memory by.
    at_once = g.accumulator_cycles == g.read_cycles
    if kind == "ff":
        delayed = np.maximum(0, g.accumulator_cycles - g.read_cycles - 1)
        passed = 2 * (2 + g.word) + 3 + g.sum + g.entry + 3 * g.used
        late = delayed * (33 + g.word) + 32 * (g.read_cycles - 1 + at_once)
        return {"passed on": passed + late + 2}
    return {
        "fixed": fixed,
        "weight": g.kept,
        "used": g.used,
        "at once": at_once * 1.0,
        "sums in look-up tables": in_luts * 1.0,
        # Blocks beneath each other need a multiplexer, where the bypass takes the port's own.
        "uneven sums at once": at_once
        * (g.accumulator_words > 1024)
        * (g.accumulator_words != 2**g.word),
    }


def _stce_rest(kind: str, g: Sizes) -> Terms:
    """The sequencer, the drain, the counters, and whether all ports have what the array needs."""
    fixed = np.ones_like(g.rows)
    if kind == "lut_ram":
        return {"returns": _returns(g)}
    if kind == "ff":
        drained = 3 * (g.rows + g.multiplier_cycles + g.adder_cycles - 2)
        walks = 2 * (g.multiplier_cycles + g.word) + g.adder_cycles
        control = g.row_control + g.entry + g.used
        return {"fixed": fixed, "job and control": 3 * g.job + drained + walks + control}
    if kind == "carry":
        return {"fixed": fixed, "job": g.job}
    return {
        "fixed": fixed,
        "returns": _returns(g),
        "ports": 2 * (g.rows + g.columns),
        "job": g.job,
    }


def _returns(g: Sizes) -> Array:
    """Look-up tables of the delay line of folds that come back."""
    return 2 ** bit_length(g.rows * g.row_delay + g.accumulator_cycles) / 32


def _sore_sizes(given: Mapping[str, Array]) -> Sizes:
    g = Sizes(**given)
    g.half = np.floor(g.lanes / 2)
    g.entry, g.index = bits(g.entries), bit_length(g.group - 1)
    g.result = g.entries * (16 + g.index)
    g.pairs = g.entries * (g.entries - 1) / 2
    g.state = g.result + g.entries + g.pairs
    g.waiting = np.maximum(0, g.group - g.half)
    g.lane_bits = bit_length(g.lanes)
    g.beat = 3 + 2 * g.index + g.lane_bits
    g.job = 97 + g.entry + 3 * g.index + g.lane_bits
    return g


def _sore_lane(kind: str, g: Sizes) -> Terms:
    if kind == "ff":
        return {"state": g.state}
    if kind == "carry":
        return {"fixed": np.ones_like(g.lanes), "entries": g.entries}
    # Every entry may take the place of its neighbour, and is compared with all others.
    return {
        "first entry": np.ones_like(g.lanes),
        "second entry": within(g.entries, 1, 2),
        "third entry": within(g.entries, 2, 3),
        "fourth entry": within(g.entries, 3, 4),
        "entries to 8": within(g.entries, 4, 8),
        "entries beyond 8": within(g.entries, 8, np.inf),
        "indices": g.entries * g.index,
    }


def _sore_rest(kind: str, g: Sizes) -> Terms:
    streams = _ram(16 * g.lanes, np.full_like(g.lanes, 4))
    streams = streams + _ram(g.lanes * (1 + g.result), np.full_like(g.lanes, 4))
    late = g.latency_cycles - 1
    waiting = np.where(g.waiting > 0, _ram(g.state, np.maximum(2, g.waiting)), 0)
    # Lane e of the chain gets its element e cycles later.
    skew = np.arange(2048)
    skewed_luts = np.concatenate([[0], np.cumsum(_srl(skew))])[g.half.astype(int)]
    skewed_ffs = np.concatenate([[0], np.cumsum(_left(skew))])[g.half.astype(int)]
    if kind == "ff":
        walk = g.half * (g.index + 1 + bit_length(g.half)) + g.lanes
        elements = 16 * (g.lanes * _left(late) + skewed_ffs)
        return {
            "fixed": np.ones_like(g.lanes),
            "job, beats and elements": g.job + late * g.beat + elements + walk,
            "waiting": 3 * bit_length(g.waiting),
        }
    memory = streams + 16 * (g.lanes * _srl(late) + skewed_luts) + waiting
    if kind == "lut_ram":
        return {"memories": memory}
    return {
        "fixed": np.ones_like(g.lanes),
        "memories": memory,
        "lanes": g.lanes,
        "chain": g.half * (16 + g.index),
        "states that wait": (g.waiting > 0) * g.state,
    }


def _wuve_sizes(given: Mapping[str, Array]) -> Sizes:
    return Sizes(**given)


LATENCIES = (6, 8, 9, 10, 12, 14, 19, 24, 36)
"""Latencies of WUVE's lane that were synthesized; between two of them a lane takes what lies
between theirs."""


def _wuve_lane(kind: str, g: Sizes) -> Terms:
    ones = np.eye(len(LATENCIES))
    return {
        f"latency {cycles}": np.interp(g.latency_cycles, LATENCIES, ones[k])
        for k, cycles in enumerate(LATENCIES)
    }


def _wuve_stream(kind: str, g: Sizes) -> Terms:
    ram = _ram(80 * g.lanes, np.full_like(g.lanes, 4))
    return {"buffer": ram} if kind == "lut_ram" else {"fixed": np.ones_like(g.lanes), "buffer": ram}


def _wuve_rest(kind: str, g: Sizes) -> Terms:
    return {"fixed": np.ones_like(g.lanes), "latency": bit_length(g.latency_cycles)}


TERMS: dict[str, Law] = {
    "stce": Law(
        _stce_sizes,
        {
            "uspe": PartLaw(lambda g: g.rows * g.columns, _uspe),
            "row edge": PartLaw(_rows, _row_edge),
            "row delay": PartLaw(lambda g: g.rows - 1, _row_delay),
            "group port": PartLaw(_rows, _group_port),
            "weight port": PartLaw(lambda g: g.rows + g.columns, _fixed),
            "column edge": PartLaw(_columns, _column_edge),
            "result port": PartLaw(_columns, _fixed),
            "rest": PartLaw(_one, _stce_rest),
        },
    ),
    "sore": Law(
        _sore_sizes,
        {"lane": PartLaw(lambda g: g.lanes, _sore_lane), "rest": PartLaw(_one, _sore_rest)},
    ),
    "wuve": Law(
        _wuve_sizes,
        {
            "lane": PartLaw(lambda g: g.lanes, _wuve_lane),
            "stream": PartLaw(lambda g: 2 * np.ones(1), _wuve_stream),
            "rest": PartLaw(_one, _wuve_rest),
        },
    ),
}
"""The laws of the models, by engine."""
