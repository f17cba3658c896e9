from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nofm import simulate
from nofm.explore.space_info import SpaceInfo
from nofm.explore.view import View, shown
from nofm.kernels.errors import InputError


def test_the_best_design_has_the_least_product_of_objectives(make_view) -> None:
    view = make_view(objectives={"seconds": False, "energy_joules": False, "lut": False})
    table = view.table
    front = table[table["pareto"]].astype({"lut": float})
    product = front["seconds"] * front["energy_joules"] * front["lut"]
    assert view.designs[view.best] == product.idxmin()
    assert view.feasible[view.best]


def test_what_is_to_be_maximised_divides(make_view) -> None:
    view = make_view(objectives={"seconds": True, "energy_joules": False})
    front = view.table[view.table["pareto"]]
    assert view.designs[view.best] == (front["energy_joules"] / front["seconds"]).idxmin()
    values = view.values("seconds")[view.front]
    assert (np.diff(values) <= 0).all()


def test_the_front_is_sorted_by_the_first_objective(view: View) -> None:
    assert set(view.designs[view.front]) == set(view.table.index[view.table["pareto"]])
    assert (np.diff(view.values("seconds")[view.front]) >= 0).all()


def test_levels_are_sorted_numbers_or_as_first_met(view: View) -> None:
    assert view.levels("array.rows").values == [4, 8, 16]
    assert view.levels("pattern").values == ["2:4", "2:8", "3:8"]
    assert view.varying == ["pattern", "array.rows", "array.columns", "dram.bandwidth_gbps"]
    assert view.constant == {"workload": "net", "batch": 8, "method": "bdwp"}
    for name in view.info.parameters:
        levels = view.levels(name)
        assert [levels.values[place] for place in levels.places] == view.table[name].tolist()


def test_values_that_are_lists_are_told_apart(view: View) -> None:
    table = view.table.assign(**{"array.dataflows": [["ws"], ["ws", "os"]] * 27})
    levels = View(table, view.info).levels("array.dataflows")
    assert levels.values == [["ws"], ["ws", "os"]]
    assert levels.places.tolist() == [0, 1] * 27


def test_a_design_that_lacks_an_objective_is_not_feasible(view: View) -> None:
    table = view.table.copy()
    row = int(view.front[0])
    table.iloc[row, table.columns.get_loc("energy_joules")] = np.nan
    found = View(table, view.info)
    assert not found.feasible[row]
    assert row not in found.front


def test_the_step_is_the_one_that_simulate_gives(view: View) -> None:
    row = view.best
    values = view.parameters(row)
    hardware = {k: v for k, v in values.items() if "." in k}
    machine = view.info.base.with_values(**hardware)
    trace = view.info.traces["net", 8]
    expected = simulate(trace, method="bdwp", pattern=values["pattern"], hardware=machine)
    known: dict[object, object] = {}
    found = view.step(row, known)
    pd.testing.assert_frame_equal(found.layers, expected.layers)
    assert found.total == expected.total
    assert len(known) == 1
    assert view.step(row, known).dense is found.dense


def test_options_of_the_step_may_be_parameters(view: View) -> None:
    table = view.table.assign(pregeneration=False, schedule="fixed")
    info = SpaceInfo(
        view.info.base,
        (*view.info.parameters, "pregeneration", "schedule"),
        view.info.objectives,
        traces=view.info.traces,
    )
    step = View(table, info).step(view.best)
    assert step.optimizations == {"interleave": True, "pregeneration": False, "schedule": "fixed"}


@pytest.mark.parametrize("of", [["ws", "os"], "ws os", ("ws", "os")])
def test_a_list_may_stand_as_its_items_with_spaces_between(view: View, of: object) -> None:
    table = view.table.assign(**{"array.dataflows": [of] * len(view)})
    names = (*view.info.parameters, "array.dataflows")
    found = View(table, SpaceInfo(view.info.base, names, view.info.objectives))
    assert found.accelerator(0).array.dataflows == ("ws", "os")


def test_what_cannot_be_built_is_refused_as_anywhere(view: View) -> None:
    table = view.table.assign(**{"array.rows": 0})
    with pytest.raises(InputError, match=r"array.rows: input should be greater than"):
        View(table, view.info).accelerator(0)


def test_a_missing_column_is_named(view: View) -> None:
    with pytest.raises(InputError) as error:
        View(view.table.drop(columns="pareto"), view.info)
    assert str(error.value) == "the table of designs must have a column 'pareto', and has none"


def test_values_are_shown_in_full_and_on_one_line() -> None:
    assert shown(102.4) == "102.4"
    assert shown(100.0) == "100"
    assert shown(16) == "16"
    assert shown(False) == "off"
    assert shown(["2:4", "2:8"]) == "2:4, 2:8"
    assert shown([]) == "none"
    assert shown("a\nb") == "a\N{REPLACEMENT CHARACTER}b"
