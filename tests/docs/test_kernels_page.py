"""docs/kernels.md shows what the stored results say, and these are whole and right."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from nofm.kernels import results_file

ROOT = Path(__file__).parents[2]
RESULTS = sorted((ROOT / "kernels/results").glob("*.json"))
ESTIMATES = sorted((ROOT / "kernels/results/estimates").glob("*.json"))
PAGE = (ROOT / "docs/kernels.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "kernel_figures", ROOT / "tools/kernel_figures.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_those_of_the_results(tool: ModuleType) -> None:
    assert len(re.findall("<!-- results: ", PAGE)) >= 2
    assert tool.filled(PAGE) == PAGE


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_stored_results(path: Path) -> None:
    document = results_file.read(path)
    assert {"cpu", "caches_kib", "load_average", "libraries"} <= set(document["machine"])
    for row in document["results"]:
        assert row["max_error"] <= row["error_bound"]
        assert row["speedup"] == pytest.approx(row["dense_seconds"] / row["sparse_seconds"])
        # No kernel is quicker than the multiply-adds of its cores.
        peak = document["machine"]["peak_gflops"] * document["threads"]
        assert row["sparse_gflops"] < peak


@pytest.mark.parametrize("path", ESTIMATES, ids=lambda path: path.stem)
def test_stored_estimates(path: Path) -> None:
    document = results_file.read(path, results_file.ESTIMATED)
    for row in document["results"]:
        assert row["max_error"] <= row["error_bound"]
        # A vector multiply-add is one of four lanes; no product does with fewer.
        kept = row["m"] * row["k"] * row["n"] / row["ideal"]
        assert row["fma_instructions"] >= kept / 4
        assert row["instructions_per_mac"] == row["instructions"] / kept


def test_every_field_is_documented() -> None:
    document = results_file.read(RESULTS[0])
    estimated = results_file.read(ESTIMATES[0], results_file.ESTIMATED)
    names = {*document, *document["machine"], *document["results"][0]}
    names |= {*estimated, *estimated["results"][0]}
    assert sorted(name for name in names if f"`{name}`" not in PAGE) == []


def test_the_figure(tool: ModuleType) -> None:
    figure = tool.roofline(results_file.read(ROOT / "kernels/results/epyc-1-thread.json"), 1024)
    (axes,) = figure.axes
    points = [line for line in axes.lines if line.get_marker() in ("o", "s", "^")]
    assert sum(len(line.get_xdata()) for line in points) == 15
