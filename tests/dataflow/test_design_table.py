"""A table of designs gives what each design gives alone: its record, or why it has none."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from nofm.dataflow.accelerator import (
    HARDWARE,
    RULES,
    entries,
    hardware_record,
    load,
    nearest_ratio,
    presets,
)
from nofm.dataflow.design_table import DesignTable
from nofm.kernels.errors import InputError

SAT = load("sat-32x32")

# Of every kind of entry some values, good ones and bad ones.
COUNTS = [1, 3, 32, 4096, 0, 4097, -1, 2**70]
FRACTIONS = [0.0, 1.0, 7.3, 1e5, -0.0, -1.0, 1e7, float("nan"), float("inf"), 3]
CHOICES: dict[str, list[Any]] = {
    "name": ["a", "größe", "", "x" * 101, 3],
    "clock_mhz": [100.0, 333.3, 1e5, 1e-3, 0.0, float("nan"), 200],
    "array.rows": [*COUNTS, 8.0, True, "8", None],
    "array.interleave": [1, 8, 64, 65, 0],
    "array.weight_registers": [1, 2, 4, 8, 0],
    "array.patterns": [
        ["2:4"],
        ["2:8", "1:4"],
        [],
        ["4:8", "4:8"],
        ["4:4"],
        ["2"],
        "2:8",
        ("1:8",),
    ],
    "array.dataflows": [["ws"], ["os", "ws"], [], ["is"], ["ws", "is", "x"], "ws", [1]],
    "formats.operand": ["fp16", "int8", "fp64", 16],
    "formats.accumulator": ["fp32", "bf16", ""],
    "sore.lanes": [2, 32, 1, 4096, 5000],
    "wuve.latency_cycles": [0, 5, 1024, 1025, -1],
    "vector.fused": [[], ["normalisation"], ["normalisation", "x"], ["softmax", "softmax"]],
    "buffers.output_kib": [1, 7, 2**20, 0, 2**21],
    "dram.bandwidth_gbps": [*FRACTIONS, 25.6, 1e-5, 1e-3],
    "dram.latency_ns": [*FRACTIONS, 55.5],
    "energy.select_pj": [*FRACTIONS, 1e9],
    "energy.static_w": FRACTIONS,
}


def column(values: list[Any]) -> np.ndarray[Any, Any]:
    """As NumPy would have it where all are numbers or texts of one kind, else objects."""
    kinds = {type(value) for value in values}
    if len(kinds) == 1 and kinds <= {float, bool, str}:
        return np.array(values)
    if kinds == {int} and max(map(abs, values)) < 2**63:
        return np.array(values)
    found = np.empty(len(values), object)
    found[:] = values
    return found


def alone(table: DesignTable, i: int) -> tuple[np.ndarray[Any, Any] | None, str | None]:
    try:
        return hardware_record(table.accelerator(i)), None
    except InputError as error:
        return None, str(error)


def check(table: DesignTable) -> list[str | None]:
    records, errors = table.records(), table.errors()
    assert records.dtype == HARDWARE
    assert len(records) == len(errors) == len(table)
    for i in range(len(table)):
        record, error = alone(table, i)
        assert errors[i] == error
        assert records[i] == (np.zeros((), HARDWARE) if record is None else record)
    return list(errors)


def draw(seed: int, count: int, share: float, good: int = 10) -> DesignTable:
    """Random designs; `share` of the entries vary, among their first `good` values."""
    random = np.random.default_rng(seed)
    columns = {}
    for name, choices in CHOICES.items():
        if random.random() < share:
            values = [choices[i % len(choices)] for i in random.integers(good, size=count)]
            columns[name] = column(values)
    return DesignTable(SAT, columns, count)


@pytest.mark.parametrize("seed", range(12))
def test_equals_designs_alone(seed: int) -> None:
    # Few choices leave most designs valid; all of them almost none.
    errors = check(draw(seed, 60, share=(0.15, 0.4, 1.0)[seed % 3], good=(10, 3, 2)[seed % 3]))
    if seed % 3:
        assert None in errors


def test_every_rule_speaks() -> None:
    """Each entry alone, each of its values: errors name it, and none is missed."""
    for name, choices in CHOICES.items():
        errors = check(DesignTable(SAT, {name: column(choices)}, len(choices)))
        assert any(errors)
        assert None in errors
    pairs = DesignTable(
        SAT,
        {
            "name": np.array(["fine", "thin", "a", "b"]),
            "clock_mhz": np.array([200.0, 1e5, 200.0, 200.0]),
            "dram.bandwidth_gbps": np.array([25.6, 1e-3, 1e5, 1e5]),
            "array.weight_registers": np.array([8, 8, 1, 8]),
            "array.patterns": column([["2:8"], ["8:16"], ["2:8"], ["9:16"]]),
        },
        4,
    )
    assert check(pairs) == [
        None,
        "accelerator 'thin': DRAM must move from 2^-15 to 2^15 bytes a cycle, not 1e-05",
        "accelerator 'sat-32x32': array: weight_registers must be at least N of every pattern, "
        "but 2:8 needs 2 and there are 1",
        "accelerator 'sat-32x32': array: weight_registers must be at least N of every pattern, "
        "but 9:16 needs 9 and there are 8",
    ]


@pytest.mark.parametrize("base", presets())
def test_nothing_varies(base: str) -> None:
    table = DesignTable(load(base), {}, 3)
    assert check(table) == [None] * 3
    assert table.accelerator(2) == load(base)
    assert check(DesignTable(load(base), {"array.rows": np.array([], int)}, 0)) == []


def test_columns() -> None:
    table = draw(4, 20, share=0.5)
    for name in entries(SAT):
        values = table.column(name)
        assert values.shape == (20,)
        if name in table.columns:
            assert values is table.columns[name]
            continue
        # What a column holds can stand in one.
        again = DesignTable(SAT, {name: values}, 20)
        assert again.accelerator(0) == SAT
    fixed = DesignTable(SAT, {}, 2)
    assert fixed.column("array.patterns").tolist() == [[str(p) for p in SAT.array.patterns]] * 2
    assert fixed.column("energy.select_pj").tolist() == [SAT.energy.select_pj] * 2


def test_parts() -> None:
    table = draw(5, 50, share=0.3, good=4)
    records, errors = table.records(), table.errors()
    part, taken = table.part(7, 20), table.take([3, 3, 49, 0])
    assert (len(part), len(taken)) == (13, 4)
    assert (part.records() == records[7:20]).all()
    assert (taken.records() == records[[3, 3, 49, 0]]).all()
    assert list(taken.errors()) == list(errors[[3, 3, 49, 0]])
    assert len(table.part(45, 99)) == 5


def test_order_of_columns_does_not_matter() -> None:
    table = draw(6, 40, share=1.0, good=3)
    turned = DesignTable(SAT, dict(reversed(table.columns.items())), 40)
    assert list(turned.errors()) == list(table.errors())
    assert (turned.records() == table.records()).all()


def refusal(columns: dict[str, Any], count: int) -> str:
    with pytest.raises(InputError) as caught:
        DesignTable(SAT, columns, count)
    return str(caught.value)


def test_refusals() -> None:
    assert refusal({"array.row": np.ones(2)}, 2).startswith(
        "unknown accelerator entry 'array.row': did you mean array.rows"
    )
    assert refusal({"array": np.ones(2)}, 2).startswith("unknown accelerator entry 'array'")
    assert refusal({"array.rows": np.ones(3, int)}, 2) == (
        "column 'array.rows' must have one value for each of 2 designs, not shape (3,)"
    )
    with pytest.raises(InputError, match="unknown accelerator entry 'rows'"):
        DesignTable(SAT, {}, 2).column("rows")


def test_the_rules_give_every_field_once() -> None:
    fields = [field for rule in RULES for field in rule.fields]
    assert sorted(fields) == sorted(HARDWARE.names or ())
    known = entries(SAT)
    assert all(entry in known for rule in RULES for entry in rule.entries)
    # Checks that link entries are known to the table: those of the whole array, and no others.
    linking = {
        type(table).__name__: list(type(table).__pydantic_decorators__.model_validators)
        for table in [SAT, *(value for _, value in SAT if isinstance(value, BaseModel))]
    }
    assert {name: checks for name, checks in linking.items() if checks} == {
        "Array": ["_check_registers"]
    }


@settings(max_examples=300)
@given(st.fractions(min_value=Fraction(1, 10**9), max_value=10**9), st.integers(1, 1 << 15))
def test_nearest_ratio(value: Fraction, most: int) -> None:
    want = value.limit_denominator(most)
    assert nearest_ratio(value.numerator * 6, value.denominator * 6, most) == (
        want.numerator,
        want.denominator,
    )
