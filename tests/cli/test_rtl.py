"""`nofm rtl`: what it prints, what it writes, what it refuses."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nofm.dataflow.accelerator import load

Run = Callable[..., Any]
ONE = ("rtl", "--engine", "wuve", "--set", "wuve.lanes=2")


def test_a_table_and_a_folder(nofm: Run, tmp_path: Path) -> None:
    folder = tmp_path / "build"
    ran = nofm(*ONE, "-o", folder)
    assert (ran.code, ran.err) == (0, "")
    document = json.loads((folder / "manifest.json").read_text("utf-8"))
    (engine,) = document["engines"]
    assert ran.out.startswith("RTL of sat-4x4")
    (row,) = [line for line in ran.out.splitlines() if line.startswith("wuve")]
    lines = sum(module["lines"] for module in document["modules"])
    bits = sum(field["width"] for field in engine["job"])
    modules, ports = len(document["modules"]), len(engine["ports"])
    assert row.split()[-5:] == [engine["top"], str(modules), f"{lines:,}", str(ports), str(bits)]
    assert f"Wrote {folder}: {len(document['files'])} files; README.md says what they are.\n" in (
        ran.out
    )
    assert {"cases/wuve.npz", "run.py", "wuve.f"} <= set(document["files"])
    assert load(folder / "hardware.toml").wuve.lanes == 2


def test_the_document_is_the_manifest(nofm: Run, tmp_path: Path) -> None:
    document = nofm(*ONE, "-o", tmp_path / "build", "--json").document()
    assert document == json.loads((tmp_path / "build" / "manifest.json").read_text("utf-8"))
    assert document["schema"] == "nofm.rtl/1"


def test_it_says_what_is_left_out(nofm: Run, tmp_path: Path) -> None:
    ran = nofm("rtl", "-o", tmp_path / "build", "--set", "array.patterns=[]")
    assert "- sore is left out: " in ran.out
    assert not (tmp_path / "build" / "sore.f").exists()
    assert (tmp_path / "build" / "stce.f").exists()


def test_bad_input(nofm: Run, tmp_path: Path) -> None:
    folder = tmp_path / "build"
    assert nofm("rtl").refusal() == "nofm rtl needs a folder to write to, as -o build/"
    assert nofm("rtl", "-o", ".").refusal() == "-o needs a folder of its own, not the current one"
    assert (
        nofm("rtl", "-o", folder, "--engine", "sorr")
        .refusal()
        .startswith("unknown engine 'sorr': did you mean sore? (known: stce, sore, wuve")
    )
    assert nofm("rtl", "-o", folder, "--set", "formats.operand=int8").refusal() == (
        "accelerator 'sat-4x4': RTL exists for formats.operand = fp16 only, not int8"
    )
    assert not folder.exists()
    folder.mkdir()
    (folder / "mine.v").write_text("mine")
    assert nofm("rtl", "-o", folder).refusal() == (
        f"cannot write to {folder}: it must be new, empty or of an earlier run, and holds mine.v"
    )
    assert [path.name for path in folder.iterdir()] == ["mine.v"]


def test_without_amaranth(nofm: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "amaranth" else real(name)
    )
    assert nofm("rtl", "-o", tmp_path / "build").refusal() == (
        "the Python package amaranth is not installed: pip install 'nofm[rtl]'"
    )
    assert list(tmp_path.iterdir()) == []


SMALL = ("rtl", "--engine", "wuve", "--set", "wuve.lanes=1", "--set", "wuve.latency_cycles=6")


def test_resources_of_a_family(nofm: Run, tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    ran = nofm(*SMALL, "--synth", "ice40", "-o", folder)
    assert (ran.code, ran.err) == (0, "")
    document = json.loads((folder / "synthesis.json").read_text("utf-8"))
    assert document["schema"] == "nofm.synthesis/1"
    (row,) = document["rows"]
    (line,) = [line for line in ran.out.splitlines() if line.split()[:1] == ["wuve"]]
    assert line.split()[1:8] == ["lanes", "1,", "latency", "6", "ice40", f"{row['lut']:,}", "0"]
    assert f"Wrote {folder}/synthesis.json and .csv, and the tools' logs.\n" in ran.out


def test_an_estimate(nofm: Run) -> None:
    command = ("rtl", "--hardware", "sat-32x32", "--estimate", "xcvu9p")
    document = nofm(*command, "--json").document()
    assert document["schema"] == "nofm.estimate/2"
    assert document["parts"]["array"]["dsp"] == 1024
    assert (document["needs"]["dsp"], document["has"]["dsp"]) == (1024 + 6 * 32, 6840)
    ran = nofm(*command)
    assert ran.out.startswith("sat-32x32 on XCVU9P, estimated")
    lines = {line[:20].strip(): line[20:].split() for line in ran.out.splitlines()}
    for name, part in document["parts"].items():
        assert [cell.replace(",", "") for cell in lines[name]] == [
            f"{n:.10g}" for n in part.values()
        ]
    assert lines["share, %"][2] == f"{100 * 1216 / 6840:.2f}"
    for note in document["notes"]:
        assert note.split()[-1] in ran.out


def test_an_estimate_needs_neither_amaranth_nor_yosys(
    nofm: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name in ("amaranth", "pyosys") else real(name),
    )
    assert nofm("rtl", "--estimate", "xcvu9p").code == 0


def test_bad_input_of_synthesis(nofm: Run, tmp_path: Path) -> None:
    assert nofm("rtl", "--synth", "ice4").refusal() == (
        "unknown FPGA family 'ice4': did you mean ice40? (known: xcup, ecp5, ice40)"
    )
    assert nofm("rtl", "--synth", "ecp5", "--placer-seed", "-1").refusal() == (
        "--placer-seed must be from 0 to 2147483647, not -1"
    )
    assert nofm("rtl", "-o", tmp_path / "x", "--no-route").refusal() == (
        "--route only goes with --synth, which is not given"
    )
    assert nofm("rtl", "--estimate", "xcvu9p", "--engine", "stce").refusal() == (
        "--engine does not go with --estimate: give one of them"
    )
    assert nofm("rtl", "--estimate", "xcvu").refusal() == (
        "unknown device 'xcvu': did you mean xcvu9p? (known: xcvu9p)"
    )
    assert not (tmp_path / "x").exists()
