"""The description of the machine: files there and back, every wrong entry, what compiled code sees.

A description is read from files that anybody may have written: whatever stands in one, the answer
is an `Accelerator` or one line that says what is wrong.
"""

from __future__ import annotations

import math
import tomllib
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nofm.dataflow.accelerator import (
    HARDWARE,
    Accelerator,
    from_document,
    from_toml,
    hardware_record,
    load,
    presets,
)
from nofm.dataflow.description import MAX_FILE_BYTES
from nofm.dataflow.formats import BITS
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import Pattern

SAT = load("sat-4x4")


def document() -> dict:
    """A description as a file gives it."""
    return tomllib.loads(SAT.to_toml())


def refusal(text: str, source: str = "file.toml") -> str:
    with pytest.raises(InputError) as caught:
        from_toml(text, source)
    return str(caught.value)


def refusal_of(**values: object) -> str:
    with pytest.raises(InputError) as caught:
        SAT.with_values(**values)
    return str(caught.value).removeprefix("accelerator 'sat-4x4': ")


@pytest.mark.parametrize("name", presets())
def test_presets_survive_a_file(name: str, tmp_path: Path) -> None:
    accelerator = load(name)
    assert accelerator.name == name
    assert from_toml(accelerator.to_toml(), name) == accelerator
    path = tmp_path / "copy.toml"
    path.write_text(accelerator.to_toml(), encoding="utf-8")
    assert load(path) == load(str(path)) == accelerator
    assert load(accelerator) is accelerator
    assert load(name) is accelerator
    assert hash(accelerator) == hash(load(path))


@pytest.mark.parametrize("name", ['"quoted" \\ back', "new\nline\ttab\x7f", "größe 単位 🙂", "#"])
def test_any_name_survives_a_file(name: str) -> None:
    accelerator = SAT.with_values(name=name)
    assert from_toml(accelerator.to_toml(), "here").name == name


@settings(max_examples=100)
@given(
    values=st.fixed_dictionaries(
        {},
        optional={
            "name": st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=100),
            "clock_mhz": st.floats(1e-3, 1e5),
            "array.rows": st.integers(1, 4096),
            "array.adder_cycles": st.integers(1, 64),
            "array.dataflows": st.sampled_from([["ws"], ["os"], ["os", "ws"], ["ws", "ws"]]),
            "array.patterns": st.lists(
                st.tuples(st.integers(1, 4), st.integers(5, 256)).map("{0[0]}:{0[1]}".format)
            ),
            "formats.operand": st.sampled_from(sorted(BITS)),
            "vector.fused": st.sampled_from([[], ["pooling"], ["softmax", "copy", "softmax"]]),
            "dram.latency_ns": st.floats(0, 1e6),
            "dram.burst_bytes": st.integers(1, 1 << 16),
            "energy.static_w": st.floats(0, 1e9),
        },
    )
)
def test_files_lose_nothing(values: dict[str, object]) -> None:
    accelerator = SAT.with_values(**values)
    assert from_toml(accelerator.to_toml(), "here") == accelerator
    for dotted, value in values.items():
        held: object = accelerator
        for key in dotted.split("."):
            held = getattr(held, key)
        if isinstance(value, list):
            assert isinstance(held, tuple)
            assert sorted(map(str, held)) == sorted(map(str, set(map(str, value))))
        else:
            assert held == value


def test_with_values_leaves_the_original_alone() -> None:
    before = SAT.to_toml()
    changed = SAT.with_values(**{"array.rows": 7, "clock_mhz": 50})
    assert (changed.array.rows, changed.clock_mhz, changed.clock_hz) == (7, 50.0, 50_000_000)
    assert changed.peak_macs_per_cycle == 28
    assert SAT.to_toml() == before
    assert SAT.with_values() == SAT


