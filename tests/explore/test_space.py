"""A space is read the same however it is written, and refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofm.dataflow.accelerator import load
from nofm.explore.read import read
from nofm.kernels.errors import InputError

Make = Callable[..., dict[str, Any]]

TOML = """
batch = 8
method = "bdwp"
base = "sat-4x4"
workload = "{workload}"
[parameters]
"array.rows" = {{from = 4, to = 16, factor = 2}}
pattern = ["2:4", "dense"]
schedule = ["ws", "offline"]
"dram.bandwidth_gbps" = [51.2, 6.4, 20]
"array.patterns" = [["2:4"], ["2:4", "1:8"]]
[constraints]
energy_joules = {{max = 1e-3}}
"dram.bandwidth_gbps" = {{min = 6}}
[objectives]
maximise = ["accuracy"]
minimise = ["edp", "array.rows"]
[accuracy]
dense = 0.75
bdwp = {{"2:4" = 0.5}}
[search]
kind = "tpe"
trials = 20
seed = 3
"""

# The same in other words, with other orders.
OTHER = """
workload = "{workload}"
search = {{seed = 3, trials = 20, kind = "tpe", part = 16}}
accuracy.bdwp."2:4" = 0.50
accuracy.dense.dense = 0.75
[objectives]
minimise = ["edp", "array.rows"]
maximise = ["accuracy"]
[constraints.dram]
bandwidth_gbps.min = 6.0
[constraints.energy_joules]
max = 0.001
[parameters]
schedule = ["ws", "offline"]
method = ["bdwp"]
batch = {{from = 8, to = 8, step = 1}}
pattern = ["2:4", "dense"]
[parameters.dram]
bandwidth_gbps = [6.4, 20.0, 51.2]
[parameters.array]
patterns = [["2:4"], ["2:4", "1:8"]]
rows = [16, 8, 4]
[base]
{base}
"""


def base_tables() -> str:
    return load("sat-4x4").to_toml().replace("\n[", "\n[base.")


@pytest.fixture
def written(tmp_path: Path, workload: str) -> tuple[Path, Path]:
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text(TOML.format(workload=workload), encoding="utf-8")
    two.write_text(OTHER.format(workload=workload, base=base_tables()), encoding="utf-8")
    return one, two


def test_the_order_and_form_of_a_file_do_not_matter(written: tuple[Path, Path]) -> None:
    one, two = map(read, written)
    assert one.to_toml() == two.to_toml()
    assert one.digest == two.digest
    assert one.count == 2 * 2 * 3 * 2 * 3
    assert one.names == (
        *("workload", "batch", "method", "pattern", "schedule"),
        *("array.patterns", "array.rows", "dram.bandwidth_gbps"),
    )
    assert one.values("dram.bandwidth_gbps") == (6.4, 20.0, 51.2)


def test_the_canonical_file_is_the_same_space(written: tuple[Path, Path], tmp_path: Path) -> None:
    space = read(written[0])
    path = tmp_path / "canonical.toml"
    path.write_text(space.to_toml(), encoding="utf-8")
    assert read(path).digest == space.digest
    assert read(path).to_toml() == space.to_toml()
    assert read(space.document()).digest == space.digest


@pytest.mark.parametrize(
    ("line", "other"),
    [
        ("to = 16", "to = 32"),
        ("2:4", "1:4"),
        ("max = 1e-3", "max = 2e-3"),
        ("bdwp", "sdgp"),
        ("seed = 3", "seed = 4"),
        ("0.75", "0.76"),
        ('"edp"', '"seconds"'),
        ("sat-4x4", "sat-32x32"),
        ("batch = 8", "batch = 9"),
    ],
)
def test_another_space_has_another_digest(
    written: tuple[Path, Path], line: str, other: str
) -> None:
    path, _ = written
    before = read(path).digest
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(line, other), encoding="utf-8")
    assert read(path).digest != before


def test_another_workload_has_another_digest(small: Make, workload: str) -> None:
    space = read(small())
    trace = space.traces[workload, None]
    changed = type(trace)(name=trace.name, batch=4, layers=trace.layers[:1], parameters=64)
    other = type(space)(
        **{name: getattr(space, name) for name in space.__dataclass_fields__}
        | {"traces": {(workload, None): changed}}
    )
    assert other.digest != space.digest


def test_digits_and_numbers(written: tuple[Path, Path]) -> None:
    space = read(written[0])
    everything = np.arange(space.count)
    digits = space.digits(everything)
    assert space.numbers(digits).tolist() == everything.tolist()
    assert len({tuple(row) for row in digits.tolist()}) == space.count
    # The last parameter varies fastest, so neighbours share a training step.
    assert [p.name for p in space.parameters][-1] == "dram.bandwidth_gbps"
    assert digits[:4, -1].tolist() == [0, 1, 2, 0]
    assert space.design(space.count - 1) == {p.name: p.values[-1] for p in space.parameters}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"workload": None}, "a workload is needed: workload = 'resnet18', or a list as a parameter"),
    ({"workload": "resnet19"}, "unknown network 'resnet19': did you mean resnet9 or "),
    ({"workload": ["a", "b"]}, "workload must be one value, not ['a', 'b']: several go into "),
    ({"metod": "bdwp"}, "unknown entry 'metod': did you mean method? (known: workload, batch, "),
    ({"method": "bdw"}, "unknown method 'bdw': did you mean bdwp or sdwp? (known: "),
    ({"batch": 0}, "batch must be a whole number from 1 to 2147483647, not 0"),
    ({"batch": 2.5}, "batch must be a whole number from 1 to 2147483647, not 2.5"),
    ({"pattern": "2:4"}, "pattern is given twice: by itself and as a parameter"),
    ({"interleave": 1}, "interleave must be true or false, not 1"),
    ({"schedule": "best"}, "unknown schedule 'best': (known: offline, fixed, ws, os)"),
    ({"base": "sat-3x3"}, "unknown hardware preset 'sat-3x3': did you mean "),
    ({"base": 3}, "base must be a preset, a TOML file or a table, not 3"),
    ({"base": {"name": "x"}}, "base: entry 'clock_mhz' is missing"),
    ({"parameters": 3}, "parameters must be a table, not 3"),
    (
        {"parameters": {"array.rows": []}},
        "parameter 'array.rows' must have at least one value, not",
    ),
    (
        {"parameters": {"array.row": [3]}},
        "unknown parameter 'array.row': did you mean array.rows or ",
    ),
    ({"parameters": {"array": [3]}}, "unknown parameter 'array': did you mean "),
    ({"parameters": {"name": ["a"]}}, "unknown parameter 'name': "),
    (
        {"parameters": {"array.rows": [4, 0]}},
        "accelerator 'sat-32x32': array.rows: input should be greater than or equal to 1, not 0",
    ),
    (
        {"parameters": {"array.rows": [4, 8.0]}},
        "accelerator 'sat-32x32': array.rows: input should be a valid integer, not 8.0",
    ),
    (
        {"parameters": {"array.patterns": [["2:4", "9:8"]]}},
        "accelerator 'sat-32x32': array.patterns: pattern 9:8: N must be from 1 to M = 8, not 9",
    ),
    ({"parameters": {"array.rows": [4, 8, 4]}}, "parameter 'array.rows' lists 4 twice"),
    (
        {"parameters": {"array": {"rows": [4]}, "array.rows": [4]}},
        "parameter 'array.rows' is given twice",
    ),
    (
        {"parameters": {"array.rows": {"from": 9, "to": 3, "step": 1}}},
        "the range of 'array.rows' runs backwards: from 9 to 3",
    ),
    (
        {"parameters": {"pattern": ["2:4", "3:7"]}},
        "accelerator 'sat-32x32' does not support pattern 3:7 (it has: ",
    ),
    (
        {"parameters": {"pattern": ["2:8"], "array.patterns": [["2:4"], ["1:8"]]}},
        "pattern 2:8 is in none of the lists of array.patterns",
    ),
    ({"constraints": {"energy": {"max": 1}}}, "unknown constraint 'energy': did you mean energy_j"),
    ({"constraints": {"seconds": {"most": 1}}}, "unknown entry of constraint 'seconds' 'most': "),
    ({"constraints": {"seconds": 3}}, "constraint 'seconds' must look like {max = 10}, not 3"),
    ({"constraints": {"seconds": {}}}, "constraint 'seconds' must look like {max = 10}, not {}"),
    (
        {"constraints": {"seconds": {"max": "1"}}},
        "constraint 'seconds': max must be a number, not '1'",
    ),
    (
        {"constraints": {"seconds": {"max": float("nan")}}},
        "constraint 'seconds': max must be finite, not NaN",
    ),
    (
        {"constraints": {"seconds": {"min": 2, "max": 1}}},
        "constraint 'seconds': min must not be above max, not 2 and 1",
    ),
    ({"constraints": {"pattern": {"max": 1}}}, "unknown constraint 'pattern': "),
    ({"constraints": {"device": 3}}, "constraint 'device' must be a text, not 3"),
    (
        {"objectives": {"minimise": ["speed"]}},
        "unknown objective 'speed': did you mean seconds or ",
    ),
    (
        {"objectives": {"minimize": ["edp"]}},
        "unknown entry of objectives 'minimize': did you mean ",
    ),
    (
        {"objectives": {"minimise": "edp"}},
        "objectives: minimise must be a list of names, not 'edp'",
    ),
    ({"objectives": {"minimise": []}}, "at least one objective is needed, not none"),
    (
        {"objectives": {"minimise": ["edp"], "maximise": ["edp"]}},
        "objective 'edp' is given twice",
    ),
    (
        {"objectives": {"maximise": ["accuracy"]}},
        "objective 'accuracy' needs an [accuracy] table, and there is none",
    ),
    (
        {"objectives": {"maximise": ["accuracy"]}, "accuracy": {"bdwp": {"2:4": 0.5}}},
        "accuracy of method bdwp with 1:8 is not given",
    ),
    ({"accuracy": {"bdwp": {"2:4": 5}}}, "accuracy: bdwp 2:4 must be a number from 0 to 1, not 5"),
    (
        {"accuracy": {"bdwp": 0.5}},
        "accuracy: dense training, and it alone, is dense, not bdwp dense",
    ),
    ({"accuracy": {}}, "accuracy: at least one accuracy is needed, not none"),
    ({"accuracy": {"file": "a.txt"}}, "cannot read 'a.txt': No such file or directory"),
    (
        {"search": {"kind": "random"}},
        "unknown kind of search 'random': (known: exhaustive, nsga2, ",
    ),
    (
        {"search": {"trial": 3}},
        "unknown entry of search 'trial': did you mean trials? (known: kind",
    ),
    ({"search": {"kind": "tpe"}}, "search: tpe needs trials, the number of designs to evaluate"),
    ({"search": {"trials": 3}}, "search: trials goes with nsga2 and tpe, not with exhaustive"),
    ({"search": {"part": 0}}, "search: part must be a whole number from 1 to 65536, not 0"),
    (
        {"search": {"kind": "tpe", "trials": 10**7}},
        "search: trials must be a whole number from 1 to 1000000, not 10000000",
    ),
    (
        {"search": {"kind": "tpe", "trials": 5, "seed": -1}},
        "search: seed must be from 0 to 2147483647, not -1",
    ),
    (
        {
            "parameters": {
                "array.rows": {"from": 1, "to": 1000, "step": 1},
                "array.columns": {"from": 1, "to": 1000, "step": 1},
                "wuve.lanes": {"from": 1, "to": 1000, "step": 1},
                "vector.lanes": {"from": 1, "to": 1000, "step": 1},
            }
        },
        "an exhaustive search may have 1,000,000,000 designs at most, not 1,000,000,000,000: "
        "shorten the lists, or search with kind = 'nsga2'",
    ),
]


@pytest.mark.parametrize(("changes", "reason"), REFUSED, ids=[r for _, r in REFUSED])
def test_refused(small: Make, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError) as caught:
        read(small(**changes))
    assert str(caught.value).startswith(f"space: {reason}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.txt", b"", "a design space's file name ends in .toml, not "),
        ("x.toml", b"a = [", "x.toml is not valid TOML: "),
        ("x.toml", b"\xff", "x.toml is not valid TOML: it is not UTF-8 text"),
        ("x.toml", b"a = " + b"[" * 9999, "x.toml is not valid TOML: "),
        ("x.toml", b"a = 1e9999999999999999999999", "x.toml is not valid TOML: "),
        ("x.toml", b" " * (1 << 23), "x.toml: a design space may have 4194304 bytes at most"),
        ("x.toml", b"", "x.toml: a workload is needed: "),
    ],
)
def test_files_that_are_refused(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read(path)
    assert reason in str(caught.value)
    with pytest.raises(InputError, match=r"^cannot read '.*none\.toml': No such file"):
        read(tmp_path / "none.toml")


def test_accuracies_from_files(small: Make, tmp_path: Path) -> None:
    points = [("dense", "dense", 0.7), ("bdwp", "2:4", 0.6), ("bdwp", "1:8", 0.5)]
    table = tmp_path / "codesign.csv"
    lines = [f"{method},{pattern},0,{value}" for method, pattern, value in points]
    table.write_text("\n".join(["method,pattern,spread,accuracy", *lines]), encoding="utf-8")
    document = tmp_path / "codesign.json"
    rows = [
        f'{{"method": "{method}", "pattern": "{pattern}", "accuracy": {value}}}'
        for method, pattern, value in points
    ]
    document.write_text('{"points": [' + ", ".join(rows) + "]}", encoding="utf-8")
    given = {"dense": 0.7, "bdwp": {"2:4": 0.6, "1:8": 0.5}}
    digests = {
        read(small(accuracy=found)).digest
        for found in (given, {"file": str(table)}, {"file": str(document)})
    }
    assert len(digests) == 1
    for path, content in ((table, "method,pattern\na,b"), (document, '{"points": [3]}')):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=r"not a codesign\.json, nor a CSV with method, patt"):
            read(small(accuracy={"file": str(path)}))


def test_what_is_minimised_where_nothing_is_said() -> None:
    """LUTs too, where they are known of all designs."""
    space = {"workload": "resnet18", "parameters": {"array.rows": [8, 16]}}
    assert [o.name for o in read(space).objectives] == ["seconds", "energy_joules", "lut"]
    space["parameters"]["formats.operand"] = ["fp16", "int8"]
    assert [o.name for o in read(space).objectives] == ["seconds", "energy_joules"]
