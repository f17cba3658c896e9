"""`nofm scale`: tables, JSON, files, and one line for bad input."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

import nofm as package
from nofm.simulator.scaleout import interconnect

ARGUMENTS = ("scale", "resnet9", "--batch", 8, "--boards", "1,2,8,12,64")
PAGE = Path(__file__).parents[2] / "docs/json.md"


@pytest.fixture(scope="module")
def document(nofm: Any) -> dict[str, Any]:
    found: dict[str, Any] = nofm(*ARGUMENTS, "--json").document()
    return found


def test_command_and_api_agree(document: dict[str, Any]) -> None:
    result = package.scale_out("resnet9", batch=8, boards=[1, 2, 8, 12, 64])
    assert result.to_document() == document
    assert document["schema"] == "nofm.scale/1"
    counts = [(row["scaling"], row["boards"]) for row in document["points"]]
    weak = [("weak", count) for count in (1, 2, 8, 12, 64)]
    assert counts == [*weak, ("strong", 1), ("strong", 2), ("strong", 8)]


def test_page_lists_every_field(document: dict[str, Any]) -> None:
    section = PAGE.read_text("utf-8").partition("`nofm scale`: `nofm.scale/1`")[2]
    listed = set(re.findall(r"`(\w+)`", section.partition("\n## ")[0]))
    fields = {*document, *document["points"][0], *document["sharing"]} - {"schema"}
    assert fields <= listed


def test_tables(nofm: Any) -> None:
    ran = nofm(*ARGUMENTS, "--exchange", "sharded", "--interconnect", "pcie4-hosts")
    assert (ran.code, ran.err) == (0, "")
    assert "over pcie4-hosts, sharded: weak scaling, 8 samples a board" in ran.out
    assert "strong scaling, 8 samples in all" in ran.out
    assert "strong scaling leaves out 12, 64 boards" in ran.out
    assert all(len(line) <= 120 for line in ran.out.splitlines())


def test_files(nofm: Any, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    link = ("--link", "link.latency_us=9.0")
    ran = nofm(*ARGUMENTS, "--method", "dense", *link, "-o", folder)
    assert (ran.code, ran.err) == (0, "")
    written = json.loads((folder / "scale.json").read_text("utf-8"))
    with (folder / "scale.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["cycles"]) for row in rows] == [row["cycles"] for row in written["points"]]
    assert (folder / "scale.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "scale.svg").stat().st_size > 10_000
    # What joined the boards can be named again.
    again = nofm(
        *ARGUMENTS, "--method", "dense", "--interconnect", folder / "interconnect.toml", "--json"
    )
    assert again.document() == written
    assert written["interconnect"]["link"]["latency_us"] == 9.0


def test_list_of_interconnects(nofm: Any) -> None:
    rows = nofm("hardware", "--json").document()["interconnects"]
    assert [row["name"] for row in rows] == interconnect.presets()
    assert "Interconnects, for nofm scale" in nofm("hardware").out


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--boards 1;2", "--boards must look like 1,8,64, not '1;2'"),
        ("--boards 0,2", "boards must be a whole number from 1 to 1048576, not 0"),
        ("--bucket 0", "bucket_mib must be more than 0 and at most 1048576, not 0.0"),
        ("--link latency=2", None),
        (
            "--link link.latency_us",
            "--link must look like link.latency_us=2.0, not 'link.latency_us'",
        ),
        ("--interconnect nowhere.toml", "cannot read nowhere.toml: No such file or directory"),
        (
            "--algorithm hierarchical --boards 4",
            "algorithm hierarchical needs groups of boards, which the interconnect has not",
        ),
        (
            "--algorithm hierarchical --interconnect pcie4-hosts --boards 12",
            "algorithm hierarchical needs whole groups of 8 boards, not 12 boards",
        ),
    ],
)
def test_bad_input(nofm: Any, tmp_path: Path, options: str, line: str | None) -> None:
    ran = nofm("scale", "resnet9", "--batch", 4, *options.split(), "-o", tmp_path / "out")
    refusal = ran.refusal()
    if line is None:
        assert refusal.startswith("unknown interconnect entry 'latency'")
    else:
        assert refusal == line
    assert not (tmp_path / "out").exists()
