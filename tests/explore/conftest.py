"""A workload small enough to sweep in a test, and spaces over it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nofm.workloads.layer import Linear
from nofm.workloads.trace import Trace
from nofm.workloads.trace_file import save

LAYERS = (
    Linear(name="fc1", batch=4, in_features=64, out_features=48),
    Linear(name="fc2", batch=4, in_features=48, out_features=16),
)


@pytest.fixture(scope="session")
def workload(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A trace file of two linear layers."""
    path = tmp_path_factory.mktemp("workload") / "small.safetensors"
    save(Trace(name="small", batch=4, layers=LAYERS, parameters=64), path)
    return str(path)


@pytest.fixture(scope="session")
def small(workload: str) -> Callable[..., dict[str, Any]]:
    """A space of 4 x 3 x 2 designs, some of which fail, with changes to its tables."""

    def make(**changes: Any) -> dict[str, Any]:
        document: dict[str, Any] = {
            "workload": workload,
            "parameters": {
                "pattern": ["2:4", "1:8"],
                "array.rows": [4, 8, 16],
                "array.weight_registers": [2, 3, 4, 8],
            },
            "objectives": {"minimise": ["seconds", "peak_macs_per_cycle"]},
            "search": {"part": 5},
        }
        return {k: v for k, v in (document | changes).items() if v is not None}

    return make


@pytest.fixture
def in_toml(tmp_path: Path) -> Callable[..., Path]:
    """A space as a file."""

    def write(document: dict[str, Any], name: str = "mine.toml") -> Path:
        path = tmp_path / name
        lines: list[str] = []
        for key, value in document.items():
            if not isinstance(value, dict):
                lines.append(f"{key} = {text(value)}")
        for key, table in document.items():
            if isinstance(table, dict):
                lines.append(f"[{key}]")
                lines += [f'"{name}" = {text(value)}' for name, value in table.items()]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    def text(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{k} = {text(v)}" for k, v in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(text, value)) + "]"
        if isinstance(value, bool):
            return str(value).lower()
        return f'"{value}"' if isinstance(value, str) else repr(value)

    return write
