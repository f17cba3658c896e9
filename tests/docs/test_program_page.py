"""The tables of docs/program.md are those of the code."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("program_page", ROOT / "tools/program_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_those_of_the_code(tool: ModuleType) -> None:
    text = tool.PAGE.read_text("utf-8")
    assert text == tool.page(text), "run python tools/program_page.py"


def test_every_table_is_there(tool: ModuleType) -> None:
    found = re.findall(r"<!-- table: (\w+) -->\n\n\S", tool.PAGE.read_text("utf-8"))
    assert sorted(found) == sorted([*tool.TABLES, "registers"])
