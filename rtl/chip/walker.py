"""Walker: the passes of a walk, one after the other."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib.wiring import In, Out

from nofm.rtl.fields import split
from nofm.rtl.hierarchy import Unit
from nofm.rtl.program.walk import WalkShape


class Walker(Unit):
    """Gives the places of every pass of a walk, as `WalkShape.passes` does.

    | port | width | direction | |
    |---|---|---|---|
    | start | 1 | in | begin the walk that `walk` says; not while `valid` |
    | walk | `WalkShape.fields` | in | steady from `start` until the last pass is taken |
    | valid, ready | 1, 1 | out, in | a pass is taken when both are high |
    | places | `WalkShape.places` | out | of the pass |
    | last | 1 | out | it is the walk's last one |

    A walk that starts in cycle t gives its first pass in cycle t + 1. Throughput: a pass a cycle.
    """

    def __init__(self, shape: WalkShape) -> None:
        self.shape = shape
        widths = "_".join(map(str, shape.places.values()))
        self.module_name = f"nofm_walker_{shape.loops}_{widths}"
        super().__init__(
            {
                "start": In(1),
                "walk": In(sum(shape.fields("").values())),
                "valid": Out(1),
                "ready": In(1),
                "places": Out(sum(shape.places.values())),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        shape = self.shape
        walk = split(shape.fields(""), self.walk)
        inner = range(shape.loops - 1)
        total = Signal.like(walk["total"], name="total")
        left = [Signal.like(walk[f"left_{i}"], name=f"left_{i}") for i in inner]
        over, loop = Signal(shape.loops - 1), Signal(range(shape.loops))
        moves = Signal()
        m.d.comb += [
            self.last.eq(total == 0),
            moves.eq(self.valid & self.ready),
            over.eq(Cat(count == 0 for count in left)),
        ]
        m.d.comb += loop.eq(shape.loops - 1)
        for each in reversed(inner):
            with m.If(~over[each]):
                m.d.comb += loop.eq(each)
        places = split(shape.places, self.places)
        with m.If(self.start):
            m.d.sync += [self.valid.eq(1), total.eq(walk["total"])]
            m.d.sync += [left[i].eq(walk[f"left_{i}"]) for i in inner]
            m.d.sync += [places[name].eq(walk[f"start_{name}"]) for name in places]
        with m.Elif(moves):
            m.d.sync += [self.valid.eq(~self.last), total.eq(total - 1)]
            for name in places:
                step = Array(walk[f"step_{name}_{i}"] for i in range(shape.loops))[loop]
                m.d.sync += places[name].eq(places[name] + step)
            for i in inner:
                with m.If(loop == i):
                    m.d.sync += left[i].eq(left[i] - 1)
                with m.Elif(loop > i):
                    m.d.sync += left[i].eq(walk[f"count_{i}"])
        return m
