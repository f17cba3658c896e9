"""Pipelines: where the registers of a unit stand, for every depth of it."""

from __future__ import annotations

from types import SimpleNamespace

from amaranth.hdl import Const, Module, Signal, Value


class Pipeline:
    """Puts registers at the cut points of a unit's logic.

    Args:
        m: the module that the logic is in.
        cuts: for depth 1, 2, ... the cut points that get a register, by number from 0. The last
            cut point is the unit's output, and must be in each. A depth past the end of the table
            has the last entry's cuts, and what is left of its registers stands at the output.
        depth: registers on the way from input to output.
    """

    def __init__(self, m: Module, cuts: tuple[tuple[int, ...], ...], depth: int) -> None:
        self._m = m
        chosen = cuts[min(depth, len(cuts)) - 1]
        self._registers = [int(cut in chosen) for cut in range(chosen[-1] + 1)]
        self._registers[-1] += depth - len(chosen)
        self._cut = 0

    def cut(self, **values: Value) -> SimpleNamespace:
        """The next cut point.

        Returns:
            `values` as they leave it, as attributes of the same names.
        """
        number, self._cut = self._cut, self._cut + 1
        past = SimpleNamespace()
        for name, value in values.items():
            for stage in range(self._registers[number]):
                register = Signal(len(value), name=f"{name}_{number}_{stage}", reset_less=True)
                self._m.d.sync += register.eq(value)
                value = register
            if not isinstance(value, Signal | Const):
                value = named(self._m, f"{name}_{number}", value)
            setattr(past, name, value)
        return past


def named(m: Module, name: str, value: Value) -> Signal:
    """`value` under a name: what is used more than once is computed once."""
    signal = Signal(len(value), name=name)
    m.d.comb += signal.eq(value)
    return signal
