"""Guided searches: the exhaustive front with the exhaustive budget, and no design twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nofm.explore import explore_space, guided, workers
from nofm.explore.evaluate import evaluate
from nofm.explore.read import read
from nofm.explore.run import Exploration
from nofm.kernels.errors import InputError

Make = Callable[..., dict[str, Any]]
KINDS = ("nsga2", "tpe")


@pytest.fixture(scope="module")
def exhaustive(small: Make) -> Exploration:
    return explore_space(small())


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the designs that are evaluated, in order."""
    numbers: list[int] = []

    def noted(space: Any, designs: Any) -> Any:
        numbers.extend(designs.tolist())
        return evaluate(space, designs)

    monkeypatch.setattr(workers, "evaluate", noted)
    return numbers


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_whole_budget_finds_the_whole_front(
    small: Make, exhaustive: Exploration, evaluated: list[int], kind: str, seed: int
) -> None:
    search = {"kind": kind, "trials": 1000, "part": 5, "seed": seed}
    found = explore_space(small(search=search))
    pd.testing.assert_frame_equal(found.table, exhaustive.table)
    pd.testing.assert_frame_equal(found.front, exhaustive.front)
    assert sorted(evaluated) == list(range(24))
    assert evaluated != sorted(evaluated)


@pytest.mark.parametrize("kind", KINDS)
def test_a_smaller_budget(
    small: Make, exhaustive: Exploration, evaluated: list[int], kind: str, tmp_path: Path
) -> None:
    search = {"kind": kind, "trials": 13, "part": 4}
    found = explore_space(small(search=search), tmp_path / "out")
    table = found.table
    assert len(table) == 13
    assert sorted(evaluated) == table["design"].tolist()
    wanted = exhaustive.table.set_index("design").loc[table["design"]].reset_index()
    columns = [name for name in table.columns if name != "pareto"]
    pd.testing.assert_frame_equal(table[columns], wanted[columns])
    # Its front is that of what it saw.
    fine = table[table["feasible"]]
    values = fine[["seconds", "peak_macs_per_cycle"]].to_numpy()
    unbeaten = [not any((o <= row).all() and (o < row).any() for o in values) for row in values]
    assert fine["pareto"].tolist() == unbeaten
    assert found.document["evaluated"] == 13
    assert found.document["designs"] == 24


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [0, 1, 3])
def test_goes_on(small: Make, evaluated: list[int], kind: str, kept: int, tmp_path: Path) -> None:
    space = small(search={"kind": kind, "trials": 13, "part": 4, "seed": 5})
    one, two = tmp_path / "one", tmp_path / "two"
    explore_space(space, one)

    def stop(done: int, total: int, front: int) -> None:
        if done >= 4 * kept:
            raise KeyboardInterrupt

    if kept:
        with pytest.raises(KeyboardInterrupt):
            explore_space(space, two, progress=stop)
    assert len(list(two.glob("parts/*"))) == kept
    evaluated.clear()
    explore_space(space, two)
    assert len(evaluated) == 13 - 4 * kept
    for name in ("results.parquet", "front.csv", "space.toml"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    assert [p.read_bytes() for p in sorted(one.glob("parts/*"))] == [
        p.read_bytes() for p in sorted(two.glob("parts/*"))
    ]


def test_another_seed_is_another_search(small: Make) -> None:
    tables = [
        explore_space(small(search={"kind": "tpe", "trials": 8, "part": 4, "seed": seed})).table
        for seed in (1, 2)
    ]
    assert tables[0]["design"].tolist() != tables[1]["design"].tolist()


def test_parts_of_another_search_are_refused(small: Make, tmp_path: Path) -> None:
    space = small(search={"kind": "nsga2", "trials": 12, "part": 4})
    folder = tmp_path / "out"
    explore_space(space, folder)
    parts = [folder / f"parts/{number:08d}.parquet" for number in (0, 1)]
    parts[1].write_bytes(parts[0].read_bytes())
    with pytest.raises(InputError) as caught:
        explore_space(space, folder)
    assert str(caught.value) == (
        f"{folder} holds another search's designs in part 1: it was begun with another version of "
        "optuna or numpy; give another folder"
    )


def test_pieces_for_workers(
    small: Make, evaluated: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    space = small(search={"kind": "nsga2", "trials": 24, "part": 10})
    whole = explore_space(space).table
    monkeypatch.setattr(guided, "PIECE", 3)
    pd.testing.assert_frame_equal(explore_space(space, tmp_path / "out").table, whole)
    evaluated.clear()
    explore_space(space, tmp_path / "out")
    assert evaluated == []


@pytest.mark.parametrize("kind", KINDS)
def test_constraints_are_kept_to(small: Make, kind: str) -> None:
    """Far more designs hold a constraint than of a search that does not know of it."""
    parameters = {
        "array.rows": {"from": 1, "to": 48, "step": 1},
        "array.columns": {"from": 1, "to": 40, "step": 1},
    }
    space = small(
        parameters=parameters,
        pattern="2:4",
        search={"kind": kind, "trials": 200, "part": 20, "seed": 1},
    )
    without = explore_space(space).table
    space["constraints"] = {"peak_macs_per_cycle": {"min": 1200}}
    table = explore_space(space).table
    assert (table["feasible"] == (table["peak_macs_per_cycle"] >= 1200)).all()
    assert table["feasible"].sum() > 1.5 * (without["peak_macs_per_cycle"] >= 1200).sum()


def test_a_huge_space(small: Make) -> None:
    """Designs are found where nobody could list them."""
    parameters = {
        name: {"from": 2, "to": 1001, "step": 1}
        for name in ("array.rows", "array.columns", "wuve.lanes", "sore.lanes", "vector.lanes")
    }
    space = read(small(parameters=parameters, search={"kind": "nsga2", "trials": 5}))
    assert space.count == 10**15
    known = guided._Known({1: None})
    found = guided._others(space, known, [2], 50)
    assert len(set(found) - {1, 2}) == 50
    assert found == guided._others(space, known, [2], 50)
    assert min(found) >= 0
    assert max(found) < space.count


def test_without_optuna(small: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guided, "find_spec", lambda name: None)
    with pytest.raises(InputError) as caught:
        explore_space(small(search={"kind": "tpe", "trials": 5}), tmp_path / "out")
    assert str(caught.value) == (
        "a search by tpe needs optuna, which is not installed: pip install 'nofm[explore]'"
    )
    assert not (tmp_path / "out").exists()