# Every kind of wrong entry, and the whole line it gives.
WRONG = [
    ("array.rows", 0, "array.rows: input should be greater than or equal to 1, not 0"),
    ("array.rows", 5000, "array.rows: input should be less than or equal to 4096, not 5000"),
    ("array.rows", 2.5, "array.rows: input should be a valid integer, not 2.5"),
    ("array.rows", "4", "array.rows: input should be a valid integer, not '4'"),
    ("array.rows", True, "array.rows: input should be a valid integer, not True"),
    ("array.columns", -1, "array.columns: input should be greater than or equal to 1, not -1"),
    ("array.interleave", 65, "array.interleave: input should be less than or equal to 64, not 65"),
    ("array.patterns", "2:4", "array.patterns: must be a list such as ['2:4', '2:8'], not '2:4'"),
    ("array.patterns", ["4:2"], "array.patterns: pattern 4:2: N must be from 1 to M = 2, not 4"),
    ("array.patterns", ["0:2"], "array.patterns: pattern 0:2: N must be from 1 to M = 2, not 0"),
    (
        "array.patterns",
        ["1:257"],
        "array.patterns: pattern 1:257: M must be from 1 to 256, not 257",
    ),
    (
        "array.patterns",
        ["2:4", 8],
        "array.patterns: pattern must look like 2:8 or be 'dense', not 8",
    ),
    ("array.patterns", ["dense"], "array.patterns: must list sparse patterns only, not dense"),
    (
        "array.patterns",
        ["8:16"],
        "array: weight_registers must be at least N of every pattern, but 8:16 needs 8 and there "
        "are 4",
    ),
    ("array.dataflows", [], "array.dataflows: must name at least one of ws and os"),
    ("array.dataflows", ["is"], "array.dataflows.0: input should be 'ws' or 'os', not 'is'"),
    ("array.dataflows", "ws", "array.dataflows: input should be a valid tuple, not 'ws'"),
    (
        "formats.operand",
        "fp64",
        "formats.operand: input should be 'fp16', 'bf16', 'fp8', 'int8' or 'fp32', not 'fp64'",
    ),
    ("sore.lanes", 1, "sore.lanes: input should be greater than or equal to 2, not 1"),
    (
        "wuve.latency_cycles",
        -1,
        "wuve.latency_cycles: input should be greater than or equal to 0, not -1",
    ),
    (
        "vector.fused",
        ["elementwis"],
        "vector.fused: unknown kind of vector work 'elementwis': did you mean elementwise? (known: "
        "elementwise, normalisation, pooling, softmax, embedding, reduction, copy)",
    ),
    ("vector.fused", [1], "vector.fused.0: input should be a valid string, not 1"),
    (
        "buffers.weight_kib",
        0,
        "buffers.weight_kib: input should be greater than or equal to 1, not 0",
    ),
    (
        "buffers.weight_kib",
        1 << 21,
        "buffers.weight_kib: input should be less than or equal to 1048576, not 2097152",
    ),
    ("dram.bandwidth_gbps", 0, "dram.bandwidth_gbps: input should be greater than 0, not 0"),
    (
        "dram.bandwidth_gbps",
        -25.6,
        "dram.bandwidth_gbps: input should be greater than 0, not -25.6",
    ),
    (
        "dram.bandwidth_gbps",
        math.inf,
        "dram.bandwidth_gbps: input should be a finite number, not inf",
    ),
    ("dram.latency_ns", math.nan, "dram.latency_ns: input should be a finite number, not nan"),
    ("dram.latency_ns", "0.1", "dram.latency_ns: input should be a valid number, not '0.1'"),
    ("dram.burst_bytes", 0, "dram.burst_bytes: input should be greater than or equal to 1, not 0"),
    (
        "energy.update_pj",
        -1.0,
        "energy.update_pj: input should be greater than or equal to 0, not -1.0",
    ),
    ("clock_mhz", True, "clock_mhz: input should be a valid number, not True"),
    ("clock_mhz", "200", "clock_mhz: input should be a valid number, not '200'"),
    ("clock_mhz", 1e-7, "clock_mhz: input should be greater than or equal to 0.001, not 1e-07"),
    ("name", "", "name: string should have at least 1 character, not ''"),
    ("name", "x" * 101, f"name: string should have at most 100 characters, not '{'x' * 76}..."),
    ("name", 4, "name: input should be a valid string, not 4"),
]


@pytest.mark.parametrize(("entry", "value", "line"), WRONG)
def test_a_wrong_entry_is_one_line(entry: str, value: object, line: str) -> None:
    assert refusal_of(**{entry: value}) == line
    wrong = document()
    *path, last = entry.split(".")
    (wrong[path[0]] if path else wrong)[last] = value
    with pytest.raises(InputError) as caught:
        from_document(wrong, "file.toml")
    assert str(caught.value) == f"file.toml: {line}"


ENTRIES = [
    f"{table}.{key}" if isinstance(value, dict) else table
    for table, value in SAT.model_dump(mode="json").items()
    for key in (value if isinstance(value, dict) else [""])
]
DEFAULTS = [entry for entry in ENTRIES if entry.startswith("formats.")] + ["vector.fused"]


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_missing_entry_is_named(entry: str) -> None:
    wrong = document()
    *path, last = entry.split(".")
    del (wrong[path[0]] if path else wrong)[last]
    if entry in DEFAULTS:
        assert from_document(wrong, "file.toml").formats == SAT.formats
        return
    with pytest.raises(InputError) as caught:
        from_document(wrong, "file.toml")
    assert str(caught.value) == f"file.toml: entry {entry!r} is missing"


