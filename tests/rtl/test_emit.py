"""Emitted folders: what stands in them is whole, true, and works in the tools that it is for."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nofm.dataflow.accelerator import load
from nofm.rtl.emit.folder import emit
from nofm.rtl.engines import usual
from nofm.rtl.tools import find
from nofm.samples import SAMPLES, cases

MACHINE = load("sat-4x4")
PORT = re.compile(r"^  (input|output) (?:\[(\d+):0\] )?(\w+);$", re.MULTILINE)
INSTANCE = re.compile(r"^  (nofm_\w+) \S+ +\($", re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All usual engines of sat-4x4."""
    path = tmp_path_factory.mktemp("emit") / "build"
    emit(MACHINE, path, cases=partial(cases, accelerator=MACHINE))
    return path


@pytest.fixture(scope="module")
def document(folder: Path) -> dict[str, Any]:
    """Its manifest."""
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text("utf-8"))
    return found


def test_the_manifest_lists_every_file(folder: Path, document: dict[str, Any]) -> None:
    files = [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]
    assert document["files"] == sorted(files)
    assert document["schema"] == "nofm.rtl/1"
    assert [engine["engine"] for engine in document["engines"]] == usual()
    assert document["left_out"] == []


def test_the_hardware_is_the_one_that_was_asked_for(folder: Path, document: dict[str, Any]) -> None:
    assert load(folder / "hardware.toml") == MACHINE
    assert document["hardware"] == MACHINE.to_document()


def test_a_file_holds_the_module_of_its_name(folder: Path, document: dict[str, Any]) -> None:
    files = sorted((folder / "verilog").iterdir())
    assert {f"verilog/{path.name}" for path in files} == {m["file"] for m in document["modules"]}
    for module in document["modules"]:
        text = (folder / module["file"]).read_text("utf-8")
        assert re.findall(r"^module (\w+)", text, re.MULTILINE) == [module["module"]]
        assert module["file"] == f"verilog/{module['module']}.v"
        assert text.startswith(f'// {module["module"]}, hardware "sat-4x4", NofM ')
        assert module["lines"] == len(text.splitlines())
        assert set(INSTANCE.findall(text)) == set(module["places"])
        assert module["summary"]
        assert "/work/" not in text


def test_an_engine_names_all_that_it_needs(folder: Path, document: dict[str, Any]) -> None:
    places = {module["module"]: module["places"] for module in document["modules"]}
    for engine in document["engines"]:
        names = [Path(path).stem for path in engine["files"]]
        assert names[0] == engine["top"]
        assert len(set(names)) == len(names)
        assert set(names) == {engine["top"]}.union(*(places[name] for name in names))
        listed = (folder / f"{engine['engine']}.f").read_text("utf-8").splitlines()
        assert listed == engine["files"]
    used = {path for engine in document["engines"] for path in engine["files"]}
    assert used == {module["file"] for module in document["modules"]}


def test_ports_are_those_of_the_verilog(folder: Path, document: dict[str, Any]) -> None:
    for engine in document["engines"]:
        text = (folder / engine["files"][0]).read_text("utf-8")
        expected = {
            name: ("in" if direction == "input" else "out", int(high or 0) + 1)
            for direction, high, name in PORT.findall(text)
        }
        ports = {p["port"]: (p["direction"], p["width"]) for p in engine["ports"]}
        assert ports == expected
        assert [p["port"] for p in engine["ports"][:2]] == ["clk", "rst"]
        assert [p["port"] for p in engine["ports"] if not p["meaning"]] == []


def test_jobs_and_counters(document: dict[str, Any]) -> None:
    for engine in document["engines"]:
        widths = {port["port"]: port["width"] for port in engine["ports"]}
        at = 0
        for field in engine["job"]:
            assert field["low"] == at
            assert field["meaning"], field
            at += field["width"]
        assert at == widths["job_data"]
        assert "count_busy" in engine["counters"]
        assert {widths[counter] for counter in engine["counters"]} == {48}
        assert engine["parameters"]


def test_streams_are_whole(document: dict[str, Any]) -> None:
    for engine in document["engines"]:
        ports = {port["port"]: port for port in engine["ports"]}
        streams = {stream["stream"]: stream for stream in engine["streams"]}
        assert {f"{name}_ready" for name in streams} == {p for p in ports if p.endswith("_ready")}
        assert streams["job"]["lanes"] == 1
        for name, stream in streams.items():
            data = ports[f"{name}_data"]
            assert stream["lanes"] * stream["lane_width"] == data["width"]
            assert stream["direction"] == data["direction"] == ports[f"{name}_valid"]["direction"]
            assert stream["direction"] != ports[f"{name}_ready"]["direction"]


