from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from nofm.explore import report
from nofm.explore.details import chosen
from nofm.explore.template import template, written
from nofm.explore.view import View
from nofm.kernels.errors import InputError
from nofm.workloads.trace import Trace

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "--></script><script>alert(2)</script>",
    "<!--<script>",
    "$title ${style}",
    "</style><b>",
    "line\nbreak\u2028\x00",
]


class Document(HTMLParser):
    """Elements of a page with their attributes, and the text of its scripts."""

    VOID = frozenset({"meta", "input", "br"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.scripts: list[tuple[str | None, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs).get("type"), ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            kind, text = self.scripts[-1]
            self.scripts[-1] = kind, text + data


@pytest.fixture(scope="module")
def text(view: View) -> str:
    return report.page(view, command="nofm explore space.toml -o '<out>'")


def embedded(text: str) -> dict:
    ((_, content),) = [one for one in Document(text).scripts if one[0] == "application/json"]
    return json.loads(content)


def toml_of(data: dict, row: int) -> str:
    """As the page's script makes it."""
    by_name = {one["name"]: one for one in data["parameters"]}
    lines = []
    for line in data["base"]:
        if isinstance(line, int):
            parameter = by_name[data["hardware"][line]]
            line = parameter["toml"][parameter["of"][row]]
        lines.append(line)
    return "\n".join(lines)


def test_the_page_is_well_formed_and_identifiers_are_unique(text: str) -> None:
    document = Document(text)
    assert document.open == []
    ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    references = re.findall(r'(?:xlink:)?href="#([^"]+)"|url\(#([^)]+)\)', text)
    assert {one or other for one, other in references} <= set(ids)


def test_the_page_needs_nothing_else(text: str) -> None:
    for tag, attributes in Document(text).elements:
        assert tag not in ("link", "img", "image", "iframe", "object", "embed", "base")
        assert not {"src", "action"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert "@import" not in text
    assert not re.findall(r"url\((?!#)", text)


def test_only_the_pages_own_script_may_run(text: str) -> None:
    document = Document(text)
    (script,) = [content for kind, content in document.scripts if kind is None]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [a["content"] for _, a in document.elements if a.get("http-equiv")]
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )
    # Nothing that takes text as markup or as code.
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b", script)


def test_the_pages_data_equals_the_table(text: str, view: View) -> None:
    data = embedded(text)
    table = view.table
    assert data["design"] == table.index.tolist()
    assert data["feasible"] == table["feasible"].astype(int).tolist()
    assert data["front"] == table["pareto"].astype(int).tolist()
    assert [data["errors"][i] for i in data["error"]] == table["error"].tolist()
    for parameter in data["parameters"]:
        column = table[parameter["name"]]
        shown = [parameter["levels"][place] for place in parameter["of"]]
        assert shown == [f"{v:g}" if isinstance(v, float) else str(v) for v in column]
        if parameter["numeric"]:
            assert [parameter["values"][place] for place in parameter["of"]] == column.tolist()
    assert [one["name"] for one in data["figures"]] == [
        *("seconds", "energy_joules", "cycles", "lut")
    ]
    for figure in data["figures"]:
        expected = [None if pd.isna(value) else value for value in table[figure["name"]]]
        assert figure["values"] == expected
    assert data["counts"] == {"designs": 54, "feasible": 36, "front": int(table["pareto"].sum())}
    assert data["design"][data["best"]] == view.designs[view.best]


def test_the_toml_of_every_design_is_its_machines(text: str, view: View) -> None:
    data = embedded(text)
    assert data["machine"] == [1] * len(view)
    for row in range(len(view)):
        assert toml_of(data, row) == view.accelerator(row).to_toml()


def test_entries_of_every_kind_have_their_toml(make_view) -> None:
    """Floats that are whole, large or small, lists, texts; values that machines write otherwise."""
    view = make_view(
        {
            "name": ['a "name"', "b\\ = c"],
            "clock_mhz": [200, 1e5],
            "dram.bandwidth_gbps": [0.0001, 16, 25.6],
            "array.patterns": ["2:8 2:4 2:8", "1:8 2:8"],
            "array.dataflows": ["os ws", "ws"],
        }
    )
    data = report.data(view, steps=0)
    for row in range(len(view)):
        machine = view.accelerator(row)
        assert toml_of(data, row) == machine.to_toml()
    assert "clock_mhz = 100000.0" in toml_of(data, len(view) - 1)


def test_a_design_that_is_no_machine_says_so(make_view) -> None:
    view = make_view({"array.rows": [8, 9000], "array.weight_registers": [1, 4]})
    data = report.data(view, steps=0)
    # sat-4x4 has patterns with four kept, which one register does not hold.
    assert data["machine"] == [0, 1, 0, 0]
    assert toml_of(data, 1) == view.accelerator(1).to_toml()


def test_the_template_is_the_text_but_for_its_entries(view: View) -> None:
    base = view.info.base
    names = ["array.rows", "clock_mhz", "energy.static_w"]
    lines = template(base, names)
    assert sorted(line for line in lines if isinstance(line, int)) == [0, 1, 2]
    own = written(base, names)
    assert "\n".join(own[x] if isinstance(x, int) else x for x in lines) == base.to_toml()


def test_the_front_is_held_whole_and_of_the_rest_a_sample(make_view) -> None:
    view = make_view({"array.rows": list(range(1, 61)), "array.columns": list(range(1, 31))})
    rows = report.held(view, 500)
    assert len(rows) == 500
    assert set(view.front) <= set(rows)
    assert (np.diff(rows) > 0).all()
    # Evenly: no stretch of the table is left out.
    others = np.setdiff1d(rows, view.front)
    assert np.diff(others).max() <= 2 * 1800 / (500 - len(view.front))
    few = report.held(view, 1)
    assert np.array_equal(few, np.sort(view.front))
    assert np.array_equal(report.held(view, 10**6), np.arange(1800))

    text = report.page(view, designs=500, steps=2)
    front = len(view.front)
    assert (
        f"The page holds 500 of 1,800 designs: all {front} of the front, and {500 - front} of the "
        f"{1800 - front:,} others, evenly over the table. The training steps of 2 of the {front} "
        "designs of the front were simulated when it was written"
    ) in text
    assert len(embedded(text)["design"]) == 500


def test_steps_are_those_of_the_best_and_of_others_over_the_front(view: View) -> None:
    assert chosen(view, 0) == []
    assert chosen(view, 1) == [view.best]
    rows = chosen(view, 4)
    assert len(set(rows)) == len(rows) <= 4
    assert set(rows) <= set(view.front.tolist())
    assert set(chosen(view, 10**6)) == set(view.front.tolist())


def test_a_step_is_held_as_it_was_simulated(text: str, view: View) -> None:
    details = embedded(text)["details"]
    assert set(details) == {str(view.designs[row]) for row in chosen(view, report.DETAILS)}
    step = view.step(view.best)
    found = details[str(view.designs[view.best])]
    assert found["cycles"] == step.total["cycles"]
    assert found["speedup"] == step.total["speedup"]
    for name in ("layer", "stage", "pattern", "dataflow", "tile"):
        words = [found["texts"][i] for i in found["jobs"][name]]
        assert words == step.layers[name].tolist()
    for name in ("cycles", "compute_cycles", "dram_bytes", "energy_pj", "utilization"):
        assert found["jobs"][name] == step.layers[name].tolist()
    parts = np.sum([found["jobs"]["compute_cycles"], *found["jobs"]["stalls"].values()], axis=0)
    assert parts.tolist() == step.layers["cycles"].tolist()
    products = step.layers[step.layers["macs"] > 0]
    points = found["roofline"]["points"]
    assert sum(point["cycles"] for point in points) == products["cycles"].sum()
    assert max(point["y"] for point in points) <= found["roofline"]["peaks"][-1][0] * (1 + 1e-9)


def test_a_step_that_cannot_be_simulated_says_why(view: View) -> None:
    table = view.table.copy()
    row = view.best
    table.iloc[row, table.columns.get_loc("pattern")] = "3:8"
    data = report.data(View(table, view.info), steps=1)
    assert data["details"][str(view.designs[row])] == {
        "error": "accelerator 'sat-4x4' does not support pattern 3:8 "
        "(it has: 1:2, 1:4, 2:4, 1:8, 2:8, 4:8, 1:16, 2:16, 4:16)"
    }


def test_hostile_names_are_inert_text(make_view) -> None:
    layers = make_view().info.traces["net", 8].layers
    named = [replace(one, name=name) for one, name in zip(layers, HOSTILE, strict=False)]
    trace = Trace(name=HOSTILE[2], batch=8, layers=tuple(named), notes=tuple(HOSTILE))
    view = make_view({"name": HOSTILE[:1] + HOSTILE[2:6], "array.rows": [4, 8]}, trace=trace)
    table = view.table.assign(error=(HOSTILE * 2)[: len(view)])
    text = report.page(View(table, view.info), command=HOSTILE[0])
    document = Document(text)
    assert document.open == []
    assert [kind for kind, _ in document.scripts] == ["application/json", None]
    assert "alert" not in document.scripts[1][1]
    assert not {"img", "b"} & {tag for tag, attributes in document.elements if attributes}
    data = embedded(text)
    assert data["errors"][0] == HOSTILE[0]
    # The name is in the base's TOML and in the levels, and comes back as it was.
    assert data["fixed"]["workload"] == HOSTILE[2]
    for row in range(len(view)):
        assert toml_of(data, row) == view.accelerator(row).to_toml()


def test_without_a_feasible_design_the_page_shows_why(view: View) -> None:
    text = report.page(View(view.table.assign(feasible=False, error="too large"), view.info))
    data = embedded(text)
    assert data["best"] == -1
    assert data["details"] == {}
    assert data["errors"] == ["too large"]
    assert "nothing to draw" in text


def test_the_page_says_what_was_swept(text: str, view: View) -> None:
    for what in (
        "<h1>net</h1>",
        "54 designs, batch 8, bdwp, based on sat-4x4",
        "<small>36 feasible</small>",
        "The front is of time (less is better), energy (less is better)",
        "The page holds all 54 designs.",
        "nofm explore space.toml -o &#x27;&lt;out&gt;&#x27;",
        "prefers-color-scheme: dark",
        'name="viewport"',
        "<dt>method</dt><dd>bdwp</dd>",
    ):
        assert what in text


def test_writing_is_all_or_nothing(view: View, tmp_path) -> None:
    path = report.write(tmp_path / "found", view.table, view.info, steps=1)
    assert path == tmp_path / "found" / "report.html"
    assert path.read_text("utf-8").startswith("<!DOCTYPE html>")
    with pytest.raises(InputError):
        report.write(tmp_path / "other", view.table.drop(columns="error"), view.info)
    assert not (tmp_path / "other").exists()
