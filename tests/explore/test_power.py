"""Estimates of power: what they are made of, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from nofm.dataflow.accelerator import load
from nofm.dataflow.design_table import DesignTable
from nofm.explore import power
from nofm.explore.area import resources
from nofm.kernels.errors import InputError
from nofm.simulator.step import simulate_product


def table(**columns: list[float]) -> DesignTable:
    """Designs of sat-32x32 with some entries by turns."""
    named = {name.replace("__", "."): np.array(values) for name, values in columns.items()}
    return DesignTable(load("sat-32x32"), named, len(next(iter(named.values()))))


def test_power_of_a_step_is_its_energy_over_its_time() -> None:
    designs = table(array__rows=[16, 32])
    found = power.of_step(designs, [6.0, 9.0], [2.0, 3.0])
    assert found.tolist() == [3 + power.STATIC_W["xcvu9p"]] * 2


def test_static_power_of_the_description_is_counted_once() -> None:
    """A simulated energy holds the description's static power already."""
    designs = table(energy__static_w=[0.0, 5.0])
    assert power.static_w(designs).tolist() == [power.STATIC_W["xcvu9p"], 5.0]
    dynamic = np.array([4.0, 4.0])
    seconds = np.array([2.0, 2.0])
    simulated = dynamic + np.array([0.0, 5.0]) * seconds
    assert power.of_step(designs, simulated, seconds).tolist() == [
        2 + power.STATIC_W["xcvu9p"],
        2 + 5.0,
    ]


def test_a_simulated_step_gives_its_power() -> None:
    machine = load("sat-32x32")
    total = simulate_product(64, 64, 64, machine).total
    joules = total["energy_pj"] * 1e-12
    (watts,) = power.of_step(DesignTable(machine, {}, 1), joules, total["seconds"])
    assert watts == joules / total["seconds"] + power.STATIC_W["xcvu9p"]


def test_power_of_resources_is_linear_in_clock_and_toggle() -> None:
    designs = table(clock_mhz=[100.0, 200.0])
    taken = resources(designs)
    dynamic = power.of_resources(designs, taken) - power.STATIC_W["xcvu9p"]
    assert dynamic[1] == pytest.approx(2 * dynamic[0])
    still = power.of_resources(designs, taken, toggle=0) - power.STATIC_W["xcvu9p"]
    blocks = sum(taken[kind] * power.CYCLE_PJ[kind] for kind in ("dsp", "bram", "uram"))
    assert still == pytest.approx(blocks * 1e-12 * np.array([1e8, 2e8]))
    double = power.of_resources(designs, taken, toggle=2 * power.TYPICAL_TOGGLE)
    assert double - power.STATIC_W["xcvu9p"] - still == pytest.approx(2 * (dynamic - still))


def test_the_coefficients_follow_from_their_sources() -> None:
    """5.9 uW per MHz of a Virtex-II CLB is 5.9 pJ a cycle for 8 look-up tables and flip-flops."""
    pair = power.CYCLE_PJ["lut"] + power.CYCLE_PJ["ff"]
    assert pair * 8 == pytest.approx(5.9 * (16 / 150) * (0.85 / 1.5) ** 2)
    assert power.CYCLE_PJ["lut"] / power.CYCLE_PJ["ff"] == pytest.approx((60 + 16) / 14)


def test_bad_input() -> None:
    designs = table(clock_mhz=[100.0])
    with pytest.raises(InputError) as caught:
        power.of_step(designs, [1.0], [0.0])
    assert str(caught.value) == "a step's seconds must be above 0, not 0"
    with pytest.raises(InputError) as caught:
        power.of_resources(designs, resources(designs), toggle=1.5)
    assert str(caught.value) == "toggle must be from 0 to 1, not 1.5"
    with pytest.raises(InputError) as caught:
        power.static_w(designs, "xcku5p")
    assert str(caught.value) == "unknown device 'xcku5p': did you mean xcvu9p? (known: xcvu9p)"
