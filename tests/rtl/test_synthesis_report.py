"""Resource tables for people, programs and spreadsheets, and the folder that holds them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from nofm.dataflow.accelerator import load
from nofm.kernels.errors import InputError
from nofm.rtl.engines import ENGINES
from nofm.rtl.synthesis import report
from nofm.rtl.synthesis.critical_path import CriticalPath
from nofm.rtl.synthesis.engines import PARAMETERS, measure_engines
from nofm.rtl.synthesis.families import Resources
from nofm.rtl.synthesis.measure import Row
from nofm.rtl.synthesis.synthesize import Synthesis

MACHINE = load("sat-4x4").with_values(**{"wuve.lanes": 1, "wuve.latency_cycles": 6})
PATH = CriticalPath("register a of part", "register b of part", ("part",), 3, 1.0, 2.5, False)


def row(family: str, **changes: Any) -> Row:
    own = Resources(lut=10, ff=3.0, bram=0.5)
    synthesis = Synthesis("part", family, own, {"part": (1, own)})
    return Row("part", {"lanes": 2}, synthesis, own, **changes)


ROWS = [row("xcup"), row("ecp5", clock_mhz=123.456, path=PATH)]


def shown(rows: list[Row]) -> str:
    text = io.StringIO()
    Console(file=text, width=120).print(report.table(rows))
    return text.getvalue()


def test_a_table() -> None:
    text = shown(ROWS)
    lines = [line.split() for line in text.splitlines()]
    assert ["part", "lanes", "2", "xcup", "10", "0", "3", "0", "0.5", "0"] in lines
    assert ["part", "lanes", "2", "ecp5", "10", "0", "3", "0", "0.5", "0", "123.5"] in lines
    told = " ".join(text.split())
    assert f"- part: {PATH}" in told
    assert "AMD UltraScale+: Estimates." in told


def test_a_document() -> None:
    document = report.to_json(MACHINE, ROWS, {"sore": "it cannot"})
    assert document["schema"] == "nofm.synthesis/1"
    assert document["left_out"] == [{"engine": "sore", "reason": "it cannot"}]
    assert set(document["tools"]) == {"yosys", "nextpnr"}
    first, second = document["rows"]
    assert (first["lut"], first["bram"], first["clock_mhz"], first["path"]) == (10, 0.5, None, None)
    assert (second["clock_mhz"], second["path"]["cells"]) == (123.46, 3)
    json.dumps(document, allow_nan=False)


def test_a_csv() -> None:
    records = list(csv.DictReader(io.StringIO(report.to_csv(ROWS))))
    assert [record["family"] for record in records] == ["xcup", "ecp5"]
    assert [record["clock_mhz"] for record in records] == ["", "123.46"]
    assert {record["lanes"] for record in records} == {"2"}


def test_what_the_tools_said_is_kept(tmp_path: Path) -> None:
    with report.work_folder() as work:
        rows, left_out = measure_engines(MACHINE, "ice40", work, ["wuve"])
        document = report.to_json(MACHINE, rows, left_out)
        report.write(rows, document, work, tmp_path / "out")
    assert not work.exists()
    names = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    logs = {f"wuve/{name}.{kind}" for name in ("read", "ice40") for kind in ("log", "ys")}
    assert names == {"synthesis.json", "synthesis.csv", *logs}
    assert json.loads((tmp_path / "out" / "synthesis.json").read_text("utf-8")) == document
    (only,) = document["rows"]
    assert only["parameters"] == {"lanes": 1, "latency": 6}
    assert only["placed"] is False


def test_a_folder_stays_where_a_tool_failed() -> None:
    with pytest.raises(InputError), report.work_folder() as work:
        raise InputError("no")
    assert work.is_dir()
    work.rmdir()


def test_every_engine_has_parameters() -> None:
    assert list(PARAMETERS) == list(ENGINES)


def test_progress_and_refusals(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    with pytest.raises(InputError) as caught:
        measure_engines(MACHINE, "ecp", tmp_path, ["wuve"])
    assert str(caught.value) == (
        "unknown FPGA family 'ecp': did you mean ecp5 or xcup? (known: xcup, ecp5, ice40)"
    )
    none = MACHINE.with_values(**{"array.patterns": [], "wuve.latency_cycles": 1})
    with pytest.raises(InputError):
        measure_engines(none, "ice40", tmp_path, ["sore"], progress=lambda *a: told.append(a))
    assert told == []
