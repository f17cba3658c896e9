"""`nofm explore`: what Python says, in the documented form, and bad input in one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import nofm as package
from nofm.explore.columns import COLUMNS, figures
from nofm.explore.space import KINDS
from nofm.workloads.layer import Linear
from nofm.workloads.trace import Trace
from nofm.workloads.trace_file import save

Run = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[2]

SPACE = """
workload = "small.safetensors"
[parameters]
pattern = ["2:4", "1:8"]
array.rows = {from = 4, to = 16, factor = 2}
array.weight_registers = [2, 4]
[constraints]
seconds = {max = 1}
[objectives]
minimise = ["seconds", "peak_macs_per_cycle"]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a workload and a space, which the commands run in."""
    layer = Linear(name="fc", batch=4, in_features=64, out_features=48)
    save(Trace(name="small", batch=4, layers=(layer,)), tmp_path / "small.safetensors")
    (tmp_path / "space.toml").write_text(SPACE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def documented(page: str, heading: str) -> set[str]:
    """Names in the first column of the tables below a heading of a page in docs/."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    section = text.split(f"{heading}\n", 1)[1].split("\n## ", 1)[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    return set(re.findall(r"`([^`]+)`", " ".join(cells)))


def test_the_document(nofm: Run) -> None:
    document = nofm("explore", "space.toml", "--json").document()
    assert document["schema"] == "nofm.explore/1"
    heading = "## `nofm explore`: `nofm.explore/1`"
    assert set(document) == documented("json.md", heading) | {"schema"}
    assert document["designs"] == document["evaluated"] == 12
    assert document["failed"] == 6
    found = package.explore_space("space.toml")
    assert found.document == document
    assert document["front"] == found.front.to_dict("records")
    assert nofm("explore", "space.toml", "--json").document() == document


def test_the_page_has_every_column_and_kind() -> None:
    names = documented("explore.md", "## The result")
    assert names >= set(COLUMNS) | {"design", "feasible", "error", "pareto"}
    assert documented("explore.md", "## How designs are looked for") >= set(KINDS)


def test_tables_and_files(nofm: Run, folder: Path) -> None:
    ran = nofm("explore", "space.toml", "-o", "out", "--workers", 1, "--no-report")
    assert (ran.code, ran.err) == (0, "")
    assert "of 6 feasible designs" in ran.out
    assert "- 12 designs evaluated: 6 failed, 6 feasible" in ran.out
    assert (
        "- 6 failed: accelerator 'sat-32x32': array: weight_registers must be at least" in ran.out
    )
    assert "Wrote out: results.parquet, front.csv and space.toml." in ran.out
    assert max(map(len, ran.out.splitlines())) <= 120
    table = pd.read_parquet(folder / "out/results.parquet")
    assert table["pareto"].sum() == len(pd.read_csv(folder / "out/front.csv"))
    # The canonical file goes on with the same sweep.
    assert nofm("explore", "out/space.toml", "-o", "out", "--no-report").out == ran.out
    ran = nofm("explore", "space.toml", "-o", "out")
    assert "front.csv and space.toml; pictures and report.html." in ran.out
    names = {path.name for path in (folder / "out").iterdir()}
    assert names >= {"report.html", "pareto.svg", "parallel.png", "sensitivity.svg"}
    assert "nofm explore space.toml -o out" in (folder / "out/report.html").read_text("utf-8")
    refusal = nofm("explore", "space.toml", "-o", ".").refusal()
    assert refusal == "-o needs a folder of its own, not the current one"


def test_nothing_feasible(nofm: Run, folder: Path) -> None:
    text = SPACE.replace("max = 1}", "max = 1e-30}")
    (folder / "space.toml").write_text(text, encoding="utf-8")
    ran = nofm("explore", "space.toml")
    assert ran.out.splitlines()[0] == "- 12 designs evaluated: 6 failed, 0 feasible"
    assert nofm("explore", "space.toml", "-o", "out", "--json").document()["front"] == []
    assert (folder / "out/report.html").exists()
    assert not (folder / "out/pareto.svg").exists()


BAD = [
    ("explore none.toml", "cannot read 'none.toml': No such file or directory"),
    ("explore small.safetensors", "a design space's file name ends in .toml, not 'small.safete"),
    ("explore space.toml --workers 0", "workers must be a whole number from 1 to 1024, not 0"),
    (
        "explore space.toml --workers 2 --scheduler tcp://127.0.0.1:9",
        "--workers does not go with --scheduler: give one of them",
    ),
    (
        "explore space.toml --scheduler 127.0.0.1",
        "cannot reach the scheduler '127.0.0.1': missing port number in address '127.0.0.1'",
    ),
    ("explore space.toml -o small.safetensors", "cannot write to small.safetensors: small.safete"),
]


@pytest.mark.parametrize(("line", "reason"), BAD, ids=[line for line, _ in BAD])
def test_refused(nofm: Run, folder: Path, line: str, reason: str) -> None:
    before = sorted(folder.rglob("*"))
    words = line.split()
    output = [] if "-o" in words else ["-o", "out"]
    assert nofm(*words, *output).refusal().startswith(reason)
    assert sorted(folder.rglob("*")) == before


CHANGES = [
    ("workload = ", "worklaod = ", "space.toml: unknown entry 'worklaod': did you mean workload?"),
    ("array.rows", "array.row", "space.toml: unknown parameter 'array.row': did you mean array.ro"),
    ("from = 4", "from = 40", "space.toml: the range of 'array.rows' runs backwards: from 40 to "),
    ("from = 4", "from = 0", "space.toml: a range of 'array.rows' by a factor must start above 0"),
    ('["2:4", "1:8"]', "[]", "space.toml: parameter 'pattern' must have at least one value, not "),
    ("[2, 4]", "[0]", "space.toml: accelerator 'sat-32x32': array.weight_registers: input should"),
    ("max = 1}", "}", "space.toml: constraint 'seconds' must look like {max = 10}, not {}"),
    (
        '"seconds", "peak',
        '"second", "peak',
        "space.toml: unknown objective 'second': did you mean seconds?",
    ),
]


@pytest.mark.parametrize(("old", "new", "reason"), CHANGES, ids=[new for _, new, _ in CHANGES])
def test_bad_spaces(nofm: Run, folder: Path, old: str, new: str, reason: str) -> None:
    assert old in SPACE
    (folder / "space.toml").write_text(SPACE.replace(old, new, 1), encoding="utf-8")
    assert nofm("explore", "space.toml", "-o", "out").refusal().startswith(reason)
    assert not (folder / "out").exists()


def test_a_changed_space_is_refused(nofm: Run, folder: Path) -> None:
    assert nofm("explore", "space.toml", "-o", "out", "--no-report").code == 0
    before = {path: path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file()}
    (folder / "space.toml").write_text(SPACE.replace("[2, 4]", "[4]"), encoding="utf-8")
    assert (
        nofm("explore", "space.toml", "-o", "out")
        .refusal()
        .startswith("out holds the sweep of another space (digest ")
    )
    after = {path: path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file()}
    assert after == before


def test_columns_that_designs_have() -> None:
    assert set(figures(accuracy=True)) - set(figures(accuracy=False)) == {"accuracy"}
