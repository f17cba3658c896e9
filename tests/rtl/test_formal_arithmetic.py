"""Arithmetic proved for all operands: z3 has a theory of IEEE 754 of its own to compare with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import z3
from amaranth.back import rtlil

from nofm.rtl.arithmetic.adder import Adder
from nofm.rtl.arithmetic.convert import SingleToHalf
from nofm.rtl.arithmetic.float_format import HALF, SINGLE, FloatFormat
from nofm.rtl.hierarchy import Unit
from nofm.rtl.tools import yosys

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
(check-sat)
"""


def fields(form: FloatFormat) -> str:
    """The format's parameters in SMT-LIB, which counts the hidden bit."""
    return f"{form.exponent_bits} {form.fraction_bits + 1}"


def number(form: FloatFormat, bits: str) -> str:
    """The number that a bit vector stands for, as an SMT-LIB term."""
    return f"((_ to_fp {fields(form)}) {bits})"


def verdict(unit: Unit, form: FloatFormat, result: str, want: str, folder: Path) -> str:
    """Whether some operands of a unit of depth 1 give another result than `want` (`unsat`: none).

    Args:
        unit: with a result of format `form` at its port `result`.
        want: SMT-LIB term, in which <port> stands for the bits of an operand.
        folder: for Yosys' files.
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
    statement = STATEMENT.format(
        unit=name,
        sort=f"(_ FloatingPoint {fields(form)})",
        want=re.sub(r"<(\w+)>", rf"(|{name}_n \1| before)", want),
        result=result,
        width=form.width,
        nan=form.nan,
        got=number(form, "got"),
    )
    solver = z3.Solver()
    solver.from_string((folder / "unit.smt2").read_text("utf-8") + statement)
    return str(solver.check())


@pytest.mark.parametrize(("mode", "expected"), [("RNE", "unsat"), ("RNA", "sat"), ("RTZ", "sat")])
def test_single_to_half(mode: str, expected: str, tmp_path: Path) -> None:
    """Rounding to nearest even is what it does; the other two modes are refuted."""
    want = f"((_ to_fp {fields(HALF)}) {mode} {number(SINGLE, '<wide>')})"
    assert verdict(SingleToHalf(1), HALF, "narrow", want, tmp_path) == expected


def sum_of(form: FloatFormat) -> str:
    return f"(fp.add RNE {number(form, '<a>')} {number(form, '<b>')})"


@pytest.mark.slow
@pytest.mark.parametrize("form", [FloatFormat(3, 3), HALF], ids=lambda form: form.name)
def test_adder(form: FloatFormat, tmp_path: Path) -> None:
    assert verdict(Adder(1, True, form), form, "sum", sum_of(form), tmp_path) == "unsat"


def test_an_adder_without_subnormals_is_none_with_them(tmp_path: Path) -> None:
    form = FloatFormat(3, 3)
    assert verdict(Adder(1, False, form), form, "sum", sum_of(form), tmp_path) == "sat"
