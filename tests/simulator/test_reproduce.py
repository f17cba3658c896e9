"""The paper's experiment: every part is there, consistent, and shown."""

import io
import json

import pytest
from rich.console import Console

from nofm.dataflow.accelerator import load
from nofm.dataflow.methods import METHODS
from nofm.kernels.errors import InputError
from nofm.simulator.report import reproduction
from nofm.simulator.reproduce import (
    ABLATION,
    COMPARED,
    HEADLINE,
    PATTERNS,
    SENSITIVITY,
    reproduce,
)
from nofm.simulator.step import simulate_step
from nofm.workloads.layer import Linear
from nofm.workloads.trace import Trace


def _trace(name, width):
    layers = tuple(
        Linear(
            name=f"fc{i}",
            rows=8,
            in_features=width,
            out_features=width,
            input_gradient=i > 0,
            prunable=0 < i < 3,
        )
        for i in range(4)
    )
    return Trace(name, 1, layers, parameters=4 * width).with_batch(16)


TRACES = [_trace("wide", 256), _trace("narrow", 96)]


@pytest.fixture(scope="module")
def found():
    seen = []
    result = reproduce(TRACES, load("sat-32x32"), lambda what, done, of: seen.append((done, of)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]
    return result


def test_every_network_method_and_pattern_once(found):
    rows = [(row["network"], row["method"], row["pattern"]) for row in found.speedups]
    assert rows == [
        (trace.name, method, str(pattern))
        for trace in TRACES
        for method in COMPARED
        for pattern in PATTERNS
    ]


def test_speedups_are_the_simulators_and_below_the_bound(found):
    for row in found.speedups:
        trace = next(trace for trace in TRACES if trace.name == row["network"])
        pattern = next(p for p in PATTERNS if str(p) == row["pattern"])
        step = simulate_step(trace, load("sat-32x32"), METHODS[row["method"]], pattern)
        assert row["speedup"] == step.total["speedup"]
        assert row["speedup"] == row["dense_cycles"] / row["cycles"]
        assert row["bound"] >= 1


def test_ablation_has_every_variant_and_all_on_is_the_headline(found):
    method, pattern = HEADLINE
    for trace in TRACES:
        rows = {r["variant"]: r["speedup"] for r in found.ablation if r["network"] == trace.name}
        assert list(rows) == list(ABLATION)
        (headline,) = (
            row["speedup"]
            for row in found.speedups
            if (row["network"], row["method"], row["pattern"]) == (trace.name, method, str(pattern))
        )
        assert rows["all optimisations"] == headline
        assert max(rows.values()) == headline


def test_sensitivity_varies_every_assumed_parameter_around_the_preset(found):
    assert [(row["parameter"], row["value"]) for row in found.sensitivity] == [
        (name, value) for name, values in SENSITIVITY.items() for value in values
    ]
    for row in found.sensitivity:
        assert row["value"] != row["preset"]
    by_name = {record["parameter"]: record for record in reproduction.sensitivity_records(found)}
    assert set(by_name) == set(SENSITIVITY)


def test_assumed_entries_of_the_preset_are_all_varied():
    """What the preset's comments call assumed, the experiment varies, or says why not."""
    from nofm.dataflow import accelerator

    text = accelerator._preset_files()["sat-32x32"].read_text("utf-8")
    table, assumed = "", set()
    for line in text.splitlines():
        if line.startswith("["):
            table = line.strip("[]") + "."
        elif "# (a)" in line and "=" in line:
            assumed.add(table + line.split("=")[0].strip())
    # No cycle depends on static power, nor on registers beyond the largest N of a pattern.
    assert assumed - {"energy.static_w", "array.weight_registers"} == set(SENSITIVITY) - {"batch"}


def test_files_are_written_and_agree(found, tmp_path):
    paths = reproduction.write(found, tmp_path / "out")
    names = {path.name for path in paths}
    assert names >= {"reproduce.json", "reproduce.md", "reproduce-speedups.svg"}
    document = json.loads((tmp_path / "out" / "reproduce.json").read_text("utf-8"))
    assert document == json.loads(json.dumps(reproduction.to_json(found)))
    method, pattern = HEADLINE
    assert document["average_speedup"] == found.average(method, str(pattern))


def test_tables_show_the_conclusion(found):
    console = Console(file=io.StringIO(), width=120)
    reproduction.print_tables(found, console)
    text = console.file.getvalue()
    assert reproduction.conclusion(found) in text
    for variant in ABLATION:
        assert variant in text


def test_a_folder_that_is_a_file_is_refused(found, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is not a folder"):
        reproduction.write(found, tmp_path / "file")
