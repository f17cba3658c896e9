from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nofm.dataflow.accelerator import load
from nofm.explore.sensitivity import BINS, complete, effects
from nofm.explore.space_info import SpaceInfo
from nofm.explore.view import View


def view_of(table: pd.DataFrame, parameters: list[str], **objectives: bool) -> View:
    table = table.assign(pareto=False)
    if "feasible" not in table:
        table = table.assign(feasible=True, error="")
    return View(
        table.rename_axis("design"),
        SpaceInfo(load("sat-4x4"), tuple(parameters), objectives or {"y": False}),
    )


def factorial(sizes: list[int]) -> tuple[pd.DataFrame, list[str]]:
    names = [f"p{i}" for i in range(len(sizes))]
    return pd.DataFrame(product(*(range(n) for n in sizes)), columns=names), names


def shares(view: View) -> dict[str, float]:
    return {effect.parameter: effect.share for effect in effects(view, "y")}


sizes = st.lists(st.integers(2, 4), min_size=1, max_size=4)
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=30)
@given(sizes, seeds)
def test_of_a_product_of_factors_the_shares_sum_to_one(sizes: list[int], seed: int) -> None:
    table, names = factorial(sizes)
    random = np.random.default_rng(seed)
    y = np.ones(len(table))
    for name, size in zip(names, sizes, strict=True):
        y *= np.exp(random.normal(size=size))[table[name]]
    assert sum(shares(view_of(table.assign(y=y), names)).values()) == pytest.approx(1)


@settings(max_examples=30)
@given(sizes, seeds)
def test_a_parameter_without_effect_explains_nothing(sizes: list[int], seed: int) -> None:
    table, names = factorial([*sizes, 3])
    random = np.random.default_rng(seed)
    y = np.exp(random.normal(size=len(table) // 3)).repeat(3)
    assert shares(view_of(table.assign(y=y), names))[names[-1]] == pytest.approx(0, abs=1e-12)


@settings(max_examples=30)
@given(sizes, seeds, st.floats(1e-6, 1e6))
def test_of_anything_the_shares_are_those_of_a_plain_reference(
    sizes: list[int], seed: int, unit: float
) -> None:
    """By pandas' groups, whatever the unit; over a full factorial they sum to one at most."""
    table, names = factorial(sizes)
    table["y"] = np.exp(np.random.default_rng(seed).normal(size=len(table)))
    found = shares(view_of(table.assign(y=unit * table["y"]), names))
    logs = np.log(table["y"])
    for name in names:
        means = logs.groupby(table[name]).transform("mean")
        assert found[name] == pytest.approx(means.var(ddof=0) / logs.var(ddof=0), abs=1e-9)
    assert sum(found.values()) <= 1 + 1e-9


def test_what_parameters_only_do_together_no_share_has() -> None:
    table, names = factorial([2, 2])
    y = 1.0 + (table["p0"] != table["p1"])
    assert shares(view_of(table.assign(y=y), names)) == {"p0": 0, "p1": 0}


def test_a_constant_figure_is_explained_by_nothing() -> None:
    table, names = factorial([2, 3])
    assert shares(view_of(table.assign(y=0.1 + 0.2), names)) == {"p0": 0, "p1": 0}


def test_figures_that_are_not_positive_are_taken_as_they_are() -> None:
    table, names = factorial([2, 3])
    y = 2.0 * table["p0"] - table["p1"]
    first, second = effects(view_of(table.assign(y=y), names), "y")
    assert not first.logarithmic
    assert first.share + second.share == pytest.approx(1)
    by_name = {effect.parameter: effect for effect in (first, second)}
    assert by_name["p0"].swing == pytest.approx(2)
    assert by_name["p1"].means == pytest.approx((1, 0, -1))


def test_means_are_geometric_and_by_level() -> None:
    table = pd.DataFrame({"p": [8, 8, 16, 16], "q": [1, 2, 1, 2], "y": [1.0, 4.0, 10.0, 1000.0]})
    (effect,) = [e for e in effects(view_of(table, ["p", "q"]), "y") if e.parameter == "p"]
    assert effect.levels == ("8", "16")
    assert effect.means == pytest.approx((2, 100))
    assert effect.swing == pytest.approx(50)


def test_only_feasible_designs_count() -> None:
    table, names = factorial([2, 2])
    y = [1.0, 2.0, 3.0, 1e9]
    table = table.assign(y=y, feasible=[True, True, True, False], error="")
    small = view_of(table.iloc[:3], names)
    assert shares(view_of(table, names)) == shares(small)
    none = table.assign(feasible=False)
    assert effects(view_of(none, names), "y") == []


@settings(max_examples=30)
@given(st.permutations(range(12)))
def test_the_order_of_designs_does_not_matter(order: list[int]) -> None:
    table, names = factorial([3, 4])
    table["y"] = np.random.default_rng(0).uniform(1, 2, 12)
    assert shares(view_of(table, names)) == pytest.approx(
        shares(view_of(table.iloc[order].reset_index(drop=True), names))
    )


def test_many_numbers_are_cut_into_parts_that_cover_them() -> None:
    random = np.random.default_rng(3)
    table = pd.DataFrame({"p": random.permutation(1000), "q": random.uniform(0, 1, 1000)})
    table["y"] = np.exp(table["p"] / 100)
    found = {effect.parameter: effect for effect in effects(view_of(table, ["p", "q"]), "y")}
    assert len(found["p"].levels) == BINS
    assert found["p"].levels[0] == "0 to 124"
    assert found["p"].levels[-1] == "875 to 999"
    assert found["p"].share > 0.97
    # Of a sample, what has no effect explains what chance gives it.
    assert found["q"].chance == pytest.approx(7 / 999)
    assert found["q"].share < 4 * found["q"].chance


def test_a_full_factorial_is_never_cut_and_what_is_together_is_exact() -> None:
    table, names = factorial([40, 3])
    y = np.exp(np.random.default_rng(5).normal(size=40))[table["p0"]] * (1 + table["p1"])
    found = effects(view_of(table.assign(y=y), names), "y")
    assert sorted(len(effect.levels) for effect in found) == [3, 40]
    assert sum(effect.share for effect in found) == pytest.approx(1)


def test_a_full_factorial_is_told_from_a_part_of_one() -> None:
    table, names = factorial([2, 3, 2])
    table["y"] = 1.0
    assert complete(view_of(table, names))
    assert not complete(view_of(table.iloc[1:], names))
    twice = pd.concat([table.iloc[1:], table.iloc[1:2]], ignore_index=True)
    assert not complete(view_of(twice, names))
    # A level that is never feasible leaves the others complete.
    partly = table.assign(feasible=table["p1"] != 1, error="")
    assert complete(view_of(partly, names))
    assert not complete(view_of(table.assign(feasible=table.index != 3, error=""), names))
