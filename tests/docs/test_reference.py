"""The reference is that of the code: commands, public names, the entries of a hardware file."""

from __future__ import annotations

import importlib.util
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from annotated_types import Ge, Gt, Le
from pydantic import BaseModel

import nofm
from nofm.dataflow.accelerator import Accelerator

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cli_reference", ROOT / "tools/cli_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_commands_are_those_of_the_command_line(tool: ModuleType) -> None:
    assert tool.PAGE.read_text("utf-8") == tool.page(), "run python tools/cli_reference.py"


def test_every_command_and_option_is_there(tool: ModuleType) -> None:
    """What `--help` prints, which is made another way."""
    from typer.testing import CliRunner

    from nofm.cli.app import app

    page = tool.page()
    parts = dict(re.findall(r"^## nofm (\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    listed = CliRunner().invoke(app, ["--help"]).output.split("Commands", 1)[1]
    assert list(parts) == re.findall(r"^│ (\w+) ", listed, re.MULTILINE)
    for name, part in parts.items():
        printed = CliRunner().invoke(app, [name, "--help"]).output
        options = set(re.findall(r"(?<![\w-])--[a-z-]+", printed.split("Options", 1)[1]))
        shown = set(re.findall(r"(?<![\w-])--[a-z-]+", part))
        assert options - {"--help"} <= shown, name


def test_every_public_name_is_there() -> None:
    page = (ROOT / "docs/api.md").read_text("utf-8")
    shown = re.findall(r"^\.\. auto\w+:: nofm\.(\w+)(?:\(\))?$", page, re.MULTILINE)
    assert sorted(shown) == sorted(set(nofm.__all__) - {"__version__"})


def entries(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The entries of a description by dotted name."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from entries(kind, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def values(field: Any) -> str | None:
    """What an entry may be, in the words of the page; None for lists and texts."""
    if typing.get_origin(field.annotation) is typing.Literal:
        return ", ".join(f"`{name}`" for name in typing.get_args(field.annotation))
    if field.annotation not in (int, float):
        return None
    low = next(
        f"{rule.ge:g}" if isinstance(rule, Ge) else f"above {rule.gt:g}"
        for rule in field.metadata
        if isinstance(rule, Ge | Gt)
    )
    high = next(rule.le for rule in field.metadata if isinstance(rule, Le))
    return f"{low} to {int(high)}" + (", whole" if field.annotation is int else "")


def test_every_entry_of_a_hardware_file_is_there() -> None:
    text = (ROOT / "docs/files.md").read_text("utf-8")
    block = re.search(r"<!-- table: hardware -->\n(.*?)<!-- end -->", text, re.DOTALL)
    assert block is not None
    rows = re.findall(r"^\| `([\w.]+)` \| (.*?) \| (.+) \|$", block[1], re.MULTILINE)
    known = dict(entries(Accelerator))
    assert [name for name, _, _ in rows] == list(known)
    for name, shown, _ in rows:
        assert values(known[name]) in (None, shown), name
