"""The table of docs/training.md: its costs are the simulator's, its accuracies can be had again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from torch import nn

from nofm import training
from nofm.codesign import PATTERNS
from nofm.dataflow.accelerator import load
from nofm.kernels.pattern import DENSE, Pattern
from nofm.training import COLUMNS, costs, row, train
from nofm.workloads.methods import METHODS
from nofm.workloads.training.run import Recipe, Run

TEXT = (Path(__file__).parents[2] / "docs/training.md").read_text(encoding="utf-8")
COMMAND = "nofm codesign mnist1d --network {} --epochs 20 --seeds 3"
LAYERS = {"mlp": ("3", "5"), "cnn": ("2", "4", "7")}
"""Of each network whose table is there, the layers that methods prune."""
# OWL finds each layer's N in training; these are what it found, where they are not the pattern's.
OWL: dict[tuple[str, Pattern], dict[str, Pattern]] = {
    ("mlp", Pattern(2, 8)): {"3": Pattern(1, 8), "5": Pattern(3, 8)},
    ("cnn", Pattern(2, 8)): {"2": Pattern(1, 8), "4": Pattern(2, 8), "7": Pattern(3, 8)},
}


def table(network: str) -> dict[tuple[str, str], list[str]]:
    """Cells by method and pattern."""
    command = re.escape(COMMAND.format(network))
    block = re.search(rf"<!-- table: {command} -->\n(.*?)<!-- end -->", TEXT, re.DOTALL)
    assert block is not None
    _, _, *rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in block[1].strip().splitlines()
    ]
    return {(title, pattern): cells for title, pattern, *cells in rows}


def recipe(network: str, name: str, pattern: Pattern) -> Recipe:
    method = METHODS[name]
    return Recipe(dataset="mnist1d", network=network, method=method, pattern=pattern, epochs=20)


EVERY = [("dense", DENSE), *((n, p) for n in METHODS if n != "dense" for p in PATTERNS)]


@pytest.mark.parametrize("network", LAYERS)
def test_every_method_and_pattern_is_there(network: str) -> None:
    assert list(table(network)) == [(METHODS[name].title, str(pattern)) for name, pattern in EVERY]
    assert TEXT.count(COMMAND.format(network)) == 2


@pytest.mark.parametrize("network", LAYERS)
def test_costs_are_those_of_the_simulator(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine, shown = load("sat-32x32"), table(network)
    trace = training._trace(recipe(network, "dense", DENSE))
    monkeypatch.setattr(training, "_trace", lambda _: trace)  # captured once
    for name, pattern in EVERY:
        patterns = dict.fromkeys(LAYERS[network], pattern)
        if name == "owl":
            patterns = OWL.get((network, pattern), patterns)
        run = Run(recipe(network, name, pattern), 0.0, (), patterns, nn.Identity())
        found = costs(run.recipe, machine, run)
        document = {"method": name, "pattern": str(pattern), "accuracy": 0, "accuracy_spread": 0}
        cells = row(document | found)
        expected = [f"{cells[key]:.2f}" for key in list(COLUMNS)[4:]]
        assert shown[METHODS[name].title, str(pattern)][2:6] == expected, (name, pattern)


@pytest.mark.parametrize("network", LAYERS)
def test_what_is_best_for_its_speed_is_marked(network: str) -> None:
    points = {
        key: {"accuracy": float(cells[0]), "speedup": float(cells[4])}
        for key, cells in table(network).items()
    }
    for key, cells in table(network).items():
        clearly_beaten = any(
            other["accuracy"] > points[key]["accuracy"] + 0.1
            and other["speedup"] > points[key]["speedup"] + 0.01
            for other in points.values()
        )
        # Two digits do not tell points apart that nearly coincide.
        assert cells[6] in ("", "yes")
        assert not (clearly_beaten and cells[6] == "yes"), key


def test_the_papers_stand_beside_what_the_tables_say() -> None:
    """A line for each method; its differences to dense training are those of the tables."""
    part = TEXT.split("### What the papers report", 1)[1].split("\n## ", 1)[0]
    lines = [line.split("|")[1:-1] for line in part.splitlines() if line.startswith("| ")][1:]
    rows = {title.strip(): here.strip() for title, _, here, _ in lines}
    assert list(rows) == [method.title for name, method in METHODS.items() if name != "dense"]
    for title, here in rows.items():
        expected = []
        for shown in map(table, LAYERS):
            dense = float(shown["Dense", "dense"][0])
            each = [float(shown[title, str(pattern)][0]) - dense for pattern in PATTERNS]
            expected.append(" / ".join(f"{difference:+.1f}" for difference in each))
        assert here == "; ".join(expected), title


@pytest.mark.slow
@pytest.mark.parametrize(("name", "pattern"), [("dense", DENSE), ("bdwp", Pattern(2, 8))])
@pytest.mark.parametrize("network", LAYERS)
def test_accuracies_can_be_had_again(network: str, name: str, pattern: Pattern) -> None:
    """Within what another processor's sums may change."""
    document = train(recipe(network, name, pattern), load("sat-32x32"))
    shown = float(table(network)[METHODS[name].title, str(pattern)][0])
    assert 100 * document["accuracy"] == pytest.approx(shown, abs=2)
