from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from nofm.simulator.report import figures
from nofm.simulator.report.gallery import step_figures
from nofm.simulator.report.html import page
from nofm.simulator.result import StepResult

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "--><script>alert(2)</script>",
    "$title ${style}",
    "</style><b>",
]


class Document(HTMLParser):
    """Elements of a page with their attributes, and the text of every script and cell."""

    VOID = frozenset({"meta", "input", "br", "path", "use", "rect"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.headings: list[str] = []
        self.ids: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")
        if tag == "th":
            self.headings.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        if "th" in self.open:
            self.headings[-1] += data


def made(step: StepResult, command: str = "") -> str:
    svg = {name: figures.render(figure, "svg") for name, figure in step_figures(step).items()}
    return page(step, svg, command=command)


@pytest.fixture(scope="module")
def text(step: StepResult) -> str:
    return made(step, command="nofm simulate net --batch 8 > '<out>'")


def test_the_page_is_well_formed_and_identifiers_are_unique(text: str) -> None:
    document = Document(text)
    assert document.open == []
    assert len(document.ids) == len(set(document.ids))


def test_references_inside_figures_find_their_targets(text: str) -> None:
    ids = set(Document(text).ids)
    references = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)
    assert references
    assert {one or other for one, other in references} <= ids


def test_the_page_needs_nothing_else(text: str) -> None:
    """No element loads anything; the page's policy would refuse it too."""
    for tag, attributes in Document(text).elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base")
        assert not {"src", "action", "onclick", "onload", "onerror"} & set(attributes)
        for name in ("href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert "@import" not in text
    assert not re.findall(r"url\((?!#)", text)


def test_only_the_pages_own_script_may_run(text: str) -> None:
    document = Document(text)
    (script,) = document.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [a["content"] for t, a in document.elements if a.get("http-equiv")]
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )


def test_hostile_names_are_inert_text(make_step) -> None:
    step = make_step(names=HOSTILE)
    hostile = replace(step, workload=HOSTILE[0], method=HOSTILE[1], notes=tuple(HOSTILE))
    plain = replace(make_step(names=list("abcde")), notes=tuple("abcde"))

    def elements(result: StepResult) -> list[str]:
        # What is drawn differs with the length of names: the figures are looked at below.
        return [tag for tag, _ in Document(page(result, {}, command=result.workload)).elements]

    assert elements(hostile) == elements(plain)
    document = Document(made(hostile))
    assert len(document.scripts) == 1
    assert "alert" not in document.scripts[0]
    assert "img" not in [tag for tag, _ in document.elements]
    for name in HOSTILE:
        assert name in document.headings


def test_the_table_has_every_job_and_its_raw_figures(text: str, step: StepResult) -> None:
    jobs = text.split("<tbody>")[-1]
    assert jobs.count("<tr>") == len(step.layers)
    for row in step.layers.itertuples():
        assert f'data-v="{row.cycles}"' in jobs


def test_the_page_says_what_was_simulated(text: str, step: StepResult) -> None:
    for what in (
        "<h1>net</h1>",
        "One training step, batch 8, bdwp 2:8, on sat-32x32",
        f"<b>{step.total['speedup']:.2f}×</b>",
        "<li>made up</li>",
        "bandwidth_gbps = 25.6",
        "<pre>nofm simulate net --batch 8 &gt; &#x27;&lt;out&gt;&#x27;</pre>",
        "<dt>pregeneration</dt><dd>on</dd>",
        "prefers-color-scheme: dark",
        'name="viewport"',
    ):
        assert what in text


def test_a_dense_step_has_a_page_without_speedup(dense_step: StepResult) -> None:
    text = made(dense_step)
    assert "<span>speedup</span>" not in text
    assert 'button type="button">speedup<' not in text
    assert "To get the same again" not in text
