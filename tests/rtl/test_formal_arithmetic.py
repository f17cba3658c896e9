"""Arithmetic proved for all operands, against a solver's own theory of IEEE 754.

The units have one register, at the output; that further ones change nothing is tested with numbers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module
from amaranth.lib.wiring import In, Out

from nofm.rtl.arithmetic.adder import Adder
from nofm.rtl.arithmetic.convert import SingleToHalf
from nofm.rtl.arithmetic.float_format import HALF, SINGLE, FloatFormat
from nofm.rtl.arithmetic.half import HalfMultiplier, normalise
from nofm.rtl.arithmetic.multiplier import Multiplier
from nofm.rtl.hierarchy import Unit
from nofm.rtl.tools import yosys

# It has wheels for Linux.
bitwuzla = pytest.importorskip("bitwuzla")

# A step of the unit from state `before` to state `after`, and what its result must be there.
STATEMENT = """
(declare-fun before () |{unit}_s|)
(declare-fun after () |{unit}_s|)
(assert (|{unit}_t| before after))
(assert (|{unit}_n advance| before))
(assert (not (|{unit}_n rst| before)))
(define-fun want () {sort} {want})
(define-fun got () (_ BitVec {width}) (|{unit}_n {result}| after))
(assert (not (ite (fp.isNaN want) (= got (_ bv{nan} {width})) (= {got} want))))
{given}
"""


def fields(form: FloatFormat) -> str:
    """The format's parameters in SMT-LIB, which counts the hidden bit."""
    return f"{form.exponent_bits} {form.fraction_bits + 1}"


def number(form: FloatFormat, bits: str) -> str:
    """The number that a bit vector stands for, as an SMT-LIB term."""
    return f"((_ to_fp {fields(form)}) {bits})"


def verdict(
    unit: Unit, form: FloatFormat, result: str, want: str, folder: Path, given: str = ""
) -> str:
    """Whether some operands of a unit of depth 1 give another result than `want` (`unsat`: none).

    Args:
        unit: with a result of format `form` at its port `result`.
        want: SMT-LIB term, in which <port> stands for the bits of an operand.
        folder: for Yosys' files.
        given: SMT-LIB commands about the operands, and the wanted result `want`.
    """
    name = unit.module_name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "unit.il").write_text(rtlil.convert(unit, name=name, emit_src=False), "utf-8")
    yosys.run(
        f"read_rtlil unit.il\nprep -flatten -top {name}\nasync2sync\ndffunmap\n"
        "opt_clean\nwrite_smt2 -wires unit.smt2\n",
        folder,
        "unit",
    )

    def ported(term: str) -> str:
        return re.sub(r"<(\w+)>", rf"(|{name}_n \1| before)", term)

    statement = STATEMENT.format(
        unit=name,
        sort=f"(_ FloatingPoint {fields(form)})",
        want=ported(want),
        given=ported(given),
        result=result,
        width=form.width,
        nan=form.nan,
        got=number(form, "got"),
    )
    parser = bitwuzla.Parser(bitwuzla.TermManager(), bitwuzla.Options())
    text = "(set-logic ALL)" + (folder / "unit.smt2").read_text("utf-8") + statement
    parser.parse(text, parse_only=True, parse_file=False)
    return str(parser.bitwuzla().check_sat()).removeprefix("Result.").lower()


@pytest.mark.parametrize(("mode", "expected"), [("RNE", "unsat"), ("RNA", "sat"), ("RTZ", "sat")])
def test_single_to_half(mode: str, expected: str, tmp_path: Path) -> None:
    """Rounding to nearest even is what it does; the other two modes are refuted."""
    want = f"((_ to_fp {fields(HALF)}) {mode} {number(SINGLE, '<wide>')})"
    assert verdict(SingleToHalf(1), HALF, "narrow", want, tmp_path) == expected


class Halves(Unit):
    """The multiplier of halves with what normalises its operands, as at the edge of the array."""

    module_name = "nofm_halves"

    def __init__(self) -> None:
        super().__init__({"a": In(16), "b": In(16), "advance": In(1), "product": Out(32)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.unit = unit = HalfMultiplier(1)
        m.d.comb += [
            unit.a.eq(normalise(m, "a", self.a)),
            unit.b.eq(normalise(m, "b", self.b)),
            unit.advance.eq(self.advance),
            self.product.eq(unit.product),
        ]
        return m


def test_products_of_halves(tmp_path: Path) -> None:
    """All 2^32 pairs."""
    a, b = (f"((_ to_fp {fields(SINGLE)}) RNE {number(HALF, bits)})" for bits in ("<a>", "<b>"))
    want = f"(fp.mul RNE {a} {b})"
    assert verdict(Halves(), SINGLE, "product", want, tmp_path) == "unsat"


def operation(name: str, form: FloatFormat) -> str:
    return f"({name} RNE {number(form, '<a>')} {number(form, '<b>')})"


def test_multiplier(tmp_path: Path) -> None:
    """All 2^32 pairs of FP16 numbers; FP32 takes the solver longer than a quarter of an hour."""
    want = operation("fp.mul", HALF)
    assert verdict(Multiplier(1, HALF), HALF, "product", want, tmp_path) == "unsat"


def none_subnormal(form: FloatFormat) -> str:
    """That neither operands nor the wanted result are subnormal."""
    numbers = (number(form, "<a>"), number(form, "<b>"), "want")
    return "".join(f"(assert (not (fp.isSubnormal {of})))" for of in numbers)


def test_adder(tmp_path: Path) -> None:
    """The array's: all 2^64 pairs of FP32 numbers for which it is defined."""
    want, given = operation("fp.add", SINGLE), none_subnormal(SINGLE)
    assert verdict(Adder(1, False), SINGLE, "sum", want, tmp_path, given) == "unsat"


def test_an_adder_without_subnormals_is_none_with_them(tmp_path: Path) -> None:
    want = operation("fp.add", SINGLE)
    assert verdict(Adder(1, False), SINGLE, "sum", want, tmp_path) == "sat"


@pytest.mark.slow
def test_adder_with_subnormals(tmp_path: Path) -> None:
    """The optimizer's: all 2^64 pairs of FP32 numbers."""
    want = operation("fp.add", SINGLE)
    assert verdict(Adder(1, True), SINGLE, "sum", want, tmp_path) == "unsat"
