"""The pump: latencies taken off, freezes seen through, and units that do not freeze caught."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import EnableInserter, Module, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.hierarchy import Unit
from nofm.rtl.tools.pump import Pump


class Ports(Unit):
    """Outputs of several widths and latencies: `x` + 1 at once, `y` after 1 and `x` after 3."""

    def __init__(self, leaky: bool) -> None:
        self.leaky = leaky
        self.module_name = f"nofm_ports_{'leaky' if leaky else 'tight'}"
        super().__init__(
            {
                "x": In(5),
                "y": In(40),
                "advance": In(1),
                "above": Out(6),
                "y_1": Out(40),
                "x_3": Out(5),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        first, second = Signal(5), Signal(5)
        m.d.comb += self.above.eq(self.x + 1)
        m.d.sync += [first.eq(self.x), second.eq(first), self.x_3.eq(second), self.y_1.eq(self.y)]
        return m if self.leaky else EnableInserter(self.advance)(m)


DELAYS = {"above": 0, "y_1": 1, "x_3": 3}


@pytest.fixture(scope="module")
def folder(pytestconfig: pytest.Config) -> Path:
    """Where compiled units are kept, from one run to the next."""
    return pytestconfig.cache.mkdir("pump")


def operands(count: int) -> dict[str, Any]:
    rng = np.random.default_rng(count)
    return {"x": rng.integers(0, 32, count), "y": rng.integers(0, 1 << 40, count)}


@pytest.mark.parametrize("count", [1, 2, 3, 10_000])
@pytest.mark.parametrize("freeze", [0.0, 0.5, 0.9])
def test_results_stand_in_the_order_of_their_operands(
    folder: Path, count: int, freeze: float
) -> None:
    sets = operands(count)
    results = Pump(Ports(leaky=False), DELAYS, folder)(freeze=freeze, **sets)
    assert {name: values.dtype for name, values in results.items()} == {
        "above": np.uint8,
        "y_1": np.uint64,
        "x_3": np.uint8,
    }
    assert np.array_equal(results["above"], sets["x"] + 1)
    assert np.array_equal(results["y_1"], sets["y"])
    assert np.array_equal(results["x_3"], sets["x"])


def test_a_unit_that_does_not_freeze_is_caught(folder: Path) -> None:
    pump = Pump(Ports(leaky=True), DELAYS, folder)
    assert np.array_equal(pump(**operands(100))["x_3"], operands(100)["x"])
    with pytest.raises(AssertionError, match=r"^an output changed while frozen, before set \d+$"):
        pump(freeze=0.5, **operands(100))


def test_a_wrong_latency_shows(folder: Path) -> None:
    sets = operands(100)
    results = Pump(Ports(leaky=False), {"x_3": 2}, folder)(**sets)
    assert np.array_equal(results["x_3"][1:], sets["x"][:-1])


def test_a_program_is_built_once(folder: Path) -> None:
    def built() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in folder.glob("nofm_ports_*")}

    Pump(Ports(leaky=False), DELAYS, folder)
    before = built()
    Pump(Ports(leaky=False), DELAYS, folder)
    assert before
    assert built() == before