def test_a_missing_table_is_named() -> None:
    wrong = document()
    del wrong["dram"]
    with pytest.raises(InputError) as caught:
        from_document(wrong, "file.toml")
    assert str(caught.value) == "file.toml: entry 'dram' is missing"


def test_an_unknown_entry_names_the_nearest() -> None:
    known = f"(known: {', '.join(ENTRIES)})"
    assert refusal(SAT.to_toml().replace("bandwidth_gbps", "bandwith_gbps")) == (
        "file.toml: unknown entry 'dram.bandwith_gbps': did you mean dram.bandwidth_gbps or "
        f"dram.latency_ns? {known}"
    )
    assert refusal_of(**{"array.row": 3}) == (
        f"unknown accelerator entry 'array.row': did you mean array.rows or array.dataflows or "
        f"array.columns? {known}"
    )
    for name in ("array", "array.rows.deep", "", ".", "name.x", "array."):
        assert refusal_of(**{name: 3}).startswith(f"unknown accelerator entry {name!r}")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("rows = ", "Invalid value (at end of document)"),
        ("= 3", "Invalid statement (at line 1, column 1)"),
        ("a = 1\na = 2\n", "Cannot overwrite a value (at line 2, column 6)"),
        ("a = " + "[" * 5000, "it is nested too deeply"),
        (
            "a = " + "9" * 5000,
            "Exceeds the limit (4300 digits) for integer string conversion: value has 5000 digits; "
            "use sys.set_int_max_str_digits() to increase the limit",
        ),
    ],
    ids=["value", "statement", "twice", "nested", "digits"],
)
def test_malformed_toml_is_one_line(text: str, line: str) -> None:
    assert refusal(text) == f"file.toml is not valid TOML: {line}"


def test_numbers_too_long_to_print() -> None:
    text = SAT.to_toml().replace("rows = 4", "rows = 0x" + "f" * 5000)
    assert refusal(text) == (
        "file.toml: array.rows: input should be less than or equal to 4096, not a number of "
        "thousands of digits"
    )


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "sat-4x5",
            "unknown hardware preset 'sat-4x5': did you mean sat-4x4 or sat-32x32? "
            f"(known: {', '.join(presets())})",
        ),
        ("absent/none.toml", "cannot read absent/none.toml: No such file or directory"),
    ],
)
def test_no_such_hardware(name: str, line: str) -> None:
    with pytest.raises(InputError) as caught:
        load(name)
    assert str(caught.value) == line


