"""Synthesis: what a design takes of a family, counted against what its registers and rules say."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Const, Module, Signal
from amaranth.lib.wiring import In, Out

from nofm.kernels.errors import InputError
from nofm.rtl.arithmetic.half import HalfMultiplier
from nofm.rtl.elastic import Elastic
from nofm.rtl.hierarchy import Unit, modules, place
from nofm.rtl.synthesis.design import Design, read
from nofm.rtl.synthesis.families import FAMILIES, KINDS, Resources, family
from nofm.rtl.synthesis.synthesize import Synthesis, synthesize
from nofm.rtl.tools import yosys

DSPS = {"xcup": 1, "ecp5": 1, "ice40": 1}
"""Multipliers that one 11 x 11 bit product takes."""


class Cell(Unit):
    """A registered product of 11 x 11 bits, and a registered sum of it and what comes in."""

    module_name = "cell"

    def __init__(self) -> None:
        super().__init__({"a": In(11), "b": In(11), "above": In(32), "below": Out(32)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        product = Signal(22, reset_less=True)
        m.d.sync += [product.eq(self.a * self.b), self.below.eq(self.above + product)]
        return m


class Grid(Unit):
    """Rows and columns of cells, an elastic buffer below each column."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns
        self.module_name = f"grid_{rows}x{columns}"
        ports = {"a": In(11 * rows), "b": In(11 * columns), "sums": Out(32 * columns)}
        super().__init__({**ports, "ready": In(1), "valid": Out(columns)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for c in range(self.columns):
            total: Any = Const(0, 32)
            for r in range(self.rows):
                cell = Cell()
                place(m, platform, f"cell_{r}_{c}", cell)
                m.d.comb += [
                    cell.a.eq(self.a.word_select(r, 11)),
                    cell.b.eq(self.b.word_select(c, 11)),
                    cell.above.eq(total),
                ]
                total = cell.below
            buffer = Elastic(32)
            place(m, platform, f"buffer_{c}", buffer)
            m.d.comb += [
                buffer.in_data.eq(total),
                buffer.in_valid.eq(1),
                buffer.out_ready.eq(self.ready),
                self.valid[c].eq(buffer.out_valid),
                self.sums.word_select(c, 32).eq(buffer.out_data),
            ]
        return m


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("synthesis")


@cache
def synthesized(folder: Path, name: str, rows: int, columns: int, flat: bool = False) -> Synthesis:
    unit = Grid(rows, columns)
    return synthesize(modules(unit), unit.module_name, name, folder, flat=flat)


def cell_registers() -> int:
    return 22 + 32


@pytest.mark.parametrize("name", FAMILIES)
def test_a_grid_takes_what_its_cells_take(folder: Path, name: str) -> None:
    found = synthesized(folder, name, 3, 2)
    assert found.method == "repeated modules once"
    assert {module: number for module, (number, _) in found.modules.items()} == {
        "grid_3x2": 1,
        "cell": 6,
        "nofm_elastic_32": 2,
    }
    _, cell = found.modules["cell"]
    assert cell.dsp == DSPS[name]
    # UltraScale's DSP block adds the accumulator's low bits itself.
    assert cell.lut >= 16
    total = Resources()
    for number, own in found.modules.values():
        total += number * own
    assert total == found.resources
    assert found.resources.dsp == 6 * DSPS[name]


def test_registers_are_those_written(folder: Path) -> None:
    _, cell = synthesized(folder, "ecp5", 3, 2).modules["cell"]
    assert cell.ff == cell_registers()
    # An elastic buffer of four words has two places and a level.
    _, buffer = synthesized(folder, "ecp5", 3, 2).modules["nofm_elastic_32"]
    assert (buffer.ff, buffer.lut_ram) == (2 + 2 + 3, 6 * 32 / 4)


def test_a_family_without_memory_in_tables_takes_registers(folder: Path) -> None:
    _, buffer = synthesized(folder, "ice40", 3, 2).modules["nofm_elastic_32"]
    assert (buffer.ff, buffer.lut_ram) == (4 * 32 + 2 + 2 + 3, 0)


def test_resources_grow_by_rows_and_columns(folder: Path) -> None:
    """With every repeated module synthesized once, a column more is a column more."""
    two, three = synthesized(folder, "ecp5", 3, 2), synthesized(folder, "ecp5", 3, 3)
    (_, cell), (_, buffer) = two.modules["cell"], two.modules["nofm_elastic_32"]
    assert three.resources - two.resources == 3 * cell + buffer


def test_flat_takes_no_more(folder: Path) -> None:
    once, flat = (synthesized(folder, "ecp5", 3, 2, flat) for flat in (False, True))
    assert flat.method == "flat"
    assert list(flat.modules) == ["grid_3x2"]
    assert all(
        getattr(flat.resources, kind) <= getattr(once.resources, kind)
        for kind in ("lut", "ff", "dsp")
    )
    # The first row adds to zero: its sums have 22 bits.
    assert once.resources.ff - flat.resources.ff >= 2 * (32 - 22)


@pytest.mark.parametrize("name", ["xcup", "ecp5"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_half_multiplier_takes_one_dsp(tmp_path: Path, name: str, depth: int) -> None:
    unit = HalfMultiplier(depth)
    found = synthesize(modules(unit), unit.module_name, name, tmp_path)
    assert (found.resources.dsp, found.method) == (1, "flat")


def test_resources_add_up() -> None:
    one, two = Resources(1, 2, 3, 4, 0.5, 6), Resources(10, 20, 30, 40, 50, 60)
    assert one + two == Resources(11, 22, 33, 44, 50.5, 66)
    assert two - one == Resources(9, 18, 27, 36, 49.5, 54)
    assert 3 * one == Resources(3, 6, 9, 12, 1.5, 18)
    assert one.values() == tuple(getattr(one, kind) for kind in KINDS)


def test_cells_are_counted_by_type() -> None:
    cells = {"LUT6": 5, "LUT1": 1, "INV": 9, "RAM32M16": 2, "SRL16E": 1, "MUXF7": 3}
    cells |= {"FDRE": 7, "FDSE": 1, "CARRY4": 4, "DSP48E2": 2, "RAMB18E2": 3, "RAMB36E2": 1}
    assert family("xcup").count(cells) == Resources(
        lut=5 + 1 + 16 + 1, lut_ram=17, ff=8, dsp=2, bram=2.5, carry=4
    )
    cells = {"LUT4": 3, "CCU2C": 2, "TRELLIS_DPR16X4": 1, "PFUMX": 1, "TRELLIS_FF": 4, "DP16KD": 1}
    assert family("ecp5").count(cells) == Resources(lut=3 + 4 + 6, lut_ram=6, ff=4, bram=1, carry=2)
    assert family("ice40").count({"SB_DFFESR": 2, "SB_RAM40_4KNR": 1}) == Resources(ff=2, bram=1)


@pytest.mark.parametrize("name", FAMILIES)
def test_an_unknown_cell_is_not_counted_as_nothing(name: str) -> None:
    with pytest.raises(LookupError) as error:
        family(name).count({"FLUX": 1})
    title = FAMILIES[name].title
    assert str(error.value) == f"{title}: what a cell FLUX takes is not known"


def design(cells: dict[str, dict[str, str]]) -> Design:
    return Design("top", Path(), {}, cells)


def test_instances_are_counted_through_the_hierarchy() -> None:
    two = design(
        {
            "top": {"l": "lane", "r": "lane", "odd": "part"},
            "lane": {"x": "part", "y": "part"},
            "part": {},
        }
    )
    assert two.instances == {"top": 1, "lane": 2, "part": 5}
    assert two.repeated == ["lane", "part"]


def test_a_module_in_one_place_of_a_repeated_one_is_not_repeated() -> None:
    cells = {"top": {"l": "lane", "r": "lane"}, "lane": {"x": "part"}, "part": {}}
    assert design(cells).repeated == ["lane"]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("l.x.sum_TRELLIS_FF_Q_3", ("l.x", "part")),
        ("l.total", ("l", "lane")),
        ("total", ("", "top")),
        ("x.total", ("", "top")),
    ],
)
def test_names_are_located(name: str, place: tuple[str, str]) -> None:
    cells = {"top": {"l": "lane"}, "lane": {"x": "part"}, "part": {}}
    assert design(cells).locate(name) == place


def test_ports_and_instances_are_read(tmp_path: Path) -> None:
    unit = Grid(2, 1)
    found = read(modules(unit), "grid_2x1", tmp_path)
    assert found.ports == {
        "clk": ("input", 1),
        "rst": ("input", 1),
        "a": ("input", 22),
        "b": ("input", 11),
        "ready": ("input", 1),
        "sums": ("output", 32),
        "valid": ("output", 1),
    }
    assert found.cells["grid_2x1"] == {
        "cell_0_0": "cell",
        "cell_1_0": "cell",
        "buffer_0": "nofm_elastic_32",
    }


def test_bad_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        synthesize({"cell": "module cell; endmodule"}, "cell", "xcvu9p", tmp_path)
    assert (
        str(error.value)
        == "unknown FPGA family 'xcvu9p': did you mean xcup? (known: xcup, ecp5, ice40)"
    )
    with pytest.raises(InputError) as error:
        synthesize({"cell": "module cell; endmodule"}, "cells", "xcup", tmp_path)
    assert str(error.value) == "unknown module 'cells': did you mean cell? (known: cell)"


def test_what_yosys_cannot_read_is_told_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        synthesize({"cell": "module cell(;\nendmodule"}, "cell", "ecp5", tmp_path)
    assert str(error.value) == (
        "Yosys failed: design.v:1: ERROR: syntax error, unexpected ';' "
        f"(see {tmp_path / 'read.log'})"
    )


def test_a_missing_yosys_is_named_with_its_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError) as error:
        yosys.run("help", tmp_path, "help")
    assert str(error.value) == "Yosys is not installed: pip install 'nofm[synthesis]'"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            ["all well", "x.v:3: ERROR: no such thing", "ERROR: later"],
            "x.v:3: ERROR: no such thing",
        ),
        (["all well"], "it ended with code 7"),
    ],
)
def test_the_first_error_is_told(tmp_path: Path, lines: Sequence[str], told: str) -> None:
    log = tmp_path / "x.log"
    log.write_text("\n".join(lines), "utf-8")
    assert yosys.first_error(log, 7) == told
