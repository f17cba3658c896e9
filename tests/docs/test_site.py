"""The site builds without a warning, and every page is in its navigation."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md"))


def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-E", source, target]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    done = build(ROOT / "docs", target)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return target


def test_every_page_can_be_reached(site: Path) -> None:
    start = (site / "index.html").read_text("utf-8")
    for page in PAGES:
        assert (site / page.with_suffix(".html")).is_file()
        assert page.stem == "index" or f'href="{page.with_suffix(".html")}"' in start, page


def test_commands_are_code(site: Path) -> None:
    """What is indented below an item of a list belongs to the item, and is no code."""
    for page in PAGES:
        text = (site / page.with_suffix(".html")).read_text("utf-8")
        assert re.findall(r"<p>(?:\.venv/bin/)?nofm .*", text) == [], page


def test_docstrings_are_there(site: Path) -> None:
    text = (site / "api.html").read_text("utf-8")
    assert 'id="nofm.simulate"' in text
    # As a parameter, and not in a paragraph as it stands in the docstring.
    assert re.search(r"<strong>method</strong>.{1,9}the N:M training method; ignored", text)
    left = re.findall(r"<(?:p|dt)>(?:Args|Attributes|Returns|Raises):?\b", text)
    assert left == []


def test_a_broken_link_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text((ROOT / "docs/conf.py").read_text("utf-8"), "utf-8")
    (tmp_path / "index.md").write_text("# A\n\n[there](nowhere.md#at-all)\n", "utf-8")
    done = build(tmp_path, tmp_path / "built")
    assert done.returncode != 0
    assert "nowhere" in done.stderr
