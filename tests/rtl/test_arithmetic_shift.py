"""Shifters and the leading-zero count, for every value and amount, against whole numbers."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from nofm.rtl.arithmetic.shift import leading_zeros, shift_left, shift_right_sticky


@pytest.mark.parametrize("amount_bits", [1, 3, 5])
@pytest.mark.parametrize("width", [1, 2, 3, 5, 7, 8])
def test_every_value_and_amount(width: int, amount_bits: int) -> None:
    m = Module()
    value, amount = Signal(width), Signal(amount_bits)
    left = shift_left(m, "left", value, amount)
    right = shift_right_sticky(m, "right", value, amount)
    assert (len(left), len(right)) == (width, width)

    async def bench(context: Any) -> None:
        for x, by in itertools.product(range(1 << width), range(1 << amount_bits)):
            context.set(value, x)
            context.set(amount, by)
            await context.delay(1e-9)
            assert context.get(left) == (x << by) % (1 << width)
            lost = x % (1 << by) != 0
            assert context.get(right) == (x >> by) | lost

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("width", range(1, 10))
def test_every_leading_zero_count(width: int) -> None:
    m = Module()
    value = Signal(width)
    zeros = leading_zeros(m, "zeros", value)

    async def bench(context: Any) -> None:
        for x in range(1, 1 << width):
            context.set(value, x)
            await context.delay(1e-9)
            assert context.get(zeros) == width - x.bit_length()

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
