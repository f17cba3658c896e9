"""The table of docs/training.md: its costs are the simulator's, its accuracies can be had again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from torch import nn

from nofm.codesign import PATTERNS
from nofm.dataflow.accelerator import load
from nofm.kernels.pattern import DENSE, Pattern
from nofm.training import COLUMNS, costs, row, train
from nofm.workloads.methods import METHODS
from nofm.workloads.training.run import Recipe, Run

TEXT = (Path(__file__).parents[2] / "docs/training.md").read_text(encoding="utf-8")
COMMAND = "nofm codesign mnist1d --network mlp --epochs 20 --seeds 3"
# OWL finds each layer's N in training; these are what it found.
OWL = {Pattern(2, 8): {"3": Pattern(1, 8), "5": Pattern(3, 8)}}


def table() -> dict[tuple[str, str], list[str]]:
    """Cells by method and pattern."""
    block = re.search(rf"<!-- table: {COMMAND} -->\n(.*?)<!-- end -->", TEXT, re.DOTALL)
    assert block is not None
    _, _, *rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in block[1].strip().splitlines()
    ]
    return {(title, pattern): cells for title, pattern, *cells in rows}


def recipe(name: str, pattern: Pattern) -> Recipe:
    method = METHODS[name]
    return Recipe(dataset="mnist1d", network="mlp", method=method, pattern=pattern, epochs=20)


EVERY = [("dense", DENSE), *((n, p) for n in METHODS if n != "dense" for p in PATTERNS)]


def test_every_method_and_pattern_is_there() -> None:
    assert list(table()) == [(METHODS[name].title, str(pattern)) for name, pattern in EVERY]
    assert TEXT.count(COMMAND) == 2


def test_costs_are_those_of_the_simulator() -> None:
    machine, shown = load("sat-32x32"), table()
    for name, pattern in EVERY:
        patterns = OWL.get(pattern, {}) if name == "owl" else {}
        patterns = patterns or dict.fromkeys(("3", "5"), pattern)
        run = Run(recipe(name, pattern), 0.0, (), patterns, nn.Identity())
        found = costs(run.recipe, machine, run)
        document = {"method": name, "pattern": str(pattern), "accuracy": 0, "accuracy_spread": 0}
        cells = row(document | found)
        expected = ["" if cells[key] is None else f"{cells[key]:.2f}" for key in list(COLUMNS)[4:]]
        assert shown[METHODS[name].title, str(pattern)][2:6] == expected, (name, pattern)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "pattern"), [("dense", DENSE), ("bdwp", Pattern(2, 8))])
def test_accuracies_can_be_had_again(name: str, pattern: Pattern) -> None:
    """Within what another processor's sums may change."""
    document = train(recipe(name, pattern), load("sat-32x32"))
    shown = float(table()[METHODS[name].title, str(pattern)][0])
    assert 100 * document["accuracy"] == pytest.approx(shown, abs=2)
