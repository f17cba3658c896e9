"""Values of parameters: exact ranges, and what is refused."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nofm.explore.values import MOST, ascending, values
from nofm.kernels.errors import InputError

D = Decimal


def test_lists_stand_as_they_are() -> None:
    assert values("x", [8, D("0.1"), "ws", True, ["2:4", "1:8"]]) == [
        *(8, 0.1, "ws", True, ["2:4", "1:8"])
    ]
    assert ascending([3, 1.5, 2]) == [1.5, 2, 3]
    assert ascending(["b", "a"]) == ["b", "a"]
    assert ascending([True, False]) == [True, False]


def test_steps_and_factors_include_their_ends() -> None:
    assert values("x", {"from": 8, "to": 64, "factor": 2}) == [8, 16, 32, 64]
    assert values("x", {"from": 8, "to": 63, "factor": 2}) == [8, 16, 32]
    assert values("x", {"from": 4, "to": 16, "step": 4}) == [4, 8, 12, 16]
    assert values("x", {"from": -4, "to": 3, "step": 4}) == [-4, 0]
    assert values("x", {"from": 5, "to": 5, "step": 1}) == [5]
    found = values("x", {"from": D("6.4"), "to": D("51.2"), "factor": 2})
    assert found == [6.4, 12.8, 25.6, 51.2]
    assert all(isinstance(value, float) for value in found)
    # Neither drifts: in floating point, 0.1 + 0.1 + 0.1 is above 0.3, and 1.1**2 above 1.21.
    assert values("x", {"from": D("0.1"), "to": D("0.3"), "step": D("0.1")}) == [0.1, 0.2, 0.3]
    assert values("x", {"from": 1, "to": D("1.21"), "factor": D("1.1")}) == [1.0, 1.1, 1.21]


numbers = st.decimals("-1000", "1000", places=3)


@given(numbers, numbers, st.decimals("0.001", "500", places=3))
def test_steps_equal_fractions(first: D, last: D, by: D) -> None:
    first, last = sorted((first, last))
    count = (Fraction(last) - Fraction(first)) // Fraction(by) + 1
    entry = {"from": first, "to": last, "step": by}
    if count > MOST:
        with pytest.raises(InputError, match=f"may have {MOST} values at most, not {count}$"):
            values("x", entry)
        return
    wanted = [float(Fraction(first) + i * Fraction(by)) for i in range(count)]
    assert values("x", entry) == wanted


@given(
    st.decimals("0.001", "100", places=3),
    st.decimals("100", "1000", places=3),
    st.decimals("1.05", "30", places=2),
)
def test_factors_equal_fractions(first: D, last: D, by: D) -> None:
    wanted, value = [], Fraction(first)
    while value <= Fraction(last):
        wanted.append(float(value))
        value *= Fraction(by)
    assert values("x", {"from": first, "to": last, "factor": by}) == wanted


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ([], "parameter 'x' must have at least one value, not none"),
        (
            "2:4",
            "parameter 'x' must be a list or a range such as {from = 8, to = 64, factor = 2}, "
            "not '2:4'",
        ),
        ([1] * 10_001, "parameter 'x' may have 10000 values at most, not 10001"),
        (
            {"from": 9, "to": 1, "step": 1},
            "the range of 'x' runs backwards: from 9 to 1",
        ),
        (
            {"from": D("0.5"), "to": D("0.25"), "factor": 2},
            "the range of 'x' runs backwards: from 0.5 to 0.25",
        ),
        ({"from": 1, "to": 9, "step": 0}, "step of the range of 'x' must be above 0, not 0"),
        ({"from": 1, "to": 9, "step": -1}, "step of the range of 'x' must be above 0, not -1"),
        ({"from": 1, "to": 9, "factor": 1}, "factor of the range of 'x' must be above 1, not 1"),
        (
            {"from": 0, "to": 9, "factor": 2},
            "a range of 'x' by a factor must start above 0, not at 0",
        ),
        (
            {"from": 1, "to": 9},
            "the range of 'x' must have from, to, and one of step and factor, not from, to",
        ),
        ({}, "the range of 'x' must have from, to, and one of step and factor, not nothing"),
        (
            {"from": 1, "to": 9, "step": 1, "factor": 2},
            "the range of 'x' must have from, to, and one of step and factor, "
            "not from, to, step, factor",
        ),
        (
            {"from": 1, "to": 9, "stop": 1},
            "unknown entry of the range of 'x' 'stop': did you mean step or to? "
            "(known: from, to, step, factor)",
        ),
        ({"from": 1, "to": 9, "step": "1"}, "step of the range of 'x' must be a number, not '1'"),
        ({"from": True, "to": 9, "step": 1}, "from of the range of 'x' must be a number, not True"),
        (
            {"from": 1, "to": D("inf"), "step": 1},
            "to of the range of 'x' must be finite, not Infinity",
        ),
        (
            {"from": 1, "to": 10**40, "step": 1},
            f"to of the range of 'x' may have 30 digits at most, not {10**40}",
        ),
        (
            {"from": 1, "to": 10**9, "step": 1},
            "the range of 'x' may have 10000 values at most, not 1000000000",
        ),
        (
            {"from": 1, "to": 10**9, "factor": D("1.0000001")},
            "the range of 'x' may have 10000 values at most, not 207232669",
        ),
    ],
    ids=str,
)
def test_refused(entry: Any, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        values("x", entry)
    assert str(caught.value) == reason
