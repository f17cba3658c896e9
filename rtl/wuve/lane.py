"""A lane of WUVE: the update of one parameter a cycle."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

from amaranth.hdl import Cat, EnableInserter, Module, Signal, Value
from amaranth.lib.wiring import In, Out

from nofm.rtl.arithmetic.adder import Adder
from nofm.rtl.arithmetic.convert import SingleToHalf, half_to_single
from nofm.rtl.arithmetic.multiplier import Multiplier
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.wuve.geometry import Depths

SINGLE_BITS, HALF_BITS = 32, 16


class Lane(Unit):
    """SGD with momentum and weight decay, each operation rounded to nearest even in FP32:

        d = g + wd w;  v' = mu v + d;  w' = w - lr v';  h = FP16(w')

    | port | width | direction | |
    |---|---|---|---|
    | advance | 1 | in | when low, nothing changes |
    | learning_rate, momentum_factor, weight_decay | 32 | in | FP32 lr, mu, wd; steady in a job |
    | weight, momentum | 32 | in | FP32 w, v |
    | gradient | 16 | in | FP16 g |
    | new_weight, new_momentum | 32 | out | FP32 w', v' |
    | new_half | 16 | out | FP16 h |

    Latency: the sum of `depths`, the same for all three results. Throughput: a parameter a cycle.
    """

    def __init__(self, depths: Depths) -> None:
        self.depths = depths
        self.module_name = "nofm_wuve_lane_" + "_".join(map(str, astuple(depths)))
        super().__init__(
            {
                "advance": In(1),
                "learning_rate": In(SINGLE_BITS),
                "momentum_factor": In(SINGLE_BITS),
                "weight_decay": In(SINGLE_BITS),
                "weight": In(SINGLE_BITS),
                "momentum": In(SINGLE_BITS),
                "gradient": In(HALF_BITS),
                "new_weight": Out(SINGLE_BITS),
                "new_momentum": Out(SINGLE_BITS),
                "new_half": Out(HALF_BITS),
            }
        )

    @property
    def delay(self) -> int:
        """Cycles from a parameter to its results."""
        return sum(astuple(self.depths))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        of = self.depths

        def multiply(name: str, depth: int, a: Value, b: Value) -> Value:
            place(m, platform, name, unit := Multiplier(depth))
            m.d.comb += [unit.a.eq(a), unit.b.eq(b), unit.advance.eq(self.advance)]
            return unit.product

        def add(name: str, depth: int, a: Value, b: Value) -> Value:
            # Weights and momenta may be as small as FP32 goes.
            place(m, platform, name, unit := Adder(depth, subnormals=True))
            m.d.comb += [unit.a.eq(a), unit.b.eq(b), unit.advance.eq(self.advance)]
            return unit.sum

        decay = multiply("decay", of.decay, self.weight, self.weight_decay)
        kept = multiply("kept", of.decay, self.momentum, self.momentum_factor)
        gradient = half_to_single(m, "gradient", delayed(m, "gradient", self.gradient, of.decay))
        decayed = add("decayed", of.decayed, gradient, decay)
        kept = delayed(m, "kept", kept, of.decayed)
        new_momentum = add("new_momentum", of.momentum, kept, decayed)
        step = multiply("step", of.step, new_momentum, self.learning_rate)
        past = of.decay + of.decayed + of.momentum + of.step
        weight = delayed(m, "weight", self.weight, past)
        minus_step = Cat(step[:-1], ~step[-1])
        new_weight = add("new_weight", of.weight, weight, minus_step)
        place(m, platform, "half", half := SingleToHalf(of.half))
        left = of.step + of.weight + of.half
        m.d.comb += [
            half.wide.eq(new_weight),
            half.advance.eq(self.advance),
            self.new_half.eq(half.narrow),
            self.new_weight.eq(delayed(m, "new_weight", new_weight, of.half)),
            self.new_momentum.eq(delayed(m, "new_momentum", new_momentum, left)),
        ]
        return EnableInserter(self.advance)(m)


def delayed(m: Module, name: str, value: Value, cycles: int) -> Value:
    """`value` of `cycles` cycles before."""
    for cycle in range(cycles):
        register = Signal(len(value), name=f"{name}_{cycle}", reset_less=True)
        m.d.sync += register.eq(value)
        value = register
    return value