def test_files_that_are_no_descriptions(tmp_path: Path) -> None:
    folder = tmp_path / "folder.toml"
    folder.mkdir()
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b'name = "\xff"')
    large = tmp_path / "large.toml"
    large.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    for path, line in {
        folder: f"cannot read {folder}: Is a directory",
        binary: f"{binary} is not valid TOML: it is not UTF-8 text",
        large: f"{large}: a hardware file has at most 1048576 bytes, not 1048577",
    }.items():
        with pytest.raises(InputError) as caught:
            load(path)
        assert str(caught.value) == line


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**62, 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["2:4", "ws", "fp16", 10**400, -0.0, "0:0", "1:1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@settings(max_examples=200)
@given(data=st.data())
def test_any_document_is_read_or_refused(data: st.DataObject) -> None:
    """Some entries replaced by anything, removed, or added; and what is read can be used."""
    wrong = document()
    for entry in data.draw(st.lists(st.sampled_from(ENTRIES), min_size=1, max_size=3)):
        *path, last = entry.split(".")
        table = wrong[path[0]] if path else wrong
        if isinstance(table, dict):
            table[data.draw(st.sampled_from([last, last, last, "new"]))] = data.draw(ANYTHING)
    if data.draw(st.booleans()):
        wrong[data.draw(st.sampled_from([*wrong, "more"]))] = data.draw(ANYTHING)
    try:
        accelerator = from_document(wrong, "here")
        record = hardware_record(accelerator)
    except InputError as error:
        assert_one_line(error)
    else:
        assert from_toml(accelerator.to_toml(), "here") == accelerator
        assert all(int(record[name]) >= 0 for name in HARDWARE.names)


@settings(max_examples=500)
@given(text=st.text() | st.text("=[]{}\"'.,#\n arows0123456789-:_\\ux"))
@example(text="\ufeff")
@example(text="\x00")
@example(text="a = 1e999\n")
@example(text="a = 0000-99-99\n")
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        from_toml(text, "here")
    assert_one_line(caught.value)


@settings(max_examples=200)
@given(data=st.data(), name=st.sampled_from(presets()))
def test_any_mutated_preset_is_read_or_refused(data: st.DataObject, name: str) -> None:
    text = load(name).to_toml()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        gone = data.draw(st.integers(0, 20))
        text = text[:at] + data.draw(st.text(max_size=4)) + text[at + gone :]
    try:
        assert isinstance(from_toml(text, "here"), Accelerator)
    except InputError as error:
        assert_one_line(error)


def assert_one_line(error: InputError) -> None:
    assert len(str(error).splitlines()) == 1
    assert len(str(error)) < 4000


@settings(max_examples=500)
@given(
    bandwidth=st.floats(1e-9, 1e5),
    clock=st.floats(1e-3, 1e5),
)
@example(bandwidth=25.6, clock=200.0)
@example(bandwidth=1e-6, clock=200.0)
@example(bandwidth=8000.0, clock=200.0)
@example(bandwidth=6553.6, clock=200.0)
@example(bandwidth=6553.5, clock=200.0)
@example(bandwidth=1.5e-5 / 2, clock=200.0)
def test_cycles_a_byte(bandwidth: float, clock: float) -> None:
    """A fraction of small numbers, off by less than one part in 2^15 (0.003 %)."""
    accelerator = SAT.with_values(**{"dram.bandwidth_gbps": bandwidth, "clock_mhz": clock})
    exact = accelerator.clock_hz / (Fraction(bandwidth) * 10**9)
    if not Fraction(1, 2**15) <= exact <= 2**15:
        with pytest.raises(InputError) as caught:
            hardware_record(accelerator)
        assert str(caught.value) == (
            "accelerator 'sat-4x4': DRAM must move from 2^-15 to 2^15 bytes a cycle, not "
            f"{float(1 / exact):.3g}"
        )
        return
    record = hardware_record(accelerator)
    above, below = (int(record[f"dram_cycles_{x}"]) for x in ("numerator", "denominator"))
    assert 0 < above <= 2**15
    assert 0 < below <= 2**15
    assert abs(Fraction(above, below) / exact - 1) < Fraction(1, 2**15)


def test_record() -> None:
    """Every field, for a machine without round numbers."""
    accelerator = SAT.with_values(
        **{
            "clock_mhz": 150.0,
            "array.rows": 5,
            "array.columns": 6,
            "array.interleave": 7,
            "array.multiplier_cycles": 3,
            "array.adder_cycles": 9,
            "array.accumulator_cycles": 11,
            "array.group_port_elements": 13,
            "array.weight_registers": 17,
            "array.dataflows": ["os"],
            "formats.operand": "int8",
            "buffers.activation_kib": 3,
            "buffers.weight_kib": 19,
            "buffers.output_kib": 23,
            "dram.bandwidth_gbps": 0.45,
            "dram.latency_ns": 33.4,
            "dram.burst_bytes": 96,
            "vector.lanes": 29,
            "vector.latency_cycles": 31,
            "wuve.lanes": 37,
            "wuve.latency_cycles": 41,
            "sore.lanes": 43,
            "sore.latency_cycles": 47,
        }
    )
    record = hardware_record(accelerator)
    assert record.shape == ()
    assert {name: int(record[name]) for name in HARDWARE.names} == {
        "rows": 5,
        "columns": 6,
        "interleave": 7,
        "multiplier_cycles": 3,
        "adder_cycles": 9,
        "accumulator_cycles": 11,
        "group_port_elements": 13,
        "weight_registers": 17,
        "has_ws": 0,
        "has_os": 1,
        "operand_bits": 8,
        "accumulator_bits": 32,
        "activation_bank_bytes": 3 * 512,
        "weight_bank_bytes": 19 * 512,
        "output_bank_bytes": 23 * 512,
        "dram_cycles_numerator": 1,
        "dram_cycles_denominator": 3,
        "dram_latency_cycles": 6,  # 5.01, rounded up
        "dram_burst_bytes": 96,
        "vector_lanes": 29,
        "vector_latency_cycles": 31,
        "wuve_lanes": 37,
        "wuve_latency_cycles": 41,
        "sore_lanes": 43,
        "sore_latency_cycles": 47,
    }


def test_patterns_that_it_supports() -> None:
    for text in ("2:8", "dense", "3:3"):
        load("sat-32x32").require_pattern(Pattern.parse(text))
    with pytest.raises(InputError) as caught:
        SAT.require_pattern(Pattern(3, 8))
    assert str(caught.value) == (
        "accelerator 'sat-4x4' does not support pattern 3:8 (it has: 1:2, 1:4, 2:4, 1:8, 2:8, 4:8, "
        "1:16, 2:16, 4:16)"
    )
    with pytest.raises(InputError) as caught:
        load("dense-32x32").require_pattern(Pattern(2, 4))
    assert str(caught.value) == (
        "accelerator 'dense-32x32' does not support pattern 2:4 (it has: dense products only)"
    )
