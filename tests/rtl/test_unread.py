"""Names that nothing reads leave the Verilog, and the hardware is the same without them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nofm.dataflow.accelerator import load
from nofm.rtl import hierarchy
from nofm.rtl.elastic import Elastic
from nofm.rtl.hierarchy import Unit, modules
from nofm.rtl.sore.geometry import Geometry
from nofm.rtl.sore.lane import Lane
from nofm.rtl.stce import geometry as stce
from nofm.rtl.stce.drain import Drain
from nofm.rtl.tools import yosys
from nofm.rtl.unread import without_unread

UNITS: list[Unit] = [
    Elastic(3),
    Lane(Geometry(lanes=2, entries=2, group=4, latency_cycles=1)),
    Drain(stce.Geometry.of(load("sat-4x4"))),
]

MODULE = r"""module m(a, b, \c$1 , clk, y);
  wire \$1 ;
  wire [1:0] \$2 ;
  wire \$3 ;
  input [1:0] a;
  wire [1:0] a;
  input b;
  wire b;
  input \c$1 ;
  wire \c$1 ;
  input clk;
  wire clk;
  wire again;
  (* init = 1'h0 *)
  wire [2:0] alias;
  wire chain;
  wire field;
  wire kept;
  wire [1:0] parts;
  wire sum;
  output y;
  reg y = 1'h0;
  assign \$1  = ~ b;
  assign \$2  = a + kept;
  always @(posedge clk)
    y <= \$3 ;
  n n (
    .alias(kept),
    .sum(\$3 )
  );
  assign sum = a[0] ^ b;
  assign alias = { a, \c$1  };
  assign chain = again;
  assign again = a[1];
  assign parts[0] = b;
  assign parts[1] = 1'h0;
  assign field = parts[0];
  assign kept = a[0];
endmodule
"""

LEFT = r"""module m(a, b, \c$1 , clk, y);
  wire \$3 ;
  input [1:0] a;
  wire [1:0] a;
  input b;
  wire b;
  input \c$1 ;
  wire \c$1 ;
  input clk;
  wire clk;
  wire kept;
  wire sum;
  output y;
  reg y = 1'h0;
  always @(posedge clk)
    y <= \$3 ;
  n n (
    .alias(kept),
    .sum(\$3 )
  );
  assign sum = a[0] ^ b;
  assign kept = a[0];
endmodule
"""


def test_what_goes_and_what_stays() -> None:
    """`sum` names an expression that nothing reads: that is for a linter to tell."""
    assert without_unread(MODULE) == LEFT
    assert without_unread(LEFT) == LEFT


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.module_name)
def test_the_hardware_is_the_same(
    unit: Unit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Yosys proves it of units that have names to lose."""
    name = unit.module_name
    clean = modules(unit)[name]
    monkeypatch.setattr(hierarchy, "without_unread", lambda text: text)
    full = modules(unit)[name]
    assert len(clean) < len(full)
    (tmp_path / "full.v").write_text(full, "utf-8")
    (tmp_path / "clean.v").write_text(clean, "utf-8")
    prepare = "hierarchy -top {0}; proc; memory -nomap; memory_map; opt_clean; rename {0} {1}"
    script = [
        "read_verilog full.v",
        prepare.format(name, "full"),
        "design -stash full",
        "read_verilog clean.v",
        prepare.format(name, "clean"),
        "design -stash clean",
        "design -copy-from full full",
        "design -copy-from clean clean",
        "equiv_make full clean same",
        "hierarchy -top same",
        "equiv_simple",
        "equiv_induct",
        "equiv_status -assert",
    ]
    yosys.run("\n".join([*script, ""]), tmp_path, "same")