@pytest.mark.parametrize("engine", usual())
def test_icarus_reads_it(folder: Path, document: dict[str, Any], engine: str) -> None:
    """As strict Verilog-2001. `test_lint` has it read by Verilator and Yosys."""
    top = next(each["top"] for each in document["engines"] if each["engine"] == engine)
    command = [find.icarus().path, "-g2001", "-t", "null", "-s", top, "-c", f"{engine}.f"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_core_names_what_is_there(folder: Path, document: dict[str, Any]) -> None:
    text = (folder / "nofm.core").read_text("utf-8")
    assert text.startswith("CAPI=2:\n")
    assert f"\nname: nofm:rtl:sat-4x4:{document['version']}\n" in text
    listed = re.findall(r"^      - ([\w./]+)(?:: \{copyto: ([\w./]+)\})?$", text, re.MULTILINE)
    assert all((folder / path).is_file() and copy in ("", path) for path, copy in listed)
    sources = [path for path, _ in listed if path.endswith(".v")]
    assert sources == [module["file"] for module in document["modules"]]
    tops = re.findall(r"^  (\w+)_(\w+):\n(?:    .*\n)*?    toplevel: (\w+)$", text, re.MULTILINE)
    assert tops == [
        (target, engine["engine"], engine["top"])
        for engine in document["engines"]
        for target in ("lint", "sim", "synth")
    ]


def test_the_vivado_script_reads_every_file(folder: Path, document: dict[str, Any]) -> None:
    for engine in document["engines"]:
        text = (folder / f"{engine['engine']}.tcl").read_text("utf-8")
        assert (
            re.findall(r"^read_verilog \[file join \$here (\S+)\]$", text, re.MULTILINE)
            == (engine["files"])
        )
        assert f"\nsynth_design -top {engine['top']} -part $part " in text
        assert "-period 5.000 " in text  # 200 MHz


def test_the_page_names_every_engine_and_file(folder: Path, document: dict[str, Any]) -> None:
    text = (folder / "README.md").read_text("utf-8")
    for engine in document["engines"]:
        assert f"| `{engine['engine']}` | `{engine['top']}` |" in text
        assert f"--engine {engine['engine']}" in text
    for name in {path.split("/")[0] for path in document["files"]}:
        shown = (
            name
            if name.count(".") != 1 or name.split(".")[1] not in ("f", "tcl")
            else (f"<engine>.{name.split('.')[1]}")
        )
        assert shown == "README.md" or f"`{shown}" in text, name


def replay(folder: Path, engine: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run an engine of an emitted folder, from elsewhere."""
    command = [sys.executable, str(folder / "run.py"), engine, *options]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)


@pytest.mark.parametrize("engine", usual())
def test_the_bench_runs_by_itself(folder: Path, engine: str) -> None:
    done = replay(folder, engine)
    assert done.returncode == 0, done.stdout + done.stderr
    number = len(cases(engine, MACHINE))
    assert f"\n{number} of {number} cases equal, Icarus Verilog " in "\n" + done.stdout


def test_the_bench_sees_a_difference(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (module,) = (copy / "verilog").glob("nofm_narrow_*.v")
    text = module.read_text("utf-8")
    assert text.count(" narrow <= ") == 1
    module.write_text(text.replace(" narrow <= ", " narrow <= 1 ^ "), "utf-8")
    done = replay(copy, "wuve", "--keep", str(tmp_path / "kept"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "0 of 1 cases equal" in done.stdout
    assert list((tmp_path / "kept").glob("*.fst"))
    assert replay(copy, "wuve", "none.npz").returncode == 2


def test_every_engine_has_samples() -> None:
    assert list(SAMPLES) == usual()


def test_the_same_input_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from functools import partial\n"
        "from nofm.dataflow.accelerator import load; from nofm.rtl.emit.folder import emit\n"
        "from nofm.samples import cases\n"
        "m = load('sat-4x4'); emit(m, sys.argv[1], cases=partial(cases, accelerator=m))\n"
    )
    again = tmp_path / "again"
    subprocess.run(
        [sys.executable, "-c", code, str(again)],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        check=True,
    )
    first, second = (
        {str(p.relative_to(at)): p.read_bytes() for p in at.rglob("*") if p.is_file()}
        for at in (folder, again)
    )
    first = {path: text for path, text in first.items() if "__pycache__" not in path}
    assert first == second


def test_a_larger_array_has_the_same_modules(document: dict[str, Any], tmp_path: Path) -> None:
    """More of them are placed, and the module that places them grows; some words are wider."""
    larger = MACHINE.with_values(**{"array.rows": 8, "array.columns": 7})
    found = emit(larger, tmp_path / "build", ["stce"])

    def kinds(engine: dict[str, Any]) -> list[str]:
        return [re.sub(r"\d+", "#", path) for path in engine["files"]]

    (small,) = [each for each in document["engines"] if each["engine"] == "stce"]
    (large,) = found["engines"]
    assert kinds(large) == kinds(small)
    lines = [{each["module"]: each["lines"] for each in d["modules"]} for d in (document, found)]
    assert lines[1]["nofm_stce"] > 2 * lines[0]["nofm_stce"]
    assert lines[1]["nofm_uspe"] == lines[0]["nofm_uspe"]
