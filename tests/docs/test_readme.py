"""The README's code runs, its links lead somewhere, and its table is what the command prints."""

import re
from pathlib import Path

import pytest

from nofm.dataflow.accelerator import load
from nofm.dataflow.methods import METHODS
from nofm.simulator.reproduce import BATCH, COMPARED, NETWORKS, PATTERNS
from nofm.simulator.step import simulate_step
from nofm.workloads.resolve import resolve

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_python_example_is_under_ten_lines_and_runs():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(code.splitlines()) < 10
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["result"].total["speedup"] > 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        elsewhere = target.startswith("https://")
        assert elsewhere or (page.parent / target).exists(), f"{page.name} links to {target}"


def test_table_is_what_the_simulator_gives():
    block = re.search(r"<!-- table: nofm reproduce -->\n(.*?)<!-- end -->", README, re.DOTALL)
    assert block is not None
    header, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in block[1].strip().splitlines()
    ]
    assert header[2 : 2 + len(NETWORKS)] == list(NETWORKS)
    by_title = {METHODS[name].title: name for name in COMPARED}
    traces = [resolve(name, BATCH) for name in NETWORKS]
    machine = load("sat-32x32")
    dense = [simulate_step(trace, machine, METHODS["dense"]) for trace in traces]
    seen = set()
    for title, text, *cells in rows:
        pattern = next(p for p in PATTERNS if str(p) == text)
        method = METHODS[by_title[title]]
        seen.add((method.name, text))
        found = [
            simulate_step(trace, machine, method, pattern, dense=base).total["speedup"]
            for trace, base in zip(traces, dense, strict=True)
        ]
        assert cells[: len(found) + 1] == [
            *(f"{speedup:.2f}" for speedup in found),
            f"{sum(found) / len(found):.2f}",
        ]
    assert seen == {(name, str(pattern)) for name in COMPARED for pattern in PATTERNS}
