"""The command line says what the Python API says, in documents that docs/json.md describes."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nofm as package
from nofm.dataflow.accelerator import load, presets
from nofm.dataflow.methods import METHODS
from nofm.simulator.result import ENERGIES, STAGES, STALLS, TENSORS
from nofm.workloads.layer import Linear
from nofm.workloads.networks import NETWORKS
from nofm.workloads.trace import Trace
from nofm.workloads.trace_file import save

Run = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[2]
NET = ("simulate", "resnet9", "--batch", 16)
SPLITS = {"cause": STALLS, "tensor": TENSORS, "part": ENERGIES}


def documented(section: str, table: int) -> set[str]:
    """The fields of a table in docs/json.md, `<cause>` and its like written out."""
    text = (ROOT / "docs/json.md").read_text(encoding="utf-8")
    rows = "\n" + text.split(f"`{section}`\n", 1)[1].split("\n## ", 1)[0]
    tables = re.split(r"\n\n(?=\|)", rows)[1:]
    fields = set()
    for line in tables[table].splitlines()[2:]:
        if not line.startswith("|"):
            break
        for name in re.findall(r"`([^`]+)`", line.split("|")[1]):
            holder = re.search(r"<(\w+)>", name)
            values = SPLITS[holder[1]] if holder else [""]
            fields |= {re.sub(r"<\w+>", value, name) for value in values}
    return fields


def test_a_step_has_the_documented_fields(nofm: Run) -> None:
    document = nofm(*NET, "--json").document()
    assert document["schema"] == "nofm.step/1"
    assert set(document) == documented("nofm.step/1", 0) | {"schema"}
    assert set(document["total"]) == documented("nofm.step/1", 1)
    for layer in document["layers"]:
        assert set(layer) == documented("nofm.step/1", 2)
        assert set(layer["stalls"]) == set(STALLS)
        assert set(layer["dram_bytes_by_tensor"]) == set(TENSORS)
        assert set(layer["energy_pj_by_part"]) == set(ENERGIES)
        assert layer["stage"] in STAGES
        for name, value in layer.items():
            if name.endswith(("cycles", "bytes", "macs")) or name in "mkn":
                assert type(value) is int, name
        assert layer["cycles"] == layer["compute_cycles"] + layer["stall_cycles"]
        assert layer["stall_cycles"] == sum(layer["stalls"].values())
        assert 0 <= layer["utilization"] <= 1
    total, layers = document["total"], document["layers"]
    for name in ("cycles", "dram_bytes", "macs", "stall_cycles"):
        assert total[name] == sum(layer[name] for layer in layers)
    assert total["energy_pj"] == pytest.approx(sum(layer["energy_pj"] for layer in layers))
    assert total["speedup"] == total["dense_cycles"] / total["cycles"] > 1


def test_says_what_python_says(nofm: Run) -> None:
    document = nofm(*NET, "--method", "sdgp", "--pattern", "1:8", "--json").document()
    result = package.simulate("resnet9", batch=16, method="sdgp", pattern="1:8")
    assert document["total"] == result.total
    for name in ("cycles", "dram_bytes", "layer", "tile"):
        assert [layer[name] for layer in document["layers"]] == result.layers[name].tolist()


def test_the_same_twice(nofm: Run) -> None:
    assert nofm(*NET, "--json").out == nofm(*NET, "--json").out


@pytest.mark.parametrize("stage", ["ff", "bp", "wu"])
@pytest.mark.parametrize("dataflow", ["ws", "os"])
def test_a_product(nofm: Run, stage: str, dataflow: str) -> None:
    shape = ["--gemm", "4096x1152x256", "--stage", stage, "--dataflow", dataflow]
    document = nofm(
        "simulate", *shape, "--pattern", "2:8", "--hardware", "sat-32x32", "--json"
    ).document()
    (layer,) = document["layers"]
    assert (layer["m"], layer["k"], layer["n"]) == (4096, 1152, 256)
    assert (layer["stage"], layer["pattern"], layer["dataflow"]) == (stage, "2:8", dataflow)
    assert document["method"] == "product"
    assert document["total"]["cycles"] == layer["cycles"]
    assert document["total"]["dense_cycles"] == layer["dense_cycles"] > 2 * layer["cycles"]


def test_switches(nofm: Run) -> None:
    switches = ["--no-interleave", "--no-pregeneration", "--schedule", "fixed"]
    document = nofm(*NET, *switches, "--json").document()
    assert document["optimizations"] == {
        "interleave": False,
        "pregeneration": False,
        "schedule": "fixed",
    }
    assert {layer["interleave"] for layer in document["layers"]} == {1}
    assert "prune" in {layer["stage"] for layer in document["layers"]}
    assert document["batch"] == 16


def test_settings(nofm: Run) -> None:
    changes = {"array.rows": 16, "dram.bandwidth_gbps": 12.5, "name": "mine", "clock_mhz": 100}
    settings = [f"--set={name}={value}" for name, value in changes.items()]
    patterns = '--set=array.patterns=["2:8", "1:4"]'
    found = nofm(*NET, *settings, patterns, "--set", "array.dataflows=['os']", "--json").document()
    assert found["hardware"]["array"]["rows"] == 16
    assert found["hardware"]["array"]["patterns"] == ["2:8", "1:4"]
    assert found["hardware"]["name"] == "mine"
    machine = load("sat-32x32").with_values(
        **changes, **{"array.patterns": ["2:8", "1:4"], "array.dataflows": ["os"]}
    )
    assert found["total"] == package.simulate("resnet9", batch=16, hardware=machine).total


def test_hardware_from_a_file(nofm: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(load("sat-4x4").to_toml(), encoding="utf-8")
    shape = ["simulate", "--gemm", "64x64x64", "--json", "--hardware"]
    assert nofm(*shape, path).document() == nofm(*shape, "sat-4x4").document()


def test_tables(nofm: Run) -> None:
    ran = nofm(*NET)
    assert (ran.code, ran.err) == (0, "")
    for text in ("resnet9", "bdwp", "2:8", "x as fast as dense training", "update", "By stage"):
        assert text in ran.out
    assert max(map(len, ran.out.splitlines())) <= 120
    every = nofm(*NET, "--all")
    assert len(every.out.splitlines()) > len(ran.out.splitlines())


def test_files(nofm: Run, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "out"
    document = nofm(*NET, "--json", "-o", folder).document()
    names = {path.name for path in folder.iterdir()}
    assert {"layers.csv", "layers.parquet", "step.json", "hardware.toml"} <= names
    assert {"report.html", "timeline.json", "cycles.png", "cycles.svg", "ablation.svg"} <= names
    assert json.loads((folder / "step.json").read_text("utf-8")) == document
    assert str(load(folder / "hardware.toml")) == str(load("sat-32x32"))
    rows = list(csv.DictReader(io.StringIO((folder / "layers.csv").read_text("utf-8"))))
    assert [row["layer"] for row in rows] == [layer["layer"] for layer in document["layers"]]
    assert list(tmp_path.iterdir()) == [tmp_path / "deep"]
    assert list((tmp_path / "deep").iterdir()) == [folder]  # nothing temporary stays behind


def test_a_trace_and_its_file(nofm: Run, tmp_path: Path) -> None:
    layer = Linear(name="fc", batch=4, in_features=64, out_features=48)
    trace = Trace(name="mine", batch=4, layers=(layer,), parameters=48)
    path = tmp_path / "mine.safetensors"
    save(trace, path)
    document = nofm("simulate", path, "--json").document()
    assert (document["workload"], document["batch"]) == ("mine", 4)
    assert document["total"] == package.simulate(trace).total
    larger = nofm("simulate", path, "--batch", 32, "--json").document()
    assert larger["total"] == package.simulate(trace, batch=32).total
    again = tmp_path / "again.safetensors"
    shown = nofm("trace", path, "-o", again, "--json").document()
    assert again.read_bytes() == path.read_bytes()
    assert [layer["name"] for layer in shown["layers"]] == ["fc"]
    assert f"Wrote {again}." in nofm("trace", path, "-o", again).out


def test_a_model_of_ones_own(nofm: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_small_model.py").write_text(
        "import torch\n"
        "def build():\n"
        "    return torch.nn.Sequential(\n"
        "        torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(),\n"
        "        torch.nn.Linear(16 * 8 * 8, 10))\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "model.safetensors"
    ran = nofm("trace", "my_small_model:build", "--input", "4x3x8x8", "-o", path)
    assert (ran.code, ran.err) == (0, "")
    document = nofm("simulate", path, "--json").document()
    assert document["batch"] == 4
    macs = {(layer["layer"], layer["stage"]): layer["macs"] for layer in document["layers"]}
    assert macs["0", "ff"] == macs["0", "wu"] == 4 * 64 * 27 * 16
    assert macs["3", "ff"] == macs["3", "bp"] == 4 * 1024 * 10


def test_a_topology_timed_as_its_peer_does(nofm: Run, tmp_path: Path) -> None:
    path = tmp_path / "net.csv"
    path.write_text(
        "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, "
        "Strides,\nconv, 16, 16, 3, 3, 8, 32, 1,\n",
        encoding="utf-8",
    )
    arguments = ["simulate", path, "--peer", "scalesim", "--array", "8x8", "--dataflow", "os"]
    document = nofm(*arguments, "--json").document()
    assert document["schema"] == "nofm.peer/1"
    (layer,) = document["layers"]
    fields = documented_list("nofm.peer/1")
    assert set(layer) == set(fields[: fields.index("sat_cycles") + 1])
    # ceil(M/R) ceil(N/C) (K + R + C - 2), less one.
    assert layer["cycles"] == 25 * 4 * (72 + 8 + 8 - 2) - 1
    assert nofm(*arguments).out.count("conv") >= 1


def documented_list(section: str) -> list[str]:
    """The fields of `layers[]` that docs/json.md names in a sentence."""
    text = (ROOT / "docs/json.md").read_text(encoding="utf-8")
    sentence = text.split(f"`{section}`\n", 1)[1].split("\n## ", 1)[0]
    return [name for name in re.findall(r"`(\w+)`", sentence) if name.islower()]


@pytest.mark.parametrize(
    ("command", "names"),
    [("methods", list(METHODS)), ("hardware", presets()), ("networks", list(NETWORKS))],
)
def test_lists_are_those_of_the_registries(nofm: Run, command: str, names: list[str]) -> None:
    document = nofm(command, "--json").document()
    assert document["schema"] == f"nofm.{command}/1"
    assert [next(iter(row.values())) for row in document[command]] == names
    shown = nofm(command)
    assert shown.code == 0
    assert all(name in shown.out for name in names)


def test_help_and_version(nofm: Run) -> None:
    for arguments in ((), ("--help",)):
        shown = nofm(*arguments)
        for command in ("simulate", "trace", "methods", "hardware", "networks", "reproduce"):
            assert f" {command} " in shown.out + shown.err
    assert nofm("simulate", "--help").code == 0
    assert nofm("--version").out == f"{package.__version__}\n"


@pytest.mark.parametrize("command", [["nofm"], [sys.executable, "-m", "nofm.cli"]])
def test_as_a_process(command: list[str]) -> None:
    if command == ["nofm"]:
        command = [str(Path(sys.executable).parent / "nofm")]
    shape = ["simulate", "--gemm", "64x64x64", "--json"]
    done = subprocess.run([*command, *shape], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["schema"] == "nofm.step/1"
    done = subprocess.run(
        [*command, "simulate", "resnet"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("nofm: unknown network 'resnet': did you mean")


def test_a_reader_that_leaves() -> None:
    """`nofm ... | head -0` ends without a traceback."""
    done = subprocess.run(
        f"{sys.executable} -m nofm.cli methods | true",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
