"""Place and route: the frame around a design, what nextpnr reports, and the path in words."""

from __future__ import annotations

import importlib.util
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out

from nofm.kernels.errors import InputError
from nofm.rtl.hierarchy import Unit, modules, place
from nofm.rtl.synthesis.critical_path import describe
from nofm.rtl.synthesis.design import Design, read
from nofm.rtl.synthesis.harness import TOP, harness
from nofm.rtl.synthesis.measure import Row, measure
from nofm.rtl.synthesis.place_and_route import Layout, place_and_route
from nofm.rtl.tools import nextpnr


class Part(Unit):
    """A registered sum of 8 bits."""

    module_name = "part"

    def __init__(self) -> None:
        super().__init__({"a": In(8), "sum": Out(8)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        total = Signal(8)
        m.d.sync += total.eq(total + self.a)
        m.d.comb += self.sum.eq(total)
        return m


class Pair(Unit):
    """Two parts, and a registered product of their sums."""

    module_name = "pair"

    def __init__(self) -> None:
        super().__init__({"a": In(8), "b": In(8), "product": Out(16)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        left, right = Part(), Part()
        product = Signal(16)
        for name, part, given in (("left", left, self.a), ("right", right, self.b)):
            place(m, platform, name, part)
            m.d.comb += part.a.eq(given)
        m.d.sync += product.eq(left.sum * right.sum)
        m.d.comb += self.product.eq(product)
        return m


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("route")


@cache
def laid_out(folder: Path) -> Layout:
    return place_and_route(modules(Pair()), "pair", folder)


def test_a_design_is_placed_and_routed(folder: Path) -> None:
    found = laid_out(folder)
    assert (found.resources.dsp, found.resources.bram, found.resources.lut_ram) == (1, 0, 0)
    # Two sums of 8 bits and a product of 16; nothing of the harness.
    assert found.resources.ff == found.synthesis.resources.ff == 8 + 8 + 16
    assert found.synthesis.resources.lut >= 16
    assert 50 < found.clock_mhz < 1000
    assert not found.path.harness
    assert found.path.cells >= 1
    period = found.path.logic_ns + found.path.wires_ns
    assert found.clock_mhz == pytest.approx(1e3 / period, rel=1e-3)


def test_the_path_is_told_in_words(folder: Path) -> None:
    found = laid_out(folder).path
    assert str(found) == (
        f"from {found.start} to {found.end} through {', '.join(found.modules)}: "
        f"{found.cells} {'cell' if found.cells == 1 else 'cells'}, "
        f"{found.logic_ns:.1f} ns in cells and {found.wires_ns:.1f} ns in wires"
    )
    # Yosys calls a register by the port that it drives.
    assert re.fullmatch(r"register (total|sum) of part \((left|right)\)", found.start)
    assert found.end == "register product of pair"
    assert found.to_json()["words"] == str(found)


def test_equal_arguments_give_an_equal_layout(folder: Path, tmp_path: Path) -> None:
    assert place_and_route(modules(Pair()), "pair", tmp_path) == laid_out(folder)


def test_the_harness_keeps_every_port(tmp_path: Path) -> None:
    design = read(modules(Pair()), "pair", tmp_path)
    text = harness(design)
    connected = set(re.findall(r"\.(\w+)\(", text))
    assert connected == set(design.ports)
    framed = read({**modules(Pair()), TOP: text}, TOP, tmp_path / "framed")
    assert framed.instances == {TOP: 1, "pair": 1, "part": 2}


def framed_pair() -> Design:
    cells = {TOP: {"dut": "pair"}, "pair": {"left": "part", "right": "part"}, "part": {}}
    return Design(TOP, Path(), {}, cells)


def step(kind: str, delay: float, start: str, end: str) -> dict[str, Any]:
    return {"type": kind, "delay": delay, "from": {"cell": start}, "to": {"cell": end}}


def test_a_path_by_hand() -> None:
    total, adder = "dut.left.total_TRELLIS_FF_Q_3", "dut.right.$add$1"
    path = [
        step("clk-to-q", 0.5, total, total),
        step("routing", 1.0, total, adder),
        step("logic", 0.25, adder, adder),
        step("routing", 2.0, adder, "catch_product_TRELLIS_FF_Q"),
        step("setup", 0.0, "catch_product_TRELLIS_FF_Q", "catch_product_TRELLIS_FF_Q"),
    ]
    assert str(describe(path, framed_pair())) == (
        "from register total of part (left) to output product through part (right): "
        "1 cell, 0.8 ns in cells and 3.0 ns in wires"
    )
    lone = [step("clk-to-q", 0.5, "chain_TRELLIS_FF_Q", "chain_TRELLIS_FF_Q")]
    assert str(describe(lone, framed_pair())).startswith("the harness limits the clock, not")


@pytest.mark.parametrize(
    ("ports", "text"),
    [
        ("input a, output b", "place and route needs a module with a clock clk, not lone"),
        ("input clk", "place and route needs a module with an output, not lone"),
    ],
)
def test_what_cannot_be_framed_is_refused(ports: str, text: str, tmp_path: Path) -> None:
    design = read({"lone": f"module lone({ports}); endmodule"}, "lone", tmp_path)
    with pytest.raises(InputError) as caught:
        harness(design)
    assert str(caught.value) == text


def test_a_missing_nextpnr_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError) as caught:
        nextpnr.place_and_route("netlist.json", tmp_path)
    assert str(caught.value) == "nextpnr is not installed: pip install 'nofm[synthesis]'"


def test_a_netlist_that_nextpnr_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "netlist.json").write_text("{")
    with pytest.raises(InputError) as caught:
        nextpnr.place_and_route("netlist.json", tmp_path)
    assert str(caught.value).startswith("nextpnr failed: ")
    assert str(caught.value).endswith(f"(see {tmp_path / 'netlist.log'})")


@pytest.mark.parametrize(("clocks", "told"), [([], "none"), (["a", "b"], "a, b")])
def test_a_design_has_one_clock(clocks: list[str], told: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"fmax": {clock: {"achieved": 1.0} for clock in clocks}}))
    with pytest.raises(InputError) as caught:
        nextpnr.read_report(report)
    assert str(caught.value) == f"place and route needs a design of one clock, not {told}"


def test_only_ecp5_is_routed(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        measure("pair", Pair(), "ice40", tmp_path, route=True)
    assert str(caught.value) == "place and route exists for ecp5, not ice40"


def test_a_row_has_the_clock(folder: Path) -> None:
    found = laid_out(folder)
    row = Row("pair", {"bits": 8}, found.synthesis, found.resources, found.clock_mhz, found.path)
    record = row.to_json()
    assert (record["placed"], record["ff"]) == (True, 32)
    assert record["clock_mhz"] == round(found.clock_mhz, 2)
    assert sum(each["instances"] * each["ff"] for each in record["modules"].values()) == 32
