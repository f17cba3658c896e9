"""USPE: one multiply-accumulate a cycle, dense or N:M, weight or output stationary."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from amaranth.hdl import Array, Elaboratable, EnableInserter, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from nofm.rtl.arithmetic.adder import Adder
from nofm.rtl.arithmetic.half import WIDTH, HalfMultiplier
from nofm.rtl.hierarchy import Unit, place
from nofm.rtl.stce.control import slot_control, weight
from nofm.rtl.stce.geometry import Geometry


class Uspe(Unit):
    """A processing element of the array.

    A slot that enters in cycle t multiplies the activation that its weight's index selects from
    the group beside it. The product is there in cycle t + X and the new sum in cycle t + X + L, to
    be added to again at once, or to leave downward. One slot a cycle. X and L are the
    accelerator's `multiplier_cycles` and `adder_cycles`. Slots, groups and weights for the right
    leave one cycle after they came, those for below too.

    | port | width | direction | |
    |---|---|---|---|
    | advance | 1 | in | nothing changes while low |
    | output_stationary | 1 | in | dataflow of the job |
    | last_entry | entry bits | in | N - 1 of the job |
    | control, control_right | `slot_control` | in, out | the slot |
    | group, group_right | group x 17 | in, out | its activations, normalised halves |
    | load, load_right | 1 | in, out | WS: a weight enters the bank that is not in use |
    | weight, weight_right | `weight` | in, out | WS: that weight; what it pushes out |
    | weight_above, weight_below | `weight` | in, out | OS: the slot's weight |
    | sum_above, sum_below | 32 | in, out | WS: FP32 sum of a first slot, in cycle t + X; adder |
    | drain, drain_sum | 1, sum bits | in | OS: put a sum into the chain |
    | drain_above, drain_below | 32 | in, out | OS: the chain |
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = g = geometry
        self.module_name = "nofm_uspe"
        control, weights = slot_control(g).size, weight(g).size
        super().__init__(
            {
                "advance": In(1),
                "output_stationary": In(1),
                "last_entry": In(g.entry_bits),
                "control": In(control),
                "control_right": Out(control),
                "group": In(g.group * WIDTH),
                "group_right": Out(g.group * WIDTH),
                "load": In(1),
                "load_right": Out(1),
                "weight": In(weights),
                "weight_right": Out(weights),
                "weight_above": In(weights),
                "weight_below": Out(weights),
                "sum_above": In(32),
                "sum_below": Out(32),
                "drain": In(1),
                "drain_sum": In(g.sum_bits),
                "drain_above": In(32),
                "drain_below": Out(32),
            }
        )

    @property
    def delay(self) -> int:
        """Cycles from a slot to its new sum."""
        return self.geometry.multiplier_cycles + self.geometry.adder_cycles

    def elaborate(self, platform: Any) -> Elaboratable:
        m = Module()
        # With three cycles or more, the first one brings the activations and chooses the weight.
        self._waits = self.geometry.multiplier_cycles > 2
        self._pass_on(m)
        value, index = self._weight(m)
        product = self._multiply(m, platform, value, index)
        self._accumulate(m, platform, product)
        return EnableInserter(self.advance)(m)

    def _pass_on(self, m: Module) -> None:
        """To the right and down, a cycle later; only what says that there is something resets."""
        layout = slot_control(self.geometry)
        group = Signal(self.group.shape(), reset_less=True)
        below = Signal(self.weight_below.shape(), reset_less=True)
        self.slot = data.View(layout, self.control)
        right = Signal(layout.size)
        self.own_group = group if self._waits else self.group
        m.d.sync += [right.eq(self.control), group.eq(self.group), below.eq(self.weight_above)]
        m.d.comb += [
            self.control_right.eq(right),
            self.group_right.eq(group),
            self.weight_below.eq(below),
        ]

    def _weight(self, m: Module) -> tuple[Signal, Signal]:
        """The slot's weight: from the bank in use, or from above."""
        g = self.geometry
        layout = weight(g)
        in_use, now = Signal(), Signal()
        m.d.comb += now.eq(in_use ^ (self.slot.slot & self.slot.swap))
        m.d.sync += in_use.eq(now)
        banks = [
            [Signal(layout.size, name=f"bank{b}_{k}", reset_less=True) for k in range(g.registers)]
            for b in range(2)
        ]
        for b, bank in enumerate(banks):
            with m.If(self.load & (now != b)):
                m.d.sync += bank[0].eq(self.weight)
                for k in range(1, g.registers):
                    m.d.sync += bank[k].eq(bank[k - 1])
        # What leaves the bank enters the neighbour's a cycle later.
        pushed, loaded = Signal(layout.size, reset_less=True), Signal()
        m.d.sync += [
            pushed.eq(Mux(now, Array(banks[0])[self.last_entry], Array(banks[1])[self.last_entry])),
            loaded.eq(self.load),
        ]
        m.d.comb += [self.weight_right.eq(pushed), self.load_right.eq(loaded)]
        held, chosen = Signal(layout.size), Signal(layout.size)
        entry = self.slot.entry
        m.d.comb += [
            held.eq(Mux(now, Array(banks[1])[entry], Array(banks[0])[entry])),
            chosen.eq(Mux(self.output_stationary, self.weight_above, held)),
        ]
        own = Signal(layout.size, reset_less=True) if self._waits else chosen
        if self._waits:
            m.d.sync += own.eq(chosen)
        view = data.View(layout, own)
        return view.value, view.index

    def _multiply(self, m: Module, platform: Any, value: Any, index: Any) -> Signal:
        """Select the activation and multiply; the selection has a cycle of its own if X allows."""
        cycles = self.geometry.multiplier_cycles - self._waits
        multiplier = HalfMultiplier(max(1, cycles - 1))
        place(m, platform, "multiplier", multiplier)
        activation = Signal(WIDTH)
        m.d.comb += [
            activation.eq(self.own_group.word_select(index, WIDTH)),
            multiplier.advance.eq(self.advance),
        ]
        if cycles == 1:
            m.d.comb += [multiplier.a.eq(activation), multiplier.b.eq(value)]
        else:
            left, right = Signal(WIDTH, reset_less=True), Signal(WIDTH, reset_less=True)
            m.d.sync += [left.eq(activation), right.eq(value)]
            m.d.comb += [multiplier.a.eq(left), multiplier.b.eq(right)]
        return multiplier.product

    def _accumulate(self, m: Module, platform: Any, product: Signal) -> None:
        """Add the product to its sum; all that steers the adder's operand is decided a cycle
        before, so that only a multiplexer stands in front of the adder."""
        g = self.geometry
        adds, writes = g.multiplier_cycles, g.multiplier_cycles + g.adder_cycles
        # tokens[k] is the slot k cycles after it entered.
        layout = data.StructLayout({"slot": 1, "first": 1, "sum": g.sum_bits})
        tokens = [Signal(layout, name=f"token{k}") for k in range(writes + 1)]
        m.d.comb += [
            tokens[0].slot.eq(self.slot.slot),
            tokens[0].first.eq(self.slot.first),
            tokens[0].sum.eq(self.slot.sum),
        ]
        for before, after in pairwise(tokens):
            m.d.sync += after.eq(before)

        m.submodules.sums = sums = Memory(shape=32, depth=1 << g.sum_bits, init=[])
        write = sums.write_port()
        read, drained = sums.read_port(domain="comb"), sums.read_port(domain="comb")
        adder = Adder(g.adder_cycles, subnormals=False)
        place(m, platform, "adder", adder)
        soon, coming, done = tokens[adds - 1], tokens[writes - 1], tokens[writes]
        kept, from_adder, from_above = Signal(32, reset_less=True), Signal(), Signal()
        m.d.comb += [
            read.addr.eq(soon.sum),
            write.addr.eq(done.sum),
            write.data.eq(adder.sum),
            write.en.eq(done.slot),
        ]
        m.d.sync += [
            from_above.eq(soon.first & ~self.output_stationary),
            from_adder.eq(~soon.first & coming.slot & (coming.sum == soon.sum)),
            kept.eq(Mux(done.slot & (done.sum == soon.sum), adder.sum, read.data)),
        ]
        with m.If(soon.first):
            m.d.sync += kept.eq(0)
        m.d.comb += [
            adder.advance.eq(self.advance),
            adder.a.eq(Mux(from_above, self.sum_above, Mux(from_adder, adder.sum, kept))),
            adder.b.eq(product),
            self.sum_below.eq(adder.sum),
        ]
        chain, taken = Signal(32, reset_less=True), Signal(32)
        m.d.sync += chain.eq(self.drain_above)
        m.d.comb += [
            drained.addr.eq(self.drain_sum),
            # The last sum may be drained in the cycle in which it leaves the adder.
            taken.eq(Mux(done.slot & (done.sum == self.drain_sum), adder.sum, drained.data)),
            self.drain_below.eq(Mux(self.drain, taken, chain)),
        ]
